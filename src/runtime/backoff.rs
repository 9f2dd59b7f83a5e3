//! Waiting longer after each failure.

use std::time::Duration;

use super::random::Random;

/// How long to wait after the n-th failure in a row: `initial × 2ⁿ`, at most `cap`, then spread by chance over
/// `[1 - jitter, 1 + jitter)` times that, so that many who failed together do not return together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// After the first failure.
    pub initial: Duration,
    /// Never more than this, before the jitter.
    pub cap: Duration,
    /// 0 for none; at most 1.
    pub jitter: f64,
}

impl Backoff {
    /// The wait after `failures` earlier failures (0 for the first).
    pub fn delay(&self, failures: u32, random: &Random) -> Duration {
        let plain = self
            .initial
            .saturating_mul(2u32.saturating_pow(failures))
            .min(self.cap);
        plain.mul_f64(1.0 - self.jitter + 2.0 * self.jitter * random.unit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap() {
        let backoff = Backoff {
            initial: Duration::from_secs(5),
            cap: Duration::from_secs(300),
            jitter: 0.0,
        };
        let delays: Vec<u64> = [0, 1, 2, 5, 6, 40, u32::MAX]
            .map(|failures| backoff.delay(failures, &Random::from_seed(1)).as_secs())
            .to_vec();
        assert_eq!(delays, [5, 10, 20, 160, 300, 300, 300]);
    }

    #[test]
    fn jitter_stays_in_its_range() {
        let backoff = Backoff {
            initial: Duration::from_secs(10),
            cap: Duration::from_secs(10),
            jitter: 0.2,
        };
        let random = Random::from_seed(1);
        let delays: Vec<f64> = (0..100)
            .map(|_| backoff.delay(3, &random).as_secs_f64())
            .collect();
        assert!(delays.iter().all(|d| (8.0..12.0).contains(d)), "{delays:?}");
        assert!(
            delays.iter().any(|d| *d < 9.0) && delays.iter().any(|d| *d > 11.0),
            "{delays:?}"
        );
    }
}
