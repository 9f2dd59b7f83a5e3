//! What a front proxy says of whom it calls for.
//!
//! Only to be read once the proxy's own certificate is verified: anybody can send such headers.
//! Source: apiserver pkg/authentication/request/headerrequest/requestheader.go.

use super::user::User;
use crate::serve::exchange::Incoming;
use crate::serve::options::RequestHeader;

/// A header that should tell who calls is not text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a header of the front proxy is not valid UTF-8")]
pub(super) struct NotText;

/// Whom the proxy calls for; `None` when it does not say.
pub(super) fn user(request: &Incoming<'_>, rules: &RequestHeader) -> Result<Option<User>, NotText> {
    let Some(name) = first(request, &rules.username_headers)? else {
        return Ok(None);
    };
    let mut user = User {
        name: name.to_owned(),
        uid: first(request, &rules.uid_headers)?.unwrap_or_default().to_owned(),
        ..User::default()
    };
    for header in &rules.group_headers {
        for group in values(request, header) {
            user.groups.push(group?.to_owned());
        }
    }
    user.groups.retain(|group| !group.is_empty());
    for prefix in &rules.extra_headers_prefixes {
        for (name, value) in request.headers {
            let Some(key) = without_prefix(name, prefix) else {
                continue;
            };
            let values = user.extra.entry(decoded(&key.to_ascii_lowercase())).or_default();
            values.push(text(value)?.to_owned());
        }
    }
    Ok(Some(user))
}

/// The first value that is not empty.
fn first<'a>(request: &Incoming<'a>, names: &[String]) -> Result<Option<&'a str>, NotText> {
    for name in names {
        match values(request, name).next().transpose()? {
            Some("") | None => {}
            Some(value) => return Ok(Some(value)),
        }
    }
    Ok(None)
}

fn values<'a>(request: &Incoming<'a>, name: &str) -> impl Iterator<Item = Result<&'a str, NotText>> {
    let named = request
        .headers
        .iter()
        .filter(move |(found, _)| found.eq_ignore_ascii_case(name));
    named.map(|(_, value)| text(value))
}

fn text(value: &[u8]) -> Result<&str, NotText> {
    std::str::from_utf8(value).map(str::trim).map_err(|_| NotText)
}

fn without_prefix<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = name.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// `key` with `%2f` and the like resolved; as it is where that is not possible.
fn decoded(key: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(key.len()), key.as_bytes());
    while let [first, after @ ..] = rest {
        let (byte, after) = match (first, after) {
            (b'%', [high, low, after @ ..]) => match (nibble(*high), nibble(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => return key.to_owned(),
            },
            (b'%', _) => return key.to_owned(),
            (byte, after) => (*byte, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).unwrap_or_else(|_| key.to_owned())
}

fn nibble(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::serve::who::testing::incoming;

    fn rules() -> RequestHeader {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect();
        RequestHeader {
            client_ca_file: None,
            username_headers: words("X-Remote-User X-Other-User"),
            group_headers: words("x-remote-group x-more-groups"),
            uid_headers: words("x-remote-uid"),
            extra_headers_prefixes: words("X-Remote-Extra-"),
            allowed_names: vec![],
        }
    }

    #[test]
    fn headers_make_a_user() {
        let extra = |pairs: &[(&str, &[&str])]| -> BTreeMap<String, Vec<String>> {
            let owned = |values: &[&str]| values.iter().map(ToString::to_string).collect();
            pairs
                .iter()
                .map(|(key, values)| (key.to_string(), owned(values)))
                .collect()
        };
        for (case, headers, want) in [
            ("nothing", &[][..], Ok(None)),
            ("groups alone", &[("X-Remote-Group", "a")], Ok(None)),
            ("an empty name", &[("X-Remote-User", "")], Ok(None)),
            (
                "a name",
                &[("x-remote-user", "bob")],
                Ok(Some(("bob", "", vec![], extra(&[])))),
            ),
            (
                "the second header, as the first is empty",
                &[("X-Remote-User", " "), ("X-Other-User", "eve")],
                Ok(Some(("eve", "", vec![], extra(&[])))),
            ),
            (
                "the first value counts",
                &[("X-Remote-User", "bob"), ("X-Remote-User", "eve")],
                Ok(Some(("bob", "", vec![], extra(&[])))),
            ),
            (
                "all groups of all headers, empty ones apart",
                &[
                    ("X-Remote-Group", "b"),
                    ("X-Remote-User", "bob"),
                    ("X-More-Groups", "c"),
                    ("X-Remote-Group", ""),
                    ("X-REMOTE-GROUP", "a"),
                    ("X-Remote-Uid", "u-1"),
                ],
                Ok(Some(("bob", "u-1", vec!["b", "a", "c"], extra(&[])))),
            ),
            (
                "what else is known",
                &[
                    ("X-Remote-User", "bob"),
                    ("X-Remote-Extra-Scopes", "one"),
                    ("x-remote-extra-scopes", "two"),
                    ("X-Remote-Extra-Example.org%2fKey", "v"),
                    ("X-Remote-Extra-50%zz", "w"),
                    ("X-Remote-Extra-%ff", "x"),
                    ("X-Remote-Extra", "not one"),
                ],
                Ok(Some((
                    "bob",
                    "",
                    vec![],
                    extra(&[
                        ("scopes", &["one", "two"]),
                        ("example.org/key", &["v"]),
                        ("50%zz", &["w"]),
                        ("%ff", &["x"]),
                    ]),
                ))),
            ),
        ] {
            let headers: Vec<(&str, &[u8])> = headers
                .iter()
                .map(|(name, value)| (*name, value.as_bytes()))
                .collect();
            let found = user(&incoming("GET", "/metrics", &headers, &[]), &rules());
            let want = want.map(|user: Option<(&str, &str, Vec<&str>, _)>| {
                user.map(|(name, uid, groups, extra)| User {
                    name: name.to_owned(),
                    uid: uid.to_owned(),
                    groups: groups.into_iter().map(str::to_owned).collect(),
                    extra,
                })
            });
            assert!(found == want, "{case}: {found:?}");
        }
        let headers = [("X-Remote-User", &b"\xff"[..])];
        assert_eq!(user(&incoming("GET", "/", &headers, &[]), &rules()), Err(NotText));
    }
}
