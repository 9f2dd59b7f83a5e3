//! Chance, from a seed: jitter and identities. Not for secrets.

use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use std::time::Duration;

/// A small generator of pseudo-random numbers (SplitMix64). The same seed gives the same numbers, so that a run
/// can be replayed.
#[derive(Debug)]
pub struct Random(Mutex<u64>);

impl Random {
    /// Numbers that follow from `seed`.
    pub fn from_seed(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    /// Numbers that nobody can repeat.
    pub fn from_entropy() -> Self {
        Self::from_seed(RandomState::new().hash_one(std::process::id()))
    }

    /// The next number.
    pub fn next_u64(&self) -> u64 {
        let mut state = self.0.lock().expect("no holder of the random state panics");
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in `[0, 1)`.
    pub fn unit(&self) -> f64 {
        // 53 bits fill a double's mantissa exactly
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `[low, high)`; `low` when the range is empty.
    pub fn between(&self, low: Duration, high: Duration) -> Duration {
        low + high.saturating_sub(low).mul_f64(self.unit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_a_range_is_kept() {
        let (one, two) = (Random::from_seed(7), Random::from_seed(7));
        for _ in 0..1000 {
            let d = one.between(Duration::from_secs(1), Duration::from_secs(2));
            assert_eq!(d, two.between(Duration::from_secs(1), Duration::from_secs(2)));
            assert!(
                (Duration::from_secs(1)..Duration::from_secs(2)).contains(&d),
                "{d:?}"
            );
        }
        assert_ne!(one.next_u64(), Random::from_seed(8).next_u64());
    }
}
