//! A Node as the API server has it now, with every label.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::value::RawValue;

use crate::k8s::types::Node;
use crate::k8s::{self, Call, Client};

/// A Node whose labels are all there, also those that are not kept otherwise.
struct Whole(Node);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Object {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        struct Metadata {
            labels: Option<BTreeMap<Box<str>, Box<str>>>,
        }
        // read twice: a Node keeps its taints as raw JSON, which a flattened struct could not
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let mut node: Node = serde_json::from_str(raw).map_err(D::Error::custom)?;
        let object: Object = serde_json::from_str(raw).map_err(D::Error::custom)?;
        node.meta.labels = object.metadata.labels.unwrap_or_default().into_iter().collect();
        Ok(Self(node))
    }
}

/// Reads the Node of that name from the API server, not from a cache.
pub(super) fn read(client: &Client, name: &str) -> Result<Node, k8s::Error> {
    let call = Call::get(format!("/api/v1/nodes/{name}"));
    client.send::<Whole>(&call).map(|whole| whole.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_is_there() {
        let Whole(node) = serde_json::from_str(
            r#"{"kind":"Node","metadata":{"name":"n1","labels":{"plain":"1","topology.kubernetes.io/zone":"a"}},
                "spec":{"taints":[{"key":"a","effect":"NoSchedule","timeAdded":"2026-01-02T03:04:05Z"}]}}"#,
        )
        .unwrap();
        let labels: Vec<_> = node.meta.labels.iter().collect();
        assert_eq!(labels, [("plain", "1"), ("topology.kubernetes.io/zone", "a")]);
        assert!(node.taints[0].json.contains("timeAdded"));
        let Whole(bare) = serde_json::from_str(r#"{"metadata":{"name":"n1"}}"#).unwrap();
        assert_eq!(bare.meta.labels.iter().count(), 0);
    }
}
