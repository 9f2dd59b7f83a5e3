//! What recent answers said. Pure: `now` is an argument.
//!
//! Only what exists is remembered; that something does not is never.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::reason;
use crate::cloud::{Error, InstanceState};
use crate::inspur::model::Machine;
use crate::k8s::types::Node;

/// How long an answer may be used again.
pub(super) const RECENT: Duration = Duration::from_secs(10);

/// For how long an instance that was seen is a likely witness.
const LIKELY: Duration = Duration::from_secs(3600);

/// What was seen.
#[derive(Default)]
pub(super) struct Known {
    seen: HashMap<Box<str>, Seen>,
    listing: Option<Arc<Listing>>,
    /// Since when Nodes that do not name their instance are counted, and how many there were.
    unsaid: Option<(Instant, usize)>,
}

struct Seen {
    at: Instant,
    /// Only as long as it may be used.
    machine: Option<Arc<Machine>>,
}

impl Known {
    /// `machines` were in the answer to a question of `now`.
    pub(super) fn saw(&mut self, machines: &[Arc<Machine>], now: Instant) {
        let age = |seen: &Seen| now.saturating_duration_since(seen.at);
        self.seen.retain(|_, seen| age(seen) < LIKELY);
        for seen in self.seen.values_mut().filter(|seen| age(seen) >= RECENT) {
            seen.machine = None;
        }
        for machine in machines {
            let seen = Seen {
                at: now,
                machine: Some(Arc::clone(machine)),
            };
            self.seen.insert(machine.id.clone(), seen);
        }
    }

    /// An answer to a question about `ids` that held others did not hold them.
    pub(super) fn missed<'a>(&mut self, ids: impl Iterator<Item = &'a str>) {
        for id in ids {
            self.seen.remove(id);
        }
    }

    /// The instance, if it was seen a moment ago.
    pub(super) fn recent(&self, id: &str, now: Instant) -> Option<Arc<Machine>> {
        let seen = self.seen.get(id)?;
        let fresh = now.saturating_duration_since(seen.at) < RECENT;
        seen.machine.clone().filter(|_| fresh)
    }

    /// Up to `count` ids, none of them in `but`, of instances that were seen last.
    pub(super) fn witnesses(&self, but: &[&str], count: usize) -> Vec<Box<str>> {
        let but: HashSet<&str> = but.iter().copied().collect();
        let others = self.seen.iter().filter(|(id, _)| !but.contains(&***id));
        let mut others: Vec<_> = others.map(|(id, seen)| (Reverse(seen.at), id)).collect();
        others.sort_unstable();
        let last = others.into_iter().take(count);
        last.map(|(_, id)| id.clone()).collect()
    }

    /// Everything there was at the time of this listing.
    pub(super) fn listed(&mut self, listing: Arc<Listing>) {
        self.saw(&listing.machines, listing.at);
        self.listing = Some(listing);
    }

    /// The last listing, if it was made a moment ago.
    pub(super) fn listing(&mut self, now: Instant) -> Option<Arc<Listing>> {
        let fresh = |listing: &Arc<Listing>| now.saturating_duration_since(listing.at) < RECENT;
        self.listing = self.listing.take().filter(fresh);
        self.listing.clone()
    }

    /// Counts `more` Nodes that do not name their instance. How many there were of late, with these.
    pub(super) fn count_unsaid(&mut self, more: usize, now: Instant) -> usize {
        let (since, before) = self
            .unsaid
            .filter(|(since, _)| now.saturating_duration_since(*since) < RECENT)
            .unwrap_or((now, 0));
        self.unsaid = Some((since, before + more));
        before + more
    }
}

/// All instances of one moment, by what a Node can be known by.
pub(super) struct Listing {
    at: Instant,
    machines: Vec<Arc<Machine>>,
    by_name: HashMap<Box<str>, Vec<usize>>,
    by_address: HashMap<IpAddr, Vec<usize>>,
}

impl Listing {
    pub(super) fn new(machines: Vec<Arc<Machine>>, at: Instant) -> Self {
        let (mut by_name, mut by_address) = (HashMap::<_, Vec<_>>::new(), HashMap::<_, Vec<_>>::new());
        let candidates = machines
            .iter()
            .enumerate()
            .filter(|(_, machine)| is_candidate(machine));
        for (index, machine) in candidates {
            by_name.entry(machine.name.clone()).or_default().push(index);
            for ip in machine.internal_ips() {
                by_address.entry(ip).or_default().push(index);
            }
        }
        Self {
            at,
            machines,
            by_name,
            by_address,
        }
    }

    /// The one instance with the Node's name, else with one of its internal addresses, if there is any.
    ///
    /// # Errors
    /// [`Error::Rejected`] when there are several.
    pub(super) fn instance_of(&self, node: &Node) -> Result<Option<Arc<Machine>>, Error> {
        let machines = |found: Option<&Vec<usize>>| -> Vec<_> {
            let found = found.map(Vec::as_slice).unwrap_or_default();
            found
                .iter()
                .map(|&index| Arc::clone(&self.machines[index]))
                .collect()
        };
        let named = machines(self.by_name.get(&node.meta.name));
        if !named.is_empty() {
            return the_one(named);
        }
        the_one(
            node.internal_ips()
                .flat_map(|ip| machines(self.by_address.get(&ip)))
                .collect(),
        )
    }
}

/// Whether a Node could be this: one that ended is none, and leaves its name and addresses to others.
pub(super) fn is_candidate(machine: &Machine) -> bool {
    machine.state != InstanceState::Ended
}

