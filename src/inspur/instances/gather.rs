//! Makes questions that come at about the same time one question.

use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::runtime::stop::StopToken;

/// Gathers questions of several threads. The first one waits for others, asks for all of them and tells each its answers.
pub(super) struct Gather<Q, A> {
    /// How long it waits.
    window: Duration,
    /// With so many questions it waits no longer.
    full: usize,
    stop: StopToken,
    /// The round that still takes questions.
    open: Mutex<Option<Arc<Round<Q, A>>>>,
}

struct Round<Q, A> {
    phase: Mutex<Phase<Q, A>>,
    changed: Condvar,
}

enum Phase<Q, A> {
    /// Questions may be added.
    Gathering(Vec<Q>),
    /// They are being asked.
    Asking,
    /// One answer a question; each is taken once.
    Answered(Vec<Option<A>>),
    /// Whoever was to ask panicked.
    Abandoned,
}

impl<Q: Send + 'static, A: Send + 'static> Gather<Q, A> {
    pub(super) fn new(window: Duration, full: usize, stop: StopToken) -> Self {
        Self {
            window,
            full,
            stop,
            open: Mutex::new(None),
        }
    }

    /// The answers to `questions`, in their order. Whoever comes first calls `answer` for everybody, which gives one answer a
    /// question. The wait ends early when it is time to stop; `answer` is called all the same.
    ///
    /// `None` when the one who was to ask panicked.
    pub(super) fn ask(&self, questions: Vec<Q>, answer: impl FnOnce(Vec<Q>) -> Vec<A>) -> Option<Vec<A>> {
        let (round, mine, first) = self.join(questions);
        if first {
            self.lead(&round, answer);
        }
        round.take(mine)
    }

    fn join(&self, mut questions: Vec<Q>) -> (Arc<Round<Q, A>>, Range<usize>, bool) {
        let mut open = self.open();
        if let Some(round) = &*open {
            if let Phase::Gathering(gathered) = &mut *round.phase() {
                let mine = gathered.len()..gathered.len() + questions.len();
                gathered.append(&mut questions);
                if gathered.len() >= self.full {
                    round.changed.notify_all();
                }
                return (Arc::clone(round), mine, false);
            }
        }
        let mine = 0..questions.len();
        let round = Arc::new(Round {
            phase: Mutex::new(Phase::Gathering(questions)),
            changed: Condvar::new(),
        });
        *open = Some(Arc::clone(&round));
        (round, mine, true)
    }

    fn lead(&self, round: &Arc<Round<Q, A>>, answer: impl FnOnce(Vec<Q>) -> Vec<A>) {
        // whatever happens, nobody waits for ever
        let _end = Abandon(round);
        if !self.window.is_zero() {
            self.wait_for_others(round);
        }
        *self.open() = None;
        let asking = std::mem::replace(&mut *round.phase(), Phase::Asking);
        if let Phase::Gathering(questions) = asking {
            let answers = answer(questions);
            *round.phase() = Phase::Answered(answers.into_iter().map(Some).collect());
        }
    }

    fn wait_for_others(&self, round: &Arc<Round<Q, A>>) {
        let woken = Arc::clone(round);
        // with the lock taken in between, the wake-up cannot fall between a look at the token and the wait
        let _hook = self.stop.on_stop(move || {
            drop(woken.phase());
            woken.changed.notify_all();
        });
        let deadline = Instant::now() + self.window;
        let mut phase = round.phase();
        loop {
            let enough = matches!(&*phase, Phase::Gathering(questions) if questions.len() >= self.full);
            let left = deadline.saturating_duration_since(Instant::now());
            if enough || left.is_zero() || self.stop.is_set() {
                return;
            }
            let waited = round.changed.wait_timeout(phase, left);
            phase = waited.expect("no holder of a round panics").0;
        }
    }

    fn open(&self) -> MutexGuard<'_, Option<Arc<Round<Q, A>>>> {
        self.open.lock().expect("no holder of the open round panics")
    }
}

