//! Nodes.

use std::net::IpAddr;

use serde::Deserialize;
use serde::de::Deserializer;
use serde_json::value::RawValue;

use super::{ObjectMeta, Resource, Text, null_default};

/// The key of the taint that kubelet puts on a Node which waits for a cloud provider. Source: ccm-behaviour.md 3.2.
pub const UNINITIALIZED: &str = "node.cloudprovider.kubernetes.io/uninitialized";

/// A Node, as far as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "Wire")]
pub struct Node {
    /// Name, UID, deletion, labels, annotations.
    pub meta: ObjectMeta,
    /// `incloud://i-0ab1`, or empty.
    pub provider_id: Box<str>,
    /// All of them.
    pub taints: Box<[Taint]>,
    /// What its condition `Ready` says.
    pub ready: Readiness,
    /// In the order of the Node.
    pub addresses: Box<[NodeAddress]>,
}

impl Node {
    /// Its internal addresses, in order. One that is no address is left out.
    pub fn internal_ips(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses
            .iter()
            .filter(|a| &*a.type_ == "InternalIP")
            .filter_map(|a| a.address.parse().ok())
    }

    /// Whether it waits to be initialised.
    pub fn is_uninitialized(&self) -> bool {
        self.taints.iter().any(|taint| &*taint.key == UNINITIALIZED)
    }
}

/// A mark that keeps pods away. Fields that are not read are kept all the same: the list of taints is only ever written
/// whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Taint {
    /// What is wrong.
    pub key: Box<str>,
    /// `NoSchedule`, `NoExecute`, …
    pub effect: Box<str>,
    /// All of it, as JSON.
    pub json: Box<str>,
}

impl Taint {
    /// A taint without a value.
    pub fn new(key: &str, effect: &str) -> Self {
        let json = serde_json::json!({ "key": key, "effect": effect }).to_string();
        Self {
            key: key.into(),
            effect: effect.into(),
            json: json.into(),
        }
    }
}

impl<'de> Deserialize<'de> for Taint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Read {
            #[serde(deserialize_with = "null_default")]
            key: Box<str>,
            #[serde(deserialize_with = "null_default")]
            effect: Box<str>,
        }
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let Read { key, effect } = serde_json::from_str(raw.get()).map_err(serde::de::Error::custom)?;
        Ok(Self {
            key,
            effect,
            json: raw.get().into(),
        })
    }
}

/// What a Node's condition `Ready` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Readiness {
    /// Kubelet reports, and all is well.
    Ready,
    /// Kubelet reports that it is not.
    NotReady,
    /// Nobody has heard of kubelet, or there is no such condition.
    #[default]
    Unknown,
}

/// One address of a Node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct NodeAddress {
    /// `InternalIP`, `ExternalIP`, `Hostname`, …
    #[serde(rename = "type", deserialize_with = "null_default")]
    pub type_: Box<str>,
    /// As the Node gives it.
    #[serde(deserialize_with = "null_default")]
    pub address: Box<str>,
}

/// Label: keeps a Node out of load balancers unless it is boolean false. Source: ccm-behaviour.md 5.10.
pub const EXCLUDE_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

impl Resource for Node {
    const KIND: &'static str = "Node";
    const PLURAL: &'static str = "nodes";
    const NAMESPACED: bool = false;
    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default, deserialize_with = "null_default")]
    spec: SpecWire,
    #[serde(default, deserialize_with = "null_default")]
    status: StatusWire,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SpecWire {
    #[serde(rename = "providerID", deserialize_with = "null_default")]
    provider_id: Box<str>,
    #[serde(deserialize_with = "null_default")]
    taints: Box<[Taint]>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct StatusWire {
    #[serde(deserialize_with = "null_default")]
    addresses: Box<[NodeAddress]>,
    #[serde(rename = "conditions", deserialize_with = "readiness")]
    ready: Readiness,
}

#[derive(Deserialize)]
struct ConditionWire<'a> {
    #[serde(rename = "type", borrow)]
    type_: Option<Text<'a>>,
    #[serde(borrow)]
    status: Option<Text<'a>>,
}

