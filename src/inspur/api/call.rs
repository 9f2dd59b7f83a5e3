//! One call of an API that wants a token. Knows no endpoint.

use std::sync::Arc;

use super::exchange::{Answer, Ask, Exchanges, Repeat};
use super::token::Tokens;
use super::{Error, date, wire};
use crate::http::{Method, Request};
use crate::runtime::gate::{Gate, Harmless, Permit};

/// Calls what stands below one URL.
pub(super) struct Caller {
    base: String,
    tokens: Arc<Tokens>,
    exchanges: Exchanges,
    gate: Gate,
}

/// A write that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written<T> {
    /// What the cloud says is there now.
    pub answer: T,
    /// Whether it went as if nobody else were there: at the first attempt, and not already done. Otherwise what was read
    /// before it may be out of date.
    pub undisturbed: bool,
}

impl Caller {
    /// A `base` may end in a slash.
    pub(super) fn new(base: &str, tokens: Arc<Tokens>, exchanges: Exchanges, gate: Gate) -> Self {
        Self {
            base: base.trim_end_matches('/').into(),
            tokens,
            exchanges,
            gate,
        }
    }

    /// What `decode` makes of the answer.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn read<T>(&self, call: &Call, decode: fn(&[u8]) -> Result<T, String>) -> Result<T, Error> {
        let answer = self.send(call)?;
        decode(&answer.body).map_err(|reason| call.unintelligible(reason))
    }

    /// The same for a call that changes something.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn write<T>(
        &self,
        call: &Call,
        decode: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<Written<T>, Error> {
        let answer = self.send(call)?;
        Ok(Written {
            undisturbed: answer.attempts == 1,
            answer: decode(&answer.body).map_err(|reason| call.unintelligible(reason))?,
        })
    }

    /// Sends `call`; a token that is not accepted is renewed once.
    fn send(&self, call: &Call) -> Result<Answer, Error> {
        let token = self.tokens.current()?;
        match self.send_with(call, &token.header()) {
            Err(Error::Unauthorized { .. }) if self.tokens.discard(&token) => {
                let token = self.tokens.current()?;
                self.send_with(call, &token.header()).inspect_err(|error| {
                    // the next call is not to begin with a token that is known to be bad
                    if matches!(error, Error::Unauthorized { .. }) {
                        self.tokens.discard(&token);
                    }
                })
            }
            result => result,
        }
    }

    fn send_with(&self, call: &Call, authorization: &str) -> Result<Answer, Error> {
        let ask = Ask {
            request: call.request,
            call: &call.name,
            repeat: call.repeat,
            words: wire::words,
        };
        self.exchanges.send(ask, || {
            let permit = match call.method {
                Method::Get => Permit::harmless(Harmless::Read),
                _ => self.gate.pass()?,
            };
            let request = Request::permitted(permit, call.method, format!("{}{}", self.base, call.path))
                .header("Accept", "application/json")
                .header("Authorization", authorization)
                .header("Date", date::http_date(self.exchanges.clock().wall()));
            Ok(match &call.body {
                Some(body) => request.body("application/json", body.clone()),
                None => request,
            })
        })
    }
}

/// One call, below the base.
pub(super) struct Call {
    /// The operation, for metrics: one of a fixed set.
    request: &'static str,
    method: Method,
    path: String,
    body: Option<Vec<u8>>,
    repeat: Repeat,
    name: String,
}

impl Call {
    pub(super) fn get(request: &'static str, path: String) -> Self {
        Self::without_body(request, Method::Get, path)
    }

    pub(super) fn delete(request: &'static str, path: String) -> Self {
        Self::without_body(request, Method::Delete, path)
    }

    pub(super) fn with_body(
        request: &'static str,
        method: Method,
        path: String,
        body: Vec<u8>,
        repeat: Repeat,
    ) -> Self {
        Self {
            body: Some(body),
            repeat,
            ..Self::without_body(request, method, path)
        }
    }

    fn without_body(request: &'static str, method: Method, path: String) -> Self {
        Self {
            request,
            name: format!("{method} {path}"),
            method,
            path,
            body: None,
            repeat: Repeat::Safe,
        }
    }

    /// In errors it stands for this path: the real one is too long to read.
    pub(super) fn shown_as(self, path: &str) -> Self {
        Self {
            name: format!("{} {path}", self.method),
            ..self
        }
    }

    /// For errors: verb and path.
    pub(super) fn name(&self) -> String {
        self.name.clone()
    }

    pub(super) fn unintelligible(&self, reason: String) -> Error {
        Error::Unintelligible {
            call: self.name(),
            reason,
        }
    }
}
