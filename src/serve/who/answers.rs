//! Answers that are kept for a while, and questions that are asked once for all who wait.
//!
//! Questions come from anybody, so that everything is bounded: the answers kept, those who wait for one, and how fast new
//! questions are passed on. A question whose answer was once yes has an allowance of its own, which others cannot use up.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ring::hmac;
use ring::rand::SystemRandom;

use super::reviews::ReviewError;

/// Answers by what was asked. The question itself, which may be a token, is not kept: only its hash under a key of this process.
pub(super) struct Answers<V> {
    hash: hmac::Key,
    /// Whether an answer is kept as a yes.
    is_yes: fn(&V) -> bool,
    state: Mutex<State<V>>,
    /// A question was answered.
    answered: Condvar,
}

/// How long answers are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lifetimes {
    pub(super) yes: Duration,
    pub(super) no: Duration,
}

/// An answer, and whether it was there already.
pub(super) struct Given<V> {
    pub(super) answer: V,
    pub(super) kept: bool,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// Too many questions at once, or too fast. This one was not passed on.
    TooMany,
    /// It was passed on in vain.
    Failed(ReviewError),
}

type Key = [u8; 32];
/// Where those who wait find how a question ended, once it has.
type Slot<V> = Mutex<Option<Result<V, ReviewError>>>;

struct State<V> {
    yes: Shelf<V>,
    no: Shelf<V>,
    /// Being asked now.
    open: HashMap<Key, Arc<Slot<V>>>,
    /// Who asks or waits now.
    inside: usize,
    /// For questions that were never answered by yes.
    fresh: Allowance,
    /// For the others.
    known: Allowance,
}

impl<V: Clone> Answers<V> {
    pub(super) fn new(lifetimes: Lifetimes, is_yes: fn(&V) -> bool, now: Instant) -> Self {
        let hash = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .expect("the system has random numbers; TLS needs them, too");
        Self {
            hash,
            is_yes,
            state: Mutex::new(State {
                yes: Shelf::new(lifetimes.yes),
                no: Shelf::new(lifetimes.no),
                open: HashMap::new(),
                inside: 0,
                fresh: Allowance::new(FRESH, now),
                known: Allowance::new(KNOWN, now),
            }),
            answered: Condvar::new(),
        }
    }

    /// The answer to `question`: one that is kept, the one that somebody else waits for already, or what `ask` says, which must
    /// end within the time that it is given.
    pub(super) fn get(
        &self,
        question: &[u8],
        now: Instant,
        within: Duration,
        ask: impl FnOnce(Duration) -> Result<V, ReviewError>,
    ) -> Result<Given<V>, Unanswered> {
        let key = self.key(question);
        let slot = {
            let mut state = self.lock();
            if let Some(answer) = state.kept(&key, now) {
                return Ok(Given { answer, kept: true });
            }
            if state.inside >= MOST_INSIDE {
                return Err(Unanswered::TooMany);
            }
            if let Some(slot) = state.open.get(&key).cloned() {
                state.inside += 1;
                return self.wait(state, &slot, within);
            }
            let allowance = match state.yes.holds(&key) {
                true => &mut state.known,
                false => &mut state.fresh,
            };
            if !allowance.take(now) {
                return Err(Unanswered::TooMany);
            }
            state.inside += 1;
            let slot = Arc::new(Mutex::new(None));
            state.open.insert(key, Arc::clone(&slot));
            slot
        };
        // whatever happens to the question, nobody waits for its answer longer than this
        let mut asking = Asking {
            answers: self,
            key,
            slot,
            now,
            result: Err(ReviewError::NoAnswer {
                message: "the question was given up".to_owned(),
            }),
        };
        asking.result = ask(within);
        let result = asking.result.clone();
        drop(asking);
        result
            .map(|answer| Given { answer, kept: false })
            .map_err(Unanswered::Failed)
    }

