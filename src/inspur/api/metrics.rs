//! What is measured of calls to the cloud.

use std::time::Duration;

use crate::metrics::{Counter, HistogramVec, IntCounter, IntCounterVec, Metrics, NO_CODE};

/// The metrics of all exchanges with the cloud. Clones share them.
///
/// `request` is an operation by a fixed name, such as `create_listener`, never a path.
#[derive(Clone)]
pub struct CloudMetrics {
    duration: HistogramVec,
    requests: IntCounterVec,
    errors: IntCounterVec,
    throttled: IntCounterVec,
    conflicts: IntCounterVec,
    waited: Counter,
    held: Counter,
    renewed: IntCounter,
    not_renewed: IntCounter,
}

/// How asking for a token ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// There is one.
    Succeeded,
    /// There is none.
    Failed,
}

/// A listener takes seconds to change.
const SECONDS: [f64; 8] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

impl CloudMetrics {
    /// Registers them.
    pub fn new(metrics: &Metrics) -> Self {
        let request = &["request"];
        let waits = metrics.float_counters(
            "cloudprovider_inspur_api_wait_seconds_total",
            "How long calls to the cloud were held back, all together, in seconds, by why: limit, the client's own, api-qps of the cloud config; \
             throttled, the cloud answered 429 to one before.",
            &["why"],
        );
        let renewals = metrics.counters(
            "cloudprovider_inspur_token_renewals_total",
            "How often a new access token was asked for, of the token service or its file, by result: success or failure.",
            &["result"],
        );
        Self {
            duration: metrics.histograms(
                "cloudprovider_inspur_api_request_duration_seconds",
                "How long a call to the cloud took that succeeded, in seconds; each attempt for itself, without the waits before it.",
                request,
                &SECONDS,
            ),
            requests: metrics.counters(
                "cloudprovider_inspur_api_requests_total",
                "Calls to the cloud, each attempt for itself, by the status code of the answer; <error> without one.",
                &["request", "code"],
            ),
            errors: metrics.counters(
                "cloudprovider_inspur_api_request_errors_total",
                "Calls to the cloud that were given up, after all attempts; also those that find nothing.",
                request,
            ),
            throttled: metrics.counters(
                "cloudprovider_inspur_api_throttled_requests_total",
                "Calls to the cloud that it answered with 429, too many, each attempt for itself.",
                request,
            ),
            conflicts: metrics.counters(
                "cloudprovider_inspur_api_conflicts_total",
                "Calls to the cloud that it answered with 409, since the SLB was busy with another change; each attempt for itself.",
                request,
            ),
            waited: waits.with_label_values(&["limit"]),
            held: waits.with_label_values(&["throttled"]),
            renewed: renewals.with_label_values(&["success"]),
            not_renewed: renewals.with_label_values(&["failure"]),
        }
    }

    /// A token was asked for.
    pub fn token_renewals(&self, result: Renewal) {
        match result {
            Renewal::Succeeded => self.renewed.inc(),
            Renewal::Failed => self.not_renewed.inc(),
        }
    }

    /// An attempt was answered with this status, or with none.
    pub(super) fn attempted(&self, request: &str, status: Option<u16>) {
        let code = status.map_or(NO_CODE.to_owned(), |status| status.to_string());
        self.requests.with_label_values(&[request, &code]).inc();
        let special = match status {
            Some(409) => &self.conflicts,
            Some(429) => &self.throttled,
            _ => return,
        };
        special.with_label_values(&[request]).inc();
    }

    /// An attempt succeeded after so long.
    pub(super) fn succeeded(&self, request: &str, duration: Duration) {
        let histogram = self.duration.with_label_values(&[request]);
        histogram.observe(duration.as_secs_f64());
    }

    /// A call was given up.
    pub(super) fn failed(&self, request: &str) {
        self.errors.with_label_values(&[request]).inc();
    }

    /// A call waited for the client's own limit.
    pub(super) fn limited(&self, waited: Duration) {
        self.waited.inc_by(waited.as_secs_f64());
    }

    /// A call waited because the cloud had enough of them.
    pub(super) fn held_back(&self, waited: Duration) {
        self.held.inc_by(waited.as_secs_f64());
    }
}

impl Default for CloudMetrics {
    /// Those that nobody sees.
    fn default() -> Self {
        Self::new(&Metrics::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewals_are_there_before_the_first_so_that_an_alert_sees_it() {
        let metrics = Metrics::new();
        let cloud = CloudMetrics::new(&metrics);
        let shows = |line: &str| assert!(metrics.text().contains(line), "{line}: {}", metrics.text());
        shows("cloudprovider_inspur_token_renewals_total{result=\"failure\"} 0\n");
        shows("cloudprovider_inspur_token_renewals_total{result=\"success\"} 0\n");
        cloud.token_renewals(Renewal::Failed);
        shows("cloudprovider_inspur_token_renewals_total{result=\"failure\"} 1\n");
    }
}
