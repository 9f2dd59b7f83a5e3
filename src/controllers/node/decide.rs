//! What a Node lacks, by the Node and its instance alone.

use crate::cloud::Instance;
use crate::k8s::patch::NodePatch;
use crate::k8s::types::{Node, Pairs, UNINITIALIZED};

const INSTANCE_TYPE: (&str, &str) = (
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
);
const ZONE: (&str, &str) = (
    "failure-domain.beta.kubernetes.io/zone",
    "topology.kubernetes.io/zone",
);
const REGION: (&str, &str) = (
    "failure-domain.beta.kubernetes.io/region",
    "topology.kubernetes.io/region",
);

/// Whether the step from `old` to `new` asks for another sync: something is to be done, and what it depends on has changed.
/// Kubelet's reports are not among that, so that a Node which fails keeps to its back-off.
pub(super) fn needs_sync(old: Option<&Node>, new: &Node) -> bool {
    let asked = |node: &Node| {
        (
            node.meta.uid.clone(),
            node.meta.labels.clone(),
            node.meta.annotations.clone(),
            node.provider_id.clone(),
            node.taints.clone(),
            node.addresses.clone(),
        )
    };
    let is_due = new.is_uninitialized() || !label_repairs(new).is_empty();
    is_due && old.is_none_or(|old| asked(old) != asked(new))
}

/// What initialisation writes to the Node in one patch: provider ID, labels, and all taints but ours. `labels` of `node` must be
/// all it has, if the instance brings one that [`Pairs::keeps`] not. Source: ccm-behaviour.md 3.6.
pub(super) fn initialisation<'a>(node: &'a Node, instance: &'a Instance) -> NodePatch<'a> {
    let mut patch = NodePatch::default();
    if node.provider_id.is_empty() && !instance.provider_id.is_empty() {
        patch = patch.provider_id(&instance.provider_id);
    }
    for ((beta, stable), value) in [
        (INSTANCE_TYPE, &instance.instance_type),
        (ZONE, &instance.zone),
        (REGION, &instance.region),
    ] {
        for key in [beta, stable] {
            if !value.is_empty() && node.meta.labels.get(key) != Some(value) {
                patch = patch.label(key, value);
            }
        }
    }
    for (key, value) in &instance.labels {
        if !is_reserved(key) && node.meta.labels.get(key).is_none() {
            patch = patch.label(key, value);
        }
    }
    patch.taints(node.taints.iter().filter(|taint| &*taint.key != UNINITIALIZED))
}

/// Whether it must be known of every label whether the Node has it, and not only of those that are kept when a Node is read.
pub(super) fn needs_all_labels(instance: &Instance) -> bool {
    let mut labels = instance.labels.iter();
    labels.any(|(key, _)| !is_reserved(key) && !Pairs::keeps(key))
}

/// The labels of the instance that `node` will not get, because of their domain or because it has them with another value.
pub(super) fn refused_labels<'a>(node: &'a Node, instance: &'a Instance) -> impl Iterator<Item = &'a str> {
    let differs = |key: &str, value: &str| node.meta.labels.get(key).is_some_and(|has| has != value);
    let refused = instance
        .labels
        .iter()
        .filter(move |(key, value)| is_reserved(key) || differs(key, value));
    refused.map(|(key, _)| &**key)
}

