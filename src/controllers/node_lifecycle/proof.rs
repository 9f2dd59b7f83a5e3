//! What follows from what a cloud says of a Node's instance. Pure.
//!
//! An instance is *gone* when authorised answers of several distinct moments did not hold it, each with other known instances in
//! it. Everything else is doubt, and doubt deletes nothing: it neither adds to what is remembered nor takes from it. Only
//! a sign of life does: the instance was found, or its Node is Ready again.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::cloud::{Error, InstanceState, Lookup};
use crate::k8s::types::{Node, Readiness};

/// How much it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Answers closer together than this are of one moment: what makes an answer wrong often lasts a while.
    pub distance: Duration,
    /// In how many moments the instance must have been missing.
    pub confirmations: NonZeroU32,
    /// How long nothing said about a new Node proves anything.
    ///
    /// A Node's age is what its creation date says or how long we have known it, whichever is less. The date alone would not
    /// do: it comes from another machine's clock, it may be unreadable, and a Node made from a backup brings an old
    /// one. Knowing it alone would do, and costs a wait after each start; that is when a wrong account or region in
    /// the config makes every instance look missing.
    pub startup_grace: Duration,
}

/// What is known of a Node's instance after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Knowledge {
    /// The cloud shows it, in this state. [`InstanceState::Ended`] is no more than that.
    Exists(InstanceState),
    /// Nothing follows from the answer.
    Doubt(Doubt),
    /// It is missing, but not often enough yet.
    Suspected,
    /// It is proven gone.
    Gone,
}

/// Why nothing follows from an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    /// There was none, or none that can be understood.
    NoAnswer,
    /// Nothing else that is known to exist was in it.
    NoWitness,
    /// The Node has no provider ID. Its name, address or annotation may suggest an instance, but may be mistaken: that such an
    /// instance is missing says nothing about the machine that the Node runs on.
    NoProviderId,
    /// Another Node has the same provider ID: one of them is mistaken about its machine, and nobody knows which.
    SharedProviderId,
    /// The Node is younger than the grace period.
    Young,
}

impl Doubt {
    /// For the log; `None` where nobody needs to do anything.
    pub(super) fn text(self) -> Option<&'static str> {
        match self {
            Self::NoAnswer | Self::Young => None,
            Self::NoWitness => {
                Some("the instance is missing, but so is every other: the answer may be wrong")
            }
            Self::NoProviderId => Some("the instance is missing, but the Node has no provider ID to go by"),
            Self::SharedProviderId => {
                Some("the instance is missing, but more than one Node has this provider ID")
            }
        }
    }
}

/// When an answer was given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// Just before it was asked for.
    pub(super) asked: Instant,
    /// Just after it came.
    pub(super) answered: Instant,
    /// The date when it was asked for.
    pub(super) date: SystemTime,
}

/// What is remembered of the Nodes there are, by UID, and of no others.
#[derive(Debug)]
pub(super) struct Memory {
    rules: Rules,
    generation: u64,
    seen: HashMap<Box<str>, Seen>,
    shared: HashSet<Box<str>>,
}

#[derive(Debug)]
struct Seen {
    generation: u64,
    since: Instant,
    provider_id: Box<str>,
    absences: u32,
    last: Option<Instant>,
}

impl Seen {
    fn forget(&mut self) {
        self.absences = 0;
        self.last = None;
    }
}

