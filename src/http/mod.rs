//! One HTTP exchange, as plain data, and the trait that both API clients stand on.
//!
//! Knows no API. [`agent`] is the only place that knows ureq and rustls; the simulators implement [`Transport`] too, so
//! that a client can be driven without sockets, call by call.

use std::fmt;
use std::io::{self, Read};
use std::time::Duration;

use crate::runtime::gate::Permit;

pub mod agent;
pub mod bucket;
pub mod proxy;
#[cfg(test)]
pub(crate) mod testing;

/// Sends one request and waits for the head of the answer.
pub trait Transport: Send + Sync {
    /// Makes one exchange: no retry, no redirect. The answer's body is read by the caller, from the connection.
    ///
    /// # Errors
    /// Only when there is no answer; a 4xx or 5xx is an answer. [`Error::sent`] says whether the peer may have acted.
    fn exchange(&self, request: &Request) -> Result<Response, Error>;

    /// Ends every exchange in progress, from any thread: blocked callers and readers return an error at once, and
    /// later exchanges fail with [`Error::Stopped`].
    fn shutdown(&self);
}

/// The verbs in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Reads.
    Get,
    /// Creates.
    Post,
    /// Replaces.
    Put,
    /// Changes in part.
    Patch,
    /// Removes.
    Delete,
}

impl Method {
    /// As HTTP spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What to ask. `Debug` leaves out header values, which may be secret, and the body.
///
/// Only a read can be built without a [`Permit`].
#[derive(Clone)]
pub struct Request {
    method: Method,
    permit: Option<Permit>,
    /// Absolute, percent-encoded.
    pub url: String,
    /// Names in any case; values without line breaks.
    pub headers: Vec<(String, String)>,
    /// Sent with its length. `None` sends no body; a body's type is a header.
    pub body: Option<Vec<u8>>,
    /// How long each part may take.
    pub limits: Limits,
}

impl Request {
    /// A read, without headers, under the default limits.
    pub fn get(url: impl Into<String>) -> Self {
        Self {
            method: Method::Get,
            permit: None,
            url: url.into(),
            headers: Vec::new(),
            body: None,
            limits: Limits::default(),
        }
    }

    /// Any request, without headers or body, under the default limits. It is not sent once `permit` no longer holds.
    pub fn permitted(permit: Permit, method: Method, url: impl Into<String>) -> Self {
        Self {
            method,
            permit: Some(permit),
            ..Self::get(url)
        }
    }

    /// The verb.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Whether it may be sent now.
    pub fn is_permitted(&self) -> bool {
        self.permit.as_ref().is_none_or(Permit::holds)
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body and its `Content-Type`.
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self.header("Content-Type", content_type)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url)
    }
}

/// Deadlines of one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// TCP and TLS handshakes together.
    pub connect: Duration,
    /// From the request's last byte to the end of the answer's head.
    pub head: Duration,
    /// Silence between two reads of the body. A read that meets it fails with [`io::ErrorKind::TimedOut`] and may be
    /// repeated: nothing is lost.
    pub silence: Duration,
    /// The whole body; `None` for a watch.
    pub body: Option<Duration>,
}

impl Default for Limits {
    /// For one object. Source: kube-client.md 2.4 (a request's total of 30 s).
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            head: Duration::from_secs(30),
            silence: Duration::from_secs(30),
            body: Some(Duration::from_secs(30)),
        }
    }
}

/// An answer's head, and its body still to be read.
pub struct Response {
    /// The status code.
    pub status: u16,
    /// In the order received.
    pub headers: Vec<(String, String)>,
    /// Ends with an error, never with a plain end, when the framing says that bytes are missing.
    pub body: Box<dyn Read + Send>,
}

impl Response {
    /// A whole answer from memory.
    pub fn from_bytes(status: u16, headers: Vec<(String, String)>, body: Vec<u8>) -> Self {
        Self {
            status,
            headers,
            body: Box::new(io::Cursor::new(body)),
        }
    }

    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    /// `Retry-After` in whole seconds; a date or nonsense counts as absent. Source: kube-client.md 5.4.
    pub fn retry_after(&self) -> Option<Duration> {
        self.header("Retry-After")?
            .trim()
            .parse()
            .ok()
            .map(Duration::from_secs)
    }

