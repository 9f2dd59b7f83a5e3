//! What the API server is asked about callers.

use std::collections::BTreeMap;
use std::time::Duration;

use super::user::User;
use crate::runtime::secret::Secret;

/// Asks the API server. Each call ends within the time given to it, whatever happens, or soon after.
pub trait Reviews: Send + Sync {
    /// Whose token this is; `None` when it is nobody's.
    ///
    /// # Errors
    /// There is no answer, or none to believe: nothing is known about the token.
    fn token(&self, token: &Secret, within: Duration) -> Result<Option<User>, ReviewError>;

    /// Whether somebody may do something.
    ///
    /// # Errors
    /// There is no answer, or none to believe.
    fn access(&self, ask: &AccessAsk<'_>, within: Duration) -> Result<Verdict, ReviewError>;

    /// What the ConfigMap `kube-system/extension-apiserver-authentication` holds, by key; `None` when there is none.
    ///
    /// # Errors
    /// There is no answer, or none to believe.
    fn authorities(&self, within: Duration) -> Result<Option<BTreeMap<String, String>>, ReviewError>;
}

/// May `user` do `verb` to `path`?
#[derive(Debug, Clone, Copy)]
pub struct AccessAsk<'a> {
    /// Who wants to.
    pub user: &'a User,
    /// The method, in lower case.
    pub verb: &'a str,
    /// As it came in.
    pub path: &'a str,
}

/// Whether somebody may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Allowed,
    /// No, whatever others say.
    Denied {
        /// The server's words; may be empty.
        reason: String,
    },
    /// Nobody says yes.
    NoOpinion {
        /// The server's words; may be empty.
        reason: String,
    },
}

/// Why a question has no answer. Shows nothing of what was asked about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReviewError {
    /// The API server does not let us ask: 401, 403, another 4xx. Somebody must grant it.
    #[error("{message}")]
    Refused {
        /// HTTP's.
        status: u16,
        /// What was asked, and the server's words.
        message: String,
    },
    /// 429 or 5xx. Later it may be better.
    #[error("{message}")]
    Unavailable {
        /// HTTP's.
        status: u16,
        /// What was asked, and the server's words.
        message: String,
    },
    /// No answer, or none in time.
    #[error("{message}")]
    NoAnswer {
        /// What was asked, and what went wrong.
        message: String,
    },
    /// An answer that makes no sense.
    #[error("{message}")]
    Unintelligible {
        /// What was asked, and what is wrong with the answer.
        message: String,
    },
}

impl ReviewError {
    /// The status that came, as a metric shows it: one of a fixed set.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Refused { status, .. } | Self::Unavailable { status, .. } => code(*status),
            Self::NoAnswer { .. } => "<error>",
            Self::Unintelligible { .. } => CREATED,
        }
    }

    /// For whoever called, who may be anybody.
    pub(super) fn in_short(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "the Kubernetes API does not let the controller ask about access",
            Self::Unavailable { .. } | Self::NoAnswer { .. } => "the Kubernetes API does not answer",
            Self::Unintelligible { .. } => "the answer of the Kubernetes API makes no sense",
        }
    }
}

/// What a review is answered with.
pub(super) const CREATED: &str = "201";

fn code(status: u16) -> &'static str {
    match status {
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        409 => "409",
        422 => "422",
        429 => "429",
        500 => "500",
        502 => "502",
        503 => "503",
        504 => "504",
        _ => "other",
    }
}