impl Memory {
    /// Nothing yet.
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            generation: 0,
            seen: HashMap::new(),
            shared: HashSet::new(),
        }
    }

    /// Takes note of all Nodes there are. What was missing is forgotten of those that show a sign of life, are being deleted or
    /// go by another provider ID; those that are not among `nodes` are forgotten altogether.
    pub(super) fn meet(&mut self, nodes: &[Arc<Node>], now: Instant) {
        self.generation += 1;
        self.shared = shared_ids(nodes);
        for node in nodes {
            let Some(seen) = self.seen.get_mut(&node.meta.uid) else {
                let seen = Seen {
                    generation: self.generation,
                    since: now,
                    provider_id: node.provider_id.clone(),
                    absences: 0,
                    last: None,
                };
                self.seen.insert(node.meta.uid.clone(), seen);
                continue;
            };
            seen.generation = self.generation;
            if seen.provider_id != node.provider_id {
                seen.provider_id.clone_from(&node.provider_id);
                seen.forget();
            }
            if node.ready == Readiness::Ready
                || node.meta.is_deleting()
                || self.shared.contains(&node.provider_id)
            {
                seen.forget();
            }
        }
        self.seen.retain(|_, seen| seen.generation == self.generation);
    }

    /// What is known of the instance of `node`, one of those met last, after the cloud's answer at that moment.
    pub(super) fn conclude(&mut self, node: &Node, answer: &Result<Lookup, Error>, at: Moment) -> Knowledge {
        let Some(seen) = self.seen.get_mut(&node.meta.uid) else {
            return Knowledge::Doubt(Doubt::NoAnswer);
        };
        let absence = match answer {
            Err(_) => return Knowledge::Doubt(Doubt::NoAnswer),
            Ok(Lookup::Found(instance)) => {
                seen.forget();
                return Knowledge::Exists(instance.state);
            }
            Ok(Lookup::Missing(absence)) => absence,
        };
        if absence.witnesses == 0 {
            return Knowledge::Doubt(Doubt::NoWitness);
        }
        if node.provider_id.is_empty() {
            return Knowledge::Doubt(Doubt::NoProviderId);
        }
        if self.shared.contains(&node.provider_id) {
            return Knowledge::Doubt(Doubt::SharedProviderId);
        }
        if age(node, seen.since, at) < self.rules.startup_grace {
            return Knowledge::Doubt(Doubt::Young);
        }
        let distinct = |last: Instant| at.asked.saturating_duration_since(last) >= self.rules.distance;
        if seen.last.is_none_or(distinct) {
            seen.absences = seen.absences.saturating_add(1);
            seen.last = Some(at.answered);
        }
        match seen.absences >= self.rules.confirmations.get() {
            true => Knowledge::Gone,
            false => Knowledge::Suspected,
        }
    }

    /// Whether the Node with this UID is there.
    pub(super) fn knows(&self, uid: &str) -> bool {
        self.seen.contains_key(uid)
    }

    /// How many Nodes there are.
    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }

    /// UIDs of the Nodes whose instance is proven gone.
    pub(super) fn gone(&self) -> impl Iterator<Item = &str> {
        let enough = self.rules.confirmations.get();
        let gone = self.seen.iter().filter(move |(_, seen)| seen.absences >= enough);
        gone.map(|(uid, _)| &**uid)
    }
}

/// Provider IDs that more than one Node has, one of which is not Ready: of no others is anything concluded.
fn shared_ids(nodes: &[Arc<Node>]) -> HashSet<Box<str>> {
    let asked_for: HashSet<&str> = nodes
        .iter()
        .filter(|node| node.ready != Readiness::Ready && !node.provider_id.is_empty())
        .map(|node| &*node.provider_id)
        .collect();
    let mut once = HashSet::new();
    let ids = nodes.iter().map(|node| &node.provider_id);
    ids.filter(|id| asked_for.contains(&***id) && !once.insert(&**id))
        .cloned()
        .collect()
}

