//! Which key may be handed out next: pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Group, Key};

/// Everything the queue knows. A key is in at most one of `ready` and `parked`, and while it is processed in neither;
/// it may be in `waiting` besides.
///
/// Of the keys parked behind a group, one is always about to move: the group is busy, or `ready` holds a key that
/// has moved up in its name.
#[derive(Default)]
pub(super) struct State {
    entries: HashMap<Key, Entry>,
    ready: BTreeMap<Place, Key>,
    /// Serials of the fresh ones in `ready`, by the group they were said to be in when they were added.
    fresh_of: HashMap<Group, BTreeSet<u64>>,
    parked: HashMap<Group, VecDeque<Key>>,
    busy: HashSet<Group>,
    waiting: BTreeMap<(Instant, u64), Key>,
    /// Since when each key that is handed out is worked on.
    working: HashMap<Key, Instant>,
    /// Additions that were more than a repetition.
    adds: u64,
    serial: u64,
    turn: u64,
    shut_down: bool,
}

/// Lane by lane, first come, first served.
type Place = (Lane, u64);

/// The lanes, in the order they are served; see [`State::head`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    /// The next of a group that has just become free: whoever worked on it goes on with it.
    Released,
    /// Something changed.
    Fresh,
    /// A delay is over.
    Delayed,
}

/// What is known of one key; forgotten when nothing is left to know.
#[derive(Default)]
struct Entry {
    at: At,
    wait: Option<(Instant, u64)>,
    failures: u32,
    /// When it was added, or its time came, if it has not been handed out since.
    since: Option<Instant>,
}

#[derive(Default)]
enum At {
    #[default]
    Nowhere,
    /// In `ready`, for this group as far as one knows: it was said to be in it, or has moved up in its name.
    Ready { place: Place, group: Option<Group> },
    /// In `parked`.
    Parked,
    /// Handed out; `again` is set once it has been added since.
    Processing {
        group: Option<Group>,
        again: Option<Lane>,
    },
}

/// What [`State::take`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Take {
    /// Handed out, after it was queued for so long. [`State::finish`] must follow.
    Key(Key, Duration),
    /// Nothing may be handed out now; ask again after an addition, after a key is finished, or at the given time.
    Nothing(Option<Instant>),
    /// Nothing will be handed out any more.
    ShutDown,
}

/// How the processing of a key ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Forgets its failures.
    Done,
    /// Comes back after that long, its failures kept.
    After(Duration),
    /// Comes back after a delay that grows with its failures.
    Failed,
}

/// Room for so many keys is kept when nothing is queued.
const ROOM_KEPT: usize = 64;

/// One turn of so many begins with a later lane, so that no lane waits for ever for the ones before it.
const TURNS: u64 = 8;

impl State {
    /// Queues `key` for its turn, now. `group` is where it seems to be; where it is counts when its turn comes.
    pub(super) fn add(&mut self, key: Key, group: Option<Group>, now: Instant) {
        self.queue(key, Lane::Fresh, group, now);
    }

    /// Queues `key` at `due`, or earlier if it already waits for an earlier time.
    pub(super) fn add_at(&mut self, key: Key, due: Instant) {
        if self.shut_down {
            return;
        }
        self.serial += 1;
        let entry = self.entries.entry(Arc::clone(&key)).or_default();
        match entry.wait {
            Some((earlier, _)) if earlier <= due => return,
            Some(later) => {
                self.waiting.remove(&later);
            }
            None => {}
        }
        entry.wait = Some((due, self.serial));
        self.waiting.insert((due, self.serial), key);
    }

