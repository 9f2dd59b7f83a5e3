//! Telling every thread to stop, and letting every wait be woken by it.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

type Hook = Box<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct State {
    set: bool,
    next_hook: u64,
    hooks: Vec<(u64, Arc<Hook>)>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    woken: Condvar,
}

/// The switch. Setting it wakes every wait on its tokens and runs every hook once; it is never unset.
#[derive(Clone, Default)]
pub struct Stop(StopToken);

/// The other end of a [`Stop`]: asks whether to stop, waits without missing it.
#[derive(Clone, Default)]
pub struct StopToken(Arc<Shared>);

/// Keeps a hook registered; dropping it removes the hook.
#[must_use]
pub struct HookGuard {
    shared: Arc<Shared>,
    id: u64,
}

impl Stop {
    /// Not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// A token for somebody who must obey.
    pub fn token(&self) -> StopToken {
        self.0.clone()
    }

    /// Sets it: wakes all waits, then runs the hooks on this thread. Later calls do nothing.
    pub fn stop(&self) {
        let hooks = {
            let mut state = self.0.lock();
            if std::mem::replace(&mut state.set, true) {
                return;
            }
            std::mem::take(&mut state.hooks)
        };
        self.0.0.woken.notify_all();
        for (_, hook) in hooks {
            hook();
        }
    }
}

impl StopToken {
    /// A token that is never set, for callers without a reason to stop.
    pub fn never() -> Self {
        Self::default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().expect("no holder of the stop state panics")
    }

    /// Whether to stop.
    pub fn is_set(&self) -> bool {
        self.lock().set
    }

    /// Waits for at most `timeout`; returns at once, and true, when it is time to stop.
    pub fn wait(&self, timeout: Duration) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.lock();
        while !state.set {
            state = match deadline {
                None => self
                    .0
                    .woken
                    .wait(state)
                    .expect("no holder of the stop state panics"),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return false;
                    }
                    self.0
                        .woken
                        .wait_timeout(state, left)
                        .expect("no holder of the stop state panics")
                        .0
                }
            };
        }
        true
    }

    /// Runs `hook` once when it is time to stop, to wake something that cannot wait on the token: a blocked
    /// read, a queue. Runs it at once if that time has come. The hook must not block.
    pub fn on_stop(&self, hook: impl Fn() + Send + Sync + 'static) -> HookGuard {
        let hook: Arc<Hook> = Arc::new(Box::new(hook));
        let mut state = self.lock();
        let id = state.next_hook;
        state.next_hook += 1;
        if state.set {
            drop(state);
            hook();
        } else {
            state.hooks.push((id, hook));
        }
        HookGuard {
            shared: Arc::clone(&self.0),
            id,
        }
    }
}

impl Drop for HookGuard {
    fn drop(&mut self) {
        let mut state = self
            .shared
            .state
            .lock()
            .expect("no holder of the stop state panics");
        state.hooks.retain(|(id, _)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_wait_ends_when_the_switch_is_set() {
        let stop = Stop::new();
        let token = stop.token();
        assert!(!token.wait(Duration::ZERO));
        let waiter = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| token.wait(Duration::from_secs(60)));
            stop.stop();
            waiter.join().unwrap()
        });
        assert!(waiter);
    }

    #[test]
    fn a_hook_runs_once_and_a_late_one_at_once() {
        let (stop, runs) = (Stop::new(), Arc::new(AtomicU32::new(0)));
        let count = |runs: &Arc<AtomicU32>| {
            let runs = Arc::clone(runs);
            move || {
                runs.fetch_add(1, Ordering::SeqCst);
            }
        };
        let _kept = stop.token().on_stop(count(&runs));
        drop(stop.token().on_stop(count(&runs)));
        stop.stop();
        stop.stop();
        assert_eq!(
            runs.load(Ordering::SeqCst),
            1,
            "the kept hook once, the dropped one never"
        );
        let _late = stop.token().on_stop(count(&runs));
        assert_eq!(runs.load(Ordering::SeqCst), 2, "a late hook runs at once");
    }
}
