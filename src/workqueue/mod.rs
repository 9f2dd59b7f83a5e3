//! Keys waiting for a worker, each at most once: many changes of one object become one pass over it.
//!
//! Knows nothing of what a key names. A worker reads the object after it got the key, so that it sees every change
//! whose key was added before.

mod metrics;
mod state;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use self::metrics::QueueMetrics;

use self::metrics::{Counted, running};
use self::state::{Outcome, State, Take};
use crate::runtime::backoff::Backoff;
use crate::runtime::clock::Clock;
use crate::runtime::random::Random;

/// Names an object: `namespace/name`.
pub type Key = Arc<str>;

/// Names what must not be worked on by two at once.
type Group = Arc<str>;

/// Tells the group of a key, if it has one.
pub type GroupOf = Box<dyn Fn(&str) -> Option<Arc<str>> + Send + Sync>;

/// How a queue behaves.
pub struct Options {
    /// The delay after each failure of one key.
    pub backoff: Backoff,
    /// Keys of one group are never handed out at once. Asked when a key is added, as a hint, and again when it is handed
    /// out, then with the queue locked: it must be quick and must not call the queue.
    pub group: Option<GroupOf>,
    /// Where it is measured.
    pub metrics: QueueMetrics,
}

/// The queue. Shared by those who add and those who work.
///
/// - A key is never handed to two workers at once, nor are two keys of one group.
/// - A key added while it is processed is handed out once more afterwards.
/// - Fresh keys go before those that come back after a delay, mostly; there is no other order between keys, but when a
///   group becomes free, the next of its keys goes first, so that a worker goes on with the group it is at.
pub struct WorkQueue {
    core: Arc<Core>,
    changed: Condvar,
    /// Held by the one worker that waits in [`WorkQueue::get_many`].
    gathering: Mutex<()>,
    backoff: Backoff,
    group: Option<GroupOf>,
    counted: Counted,
    random: Arc<Random>,
}

/// What a scrape looks at, too.
struct Core {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
}

impl Core {
    /// The state is whole even if a holder of its lock panicked: only the caller's group function can.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The longest a worker sleeps before it looks again. Every change wakes it: this guards against a mistake in that, and against a
/// clock that is moved from outside.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

impl WorkQueue {
    /// An empty queue.
    pub fn new(options: Options, clock: Arc<dyn Clock>, random: Arc<Random>) -> Self {
        let Options {
            backoff,
            group,
            metrics,
        } = options;
        let state = Mutex::default();
        let core = Arc::new(Core { state, clock });
        Self {
            counted: metrics.attach(&core),
            core,
            changed: Condvar::new(),
            gathering: Mutex::default(),
            backoff,
            group,
            random,
        }
    }

    /// Queues `key` now, whatever delay it waits for. Does nothing if it is queued, or after [`Self::shut_down`].
    pub fn add(&self, key: Key) {
        let (group, now) = (self.group_of(&key), self.now());
        self.core.lock().add(key, group, now);
        self.changed.notify_one();
    }

    /// Queues `key` after `delay`, or earlier if it already waits for an earlier time. The next hand-out of the key
    /// answers this, even one that comes sooner for another reason.
    pub fn add_after(&self, key: Key, delay: Duration) {
        self.counted.retries.inc();
        if delay.is_zero() {
            return self.add(key);
        }
        let due = self.now() + delay;
        self.core.lock().add_at(key, due);
        self.changed.notify_one();
    }

    /// Waits for a key that may be handed out. `None` after [`Self::shut_down`].
    pub fn get(&self) -> Option<Item<'_>> {
        self.get_until(None)
    }

