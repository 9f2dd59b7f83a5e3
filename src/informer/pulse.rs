//! How a reflector is, as seen from another thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use super::Store;

/// Tells how a reflector is, for health checks and pages. Clones tell of the same one.
#[derive(Clone)]
pub struct Pulse(Arc<Shared>);

struct Shared {
    beat: Mutex<Beat>,
    objects: Box<dyn Fn() -> usize + Send + Sync>,
}

#[derive(Clone, Copy)]
struct Beat {
    synced_since: Option<SystemTime>,
    contact: Instant,
    event: Instant,
    step: Instant,
}

impl Pulse {
    /// Of one that has heard nothing yet.
    pub(super) fn new<T: Send + Sync + 'static>(store: Store<T>, now: Instant) -> Self {
        let beat = Beat {
            synced_since: None,
            contact: now,
            event: now,
            step: now,
        };
        Self(Arc::new(Shared {
            beat: Mutex::new(beat),
            objects: Box::new(move || store.len()),
        }))
    }

    /// Since when the store is complete; `None` before the first list was applied.
    pub fn synced_since(&self) -> Option<SystemTime> {
        self.beat().synced_since
    }

    /// When the API server last answered: with a page of a list, with a watch that it opened, with anything on a watch. A refusal is no
    /// answer. Before the first one: when the reflector was made. A watch is opened anew every five minutes and some seconds at
    /// the latest, so much more than that means that nothing is heard of changes any more.
    pub fn last_contact(&self) -> Instant {
        self.beat().contact
    }

    /// When something was last applied: a list, an event of a watch, a bookmark. Before that: when the reflector was made.
    pub fn last_event(&self) -> Instant {
        self.beat().event
    }

    /// When the reflector last ended a step, well or not: a request, a read of a watch. Each is given up after a few minutes at most, and
    /// pauses between them are shorter, so much more than that means that its thread is stuck, whoever answers. Before the first one:
    /// when the reflector was made.
    pub fn last_step(&self) -> Instant {
        self.beat().step
    }

    /// How many objects the store holds.
    pub fn objects(&self) -> usize {
        (self.0.objects)()
    }

    /// The server has answered.
    pub(super) fn answered(&self, now: Instant) {
        self.beat().contact = now;
    }

    /// A step has ended.
    pub(super) fn stepped(&self, now: Instant) {
        self.beat().step = now;
    }

    /// What it said was applied.
    pub(super) fn applied(&self, now: Instant) {
        self.beat().event = now;
    }

    /// The store is complete from now on.
    pub(super) fn synced(&self, date: SystemTime) {
        self.beat().synced_since.get_or_insert(date);
    }

    fn beat(&self) -> MutexGuard<'_, Beat> {
        self.0.beat.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
