//! What is measured of authentication and authorization, under upstream's names.
//!
//! Left out are those that a parser of metrics would refuse: counters whose names do not end in `_total`.
//! Source: apiserver pkg/endpoints/filters/metrics.go, pkg/server/options/authentication.go, pkg/authentication/token/cache/stats.go,
//! pkg/authentication/request/x509/x509.go.

use std::time::Duration;

use super::reviews::{CREATED, ReviewError};
use crate::metrics::{Histogram, HistogramVec, IntCounterVec, Metrics};

pub(super) struct Counters {
    delegated_authn: Delegated,
    delegated_authz: Delegated,
    authentication_duration: HistogramVec,
    authorization_attempts: IntCounterVec,
    authorization_duration: HistogramVec,
    token_requests: IntCounterVec,
    token_request_duration: HistogramVec,
    token_fetches: IntCounterVec,
    pub(super) certificate_expiration: Histogram,
    pub(super) reloads: IntCounterVec,
}

/// Reviews of one kind.
struct Delegated {
    requests: IntCounterVec,
    duration: HistogramVec,
}

/// Of whom reviews are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Token,
    Access,
}

impl Counters {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let doubling: Vec<f64> = (0..15).map(|n| 0.001 * f64::from(1 << n)).collect();
        Self {
            delegated_authn: Delegated::new(
                metrics,
                [
                    "apiserver_delegated_authn_request_total",
                    "apiserver_delegated_authn_request_duration_seconds",
                ],
                [
                    "Reviews of tokens by status code.",
                    "How long reviews of tokens took, by status code.",
                ],
            ),
            delegated_authz: Delegated::new(
                metrics,
                [
                    "apiserver_delegated_authz_request_total",
                    "apiserver_delegated_authz_request_duration_seconds",
                ],
                [
                    "Reviews of access by status code.",
                    "How long reviews of access took, by status code.",
                ],
            ),
            authentication_duration: metrics.histograms(
                "authentication_duration_seconds",
                "How long it took to learn who calls the endpoint, by result.",
                &["result"],
                &doubling,
            ),
            authorization_attempts: metrics.counters(
                "authorization_attempts_total",
                "Decisions whether a caller of the endpoint may, by result.",
                &["result"],
            ),
            authorization_duration: metrics.histograms(
                "authorization_duration_seconds",
                "How long it took to learn whether a caller of the endpoint may, by result.",
                &["result"],
                &doubling,
            ),
            token_requests: metrics.counters(
                "authentication_token_cache_request_total",
                "Tokens looked up among those known, by whether they were.",
                &["status"],
            ),
            token_request_duration: metrics.histograms(
                "authentication_token_cache_request_duration_seconds",
                "How long it took to look a token up, with its review if it had to be reviewed.",
                &["status"],
                &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
            ),
            token_fetches: metrics.counters(
                "authentication_token_cache_fetch_total",
                "Reviews of tokens that were not known, by whether there was an answer.",
                &["status"],
            ),
            certificate_expiration: metrics.histogram(
                "apiserver_client_certificate_expiration_seconds",
                "How long certificates that clients showed were still valid.",
                &EXPIRATION,
            ),
            reloads: reloads(metrics),
        }
    }

    pub(super) fn reviewed<T>(&self, kind: Kind, result: &Result<T, ReviewError>, took: Duration) {
        let code = result.as_ref().map_or_else(ReviewError::code, |_| CREATED);
        let delegated = match kind {
            Kind::Token => {
                let status = if result.is_ok() { "ok" } else { "error" };
                self.token_fetches.with_label_values(&[status]).inc();
                &self.delegated_authn
            }
            Kind::Access => &self.delegated_authz,
        };
        delegated.requests.with_label_values(&[code]).inc();
        delegated
            .duration
            .with_label_values(&[code])
            .observe(took.as_secs_f64());
    }

    pub(super) fn looked_up(&self, kept: bool, took: Duration) {
        let status = if kept { "hit" } else { "miss" };
        self.token_requests.with_label_values(&[status]).inc();
        let durations = self.token_request_duration.with_label_values(&[status]);
        durations.observe(took.as_secs_f64());
    }

    /// `result`: `success`, `failure`, `error`.
    pub(super) fn authenticated(&self, result: &'static str, took: Duration) {
        let durations = self.authentication_duration.with_label_values(&[result]);
        durations.observe(took.as_secs_f64());
    }

    /// `result`: `allowed`, `denied`, `no-opinion`, `error`.
    pub(super) fn authorized(&self, result: &'static str, took: Duration) {
        self.authorization_attempts.with_label_values(&[result]).inc();
        let durations = self.authorization_duration.with_label_values(&[result]);
        durations.observe(took.as_secs_f64());
    }
}

/// Both are there from the start, so that the first failure is seen as a change.
fn reloads(metrics: &Metrics) -> IntCounterVec {
    let help = "New versions of the authorities of clients and front proxies, by whether they can be used.";
    let reloads = metrics.counters("client_ca_reloads_total", help, &["result"]);
    for result in ["success", "failure"] {
        reloads.with_label_values(&[result]);
    }
    reloads
}

impl Delegated {
    /// Names and sentences are those of the count and of the duration.
    fn new(metrics: &Metrics, names: [&'static str; 2], sentences: [&'static str; 2]) -> Self {
        let buckets = [0.25, 0.5, 0.7, 1.0, 1.5, 3.0, 5.0, 10.0];
        Self {
            requests: metrics.counters(names[0], sentences[0], &["code"]),
            duration: metrics.histograms(names[1], sentences[1], &["code"], &buckets),
        }
    }
}

/// From nothing left to a year. Source: apiserver pkg/authentication/request/x509/x509.go.
const EXPIRATION: [f64; 14] = [
    0.0,
    1_800.0,
    3_600.0,
    7_200.0,
    21_600.0,
    43_200.0,
    86_400.0,
    172_800.0,
    345_600.0,
    604_800.0,
    2_592_000.0,
    7_776_000.0,
    15_552_000.0,
    31_104_000.0,
];
