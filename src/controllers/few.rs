//! Ordered sets that hold one element most of the time, by the thousand.

/// A `BTreeSet` takes room for eleven with the first element; this one has room for what it holds.
#[derive(Debug, Clone)]
pub(super) struct Few<T>(Vec<T>);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Ord> Few<T> {
    /// Whether it was not there before.
    pub(super) fn insert(&mut self, value: T) -> bool {
        let Err(at) = self.0.binary_search(&value) else {
            return false;
        };
        self.0.reserve_exact(1);
        self.0.insert(at, value);
        true
    }

    pub(super) fn remove(&mut self, value: &T) {
        if let Ok(at) = self.0.binary_search(value) {
            self.0.remove(at);
        }
    }

    /// The least.
    pub(super) fn first(&self) -> Option<&T> {
        self.0.first()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_an_ordered_set() {
        let mut few = Few::default();
        assert!(few.is_empty() && few.first().is_none());
        let inserted = [3, 1, 2, 1].map(|n| few.insert(n));
        assert_eq!(inserted, [true, true, true, false]);
        assert_eq!(few.iter().collect::<Vec<_>>(), [&1, &2, &3]);
        few.remove(&1);
        few.remove(&7);
        assert_eq!((few.first(), few.is_empty()), (Some(&2), false));
    }
}
