//! What an answer says beside its code: the `Status` of Kubernetes, or a proxy's text. Pure.

use std::time::Duration;

use serde::Deserialize;

use super::error::Error;
use super::path::object_of;
use super::types::null_default;
use crate::runtime::json;
use crate::runtime::secret::Secret;

/// An answer other than 2xx, as read.
pub(super) struct Refusal<'a> {
    /// Verb and path, for errors.
    pub(super) call: String,
    /// With its query.
    pub(super) path: &'a str,
    /// HTTP's.
    pub(super) code: u16,
    /// The header's.
    pub(super) retry_after: Option<Duration>,
    /// Whether the answer calls itself JSON.
    pub(super) is_json: bool,
    /// The body, perhaps cut.
    pub(super) body: &'a [u8],
}

/// `Status` of `meta/v1`, as far as it is read.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    #[serde(deserialize_with = "null_default")]
    kind: Box<str>,
    #[serde(deserialize_with = "null_default")]
    status: Box<str>,
    #[serde(deserialize_with = "null_default")]
    message: Box<str>,
    #[serde(deserialize_with = "null_default")]
    reason: Box<str>,
    #[serde(deserialize_with = "null_default")]
    details: Details,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Details {
    #[serde(deserialize_with = "null_default")]
    name: Box<str>,
    #[serde(deserialize_with = "null_default")]
    kind: Box<str>,
    #[serde(deserialize_with = "null_default")]
    retry_after_seconds: u64,
}

impl Status {
    /// `None` for any other object, and for what is no JSON.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let status: Self = json::read(body).ok()?;
        (&*status.kind == "Status").then_some(status)
    }

    pub(super) fn is_success(&self) -> bool {
        &*self.status == "Success"
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }
}

/// What `refusal` means: by the reason in its `Status`, by its code where there is none.
pub(super) fn classify(refusal: &Refusal<'_>) -> Error {
    let found = refusal.is_json.then(|| Status::parse(refusal.body)).flatten();
    let message = match &found {
        Some(status) if !status.message.is_empty() => status.message.to_string(),
        _ => text(refusal.body),
    };
    let (call, code) = (refusal.call.clone(), refusal.code);
    let reason = found.as_ref().map_or("", |status| &status.reason);
    let retry_after = refusal
        .retry_after
        .or_else(|| match found.as_ref()?.details.retry_after_seconds {
            0 => None,
            seconds => Some(Duration::from_secs(seconds)),
        });
    match (reason, code) {
        ("Unauthorized", _) | ("" | "Unknown", 401) => Error::Unauthorized { call, message },
        ("Forbidden", _) | ("" | "Unknown", 403) => Error::Forbidden { call, message },
        ("NotFound", _) | ("" | "Unknown", 404) => match &found {
            Some(status) if status.is_about(refusal.path) => Error::NotFound { call, message },
            _ => Error::NotServed { call },
        },
        ("AlreadyExists", _) => Error::AlreadyExists { call, message },
        ("Conflict", _) | ("" | "Unknown", 409) => Error::Conflict { call, message },
        ("Expired" | "Gone", _) | ("" | "Unknown", 410) => Error::Expired { call, message },
        (_, 429 | 500..) => Error::Unavailable {
            call,
            status: code,
            message,
            retry_after,
        },
        (_, status) => Error::Rejected {
            call,
            status,
            message,
        },
    }
}

impl Status {
    /// Whether it speaks of the very object that `path` names. What it leaves open does not contradict.
    fn is_about(&self, path: &str) -> bool {
        let Some((plural, name)) = object_of(path) else {
            return false;
        };
        let Details {
            name: named, kind, ..
        } = &self.details;
        (named.is_empty() || **named == *name) && (kind.is_empty() || kind.eq_ignore_ascii_case(plural))
    }
}

/// The beginning of a text for people.
fn text(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(MESSAGE_LIMIT)]);
    text.trim().to_owned()
}

/// Source: client-go, rest/request.go `maxUnstructuredResponseTextBytes`.
const MESSAGE_LIMIT: usize = 2048;

