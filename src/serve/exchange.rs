//! A request as it came in, the answer to it, and who may have one.

use std::net::SocketAddr;
use std::time::Instant;

use rustls_pki_types::CertificateDer;
use serde_json::json;

/// Decides who calls and whether they may.
pub trait Guard: Send + Sync {
    /// `Ok` lets the request through to its page; otherwise the answer that it gets instead.
    ///
    /// # Errors
    /// The caller is not who they say, or may not read this.
    fn admit(&self, request: &Incoming<'_>, now: Instant) -> Result<(), Answer>;
}

/// A request, without the body that it may have.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// As sent: methods are case-sensitive.
    pub method: &'a str,
    /// As sent, without the query.
    pub path: &'a str,
    /// What follows the first `?`; empty where there is none.
    pub query: &'a str,
    /// In the order in which they came, names as they came.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The client's own certificate first, then those that it sent along. That it holds the key is proven; nothing else is.
    pub client_certificates: &'a [CertificateDer<'static>],
    /// The other end.
    pub peer: SocketAddr,
}

impl Incoming<'_> {
    /// The first header of that name, whatever its letter case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let mut named = self
            .headers
            .iter()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| *value)
    }
}

/// What a request is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP's.
    pub status: u16,
    /// Of the body.
    pub content_type: &'static str,
    /// Beside those that every answer has: of type, length and caching.
    pub headers: Vec<(&'static str, String)>,
    /// May be empty.
    pub body: Vec<u8>,
}

impl Answer {
    /// Plain text.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self::new(status, TEXT, body.into())
    }

    /// JSON.
    pub fn json(status: u16, body: impl Into<String>) -> Self {
        Self::new(status, JSON, body.into())
    }

    /// A failure as Kubernetes says it: `Unauthorized`, `Forbidden`, `InternalError`.
    ///
    /// Source: kubernetes/apimachinery, pkg/api/errors/errors.go; a Forbidden without a resource has empty details.
    pub fn failure(status: u16, reason: &str, message: &str) -> Self {
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "code": status,
        });
        if reason == "Forbidden" {
            body["details"] = json!({});
        }
        Self::json(status, format!("{body}\n"))
    }

    /// The same answer with another header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn new(status: u16, content_type: &'static str, body: String) -> Self {
        Self {
            status,
            content_type,
            headers: Vec::new(),
            body: body.into_bytes(),
        }
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_a_kubernetes_status() {
        for (case, answer, want) in [
            (
                "without details",
                Answer::failure(401, "Unauthorized", "Unauthorized"),
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                       "message": "Unauthorized", "reason": "Unauthorized", "code": 401}),
            ),
            (
                "with empty ones",
                Answer::failure(403, "Forbidden", "forbidden: \"x\""),
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                       "message": "forbidden: \"x\"", "reason": "Forbidden", "details": {}, "code": 403}),
            ),
        ] {
            assert_eq!(answer.content_type, "application/json", "{case}");
            let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(body, want, "{case}");
        }
    }
}