    /// Hands out the next key whose group is free, and passes over the others until their group is.
    ///
    /// What was added before, at once or for later, is answered by this hand-out.
    pub(super) fn take(&mut self, now: Instant, group_of: &dyn Fn(&str) -> Option<Group>) -> Take {
        if self.shut_down {
            return Take::ShutDown;
        }
        self.promote_due(now);
        while let Some(place) = self.head() {
            // asked before anything moves: should the caller's function panic, nothing is lost
            let group = group_of(&self.ready[&place]);
            let (key, said) = self.leave(place);
            let entry = self.entries.get_mut(&key).expect("a queued key has an entry");
            let is_busy = group.as_ref().is_some_and(|group| self.busy.contains(group));
            let mut waited = Duration::ZERO;
            if is_busy {
                entry.at = At::Parked;
                let group = group.clone().expect("a busy group has a name");
                self.parked.entry(group).or_default().push_back(Arc::clone(&key));
            } else {
                entry.at = At::Processing {
                    group: group.clone(),
                    again: None,
                };
                if let Some(wait) = entry.wait.take() {
                    self.waiting.remove(&wait);
                }
                let since = entry.since.take().unwrap_or(now);
                waited = now.saturating_duration_since(since);
                self.working.insert(Arc::clone(&key), now);
                self.busy.extend(group);
            }
            // should it have left the group in whose name it came, the next one of that group moves up
            if let Some(old) = said.filter(|_| place.0 == Lane::Released) {
                self.release_next(old);
            }
            if !is_busy {
                self.turn += 1;
                return Take::Key(key, waited);
            }
        }
        Take::Nothing(self.next_due())
    }

    /// Ends the processing of `key`. `backoff` tells the delay after so many earlier failures. Returns how long it took.
    pub(super) fn finish(
        &mut self,
        key: Key,
        outcome: Outcome,
        now: Instant,
        backoff: impl FnOnce(u32) -> Duration,
    ) -> Option<Duration> {
        // nothing is known of it if the queue was shut down meanwhile
        let begun = self.working.remove(&key)?;
        let entry = self.entries.get_mut(&key)?;
        let At::Processing { group, again } = std::mem::take(&mut entry.at) else {
            return None;
        };
        let delay = match outcome {
            Outcome::Done => {
                entry.failures = 0;
                None
            }
            Outcome::After(delay) => Some(delay),
            Outcome::Failed => {
                let delay = backoff(entry.failures);
                entry.failures = entry.failures.saturating_add(1);
                Some(delay)
            }
        };
        if let Some(group) = &group {
            self.busy.remove(group);
            self.release_next(Arc::clone(group));
        }
        if let Some(lane) = again {
            self.serial += 1;
            self.enter((lane, self.serial), Arc::clone(&key), group);
        }
        if let Some(delay) = delay {
            self.add_at(Arc::clone(&key), now + delay);
        }
        self.forget_if_idle(&key);
        Some(now.saturating_duration_since(begun))
    }

    /// Drops what is queued and takes nothing more.
    pub(super) fn shut_down(&mut self) {
        *self = Self {
            shut_down: true,
            adds: self.adds,
            ..Self::default()
        };
    }

    /// Keys whose time has come and that nobody processes.
    pub(super) fn len(&self) -> usize {
        self.ready.len() + self.parked.values().map(VecDeque::len).sum::<usize>()
    }

    /// Whether somebody else might find something to do, now or at a time to wait for.
    pub(super) fn has_more(&self) -> bool {
        !self.ready.is_empty() || !self.waiting.is_empty()
    }

    /// Since when each key that is handed out is worked on.
    pub(super) fn working(&self) -> impl Iterator<Item = Instant> {
        self.working.values().copied()
    }

    /// How many keys were added since the beginning, or had their time come, that were not queued already.
    pub(super) fn adds(&self) -> u64 {
        self.adds
    }

    fn next_due(&self) -> Option<Instant> {
        self.waiting.keys().next().map(|(due, _)| *due)
    }

    fn queue(&mut self, key: Key, lane: Lane, group: Option<Group>, now: Instant) {
        if self.shut_down {
            return;
        }
        self.serial += 1;
        let place = (lane, self.serial);
        let entry = self.entries.entry(Arc::clone(&key)).or_default();
        match &mut entry.at {
            At::Nowhere => {
                entry.since = Some(now);
                self.adds += 1;
                self.enter(place, key, group);
            }
            At::Ready { place: old, .. } if old.0 > lane => {
                let old = *old;
                self.leave(old);
                self.enter(place, key, group);
            }
            At::Ready { .. } | At::Parked => {}
            At::Processing { again, .. } => match again {
                Some(earlier) => *again = Some(lane.min(*earlier)),
                None => {
                    *again = Some(lane);
                    entry.since = Some(now);
                    self.adds += 1;
                }
            },
        }
    }

    fn promote_due(&mut self, now: Instant) {
        while let Some(first) = self.waiting.first_entry() {
            if first.key().0 > now {
                break;
            }
            let key = first.remove();
            self.entries
                .get_mut(&key)
                .expect("a waiting key has an entry")
                .wait = None;
            self.queue(key, Lane::Delayed, None, now);
        }
    }