/// Takes `secret` out of `message`: a proxy may answer with the request it got.
pub(super) fn without(message: &str, secret: &Secret) -> String {
    let bare = secret.expose().rsplit(' ').next().unwrap_or_default();
    match bare {
        "" => message.to_owned(),
        _ => message.replace(bare, "***"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classified(code: u16, path: &str, is_json: bool, body: &str) -> String {
        let error = classify(&Refusal {
            call: "CALL".into(),
            path,
            code,
            retry_after: None,
            is_json,
            body: body.as_bytes(),
        });
        let name = format!("{error:?}");
        let message = match &error {
            Error::NotServed { .. } => "",
            _ => error
                .to_string()
                .rsplit(": ")
                .next()
                .map(str::to_owned)
                .unwrap()
                .leak(),
        };
        format!("{} {message}", name.split_whitespace().next().unwrap())
    }

    fn status(reason: &str, details: &str) -> String {
        format!(
            r#"{{"kind":"Status","status":"Failure","message":"why","reason":"{reason}","details":{details}}}"#
        )
    }

    const WEB: &str = "/api/v1/namespaces/a/services/web";
    const ALL: &str = "/api/v1/namespaces/a/services";

    #[test]
    fn the_reason_counts_before_the_code() {
        for (case, code, body, want) in [
            ("conflict", 409, status("Conflict", "{}"), "Conflict why"),
            (
                "already there",
                409,
                status("AlreadyExists", "null"),
                "AlreadyExists why",
            ),
            ("no reason", 409, status("", "{}"), "Conflict why"),
            ("expired", 410, status("Expired", "{}"), "Expired why"),
            ("gone", 410, status("Gone", "{}"), "Expired why"),
            ("expired, code 500", 500, status("Expired", "{}"), "Expired why"),
            ("invalid", 422, status("Invalid", "{}"), "Rejected why"),
            ("a new reason", 418, status("Teapot", "{}"), "Rejected why"),
            ("time-out", 504, status("Timeout", "{}"), "Unavailable why"),
            (
                "too many",
                429,
                status("TooManyRequests", "{}"),
                "Unavailable why",
            ),
            ("forbidden", 403, status("Forbidden", "{}"), "Forbidden why"),
            (
                "unauthorized",
                401,
                status("Unauthorized", "{}"),
                "Unauthorized why",
            ),
        ] {
            assert_eq!(classified(code, WEB, true, &body), want, "{case}");
        }
    }

    #[test]
    fn text_is_kept_where_there_is_no_status() {
        for (case, code, is_json, body, want) in [
            (
                "plain",
                429,
                false,
                " Too many requests, please try again later.\n",
                "Unavailable Too many requests, please try again later.",
            ),
            (
                "HTML",
                502,
                false,
                "<html>Bad Gateway</html>",
                "Unavailable <html>Bad Gateway</html>",
            ),
            ("not JSON after all", 500, true, "oops", "Unavailable oops"),
            (
                "another kind",
                500,
                true,
                r#"{"kind":"Service"}"#,
                r#"Unavailable {"kind":"Service"}"#,
            ),
            (
                "a status that does not call itself JSON",
                409,
                false,
                "x",
                "Conflict x",
            ),
        ] {
            assert_eq!(classified(code, WEB, is_json, body), want, "{case}");
        }
        let long = "x".repeat(5000);
        assert_eq!(
            classified(500, WEB, false, &long).len(),
            "Unavailable ".len() + MESSAGE_LIMIT
        );
    }

    #[test]
    fn only_a_404_about_the_object_proves_its_absence() {
        let web = r#"{"name":"web","kind":"services"}"#;
        for (case, path, is_json, body, want) in [
            ("the object", WEB, true, status("NotFound", web), "NotFound why"),
            (
                "its status",
                "/api/v1/namespaces/a/services/web/status",
                true,
                status("NotFound", web),
                "NotFound why",
            ),
            ("no details", WEB, true, status("NotFound", "{}"), "NotFound why"),
            (
                "another name",
                WEB,
                true,
                status("NotFound", r#"{"name":"b","kind":"services"}"#),
                "NotServed ",
            ),
            (
                "the namespace",
                WEB,
                true,
                status("NotFound", r#"{"name":"a","kind":"namespaces"}"#),
                "NotServed ",
            ),
            ("a collection", ALL, true, status("NotFound", "{}"), "NotServed "),
            (
                "the API server's router",
                WEB,
                false,
                "404 page not found".into(),
                "NotServed ",
            ),
            ("a proxy", WEB, false, "<html>".into(), "NotServed "),
            (
                "JSON of something else",
                WEB,
                true,
                r#"{"error":"not found"}"#.into(),
                "NotServed ",
            ),
        ] {
            assert_eq!(classified(404, path, is_json, &body), want, "{case}");
        }
    }

    #[test]
    fn the_delay_may_stand_in_the_body() {
        let body = status("Timeout", r#"{"retryAfterSeconds":1}"#);
        for (header, want) in [(None, 1), (Some(Duration::from_secs(7)), 7)] {
            let error = classify(&Refusal {
                call: "CALL".into(),
                path: ALL,
                code: 504,
                retry_after: header,
                is_json: true,
                body: body.as_bytes(),
            });
            assert_eq!(error.retry_after(), Some(Duration::from_secs(want)));
        }
    }

    #[test]
    fn an_echoed_token_is_taken_out() {
        let token = Secret::new("Bearer s3cret");
        assert_eq!(without("you sent Bearer s3cret!", &token), "you sent Bearer ***!");
        assert_eq!(without("nothing", &Secret::default()), "nothing");
    }
}
