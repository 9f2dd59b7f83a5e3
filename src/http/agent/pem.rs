//! Certificates and keys, from files or from memory.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use std::{fs, io};

use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::runtime::secret::Secret;
use crate::runtime::x509;

/// PEM text and where it comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// A file, read again when it may have changed.
    File(PathBuf),
    /// Text that stays as it is.
    Text {
        /// For errors: `certificate-authority-data of cluster "a" in /etc/kubeconfig`.
        from: String,
        /// May be a key.
        text: Secret,
    },
}

impl Pem {
    /// The bytes now; `what` says for errors what they are.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(&self, what: &'static str) -> Result<Vec<u8>, SetupError> {
        match self {
            Self::Text { text, .. } => Ok(text.expose().as_bytes().to_vec()),
            Self::File(path) => fs::read(path).map_err(|source| SetupError::Unreadable {
                what,
                path: path.clone(),
                source,
            }),
        }
    }
}

impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Text { from, .. } => f.write_str(from),
        }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whom to trust. Never more than what is named here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roots {
    /// Nobody: for plain HTTP. TLS connections fail.
    Nobody,
    /// The system's bundle: the file that `SSL_CERT_FILE` names, else the first of the usual places. Not watched.
    System,
    /// The authorities in it. A server may also show exactly one of these certificates, under whatever name:
    /// this is how self-signed ones, which are authorities too, can be trusted.
    Pem(Pem),
}

/// A certificate of ours and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate first, then those that lead to its authority.
    pub certificate: Pem,
    /// PKCS#8, PKCS#1 or SEC1.
    pub key: Pem,
}

/// Why an agent cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A file cannot be read.
    #[error("cannot read the {what} {}", path.display())]
    Unreadable {
        /// `CA file`, `client certificate`, …
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file, or text, does not hold what it should.
    #[error("the {what} from {from} cannot be used: {found}")]
    Unusable {
        /// `CA file`, `client certificate`, …
        what: &'static str,
        /// Path, or place in a file.
        from: String,
        /// What was found instead; never a key.
        found: String,
    },
    /// No bundle of certificates in any of the usual places.
    #[error("no system certificates found (looked for {looked}); set SSL_CERT_FILE, or name a CA file")]
    NoSystemRoots {
        /// The places.
        looked: String,
    },
    /// Not a host name or address.
    #[error("{name:?} is not a TLS server name")]
    ServerName {
        /// As given.
        name: String,
    },
    /// Not a header's value.
    #[error("the user agent is not a valid header value")]
    UserAgent,
}

/// What `Roots` came to.
#[derive(Clone)]
pub(super) struct Anchors {
    pub(super) store: Arc<RootCertStore>,
    /// Those that a server may show as they are.
    pub(super) pinned: Arc<[CertificateDer<'static>]>,
}

/// The bytes that `roots` names now; `None` where nothing can change.
pub(super) fn read_roots(roots: &Roots) -> Result<Option<Vec<u8>>, SetupError> {
    match roots {
        Roots::Nobody | Roots::System => Ok(None),
        Roots::Pem(pem) => pem.read(CA).map(Some),
    }
}

/// The bytes of certificate and key now.
pub(super) fn read_identity(identity: &Identity) -> Result<(Vec<u8>, Vec<u8>), SetupError> {
    Ok((identity.certificate.read(CERTIFICATE)?, identity.key.read(KEY)?))
}

/// Reads the system's bundle.
pub(super) fn system_anchors() -> Result<Anchors, SetupError> {
    let named = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty());
    let path = match &named {
        Some(path) => Path::new(path),
        None => SYSTEM_BUNDLES
            .iter()
            .map(Path::new)
            .find(|path| path.is_file())
            .ok_or_else(|| SetupError::NoSystemRoots {
                looked: SYSTEM_BUNDLES.join(", "),
            })?,
    };
    let pem = Pem::File(path.to_owned());
    let anchors = parse_anchors(&pem, &pem.read("system's certificates")?)?;
    Ok(Anchors {
        pinned: Arc::new([]),
        ..anchors
    })
}

/// The authorities in `bytes`. Other blocks, and single certificates that cannot be used, are skipped.
///
/// # Errors
/// Not one certificate can be used: then nobody would be trusted, which is never what a CA file is for.
pub(super) fn parse_anchors(from: &Pem, bytes: &[u8]) -> Result<Anchors, SetupError> {
    let certificates = parse_certificates(CA, from, bytes)?;
    let mut store = RootCertStore::empty();
    let (added, ignored) = store.add_parsable_certificates(certificates.iter().cloned());
    if added == 0 {
        let found = "not one of its certificates can be decoded".to_owned();
        return Err(unusable(CA, from, found));
    }
    if ignored > 0 {
        log::warn!(from:% = from, ignored; "some certificates cannot be used as authorities");
    }
    Ok(Anchors {
        store: Arc::new(store),
        pinned: certificates.into(),
    })
}

/// Certificate chain and key.
pub(super) fn parse_identity(
    from: &Identity,
    certificate: &[u8],
    key: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), SetupError> {
    let chain = parse_certificates(CERTIFICATE, &from.certificate, certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| match e {
        rustls_pki_types::pem::Error::NoItemsFound => {
            unusable(KEY, &from.key, "it holds no private key".to_owned())
        }
        // the error may quote the text, which is secret
        _ => unusable(KEY, &from.key, "it is not valid PEM".to_owned()),
    })?;
    Ok((chain, key))
}

/// When a certificate ends; `None` where that cannot be read. Source: RFC 5280, 4.1.
pub(super) fn end_of_life(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    x509::validity(certificate).ok().map(|(_, end)| end)
}

/// A certificate and key that do not go together, or a key of an unknown kind.
pub(super) fn bad_identity(from: &Identity, error: &rustls::Error) -> SetupError {
    let found = format!("it does not go with the key from {}: {error}", from.key);
    unusable(CERTIFICATE, &from.certificate, found)
}

fn parse_certificates(
    what: &'static str,
    from: &Pem,
    bytes: &[u8],
) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<_, _>>()
        .map_err(|_| unusable(what, from, "it is not valid PEM".to_owned()))?;
    if certificates.is_empty() {
        let found = format!("it holds no certificate in PEM ({} bytes)", bytes.len());
        return Err(unusable(what, from, found));
    }
    Ok(certificates)
}

fn unusable(what: &'static str, from: &Pem, found: String) -> SetupError {
    SetupError::Unusable {
        what,
        from: from.to_string(),
        found,
    }
}

const CA: &str = "CA certificate";
const CERTIFICATE: &str = "client certificate";
const KEY: &str = "client key";

/// Debian and Alpine, Red Hat, SUSE, older Red Hat, BSD. Source: Go, crypto/x509/root_linux.go.
const SYSTEM_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::http::testing::Ca;

    #[test]
    fn the_end_of_a_certificate_is_read() {
        for (year, want) in [(2030, 1_893_456_000), (2060, 2_840_140_800)] {
            let leaf = Ca::new("ca").issue_with(&["client"], |params| {
                params.not_after = rcgen::date_time_ymd(year, 1, 1);
            });
            let der = CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap();
            assert_eq!(
                end_of_life(&der),
                Some(UNIX_EPOCH + Duration::from_secs(want)),
                "{year}"
            );
        }
        assert_eq!(end_of_life(&CertificateDer::from(vec![0x30, 0])), None);
    }
}
