//! Ways into a simulator: real loopback sockets ([`Server`]), or a [`crate::http::Transport`] in-process ([`InProcess`]).
//!
//! A simulator implements [`Core`] and knows neither sockets nor faults. Both ways in put the same things around it: the
//! script of faults, the latency, the log of requests, and a few calls under `/_sim/` to script it from outside:
//!
//! | call | effect |
//! |---|---|
//! | `POST /_sim/faults` | adds the rules of its JSON body ([`super::faults::Rule`]) |
//! | `GET /_sim/faults` | the rules in force and how many calls each has seen |
//! | `DELETE /_sim/faults` | clears them; paused calls go on |
//! | `POST /_sim/latency` | sets it, body `20ms` |
//! | `GET /_sim/requests` | the log |
//!
//! What else stands there is the simulator's own ([`Core::told`]).

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

mod front;
mod http1;
mod in_process;
mod socket;
#[cfg(test)]
mod tests;

pub use front::{Log, Logged};
pub use in_process::InProcess;
pub use socket::Server;

/// What a simulator is: an answer for every request. Called from many threads at once.
pub trait Core: Send + Sync {
    /// Acts on `request` at the time `now`. Must not block; what has to wait is a [`Stream`].
    fn respond(&self, request: &Incoming, now: Now) -> Answer;

    /// Acts on a call under `/_sim/` that is not for every simulator; `call` is the rest of its path. Neither faulty nor logged.
    /// `None` when there is no such call.
    fn told(&self, _call: &str, _request: &Incoming) -> Option<Reply> {
        None
    }
}

/// The time of a call, on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For intervals.
    pub monotonic: Instant,
    /// For dates.
    pub wall: SystemTime,
}

/// A request as it came. `Debug` shows neither headers nor body.
#[derive(Clone, Default)]
pub struct Incoming {
    /// The verb in capitals.
    pub method: String,
    /// Path and query, still percent-encoded.
    pub target: String,
    /// Names in any case.
    pub headers: Vec<(String, String)>,
    /// Empty when there is none.
    pub body: Vec<u8>,
}

impl Incoming {
    /// A request without headers or body.
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            ..Self::default()
        }
    }

    /// Adds a header.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body and its `Content-Type`.
    pub fn with_body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.with_header("Content-Type", content_type)
    }

    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The target up to the query, still encoded.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(&self.target, |(path, _)| path)
    }

    /// The target's query, still encoded; empty when there is none.
    pub fn raw_query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// The path's parts between slashes, decoded. A trailing slash ends in an empty part; a leading one does not begin
    /// with one.
    pub fn segments(&self) -> Vec<String> {
        let path = self.path();
        path.strip_prefix('/')
            .unwrap_or(path)
            .split('/')
            .map(|part| percent_decode(part).unwrap_or_else(|| part.to_owned()))
            .collect()
    }

    /// The query's names and values, decoded, in order. `+` stands for a space.
    pub fn query_pairs(&self) -> Vec<(String, String)> {
        decode_form(self.raw_query()).unwrap_or_default()
    }

    /// The first value of `name` in the query, decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        self.query_pairs()
            .into_iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value)
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.target)
    }
}

/// What a simulator says.
pub enum Answer {
    /// All at once, with its length.
    Full(Reply),
    /// Piece by piece, as long as it takes: a watch.
    Stream {
        /// The status code.
        status: u16,
        /// Beside the framing.
        headers: Vec<(String, String)>,
        /// The body.
        stream: Box<dyn Stream>,
    },
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Full(reply)
    }
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Beside the length.
    pub headers: Vec<(String, String)>,
    /// Never sent with a 204.
    pub body: Vec<u8>,
}

impl Reply {
    /// No body.
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// A JSON body.
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self {
            status,
            headers: vec![("Content-Type".into(), "application/json".into())],
            body: body.to_string().into_bytes(),
        }
    }

    /// Adds a header.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A body that comes piece by piece.
pub trait Stream: Send {
    /// The next piece, if it comes within `timeout`.
    fn next(&mut self, timeout: Duration) -> Piece;
}

/// What a [`Stream`] had to give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Some of the body; not empty.
    Bytes(Vec<u8>),
    /// Nothing yet.
    Idle,
    /// The body is complete.
    End,
    /// The body ends here, cut short: the connection breaks.
    Broken,
}

/// Decodes `%XX`. `None` for a `%` without two hex digits, or bytes that are not UTF-8.
pub fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let mut digit = || (rest.next()? as char).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            (high * 16 + low) as u8
        } else {
            byte
        });
    }
    String::from_utf8(bytes).ok()
}

/// Decodes `application/x-www-form-urlencoded`: names and values in order. `None` when it is malformed.
pub fn decode_form(text: &str) -> Option<Vec<(String, String)>> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| percent_decode(&text.replace('+', " "));
            Some((decode(name)?, decode(value)?))
        })
        .collect()
}

#[cfg(test)]
mod target_tests {
    use super::*;

    #[test]
    fn targets_are_taken_apart() {
        let request = Incoming::new("GET", "/a%2Fb/c/?x=1%262&y=+z&x=3");
        assert_eq!(request.segments(), ["a/b", "c", ""]);
        assert_eq!(request.query("x").as_deref(), Some("1&2"));
        assert_eq!(request.query("y").as_deref(), Some(" z"));
        assert_eq!(request.query("z"), None);
        assert_eq!(Incoming::new("GET", "/").segments(), [""]);
    }

    #[test]
    fn a_malformed_escape_does_not_decode() {
        for text in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(percent_decode(text), None, "{text}");
        }
        assert_eq!(decode_form("a=%4"), None);
    }
}
