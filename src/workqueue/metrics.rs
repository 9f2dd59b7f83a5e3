//! What is measured of a queue, under upstream's names. Source: component-base, metrics/prometheus/workqueue.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::Core;
use crate::metrics::{Gauge, Histogram, IntCounter, IntGauge, Metrics, raise};

/// The metrics of one queue, for [`super::Options`].
pub struct QueueMetrics {
    registry: Metrics,
    read: Read,
    counted: Counted,
}

/// What is read from the queue at a scrape.
struct Read {
    depth: IntGauge,
    adds: IntCounter,
    unfinished: Gauge,
    longest: Gauge,
}

/// What is counted as it happens.
pub(super) struct Counted {
    pub(super) queued: Histogram,
    pub(super) worked: Histogram,
    pub(super) retries: IntCounter,
}

/// Upstream's: from 10 ns to 10 s.
const BUCKETS: [f64; 10] = [1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0];
const LABELS: &[&str] = &["name"];

impl QueueMetrics {
    /// Those of the queue called `name`; there must be one only of that name.
    pub fn new(metrics: &Metrics, name: &'static str) -> Self {
        let label = &[name];
        let depth = metrics.gauges(
            "workqueue_depth",
            "Keys that could be handed out if there were workers enough; not those that wait for their time.",
            LABELS,
        );
        let adds = metrics.counters(
            "workqueue_adds_total",
            "Keys added, or whose time came, that were not queued already.",
            LABELS,
        );
        let queued = metrics.histograms(
            "workqueue_queue_duration_seconds",
            "How long a key was queued before a worker took it, in seconds.",
            LABELS,
            &BUCKETS,
        );
        let worked = metrics.histograms(
            "workqueue_work_duration_seconds",
            "How long a worker took for a key, in seconds.",
            LABELS,
            &BUCKETS,
        );
        let unfinished = metrics.float_gauges(
            "workqueue_unfinished_work_seconds",
            "How long the keys that are worked on right now have been, together, in seconds. If it grows steadily, a worker hangs.",
            LABELS,
        );
        let longest = metrics.float_gauges(
            "workqueue_longest_running_processor_seconds",
            "How long the key has been worked on that has been for longest, in seconds.",
            LABELS,
        );
        let retries = metrics.counters(
            "workqueue_retries_total",
            "Keys that were to come back after a delay, for whatever reason.",
            LABELS,
        );
        Self {
            registry: metrics.clone(),
            read: Read {
                depth: depth.with_label_values(label),
                adds: adds.with_label_values(label),
                unfinished: unfinished.with_label_values(label),
                longest: longest.with_label_values(label),
            },
            counted: Counted {
                queued: queued.with_label_values(label),
                worked: worked.with_label_values(label),
                retries: retries.with_label_values(label),
            },
        }
    }

    /// Reads from the queue at each scrape, as long as it lives.
    pub(super) fn attach(self, core: &Arc<Core>) -> Counted {
        let Self {
            registry,
            read,
            counted,
        } = self;
        let core = Arc::downgrade(core);
        registry.on_scrape(move || read.refresh(&core));
        counted
    }
}

impl Default for QueueMetrics {
    /// Those that nobody sees.
    fn default() -> Self {
        Self::new(&Metrics::new(), "unseen")
    }
}

impl Read {
    fn refresh(&self, core: &Weak<Core>) {
        let Some(core) = core.upgrade() else { return };
        let now = core.clock.now();
        let (depth, adds, (sum, longest)) = {
            let state = core.lock();
            (state.len(), state.adds(), running(state.working(), now))
        };
        self.depth.set(i64::try_from(depth).unwrap_or(i64::MAX));
        raise(&self.adds, adds);
        self.unfinished.set(sum.as_secs_f64());
        self.longest.set(longest.unwrap_or_default().as_secs_f64());
    }
}

/// How long all have been worked on together, and how long the one that has been for longest.
pub(super) fn running(since: impl Iterator<Item = Instant>, now: Instant) -> (Duration, Option<Duration>) {
    since.fold((Duration::ZERO, None), |(sum, longest), begun| {
        let elapsed = now.saturating_duration_since(begun);
        (sum.saturating_add(elapsed), longest.max(Some(elapsed)))
    })
}
