//! What values may look like. Each check answers with the typed value, or says what is allowed; none repeats the value.

use std::net::IpAddr;
use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::config::values;
use crate::inspur::name::ClusterId;

/// An `https` URL without user, query or fragment; plain `http` only to this machine. Its scheme becomes lower-case.
pub(super) fn url(text: &str) -> Result<String, String> {
    let wrong = |allowed: &str| Err(allowed.to_owned());
    let Some((scheme, rest)) = text.split_once("://") else {
        return wrong("must be a URL: https://host/path, without quotes");
    };
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || "\"'<>\\^`{}|".contains(c)) {
        return wrong("must be a URL without spaces or quotes");
    }
    if text.contains(['?', '#']) {
        return wrong("must not have a query or fragment: end it before ? or #");
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return wrong("must not hold a user or password");
    }
    let Some(host) = host(authority) else {
        return wrong("must name a host, and a port from 1 to 65535 if any");
    };
    match &*scheme.to_ascii_lowercase() {
        "https" => Ok(format!("https://{rest}")),
        "http" if is_loopback(host) => Ok(format!("http://{rest}")),
        _ => wrong("must begin with https:// (http:// only for this machine: 127.0.0.1, ::1, localhost)"),
    }
}

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port`.
fn host(authority: &str) -> Option<&str> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(inside) => inside
            .split_once(']')
            .filter(|(host, _)| host.parse::<std::net::Ipv6Addr>().is_ok())?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port_fits = match rest.strip_prefix(':') {
        Some(port) => {
            port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
        }
        None => rest.is_empty(),
    };
    (port_fits && !host.is_empty()).then_some(host)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// One line.
pub(super) fn text(text: &str) -> Result<String, String> {
    if text.contains(char::is_control) {
        return Err("must be one line without control characters".to_owned());
    }
    Ok(text.to_owned())
}

/// A token, which is sent in a header. Source: RFC 9110, 5.5.
pub(super) fn token(text: &str) -> Result<String, String> {
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err("must be one line of ASCII".to_owned());
    }
    Ok(text.to_owned())
}

/// Who a cluster is in names in the cloud.
pub(super) fn cluster_id(text: &str) -> Result<ClusterId, String> {
    ClusterId::parse(text).ok_or_else(|| {
        "must be 1 to 16 lower-case letters, digits and hyphens, with no hyphen first or last".to_owned()
    })
}

/// What a Kubernetes label may hold. Source: kubernetes/apimachinery, pkg/util/validation, IsValidLabelValue.
pub(super) fn label(text: &str) -> Result<String, String> {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    let inside = bytes
        .iter()
        .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b));
    if bytes.len() > 63 || !inside || !edge(bytes.first()) || !edge(bytes.last()) {
        return Err(
            "must be 1 to 63 letters, digits, -, _ and ., with a letter or digit first and last".to_owned(),
        );
    }
    Ok(text.to_owned())
}

/// Calls a second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    values::number(text)
        .filter(|rate| (0.0..=100_000.0).contains(rate))
        .ok_or_else(|| "must be a number from 0 to 100000".to_owned())
}

/// Calls at once.
pub(super) fn count(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|count| (1..=100_000).contains(count))
        .ok_or_else(|| "must be a whole number from 1 to 100000".to_owned())
}

/// A file with at least one PEM certificate, and nothing in it that only looks like one.
pub(super) fn certificates(path: &Path) -> Result<(), String> {
    let unreadable = |error: std::io::Error| format!("must be a file that can be read: {error}");
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match certificates {
        Ok(found) if !found.is_empty() => Ok(()),
        _ => Err("must be a file of PEM certificates (-----BEGIN CERTIFICATE-----)".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_https_or_loopback() {
        for (text, want) in [
            (
                "https://service.cloud.inspur.com/regionsvc-cn-north/slb/v1/slbs",
                None,
            ),
            ("https://10.0.0.1:8443/slbs", None),
            ("https://[2001:db8::1]:8443/slbs", None),
            ("http://127.0.0.1:8080/slbs", None),
            ("http://127.9.9.9/slbs", None),
            ("http://[::1]:80/slbs", None),
            ("http://localhost:8080", None),
            ("http://service.cloud.inspur.com/slbs", Some("https://")),
            ("http://127.0.0.1.example.com/slbs", Some("https://")),
            ("http://localhost.example.com/slbs", Some("https://")),
            ("ftp://x/slbs", Some("https://")),
            ("HTTPS://x/slbs", None),
            ("HTTP://x/slbs", Some("https://")),
            ("service.cloud.inspur.com/slbs", Some("https://host/path")),
            ("https://", Some("host")),
            ("https:///slbs", Some("host")),
            ("https://x:0/slbs", Some("port")),
            ("https://x:65536/slbs", Some("port")),
            ("https://x:/slbs", Some("port")),
            ("https://x:+1/slbs", Some("port")),
            ("https://[::1/slbs", Some("host")),
            ("https://user:pass@x/slbs", Some("user or password")),
            ("https://x/slbs?region=1", Some("query")),
            ("https://x/slbs#a", Some("fragment")),
            ("\"https://x/slbs\"", Some("quotes")),
            ("https://x/sl bs", Some("spaces")),
        ] {
            match (url(text), want) {
                (Ok(_), None) => {}
                (Err(allowed), Some(word)) => assert!(allowed.contains(word), "{text}: {allowed}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }

    #[test]
    fn names_and_numbers_are_in_range() {
        for (text, want) in [
            ("a", true),
            ("prod-1", true),
            ("0123456789abcdef", true),
            ("", false),
            ("-a", false),
            ("a-", false),
            ("A", false),
            ("a_b", false),
            ("0123456789abcdefg", false),
        ] {
            assert_eq!(cluster_id(text).is_ok(), want, "cluster-id {text:?}");
        }
        for (text, want) in [
            ("cn-north-3", true),
            ("A.b_c", true),
            ("", false),
            (".a", false),
            ("a b", false),
            ("区", false),
        ] {
            assert_eq!(label(text).is_ok(), want, "label {text:?}");
        }
        for (text, want) in [
            ("0", true),
            ("2.5", true),
            ("-1", false),
            ("NaN", false),
            ("inf", false),
            ("1e9", false),
            ("x", false),
        ] {
            assert_eq!(rate(text).is_ok(), want, "rate {text:?}");
        }
        for (text, want) in [
            ("1", true),
            ("50", true),
            ("0", false),
            ("-1", false),
            ("1.5", false),
        ] {
            assert_eq!(count(text).is_ok(), want, "count {text:?}");
        }
        for (text, want) in [("Bearer abc.def", true), ("a\nb", false), ("é", false)] {
            assert_eq!(token(text).is_ok(), want, "token {text:?}");
        }
    }
}
