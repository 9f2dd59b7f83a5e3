//! A limit on how fast a client asks.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::runtime::clock::Clock;
use crate::runtime::stop::StopToken;

/// Lets `burst` calls through at once and `rate` a second in the long run. Shared by all callers of a client: they are served
/// in the order they come. Time is monotonic.
pub struct TokenBucket {
    clock: Arc<dyn Clock>,
    core: Mutex<Core>,
}

/// The wait was ended by the stop token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped")]
pub struct Stopped;

impl TokenBucket {
    /// A full bucket. A `rate` of zero or less, or one that is no number, is no limit.
    pub fn new(rate: f64, burst: u32, clock: Arc<dyn Clock>) -> Self {
        let core = Mutex::new(Core::new(rate, burst, clock.now()));
        Self { clock, core }
    }

    /// Waits for a token. Returns how long that took.
    ///
    /// # Errors
    /// `stop` was set first.
    pub fn take(&self, stop: &StopToken) -> Result<Duration, Stopped> {
        let wait = self.lock().reserve(self.clock.now());
        // a token reserved by somebody who stops is lost, and nobody is left to want it
        if stop.wait(wait) { Err(Stopped) } else { Ok(wait) }
    }

    /// Another rate and burst from now on. What was promised to those who wait stays as it was.
    pub fn set_limit(&self, rate: f64, burst: u32) {
        self.lock().set_limit(rate, burst, self.clock.now());
    }

    /// Holds back every later caller for `delay`: the other side said that it is overloaded. The longest such
    /// delay counts, also where there is no limit.
    pub fn pause(&self, delay: Duration) {
        self.pause_until(self.clock.now() + delay);
    }

    /// As [`TokenBucket::pause`], until a moment of the bucket's clock.
    pub fn pause_until(&self, until: Instant) {
        self.lock().pause_until(until);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Core> {
        self.core.lock().expect("no holder of a token bucket panics")
    }
}

/// The bucket as a function of time.
#[derive(Debug)]
pub struct Core {
    /// Tokens a second; `None` for no limit.
    rate: Option<f64>,
    burst: f64,
    /// Negative when tokens not yet there are promised.
    tokens: f64,
    at: Instant,
    paused: Option<Instant>,
}

impl Core {
    /// Full at `now`.
    pub fn new(rate: f64, burst: u32, now: Instant) -> Self {
        let burst = f64::from(burst.max(1));
        Self {
            rate: (rate > 0.0).then_some(rate),
            burst,
            tokens: burst,
            at: now,
            paused: None,
        }
    }

    /// Takes a token, perhaps one that is still to come, and says how long to wait for it.
    pub fn reserve(&mut self, now: Instant) -> Duration {
        let pause = self
            .paused
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let Some(rate) = self.rate else {
            return pause;
        };
        let since = now.saturating_duration_since(self.at);
        self.at = self.at.max(now);
        self.tokens = (self.tokens + since.as_secs_f64() * rate).min(self.burst) - 1.0;
        let seconds = (-self.tokens / rate).max(0.0);
        Duration::try_from_secs_f64(seconds)
            .unwrap_or(Duration::MAX)
            .max(pause)
    }

    /// Another rate and burst from `now` on; where there was no limit, with a full bucket.
    pub fn set_limit(&mut self, rate: f64, burst: u32, now: Instant) {
        let new = Self::new(rate, burst, now);
        let tokens = match self.rate {
            Some(old) => {
                let since = now.saturating_duration_since(self.at);
                (self.tokens + since.as_secs_f64() * old).min(new.burst)
            }
            None => new.burst,
        };
        *self = Self {
            tokens,
            paused: self.paused,
            at: self.at.max(now),
            ..new
        };
    }

    /// Nobody is let through before `until`, or before a later moment given earlier.
    pub fn pause_until(&mut self, until: Instant) {
        self.paused = self.paused.max(Some(until));
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::runtime::clock::ManualClock;
    use crate::runtime::stop::Stop;

    fn seconds(n: f64) -> Duration {
        Duration::from_secs_f64(n)
    }

    #[test]
    fn a_burst_is_free_and_the_rest_waits_in_turn() {
        let start = Instant::now();
        let mut core = Core::new(10.0, 2, start);
        let waits: Vec<f64> = (0..5).map(|_| core.reserve(start).as_secs_f64()).collect();
        assert_eq!(waits, [0.0, 0.0, 0.1, 0.2, 0.3]);
        // at 1 s, seven of ten new tokens are left after the promises; the bucket holds two
        let later = start + seconds(1.0);
        let waits: Vec<f64> = (0..3).map(|_| core.reserve(later).as_secs_f64()).collect();
        assert_eq!(waits, [0.0, 0.0, 0.1]);
    }

    #[test]
    fn a_rate_of_zero_or_less_is_no_limit() {
        let start = Instant::now();
        for rate in [0.0, -1.0, f64::NAN] {
            let mut core = Core::new(rate, 1, start);
            assert!((0..100).all(|_| core.reserve(start).is_zero()), "{rate}");
            core.pause_until(start + seconds(3.0));
            assert_eq!(core.reserve(start + seconds(1.0)), seconds(2.0), "{rate}");
        }
    }

    #[test]
    fn the_longest_pause_holds_everybody_back() {
        let start = Instant::now();
        let mut core = Core::new(1.0, 1, start);
        core.pause_until(start + seconds(5.0));
        core.pause_until(start + seconds(2.0));
        assert_eq!(core.reserve(start), seconds(5.0));
        assert_eq!(core.reserve(start + seconds(5.0)), seconds(0.0));
        assert_eq!(
            core.reserve(start + seconds(5.0)),
            seconds(1.0),
            "the rate goes on"
        );
    }

    #[test]
    fn another_limit_counts_from_its_moment_on() {
        let start = Instant::now();
        let mut core = Core::new(0.0, 5, start);
        core.set_limit(1.0, 2, start);
        let waits = |core: &mut Core, now| [0; 3].map(|_| core.reserve(now).as_secs_f64());
        assert_eq!(waits(&mut core, start), [0.0, 0.0, 1.0]);
        // a second later the promise is kept, and nothing is left
        core.set_limit(10.0, 2, start + seconds(1.0));
        assert_eq!(waits(&mut core, start + seconds(1.0)), [0.1, 0.2, 0.3]);
        core.set_limit(0.0, 1, start + seconds(1.0));
        assert_eq!(waits(&mut core, start + seconds(1.0)), [0.0; 3]);
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let stop = Stop::new();
        let bucket = TokenBucket::new(0.001, 1, Arc::new(ManualClock::new(SystemTime::UNIX_EPOCH)));
        assert_eq!(bucket.take(&stop.token()), Ok(Duration::ZERO));
        stop.stop();
        assert_eq!(bucket.take(&stop.token()), Err(Stopped));
    }
}
