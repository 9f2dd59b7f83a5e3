//! What an answer of the API server, or none, means.

use std::time::Duration;

use crate::http;

/// Why a call did not do what was asked. Variants say who must act; [`Error::proves_absence`] says whether an object is gone.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// 401: our credentials are not accepted.
    #[error("the API server does not accept our credentials for {call}: {message}")]
    Unauthorized {
        /// Verb and path.
        call: String,
        /// The server's words.
        message: String,
    },
    /// 403: RBAC does not allow it. Somebody may grant it later.
    #[error("not allowed to {call}: {message}")]
    Forbidden {
        /// Verb and path.
        call: String,
        /// The server's words.
        message: String,
    },
    /// 404 for a named object: it does not exist.
    #[error("{call}: {message}")]
    NotFound {
        /// Verb and path.
        call: String,
        /// The server's words.
        message: String,
    },
    /// 404 for a whole collection, or without a `Status`: the API is not served here, or something stands in between. Says
    /// nothing about objects.
    #[error("the API server does not serve {call}")]
    NotServed {
        /// Verb and path.
        call: String,
    },
    /// 409 `Conflict`: somebody else changed the object first.
    #[error("{call} conflicts with another change: {message}")]
    Conflict {
        /// Verb and path.
        call: String,
        /// The server's words.
        message: String,
    },
    /// 409 `AlreadyExists`.
    #[error("{call}: {message}")]
    AlreadyExists {
        /// Verb and path.
        call: String,
        /// The server's words.
        message: String,
    },
    /// 410: the asked-for version of a list or watch is no longer known; list again.
    #[error("{call}: the version is no longer available: {message}")]
    Expired {
        /// Verb and path.
        call: String,
        /// The server's words.
        message: String,
    },
    /// Another 4xx: it would fail the same way again.
    #[error("the API server rejects {call} with {status}: {message}")]
    Rejected {
        /// Verb and path.
        call: String,
        /// The status code.
        status: u16,
        /// The server's words.
        message: String,
    },
    /// 429 or 5xx after all retries.
    #[error("the API server is not available for {call}: {status}: {message}")]
    Unavailable {
        /// Verb and path.
        call: String,
        /// The status code.
        status: u16,
        /// The server's words.
        message: String,
        /// What it asked us to wait.
        retry_after: Option<Duration>,
    },
    /// No answer. A write may have happened all the same.
    #[error("no answer to {call}")]
    NoAnswer {
        /// Verb and path.
        call: String,
        /// Why.
        #[source]
        source: http::Error,
    },
    /// The answer is not what it should be: HTML, truncated, empty, another kind.
    #[error("the answer to {call} cannot be understood: {reason}")]
    Unintelligible {
        /// Verb and path.
        call: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The call cannot be made: a name that is none. Nothing was sent.
    #[error("not a call to the API server: {reason}")]
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
    /// Credentials could not be loaded: a token file, an exec plug-in.
    #[error("no credentials for {call}: {reason}")]
    Credentials {
        /// Verb and path.
        call: String,
        /// Why; never a secret.
        reason: String,
    },
    /// The lease is not provably ours (any more), so nothing was sent.
    #[error("not leading: {call} was not sent")]
    NotLeading {
        /// Verb and path.
        call: String,
    },
    /// The daemon is stopping. What was being sent may have happened.
    #[error("stopped before the end of {call}")]
    Stopped {
        /// Verb and path.
        call: String,
    },
}

impl Error {
    /// Whether this proves that the object asked for does not exist. Nothing but a 404 about that very object does.
    pub fn proves_absence(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// How long the server asked us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether a write that failed so may have happened all the same. The caller reads the object again, or does what
    /// it does anyway: compare and repeat.
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::NoAnswer { source, .. } => source.sent() == http::Sent::Perhaps,
            Self::Unavailable { status, .. } => *status != 429,
            Self::Unintelligible { .. } | Self::Stopped { .. } => true,
            _ => false,
        }
    }

    /// Adds how many attempts were made to what was called.
    pub(super) fn after_attempts(mut self, attempts: u32) -> Self {
        if let (Some(call), true) = (self.call_mut(), attempts > 1) {
            call.push_str(&format!(" ({attempts} attempts)"));
        }
        self
    }

    /// Takes what `change` takes out of the server's words.
    pub(super) fn map_message(mut self, change: impl FnOnce(&str) -> String) -> Self {
        match &mut self {
            Self::Unauthorized { message, .. }
            | Self::Forbidden { message, .. }
            | Self::NotFound { message, .. }
            | Self::Conflict { message, .. }
            | Self::AlreadyExists { message, .. }
            | Self::Expired { message, .. }
            | Self::Rejected { message, .. }
            | Self::Unavailable { message, .. } => *message = change(message),
            _ => {}
        }
        self
    }

    fn call_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Unauthorized { call, .. }
            | Self::Forbidden { call, .. }
            | Self::NotFound { call, .. }
            | Self::NotServed { call }
            | Self::Conflict { call, .. }
            | Self::AlreadyExists { call, .. }
            | Self::Expired { call, .. }
            | Self::Rejected { call, .. }
            | Self::Unavailable { call, .. }
            | Self::NoAnswer { call, .. }
            | Self::Unintelligible { call, .. }
            | Self::Credentials { call, .. }
            | Self::NotLeading { call }
            | Self::Stopped { call } => Some(call),
            Self::Invalid { .. } => None,
        }
    }
}
