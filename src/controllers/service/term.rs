//! The term in which we lead, and what is doubted at its beginning. Pure: `now` is an argument.
//!
//! A standby's stores are warm: a term begins with what they hold, and they may lag behind what the last leader did. Versions of
//! different objects cannot be compared to prove the contrary, so each Service is confirmed by one read before its first write
//! to the cloud. Source: kube-client.md 7.6.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the stores hold when a term begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// Nothing yet, or what was listed in this term.
    Fresh,
    /// What was listed before, and watched since.
    Warm,
}

/// Whatever lagged when a term began has caught up after this long, or was listed anew.
const DOUBTED_FOR: Duration = Duration::from_secs(600);

/// Whether we lead.
#[derive(Debug, Default)]
pub(super) enum Term {
    /// No: what happens is the business of whoever does.
    #[default]
    NotYet,
    /// Yes, and the stores are not in doubt (any more).
    Sure,
    /// Yes, since then, on stores that were warm.
    Doubted {
        since: Instant,
        /// Keys of Services that were as new in the store as anywhere, once in this term.
        confirmed: HashSet<Arc<str>>,
    },
}

impl Term {
    pub(super) fn begin(&mut self, cache: Cache, now: Instant) {
        *self = match cache {
            Cache::Fresh => Self::Sure,
            Cache::Warm => Self::Doubted {
                since: now,
                confirmed: HashSet::new(),
            },
        };
    }

    pub(super) fn is_leading(&self) -> bool {
        !matches!(self, Self::NotYet)
    }

    /// Whether the Service with this key is to be read before the cloud is written to for it.
    pub(super) fn doubts(&mut self, key: &str, now: Instant) -> bool {
        match self {
            Self::Doubted { since, confirmed } if now.saturating_duration_since(*since) < DOUBTED_FOR => {
                !confirmed.contains(key)
            }
            Self::Doubted { .. } => {
                *self = Self::Sure;
                false
            }
            Self::NotYet | Self::Sure => false,
        }
    }

    pub(super) fn confirm(&mut self, key: &Arc<str>) {
        if let Self::Doubted { confirmed, .. } = self {
            confirmed.insert(Arc::clone(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_warm_stores_are_doubted_for_ten_minutes_and_each_key_once() {
        let (begun, web, api) = (Instant::now(), Arc::from("default/web"), "default/api");
        let mut term = Term::default();
        assert!(!term.is_leading() && !term.doubts(&web, begun));
        term.begin(Cache::Fresh, begun);
        assert!(term.is_leading() && !term.doubts(&web, begun));
        term.begin(Cache::Warm, begun);
        assert!(term.is_leading() && term.doubts(&web, begun));
        term.confirm(&web);
        let late = begun + DOUBTED_FOR - Duration::from_nanos(1);
        assert!(!term.doubts(&web, late) && term.doubts(api, late));
        assert!(!term.doubts(api, begun + DOUBTED_FOR));
        assert!(
            matches!(term, Term::Sure),
            "what was confirmed takes no more room"
        );
    }
}
