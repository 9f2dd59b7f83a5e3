//! Who calls the HTTPS endpoint, and what they may read.

use super::Given;
use crate::serve::{Authentication, Authorization, PathPattern, RequestHeader};

impl Given {
    pub(super) fn authentication(&mut self) -> Authentication {
        Authentication {
            kubeconfig: self.path("authentication-kubeconfig"),
            skip_lookup: self.is_true("authentication-skip-lookup"),
            tolerate_lookup_failure: self.is_true("authentication-tolerate-lookup-failure"),
            token_ttl: self.duration("authentication-token-webhook-cache-ttl"),
            client_ca_file: self.path("client-ca-file"),
            request_header: self.request_header(),
        }
    }

    fn request_header(&mut self) -> RequestHeader {
        let uid_headers = self.headers("requestheader-uid-headers");
        let standard = |header: &String| header.eq_ignore_ascii_case("x-remote-uid");
        if !uid_headers.is_empty() && !uid_headers.iter().any(standard) {
            let flag = "requestheader-uid-headers";
            self.refuse_found(
                flag,
                self.as_given(flag),
                "must have X-Remote-Uid among its headers",
            );
        }
        RequestHeader {
            client_ca_file: self.path("requestheader-client-ca-file"),
            username_headers: self.headers("requestheader-username-headers"),
            group_headers: self.headers("requestheader-group-headers"),
            uid_headers,
            extra_headers_prefixes: self.headers("requestheader-extra-headers-prefix"),
            allowed_names: self.common_names("requestheader-allowed-names"),
        }
    }

    /// Names of headers, or what they begin with.
    fn headers(&mut self, flag: &'static str) -> Vec<String> {
        let headers = self.list(flag);
        if !headers.iter().all(|header| is_header_name(header)) {
            let allowed = "must be names of headers by comma, none of them blank";
            self.refuse_found(flag, self.as_given(flag), allowed);
        }
        headers
    }

    fn common_names(&mut self, flag: &'static str) -> Vec<String> {
        let names = self.list(flag);
        if names.iter().any(String::is_empty) {
            self.refuse_found(
                flag,
                self.as_given(flag),
                "must be names by comma, none of them blank",
            );
        }
        names
    }

    pub(super) fn authorization(&mut self) -> Authorization {
        let (flag, mut always_allow) = ("authorization-always-allow-paths", Vec::new());
        for path in self.list(flag) {
            match path_pattern(&path) {
                Some(pattern) => always_allow.push(pattern),
                None => self.refuse_found(flag, path, "must be a path, with a * only at its end"),
            }
        }
        Authorization {
            kubeconfig: self.path("authorization-kubeconfig"),
            always_allow,
            authorized_ttl: self.duration("authorization-webhook-cache-authorized-ttl"),
            unauthorized_ttl: self.duration("authorization-webhook-cache-unauthorized-ttl"),
        }
    }
}

/// Nothing else can ever be a header's name. Source: RFC 9110, 5.6.2.
fn is_header_name(name: &str) -> bool {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !name.is_empty() && name.chars().all(is_token)
}

/// The first slash may be left out. Source: kubernetes/apiserver, pkg/authorization/path/path.go.
fn path_pattern(text: &str) -> Option<PathPattern> {
    let path = format!("/{}", text.strip_prefix('/').unwrap_or(text));
    match path.split_once('*') {
        _ if text.is_empty() => None,
        None => Some(PathPattern::Exact(path)),
        Some((beginning, "")) => Some(PathPattern::Prefix(beginning.to_owned())),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_at_the_end_of_a_path_only() {
        let exact = |path: &str| Some(PathPattern::Exact(path.to_owned()));
        let prefix = |path: &str| Some(PathPattern::Prefix(path.to_owned()));
        for (text, want) in [
            ("/healthz", exact("/healthz")),
            ("healthz", exact("/healthz")),
            ("/", exact("/")),
            ("/healthz/*", prefix("/healthz/")),
            ("/health*", prefix("/health")),
            ("*", prefix("/")),
            ("/*", prefix("/")),
            ("", None),
            ("/*/x", None),
            ("/**", None),
        ] {
            assert_eq!(path_pattern(text), want, "{text:?}");
        }
    }
}
