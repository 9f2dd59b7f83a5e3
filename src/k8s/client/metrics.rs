//! What is measured of requests to the API server, under upstream's names. Source: component-base, metrics/prometheus/restclient.

use std::io::{self, Read};
use std::time::Duration;

use crate::http::{self, Method, Request, Response};
use crate::metrics::{Histogram, HistogramVec, IntCounterVec, Metrics, NO_CODE};

/// The metrics of all clients. Clones share them.
#[derive(Clone)]
pub struct ClientMetrics {
    requests: IntCounterVec,
    duration: HistogramVec,
    limiter: HistogramVec,
    retries: IntCounterVec,
    request_size: HistogramVec,
    response_size: HistogramVec,
}

/// Upstream's.
const SECONDS: [f64; 12] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];
/// Upstream's.
const BYTES: [f64; 11] = [
    64.0,
    256.0,
    512.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
];

impl ClientMetrics {
    /// Registers them. The label `host` is that of the API server, and always the same.
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            requests: metrics.counters(
                "rest_client_requests_total",
                "Requests to the API server, each attempt for itself, by the status code of the answer; <error> without one.",
                &["code", "method", "host"],
            ),
            duration: metrics.histograms(
                "rest_client_request_duration_seconds",
                "How long one attempt at a request to the API server took, in seconds, with the answer's body where an object was asked for. \
                 Waits before it, for the client's own limit or after a failure, are not in it; nor are watches.",
                &["verb", "host"],
                &SECONDS,
            ),
            limiter: metrics.histograms(
                "rest_client_rate_limiter_duration_seconds",
                "How long a request waited for the client's own limit, --kube-api-qps, in seconds.",
                &["verb", "host"],
                &SECONDS,
            ),
            retries: metrics.counters(
                "rest_client_request_retries_total",
                "Requests to the API server that were repeated, by the status code of the answer before; <error> without one.",
                &["code", "verb", "host"],
            ),
            request_size: metrics.histograms(
                "rest_client_request_size_bytes",
                "Bytes of the body of a request to the API server, where it has one.",
                &["verb", "host"],
                &BYTES,
            ),
            response_size: metrics.histograms(
                "rest_client_response_size_bytes",
                "Bytes that were read of the body of an answer of the API server; watches are not in it.",
                &["verb", "host"],
                &BYTES,
            ),
        }
    }

    /// An attempt at `request` ended, with an answer or without. What never left is none.
    pub(super) fn attempted(&self, request: &Request, host: &str, answer: &Result<Response, http::Error>) {
        let code = match answer {
            Ok(response) => response.status.to_string(),
            Err(http::Error::Stopped | http::Error::NotPermitted | http::Error::Invalid { .. }) => return,
            Err(_) => NO_CODE.to_owned(),
        };
        let labels = [&*code, request.method().as_str(), host];
        self.requests.with_label_values(&labels).inc();
        if let Some(body) = &request.body {
            observe(&self.request_size, request.method(), host, body.len() as f64);
        }
    }

    /// An attempt took so long.
    pub(super) fn took(&self, method: Method, host: &str, duration: Duration) {
        observe(&self.duration, method, host, duration.as_secs_f64());
    }

    /// A request waited so long for the client's own limit.
    pub(super) fn limited(&self, method: Method, host: &str, waited: Duration) {
        observe(&self.limiter, method, host, waited.as_secs_f64());
    }

    /// A request is repeated, after an answer with that code or none.
    pub(super) fn repeated(&self, method: Method, host: &str, code: Option<u16>) {
        let code = code.map_or(NO_CODE.to_owned(), |code| code.to_string());
        let labels = [&*code, method.as_str(), host];
        self.retries.with_label_values(&labels).inc();
    }

    /// The same answer, whose bytes are counted as they are read.
    pub(super) fn measured(&self, method: Method, host: &str, response: Response) -> Response {
        let size = self.response_size.with_label_values(&[method.as_str(), host]);
        let body = Measured {
            body: response.body,
            read: 0,
            size,
        };
        Response {
            body: Box::new(body),
            ..response
        }
    }
}

impl Default for ClientMetrics {
    /// Those that nobody sees.
    fn default() -> Self {
        Self::new(&Metrics::new())
    }
}

fn observe(histogram: &HistogramVec, method: Method, host: &str, value: f64) {
    let labels = [method.as_str(), host];
    histogram.with_label_values(&labels).observe(value);
}

/// Host and port of a URL, without anything secret that may stand before them.
pub(super) fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

/// A body whose size is told when it is dropped.
struct Measured {
    body: Box<dyn Read + Send>,
    read: u64,
    size: Histogram,
}

impl Read for Measured {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.body.read(buffer)?;
        self.read += n as u64;
        Ok(n)
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        self.size.observe(self.read as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_told_and_nothing_else() {
        for (url, want) in [
            ("https://10.0.0.1:6443", "10.0.0.1:6443"),
            ("https://api.example/prefix?x=1", "api.example"),
            ("https://[fd00::1]:6443/", "[fd00::1]:6443"),
            ("https://user:s3cret@api.example:1/x@y", "api.example:1"),
            ("api.example", "api.example"),
        ] {
            assert_eq!(host_of(url), want, "{url}");
        }
    }
}
