//! What stops all deletions when too many Nodes are gone at once. Pure.
//!
//! A cloud that loses a tenth of a cluster in ten minutes is rarer than one that answers wrongly about it: with another
//! account's credentials, say, or from a half restored database. So the brake holds while
//!
//! ```text
//! gone ≥ 3  and  gone / nodes > share
//! gone  = Nodes proven gone that are still there, however long, and those we deleted within the window
//! nodes = all Nodes there are, and those we deleted within the window
//! ```
//!
//! Nodes that wait do not age: only the cloud, kubelet or a person takes them out of the count, never mere time. A Node
//! whose deletion is wanted by annotation passes the brake, and still counts: one person's word about it says nothing about
//! the others. Up to two Nodes may always go, or a cluster of three would never lose one.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

/// Fewer than this never make it hold.
const LEAST: usize = 3;

/// When it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// It holds when more than this share of the Nodes is gone, in percent; 0 for never.
    pub share_percent: u32,
    /// How long a deletion counts; 0 makes it never hold.
    pub window: Duration,
}

impl Limit {
    /// Whether it holds.
    fn is_exceeded(self, tally: Tally) -> bool {
        let on = self.share_percent > 0 && !self.window.is_zero();
        on && tally.gone >= LEAST
            && tally.gone as u128 * 100 > u128::from(self.share_percent) * tally.nodes as u128
    }
}

/// How many of how many are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    /// Proven gone, or deleted within the window.
    pub(super) gone: usize,
    /// All there are, and those.
    pub(super) nodes: usize,
}

/// What the Nodes add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Whether it holds now.
    pub(super) holds: bool,
    /// Whether that is new.
    pub(super) changed: bool,
    /// Why.
    pub(super) tally: Tally,
}

/// The brake: the deletions within its window, and whom it holds.
#[derive(Debug)]
pub(super) struct Brake {
    limit: Limit,
    deletions: VecDeque<(Instant, Box<str>)>,
    holds: bool,
    told: HashSet<Box<str>>,
}

impl Brake {
    /// Off, and nothing deleted yet.
    pub(super) fn new(limit: Limit) -> Self {
        Self {
            limit,
            deletions: VecDeque::new(),
            holds: false,
            told: HashSet::new(),
        }
    }

    /// When it holds.
    pub(super) fn limit(&self) -> Limit {
        self.limit
    }

    /// Takes note that the Node with this UID is about to be deleted.
    pub(super) fn note_deletion(&mut self, uid: &str, now: Instant) {
        self.deletions.push_back((now, uid.into()));
    }

