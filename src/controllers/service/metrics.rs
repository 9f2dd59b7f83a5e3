//! What is measured of the service controller, under upstream's names as far as it has them. Source: ccm-behaviour.md 7.1.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::metrics::{self, Histogram, IntCounter, IntGauge};
use crate::workqueue::Key;

/// The metrics of the service controller.
pub struct Metrics {
    node_syncs: IntCounter,
    node_sync_errors: IntCounter,
    node_sync_duration: Histogram,
    pass_duration: Histogram,
    listeners: IntGauge,
    failing: IntGauge,
    pass: Mutex<Option<Pass>>,
}

/// A way through all Services because the Nodes changed.
struct Pass {
    begun: Instant,
    left: BTreeSet<Key>,
}

/// How the sync of one Service ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It is as it should be.
    Well,
    /// It is tried again.
    Badly,
}

/// Upstream's: 1, 2, 4 and so on, in seconds.
const SECONDS: [f64; 15] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16_384.0,
];

impl Metrics {
    /// Registers them.
    pub fn new(metrics: &metrics::Metrics) -> Self {
        Self {
            node_syncs: metrics.counter(
                "service_controller_loadbalancer_sync_total",
                "Attempts to bring the members of a Service's listeners up to date because the Nodes changed.",
            ),
            node_sync_errors: metrics.counter(
                "service_controller_nodesync_error_total",
                "Attempts to bring the members of a Service's listeners up to date because the Nodes changed that failed and are made again.",
            ),
            pass_duration: metrics.histogram(
                "service_controller_nodesync_latency_seconds",
                "From a change of the Nodes until every Service was brought up to date, in seconds. Services are worked on side by side with other \
                 changes; a change that comes meanwhile begins no second count.",
                &SECONDS,
            ),
            node_sync_duration: metrics.histogram(
                "service_controller_update_loadbalancer_host_latency_seconds",
                "How long it took to bring one Service up to date because the Nodes changed, in seconds, with its status.",
                &SECONDS,
            ),
            listeners: metrics.gauge(
                "inspur_ccm_listeners",
                "Listeners on SLBs that belong to Services of this cluster, as far as the last sync of each Service knows.",
            ),
            failing: metrics.gauge(
                "inspur_ccm_failing_services",
                "Services of type LoadBalancer whose last sync failed; their Events say why.",
            ),
            pass: Mutex::new(None),
        }
    }

    /// The Nodes changed, and the Services of these keys are queued because of that.
    pub fn pass_begun(&self, keys: impl IntoIterator<Item = Key>, now: Instant) {
        let mut pass = self.pass();
        let begun = pass.as_ref().map_or(now, |pass| pass.begun);
        let mut left = pass.take().map_or_else(BTreeSet::new, |pass| pass.left);
        left.extend(keys);
        if !left.is_empty() {
            *pass = Some(Pass { begun, left });
        }
    }

    /// Whether this key is queued because the Nodes changed.
    pub fn awaits(&self, key: &str) -> bool {
        self.pass().as_ref().is_some_and(|pass| pass.left.contains(key))
    }

    /// The sync of this key has ended, whatever it was for and however it went.
    pub fn handled(&self, key: &str, now: Instant) {
        let mut pass = self.pass();
        let Some(Pass { begun, left }) = &mut *pass else {
            return;
        };
        if left.remove(key) && left.is_empty() {
            let elapsed = now.saturating_duration_since(*begun);
            self.pass_duration.observe(elapsed.as_secs_f64());
            *pass = None;
        }
    }

    /// A Service was synced only because the Nodes changed.
    pub fn node_sync(&self, ended: Ended, duration: Duration) {
        self.node_syncs.inc();
        self.node_sync_duration.observe(duration.as_secs_f64());
        if ended == Ended::Badly {
            self.node_sync_errors.inc();
        }
    }

    /// So many listeners are ours.
    pub fn set_listeners(&self, listeners: usize) {
        self.listeners.set(i64::try_from(listeners).unwrap_or(i64::MAX));
    }

    /// So many Services fail.
    pub fn set_failing(&self, services: usize) {
        self.failing.set(i64::try_from(services).unwrap_or(i64::MAX));
    }

    fn pass(&self) -> MutexGuard<'_, Option<Pass>> {
        self.pass.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::lines;

    fn keys(names: &[&str]) -> Vec<Key> {
        names.iter().map(|name| Key::from(*name)).collect()
    }

    #[test]
    fn a_pass_lasts_until_its_last_service() {
        let registry = metrics::Metrics::new();
        let (metrics, start) = (Metrics::new(&registry), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let passes = || {
            let lines = lines(&registry, "service_controller_nodesync_latency_seconds_");
            let number = |end: &str| {
                let line = lines.iter().find(|line| line.contains(end)).unwrap();
                line.rsplit(' ').next().unwrap().parse::<u32>().unwrap()
            };
            (number("_count"), number("_sum"))
        };
        metrics.pass_begun(keys(&["a", "b"]), at(0));
        metrics.handled("a", at(1));
        metrics.handled("other", at(2));
        metrics.handled("a", at(3));
        assert_eq!(passes(), (0, 0));
        metrics.handled("b", at(5));
        assert_eq!(passes(), (1, 5));
        metrics.handled("b", at(6));
        metrics.pass_begun(keys(&["a"]), at(10));
        metrics.pass_begun(keys(&["a", "b"]), at(11));
        metrics.handled("a", at(12));
        metrics.handled("b", at(17));
        assert_eq!(passes(), (2, 12), "from the first change on");
        metrics.pass_begun([], at(20));
        metrics.pass_begun(keys(&["a"]), at(30));
        metrics.handled("a", at(31));
        assert_eq!(passes(), (3, 13), "nothing to do is no pass");
    }

    #[test]
    fn syncs_for_the_nodes_are_counted_with_their_failures() {
        let registry = metrics::Metrics::new();
        let metrics = Metrics::new(&registry);
        metrics.node_sync(Ended::Well, Duration::from_secs(1));
        metrics.node_sync(Ended::Badly, Duration::from_secs(2));
        metrics.node_sync(Ended::Badly, Duration::from_secs(4));
        metrics.set_listeners(3);
        metrics.set_failing(1);
        for line in [
            "service_controller_loadbalancer_sync_total 3",
            "service_controller_nodesync_error_total 2",
            "service_controller_update_loadbalancer_host_latency_seconds_sum 7",
            "inspur_ccm_listeners 3",
            "inspur_ccm_failing_services 1",
        ] {
            assert_eq!(lines(&registry, line), [line]);
        }
    }
}