    fn wait(
        &self,
        state: MutexGuard<'_, State<V>>,
        slot: &Slot<V>,
        within: Duration,
    ) -> Result<Given<V>, Unanswered> {
        let unanswered = |_: &mut State<V>| hold(slot).is_none();
        let (mut state, _) = self
            .answered
            .wait_timeout_while(state, within, unanswered)
            .unwrap_or_else(PoisonError::into_inner);
        state.inside -= 1;
        drop(state);
        match hold(slot).clone() {
            Some(Ok(answer)) => Ok(Given { answer, kept: true }),
            Some(Err(error)) => Err(Unanswered::Failed(error)),
            None => Err(Unanswered::Failed(ReviewError::NoAnswer {
                message: "no answer in time to a question that somebody else asked".to_owned(),
            })),
        }
    }

    fn key(&self, question: &[u8]) -> Key {
        let tag = hmac::sign(&self.hash, question);
        tag.as_ref().try_into().expect("SHA-256 has 32 bytes")
    }

    fn lock(&self) -> MutexGuard<'_, State<V>> {
        hold(&self.state)
    }
}

fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<V: Clone> State<V> {
    fn kept(&self, key: &Key, now: Instant) -> Option<V> {
        self.yes
            .fresh(key, now)
            .or_else(|| self.no.fresh(key, now))
            .cloned()
    }
}

/// A question on its way. Dropped, it tells all who wait how it ended.
struct Asking<'a, V: Clone> {
    answers: &'a Answers<V>,
    key: Key,
    slot: Arc<Slot<V>>,
    now: Instant,
    result: Result<V, ReviewError>,
}

impl<V: Clone> Drop for Asking<'_, V> {
    fn drop(&mut self) {
        let mut state = self.answers.lock();
        state.inside -= 1;
        state.open.remove(&self.key);
        if let Ok(answer) = &self.result {
            let (shelf, other) = match (self.answers.is_yes)(answer) {
                true => (&mut state.yes, Side::No),
                false => (&mut state.no, Side::Yes),
            };
            shelf.put(self.key, answer.clone(), self.now);
            match other {
                Side::Yes => state.yes.remove(&self.key),
                Side::No => state.no.remove(&self.key),
            }
        }
        *hold(&self.slot) = Some(self.result.clone());
        drop(state);
        self.answers.answered.notify_all();
    }
}

enum Side {
    Yes,
    No,
}

/// Answers of one kind. The oldest makes room for the newest; one that is too old is still remembered as having been given.
struct Shelf<V> {
    lifetime: Duration,
    next: u64,
    by_age: BTreeMap<u64, Key>,
    held: HashMap<Key, Held<V>>,
}

struct Held<V> {
    number: u64,
    until: Instant,
    answer: V,
}

impl<V> Shelf<V> {
    fn new(lifetime: Duration) -> Self {
        Self {
            lifetime,
            next: 0,
            by_age: BTreeMap::new(),
            held: HashMap::new(),
        }
    }

    fn fresh(&self, key: &Key, now: Instant) -> Option<&V> {
        let held = self.held.get(key)?;
        (now < held.until).then_some(&held.answer)
    }

    fn holds(&self, key: &Key) -> bool {
        self.held.contains_key(key)
    }

    fn put(&mut self, key: Key, answer: V, now: Instant) {
        self.remove(&key);
        if self.held.len() >= MOST_KEPT
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.held.remove(&oldest);
        }
        let number = self.next;
        self.next += 1;
        self.by_age.insert(number, key);
        // a lifetime beyond the clock's end is one without end, and there is none
        let until = now.checked_add(self.lifetime).unwrap_or(now);
        let held = Held {
            number,
            until,
            answer,
        };
        self.held.insert(key, held);
    }

    fn remove(&mut self, key: &Key) {
        if let Some(held) = self.held.remove(key) {
            self.by_age.remove(&held.number);
        }
    }
}

/// How fast questions may be passed on: so many at once, so many a second.
#[derive(Debug, Clone, Copy)]
struct Rate {
    at_once: f64,
    a_second: f64,
}

struct Allowance {
    rate: Rate,
    left: f64,
    at: Instant,
}

