//! What the controller has done so far, for whoever shows it.

use std::time::Duration;

use crate::metrics::{Histogram, IntCounter, Metrics};

/// Counts since the start.
pub struct Counters {
    /// Questions to the cloud, each about many Nodes.
    pub look_ups: IntCounter,
    /// From the creation of a Node to the loss of its taint, in seconds, of each that lost it by us.
    pub taint_removal_delay: Histogram,
    /// The same, up to the end of the initialisation.
    pub initial_sync_delay: Histogram,
    /// Attempts to initialise a Node that failed.
    pub initialization_failures: IntCounter,
    /// Writes that met a change by somebody else.
    pub conflicts: IntCounter,
    /// Nodes whose addresses the refresh changed.
    pub addresses_updated: IntCounter,
    /// Nodes whose addresses could not be refreshed, over all passes.
    pub refresh_failures: IntCounter,
    /// Nodes whose labels were repaired.
    pub labels_repaired: IntCounter,
}

/// Upstream's, in seconds. Source: ccm-behaviour.md 7.1.
const DELAYS: [f64; 6] = [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0];

impl Counters {
    /// Registers them.
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            look_ups: metrics.counter(
                "inspur_ccm_node_look_ups_total",
                "Questions of the node controller to the cloud, each about up to a hundred Nodes.",
            ),
            taint_removal_delay: metrics.histogram(
                "node_controller_cloud_provider_taint_removal_delay_seconds",
                "From the creation of a Node to the removal of the taint node.cloudprovider.kubernetes.io/uninitialized, in seconds.",
                &DELAYS,
            ),
            initial_sync_delay: metrics.histogram(
                "node_controller_initial_node_sync_delay_seconds",
                "From the creation of a Node to the end of its initialisation, in seconds. The taint goes with the last write, so this is when it does.",
                &DELAYS,
            ),
            initialization_failures: metrics.counter(
                "inspur_ccm_node_initialization_failures_total",
                "Attempts to initialise a Node that failed; Events on the Node say why.",
            ),
            conflicts: metrics.counter(
                "inspur_ccm_node_write_conflicts_total",
                "Writes to Nodes by the node controller that met a change by somebody else, and were made again or left to the next pass.",
            ),
            addresses_updated: metrics.counter(
                "inspur_ccm_node_address_updates_total",
                "Initialised Nodes whose addresses were changed, since the cloud tells others.",
            ),
            refresh_failures: metrics.counter(
                "inspur_ccm_node_address_update_failures_total",
                "Initialised Nodes whose addresses could not be compared with the cloud's or changed; each is tried again with the next pass.",
            ),
            labels_repaired: metrics.counter(
                "inspur_ccm_node_label_repairs_total",
                "Nodes whose labels for zone, region, type or platform were repaired.",
            ),
        }
    }

    /// A Node was initialised, so long after its creation.
    pub(super) fn initialized(&self, delay: Duration) {
        self.taint_removal_delay.observe(delay.as_secs_f64());
        self.initial_sync_delay.observe(delay.as_secs_f64());
    }
}