    /// Whether it holds, with these UIDs of Nodes proven gone among the `nodes` for which `is_there`.
    pub(super) fn weigh<'a>(
        &mut self,
        gone: impl Iterator<Item = &'a str>,
        nodes: usize,
        is_there: impl Fn(&str) -> bool,
        now: Instant,
    ) -> Verdict {
        let window = self.limit.window;
        let is_old = |at: Instant| now.saturating_duration_since(at) >= window;
        while self.deletions.front().is_some_and(|(at, _)| is_old(*at)) {
            self.deletions.pop_front();
        }
        let mut all_gone: HashSet<&str> = gone.collect();
        self.told.retain(|uid| all_gone.contains(&**uid));
        let deleted: HashSet<&str> = self.deletions.iter().map(|(_, uid)| &**uid).collect();
        let left = deleted.iter().filter(|uid| !is_there(uid)).count();
        all_gone.extend(deleted);
        let tally = Tally {
            gone: all_gone.len(),
            nodes: nodes + left,
        };
        let holds = self.limit.is_exceeded(tally);
        let changed = std::mem::replace(&mut self.holds, holds) != holds;
        if !holds {
            self.told.clear();
        }
        Verdict {
            holds,
            changed,
            tally,
        }
    }

    /// Whether it has not been told yet that this Node is held; from now on it has.
    pub(super) fn tell(&mut self, uid: &str) -> bool {
        self.told.insert(uid.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit {
        share_percent: 10,
        window: Duration::from_secs(600),
    };

    fn uids(range: std::ops::Range<usize>) -> Vec<String> {
        range.map(|n| format!("u{n}")).collect()
    }

    /// Weighs when `u0..u{gone}` of `u0..u{nodes}` are gone.
    fn weigh(
        brake: &mut Brake,
        gone: std::ops::Range<usize>,
        nodes: std::ops::Range<usize>,
        now: Instant,
    ) -> Verdict {
        let (gone, there) = (uids(gone), uids(nodes.clone()));
        brake.weigh(
            gone.iter().map(String::as_str),
            nodes.len(),
            |uid| there.iter().any(|there| there == uid),
            now,
        )
    }

    #[test]
    fn it_holds_above_the_share_and_from_three_on() {
        let limit = |share_percent, window| Limit {
            share_percent,
            window: Duration::from_secs(window),
        };
        for (case, limit, gone, nodes, want) in [
            ("none", LIMIT, 0, 0, false),
            ("1 of 1", LIMIT, 1, 1, false),
            ("2 of 2", LIMIT, 2, 2, false),
            ("3 of 3", LIMIT, 3, 3, true),
            ("2 of 19", LIMIT, 2, 19, false),
            ("2 of 20", LIMIT, 2, 20, false),
            ("3 of 20", LIMIT, 3, 20, true),
            ("3 of 29", LIMIT, 3, 29, true),
            ("3 of 30 is a tenth and no more", LIMIT, 3, 30, false),
            ("4 of 30", LIMIT, 4, 30, true),
            ("500 of 5000", LIMIT, 500, 5000, false),
            ("501 of 5000", LIMIT, 501, 5000, true),
            ("all of 5000", LIMIT, 5000, 5000, true),
            ("half, by half", limit(50, 600), 5, 10, false),
            ("more than half, by half", limit(50, 600), 6, 10, true),
            ("a share of 0 disables", limit(0, 600), 5000, 5000, false),
            ("a window of 0 disables", limit(10, 0), 5000, 5000, false),
            (
                "a share of all is never exceeded",
                limit(100, 600),
                5000,
                5000,
                false,
            ),
        ] {
            let verdict = weigh(&mut Brake::new(limit), 0..gone, 0..nodes, Instant::now());
            assert_eq!(verdict.holds, want, "{case}");
            assert_eq!(verdict.tally, Tally { gone, nodes }, "{case}");
        }
    }

    #[test]
    fn deletions_count_for_the_window() {
        let (start, mut brake) = (Instant::now(), Brake::new(LIMIT));
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!weigh(&mut brake, 0..2, 0..20, at(0)).holds);
        brake.note_deletion("u0", at(0));
        brake.note_deletion("u1", at(1));
        let tally = |gone, nodes| Tally { gone, nodes };
        for (case, gone, nodes, second, holds, want) in [
            ("still shown by the store", 0..2, 0..20, 2, false, tally(2, 20)),
            ("left", 0..0, 2..20, 3, false, tally(2, 20)),
            ("one more", 2..3, 2..20, 4, true, tally(3, 20)),
            ("the first is just inside", 2..3, 2..20, 599, true, tally(3, 20)),
            ("the first is out", 2..3, 2..20, 600, false, tally(2, 19)),
            ("both are out", 2..3, 2..20, 601, false, tally(1, 18)),
        ] {
            let verdict = weigh(&mut brake, gone, nodes, at(second));
            assert_eq!((verdict.holds, verdict.tally), (holds, want), "{case}");
        }
        assert!(brake.deletions.is_empty(), "nothing is kept beyond the window");
    }

    #[test]
    fn time_alone_does_not_release_it_but_life_does() {
        let (start, mut brake) = (Instant::now(), Brake::new(LIMIT));
        let verdict = weigh(&mut brake, 0..10, 0..10, start);
        assert!(verdict.holds && verdict.changed);
        let later = start + Duration::from_secs(86_400);
        let verdict = weigh(&mut brake, 0..10, 0..10, later);
        assert!(verdict.holds && !verdict.changed);
        let verdict = weigh(&mut brake, 0..2, 0..10, later);
        assert!(!verdict.holds && verdict.changed, "eight were found again");
        assert!(!weigh(&mut brake, 0..2, 0..10, later).changed);
    }

    #[test]
    fn each_node_is_told_once_as_long_as_it_is_held() {
        let (now, mut brake) = (Instant::now(), Brake::new(LIMIT));
        weigh(&mut brake, 0..4, 0..10, now);
        assert_eq!(
            [brake.tell("u0"), brake.tell("u0"), brake.tell("u1")],
            [true, false, true]
        );
        weigh(&mut brake, 1..4, 0..10, now);
        assert_eq!(
            [brake.tell("u0"), brake.tell("u1")],
            [true, false],
            "u0 was found, then lost"
        );
        weigh(&mut brake, 1..2, 0..10, now);
        assert!(brake.told.is_empty(), "nobody is held");
        weigh(&mut brake, 0..4, 0..10, now);
        assert!(brake.tell("u1"));
    }
}