impl Allowance {
    fn new(rate: Rate, now: Instant) -> Self {
        Self {
            rate,
            left: rate.at_once,
            at: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.left = (self.left + since * self.rate.a_second).min(self.rate.at_once);
        let there = self.left >= 1.0;
        if there {
            self.left -= 1.0;
        }
        there
    }
}

/// Answers of one kind.
const MOST_KEPT: usize = 1024;
/// Callers that ask or wait. Each holds a connection and a thread of the endpoint, of which there are few: some must be left for those
/// about whom nobody needs to be asked, the probes of kubelet above all.
const MOST_INSIDE: usize = 8;
/// Questions never answered by yes: guessed tokens, made-up paths.
const FRESH: Rate = Rate {
    at_once: 20.0,
    a_second: 10.0,
};
/// Questions answered by yes before.
const KNOWN: Rate = Rate {
    at_once: 100.0,
    a_second: 50.0,
};

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::http::testing::spawn;

    const SECOND: Duration = Duration::from_secs(1);

    fn answers(now: Instant) -> Answers<u32> {
        let lifetimes = Lifetimes {
            yes: 10 * SECOND,
            no: 5 * SECOND,
        };
        Answers::new(lifetimes, |answer| *answer > 0, now)
    }

    fn failure() -> ReviewError {
        ReviewError::NoAnswer { message: "no".into() }
    }

    /// Asks, and says what came and whether the question was passed on.
    fn get(
        answers: &Answers<u32>,
        question: &str,
        at: Instant,
        answer: Result<u32, ReviewError>,
    ) -> (Result<u32, Unanswered>, bool) {
        let mut asked = false;
        let given = answers.get(question.as_bytes(), at, SECOND, |_| {
            asked = true;
            answer
        });
        (given.map(|given| given.answer), asked)
    }

    #[test]
    fn answers_are_kept_for_their_time_and_failures_are_not() {
        let start = Instant::now();
        let answers = answers(start);
        for (case, question, at, answer, want) in [
            ("a yes", "a", 0, Ok(1), (Ok(1), true)),
            ("kept", "a", 9, Ok(2), (Ok(1), false)),
            ("too old", "a", 10, Ok(2), (Ok(2), true)),
            ("a no", "b", 10, Ok(0), (Ok(0), true)),
            ("kept, too", "b", 14, Ok(1), (Ok(0), false)),
            ("it changed", "b", 15, Ok(1), (Ok(1), true)),
            ("and is kept as a yes", "b", 24, Ok(0), (Ok(1), false)),
            ("and back", "b", 25, Ok(0), (Ok(0), true)),
            (
                "a failure",
                "c",
                30,
                Err(failure()),
                (Err(Unanswered::Failed(failure())), true),
            ),
            ("is not kept", "c", 30, Ok(1), (Ok(1), true)),
            (
                "a failure keeps nothing old",
                "a",
                31,
                Err(failure()),
                (Err(Unanswered::Failed(failure())), true),
            ),
        ] {
            assert_eq!(
                get(&answers, question, start + at * SECOND, answer),
                want,
                "{case}"
            );
        }
        assert_eq!(answers.lock().inside, 0, "nobody is left behind");
        assert!(answers.lock().open.is_empty());
    }

    #[test]
    fn a_lifetime_of_zero_keeps_nothing() {
        let now = Instant::now();
        let none = Lifetimes {
            yes: Duration::ZERO,
            no: Duration::ZERO,
        };
        let answers = Answers::new(none, |answer| *answer > 0, now);
        assert!(get(&answers, "a", now, Ok(1)).1);
        assert!(get(&answers, "a", now, Ok(1)).1);
    }

