//! What the API checks of every object and of the simple kinds, before it is stored. Services: `service.rs`.
//!
//! Source: apimachinery pkg/api/validation/objectmeta.go, kubernetes pkg/apis/core/validation and
//! pkg/apis/coordination/validation; wordings compared with kube-apiserver 1.37.2.

use serde_json::{Value, json};

use super::object::{Resource, list, number, remove, set, text, texts};
use super::status::Cause;

/// Fills what a new object of the simple kinds lacks.
pub(super) fn default(resource: Resource, object: &mut Value) {
    match resource {
        Resource::Namespaces => {
            let name = text(object, "/metadata/name").to_owned();
            if object.pointer("/metadata/labels").is_none() {
                set(object, "/metadata/labels", json!({}));
            }
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name.into();
            set(object, "/spec/finalizers", json!(["kubernetes"]));
            if text(object, "/status/phase").is_empty() {
                set(object, "/status/phase", "Active");
            }
        }
        Resource::Nodes => {
            for part in ["/spec", "/status"] {
                if object.pointer(part).is_none() {
                    set(object, part, json!({}));
                }
            }
        }
        Resource::Services | Resource::Events | Resource::ConfigMaps | Resource::Leases => {}
    }
}

/// Without the gate `CoordinatedLeaderElection`, off by default, these fields stay only where they are already.
/// Source: kubernetes pkg/registry/coordination/lease/strategy.go.
pub(super) fn drop_coordination(object: &mut Value, before: Option<&Value>) {
    for pointer in ["/spec/strategy", "/spec/preferredHolder"] {
        if before.is_none_or(|before| before.pointer(pointer).is_none()) {
            remove(object, pointer);
        }
    }
}

/// What is wrong with metadata.
pub(super) fn check_metadata(resource: Resource, object: &Value, before: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    if before.is_none() {
        let name = text(object, "/metadata/name");
        let fault = match resource {
            Resource::Services | Resource::Namespaces => label_fault(name),
            _ => subdomain_fault(name),
        };
        if name.is_empty() {
            causes.push(Cause::required(
                "metadata.name",
                "name or generateName is required",
            ));
        } else if let Some(fault) = fault {
            causes.push(Cause::invalid("metadata.name", name, fault));
        }
    }
    for (field, values) in [("labels", true), ("annotations", false)] {
        let Some(Value::Object(map)) = object.pointer(&format!("/metadata/{field}")) else {
            continue;
        };
        for (key, value) in map {
            let path = format!("metadata.{field}");
            if !is_qualified(key) {
                causes.push(Cause::invalid(path.clone(), key.as_str(), NOT_QUALIFIED));
            }
            if values && !value.as_str().is_some_and(is_label_value) {
                causes.push(Cause::invalid(path, value.clone(), NOT_A_LABEL_VALUE));
            }
        }
    }
    let finalizers = texts(object, "/metadata/finalizers");
    for (at, finalizer) in finalizers.iter().enumerate() {
        let standard = ["foregroundDeletion", "orphan", "kubernetes"].contains(finalizer);
        if !standard && (!is_qualified(finalizer) || !finalizer.contains('/')) {
            causes.push(Cause::invalid(
                format!("metadata.finalizers[{at}]"),
                *finalizer,
                "name is neither a standard finalizer name nor is it fully qualified",
            ));
        }
    }
    if let Some(before) = before {
        causes.extend(check_immutable_metadata(object, before));
        causes.extend(check_no_new_finalizers(&finalizers, before));
    }
    causes
}

fn check_immutable_metadata(object: &Value, before: &Value) -> impl Iterator<Item = Cause> {
    ["uid", "creationTimestamp", "deletionTimestamp"]
        .into_iter()
        .filter_map(|field| {
            let pointer = format!("/metadata/{field}");
            let (now, old) = (text(object, &pointer), text(before, &pointer));
            let changed = !now.is_empty() && now != old;
            changed.then(|| Cause::invalid(format!("metadata.{field}"), now, "field is immutable"))
        })
}

