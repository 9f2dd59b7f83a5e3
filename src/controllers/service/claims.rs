//! Who holds what of the cloud: two Services that want one port of one load balancer.
//!
//! The older Service wins (creation time, then UID). The verdict comes from the Services alone, before anything is
//! written, and is the same after a restart.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::cloud::{Claim, Denied};
use crate::controllers::few::Few;
use crate::k8s::types::{ObjectMeta, Timestamp};

/// A Service in the order of precedence: the least holds the claim.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Claimant {
    created: Timestamp,
    uid: Box<str>,
    key: Arc<str>,
}

/// The claims of all Services.
///
/// A Service keeps a claim that it no longer makes until it is settled: until what it had made there is gone from the cloud.
#[derive(Debug, Default)]
pub(super) struct Claims {
    by_claim: HashMap<Claim, Few<Claimant>>,
    by_service: BTreeMap<Arc<str>, (Claimant, Few<Claim>)>,
}

impl Claims {
    /// Adds `claims` to those of the Service with this key. Returns the keys of the others that hold or want one of them: they may
    /// have lost it.
    pub(super) fn add(
        &mut self,
        key: &Arc<str>,
        meta: &ObjectMeta,
        claims: Vec<Claim>,
    ) -> BTreeSet<Arc<str>> {
        let claimant = Claimant {
            // without a creation time nobody is older; such an object does not come from a real server
            created: meta.creation_timestamp.unwrap_or(Timestamp(u64::MAX)),
            uid: meta.uid.clone(),
            key: Arc::clone(key),
        };
        let mut touched = BTreeSet::new();
        if self
            .by_service
            .get(key)
            .is_some_and(|(known, _)| *known != claimant)
        {
            touched = self.remove(key);
        }
        if claims.is_empty() {
            return touched;
        }
        let (_, held) = self
            .by_service
            .entry(Arc::clone(key))
            .or_insert_with(|| (claimant.clone(), Few::default()));
        for claim in claims {
            if held.insert(claim.clone()) {
                let claimants = self.by_claim.entry(claim).or_default();
                touched.extend(claimants.iter().map(|other| Arc::clone(&other.key)));
                claimants.insert(claimant.clone());
            }
        }
        touched.remove(key);
        touched
    }

    /// Drops the claims of the Service that are not among `kept`. Returns the keys of those who wanted one of them.
    pub(super) fn settle(&mut self, key: &Arc<str>, kept: &[Claim]) -> BTreeSet<Arc<str>> {
        let Some((claimant, held)) = self.by_service.get_mut(key) else {
            return BTreeSet::new();
        };
        let dropped: Vec<Claim> = held
            .iter()
            .filter(|claim| !kept.contains(claim))
            .cloned()
            .collect();
        let mut waiting = BTreeSet::new();
        for claim in dropped {
            held.remove(&claim);
            if let Some(claimants) = self.by_claim.get_mut(&claim) {
                claimants.remove(claimant);
                waiting.extend(claimants.iter().map(|other| Arc::clone(&other.key)));
                if claimants.is_empty() {
                    self.by_claim.remove(&claim);
                }
            }
        }
        if held.is_empty() {
            self.by_service.remove(key);
        }
        waiting
    }

    /// Drops all claims of the Service, as when it is gone. Returns the keys of those who wanted one of them.
    pub(super) fn remove(&mut self, key: &Arc<str>) -> BTreeSet<Arc<str>> {
        self.settle(key, &[])
    }

    /// Every claim, and the key of the Service that holds it.
    pub(super) fn holders(&self) -> impl Iterator<Item = (&Claim, &Arc<str>)> {
        self.by_claim
            .iter()
            .filter_map(|(claim, few)| Some((claim, &few.first()?.key)))
    }

