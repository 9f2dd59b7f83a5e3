//! Nodes as the instances that serve. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use super::annotations::INSTANCE_ID;
use super::instances::identity;
use super::model::Backend;
use crate::k8s::types::Node;

/// A Node that can serve.
#[derive(Debug)]
pub(super) struct Server {
    id: Box<str>,
    name: Box<str>,
    address: IpAddr,
}

impl Server {
    /// As a member that answers on `port`.
    pub(super) fn on(&self, port: NonZeroU16) -> Backend {
        Backend {
            server_id: self.id.clone(),
            server_name: self.name.clone(),
            address: self.address,
            port,
        }
    }
}

/// The Nodes that can serve behind an SLB with this address, in the order of their ids, each id once, and the names of those
/// that cannot. One that waits to be initialised is neither: it is to get its addresses.
pub(super) fn servers(nodes: &[Arc<Node>], slb: Option<IpAddr>) -> (Vec<Server>, Vec<&str>) {
    let (mut servers, mut unreachable, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for node in nodes {
        let Some(address) = address(node, slb) else {
            if !node.is_uninitialized() {
                unreachable.push(&*node.meta.name);
            }
            continue;
        };
        let id = instance_id(node);
        if seen.insert(id) {
            servers.push(Server {
                id: id.into(),
                name: node.meta.name.clone(),
                address,
            });
        }
    }
    servers.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    (servers, unreachable)
}

/// The Node's first internal address of the SLB's family; where that is not known, IPv4 before IPv6.
fn address(node: &Node, slb: Option<IpAddr>) -> Option<IpAddr> {
    let first = |v4: bool| node.internal_ips().find(|ip| ip.is_ipv4() == v4);
    match slb {
        Some(slb) => first(slb.is_ipv4()),
        None => first(true).or_else(|| first(false)),
    }
}

/// What the cloud calls a Node's instance: from the provider ID, else the annotation, else the Node's name.
pub(super) fn instance_id(node: &Node) -> &str {
    let annotated = || node.meta.annotations.get(INSTANCE_ID).filter(|id| !id.is_empty());
    identity::named_by(&node.provider_id)
        .or_else(annotated)
        .unwrap_or(&node.meta.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_known_by_its_provider_id_its_annotation_or_its_name() {
        for (case, provider_id, annotation, want) in [
            ("provider ID", "incloud://i-1", Some("i-2"), "i-1"),
            ("an old form", "inspur:///cn-north-3a/i-1", None, "i-1"),
            ("another cloud's", "kind://docker/kind/n1", Some("i-2"), "i-2"),
            ("an empty one", "incloud://", Some("i-2"), "i-2"),
            ("annotation", "", Some("i-2"), "i-2"),
            ("an empty annotation", "", Some(""), "n1"),
            ("neither", "", None, "n1"),
        ] {
            let mut found = Node {
                provider_id: provider_id.into(),
                ..Node::default()
            };
            found.meta.name = "n1".into();
            found.meta.annotations = annotation.map(|id| (INSTANCE_ID, id)).into_iter().collect();
            assert_eq!(instance_id(&found), want, "{case}");
        }
    }
}