    /// The place to serve next. Mostly the first of all; now and then the first of a later lane.
    fn head(&self) -> Option<Place> {
        let first_of = |lane| {
            let places = (lane, 0)..=(lane, u64::MAX);
            self.ready.range(places).next().map(|(place, _)| *place)
        };
        let preferred = match self.turn % TURNS {
            3 => first_of(Lane::Fresh),
            7 => first_of(Lane::Delayed),
            _ => None,
        };
        preferred.or_else(|| self.ready.keys().next().copied())
    }

    /// Moves the next key of `group` to the front, unless the group is busy: the first one parked behind it, else the first
    /// that was said to be in it.
    fn release_next(&mut self, group: Group) {
        if self.busy.contains(&group) {
            return;
        }
        let key = match self.parked.get_mut(&group) {
            Some(parked) => {
                let key = parked.pop_front().expect("no empty list of parked keys is kept");
                if parked.is_empty() {
                    self.parked.remove(&group);
                }
                key
            }
            None => match self.fresh_of.get(&group).and_then(|serials| serials.first()) {
                Some(&serial) => self.leave((Lane::Fresh, serial)).0,
                None => return,
            },
        };
        self.serial += 1;
        self.enter((Lane::Released, self.serial), key, Some(group));
    }

    fn enter(&mut self, place: Place, key: Key, group: Option<Group>) {
        if let (Some(group), (Lane::Fresh, serial)) = (&group, place) {
            self.fresh_of.entry(Arc::clone(group)).or_default().insert(serial);
        }
        let entry = self.entries.get_mut(&key).expect("a queued key has an entry");
        entry.at = At::Ready { place, group };
        self.ready.insert(place, key);
    }

    fn leave(&mut self, place: Place) -> (Key, Option<Group>) {
        let key = self.ready.remove(&place).expect("somebody is in this place");
        let entry = self.entries.get_mut(&key).expect("a queued key has an entry");
        let At::Ready { group, .. } = std::mem::take(&mut entry.at) else {
            unreachable!("a key in `ready` knows that it is there");
        };
        if let (Some(group), (Lane::Fresh, serial)) = (&group, place) {
            let serials = self.fresh_of.get_mut(group).expect("it was put there");
            serials.remove(&serial);
            if serials.is_empty() {
                self.fresh_of.remove(group);
            }
        }
        (key, group)
    }

