//! [`Instances`] without an API: what Node and config say, repeated.

use std::sync::Arc;

use super::identity::{Identity, identity, provider_id};
use super::{Place, refuse_shared};
use crate::cloud::{Authority, Error, Freshness, Instance, Instances, Lookup};
use crate::k8s::types::Node;

/// Takes every Node's word for it.
pub(in crate::inspur) struct Hearsay {
    pub(in crate::inspur) place: Place,
}

impl Hearsay {
    /// The provider ID is the Node's own, whatever it is, else from the annotation, else the Node's name.
    fn repeat(&self, node: &Node) -> Result<Lookup, Error> {
        let provider_id = match &*node.provider_id {
            "" => match identity(node)? {
                Identity::Id(id) => provider_id(&id),
                Identity::Unsaid => provider_id(&node.meta.name),
            },
            own => own.into(),
        };
        Ok(Lookup::Found(Arc::new(Instance {
            provider_id,
            addresses: node.addresses.to_vec(),
            region: self.place.region.clone().unwrap_or_default(),
            zone: self.place.zone.clone().unwrap_or_default(),
            ..Instance::default()
        })))
    }
}

impl Instances for Hearsay {
    fn authority(&self) -> Authority {
        Authority::Hearsay
    }

    fn look_up(&self, nodes: &[Arc<Node>], _: Freshness) -> Vec<Result<Lookup, Error>> {
        let mut results: Vec<_> = nodes.iter().map(|node| self.repeat(node)).collect();
        refuse_shared(nodes, &mut results);
        results
    }
}

#[cfg(test)]
mod tests {
    use super::super::reason;
    use super::*;
    use crate::cloud::InstanceState;
    use crate::inspur::annotations::INSTANCE_ID;
    use crate::inspur::testing::node;

    fn named(name: &str, provider_id: &str, annotation: Option<&str>) -> Arc<Node> {
        let mut node = Node::clone(&node(name, "10.0.0.1"));
        node.provider_id = provider_id.into();
        node.meta.annotations = annotation.map(|id| (INSTANCE_ID, id)).into_iter().collect();
        Arc::new(node)
    }

    #[test]
    fn a_node_is_what_it_says_it_is() {
        let place = Place {
            region: Some("cn-north-3".into()),
            zone: None,
        };
        for (case, node, want) in [
            (
                "its own provider ID",
                named("n1", "incloud://i-1", Some("i-2")),
                "incloud://i-1",
            ),
            (
                "another cloud's",
                named("n1", "kind://docker/kind/n1", None),
                "kind://docker/kind/n1",
            ),
            ("the annotation", named("n1", "", Some("i-2")), "incloud://i-2"),
            ("its name", named("n1", "", None), "incloud://n1"),
        ] {
            let place = place.clone();
            let results = Hearsay { place }.look_up(&[Arc::clone(&node)], Freshness::Now);
            let Ok(Lookup::Found(found)) = &results[0] else {
                panic!("{case}: {results:?}");
            };
            assert_eq!(&*found.provider_id, want, "{case}");
            assert_eq!(*found.addresses, *node.addresses, "{case}");
            assert_eq!((&*found.region, &*found.zone), ("cn-north-3", ""), "{case}");
            assert_eq!(found.state, InstanceState::Up, "{case}");
        }
    }

    #[test]
    fn what_cannot_be_an_id_is_refused_and_so_are_two_that_are_one() {
        let nodes = [
            named("n1", "", Some("ask bob")),
            named("n2", "", Some("i-1")),
            named("n3", "incloud://i-1", None),
            named("n4", "", None),
        ];
        let place = Place::default();
        let results = Hearsay { place }.look_up(&nodes, Freshness::Recent);
        let reasons: Vec<_> = results
            .iter()
            .map(|result| result.as_ref().err().and_then(Error::reason))
            .collect();
        let shared = Some(reason::SHARED);
        assert_eq!(reasons, [Some(reason::ID_INVALID), shared, shared, None]);
    }
}
