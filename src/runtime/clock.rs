//! Time as an argument: the system's clock for the daemon, one moved by hand for tests.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// Reads the time. Intervals are measured on [`Clock::now`], which never goes back; [`Clock::wall`] is for dates
/// that people or other machines read, and may jump.
pub trait Clock: Send + Sync {
    /// A monotonic reading.
    fn now(&self) -> Instant;
    /// The date.
    fn wall(&self) -> SystemTime;
}

/// The system's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// A clock that stands still until it is told to advance. Clones show the same time.
#[derive(Debug, Clone)]
pub struct ManualClock {
    start: Instant,
    start_wall: SystemTime,
    elapsed: Arc<Mutex<Duration>>,
}

impl ManualClock {
    /// Starts at `wall`; the monotonic reading starts at an arbitrary point.
    pub fn new(wall: SystemTime) -> Self {
        Self {
            start: Instant::now(),
            start_wall: wall,
            elapsed: Arc::default(),
        }
    }

    /// Moves both clocks on by `step`.
    pub fn advance(&self, step: Duration) {
        *self.elapsed.lock().expect("no holder of the manual clock panics") += step;
    }

    fn elapsed(&self) -> Duration {
        *self.elapsed.lock().expect("no holder of the manual clock panics")
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        self.start + self.elapsed()
    }
    fn wall(&self) -> SystemTime {
        self.start_wall + self.elapsed()
    }
}