fn check_no_new_finalizers(finalizers: &[&str], before: &Value) -> Option<Cause> {
    before.pointer("/metadata/deletionTimestamp")?;
    let old = texts(before, "/metadata/finalizers");
    let new: Vec<String> = finalizers
        .iter()
        .filter(|f| !old.contains(f))
        .map(|f| format!("{f:?}"))
        .collect();
    let detail = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        new.join(", ")
    );
    (!new.is_empty()).then(|| Cause::forbidden("metadata.finalizers", &detail))
}

/// What is wrong with an object of the simple kinds.
pub(super) fn check(resource: Resource, object: &Value, before: Option<&Value>) -> Vec<Cause> {
    match resource {
        Resource::Nodes => check_node(object, before),
        Resource::Events => check_event(object),
        Resource::Leases => check_lease(object),
        Resource::Namespaces | Resource::Services | Resource::ConfigMaps => Vec::new(),
    }
}

fn check_node(object: &Value, before: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let old_provider = before.map_or("", |b| text(b, "/spec/providerID"));
    if !old_provider.is_empty() && old_provider != text(object, "/spec/providerID") {
        let detail = match text(object, "/spec/providerID") {
            "" => "field cannot be cleared once set",
            _ => "field cannot be modified once set",
        };
        causes.push(Cause::invalid("spec.providerID", Value::Null, detail));
    }
    let taints = list(object, "/spec/taints");
    for (at, taint) in taints.iter().enumerate() {
        let field = |name: &str| format!("metadata.taints[{at}]{name}");
        let (key, effect) = (text(taint, "/key"), text(taint, "/effect"));
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        if !is_qualified(key) {
            causes.push(Cause::invalid(field(".key"), key, NOT_QUALIFIED));
        }
        if !is_label_value(text(taint, "/value")) {
            causes.push(Cause::invalid(
                field(".value"),
                text(taint, "/value"),
                NOT_A_LABEL_VALUE,
            ));
        }
        if effect.is_empty() {
            causes.push(Cause::required(field(".effect"), ""));
        } else if !effects.contains(&effect) {
            causes.push(Cause::unsupported(field(".effect"), effect, &effects));
        }
        let same = |t: &&Value| text(t, "/key") == key && text(t, "/effect") == effect;
        if taints[..at].iter().any(|t| same(&t)) {
            causes.push(Cause::duplicate(field(""), taint.clone()));
        }
    }
    let addresses = list(object, "/status/addresses");
    for (at, address) in addresses.iter().enumerate() {
        if addresses[..at].contains(address) {
            causes.push(Cause::duplicate(
                format!("status.addresses[{at}]"),
                address.clone(),
            ));
        }
    }
    causes
}

fn check_event(object: &Value) -> Vec<Cause> {
    let about = text(object, "/involvedObject/namespace");
    let home = text(object, "/metadata/namespace");
    let fits = home == if about.is_empty() { "default" } else { about };
    let detail = "does not match event.namespace";
    (!fits)
        .then(|| Cause::invalid("involvedObject.namespace", about, detail))
        .into_iter()
        .collect()
}

fn check_lease(object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let given = |pointer: &str| object.pointer(pointer).is_some();
    let duration = number(object, "/spec/leaseDurationSeconds");
    if given("/spec/leaseDurationSeconds") && duration <= 0 {
        let field = "spec.leaseDurationSeconds";
        causes.push(Cause::invalid(field, duration, "must be greater than 0"));
    }
    let transitions = number(object, "/spec/leaseTransitions");
    if transitions < 0 {
        let field = "spec.leaseTransitions";
        causes.push(Cause::invalid(
            field,
            transitions,
            "must be greater than or equal to 0",
        ));
    }
    let (strategy, preferred) = (
        text(object, "/spec/strategy"),
        text(object, "/spec/preferredHolder"),
    );
    if !preferred.is_empty() && strategy.is_empty() {
        let detail = "may only be specified when `strategy` is defined";
        causes.push(Cause::forbidden("spec.preferredHolder", detail));
    }
    causes
}

