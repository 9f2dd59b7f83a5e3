//! What an answer to a call is: an object, a refusal, or nothing that can be believed.

use std::borrow::Cow;
use std::io::Read;

use serde::Deserialize;

use super::auth::Credential;
use super::call::Call;
use super::error::Error;
use super::retry::Outcome;
use super::status::{Refusal, Status, classify, without};
use crate::http::{Method, Response};
use crate::runtime::json;

/// How an attempt ended: for the decision, and for the caller.
pub(super) struct Failed {
    pub(super) outcome: Outcome,
    pub(super) error: Error,
}

impl Failed {
    pub(super) fn unintelligible(call: &Call, reason: String) -> Self {
        let call = call.describe();
        Self {
            outcome: Outcome::Final,
            error: Error::Unintelligible { call, reason },
        }
    }
}

/// An answer other than 2xx. Its body is read, so that the connection can be used again.
pub(super) fn refused(call: &Call, credential: &Credential, response: Response) -> Failed {
    let (code, retry_after) = (response.status, response.retry_after());
    let is_json = response.header("Content-Type").is_none_or(is_json);
    let mut body = Vec::new();
    // an error's text is for people: what can be read of it is enough
    let _ = response.body.take(REFUSAL_LIMIT).read_to_end(&mut body);
    let error = classify(&Refusal {
        call: call.describe(),
        path: &call.path,
        code,
        retry_after,
        is_json,
        body: &body,
    });
    let error = match &credential.authorization {
        Some(secret) => error.map_message(|message| without(message, secret)),
        None => error,
    };
    // a Status may carry the delay too, but only the header says that the server did not act on a write
    Failed {
        outcome: Outcome::Status { code, retry_after },
        error,
    }
}

/// Whether `bytes` are an object that answers `call`.
pub(super) fn check_object(call: &Call, bytes: &[u8], kind: Option<&str>) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Head<'a> {
        #[serde(borrow, default)]
        kind: Option<Cow<'a, str>>,
        #[serde(default)]
        metadata: Option<serde::de::IgnoredAny>,
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err("it is empty".to_owned());
    }
    let head: Head<'_> = json::read(bytes).map_err(|e| e.to_string())?;
    match (head.kind.as_deref(), kind) {
        (Some("Status"), _) => match Status::parse(bytes) {
            Some(status) if status.is_success() && call.method == Method::Delete => Ok(()),
            Some(status) => Err(format!("a Status instead of an object: {}", status.message())),
            None => Err("a Status that cannot be read".to_owned()),
        },
        (Some(found), Some(want)) if found != want => Err(format!("a {found:?} instead of a {want}")),
        (None, Some(want)) => Err(format!("no {want}: it has no kind")),
        (None, None) if head.metadata.is_none() && call.path.starts_with("/api") => {
            Err("it is no object of Kubernetes".to_owned())
        }
        _ => Ok(()),
    }
}

pub(super) fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// Of an error's body; an invalid object may have many causes.
const REFUSAL_LIMIT: u64 = 64 << 10;