/// Whether the label's domain is Kubernetes' own.
fn is_reserved(key: &str) -> bool {
    let Some((domain, _)) = key.split_once('/') else {
        return false;
    };
    ["kubernetes.io", "k8s.io"].into_iter().any(|reserved| {
        domain
            .strip_suffix(reserved)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

/// The stable labels that differ from their beta forms, with the value they should have. Source: ccm-behaviour.md 3.7.
pub(super) fn label_repairs(node: &Node) -> Vec<(&'static str, &str)> {
    let labels = &node.meta.labels;
    [ZONE, REGION, INSTANCE_TYPE]
        .into_iter()
        .filter_map(|(beta, stable)| {
            let value = labels.get(beta)?;
            (labels.get(stable) != Some(value)).then_some((stable, value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(value: Value) -> Node {
        serde_json::from_value(value).unwrap()
    }

    fn instance() -> Instance {
        Instance {
            provider_id: "incloud://i-1".into(),
            instance_type: "c2.large".into(),
            zone: "cn-north-3a".into(),
            region: "cn-north-3".into(),
            ..Instance::default()
        }
    }

    fn body(patch: &NodePatch<'_>) -> Value {
        serde_json::from_slice(&patch.call(&Node::default().meta).body.unwrap().1).unwrap()
    }

    #[test]
    fn the_taint_is_known_by_its_key() {
        for (case, taint, want) in [
            (
                "kubelet's",
                json!({"key": UNINITIALIZED, "value": "true", "effect": "NoSchedule"}),
                true,
            ),
            (
                "without a value",
                json!({"key": UNINITIALIZED, "effect": "NoExecute"}),
                true,
            ),
            (
                "another",
                json!({"key": "node.cloudprovider.kubernetes.io/shutdown", "effect": "NoSchedule"}),
                false,
            ),
        ] {
            assert_eq!(
                node(json!({"spec": {"taints": [taint]}})).is_uninitialized(),
                want,
                "{case}"
            );
        }
    }

    #[test]
    fn a_new_node_gets_everything_in_one_patch() {
        let new = node(json!({
            "metadata": {"name": "n1"},
            "spec": {"taints": [
                {"key": "a", "effect": "NoExecute", "timeAdded": "2026-01-02T03:04:05Z"},
                {"key": UNINITIALIZED, "value": "true", "effect": "NoSchedule"},
                {"key": "b", "effect": "NoSchedule"},
                {"key": UNINITIALIZED, "effect": "NoExecute"},
            ]},
        }));
        let body = body(&initialisation(&new, &instance()));
        assert_eq!(
            body["spec"],
            json!({"providerID": "incloud://i-1", "taints": [
                {"key": "a", "effect": "NoExecute", "timeAdded": "2026-01-02T03:04:05Z"},
                {"key": "b", "effect": "NoSchedule"},
            ]})
        );
        assert_eq!(
            body["metadata"]["labels"],
            json!({
                "beta.kubernetes.io/instance-type": "c2.large", "node.kubernetes.io/instance-type": "c2.large",
                "failure-domain.beta.kubernetes.io/zone": "cn-north-3a", "topology.kubernetes.io/zone": "cn-north-3a",
                "failure-domain.beta.kubernetes.io/region": "cn-north-3", "topology.kubernetes.io/region": "cn-north-3",
            })
        );
    }

    #[test]
    fn a_provider_id_is_never_changed_and_the_last_taint_leaves_none() {
        let old =
            node(json!({"spec": {"providerID": "incloud://other", "taints": [{"key": UNINITIALIZED}]}}));
        let body = body(&initialisation(&old, &instance()));
        assert_eq!(body["spec"], json!({"taints": null}));
    }

    #[test]
    fn labels_of_places_are_overwritten_and_others_only_added() {
        let has = node(json!({"metadata": {"labels": {
            "topology.kubernetes.io/zone": "elsewhere", "topology.kubernetes.io/region": "cn-north-3",
            "node.inspur.com/kept": "mine",
        }}}));
        let mut instance = instance();
        instance.instance_type = "".into();
        instance.labels = [
            ("node.inspur.com/kept", "theirs"),
            ("node.inspur.com/new", "1"),
            ("node.kubernetes.io/role", "2"),
            ("k8s.io/x", "3"),
            ("notk8s.io/x", "4"),
            ("plain", "5"),
        ]
        .map(|(key, value)| (key.into(), value.into()))
        .into();
        assert_eq!(
            body(&initialisation(&has, &instance))["metadata"]["labels"],
            json!({
                "failure-domain.beta.kubernetes.io/zone": "cn-north-3a", "topology.kubernetes.io/zone": "cn-north-3a",
                "failure-domain.beta.kubernetes.io/region": "cn-north-3",
                "node.inspur.com/new": "1", "notk8s.io/x": "4", "plain": "5",
            })
        );
        let refused: Vec<_> = refused_labels(&has, &instance).collect();
        assert_eq!(
            refused,
            ["node.inspur.com/kept", "node.kubernetes.io/role", "k8s.io/x"]
        );
        assert!(
            needs_all_labels(&instance),
            "nobody kept whether it has the plain one"
        );
        instance.labels.truncate(4);
        assert!(!needs_all_labels(&instance));
    }

    #[test]
    fn stable_labels_follow_beta_ones() {
        let (beta, stable) = ZONE;
        for (case, labels, want) in [
            ("nothing", json!({}), vec![]),
            ("only stable", json!({stable: "a"}), vec![]),
            ("only beta", json!({beta: "a"}), vec![(stable, "a")]),
            (
                "another value",
                json!({beta: "a", stable: "b"}),
                vec![(stable, "a")],
            ),
            ("the same", json!({beta: "a", stable: "a"}), vec![]),
            (
                "all pairs",
                json!({beta: "a", REGION.0: "r", INSTANCE_TYPE.0: "t"}),
                vec![(stable, "a"), (REGION.1, "r"), (INSTANCE_TYPE.1, "t")],
            ),
        ] {
            let node = node(json!({"metadata": {"labels": labels}}));
            assert_eq!(label_repairs(&node), want, "{case}");
        }
    }

    #[test]
    fn only_what_matters_asks_for_a_sync() {
        let taints = json!([{"key": UNINITIALIZED, "effect": "NoSchedule"}]);
        let tainted = node(json!({"spec": {"taints": taints}}));
        let reported = node(
            json!({"spec": {"taints": taints}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
        );
        let annotated = node(
            json!({"metadata": {"annotations": {"node.beta.kubernetes.io/instance-id": "i-1"}}, "spec": {"taints": taints}}),
        );
        let done = node(json!({"spec": {"providerID": "incloud://i-1"}}));
        let drifted = node(json!({"metadata": {"labels": {ZONE.0: "a"}}}));
        for (case, old, new, want) in [
            ("new", None, &tainted, true),
            ("new and ready to go", None, &done, false),
            ("a report of kubelet", Some(&tainted), &reported, false),
            ("an instance named", Some(&tainted), &annotated, true),
            ("initialised", Some(&tainted), &done, false),
            ("tainted again", Some(&done), &tainted, true),
            ("a label taken away", Some(&done), &drifted, true),
            ("a label still away", Some(&drifted), &drifted, false),
        ] {
            assert_eq!(needs_sync(old, new), want, "{case}");
        }
    }
}
