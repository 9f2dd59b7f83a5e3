//! INSPUR's SLB and ECS APIs and the token services before them. What is spelled as the API spells it stays in here.

mod call;
mod client;
mod date;
mod ecs;
mod encode;
mod exchange;
mod loose;
mod metrics;
mod token;
mod wire;

use std::time::Duration;

use crate::http;

pub use call::Written;
pub use client::Client;
pub use ecs::{ASKED_AT_ONCE, Ecs};
pub use exchange::{Exchanges, Limit, Retrying};
pub use metrics::{CloudMetrics, Renewal};
pub use token::{Credentials, Tokens};
pub use wire::Words;

/// Why a call did not do what was asked. Variants say who must act; only [`Error::NotFound`] proves that something is gone.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no token to send: the token service refused, or did not answer.
    #[error("no access token: {reason}")]
    Credentials {
        /// Why; never a secret.
        reason: String,
        /// What the service asked us to wait.
        retry_after: Option<Duration>,
    },
    /// 401, with a fresh token too.
    #[error("the cloud does not accept our token for {call}: {words}")]
    Unauthorized {
        /// Verb and path.
        call: String,
        /// The cloud's words.
        words: Words,
    },
    /// 403: somebody else's, or not allowed to this account.
    #[error("not allowed to {call}: {words}")]
    Forbidden {
        /// Verb and path.
        call: String,
        /// The cloud's words.
        words: Words,
    },
    /// 404 in the API's own words, or a describe without the SLB: it does not exist. Never an answer of something that
    /// stands in between.
    #[error("{call} finds nothing: {words}")]
    NotFound {
        /// Verb and path.
        call: String,
        /// The cloud's words.
        words: Words,
    },
    /// 409 after all retries: the SLB is busy with another change. Nothing happened.
    #[error("{call} meets another change: {words}")]
    Conflict {
        /// Verb and path.
        call: String,
        /// The cloud's words.
        words: Words,
        /// What it asked us to wait.
        retry_after: Option<Duration>,
    },
    /// Another 4xx: it would fail the same way again. Nothing happened.
    #[error("the cloud rejects {call} with {status}: {words}")]
    Rejected {
        /// Verb and path.
        call: String,
        /// The status code.
        status: u16,
        /// The cloud's words.
        words: Words,
    },
    /// 429 after all retries: too many calls. Nothing happened.
    #[error("the cloud throttles {call}: {words}")]
    Throttled {
        /// Verb and path.
        call: String,
        /// The cloud's words.
        words: Words,
        /// What it asked us to wait.
        retry_after: Option<Duration>,
    },
    /// 5xx after all retries, or an answer out of place. A write may have happened all the same.
    #[error("the cloud fails at {call} with {status}: {words}")]
    Unavailable {
        /// Verb and path.
        call: String,
        /// The status code.
        status: u16,
        /// The cloud's words.
        words: Words,
        /// What it asked us to wait.
        retry_after: Option<Duration>,
    },
    /// No answer. A write may have happened all the same, unless [`http::Error::sent`] says otherwise.
    #[error("no answer to {call}")]
    NoAnswer {
        /// Verb and path.
        call: String,
        /// Why.
        #[source]
        source: http::Error,
    },
    /// The answer is not what it should be: HTML, cut short, empty, something else. Proves nothing.
    #[error("the answer to {call} cannot be understood: {reason}")]
    Unintelligible {
        /// Verb and path.
        call: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The lease is not provably ours (any more): nothing was sent.
    #[error("not leading: {call} was not sent")]
    NotLeading {
        /// Verb and path.
        call: String,
    },
    /// The daemon is stopping.
    #[error("stopped before {call}")]
    Stopped {
        /// Verb and path.
        call: String,
    },
}

impl Error {
    /// How long the other side wants us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Credentials { retry_after, .. }
            | Self::Conflict { retry_after, .. }
            | Self::Throttled { retry_after, .. }
            | Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
