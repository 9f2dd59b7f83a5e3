//! What is measured of a reflector. The names are ours: upstream measures its informers less. Source: kube-client.md 11.

use std::sync::Arc;

use super::Pulse;
use super::failure::Failure;
use super::state::{End, Input};
use crate::metrics::{IntCounterVec, IntGauge, Metrics};
use crate::runtime::clock::Clock;

/// The metrics of one reflector.
pub(crate) struct InformerMetrics {
    resource: &'static str,
    lists: IntCounterVec,
    watches: IntCounterVec,
    events: IntCounterVec,
    opaque: IntGauge,
}

impl InformerMetrics {
    /// Those of the reflector of `resource` with this pulse.
    pub(crate) fn new(
        metrics: &Metrics,
        resource: &'static str,
        pulse: Pulse,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let synced = metrics.gauges(
            "informer_synced",
            "Whether the first list was applied, so that the copy of the resource is complete: 1, else 0.",
            &["resource"],
        );
        let objects = metrics.gauges(
            "informer_objects",
            "Objects in the copy of the resource.",
            &["resource"],
        );
        let age = metrics.float_gauges(
            "informer_last_event_seconds",
            "How long ago a list, an event or a bookmark was last applied, in seconds; before the first one, how long ago the watching began.",
            &["resource"],
        );
        let opaque = metrics.gauges(
            "informer_opaque_objects",
            "Objects that exist and cannot be understood; they are left alone.",
            &["resource"],
        );
        let (synced, objects, age) = (
            synced.with_label_values(&[resource]),
            objects.with_label_values(&[resource]),
            age.with_label_values(&[resource]),
        );
        metrics.on_scrape(move || {
            synced.set(pulse.synced_since().is_some().into());
            objects.set(i64::try_from(pulse.objects()).unwrap_or(i64::MAX));
            let elapsed = clock.now().saturating_duration_since(pulse.last_event());
            age.set(elapsed.as_secs_f64());
        });
        let watches = metrics.counters(
            "informer_watches_total",
            "Watches of the resource that ended or could not be opened, by how: clean, after some minutes as asked; broken connection; garbled; \
             expired version; throttled; denied; unauthorized; failed otherwise.",
            &["resource", "end"],
        );
        for end in ENDS {
            // there before the first, so that an increase is seen
            watches.with_label_values(&[resource, end]);
        }
        Self {
            resource,
            lists: metrics.counters(
                "informer_lists_total",
                "Lists of the resource that were begun, by why: start; retry of one that failed; confirm one that takes much away; expired, the \
                 server no longer knows the version; rewound, the server went back in time; garbled, what a watch said made no sense; \
                 failed, watches cannot be opened or end at once.",
                &["resource", "reason"],
            ),
            watches,
            events: metrics.counters(
                "informer_events_total",
                "What watches of the resource said: added, modified, deleted, bookmark, error, or other, which is ignored or ends the watch.",
                &["resource", "type"],
            ),
            opaque: opaque.with_label_values(&[resource]),
        }
    }

    pub(super) fn list(&self, reason: &'static str) {
        self.lists.with_label_values(&[self.resource, reason]).inc();
    }

    pub(super) fn watch_ended(&self, end: End) {
        self.watches.with_label_values(&[self.resource, label(end)]).inc();
    }

    pub(super) fn event(&self, type_: &'static str) {
        self.events.with_label_values(&[self.resource, type_]).inc();
    }

    pub(super) fn opaque(&self, objects: usize) {
        self.opaque.set(i64::try_from(objects).unwrap_or(i64::MAX));
    }
}

/// How watches end.
const ENDS: [&str; 8] = [
    "broken",
    "clean",
    "denied",
    "expired",
    "failed",
    "garbled",
    "throttled",
    "unauthorized",
];

fn label(end: End) -> &'static str {
    match end {
        End::Clean => "clean",
        End::Broken => "broken",
        End::Garbled => "garbled",
        End::Failed(Failure::Expired) => "expired",
        End::Failed(Failure::Throttled(_)) => "throttled",
        End::Failed(Failure::Denied) => "denied",
        End::Failed(Failure::Unauthorized) => "unauthorized",
        End::Failed(_) => "failed",
    }
}

/// Why the first list is asked for.
pub(super) const START: &str = "start";

/// Why a list is asked for after `input`.
pub(super) fn reason_of(input: &Input) -> &'static str {
    match input {
        Input::Doubtful => "confirm",
        Input::PagesExpired | Input::ListFailed(_) => "retry",
        Input::Probed(_) | Input::WatchEnded(_, End::Failed(Failure::FromTheFuture(_))) => "rewound",
        Input::WatchEnded(_, End::Failed(Failure::Expired)) => "expired",
        Input::WatchEnded(_, End::Garbled | End::Failed(Failure::Unintelligible)) => "garbled",
        Input::WatchEnded(..) | Input::Listed(_) | Input::ProbeFailed => "failed",
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::informer::store;
    use crate::k8s::types::Node;
    use crate::metrics::lines;
    use crate::runtime::clock::ManualClock;

    #[test]
    fn every_end_of_a_watch_is_there_before_the_first_so_that_an_alert_sees_it() {
        let (metrics, clock) = (Metrics::new(), Arc::new(ManualClock::new(SystemTime::UNIX_EPOCH)));
        let pulse = Pulse::new(store::<Node>().1, clock.now());
        let of_nodes = InformerMetrics::new(&metrics, "nodes", pulse, clock);
        let shown = || lines(&metrics, "informer_watches_total");
        let before = shown();
        assert!(before.iter().all(|line| line.ends_with(" 0")), "{before:?}");
        let failures = [
            Failure::Expired,
            Failure::FromTheFuture(None),
            Failure::Throttled(None),
            Failure::Unavailable(None),
            Failure::Unreachable,
            Failure::Unauthorized,
            Failure::Denied,
            Failure::Rejected,
            Failure::Unintelligible,
        ];
        let ends = failures.into_iter().map(End::Failed);
        for end in ends.chain([End::Clean, End::Broken, End::Garbled]) {
            of_nodes.watch_ended(end);
        }
        let after = shown();
        assert_eq!(after.len(), before.len(), "{after:?}");
        assert!(after.iter().all(|line| !line.ends_with(" 0")), "{after:?}");
    }
}