    /// The whole body, at most `limit` bytes.
    ///
    /// # Errors
    /// A body cut short, a deadline, or more than `limit` bytes ([`io::ErrorKind::FileTooLarge`]).
    pub fn into_bytes(self, limit: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut body = self.body.take(limit as u64 + 1);
        body.read_to_end(&mut bytes)?;
        if bytes.len() > limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("a body of more than {limit} bytes"),
            ));
        }
        Ok(bytes)
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}", self.status)
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection: the name is unknown, the port closed, the proxy refused, TCP or TLS took too long.
    #[error("cannot connect to {peer}")]
    Connect {
        /// Host and port.
        peer: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The peer, or the certificate it shows, is not to be trusted, or it refused ours.
    #[error("no trusted TLS connection to {peer}: {reason}")]
    Tls {
        /// Host and port.
        peer: String,
        /// What rustls found.
        reason: String,
    },
    /// The connection broke, or a deadline passed, after a byte was sent: the peer may have acted.
    #[error("no answer from {peer}")]
    NoAnswer {
        /// Host and port.
        peer: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The request cannot be expressed: a bad URL or header value.
    #[error("not a valid request: {reason}")]
    Invalid {
        /// What is wrong with it; never a header's value.
        reason: String,
    },
    /// The permit no longer holds: another replica may be writing. Nothing that could have an effect was sent.
    #[error("not leading: the lease is not provably ours")]
    NotPermitted,
    /// [`Transport::shutdown`] was called.
    #[error("stopped")]
    Stopped,
}

/// Whether the peer may have acted on a request that got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Not a byte of it left: repeating is always safe.
    No,
    /// Some or all of it left: repeat only what may happen twice.
    Perhaps,
}

impl Error {
    /// Whether the peer may have acted.
    pub fn sent(&self) -> Sent {
        match self {
            Self::Connect { .. } | Self::Tls { .. } | Self::Invalid { .. } | Self::NotPermitted => Sent::No,
            Self::NoAnswer { .. } | Self::Stopped => Sent::Perhaps,
        }
    }
}

/// Percent-encodes `text` for one path segment or query value: everything but unreserved characters. Source: RFC 3986, 2.3.
pub fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte as char),
            _ => {
                encoded.push('%');
                for digit in [byte >> 4, byte & 15] {
                    encoded.push(
                        char::from_digit(digit.into(), 16)
                            .expect("a nibble is a digit")
                            .to_ascii_uppercase(),
                    );
                }
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::gate::Harmless;

    #[test]
    fn what_is_reserved_is_encoded() {
        for (case, text, want) in [
            ("unreserved", "aZ09-._~", "aZ09-._~"),
            (
                "a JSON array",
                r#"["b-1","b 2"]"#,
                "%5B%22b-1%22%2C%22b%202%22%5D",
            ),
            ("more than one byte", "ö", "%C3%B6"),
        ] {
            assert_eq!(percent_encode(text), want, "{case}");
        }
    }

    #[test]
    fn a_body_over_the_limit_is_an_error() {
        let body = |n: usize| Response::from_bytes(200, vec![], vec![b'x'; n]).into_bytes(10);
        assert_eq!(body(10).unwrap().len(), 10);
        assert_eq!(body(11).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn retry_after_is_whole_seconds_or_nothing() {
        for (case, value, want) in [
            ("seconds", "7", Some(7)),
            ("a date", "Wed, 21 Oct 2026 07:28:00 GMT", None),
            ("negative", "-1", None),
        ] {
            let response = Response::from_bytes(429, vec![("retry-after".into(), value.into())], vec![]);
            assert_eq!(response.retry_after(), want.map(Duration::from_secs), "{case}");
        }
    }

    #[test]
    fn debug_shows_no_header_and_no_body() {
        let permit = Permit::harmless(Harmless::Outside);
        let request = Request::permitted(permit, Method::Post, "https://x/y")
            .header("Authorization", "Bearer s3cret")
            .body("text/plain", "s3cret");
        assert_eq!(format!("{request:?}"), "POST https://x/y");
    }
}
