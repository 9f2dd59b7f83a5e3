//! What the controller has done so far, for whoever shows it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Questions to the cloud, each about many Nodes.
    pub look_ups: AtomicU64,
    /// Nodes that lost the taint by us.
    pub initialized: AtomicU64,
    /// Milliseconds from the creation of a Node to the loss of its taint, over all that lost it by us.
    pub taint_removal_delay_ms: AtomicU64,
    /// Attempts to initialise a Node that failed.
    pub initialization_failures: AtomicU64,
    /// Writes that met a change by somebody else.
    pub conflicts: AtomicU64,
    /// Nodes whose addresses the refresh changed.
    pub addresses_updated: AtomicU64,
    /// Nodes whose addresses could not be refreshed, over all passes.
    pub refresh_failures: AtomicU64,
    /// Nodes whose labels were repaired.
    pub labels_repaired: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_initialized(&self, delay: Duration) {
        Self::add(&self.initialized);
        let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.taint_removal_delay_ms.fetch_add(delay, Ordering::Relaxed);
    }
}