/// Makes the new object keep what only the server writes, and the half that this endpoint does not write.
pub(super) fn keep(resource: Resource, object: &mut Value, before: &Value, status: bool) {
    use super::object::copy;
    for field in [
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
    ] {
        copy(before, object, &format!("/metadata/{field}"));
    }
    for field in ["apiVersion", "kind"] {
        copy(before, object, &format!("/{field}"));
    }
    remove(object, "/metadata/managedFields");
    if resource == Resource::Leases {
        drop_coordination(object, Some(before));
    }
    if resource.has_status() {
        copy(before, object, if status { "/spec" } else { "/status" });
    }
}

const NOT_QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
     an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
     '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const NOT_A_LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or \
     '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used \
     for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

fn is_qualified(name: &str) -> bool {
    let (prefix, name) = match name.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, name),
    };
    prefix.is_none_or(|prefix| subdomain_fault(&prefix.to_ascii_lowercase()).is_none())
        && !name.is_empty()
        && is_label_value(name)
}

fn is_label_value(value: &str) -> bool {
    value.len() <= 63
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && !value.starts_with(['-', '_', '.'])
        && !value.ends_with(['-', '_', '.'])
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Why `name` is no DNS label.
pub(super) fn label_fault(name: &str) -> Option<&'static str> {
    if name.len() > 63 {
        return Some("must be no more than 63 characters");
    }
    (!is_label(name)).then_some(
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end \
         with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
         '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
    )
}

/// Why `name` is no DNS name.
pub(super) fn subdomain_fault(name: &str) -> Option<&'static str> {
    if name.len() > 253 {
        return Some("must be no more than 253 characters");
    }
    (!name.split('.').all(is_label)).then_some(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start \
         and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
         '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
    )
}

#[cfg(test)]
mod tests {
    use super::super::status::Failure;
    use super::*;

