//! What to do with a Service, which changes matter, which Nodes are backends.

use crate::k8s::types::{EXCLUDE_LABEL, Node, ObjectMeta, Pairs, Service, ServicePort};

/// Keeps a Service in the cluster until its load balancer is cleaned up. Source: ccm-behaviour.md 5.1.
pub const FINALIZER: &str = "service.kubernetes.io/load-balancer-cleanup";

/// The cluster autoscaler's taint on a Node that is about to go. Source: ccm-behaviour.md 5.10.
const GOING_TAINT: &str = "ToBeDeletedByClusterAutoscaler";

/// What to do with a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Make the cloud match it.
    Ensure,
    /// Remove what was made for it, then let it go.
    Delete,
    /// Not ours, or nothing left to do.
    Ignore,
}

/// Decides by the object alone. `record` is the value of the cloud's record annotation: the proof that something
/// may have been made for this Service.
///
/// The finalizer alone proves nothing on a Service with a class: other implementations use the same name. And one that
/// is being deleted without finalizer and record has nothing left to clean up. Source: ccm-behaviour.md 12, quirks 5, 6 and 17.
pub(super) fn decide(service: &Service, record: Option<&str>) -> Decision {
    let wanted = &*service.type_ == "LoadBalancer" && service.load_balancer_class.is_none();
    if wanted && !service.meta.is_deleting() {
        return Decision::Ensure;
    }
    let recorded = record.is_some_and(|record| !record.is_empty());
    let ours = recorded || (has_finalizer(&service.meta) && service.load_balancer_class.is_none());
    if ours { Decision::Delete } else { Decision::Ignore }
}

/// Whether our finalizer is on it.
pub(super) fn has_finalizer(meta: &ObjectMeta) -> bool {
    meta.finalizers.iter().any(|finalizer| &**finalizer == FINALIZER)
}

/// Whether the step from `old` to `new` asks for another sync. What we write ourselves (finalizer, record, status)
/// does not, unless somebody takes it away.
pub(super) fn needs_sync(old: &Service, new: &Service, record_key: &str) -> bool {
    let asked = |service: &Service| Asked::of(service, record_key) != Asked::of(new, record_key);
    let lost_finalizer = has_finalizer(&old.meta) && !has_finalizer(&new.meta);
    let record = |service: &Service| service.meta.annotations.get(record_key).is_some();
    let lost_record = record(old) && !record(new);
    let lost_status = !old.ingress.is_empty() && new.ingress.is_empty();
    asked(old) || lost_finalizer || lost_record || lost_status
}

/// The fields that say what is wanted.
#[derive(PartialEq)]
struct Asked<'a> {
    uid: &'a str,
    deleting: bool,
    type_: &'a str,
    class: Option<&'a str>,
    ports: &'a [ServicePort],
    local_traffic_only: bool,
    health_check_node_port: u16,
    annotations: Vec<(&'a str, &'a str)>,
}

impl<'a> Asked<'a> {
    fn of(service: &'a Service, record_key: &str) -> Self {
        let others =
            |annotations: &'a Pairs| annotations.iter().filter(|(key, _)| *key != record_key).collect();
        Self {
            uid: &service.meta.uid,
            deleting: service.meta.is_deleting(),
            type_: &service.type_,
            class: service.load_balancer_class.as_deref(),
            ports: &service.ports,
            local_traffic_only: service.local_traffic_only,
            health_check_node_port: service.health_check_node_port,
            annotations: others(&service.meta.annotations),
        }
    }
}

/// Whether a Node takes traffic from load balancers. Readiness does not matter: health checks see to that, and members
/// stay as they are when a Node comes and goes. Source: ccm-behaviour.md 5.10.
pub(super) fn is_backend(node: &Node) -> bool {
    let excluded = match node.meta.labels.get(EXCLUDE_LABEL) {
        None | Some("0" | "f" | "F" | "false" | "False" | "FALSE") => false,
        Some(_) => true,
    };
    !node.meta.is_deleting() && !excluded && node.taints.iter().all(|taint| &*taint.key != GOING_TAINT)
}

