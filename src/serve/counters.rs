//! What the endpoint counts of itself.

use crate::metrics::{IntCounter, IntCounterVec, Metrics};

/// Handles of its metrics. Labels come from fixed sets, whatever clients send.
pub(super) struct Counters {
    requests: IntCounterVec,
    connections: IntCounter,
    /// By why.
    cut: IntCounterVec,
    tls_errors: IntCounter,
    plain_http: IntCounter,
}

/// Why a connection ended before its answer was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// Others came, and it had been there longest.
    Oldest,
    /// It took too long.
    Slow,
    /// It sent more than anybody needs to.
    Flood,
    /// There was no place or thread for it.
    Full,
}

impl Counters {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let cut = metrics.counters(
            "endpoint_connections_cut_total",
            "Connections to the endpoint that were ended before they were answered: the oldest when there were too many, those that took \
             too long or sent too much, and those for which there was no thread.",
            &["reason"],
        );
        for why in [Cut::Oldest, Cut::Slow, Cut::Flood, Cut::Full] {
            cut.with_label_values(&[why.label()]).reset();
        }
        Self {
            requests: metrics.counters(
                "endpoint_requests_total",
                "Requests to the endpoint, by status code and page.",
                &["code", "page"],
            ),
            connections: metrics.counter("endpoint_connections_total", "Connections to the endpoint."),
            cut,
            tls_errors: metrics.counter(
                "endpoint_tls_errors_total",
                "Connections to the endpoint that failed for what the client sent as TLS.",
            ),
            plain_http: metrics.counter(
                "endpoint_plain_http_total",
                "Connections to the endpoint that spoke HTTP without TLS.",
            ),
        }
    }

    pub(super) fn connection(&self) {
        self.connections.inc();
    }

    pub(super) fn request(&self, code: u16, page: &str) {
        self.requests
            .with_label_values(&[code.to_string().as_str(), page])
            .inc();
    }

    pub(super) fn cut(&self, why: Cut) -> IntCounter {
        self.cut.with_label_values(&[why.label()])
    }

    pub(super) fn tls_error(&self) {
        self.tls_errors.inc();
    }

    pub(super) fn plain_http(&self) {
        self.plain_http.inc();
    }
}

impl Cut {
    fn label(self) -> &'static str {
        match self {
            Self::Oldest => "oldest",
            Self::Slow => "slow",
            Self::Flood => "flood",
            Self::Full => "full",
        }
    }
}
