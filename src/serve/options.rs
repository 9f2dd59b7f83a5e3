//! What the command line says of the endpoint.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How the endpoint is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where to listen; unspecified is every address of both families.
    pub address: IpAddr,
    /// Never 0.
    pub port: u16,
    /// Whether other processes may listen there, too (SO_REUSEPORT).
    pub share_port: bool,
    /// What is shown to whom no SNI pair is for.
    pub certificate: Certificate,
    /// What is shown to clients that ask for these names.
    pub sni: Vec<SniPair>,
    /// The oldest version of TLS.
    pub min_version: TlsVersion,
    /// Empty for all that there are.
    pub cipher_suites: Vec<CipherSuite>,
    /// Key exchange groups in order of preference; empty for all that there are.
    pub curves: Vec<Curve>,
    /// How callers are told apart.
    pub authentication: Authentication,
    /// What they may read.
    pub authorization: Authorization,
}

/// Where the endpoint's certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificate {
    /// In these files, which may change.
    Files {
        /// The certificate and its chain, in PEM.
        certificate: PathBuf,
        /// Its key, in PEM.
        key: PathBuf,
    },
    /// In `cloud-controller-manager.crt` and `.key` of this folder; made there where they are not.
    Folder(PathBuf),
    /// Made at start, and only in memory.
    SelfSigned,
}

/// A certificate for some names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SniPair {
    /// The certificate and its chain, in PEM.
    pub certificate: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
    /// Names, or `*.suffix`; none for those in the certificate.
    pub names: Vec<String>,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// 1.2.
    V12,
    /// 1.3.
    V13,
}

/// A cipher suite by its IANA number, one of those that there are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CipherSuite(pub u16);

/// A key exchange group by its IANA number, one of those that there are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Curve(pub u16);

/// How callers are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentication {
    /// Whom to ask about tokens; `None` for the cluster that this Pod is in, if any.
    pub kubeconfig: Option<PathBuf>,
    /// Do not read the cluster's authorities.
    pub skip_lookup: bool,
    /// Go on without them where they cannot be read.
    pub tolerate_lookup_failure: bool,
    /// How long an answer about a token is kept.
    pub token_ttl: Duration,
    /// Authorities of client certificates, instead of the cluster's.
    pub client_ca_file: Option<PathBuf>,
    /// How a front proxy says who calls.
    pub request_header: RequestHeader,
}

/// How a front proxy says who calls. Source: ccm-behaviour.md 2.2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// Authorities of front proxies, instead of the cluster's.
    pub client_ca_file: Option<PathBuf>,
    /// Header names.
    pub username_headers: Vec<String>,
    /// Header names.
    pub group_headers: Vec<String>,
    /// Header names.
    pub uid_headers: Vec<String>,
    /// Beginnings of header names.
    pub extra_headers_prefixes: Vec<String>,
    /// Common names of front proxies; empty for any that the authority signed.
    pub allowed_names: Vec<String>,
}

/// What callers may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// Whom to ask; `None` for the cluster that this Pod is in, if any.
    pub kubeconfig: Option<PathBuf>,
    /// What everybody may read.
    pub always_allow: Vec<PathPattern>,
    /// How long a yes is kept.
    pub authorized_ttl: Duration,
    /// How long a no is kept.
    pub unauthorized_ttl: Duration,
}

/// A path, or what it begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPattern {
    /// Exactly this.
    Exact(String),
    /// All that begin so.
    Prefix(String),
}
