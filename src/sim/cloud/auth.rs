//! Ways to a token, and what every call of the API must carry.

use std::time::Duration;

use serde_json::json;

use super::fields::Fields;
use super::render::Problem;
use super::state::{State, Token, token_text};
use crate::sim::server::{Incoming, Now, Reply, decode_form};

/// How long a token from the IAM login is good. Source: the example in INSPUR's open-platform guide.
const LOGIN_LIFETIME: Duration = Duration::from_secs(5400);

/// The fields of the token exchange that have one right value. Source: the old client's `getToken`; its `request_token_type`
/// is spelled like that, and a field spelled as RFC 8693 does may stand beside it.
const FIXED: [(&str, &str); 3] = [
    ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
    (
        "request_token_type",
        "urn:ietf:params:oauth:token-type:refresh_token",
    ),
    ("audience", "console"),
];

impl State {
    /// The Keycloak endpoint.
    ///
    /// Source: RFC 6749, 5.2 for the shape of errors; RFC 8693, 2.1 for the fields. Assumed: which error is given.
    pub(super) fn exchange_token(&mut self, request: &Incoming, now: Now) -> Reply {
        match self.check_exchange(request) {
            Ok(user_id) => self.issue(user_id, self.options.token_lifetime, now),
            Err((status, error, description)) => {
                Reply::json(status, &json!({"error": error, "error_description": description}))
            }
        }
    }

    fn check_exchange(&self, request: &Incoming) -> Result<String, (u16, &'static str, String)> {
        let invalid = |description: String| (400, "invalid_request", description);
        if request.method != "POST" {
            return Err((405, "invalid_request", "only POST".into()));
        }
        if !has_media_type(request, "application/x-www-form-urlencoded") {
            return Err(invalid(
                "Content-Type must be application/x-www-form-urlencoded".into(),
            ));
        }
        let form = std::str::from_utf8(&request.body)
            .ok()
            .and_then(decode_form)
            .ok_or_else(|| invalid("the form is not encoded as it should be".into()))?;
        let field = |name: &str| -> Result<&str, (u16, &'static str, String)> {
            let mut values = form.iter().filter(|(n, _)| n == name).map(|(_, value)| value);
            match (values.next(), values.next()) {
                (Some(value), None) => Ok(value),
                (None, _) => Err(invalid(format!("{name} is missing"))),
                (Some(_), Some(_)) => Err(invalid(format!("{name} is there twice"))),
            }
        };
        for (name, wanted) in FIXED {
            if field(name)? != wanted {
                return Err(invalid(format!("{name} must be {wanted}")));
            }
        }
        if let Some((_, value)) = form.iter().find(|(name, _)| name == "requested_token_type")
            && value != FIXED[1].1
        {
            return Err(invalid(format!("requested_token_type must be {}", FIXED[1].1)));
        }
        let (client, secret) = (field("client_id")?, field("client_secret")?);
        let mut of_client = self
            .options
            .accounts
            .iter()
            .filter(|account| account.client_id == client && account.client_secret.expose() == secret)
            .peekable();
        if of_client.peek().is_none() {
            return Err((
                401,
                "invalid_client",
                "client_id or client_secret is wrong".into(),
            ));
        }
        let subject = field("requested_subject")?;
        of_client
            .find(|account| account.subject == subject)
            .map(|account| account.user_id.clone())
            .ok_or_else(|| {
                (
                    403,
                    "access_denied",
                    "the client may not act for requested_subject".into(),
                )
            })
    }

    /// The IAM login. Source: INSPUR's open-platform guide. Assumed: its errors.
    pub(super) fn log_in(&mut self, request: &Incoming, now: Now) -> Result<Reply, Problem> {
        if request.method != "POST" {
            return Err(Problem::new(405, "only POST"));
        }
        let body = json_body(request)?;
        let mut fields = Fields::of(&body)?;
        let (name, password) = (
            fields.required_text("username")?,
            fields.required_text("password")?,
        );
        fields.done()?;
        let user_id = self
            .options
            .accounts
            .iter()
            .find(|account| account.iam_username == name && account.iam_password.expose() == password)
            .map(|account| account.user_id.clone())
            .ok_or_else(|| Problem::new(401, "username or password is wrong"))?;
        Ok(self.issue(user_id, LOGIN_LIFETIME, now))
    }

