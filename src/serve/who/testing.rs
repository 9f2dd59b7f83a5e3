//! For tests of this room: callers, their certificates, and an API server that answers as told.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::{AccessAsk, ReviewError, Reviews, User, Verdict};
use crate::http::testing::Ca;
use crate::runtime::secret::Secret;
use crate::serve::exchange::Incoming;
use crate::serve::options::{Authentication, RequestHeader};

/// The date of all tests here: 2026-01-02.
pub(super) fn now() -> SystemTime {
    humantime::parse_rfc3339("2026-01-02T03:04:05Z").unwrap()
}

pub(super) fn incoming<'a>(
    method: &'a str,
    path: &'a str,
    headers: &'a [(&'a str, &'a [u8])],
    client_certificates: &'a [CertificateDer<'static>],
) -> Incoming<'a> {
    Incoming {
        method,
        path,
        query: "",
        headers,
        client_certificates,
        peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000),
    }
}

/// What the flags say by default.
pub(super) fn authentication() -> Authentication {
    Authentication {
        kubeconfig: None,
        skip_lookup: false,
        tolerate_lookup_failure: false,
        token_ttl: Duration::from_secs(10),
        client_ca_file: None,
        request_header: RequestHeader {
            client_ca_file: None,
            username_headers: vec!["x-remote-user".into()],
            group_headers: vec!["x-remote-group".into()],
            uid_headers: vec![],
            extra_headers_prefixes: vec!["x-remote-extra-".into()],
            allowed_names: vec![],
        },
    }
}

/// A client's certificate of `ca`, for a name (unless it is empty) in at most two groups.
pub(super) fn client(
    ca: &Ca,
    name: &str,
    groups: &[&str],
    change: impl FnOnce(&mut CertificateParams),
) -> CertificateDer<'static> {
    let leaf = ca.issue_with(&[], |params| {
        params.distinguished_name = DistinguishedName::new();
        if !name.is_empty() {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        // rcgen keeps one value of each type, but takes these for two
        let organizations = [DnType::OrganizationName, DnType::CustomDnType(vec![2, 5, 4, 10])];
        assert!(groups.len() <= organizations.len());
        for (kind, group) in organizations.into_iter().zip(groups) {
            params.distinguished_name.push(kind, *group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(params);
    });
    der(&leaf.certificate)
}

pub(super) fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// An API server of which each answer is set.
#[derive(Default)]
pub(super) struct FakeReviews {
    tokens: Mutex<BTreeMap<String, Result<User, ReviewError>>>,
    /// `user verb path`.
    allowed: Mutex<Vec<String>>,
    /// Instead of all verdicts.
    verdict: Mutex<Option<Result<Verdict, ReviewError>>>,
    authorities: Mutex<Option<Result<Authorities, ReviewError>>>,
    asked: Mutex<Vec<String>>,
}

type Authorities = Option<BTreeMap<String, String>>;

impl FakeReviews {
    pub(super) fn set_token(&self, token: &str, answer: Result<User, ReviewError>) {
        self.tokens.lock().unwrap().insert(token.to_owned(), answer);
    }

    pub(super) fn allow(&self, what: &str) {
        self.allowed.lock().unwrap().push(what.to_owned());
    }

    pub(super) fn set_verdict(&self, verdict: Option<Result<Verdict, ReviewError>>) {
        *self.verdict.lock().unwrap() = verdict;
    }

    pub(super) fn set_authorities(&self, answer: Result<Option<Vec<(&str, String)>>, ReviewError>) {
        let owned = |pairs: Vec<(&str, String)>| pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        *self.authorities.lock().unwrap() = Some(answer.map(|pairs| pairs.map(owned)));
    }

    /// What was asked since the last time: `token t`, `access user (groups) verb path`.
    pub(super) fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    pub(super) fn looked_up(&self) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| *asked == "authorities").count()
    }

    fn note(&self, asked: String) {
        self.asked.lock().unwrap().push(asked);
    }
}

impl Reviews for FakeReviews {
    fn token(&self, token: &Secret, _: Duration) -> Result<Option<User>, ReviewError> {
        self.note(format!("token {}", token.expose()));
        self.tokens
            .lock()
            .unwrap()
            .get(token.expose())
            .cloned()
            .transpose()
    }

    fn access(&self, ask: &AccessAsk<'_>, _: Duration) -> Result<Verdict, ReviewError> {
        let User {
            name, groups, extra, ..
        } = ask.user;
        let extra: String = extra
            .iter()
            .map(|(key, values)| format!(" {key}={}", values.join(",")))
            .collect();
        self.note(format!(
            "access {name} ({}){extra} {} {}",
            groups.join(" "),
            ask.verb,
            ask.path
        ));
        if let Some(verdict) = self.verdict.lock().unwrap().clone() {
            return verdict;
        }
        let wanted = format!("{name} {} {}", ask.verb, ask.path);
        Ok(match self.allowed.lock().unwrap().contains(&wanted) {
            true => Verdict::Allowed,
            false => Verdict::NoOpinion {
                reason: String::new(),
            },
        })
    }

    fn authorities(&self, _: Duration) -> Result<Option<BTreeMap<String, String>>, ReviewError> {
        self.note("authorities".to_owned());
        self.authorities.lock().unwrap().clone().unwrap_or(Ok(None))
    }
}