    /// Those claims of the Service that an older one holds.
    pub(super) fn denied(&self, key: &str) -> Vec<Denied> {
        let Some((_, held)) = self.by_service.get(key) else {
            return Vec::new();
        };
        held.iter()
            .filter_map(|claim| {
                let holder = self.by_claim.get(claim)?.first()?;
                (&*holder.key != key).then(|| Denied {
                    claim: claim.clone(),
                    holder: Arc::clone(&holder.key),
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(created: u64, uid: &str) -> ObjectMeta {
        ObjectMeta {
            creation_timestamp: Some(Timestamp(created)),
            uid: uid.into(),
            ..ObjectMeta::default()
        }
    }

    fn claims(names: &[&str]) -> Vec<Claim> {
        names.iter().map(|name| Claim((*name).into())).collect()
    }

    fn keys(names: &[&str]) -> BTreeSet<Arc<str>> {
        names.iter().map(|name| (*name).into()).collect()
    }

    fn denied(claims: &Claims, key: &str) -> Vec<(String, String)> {
        claims
            .denied(key)
            .into_iter()
            .map(|d| (d.claim.0.to_string(), d.holder.to_string()))
            .collect()
    }

    #[test]
    fn the_older_service_wins_whoever_is_seen_first() {
        let (old, young): (Arc<str>, Arc<str>) = ("a/old".into(), "a/young".into());
        for order in [[0, 1], [1, 0]] {
            let mut all = Claims::default();
            for who in order {
                match who {
                    0 => all.add(&old, &meta(1, "u2"), claims(&["slb/TCP/80"])),
                    _ => all.add(&young, &meta(2, "u1"), claims(&["slb/TCP/80", "slb/TCP/81"])),
                };
            }
            assert_eq!(denied(&all, "a/old"), [], "{order:?}");
            assert_eq!(
                denied(&all, "a/young"),
                [("slb/TCP/80".into(), "a/old".into())],
                "{order:?}"
            );
        }
    }

    #[test]
    fn of_two_made_in_one_second_the_uid_decides() {
        let (one, two): (Arc<str>, Arc<str>) = ("a/one".into(), "a/two".into());
        let mut all = Claims::default();
        all.add(&one, &meta(1, "u2"), claims(&["x"]));
        all.add(&two, &meta(1, "u1"), claims(&["x"]));
        assert_eq!(denied(&all, "a/one"), [("x".into(), "a/two".into())]);
    }

    #[test]
    fn an_older_latecomer_names_whom_it_displaces() {
        let (old, young): (Arc<str>, Arc<str>) = ("a/old".into(), "a/young".into());
        let mut all = Claims::default();
        assert_eq!(all.add(&young, &meta(2, "u2"), claims(&["x"])), keys(&[]));
        assert_eq!(all.add(&old, &meta(1, "u1"), claims(&["x"])), keys(&["a/young"]));
    }

    #[test]
    fn a_claim_is_kept_until_it_is_settled_and_then_the_next_is_told() {
        let (old, young): (Arc<str>, Arc<str>) = ("a/old".into(), "a/young".into());
        let mut all = Claims::default();
        all.add(&old, &meta(1, "u1"), claims(&["x"]));
        all.add(&young, &meta(2, "u2"), claims(&["x"]));
        assert_eq!(all.add(&old, &meta(1, "u1"), claims(&["y"])), keys(&[]));
        assert_eq!(
            denied(&all, "a/young").len(),
            1,
            "the listener on x is still there"
        );
        assert_eq!(all.settle(&old, &claims(&["y"])), keys(&["a/young"]));
        assert_eq!(denied(&all, "a/young"), []);
        all.remove(&young);
        all.remove(&old);
        assert!(
            all.by_claim.is_empty() && all.by_service.is_empty(),
            "nothing is left behind"
        );
    }

    #[test]
    fn a_successor_of_the_same_name_does_not_inherit_seniority() {
        let (one, two): (Arc<str>, Arc<str>) = ("a/one".into(), "a/two".into());
        let mut all = Claims::default();
        all.add(&one, &meta(1, "u1"), claims(&["x"]));
        all.add(&two, &meta(2, "u2"), claims(&["x"]));
        assert_eq!(all.add(&one, &meta(3, "u3"), claims(&["x"])), keys(&["a/two"]));
        assert_eq!(denied(&all, "a/one"), [("x".into(), "a/two".into())]);
    }
}
