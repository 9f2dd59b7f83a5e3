//! Why a request failed, as far as it decides what to do next: pure.

use std::time::Duration;

use crate::http;
use crate::k8s::Error;

/// Why a request failed, as far as it decides what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The version is no longer known.
    Expired,
    /// The server has not reached the version, perhaps never will.
    FromTheFuture(Option<Duration>),
    /// Asked to slow down.
    Throttled(Option<Duration>),
    /// 5xx.
    Unavailable(Option<Duration>),
    /// No answer.
    Unreachable,
    /// Credentials are missing or not accepted.
    Unauthorized,
    /// RBAC, or an API that is not served: likely to last.
    Denied,
    /// The request itself is refused.
    Rejected,
    /// The answer proves nothing.
    Unintelligible,
}

impl Failure {
    /// What `error` means for a list or a watch.
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::Expired { .. } => Self::Expired,
            Error::Unavailable {
                status: 429,
                retry_after,
                ..
            } => Self::Throttled(*retry_after),
            // Source: apimachinery `errors.NewTooLargeResourceVersionError`; the reason is in a cause that servers before
            // 1.18 do not send
            Error::Unavailable {
                message, retry_after, ..
            } if message
                .to_ascii_lowercase()
                .contains("too large resource version")
                || message.contains("ResourceVersionTooLarge") =>
            {
                Self::FromTheFuture(*retry_after)
            }
            Error::Unavailable { retry_after, .. } => Self::Unavailable(*retry_after),
            Error::NoAnswer {
                source: http::Error::Invalid { .. },
                ..
            } => Self::Rejected,
            Error::NoAnswer { .. } | Error::NotLeading { .. } | Error::Stopped { .. } => Self::Unreachable,
            Error::Unauthorized { .. } | Error::Credentials { .. } => Self::Unauthorized,
            Error::Forbidden { .. } | Error::NotFound { .. } | Error::NotServed { .. } => Self::Denied,
            Error::Conflict { .. } | Error::AlreadyExists { .. } => Self::Rejected,
            Error::Rejected { .. } | Error::Invalid { .. } => Self::Rejected,
            Error::Unintelligible { .. } => Self::Unintelligible,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_is_told_apart_by_what_to_do() {
        let call = || "GET /x".to_string();
        let unavailable = |status, message: &str| Error::Unavailable {
            call: call(),
            status,
            message: message.into(),
            retry_after: Some(Duration::from_secs(3)),
        };
        let no_answer = |source| Error::NoAnswer { call: call(), source };
        let (peer, reason, message) = (String::new, String::new, String::new);
        let after = Some(Duration::from_secs(3));
        for (error, want) in [
            (unavailable(429, ""), Failure::Throttled(after)),
            (unavailable(503, ""), Failure::Unavailable(after)),
            (unavailable(504, "timeout"), Failure::Unavailable(after)),
            (
                unavailable(504, "Too large resource version: 9, current: 3"),
                Failure::FromTheFuture(after),
            ),
            (
                Error::Expired {
                    call: call(),
                    message: message(),
                },
                Failure::Expired,
            ),
            (
                Error::Credentials {
                    call: call(),
                    reason: reason(),
                },
                Failure::Unauthorized,
            ),
            (
                Error::Forbidden {
                    call: call(),
                    message: message(),
                },
                Failure::Denied,
            ),
            (Error::NotServed { call: call() }, Failure::Denied),
            (
                Error::Rejected {
                    call: call(),
                    status: 422,
                    message: message(),
                },
                Failure::Rejected,
            ),
            (
                Error::Unintelligible {
                    call: call(),
                    reason: reason(),
                },
                Failure::Unintelligible,
            ),
            (
                no_answer(http::Error::Tls {
                    peer: peer(),
                    reason: reason(),
                }),
                Failure::Unreachable,
            ),
            (
                no_answer(http::Error::Invalid { reason: reason() }),
                Failure::Rejected,
            ),
            (Error::Stopped { call: call() }, Failure::Unreachable),
        ] {
            assert_eq!(Failure::of(&error), want, "{error}");
        }
    }
}
