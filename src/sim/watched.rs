//! A value that many threads change and wait for, so that nobody has to sleep.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A value behind a lock; every update wakes those who wait for it to become something.
#[derive(Debug, Default)]
pub struct Watched<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Watched<T> {
    /// Starts with `value`.
    pub fn new(value: T) -> Self {
        Self {
            value: Mutex::new(value),
            changed: Condvar::new(),
        }
    }

    /// Looks at the value. `look` must not call back into this value.
    pub fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.lock())
    }

    /// Changes the value and wakes all who wait.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Waits until `look` finds what it wants, at most `timeout`. `None` when it did not come.
    pub fn wait_until<R>(&self, timeout: Duration, mut look: impl FnMut(&T) -> Option<R>) -> Option<R> {
        let deadline = Instant::now().checked_add(timeout);
        let mut value = self.lock();
        loop {
            if let Some(found) = look(&value) {
                return Some(found);
            }
            value = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => self.changed.wait(value).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => return None,
                Some(left) => {
                    self.changed
                        .wait_timeout(value, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
    }

    // A test that panics in its own condition must not make every later look at the simulator panic too.
    fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_the_update_it_waits_for() {
        let watched = Watched::new(0);
        let found = std::thread::scope(|scope| {
            let waiter =
                scope.spawn(|| watched.wait_until(Duration::from_secs(60), |n| (*n == 3).then_some("three")));
            for _ in 0..3 {
                watched.update(|n| *n += 1);
            }
            waiter.join().unwrap()
        });
        assert_eq!(found, Some("three"));
    }

    #[test]
    fn a_wait_without_hope_ends_with_nothing() {
        let watched = Watched::new(0);
        assert_eq!(
            watched.wait_until(Duration::ZERO, |n| (*n > 0).then_some(())),
            None
        );
    }
}