/// The one of `candidates`, if there is any.
///
/// # Errors
/// [`Error::Rejected`] when there are several.
pub(super) fn the_one(mut candidates: Vec<Arc<Machine>>) -> Result<Option<Arc<Machine>>, Error> {
    candidates.sort_by(|a, b| a.id.cmp(&b.id));
    candidates.dedup_by(|a, b| a.id == b.id);
    if candidates.len() <= 1 {
        return Ok(candidates.pop());
    }
    let ids: Vec<&str> = candidates.iter().take(5).map(|machine| &*machine.id).collect();
    Err(Error::Rejected {
        reason: reason::AMBIGUOUS,
        message: format!(
            "the Node could be any of the instances {}; name the right one in the annotation {}",
            ids.join(", "),
            crate::inspur::annotations::INSTANCE_ID
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspur::testing::node;

    fn machine(id: &str, name: &str, address: &str) -> Arc<Machine> {
        Arc::new(Machine {
            id: id.into(),
            name: name.into(),
            private_ips: vec![address.into()],
            ..Machine::default()
        })
    }

    fn ids(ids: &[Box<str>]) -> Vec<&str> {
        ids.iter().map(|id| &**id).collect()
    }

    #[test]
    fn what_was_seen_counts_for_ten_seconds() {
        let (mut known, start) = (Known::default(), Instant::now());
        known.saw(&[machine("i-1", "n1", "10.0.0.1")], start);
        let last = start + RECENT - Duration::from_millis(1);
        assert!(known.recent("i-1", last).is_some());
        assert!(known.recent("i-1", start + RECENT).is_none());
        assert!(known.recent("i-2", start).is_none());
        known.missed(["i-1"].into_iter());
        assert!(known.recent("i-1", start).is_none());
    }

    #[test]
    fn a_listing_counts_for_ten_seconds() {
        let (mut known, start) = (Known::default(), Instant::now());
        let listing = Listing::new(vec![machine("i-1", "n1", "10.0.0.1")], start);
        known.listed(Arc::new(listing));
        assert!(known.recent("i-1", start).is_some());
        assert!(known.listing(start + RECENT - Duration::from_millis(1)).is_some());
        assert!(known.listing(start + RECENT).is_none());
        assert!(known.listing(start).is_none(), "and is dropped then");
    }

    #[test]
    fn witnesses_are_those_seen_last() {
        let (mut known, start) = (Known::default(), Instant::now());
        for (second, id) in ["i-1", "i-2", "i-3", "i-4"].iter().enumerate() {
            let at = start + Duration::from_secs(second as u64);
            known.saw(&[machine(id, "", "10.0.0.1")], at);
        }
        for (but, count, want) in [
            (vec![], 2, vec!["i-4", "i-3"]),
            (vec!["i-3"], 2, vec!["i-4", "i-2"]),
            (vec!["i-3"], 9, vec!["i-4", "i-2", "i-1"]),
            (vec!["i-3"], 0, vec![]),
        ] {
            assert_eq!(ids(&known.witnesses(&but, count)), want, "{but:?}, {count}");
        }
        known.saw(&[], start + LIKELY + Duration::from_secs(2));
        assert_eq!(
            ids(&known.witnesses(&[], 9)),
            ["i-4"],
            "the others were seen long ago"
        );
    }

    #[test]
    fn nodes_without_an_id_are_counted_for_ten_seconds() {
        let (mut known, start) = (Known::default(), Instant::now());
        assert_eq!(known.count_unsaid(2, start), 2);
        assert_eq!(
            known.count_unsaid(3, start + RECENT - Duration::from_millis(1)),
            5
        );
        assert_eq!(known.count_unsaid(1, start + RECENT), 1);
    }

    #[test]
    fn a_node_is_found_by_name_and_else_by_address_and_never_guessed() {
        let listing = Listing::new(
            vec![
                machine("i-1", "n1", "10.0.0.1"),
                machine("i-2", "twin", "10.0.0.2"),
                machine("i-3", "twin", "10.0.0.3"),
                machine("i-4", "x", "10.0.0.4"),
                machine("i-5", "y", "10.0.0.4"),
                machine("i-6", "", "10.0.0.6"),
                Arc::new(Machine {
                    state: InstanceState::Ended,
                    ..Machine::clone(&machine("i-0", "n1", "10.0.0.6"))
                }),
            ],
            Instant::now(),
        );
        for (case, name, addresses, want) in [
            ("by name", "n1", "10.0.0.6", Ok(Some("i-1"))),
            ("by address", "other", "192.0.2.1 10.0.0.1", Ok(Some("i-1"))),
            ("by two addresses", "other", "10.0.0.1 10.0.0.1", Ok(Some("i-1"))),
            ("not at all", "other", "192.0.2.1", Ok(None)),
            ("an empty name is none", "other", "10.0.0.6", Ok(Some("i-6"))),
            ("two of one name", "twin", "10.0.0.2", Err("i-2, i-3")),
            ("two of one address", "other", "10.0.0.4", Err("i-4, i-5")),
            (
                "two of two addresses",
                "other",
                "10.0.0.1 10.0.0.2",
                Err("i-1, i-2"),
            ),
        ] {
            let found = listing.instance_of(&node(name, addresses));
            match (found, want) {
                (Ok(found), Ok(want)) => assert_eq!(found.as_ref().map(|m| &*m.id), want, "{case}"),
                (Err(error), Err(both)) => assert!(error.to_string().contains(both), "{case}: {error}"),
                (found, _) => panic!("{case}: {:?}", found.map(|m| m.map(|m| m.id.clone()))),
            }
        }
    }
}
