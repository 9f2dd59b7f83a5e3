//! What the controller has done so far, for whoever shows it.

use crate::metrics::{IntCounter, IntGauge, Metrics};

/// Counts since the start.
pub struct Counters {
    /// Nodes deleted.
    pub deleted: IntCounter,
    /// Deletions that failed.
    pub failed: IntCounter,
    /// Nodes that the brake held.
    pub braked: IntCounter,
    /// Nodes that the brake holds now.
    pub held: IntGauge,
    /// Shutdown taints added.
    pub tainted: IntCounter,
    /// Shutdown taints removed.
    pub untainted: IntCounter,
}

/// [`Counters`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Nodes deleted.
    pub deleted: u64,
    /// Deletions that failed.
    pub failed: u64,
    /// Nodes that the brake held.
    pub braked: u64,
    /// Nodes that the brake holds now.
    pub held: i64,
    /// Shutdown taints added.
    pub tainted: u64,
    /// Shutdown taints removed.
    pub untainted: u64,
}

impl Counters {
    /// Registers them.
    pub fn new(metrics: &Metrics) -> Self {
        let deletions = metrics.counters(
            "inspur_ccm_node_deletions_total",
            "Nodes whose instance is proven gone, and that were to be deleted, by result: success or failure.",
            &["result"],
        );
        let taints = metrics.counters(
            "inspur_ccm_node_shutdown_taints_total",
            "Nodes that got the taint node.cloudprovider.kubernetes.io/shutdown or lost it, by action: added or removed.",
            &["action"],
        );
        Self {
            deleted: deletions.with_label_values(&["success"]),
            failed: deletions.with_label_values(&["failure"]),
            braked: metrics.counter(
                "inspur_ccm_node_deletions_braked_total",
                "Nodes that were not deleted, though their instance is proven gone, because so many are gone at once; each once, as long as it is held.",
            ),
            held: metrics.gauge(
                "inspur_ccm_nodes_held_by_brake",
                "Nodes that are not deleted right now, though their instance is proven gone, because so many are gone at once. Anything but 0 is for \
                 a person to look at.",
            ),
            tainted: taints.with_label_values(&["added"]),
            untainted: taints.with_label_values(&["removed"]),
        }
    }

    /// As they are now.
    pub(super) fn counts(&self) -> Counts {
        Counts {
            deleted: self.deleted.get(),
            failed: self.failed.get(),
            braked: self.braked.get(),
            held: self.held.get(),
            tainted: self.tainted.get(),
            untainted: self.untainted.get(),
        }
    }
}