    /// Waits for a key that may be handed out, then takes those that are there and those that come within `gather`, at most
    /// `max` in all. Empty only after [`Self::shut_down`].
    ///
    /// One worker gathers at a time, so that keys that come together stay together however many workers wait.
    pub fn get_many(&self, max: usize, gather: Duration) -> Vec<Item<'_>> {
        let _alone = self.gathering.lock().unwrap_or_else(PoisonError::into_inner);
        let mut items = Vec::from_iter(self.get());
        if items.is_empty() {
            return items;
        }
        let until = self.now() + gather;
        while items.len() < max {
            match self.get_until(Some(until)) {
                Some(item) => items.push(item),
                None => break,
            }
        }
        items
    }

    /// Waits for a key that may be handed out, at most until then.
    fn get_until(&self, until: Option<Instant>) -> Option<Item<'_>> {
        let mut state = self.core.lock();
        loop {
            let now = self.now();
            match self.take(&mut state, now) {
                Take::Key(key, waited) => return Some(self.hand_out(state, key, waited)),
                Take::ShutDown => return None,
                Take::Nothing(_) if until.is_some_and(|until| until <= now) => return None,
                Take::Nothing(due) => {
                    let wait = match (due, until) {
                        (Some(due), Some(until)) => due.min(until),
                        (due, until) => due.or(until).unwrap_or(now + LOOK_AGAIN),
                    };
                    let wait = wait.saturating_duration_since(now).min(LOOK_AGAIN);
                    state = self
                        .changed
                        .wait_timeout(state, wait)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                }
            }
        }
    }

    /// A key that may be handed out now, if there is one; does not wait.
    pub fn try_get(&self) -> Option<Item<'_>> {
        let mut state = self.core.lock();
        match self.take(&mut state, self.now()) {
            Take::Key(key, waited) => Some(self.hand_out(state, key, waited)),
            Take::Nothing(_) | Take::ShutDown => None,
        }
    }

    /// Discards what is queued, takes nothing more and wakes every worker. Keys being processed are not interrupted.
    pub fn shut_down(&self) {
        self.core.lock().shut_down();
        self.changed.notify_all();
    }

    /// How many keys could be handed out if there were workers enough: not those that wait for their time.
    pub fn len(&self) -> usize {
        self.core.lock().len()
    }

    /// Whether [`Self::len`] is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How long the key has been worked on that has been for longest; `None` while nobody works. Much longer than a worker can
    /// take means that one hangs.
    pub fn longest_running(&self) -> Option<Duration> {
        let now = self.now();
        let (_, longest) = running(self.core.lock().working(), now);
        longest
    }

    fn now(&self) -> Instant {
        self.core.clock.now()
    }

    fn take(&self, state: &mut State, now: Instant) -> Take {
        state.take(now, &|key| self.group_of(key))
    }

    fn group_of(&self, key: &str) -> Option<Group> {
        self.group.as_ref().and_then(|group| group(key))
    }

    fn hand_out(&self, state: MutexGuard<'_, State>, key: Key, waited: Duration) -> Item<'_> {
        self.counted.queued.observe(waited.as_secs_f64());
        // whoever sleeps knows nothing of keys and due times that came while this worker was awake
        if state.has_more() {
            self.changed.notify_one();
        }
        Item {
            queue: self,
            key,
            outcome: Outcome::Failed,
        }
    }

    fn finish(&self, key: Key, outcome: Outcome) {
        let now = self.now();
        let worked = self.core.lock().finish(key, outcome, now, |failures| {
            self.backoff.delay(failures, &self.random)
        });
        self.changed.notify_one();
        if let Some(worked) = worked {
            self.counted.worked.observe(worked.as_secs_f64());
        }
        if outcome != Outcome::Done {
            self.counted.retries.inc();
        }
    }
}

/// A key handed out. It ends in exactly one outcome; dropped without any, as when the worker panics, it counts as a
/// failure and comes back with back-off.
#[must_use]
pub struct Item<'a> {
    queue: &'a WorkQueue,
    key: Key,
    outcome: Outcome,
}

impl Item<'_> {
    /// What to work on.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Done: forgets the key's failures.
    pub fn succeed(mut self) {
        self.outcome = Outcome::Done;
    }

    /// Comes back after `delay`. Its failures so far still count.
    pub fn retry_after(mut self, delay: Duration) {
        self.outcome = Outcome::After(delay);
    }

    /// Comes back after a delay that grows with each failure in a row.
    pub fn retry_with_backoff(mut self) {
        self.outcome = Outcome::Failed;
    }

    /// Comes back only when it is added again; forgets its failures.
    pub fn wait_for_change(mut self) {
        self.outcome = Outcome::Done;
    }
}

