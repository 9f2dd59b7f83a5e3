//! Services that vanished although their record says that something may be left in the cloud. Pure: `now` is an argument.
//!
//! While we lead, somebody took the finalizer away, and we clean up. While another replica leads, that is how every deletion looks
//! from here, and it is that replica's business; but it may have died in the midst of it. So those of the last minutes are
//! kept until a term of ours begins.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::k8s::types::Service;

/// How long another leader may take for a clean-up: what vanished longer before our term was its business.
const KEPT: Duration = Duration::from_secs(600);

/// How often those that are too old are looked for.
const SWEEP: Duration = Duration::from_secs(60);

/// A Service that is gone.
#[derive(Debug, Clone)]
pub(super) struct Departure {
    /// As it was last seen.
    pub(super) service: Arc<Service>,
    /// When, if another replica may have cleaned up.
    pub(super) before_our_term: Option<Instant>,
}

/// All that are not cleaned up, as far as we know.
#[derive(Debug, Default)]
pub(super) struct Departures {
    by_key: HashMap<Arc<str>, Departure>,
    swept: Option<Instant>,
}

impl Departures {
    /// Somebody took the finalizer of `service` away while we lead.
    pub(super) fn note(&mut self, key: &Arc<str>, service: &Arc<Service>) {
        self.insert(key, service, None);
    }

    /// `service` vanished while somebody else leads, or nobody.
    pub(super) fn note_before_our_term(&mut self, key: &Arc<str>, service: &Arc<Service>, now: Instant) {
        self.sweep(now);
        self.insert(key, service, Some(now));
    }

    fn insert(&mut self, key: &Arc<str>, service: &Arc<Service>, before_our_term: Option<Instant>) {
        let departure = Departure {
            service: Arc::clone(service),
            before_our_term,
        };
        self.by_key.insert(Arc::clone(key), departure);
    }

    /// Drops what is too old, now and then: to be called at any change while somebody else leads.
    pub(super) fn sweep(&mut self, now: Instant) {
        let since = |then: Instant| now.saturating_duration_since(then);
        if self.swept.is_some_and(|swept| since(swept) < SWEEP) {
            return;
        }
        self.swept = Some(now);
        self.forget_old(now);
        if self.by_key.is_empty() {
            self.by_key = HashMap::new();
        }
    }

    fn forget_old(&mut self, now: Instant) {
        let is_old = |then: Instant| now.saturating_duration_since(then) >= KEPT;
        self.by_key
            .retain(|_, departure| !departure.before_our_term.is_some_and(is_old));
    }

    /// A term of ours begins. Returns the keys to clean up after: not those that a Service of the same name has now, which the last
    /// leader may serve already.
    pub(super) fn take_over(&mut self, now: Instant, exists: impl Fn(&str) -> bool) -> Vec<Arc<str>> {
        self.forget_old(now);
        self.by_key.retain(|key, _| !exists(key));
        self.by_key.keys().cloned().collect()
    }

    pub(super) fn get(&self, key: &str) -> Option<Departure> {
        self.by_key.get(key).cloned()
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.by_key.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn keys(departures: &Departures) -> Vec<&str> {
        let mut keys: Vec<&str> = departures.by_key.keys().map(|key| &**key).collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn a_standby_keeps_ten_minutes_of_them_and_a_leader_all() {
        let (begun, service) = (Instant::now(), Arc::new(Service::default()));
        let mut departures = Departures::default();
        departures.note_before_our_term(&"a/old".into(), &service, begun);
        departures.note_before_our_term(&"a/new".into(), &service, begun + 5 * MINUTE);
        departures.sweep(begun + 10 * MINUTE);
        assert_eq!(keys(&departures), ["a/new"]);
        departures.note(&"a/ours".into(), &service);
        departures.sweep(begun + 60 * MINUTE);
        assert_eq!(keys(&departures), ["a/ours"]);
    }

    #[test]
    fn a_term_begins_with_the_young_ones_that_did_not_come_back() {
        let (begun, service) = (Instant::now(), Arc::new(Service::default()));
        let mut departures = Departures::default();
        departures.note_before_our_term(&"a/old".into(), &service, begun);
        for key in ["a/gone", "a/back"] {
            departures.note_before_our_term(&key.into(), &service, begun + MINUTE);
        }
        let due = departures.take_over(begun + 10 * MINUTE, |key| key == "a/back");
        assert_eq!(due, ["a/gone".into()]);
        assert_eq!(keys(&departures), ["a/gone"], "nothing of the others is left");
    }
}
