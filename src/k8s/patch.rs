//! The patches this daemon sends, shaped by hand. Every write is a patch, never a whole object: our types do not hold all fields.
//!
//! Each carries the object's UID, so that a successor of the same name is never hit. Those that replace what the object held
//! carry its resourceVersion too, and conflict with what came since; the others may be applied twice, and to a newer object.
//! Source: kube-client.md 6.4, 6.5.

use serde_json::{Map, Value, json};

use super::call::{Call, PatchType};
use super::types::{LoadBalancerIngress, NodeAddress, ObjectMeta, Taint};

/// What to change on a Service, in one request to its `status`. Metadata may be changed there too, and RBAC on
/// `services/status` is all it needs. Source: kube-client.md 6.4.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServicePatch<'a> {
    add_finalizer: Option<&'a str>,
    remove_finalizer: Option<&'a str>,
    annotation: Option<(&'a str, Option<&'a str>)>,
    ingress: Option<&'a [LoadBalancerIngress]>,
}

impl<'a> ServicePatch<'a> {
    /// Adds to the set of finalizers.
    pub fn add_finalizer(mut self, name: &'a str) -> Self {
        self.add_finalizer = Some(name);
        self
    }

    /// Takes out of the set of finalizers; the others stay, also those added meanwhile.
    pub fn remove_finalizer(mut self, name: &'a str) -> Self {
        self.remove_finalizer = Some(name);
        self
    }

    /// Sets one annotation, or removes it.
    pub fn annotation(mut self, key: &'a str, value: Option<&'a str>) -> Self {
        self.annotation = Some((key, value));
        self
    }

    /// Sets where traffic enters; an empty list clears it.
    pub fn ingress(mut self, ingress: &'a [LoadBalancerIngress]) -> Self {
        self.ingress = Some(ingress);
        self
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The request for the Service with this metadata.
    pub fn call(&self, meta: &ObjectMeta) -> Call {
        let path = format!(
            "/api/v1/namespaces/{}/services/{}/status",
            meta.namespace, meta.name
        );
        Call::patch(path, PatchType::Strategic, &self.body(&meta.uid))
    }

    fn body(&self, uid: &str) -> Value {
        let mut metadata = Map::from_iter([("uid".to_string(), json!(uid))]);
        if let Some(name) = self.add_finalizer {
            metadata.insert("finalizers".into(), json!([name]));
        }
        if let Some(name) = self.remove_finalizer {
            metadata.insert("$deleteFromPrimitiveList/finalizers".into(), json!([name]));
        }
        if let Some((key, value)) = self.annotation {
            metadata.insert("annotations".into(), json!({ key: value }));
        }
        let mut body = json!({ "metadata": metadata });
        match self.ingress {
            None => {}
            Some([]) => body["status"] = json!({ "loadBalancer": { "ingress": null } }),
            Some(ingress) => body["status"] = json!({ "loadBalancer": { "ingress": ingress } }),
        }
        body
    }
}

/// What to change on a Node, in one request. Its status has [`node_addresses`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodePatch<'a> {
    labels: Vec<(&'a str, &'a str)>,
    provider_id: Option<&'a str>,
    taints: Option<Vec<&'a Taint>>,
}

impl<'a> NodePatch<'a> {
    /// Sets one label; the others stay.
    pub fn label(mut self, key: &'a str, value: &'a str) -> Self {
        self.labels.push((key, value));
        self
    }

    /// Sets the provider ID, which the server allows once.
    pub fn provider_id(mut self, id: &'a str) -> Self {
        self.provider_id = Some(id);
        self
    }