    fn message(resource: Resource, object: &Value, before: Option<&Value>) -> String {
        let mut causes = check_metadata(resource, object, before);
        causes.extend(check(resource, object, before));
        match causes.is_empty() {
            true => String::new(),
            false => Failure::invalid(resource, "x", &causes).message,
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        use Resource::{Events, Leases, Nodes, Services};
        let (name, gone) = (
            json!({"name": "x"}),
            json!({"name": "x", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b"]}),
        );
        for (case, resource, object, before, want) in [
            (
                "nothing",
                Nodes,
                json!({"metadata": {"name": "n-1.example", "labels": {"a.b/c": "D_1", "e": ""}}}),
                None,
                "",
            ),
            (
                "no name",
                Nodes,
                json!({"metadata": {}}),
                None,
                "metadata.name: Required value",
            ),
            (
                "a name in capitals",
                Services,
                json!({"metadata": {"name": "Web"}}),
                None,
                "metadata.name: Invalid value: \"Web\"",
            ),
            (
                "a dot in a Service's name",
                Services,
                json!({"metadata": {"name": "a.b"}}),
                None,
                "RFC 1123 label",
            ),
            (
                "a label's key",
                Nodes,
                json!({"metadata": {"name": "x", "labels": {"a b": "c"}}}),
                None,
                "metadata.labels: Invalid value: \"a b\"",
            ),
            (
                "a label's value",
                Nodes,
                json!({"metadata": {"name": "x", "labels": {"a": "c d"}}}),
                None,
                "Invalid value: \"c d\"",
            ),
            (
                "an annotation's key",
                Nodes,
                json!({"metadata": {"name": "x", "annotations": {"a b": "any thing"}}}),
                None,
                "metadata.annotations",
            ),
            (
                "a finalizer without a domain",
                Services,
                json!({"metadata": {"name": "x", "finalizers": ["bad"]}}),
                None,
                "metadata.finalizers[0]",
            ),
            (
                "another UID",
                Services,
                json!({"metadata": {"name": "x", "uid": "2"}}),
                Some(json!({"metadata": {"name": "x", "uid": "1"}})),
                "metadata.uid: Invalid value: \"2\": field is immutable",
            ),
            (
                "a finalizer too late",
                Services,
                json!({"metadata": {"name": "x", "finalizers": ["a/b", "a/c"]}}),
                Some(json!({"metadata": gone})),
                "found new finalizers []string{\"a/c\"}",
            ),
            (
                "a finalizer that stays",
                Services,
                json!({"metadata": {"name": "x", "finalizers": ["a/b"]}}),
                Some(json!({"metadata": gone})),
                "",
            ),
            (
                "another provider ID",
                Nodes,
                json!({"metadata": name, "spec": {"providerID": "a://2"}}),
                Some(json!({"metadata": name, "spec": {"providerID": "a://1"}})),
                "spec.providerID: Invalid value: null: field cannot be modified once set",
            ),
            (
                "two taints alike",
                Nodes,
                json!({"metadata": name, "spec": {"taints": [{"key": "a", "effect": "NoExecute"}, {"key": "a", "effect": "NoExecute", "value": "v"}]}}),
                None,
                "metadata.taints[1]: Duplicate value",
            ),
            (
                "an unknown effect",
                Nodes,
                json!({"metadata": name, "spec": {"taints": [{"key": "a", "effect": "Bad"}]}}),
                None,
                "metadata.taints[0].effect",
            ),
            (
                "two addresses alike",
                Nodes,
                json!({"metadata": name, "status": {"addresses": [{"type": "InternalIP", "address": "1"}, {"type": "InternalIP", "address": "1"}]}}),
                None,
                "status.addresses[1]: Duplicate value",
            ),
            (
                "an event elsewhere",
                Events,
                json!({"metadata": {"name": "x", "namespace": "a"}, "involvedObject": {"namespace": "b"}}),
                None,
                "involvedObject.namespace: Invalid value: \"b\": does not match event.namespace",
            ),
            (
                "an event of a Node",
                Events,
                json!({"metadata": {"name": "x", "namespace": "default"}, "involvedObject": {"kind": "Node"}}),
                None,
                "",
            ),
            (
                "a lease of no time",
                Leases,
                json!({"metadata": name, "spec": {"leaseDurationSeconds": 0}}),
                None,
                "spec.leaseDurationSeconds: Invalid value: 0",
            ),
            (
                "fewer transitions than none",
                Leases,
                json!({"metadata": name, "spec": {"leaseTransitions": -1}}),
                None,
                "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
            ),
            (
                "a preferred holder of nobody's choice",
                Leases,
                json!({"metadata": name, "spec": {"preferredHolder": "a"}}),
                None,
                "spec.preferredHolder: Forbidden: may only be specified when `strategy` is defined",
            ),
        ] {
            let got = message(resource, &object, before.as_ref());
            assert!(
                got.contains(want) && got.is_empty() == want.is_empty(),
                "{case}: {got}"
            );
        }
    }

    #[test]
    fn each_endpoint_keeps_what_it_does_not_write() {
        let before = json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"a": 1}, "status": {"b": 1}});
        let sent = json!({"metadata": {"labels": {"x": "y"}, "managedFields": []}, "spec": {"a": 2}, "status": {"b": 2}});
        for (status, want) in [(false, (2, 1)), (true, (1, 2))] {
            let mut object = sent.clone();
            keep(Resource::Nodes, &mut object, &before, status);
            assert_eq!(
                (object["spec"]["a"].as_i64(), object["status"]["b"].as_i64()),
                (Some(want.0), Some(want.1))
            );
            assert_eq!(
                object["metadata"],
                json!({"labels": {"x": "y"}, "creationTimestamp": "2026-01-01T00:00:00Z"})
            );
        }
    }
}
