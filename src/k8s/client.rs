//! Blocking calls to the API server.

use std::io::Read;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::error::Error;
use crate::http::{Limits, Method, Request, Response, Transport};
use crate::runtime::stop::StopToken;

/// One call: what to do with which path.
#[derive(Debug, Clone)]
pub struct Call {
    /// The verb.
    pub method: Method,
    /// From `/api` on, percent-encoded, with its query.
    pub path: String,
    /// Type and bytes.
    pub body: Option<(&'static str, Vec<u8>)>,
    /// Deadlines.
    pub limits: Limits,
}

/// The kinds of PATCH in use. Source: kube-client.md 6.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 7386: maps merge, lists are replaced.
    Merge,
    /// Lists follow Kubernetes' metadata: finalizers merge as a set.
    Strategic,
}

impl PatchType {
    /// Its `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Merge => "application/merge-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
        }
    }
}

impl Call {
    /// A read.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::Get,
            path: path.into(),
            body: None,
            limits: Limits::default(),
        }
    }

    /// A partial change. It must be one that may happen twice.
    pub fn patch(path: impl Into<String>, kind: PatchType, body: &serde_json::Value) -> Self {
        let bytes = body.to_string().into_bytes();
        Self {
            method: Method::Patch,
            body: Some((kind.content_type(), bytes)),
            ..Self::get(path)
        }
    }

    /// Makes a new object.
    pub fn create(path: impl Into<String>, body: &serde_json::Value) -> Self {
        let bytes = body.to_string().into_bytes();
        Self {
            method: Method::Post,
            body: Some(("application/json", bytes)),
            ..Self::get(path)
        }
    }

    /// For errors and logs.
    pub fn describe(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// A client of one API server.
#[derive(Clone)]
pub struct Client {
    base: Arc<str>,
    transport: Arc<dyn Transport>,
    stop: StopToken,
}

impl Client {
    /// Talks to `base` (scheme, host, port, perhaps a path) over `transport`.
    pub fn new(base: &str, transport: Arc<dyn Transport>, stop: StopToken) -> Self {
        Self {
            base: base.trim_end_matches('/').into(),
            transport,
            stop,
        }
    }

    /// The token that ends its waits.
    pub fn stop_token(&self) -> &StopToken {
        &self.stop
    }

    /// Sends `call` and hands over the answer of a 2xx, its body unread. Retries as kube-client.md 5.4 says.
    ///
    /// # Errors
    /// Any other status, or no answer.
    pub fn open(&self, call: &Call) -> Result<Response, Error> {
        let mut request = Request::new(call.method, format!("{}{}", self.base, call.path))
            .header("Accept", "application/json");
        request.limits = call.limits;
        if let Some((content_type, bytes)) = &call.body {
            request = request.body(content_type, bytes.clone());
        }
        let response = self
            .transport
            .exchange(&request)
            .map_err(|source| Error::NoAnswer {
                call: call.describe(),
                source,
            })?;
        if (200..300).contains(&response.status) {
            Ok(response)
        } else {
            Err(Error::from_response(call, response))
        }
    }

    /// Like [`Client::open`], for a watch: it is not held back by the rate limit.
    ///
    /// # Errors
    /// Those of [`Client::open`].
    pub fn open_watch(&self, call: &Call) -> Result<Response, Error> {
        self.open(call)
    }

    /// Sends `call` and decodes the answer's object.
    ///
    /// # Errors
    /// Those of [`Client::open`], and a body that is no such object.
    pub fn send<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Error> {
        let response = self.open(call)?;
        let unintelligible = |reason: String| Error::Unintelligible {
            call: call.describe(),
            reason,
        };
        let bytes = response
            .into_bytes(OBJECT_LIMIT)
            .map_err(|e| unintelligible(e.to_string()))?;
        serde_json::from_slice(&bytes).map_err(|e| unintelligible(e.to_string()))
    }
}

/// The largest object accepted. Source: kube-client.md 2.6.
const OBJECT_LIMIT: usize = 8 << 20;

impl Error {
    /// What an answer other than 2xx means.
    fn from_response(call: &Call, response: Response) -> Self {
        let (status, retry_after, call) = (response.status, response.retry_after(), call.describe());
        let mut bytes = Vec::new();
        // an error's text is for people: what can be read of it is enough
        let _ = response.body.take(2048).read_to_end(&mut bytes);
        let message = String::from_utf8_lossy(&bytes).into_owned();
        match status {
            401 => Self::Unauthorized { call, message },
            403 => Self::Forbidden { call, message },
            404 => Self::NotFound { call, message },
            409 => Self::Conflict { call, message },
            410 => Self::Expired { call, message },
            429 | 500.. => Self::Unavailable {
                call,
                status,
                message,
                retry_after,
            },
            _ => Self::Rejected {
                call,
                status,
                message,
            },
        }
    }
}