    /// Replaces all taints by these, with everything they hold.
    pub fn taints(mut self, taints: impl IntoIterator<Item = &'a Taint>) -> Self {
        self.taints = Some(taints.into_iter().collect());
        self
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The request for the Node with this metadata. It conflicts with every change since that version, unless it sets
    /// nothing but labels.
    pub fn call(&self, meta: &ObjectMeta) -> Call {
        let path = format!("/api/v1/nodes/{}", meta.name);
        Call::patch(path, PatchType::Merge, &self.body(meta))
    }

    fn body(&self, meta: &ObjectMeta) -> Value {
        let is_guarded = self.provider_id.is_some() || self.taints.is_some();
        let mut metadata = if is_guarded {
            json!({ "uid": meta.uid, "resourceVersion": meta.resource_version })
        } else {
            json!({ "uid": meta.uid })
        };
        if !self.labels.is_empty() {
            let labels = self
                .labels
                .iter()
                .map(|(key, value)| (key.to_string(), json!(value)));
            metadata["labels"] = labels.collect::<Map<_, _>>().into();
        }
        let mut body = json!({ "metadata": metadata });
        if let Some(id) = self.provider_id {
            body["spec"]["providerID"] = json!(id);
        }
        if let Some(taints) = &self.taints {
            body["spec"]["taints"] = match &**taints {
                [] => Value::Null,
                taints => taints.iter().map(|taint| taint_as_read(taint)).collect(),
            };
        }
        body
    }
}

fn taint_as_read(taint: &Taint) -> Value {
    serde_json::from_str(&taint.json).expect("a taint was read from JSON or made from it")
}

/// The request that replaces all addresses in the status of the Node with this metadata. It conflicts with every change since
/// that version.
pub fn node_addresses(meta: &ObjectMeta, addresses: &[NodeAddress]) -> Call {
    let path = format!("/api/v1/nodes/{}/status", meta.name);
    let addresses = addresses
        .iter()
        .map(|address| json!({ "type": address.type_, "address": address.address }));
    let body = json!({
        "metadata": { "uid": meta.uid, "resourceVersion": meta.resource_version },
        "status": { "addresses": addresses.collect::<Value>() },
    });
    Call::patch(path, PatchType::Merge, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_patch_of_a_node_has_its_shape() {
        let meta = ObjectMeta {
            name: "n1".into(),
            uid: "u1".into(),
            resource_version: "7".into(),
            ..ObjectMeta::default()
        };
        let other: Taint =
            serde_json::from_str(r#"{"key":"a","effect":"NoExecute","timeAdded":"2026-01-02T03:04:05Z"}"#)
                .unwrap();
        for (case, patch, want) in [
            (
                "labels alone may meet a newer Node",
                NodePatch::default().label("a/b", "c").label("d", ""),
                json!({"metadata":{"uid":"u1","labels":{"a/b":"c","d":""}}}),
            ),
            (
                "the last taint",
                NodePatch::default().taints([]),
                json!({"metadata":{"uid":"u1","resourceVersion":"7"},"spec":{"taints":null}}),
            ),
            (
                "taints of others keep what is not read",
                NodePatch::default()
                    .label("a/b", "c")
                    .provider_id("incloud://i-1")
                    .taints([&other]),
                json!({"metadata":{"uid":"u1","resourceVersion":"7","labels":{"a/b":"c"}},
                       "spec":{"providerID":"incloud://i-1","taints":[{"key":"a","effect":"NoExecute","timeAdded":"2026-01-02T03:04:05Z"}]}}),
            ),
        ] {
            assert!(!patch.is_empty(), "{case}");
            assert_eq!(patch.body(&meta), want, "{case}");
        }
        assert!(NodePatch::default().is_empty());
        let call = NodePatch::default().label("a", "b").call(&meta);
        assert_eq!(call.describe(), "PATCH /api/v1/nodes/n1");
        assert_eq!(call.body.unwrap().0, "application/merge-patch+json");
    }

    #[test]
    fn addresses_replace_those_in_the_status_of_that_version() {
        let meta = ObjectMeta {
            name: "n1".into(),
            uid: "u1".into(),
            resource_version: "7".into(),
            ..ObjectMeta::default()
        };
        let address = NodeAddress {
            type_: "InternalIP".into(),
            address: "10.0.0.1".into(),
        };
        let call = node_addresses(&meta, &[address]);
        assert_eq!(call.describe(), "PATCH /api/v1/nodes/n1/status");
        let body: Value = serde_json::from_slice(&call.body.unwrap().1).unwrap();
        assert_eq!(
            body,
            json!({"metadata":{"uid":"u1","resourceVersion":"7"},"status":{"addresses":[{"type":"InternalIP","address":"10.0.0.1"}]}})
        );
    }

    #[test]
    fn each_patch_has_its_shape() {
        let ingress = [LoadBalancerIngress::ip("10.0.0.1".parse().unwrap())];
        for (case, patch, want) in [
            (
                "before the first write",
                ServicePatch::default()
                    .add_finalizer("f")
                    .annotation("a/b", Some("slb-1")),
                json!({"metadata":{"uid":"u1","finalizers":["f"],"annotations":{"a/b":"slb-1"}}}),
            ),
            (
                "served",
                ServicePatch::default().ingress(&ingress),
                json!({"metadata":{"uid":"u1"},"status":{"loadBalancer":{"ingress":[{"ip":"10.0.0.1"}]}}}),
            ),
            (
                "cleaned up",
                ServicePatch::default()
                    .remove_finalizer("f")
                    .annotation("a/b", None)
                    .ingress(&[]),
                json!({"metadata":{"uid":"u1","$deleteFromPrimitiveList/finalizers":["f"],"annotations":{"a/b":null}},
                       "status":{"loadBalancer":{"ingress":null}}}),
            ),
        ] {
            assert!(!patch.is_empty(), "{case}");
            assert_eq!(patch.body("u1"), want, "{case}");
        }
        assert!(ServicePatch::default().is_empty());
    }

    #[test]
    fn it_goes_to_the_status_of_that_service() {
        let meta = ObjectMeta {
            name: "web".into(),
            namespace: "shop".into(),
            uid: "u1".into(),
            ..ObjectMeta::default()
        };
        let call = ServicePatch::default().add_finalizer("f").call(&meta);
        assert_eq!(
            call.describe(),
            "PATCH /api/v1/namespaces/shop/services/web/status"
        );
        assert_eq!(call.body.unwrap().0, "application/strategic-merge-patch+json");
    }
}