    #[test]
    fn the_oldest_answer_makes_room() {
        let now = Instant::now();
        let mut shelf = Shelf::new(SECOND);
        let key = |number: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_be_bytes());
            key
        };
        for number in 0..MOST_KEPT {
            shelf.put(key(number), number, now);
        }
        shelf.put(key(0), 0, now);
        shelf.put(key(MOST_KEPT), MOST_KEPT, now);
        assert!(shelf.holds(&key(0)), "it was put back anew");
        assert!(!shelf.holds(&key(1)), "it was the oldest");
        assert!(shelf.holds(&key(MOST_KEPT)));
        assert_eq!((shelf.held.len(), shelf.by_age.len()), (MOST_KEPT, MOST_KEPT));
        for _ in 0..10 {
            shelf.put(key(5), 5, now);
        }
        assert_eq!((shelf.held.len(), shelf.by_age.len()), (MOST_KEPT, MOST_KEPT));
    }

    #[test]
    fn a_flood_of_new_questions_leaves_room_for_known_ones() {
        let start = Instant::now();
        let answers = answers(start);
        assert!(get(&answers, "known", start, Ok(1)).1);
        let passed = |at| {
            (0..100)
                .filter(|n| get(&answers, &format!("{n} at {at:?}"), at, Ok(0)).1)
                .count()
        };
        assert_eq!(passed(start), 19, "one of twenty went to the known one");
        let later = start + 20 * SECOND;
        assert_eq!(passed(later), 20);
        assert_eq!(
            get(&answers, "new", later, Ok(1)),
            (Err(Unanswered::TooMany), false)
        );
        assert_eq!(get(&answers, "known", later, Ok(1)), (Ok(1), true));
        assert_eq!(passed(later + SECOND), 10, "ten a second");
    }

    #[test]
    fn whoever_is_told_no_is_no_longer_known() {
        let start = Instant::now();
        let answers = answers(start);
        assert!(get(&answers, "a", start, Ok(1)).1);
        let later = start + 20 * SECOND;
        assert!(get(&answers, "a", later, Ok(0)).1);
        assert!(!answers.lock().yes.holds(&answers.key(b"a")));
    }

    #[test]
    fn a_question_is_asked_once_for_all_who_wait() {
        let now = Instant::now();
        let answers = Arc::new(answers(now));
        let (release, released) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let (first, tell_first) = (Arc::clone(&answers), tell.clone());
        spawn(move || {
            let patience = 20 * SECOND;
            let given = first.get(b"a", now, patience, |_| {
                released.recv().unwrap();
                Ok(7)
            });
            tell_first.send(given.map(|given| given.answer)).unwrap();
        });
        until(|| answers.lock().open.len() == 1);
        for _ in 1..MOST_INSIDE {
            let (next, tell) = (Arc::clone(&answers), tell.clone());
            spawn(move || {
                let given = next.get(b"a", now, 20 * SECOND, |_| panic!("asked twice"));
                tell.send(given.map(|given| given.answer)).unwrap();
            });
        }
        until(|| answers.lock().inside == MOST_INSIDE);
        assert_eq!(
            get(&answers, "a", now, Ok(1)).0,
            Err(Unanswered::TooMany),
            "no more may wait"
        );
        assert_eq!(
            get(&answers, "b", now, Ok(1)).0,
            Err(Unanswered::TooMany),
            "or ask"
        );
        release.send(()).unwrap();
        for _ in 0..MOST_INSIDE {
            assert_eq!(told.recv().unwrap(), Ok(7));
        }
        assert_eq!(answers.lock().inside, 0);
    }

    #[test]
    fn whoever_waits_gives_up_in_time() {
        let now = Instant::now();
        let answers = Arc::new(answers(now));
        let (release, released) = mpsc::channel::<()>();
        let first = Arc::clone(&answers);
        spawn(move || {
            // the test ended if there is nobody to release it
            let _ = first.get(b"a", now, SECOND, |_| {
                let _ = released.recv();
                Ok(7)
            });
        });
        until(|| answers.lock().open.len() == 1);
        let given = answers.get(b"a", now, Duration::from_millis(1), |_| panic!("asked twice"));
        assert!(matches!(
            given.map(|given| given.answer),
            Err(Unanswered::Failed(ReviewError::NoAnswer { .. }))
        ));
        release.send(()).unwrap();
    }

    fn until(mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + 20 * SECOND;
        while !condition() {
            assert!(Instant::now() < deadline, "it never comes to pass");
            std::thread::yield_now();
        }
    }
}