impl<Q, A> Round<Q, A> {
    fn phase(&self) -> MutexGuard<'_, Phase<Q, A>> {
        self.phase.lock().expect("no holder of a round panics")
    }

    /// Waits for the answers.
    fn take(&self, mine: Range<usize>) -> Option<Vec<A>> {
        let mut phase = self.phase();
        loop {
            match &mut *phase {
                Phase::Answered(answers) => {
                    return answers.get_mut(mine)?.iter_mut().map(Option::take).collect();
                }
                Phase::Abandoned => return None,
                Phase::Gathering(_) | Phase::Asking => {
                    phase = self.changed.wait(phase).expect("no holder of a round panics");
                }
            }
        }
    }
}

/// Ends a round, and tells everybody.
struct Abandon<'a, Q, A>(&'a Round<Q, A>);

impl<Q, A> Drop for Abandon<'_, Q, A> {
    fn drop(&mut self) {
        let mut phase = self.0.phase();
        if !matches!(&*phase, Phase::Answered(_)) {
            *phase = Phase::Abandoned;
        }
        drop(phase);
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::runtime::stop::Stop;

    /// Longer than any test.
    const LONG: Duration = Duration::from_secs(3600);

    fn doubled(questions: Vec<u32>) -> Vec<u32> {
        questions.into_iter().map(|question| question * 2).collect()
    }

    #[test]
    fn without_a_window_each_asks_for_itself() {
        let gather = Gather::new(Duration::ZERO, 100, StopToken::never());
        assert_eq!(gather.ask(vec![1, 2], doubled), Some(vec![2, 4]));
        assert_eq!(gather.ask(vec![3], doubled), Some(vec![6]));
        assert_eq!(gather.ask(vec![], doubled), Some(vec![]));
    }

    #[test]
    fn questions_of_one_moment_are_one_question() {
        let (gather, asked) = (Gather::new(LONG, 9, StopToken::never()), AtomicUsize::new(0));
        let ask = |questions: Vec<u32>| {
            gather.ask(questions, |all| {
                asked.fetch_add(1, Ordering::SeqCst);
                assert_eq!(all.len(), 9);
                doubled(all)
            })
        };
        std::thread::scope(|scope| {
            let callers: Vec<_> = [vec![1, 2], vec![3], vec![4, 5, 6], vec![7, 8, 9]]
                .into_iter()
                .map(|questions| (questions.clone(), scope.spawn(|| ask(questions))))
                .collect();
            for (questions, caller) in callers {
                assert_eq!(caller.join().unwrap(), Some(doubled(questions)));
            }
        });
        assert_eq!(asked.into_inner(), 1);
    }

    #[test]
    fn the_wait_ends_when_it_is_time_to_stop() {
        let stop = Stop::new();
        let gather = Gather::new(LONG, 2, stop.token());
        std::thread::scope(|scope| {
            let caller = scope.spawn(|| gather.ask(vec![1], doubled));
            while gather.open().is_none() {
                std::thread::yield_now();
            }
            stop.stop();
            assert_eq!(caller.join().unwrap(), Some(vec![2]));
        });
        assert_eq!(
            gather.ask(vec![3], doubled),
            Some(vec![6]),
            "after the stop, at once"
        );
    }

    #[test]
    fn who_comes_while_others_are_asked_for_is_asked_for_next() {
        let gather = Gather::new(Duration::ZERO, 100, StopToken::never());
        let answered = gather.ask(vec![1], |questions| {
            assert_eq!(gather.ask(vec![5], doubled), Some(vec![10]));
            doubled(questions)
        });
        assert_eq!(answered, Some(vec![2]));
    }

    #[test]
    fn a_panic_leaves_nobody_waiting() {
        let gather = Gather::new(LONG, 2, StopToken::never());
        let ask = || gather.ask(vec![1], |_: Vec<u32>| -> Vec<u32> { panic!("as a test does") });
        let ended: Vec<_> = std::thread::scope(|scope| {
            let callers = [0, 1].map(|_| scope.spawn(|| catch_unwind(AssertUnwindSafe(ask))));
            callers.into_iter().map(|caller| caller.join().unwrap()).collect()
        });
        let panicked = ended.iter().filter(|ended| ended.is_err()).count();
        let abandoned = ended.iter().filter(|ended| matches!(ended, Ok(None))).count();
        assert_eq!((panicked, abandoned), (1, 1));
        assert_eq!(
            gather.ask(vec![1, 2], doubled),
            Some(vec![2, 4]),
            "and the next goes on"
        );
    }
}