    fn issue(&mut self, user_id: String, lifetime: Duration, now: Now) -> Reply {
        self.issued += 1;
        let text = token_text(self.issued);
        let expires = now.monotonic + lifetime;
        self.tokens.insert(text.clone(), Token { user_id, expires });
        Reply::json(
            200,
            &json!({
                "access_token": text,
                "expires_in": lifetime.as_secs(),
                "refresh_expires_in": 1800,
                "refresh_token": format!("refresh-of-{text}"),
                "token_type": "bearer",
                "not-before-policy": 0,
                "session_state": "0f8fad5b-d9cb-469f-a165-70867728950e",
            }),
        )
    }

    /// Whom a call of the API acts for, once its headers are as they must be.
    pub(super) fn admit(&self, request: &Incoming, now: Now) -> Result<String, Problem> {
        let unauthorized = |message: &str| Problem::new(401, message);
        let header = request
            .header("Authorization")
            .ok_or_else(|| unauthorized("Authorization is missing"))?;
        let token = header
            .strip_prefix("Bearer ")
            .ok_or_else(|| unauthorized("Authorization must begin with `Bearer `"))?;
        let user_id = self
            .user_of(token, now)
            .ok_or_else(|| unauthorized("the token is unknown or has expired"))?;
        let date = request
            .header("Date")
            .ok_or_else(|| Problem::invalid("Date", "the header is missing"))?;
        if !is_rfc1123(date) {
            return Err(Problem::invalid("Date", "must be a date as in RFC 1123, in UTC"));
        }
        if !request.body.is_empty() && !has_media_type(request, "application/json") {
            return Err(Problem::invalid("Content-Type", "must be application/json"));
        }
        Ok(user_id)
    }

    fn user_of(&self, token: &str, now: Now) -> Option<String> {
        let accounts = &self.options.accounts;
        if let Some(account) = accounts
            .iter()
            .find(|account| account.static_token.expose() == token)
        {
            return Some(account.user_id.clone());
        }
        self.tokens
            .get(token)
            .filter(|token| now.monotonic < token.expires)
            .map(|token| token.user_id.clone())
    }
}

/// The body as JSON.
pub(super) fn json_body(request: &Incoming) -> Result<serde_json::Value, Problem> {
    if !has_media_type(request, "application/json") {
        return Err(Problem::invalid("Content-Type", "must be application/json"));
    }
    serde_json::from_slice(&request.body)
        .map_err(|error| Problem::new(400, &format!("the body is not JSON: {error}")))
}

fn has_media_type(request: &Incoming, wanted: &str) -> bool {
    request
        .header("Content-Type")
        .and_then(|value| value.split(';').next())
        .is_some_and(|value| value.trim().eq_ignore_ascii_case(wanted))
}

/// Whether `text` is a date like `Sun, 06 Nov 1994 08:49:37 GMT`; `UTC` stands for GMT as the old client wrote it.
///
/// Source: RFC 1123, 5.2.14; Go's `time.RFC1123`.
fn is_rfc1123(text: &str) -> bool {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let parts: Vec<&str> = text.split(' ').collect();
    let [day_name, day, month, year, time, zone] = parts[..] else {
        return false;
    };
    let Some(month) = MONTHS.iter().position(|name| *name == month) else {
        return false;
    };
    // the standard's other notation does the arithmetic: which day since 1970, and whether it exists
    let Ok(moment) = humantime::parse_rfc3339(&format!("{year}-{:02}-{day}T{time}Z", month + 1)) else {
        return false;
    };
    let Ok(since_1970) = moment.duration_since(std::time::UNIX_EPOCH) else {
        return false;
    };
    let day_number = (since_1970.as_secs() / 86_400 % 7) as usize;
    time.len() == 8 && day_name.strip_suffix(',') == Some(DAYS[day_number]) && matches!(zone, "GMT" | "UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_exact() {
        for (text, want) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", true),
            ("Sun, 06 Nov 1994 08:49:37 UTC", true),
            ("Thu, 29 Feb 2024 00:00:00 GMT", true),
            ("Wed, 29 Feb 2023 00:00:00 GMT", false),
            ("Mon, 06 Nov 1994 08:49:37 GMT", false),
            ("Sun, 6 Nov 1994 08:49:37 GMT", false),
            ("Sun, 06 Nov 1994 08:49:37 CST", false),
            ("Sun, 06 Nov 1994 08:49:37.5 GMT", false),
            ("Sunday, 06-Nov-94 08:49:37 GMT", false),
            ("1994-11-06T08:49:37Z", false),
            ("", false),
        ] {
            assert_eq!(is_rfc1123(text), want, "{text}");
        }
    }
}
