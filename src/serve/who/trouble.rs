//! A failure that repeats is told once, then again with a count.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What of one kind goes wrong, if anything.
#[derive(Default)]
pub(super) struct Trouble(Mutex<Option<Now>>);

struct Now {
    text: String,
    told: Instant,
    untold: u64,
}

impl Trouble {
    /// Something failed: how often it failed the same way since that was last told, if it is time to tell it.
    pub(super) fn failed(&self, text: &str, now: Instant) -> Option<u64> {
        let mut state = self.lock();
        let untold = match &mut *state {
            Some(same) if same.text == text && now.saturating_duration_since(same.told) < AGAIN => {
                same.untold += 1;
                return None;
            }
            Some(same) => same.untold,
            None => 0,
        };
        *state = Some(Now {
            text: text.to_owned(),
            told: now,
            untold: 0,
        });
        Some(untold)
    }

    /// It did not fail: whether it did the last time.
    pub(super) fn is_over(&self) -> bool {
        self.lock().take().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Now>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const AGAIN: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_failure_is_told_seldom() {
        let (trouble, start) = (Trouble::default(), Instant::now());
        assert!(!trouble.is_over());
        for (text, at, want) in [
            ("a", 0, Some(0)),
            ("a", 1, None),
            ("a", 599, None),
            ("a", 600, Some(2)),
            ("b", 601, Some(0)),
            ("a", 602, Some(0)),
        ] {
            assert_eq!(
                trouble.failed(text, start + Duration::from_secs(at)),
                want,
                "{text} at {at}"
            );
        }
        assert!(trouble.is_over());
        assert!(!trouble.is_over(), "once");
        assert_eq!(trouble.failed("a", start), Some(0));
    }
}
