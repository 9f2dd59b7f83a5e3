//! Clocks that are wrong.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::runtime::clock::Clock;

/// The clocks of one machine. Both may run at the wrong speed; one stands still while the machine sleeps, the other may be set.
#[derive(Clone)]
pub(super) struct LocalClock(pub(super) Arc<Mutex<Local>>);

pub(super) struct Local {
    pub(super) start: Instant,
    /// Of both clocks, against true time.
    pub(super) rate: f64,
    pub(super) truth: Duration,
    pub(super) slept: Duration,
    /// In seconds.
    pub(super) offset: f64,
}

impl Clock for LocalClock {
    fn now(&self) -> Instant {
        let local = self.0.lock().unwrap();
        local.start + local.truth.mul_f64(local.rate) - local.slept
    }

    fn wall(&self) -> SystemTime {
        let local = self.0.lock().unwrap();
        let since = 2e9 + local.offset + local.truth.mul_f64(local.rate).as_secs_f64();
        UNIX_EPOCH + Duration::from_secs_f64(since)
    }
}