/// Whether the step from `old` to `new` changes any load balancer's members.
pub(super) fn changes_backends(old: Option<&Node>, new: Option<&Node>) -> bool {
    let backend = |node: Option<&Node>| {
        node.filter(|node| is_backend(node)).map(|node| {
            let instance = node
                .meta
                .annotations
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_string()));
            (
                node.provider_id.clone(),
                node.addresses.clone(),
                instance.collect::<Vec<_>>(),
            )
        })
    };
    backend(old) != backend(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = "loadbalancer.inspur.com/slb-in-use";

    /// A Service from the parts of its JSON that matter.
    fn service(metadata: &str, spec: &str) -> Service {
        serde_json::from_str(&format!(r#"{{"metadata":{{{metadata}}},"spec":{{{spec}}}}}"#)).unwrap()
    }

    fn node(metadata: &str, spec: &str) -> Node {
        serde_json::from_str(&format!(r#"{{"metadata":{{{metadata}}},"spec":{{{spec}}}}}"#)).unwrap()
    }

    #[test]
    fn each_service_is_ensured_deleted_or_ignored() {
        let (lb, classed) = (
            r#""type":"LoadBalancer""#,
            r#""type":"LoadBalancer","loadBalancerClass":"other.io/x""#,
        );
        let cluster_ip = r#""type":"ClusterIP""#;
        let finalizer = r#""finalizers":["service.kubernetes.io/load-balancer-cleanup"]"#;
        let other = r#""finalizers":["example.com/other"]"#;
        let gone = r#""deletionTimestamp":"2026-01-02T03:04:05Z""#;
        let gone_with_finalizer = format!("{gone},{finalizer}");
        let gone_with_other = format!("{gone},{other}");
        for (case, metadata, spec, record, want) in [
            ("a new one", "", lb, None, Decision::Ensure),
            ("one of another class", "", classed, None, Decision::Ignore),
            (
                "a class and the shared finalizer",
                finalizer,
                classed,
                None,
                Decision::Ignore,
            ),
            (
                "the same, being deleted",
                &gone_with_finalizer,
                classed,
                None,
                Decision::Ignore,
            ),
            (
                "a class, but we made something",
                finalizer,
                classed,
                Some("slb-1"),
                Decision::Delete,
            ),
            (
                "no longer a load balancer",
                finalizer,
                cluster_ip,
                Some("slb-1"),
                Decision::Delete,
            ),
            (
                "the same, nothing recorded",
                finalizer,
                cluster_ip,
                None,
                Decision::Delete,
            ),
            ("never was one", "", cluster_ip, None, Decision::Ignore),
            (
                "being deleted",
                &gone_with_finalizer,
                lb,
                Some("slb-1"),
                Decision::Delete,
            ),
            (
                "being deleted, finalizer taken by hand",
                &gone_with_other,
                lb,
                Some("slb-1"),
                Decision::Delete,
            ),
            (
                "being deleted, cleaned up, held by another",
                &gone_with_other,
                lb,
                None,
                Decision::Ignore,
            ),
            (
                "the same with an emptied record",
                &gone_with_other,
                lb,
                Some(""),
                Decision::Ignore,
            ),
        ] {
            assert_eq!(decide(&service(metadata, spec), record), want, "{case}");
        }
    }

    #[test]
    fn only_what_is_asked_for_needs_a_sync() {
        let base = || {
            (
                r#""name":"web","uid":"u1","annotations":{"loadbalancer.inspur.com/forward-rule":"RR"}"#
                    .to_string(),
                r#""type":"LoadBalancer","ports":[{"port":80,"nodePort":30080}]"#.to_string(),
            )
        };
        let (metadata, spec) = base();
        let old = service(&metadata, &spec);
        let annotated = |more: &str| metadata.replace("}", &format!(",{more}}}"));
        let with_finalizer = format!(r#"{metadata},"finalizers":["{FINALIZER}"]"#);
        for (case, metadata, spec, want) in [
            ("nothing", metadata.clone(), spec.clone(), false),
            (
                "our record",
                annotated(r#""loadbalancer.inspur.com/slb-in-use":"slb-1""#),
                spec.clone(),
                false,
            ),
            ("our finalizer", with_finalizer.clone(), spec.clone(), false),
            (
                "another annotation of ours",
                annotated(r#""loadbalancer.inspur.com/healthcheck-max":"5""#),
                spec.clone(),
                true,
            ),
            ("another UID", metadata.replace("u1", "u2"), spec.clone(), true),
            ("a port", metadata.clone(), spec.replace("80,", "81,"), true),
            (
                "a node port",
                metadata.clone(),
                spec.replace("30080", "30081"),
                true,
            ),
            (
                "the policy",
                metadata.clone(),
                format!(r#"{spec},"externalTrafficPolicy":"Local""#),
                true,
            ),
            (
                "the type",
                metadata.clone(),
                spec.replace("LoadBalancer", "ClusterIP"),
                true,
            ),
            (
                "deletion",
                format!(r#"{metadata},"deletionTimestamp":"2026-01-02T03:04:05Z""#),
                spec.clone(),
                true,
            ),
        ] {
            assert_eq!(
                needs_sync(&old, &service(&metadata, &spec), RECORD),
                want,
                "{case}"
            );
        }
        let held = service(&with_finalizer, &spec);
        assert!(
            needs_sync(&held, &old, RECORD),
            "a finalizer that somebody took away is put back"
        );
        let recorded = service(
            &annotated(r#""loadbalancer.inspur.com/slb-in-use":"slb-1""#),
            &spec,
        );
        assert!(needs_sync(&recorded, &old, RECORD), "so is a record");
    }

    #[test]
    fn nodes_are_backends_whether_ready_or_not() {
        let labelled = |value: &str| format!(r#""labels":{{"{EXCLUDE_LABEL}":"{value}"}}"#);
        for (case, metadata, spec, want) in [
            ("a plain one", String::new(), "", true),
            (
                "not ready, unschedulable",
                String::new(),
                r#""unschedulable":true,"taints":[{"key":"node.kubernetes.io/not-ready"}]"#,
                true,
            ),
            ("excluded", labelled(""), "", false),
            ("excluded by any word", labelled("yes"), "", false),
            ("not excluded after all", labelled("false"), "", true),
            (
                "being deleted",
                r#""deletionTimestamp":"2026-01-02T03:04:05Z""#.into(),
                "",
                false,
            ),
            (
                "about to be scaled away",
                String::new(),
                r#""taints":[{"key":"ToBeDeletedByClusterAutoscaler"}]"#,
                false,
            ),
        ] {
            assert_eq!(is_backend(&node(&metadata, spec)), want, "{case}");
        }
    }

    #[test]
    fn a_heartbeat_changes_no_backend_and_a_new_address_does() {
        let ready = node(r#""name":"n1""#, r#""providerID":"incloud://i-1""#);
        let tainted = node(
            r#""name":"n1""#,
            r#""providerID":"incloud://i-1","taints":[{"key":"a"}]"#,
        );
        let moved = node(r#""name":"n1""#, r#""providerID":"incloud://i-2""#);
        let excluded = node(
            r#""name":"n1","labels":{"node.kubernetes.io/exclude-from-external-load-balancers":""}"#,
            "",
        );
        for (case, old, new, want) in [
            (
                "a taint that does not matter",
                Some(&ready),
                Some(&tainted),
                false,
            ),
            ("another instance", Some(&ready), Some(&moved), true),
            ("exclusion", Some(&ready), Some(&excluded), true),
            ("an excluded one leaves", Some(&excluded), None, false),
            ("one joins", None, Some(&ready), true),
            ("one leaves", Some(&ready), None, true),
        ] {
            assert_eq!(changes_backends(old, new), want, "{case}");
        }
    }
}