    fn forget_if_idle(&mut self, key: &Key) {
        let is_idle = |e: &Entry| matches!(e.at, At::Nowhere) && e.wait.is_none() && e.failures == 0;
        if self.entries.get(key).is_some_and(is_idle) {
            self.entries.remove(key);
            if self.entries.is_empty() {
                // the first list may have filled it with everything there is
                self.entries.shrink_to(ROOM_KEPT);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn key(name: &str) -> Key {
        name.into()
    }

    /// Everything before the first `.` is the group: `a.1` and `a.2` share one, `b` has none.
    fn by_prefix(key: &str) -> Option<Group> {
        key.split_once('.').map(|(group, _)| group.into())
    }

    fn add(state: &mut State, key: Key) {
        let group = by_prefix(&key);
        state.add(key, group, Instant::now());
    }

    fn take(state: &mut State, now: Instant) -> Option<Key> {
        match state.take(now, &by_prefix) {
            Take::Key(key, _) => Some(key),
            _ => None,
        }
    }

    fn finish(state: &mut State, name: &str, outcome: Outcome, now: Instant) {
        state.finish(key(name), outcome, now, |failures| SECOND * 2u32.pow(failures));
    }

    fn drain(state: &mut State, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| {
            let key = take(state, now)?;
            finish(state, &key, Outcome::Done, now);
            Some(key.to_string())
        })
        .collect()
    }

    #[test]
    fn many_adds_make_one_pass_and_an_add_meanwhile_makes_one_more() {
        let (mut state, now) = (State::default(), Instant::now());
        for _ in 0..3 {
            add(&mut state, key("a"));
        }
        assert_eq!(take(&mut state, now), Some(key("a")));
        for _ in 0..3 {
            add(&mut state, key("a"));
        }
        assert_eq!(take(&mut state, now), None, "never to two at once");
        finish(&mut state, "a", Outcome::Done, now);
        assert_eq!(drain(&mut state, now), ["a"]);
        assert!(state.entries.is_empty(), "nothing is remembered of an idle key");
    }

    #[test]
    fn of_two_delays_the_earlier_counts_and_a_pass_answers_it() {
        let (mut state, now) = (State::default(), Instant::now());
        for seconds in [30, 10, 20] {
            state.add_at(key("a"), now + SECOND * seconds);
        }
        assert_eq!(
            state.take(now, &by_prefix),
            Take::Nothing(Some(now + SECOND * 10))
        );
        assert_eq!(drain(&mut state, now + SECOND * 10), ["a"]);
        state.add_at(key("a"), now + SECOND * 30);
        add(&mut state, key("a"));
        assert_eq!(drain(&mut state, now), ["a"], "an add does not wait for a delay");
        assert_eq!(state.take(now + SECOND * 60, &by_prefix), Take::Nothing(None));
    }

    #[test]
    fn a_delay_asked_for_during_processing_outlives_its_success() {
        let (mut state, now) = (State::default(), Instant::now());
        add(&mut state, key("a"));
        take(&mut state, now);
        state.add_at(key("a"), now + SECOND);
        finish(&mut state, "a", Outcome::Done, now);
        assert_eq!(drain(&mut state, now + SECOND), ["a"]);
    }

    #[test]
    fn delays_grow_with_failures_until_success() {
        let (mut state, mut now) = (State::default(), Instant::now());
        add(&mut state, key("a"));
        for (outcome, want) in [
            (Outcome::Failed, 1),
            (Outcome::Failed, 2),
            (Outcome::After(SECOND * 9), 9),
            (Outcome::Failed, 4),
        ] {
            assert_eq!(take(&mut state, now), Some(key("a")));
            finish(&mut state, "a", outcome, now);
            assert_eq!(
                state.take(now, &by_prefix),
                Take::Nothing(Some(now + SECOND * want)),
                "{outcome:?}"
            );
            now += SECOND * want;
        }
        assert_eq!(drain(&mut state, now), ["a"]);
        add(&mut state, key("a"));
        take(&mut state, now);
        finish(&mut state, "a", Outcome::Failed, now);
        assert_eq!(
            state.take(now, &by_prefix),
            Take::Nothing(Some(now + SECOND)),
            "success forgot the failures"
        );
    }

    #[test]
    fn a_busy_group_blocks_only_its_own_keys_and_goes_first_when_free() {
        let (mut state, now) = (State::default(), Instant::now());
        for name in ["g.1", "g.2", "g.3", "h.1", "x", "y"] {
            add(&mut state, key(name));
        }
        assert_eq!(take(&mut state, now), Some(key("g.1")));
        assert_eq!(take(&mut state, now), Some(key("h.1")));
        assert_eq!(state.len(), 4);
        finish(&mut state, "g.1", Outcome::Done, now);
        assert_eq!(take(&mut state, now), Some(key("g.2")), "before x and y");
        assert_eq!(take(&mut state, now), Some(key("x")));
        finish(&mut state, "g.2", Outcome::Failed, now);
        assert_eq!(drain(&mut state, now), ["g.3", "y"]);
    }

    #[test]
    fn a_group_is_worked_off_before_another_is_begun() {
        let (mut state, now) = (State::default(), Instant::now());
        for name in ["g.1", "h.1", "x", "g.2", "h.2", "g.3"] {
            add(&mut state, key(name));
        }
        assert_eq!(drain(&mut state, now), ["g.1", "g.2", "g.3", "h.1", "h.2", "x"]);
    }

    #[test]
    fn a_key_that_left_its_group_hands_its_place_to_the_next() {
        let (mut state, now) = (State::default(), Instant::now());
        for name in ["1", "2", "3"] {
            add(&mut state, key(name));
        }
        let handed_out = |name: &str| Take::Key(key(name), Duration::ZERO);
        let all_in_g = |_: &str| Some(Group::from("g"));
        assert_eq!(state.take(now, &all_in_g), handed_out("1"));
        assert_eq!(state.take(now, &all_in_g), Take::Nothing(None));
        finish(&mut state, "1", Outcome::Done, now);
        let two_left = |key: &str| (key != "2").then(|| Group::from("g"));
        assert_eq!(state.take(now, &two_left), handed_out("2"));
        assert_eq!(state.take(now, &two_left), handed_out("3"));
    }

    #[test]
    fn fresh_keys_go_before_delayed_ones_but_not_for_ever() {
        let (mut state, now) = (State::default(), Instant::now());
        state.add_at(key("late"), now);
        for n in 0..20 {
            add(&mut state, key(&format!("fresh-{n}")));
        }
        let order = drain(&mut state, now);
        let position = order.iter().position(|key| key == "late").unwrap();
        assert_eq!(position as u64, TURNS - 1, "{order:?}");
    }

    #[test]
    fn a_hundred_thousand_delays_come_due_in_order() {
        let (mut state, now) = (State::default(), Instant::now());
        for n in 0..100_000u32 {
            let at = n.wrapping_mul(48_271) % 100_003;
            state.add_at(key(&n.to_string()), now + Duration::from_millis(at.into()));
        }
        let (mut seen, mut last) = (0, now);
        loop {
            match state.take(last, &by_prefix) {
                Take::Key(key, _) => {
                    finish(&mut state, &key, Outcome::Done, last);
                    seen += 1;
                }
                Take::Nothing(Some(due)) => {
                    assert!(due > last);
                    last = due;
                }
                _ => break,
            }
        }
        assert_eq!(seen, 100_000);
    }

    #[test]
    fn shutting_down_discards_everything() {
        let (mut state, now) = (State::default(), Instant::now());
        add(&mut state, key("a"));
        add(&mut state, key("b"));
        state.add_at(key("c"), now);
        take(&mut state, now);
        state.shut_down();
        finish(&mut state, "a", Outcome::Failed, now);
        add(&mut state, key("d"));
        state.add_at(key("d"), now);
        assert_eq!(state.take(now + SECOND, &by_prefix), Take::ShutDown);
        assert_eq!((state.len(), state.entries.len()), (0, 0));
    }

    #[test]
    fn waits_and_work_are_measured_and_repetitions_are_not_counted() {
        let (mut state, start) = (State::default(), Instant::now());
        let at = |seconds| start + SECOND * seconds;
        let handed_out = |seconds| Take::Key(key("a"), SECOND * seconds);
        let end = |state: &mut State, outcome, now| state.finish(key("a"), outcome, now, |_| SECOND * 20);
        for second in [0, 1, 2] {
            state.add(key("a"), None, at(second));
        }
        assert_eq!((state.adds(), state.take(at(5), &by_prefix)), (1, handed_out(5)));
        assert_eq!(state.working().collect::<Vec<_>>(), [at(5)]);
        for second in [6, 7] {
            state.add(key("a"), None, at(second));
        }
        assert_eq!(end(&mut state, Outcome::Done, at(8)), Some(SECOND * 3));
        assert_eq!((state.adds(), state.working().count()), (2, 0));
        assert_eq!(
            state.take(at(9), &by_prefix),
            handed_out(3),
            "since it was added again"
        );
        assert_eq!(end(&mut state, Outcome::Failed, at(9)), Some(Duration::ZERO));
        assert_eq!(
            (state.adds(), state.take(at(28), &by_prefix)),
            (2, Take::Nothing(Some(at(29))))
        );
        assert_eq!(
            state.take(at(31), &by_prefix),
            handed_out(0),
            "a delay is no wait in the queue"
        );
        state.shut_down();
        assert_eq!(end(&mut state, Outcome::Done, at(32)), None);
        assert_eq!((state.adds(), state.working().count()), (3, 0));
    }

    #[derive(Debug, Clone)]
    enum Op {
        Add(u8),
        AddAfter(u8, u64),
        Take,
        Finish(usize, Outcome),
        Advance(u64),
        Regroup(u8, u8),
    }

    fn op() -> impl Strategy<Value = Op> {
        let outcome = prop_oneof![
            3 => Just(Outcome::Done),
            1 => (0..20u64).prop_map(|s| Outcome::After(SECOND * s as u32)),
            1 => Just(Outcome::Failed),
        ];
        prop_oneof![
            4 => (0..8u8).prop_map(Op::Add),
            1 => (0..8u8, 0..20u64).prop_map(|(key, delay)| Op::AddAfter(key, delay)),
            6 => Just(Op::Take),
            4 => (any::<usize>(), outcome).prop_map(|(at, outcome)| Op::Finish(at, outcome)),
            1 => (0..10u64).prop_map(Op::Advance),
            1 => (0..8u8, 0..4u8).prop_map(|(key, group)| Op::Regroup(key, group)),
        ]
    }

    /// What must hold, said as plainly as possible: who is owed a pass, when, and who is at work in which group.
    #[derive(Default)]
    struct Model {
        owed: BTreeMap<u8, Instant>,
        working: BTreeMap<u8, Option<Group>>,
        groups: BTreeMap<u8, u8>,
    }

    impl Model {
        fn owe(&mut self, key: u8, due: Instant) {
            let earlier = self.owed.entry(key).or_insert(due);
            *earlier = (*earlier).min(due);
        }

        fn group(&self, key: u8) -> Option<Group> {
            match self.groups.get(&key).copied().unwrap_or(key % 4) {
                0 => None,
                group => Some(group.to_string().into()),
            }
        }
    }

    fn run(ops: &[Op]) {
        let mut now = Instant::now();
        let (mut state, mut model, mut regrouped) = (State::default(), Model::default(), false);
        let name = |key: u8| -> Key { key.to_string().into() };
        let mut step = |op: &Op, state: &mut State, model: &mut Model| match *op {
            Op::Add(k) => {
                state.add(name(k), model.group(k), now);
                model.owe(k, now);
                true
            }
            Op::AddAfter(k, delay) => {
                let due = now + SECOND * delay as u32;
                state.add_at(name(k), due);
                model.owe(k, due);
                true
            }
            Op::Take => {
                match state.take(now, &|key| model.group(key.parse().unwrap())) {
                    Take::Key(key, _) => {
                        let k: u8 = key.parse().unwrap();
                        let due = model.owed.remove(&k).expect("handed out unasked");
                        assert!(due <= now, "{k} handed out before its time");
                        let group = model.group(k);
                        let taken = |g: &Option<Group>| g.is_some() && *g == group;
                        assert!(!model.working.values().any(taken), "two of group {group:?}");
                        assert_eq!(model.working.insert(k, group), None, "{k} to two at once");
                        return true;
                    }
                    Take::Nothing(_) if !regrouped => {
                        for k in model.owed.iter().filter(|(_, due)| **due <= now).map(|(k, _)| *k) {
                            let group = model.group(k);
                            let blocked = model.working.contains_key(&k)
                                || group.is_some() && model.working.values().any(|g| *g == group);
                            assert!(blocked, "{k} could have been handed out");
                        }
                    }
                    _ => {}
                }
                false
            }
            Op::Finish(at, outcome) => {
                let Some(k) = model.working.keys().nth(at % model.working.len().max(1)).copied() else {
                    return false;
                };
                model.working.remove(&k);
                state.finish(name(k), outcome, now, |_| SECOND);
                match outcome {
                    Outcome::Done => {}
                    Outcome::After(delay) => model.owe(k, now + delay),
                    Outcome::Failed => model.owe(k, now + SECOND),
                }
                true
            }
            Op::Advance(seconds) => {
                now += SECOND * seconds as u32;
                true
            }
            Op::Regroup(k, group) => {
                regrouped |= model.group(k).is_some();
                model.groups.insert(k, group);
                true
            }
        };
        for op in ops {
            step(op, &mut state, &mut model);
        }
        // no add is lost: once all is finished and due, everybody who is owed a pass gets it
        step(&Op::Advance(1000), &mut state, &mut model);
        while !model.working.is_empty() || step(&Op::Take, &mut state, &mut model) {
            step(&Op::Finish(0, Outcome::Done), &mut state, &mut model);
        }
        assert_eq!(model.owed, BTreeMap::new(), "adds were lost");
        assert_eq!((state.len(), state.busy.len(), state.parked.len()), (0, 0, 0));
        assert_eq!((state.fresh_of.len(), state.working.len()), (0, 0));
        let kept: BTreeSet<_> = state.entries.keys().collect();
        assert!(kept.is_empty(), "remembered for nothing: {kept:?}");
    }

    proptest! {
        #[test]
        fn no_key_and_no_group_is_handed_out_twice_and_no_add_is_lost(
            ops in prop::collection::vec(op(), 0..200)
        ) {
            run(&ops);
        }
    }
}