impl Drop for Item<'_> {
    fn drop(&mut self) {
        self.queue.finish(Arc::clone(&self.key), self.outcome);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::SystemTime;

    use super::*;
    use crate::metrics::Metrics;
    use crate::runtime::clock::{ManualClock, SystemClock};

    const BACKOFF: Backoff = Backoff {
        initial: Duration::from_secs(5),
        cap: Duration::from_secs(300),
        jitter: 0.0,
    };

    fn queue(clock: Arc<dyn Clock>, group: Option<GroupOf>) -> WorkQueue {
        let options = Options {
            backoff: BACKOFF,
            group,
            metrics: QueueMetrics::default(),
        };
        WorkQueue::new(options, clock, Arc::new(Random::from_seed(1)))
    }

    fn manual() -> (ManualClock, WorkQueue) {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
        (clock.clone(), queue(Arc::new(clock), None))
    }

    fn taken(queue: &WorkQueue) -> Option<Item<'_>> {
        queue.try_get()
    }

    #[test]
    fn each_outcome_says_when_the_key_comes_back() {
        type End = fn(Item<'_>);
        let cases: [(&str, End, Option<u64>); 5] = [
            ("success", |item| item.succeed(), None),
            ("waiting for a change", |item| item.wait_for_change(), None),
            (
                "a given delay",
                |item| item.retry_after(Duration::from_secs(7)),
                Some(7),
            ),
            ("back-off", |item| item.retry_with_backoff(), Some(5)),
            ("no outcome", |item| drop(item), Some(5)),
        ];
        for (case, end, want) in cases {
            let (clock, queue) = manual();
            queue.add("a".into());
            end(taken(&queue).unwrap());
            let back = (0..20).find(|_| {
                let is_back = taken(&queue).map(Item::succeed).is_some();
                clock.advance(Duration::from_secs(1));
                is_back
            });
            assert_eq!(back, want, "{case}");
        }
    }

    #[test]
    fn a_scrape_shows_each_queue_as_it_is() {
        let (metrics, clock) = (Metrics::new(), ManualClock::new(SystemTime::UNIX_EPOCH));
        let queue = |name| {
            let options = Options {
                backoff: BACKOFF,
                group: None,
                metrics: QueueMetrics::new(&metrics, name),
            };
            WorkQueue::new(options, Arc::new(clock.clone()), Arc::new(Random::from_seed(1)))
        };
        let (busy, idle) = (queue("busy"), queue("idle"));
        for key in ["a", "b", "c", "a"] {
            busy.add(key.into());
        }
        busy.add_after("d".into(), Duration::from_secs(900));
        clock.advance(Duration::from_secs(2));
        let first = taken(&busy).unwrap();
        clock.advance(Duration::from_secs(3));
        let second = taken(&busy).unwrap();
        clock.advance(Duration::from_secs(1));
        assert_eq!(
            (busy.longest_running(), idle.longest_running()),
            (Some(Duration::from_secs(4)), None)
        );
        let shown = |name: &str| {
            let text = metrics.text();
            let of_queue =
                |line: &&str| line.contains(&format!("name=\"{name}\"")) && !line.contains("_bucket");
            let number = |line: &str| line.replace(&format!("{{name=\"{name}\"}}"), "");
            text.lines().filter(of_queue).map(number).collect::<Vec<_>>()
        };
        assert_eq!(
            shown("busy"),
            [
                "workqueue_adds_total 3",
                "workqueue_depth 1",
                "workqueue_longest_running_processor_seconds 4",
                "workqueue_queue_duration_seconds_sum 7",
                "workqueue_queue_duration_seconds_count 2",
                "workqueue_retries_total 1",
                "workqueue_unfinished_work_seconds 5",
                "workqueue_work_duration_seconds_sum 0",
                "workqueue_work_duration_seconds_count 0",
            ]
        );
        first.succeed();
        second.retry_with_backoff();
        let after = shown("busy");
        for line in [
            "workqueue_longest_running_processor_seconds 0",
            "workqueue_retries_total 2",
            "workqueue_unfinished_work_seconds 0",
            "workqueue_work_duration_seconds_sum 5",
        ] {
            assert!(after.iter().any(|shown| shown == line), "{line}: {after:?}");
        }
        assert!(shown("idle").contains(&"workqueue_adds_total 0".into()));
        drop(busy);
        assert_eq!(shown("busy"), after, "one that is gone is left as it was");
    }

    #[test]
    fn a_worker_that_panics_gives_its_key_back() {
        let (clock, queue) = manual();
        queue.add("a".into());
        let result = catch_unwind(AssertUnwindSafe(|| {
            let _item = queue.get();
            panic!("on purpose");
        }));
        assert!(result.is_err());
        clock.advance(BACKOFF.initial);
        taken(&queue).unwrap().succeed();
    }

    #[test]
    fn a_waiting_worker_is_woken_by_an_add_and_by_the_end() {
        let queue = queue(Arc::new(SystemClock), None);
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let mut keys = Vec::new();
                while let Some(item) = queue.get() {
                    keys.push(item.key().to_string());
                    item.succeed();
                    queue.shut_down();
                }
                keys
            });
            queue.add("a".into());
            assert_eq!(worker.join().unwrap(), ["a"]);
        });
        assert!(queue.get().is_none());
    }

    #[test]
    fn keys_that_are_there_come_together_up_to_the_most() {
        let (_, queue) = manual();
        for key in ["a", "b", "c", "d", "e"] {
            queue.add(key.into());
        }
        let keys = |items: &[Item<'_>]| {
            let keys = items.iter().map(|item| item.key().to_string());
            keys.collect::<Vec<_>>().concat()
        };
        let first = queue.get_many(3, Duration::ZERO);
        let second = queue.get_many(3, Duration::ZERO);
        let both = keys(&first) + &keys(&second);
        assert_eq!((first.len(), second.len()), (3, 2), "{both}");
        assert!("abcde".chars().all(|key| both.contains(key)), "{both}");
        queue.shut_down();
        assert!(queue.get_many(3, Duration::ZERO).is_empty());
    }

    #[test]
    fn keys_that_come_one_by_one_go_to_one_worker_though_others_wait() {
        let queue = queue(Arc::new(SystemClock), None);
        // the time to gather ends when there are as many as were asked for
        let gather = Duration::from_secs(600);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| queue.get_many(4, gather).into_iter().map(Item::succeed).count()))
                .collect();
            for key in ["a", "b", "c", "d"] {
                queue.add(key.into());
                std::thread::yield_now();
            }
            let patience = Instant::now() + Duration::from_secs(60);
            while !workers.iter().any(|worker| worker.is_finished()) && Instant::now() < patience {
                std::thread::yield_now();
            }
            queue.shut_down();
            let mut counts: Vec<usize> = workers.into_iter().map(|w| w.join().unwrap()).collect();
            counts.sort_unstable();
            assert_eq!(counts, [0, 0, 4]);
        });
    }

    #[test]
    fn gathering_ends_with_its_time_and_with_the_queue() {
        let queue = queue(Arc::new(SystemClock), None);
        queue.add("a".into());
        assert_eq!(queue.get_many(100, Duration::from_millis(1)).len(), 1);
        queue.add("b".into());
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| queue.get_many(100, Duration::from_secs(600)).len());
            let patience = Instant::now() + Duration::from_secs(60);
            while !queue.is_empty() && Instant::now() < patience {
                std::thread::yield_now();
            }
            queue.shut_down();
            assert_eq!(worker.join().unwrap(), 1);
        });
    }

    #[test]
    fn many_adds_of_few_keys_by_many_threads_never_overlap() {
        let group: GroupOf = Box::new(|key| (key < "5").then(|| "low".into()));
        let queue = queue(Arc::new(SystemClock), Some(group));
        let (added, handled) = (AtomicU64::new(0), AtomicU64::new(0));
        // what each key's last pass saw of the number of its adds
        let counts: HashMap<String, (AtomicU64, AtomicU64, Mutex<()>)> =
            (0..10).map(|n| (n.to_string(), Default::default())).collect();
        let low = Mutex::new(());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while let Some(item) = queue.get() {
                        let (adds, seen, alone) = &counts[&**item.key()];
                        let _alone = alone.try_lock().expect("the key is ours alone");
                        let _low =
                            (&**item.key() < "5").then(|| low.try_lock().expect("the group is ours alone"));
                        seen.store(adds.load(Ordering::SeqCst), Ordering::SeqCst);
                        handled.fetch_add(1, Ordering::SeqCst);
                        drop((_alone, _low));
                        item.succeed();
                    }
                });
            }
            let adders: Vec<_> = (0..2u64)
                .map(|seed| {
                    let (queue, counts, added) = (&queue, &counts, &added);
                    scope.spawn(move || {
                        let random = Random::from_seed(seed);
                        for _ in 0..100_000 {
                            let key = (random.next_u64() % 10).to_string();
                            counts[&key].0.fetch_add(1, Ordering::SeqCst);
                            added.fetch_add(1, Ordering::SeqCst);
                            queue.add(key.into());
                        }
                    })
                })
                .collect();
            for adder in adders {
                adder.join().unwrap();
            }
            let settled = || {
                counts
                    .values()
                    .all(|(adds, seen, _)| adds.load(Ordering::SeqCst) == seen.load(Ordering::SeqCst))
            };
            let patience = Instant::now() + Duration::from_secs(60);
            while !settled() && Instant::now() < patience {
                std::thread::yield_now();
            }
            let is_settled = settled();
            queue.shut_down();
            assert!(is_settled, "an add was not followed by a pass");
        });
        assert_eq!(added.into_inner(), 200_000);
        assert!(handled.into_inner() >= 10);
    }
}