/// Of the first condition of that type, as upstream reads it. Source: ccm-behaviour.md 4.
fn readiness<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Readiness, D::Error> {
    let conditions: Option<Vec<ConditionWire<'de>>> = Option::deserialize(deserializer)?;
    let is_ready = |condition: &ConditionWire<'_>| {
        condition
            .type_
            .as_ref()
            .is_some_and(|Text(type_)| type_ == "Ready")
    };
    let ready = conditions.into_iter().flatten().find(is_ready);
    let status = ready.and_then(|condition| condition.status);
    Ok(match status.as_ref().map(|Text(status)| &**status) {
        Some("True") => Readiness::Ready,
        Some("False") => Readiness::NotReady,
        _ => Readiness::Unknown,
    })
}

impl From<Wire> for Node {
    fn from(wire: Wire) -> Self {
        Self {
            meta: wire.metadata,
            provider_id: wire.spec.provider_id,
            taints: wire.spec.taints,
            ready: wire.status.ready,
            addresses: wire.status.addresses,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_decodes_with_what_is_read() {
        let node: Node = serde_json::from_str(
            r#"{"metadata":{"name":"n1","labels":{"kubernetes.io/os":"linux","node.kubernetes.io/exclude-from-external-load-balancers":""},
                "annotations":{"node.beta.kubernetes.io/instance-id":"i-1","volumes.kubernetes.io/x":"true"}},
                "spec":{"providerID":"incloud://i-1","taints":[{"key":"a","effect":"NoSchedule","timeAdded":"2026-01-02T03:04:05Z"}],"podCIDRs":null},
                "status":{"images":[{"names":["x"]}],"addresses":[{"type":"Hostname","address":"n1"},{"type":"InternalIP","address":"10.1.0.1"},
                {"type":"InternalIP","address":"nonsense"},{"type":"InternalIP","address":"fd00::1"}]}}"#,
        )
        .unwrap();
        assert_eq!(node.meta.key(), "n1");
        assert_eq!(
            (
                node.meta.labels.get(EXCLUDE_LABEL),
                node.meta.annotations.get("node.beta.kubernetes.io/instance-id")
            ),
            (Some(""), Some("i-1"))
        );
        assert_eq!((&*node.provider_id, &*node.taints[0].key), ("incloud://i-1", "a"));
        assert_eq!(
            node.internal_ips().map(|ip| ip.to_string()).collect::<Vec<_>>(),
            ["10.1.0.1", "fd00::1"]
        );
    }

    #[test]
    fn it_is_as_ready_as_its_first_condition_of_that_type_says() {
        for (conditions, want) in [
            (r#"[{"type":"Ready","status":"True"}]"#, Readiness::Ready),
            (
                r#"[{"type":"DiskPressure","status":"True"},{"status":"False","type":"Ready","reason":null}]"#,
                Readiness::NotReady,
            ),
            (
                r#"[{"type":"Ready","status":"False"},{"type":"Ready","status":"True"}]"#,
                Readiness::NotReady,
            ),
            (
                r#"[{"type":"Re\u0061dy","status":"Tru\u0065"}]"#,
                Readiness::Ready,
            ),
            (r#"[{"type":"Ready","status":"Unknown"}]"#, Readiness::Unknown),
            (
                r#"[{"type":"Ready","status":null},{"type":null}]"#,
                Readiness::Unknown,
            ),
            ("[]", Readiness::Unknown),
            ("null", Readiness::Unknown),
        ] {
            let json = format!(r#"{{"metadata":{{"name":"n1"}},"status":{{"conditions":{conditions}}}}}"#);
            let node: Node = serde_json::from_str(&json).unwrap();
            assert_eq!(node.ready, want, "{conditions}");
        }
    }
}
