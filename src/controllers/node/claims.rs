//! Who holds an instance: two Nodes that say they are one machine.
//!
//! A Node that has the provider ID already keeps it; of two others the older wins (creation time, then UID). The verdict
//! comes from the Nodes alone.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use crate::controllers::few::Few;
use crate::k8s::types::{Node, Timestamp};

/// A Node and the instance that it claims. Of the claims on one instance the least holds it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    has_id: Reverse<bool>,
    created: Timestamp,
    uid: Box<str>,
    name: Arc<str>,
    id: Arc<str>,
}

/// The claims of all Nodes on instances, each by its provider ID.
#[derive(Debug, Default)]
pub(super) struct Claims {
    by_id: HashMap<Arc<str>, Few<Arc<Claim>>>,
    by_node: HashMap<Arc<str>, Arc<Claim>>,
}

impl Claims {
    /// The Node says that it is the instance `id`, and no other any more. Returns the names of those whose turn it may be
    /// because of that.
    pub(super) fn add(&mut self, name: &Arc<str>, node: &Node, id: &str) -> Vec<Arc<str>> {
        let claim = Claim {
            has_id: Reverse(!node.provider_id.is_empty()),
            // without a creation time nobody is older; such an object does not come from a real server
            created: node.meta.creation_timestamp.unwrap_or(Timestamp(u64::MAX)),
            uid: node.meta.uid.clone(),
            name: Arc::clone(name),
            id: id.into(),
        };
        if self.by_node.get(name).is_some_and(|known| **known == claim) {
            return Vec::new();
        }
        let freed = self.remove(name);
        let claim = Arc::new(claim);
        self.by_id
            .entry(Arc::clone(&claim.id))
            .or_default()
            .insert(Arc::clone(&claim));
        self.by_node.insert(Arc::clone(name), claim);
        freed
    }

    /// The Node is gone. Returns the names of those who wanted to be its instance.
    pub(super) fn remove(&mut self, name: &str) -> Vec<Arc<str>> {
        let Some(claim) = self.by_node.remove(name) else {
            return Vec::new();
        };
        let Some(claims) = self.by_id.get_mut(&claim.id) else {
            return Vec::new();
        };
        claims.remove(&claim);
        let others: Vec<Arc<str>> = claims.iter().map(|other| Arc::clone(&other.name)).collect();
        if others.is_empty() {
            self.by_id.remove(&claim.id);
        }
        others
    }

    /// The other Node that holds the instance which this one claims, if another does.
    pub(super) fn holder(&self, name: &str) -> Option<Arc<str>> {
        let claim = self.by_node.get(name)?;
        let first = &self.by_id.get(&claim.id)?.first()?.name;
        (**first != *name).then(|| Arc::clone(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::types::ObjectMeta;

    fn node(created: u64, uid: &str, id: &str) -> Node {
        let meta = ObjectMeta {
            creation_timestamp: Some(Timestamp(created)),
            uid: uid.into(),
            ..ObjectMeta::default()
        };
        Node {
            meta,
            provider_id: id.into(),
            ..Node::default()
        }
    }

    #[test]
    fn one_of_two_holds_the_instance_whoever_is_seen_first() {
        for (case, winner, loser) in [
            ("the older", node(1, "u2", ""), node(2, "u1", "")),
            ("the lesser UID", node(1, "u1", ""), node(1, "u2", "")),
            ("the one that has the ID", node(2, "u2", "i"), node(1, "u1", "")),
            (
                "the older of two that have it",
                node(1, "u2", "i"),
                node(2, "u1", "i"),
            ),
        ] {
            let (w, l): (Arc<str>, Arc<str>) = ("winner".into(), "loser".into());
            for winner_first in [true, false] {
                let mut claims = Claims::default();
                if winner_first {
                    claims.add(&w, &winner, "i");
                }
                claims.add(&l, &loser, "i");
                claims.add(&w, &winner, "i");
                assert_eq!(claims.holder("winner"), None, "{case}");
                assert_eq!(claims.holder("loser"), Some(Arc::clone(&w)), "{case}");
                assert_eq!(claims.remove("winner"), [Arc::clone(&l)], "{case}");
                assert_eq!(claims.holder("loser"), None, "{case}");
            }
        }
    }

    #[test]
    fn a_node_that_is_another_instance_now_frees_the_first() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut claims = Claims::default();
        claims.add(&a, &node(1, "u1", ""), "i");
        claims.add(&b, &node(2, "u2", ""), "i");
        assert_eq!(claims.add(&a, &node(1, "u1", ""), "i"), [] as [Arc<str>; 0]);
        assert_eq!(claims.add(&a, &node(1, "u1", ""), "j"), [Arc::clone(&b)]);
        assert_eq!((claims.holder("a"), claims.holder("b")), (None, None));
        claims.remove("a");
        claims.remove("b");
        assert!(
            claims.by_id.is_empty() && claims.by_node.is_empty(),
            "nothing is left behind"
        );
    }
}