/// How old `node` was for certain when the question was asked.
fn age(node: &Node, since: Instant, at: Moment) -> Duration {
    let known = at.asked.saturating_duration_since(since);
    let Some(created) = node.meta.creation_timestamp else {
        return known;
    };
    let date = at.date.duration_since(UNIX_EPOCH).unwrap_or_default();
    known.min(date.saturating_sub(Duration::from_secs(created.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::{Absence, Instance};
    use crate::k8s::types::{ObjectMeta, Timestamp};

    const PERIOD: Duration = Duration::from_secs(5);
    const GRACE: Duration = Duration::from_secs(300);
    const CREATED: u64 = 1_700_000_000;

    fn rules(confirmations: u32) -> Rules {
        Rules {
            distance: PERIOD,
            confirmations: NonZeroU32::new(confirmations).unwrap(),
            startup_grace: GRACE,
        }
    }

    fn node(uid: &str, provider_id: &str) -> Node {
        Node {
            meta: ObjectMeta {
                name: uid.into(),
                uid: uid.into(),
                creation_timestamp: Some(Timestamp(CREATED)),
                ..ObjectMeta::default()
            },
            provider_id: provider_id.into(),
            ..Node::default()
        }
    }

    /// So many seconds after the Node was created and met.
    fn at(start: Instant, seconds: u64) -> Moment {
        let now = start + Duration::from_secs(seconds);
        Moment {
            asked: now,
            answered: now,
            date: UNIX_EPOCH + Duration::from_secs(CREATED + seconds),
        }
    }

    fn missing(witnesses: usize) -> Result<Lookup, Error> {
        Ok(Lookup::Missing(Absence { witnesses }))
    }

    fn found(state: InstanceState) -> Result<Lookup, Error> {
        Ok(Lookup::Found(Arc::new(Instance {
            state,
            ..Instance::default()
        })))
    }

    fn outage() -> Result<Lookup, Error> {
        Err(Error::Unavailable {
            message: "503".into(),
            retry_after: None,
        })
    }

    #[test]
    fn only_distinct_witnessed_absences_of_a_grown_node_add_up() {
        use Knowledge::{Gone, Suspected};
        let (doubt, exists) = (Knowledge::Doubt, Knowledge::Exists);
        let (up, ended) = (InstanceState::Up, InstanceState::Ended);
        type Steps = Vec<(u64, Result<Lookup, Error>, Knowledge)>;
        let table: Vec<(&str, u32, Steps)> = vec![
            (
                "twice",
                2,
                vec![(300, missing(1), Suspected), (305, missing(1), Gone)],
            ),
            ("once where once is enough", 1, vec![(300, missing(1), Gone)]),
            (
                "three times where it takes three",
                3,
                vec![
                    (300, missing(1), Suspected),
                    (305, missing(1), Suspected),
                    (310, missing(1), Gone),
                ],
            ),
            (
                "again in the same moment",
                2,
                vec![
                    (300, missing(1), Suspected),
                    (300, missing(1), Suspected),
                    (304, missing(1), Suspected),
                    (305, missing(1), Gone),
                ],
            ),
            (
                "found in between",
                2,
                vec![
                    (300, missing(1), Suspected),
                    (305, found(up), exists(up)),
                    (310, missing(1), Suspected),
                ],
            ),
            (
                "shown as ended in between",
                2,
                vec![
                    (300, missing(1), Suspected),
                    (305, found(ended), exists(ended)),
                    (310, missing(1), Suspected),
                ],
            ),
            (
                "ended for ever",
                1,
                vec![
                    (300, found(ended), exists(ended)),
                    (305, found(ended), exists(ended)),
                ],
            ),
            (
                "an error neither confirms nor resets",
                2,
                vec![
                    (300, outage(), doubt(Doubt::NoAnswer)),
                    (305, missing(1), Suspected),
                    (310, outage(), doubt(Doubt::NoAnswer)),
                    (315, outage(), doubt(Doubt::NoAnswer)),
                    (320, missing(1), Gone),
                ],
            ),
            (
                "an answer without witnesses neither confirms nor resets",
                2,
                vec![
                    (300, missing(0), doubt(Doubt::NoWitness)),
                    (305, missing(1), Suspected),
                    (310, missing(0), doubt(Doubt::NoWitness)),
                    (315, missing(9), Gone),
                    (320, missing(0), doubt(Doubt::NoWitness)),
                ],
            ),
            (
                "what was said of a young Node does not count later",
                2,
                vec![
                    (290, missing(1), doubt(Doubt::Young)),
                    (299, missing(1), doubt(Doubt::Young)),
                    (304, missing(1), Suspected),
                ],
            ),
        ];
        for (case, confirmations, steps) in table {
            let start = Instant::now();
            let mut memory = Memory::new(rules(confirmations));
            let node = Arc::new(node("u1", "incloud://i-1"));
            memory.meet(std::slice::from_ref(&node), start);
            for (second, answer, want) in steps {
                memory.meet(std::slice::from_ref(&node), start + Duration::from_secs(second));
                let got = memory.conclude(&node, &answer, at(start, second));
                assert_eq!(got, want, "{case}, at {second} s");
            }
        }
    }

    #[test]
    fn a_slow_answer_is_of_the_moment_when_it_came() {
        let start = Instant::now();
        let mut memory = Memory::new(rules(2));
        let node = Arc::new(node("u1", "incloud://i-1"));
        memory.meet(std::slice::from_ref(&node), start);
        let slow = Moment {
            answered: start + Duration::from_secs(330),
            ..at(start, 300)
        };
        assert_eq!(memory.conclude(&node, &missing(1), slow), Knowledge::Suspected);
        assert_eq!(
            memory.conclude(&node, &missing(1), at(start, 331)),
            Knowledge::Suspected
        );
        assert_eq!(
            memory.conclude(&node, &missing(1), at(start, 335)),
            Knowledge::Gone
        );
    }

    #[test]
    fn a_node_is_as_old_as_both_clocks_agree() {
        for (case, created, met, asked, young) in [
            ("both agree", Some(CREATED), 0, 300, false),
            ("both agree that it is young", Some(CREATED), 0, 299, true),
            ("we have only just met", Some(CREATED - 86_400), 1, 300, true),
            ("its date is later than ours", Some(CREATED + 10), 0, 300, true),
            ("it comes from the future", Some(CREATED + 86_400), 0, 400, true),
            ("its date is unreadable", Some(0), 0, 299, true),
            (
                "its date is unreadable, and we know it long",
                Some(0),
                0,
                300,
                false,
            ),
            ("it has no date", None, 0, 299, true),
            ("it has no date, and we know it long", None, 0, 300, false),
        ] {
            let start = Instant::now();
            let mut memory = Memory::new(rules(1));
            let mut node = node("u1", "incloud://i-1");
            node.meta.creation_timestamp = created.map(Timestamp);
            let node = Arc::new(node);
            memory.meet(std::slice::from_ref(&node), start + Duration::from_secs(met));
            let got = memory.conclude(&node, &missing(1), at(start, asked));
            let want = if young {
                Knowledge::Doubt(Doubt::Young)
            } else {
                Knowledge::Gone
            };
            assert_eq!(got, want, "{case}");
        }
    }

    #[test]
    fn without_an_id_of_its_own_nothing_is_proven() {
        let start = Instant::now();
        let mut memory = Memory::new(rules(1));
        let nodes = [("u1", ""), ("u2", "incloud://i-2"), ("u3", "incloud://i-2")]
            .map(|(uid, id)| Arc::new(node(uid, id)));
        memory.meet(&nodes, start);
        let got = nodes
            .each_ref()
            .map(|node| memory.conclude(node, &missing(5), at(start, 600)));
        let [nameless, one, other] = got;
        assert_eq!(nameless, Knowledge::Doubt(Doubt::NoProviderId));
        assert_eq!(
            (one, other),
            (
                Knowledge::Doubt(Doubt::SharedProviderId),
                Knowledge::Doubt(Doubt::SharedProviderId)
            )
        );
        // with one of the two away, the other is as good as any
        memory.meet(&nodes[..2], start);
        assert_eq!(
            memory.conclude(&nodes[1], &missing(5), at(start, 605)),
            Knowledge::Gone
        );
    }

    #[test]
    fn signs_of_life_and_another_identity_wipe_what_is_remembered() {
        let ready = |node: &mut Node| node.ready = Readiness::Ready;
        let deleting = |node: &mut Node| node.meta.deletion_timestamp = Some(Timestamp(1));
        let renamed = |node: &mut Node| node.provider_id = "incloud://i-2".into();
        let reborn = |node: &mut Node| node.meta.uid = "u2".into();
        let same = |_: &mut Node| {};
        for (case, change, want) in [
            ("nothing happens", &same as &dyn Fn(&mut Node), 1),
            ("it is Ready", &ready, 0),
            ("it is being deleted", &deleting, 0),
            ("it goes by another id", &renamed, 0),
            ("it is another Node of the same name", &reborn, 0),
        ] {
            let start = Instant::now();
            let mut memory = Memory::new(rules(1));
            let before = node("u1", "incloud://i-1");
            let mut after = before.clone();
            change(&mut after);
            memory.meet(&[Arc::new(before.clone())], start);
            memory.conclude(&before, &missing(1), at(start, 300));
            assert_eq!(memory.gone().collect::<Vec<_>>(), ["u1"], "{case}");
            memory.meet(&[Arc::new(after)], start + Duration::from_secs(305));
            assert_eq!(memory.gone().count(), want, "{case}");
        }
    }

    #[test]
    fn nodes_that_are_no_more_are_forgotten() {
        let (start, mut memory) = (Instant::now(), Memory::new(rules(1)));
        for life in 0..100 {
            memory.meet(&[Arc::new(node(&format!("u{life}"), "incloud://i-1"))], start);
            assert!(memory.knows(&format!("u{life}")));
            assert_eq!(memory.len(), 1);
        }
        memory.meet(&[], start);
        assert_eq!((memory.len(), memory.shared.len()), (0, 0));
    }
}
