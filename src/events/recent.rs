//! A map that forgets what has not been used for longest.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};

/// At most `capacity` values, by key. Keys are long, and only their hash is kept: once in 2^64 two share a value.
pub(super) struct Recent<V> {
    capacity: usize,
    hasher: RandomState,
    uses: u64,
    values: HashMap<u64, (u64, V)>,
    by_use: BTreeMap<u64, u64>,
}

impl<V> Recent<V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            hasher: RandomState::new(),
            uses: 0,
            values: HashMap::new(),
            by_use: BTreeMap::new(),
        }
    }

    /// The value of `key`, made if there is none. It is now the one used last.
    pub(super) fn entry(&mut self, key: &str, make: impl FnOnce() -> V) -> &mut V {
        self.uses += 1;
        let key = self.hasher.hash_one(key);
        match self.values.get(&key) {
            Some((used, _)) => {
                self.by_use.remove(used);
            }
            None if self.values.len() >= self.capacity => {
                if let Some((_, oldest)) = self.by_use.pop_first() {
                    self.values.remove(&oldest);
                }
            }
            None => {}
        }
        self.by_use.insert(self.uses, key);
        let (used, value) = self.values.entry(key).or_insert_with(|| (0, make()));
        *used = self.uses;
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_unused_for_longest_is_forgotten() {
        let mut recent = Recent::new(2);
        let mut use_ = |key: &str| {
            let count = recent.entry(key, || 0);
            *count += 1;
            *count
        };
        let counts: Vec<i32> = ["a", "b", "a", "c", "a", "b", "c"].map(&mut use_).to_vec();
        assert_eq!(counts, [1, 1, 2, 1, 3, 1, 1]);
        assert_eq!((recent.values.len(), recent.by_use.len()), (2, 2));
    }
}
