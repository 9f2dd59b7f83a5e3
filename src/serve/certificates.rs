//! The certificates that the endpoint shows, and their rotation.
//!
//! Files are read again when somebody connects, at most once a second, and when [`Certificates::reload`] says so. Contents count, not names or
//! times, so files that change by symlink, as those of a mounted Secret do, are as good as any. A version that cannot be used (empty,
//! half written, a certificate without its key) is logged once and counted, whoever looks how often; the old one goes on.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use log::{error, info};
use rustls::client::verify_server_name;
use rustls::crypto::KeyProvider;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::options::{Certificate, Options};
use super::self_signed::{self, Made};
use crate::metrics::{IntCounterVec, Metrics};
use crate::runtime::clock::Clock;
use crate::runtime::reload::Reloaded;
use crate::runtime::{chain, fingerprint};

/// How old a reading of the files may be when somebody connects.
const MAX_AGE: Duration = Duration::from_secs(1);
/// A longer file holds neither certificates nor a key.
const MAX_BYTES: u64 = 1 << 20;
/// Where a folder keeps them. Source: ccm-behaviour.md 2.8.
const NAME: &str = "cloud-controller-manager";

/// Why a certificate cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read: it is missing, a directory, too long, or may not be read.
    #[error("cannot read the endpoint's {what} {}", path.display())]
    Unreadable {
        /// `certificate` or `key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("the endpoint's {what} {} cannot be used: {found}", path.display())]
    Unusable {
        /// `certificate` or `key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What was found instead; never a key.
        found: String,
    },
    /// Both are good, and not a pair.
    #[error("the endpoint's key {} does not belong to the certificate {}", key.display(), certificate.display())]
    Mismatch {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
    },
    /// A folder holds one of the two.
    #[error("{} exists without {}: supply both or neither", exists.display(), missing.display())]
    Half {
        /// The one that is there.
        exists: PathBuf,
        /// The one that is not.
        missing: PathBuf,
    },
    /// A certificate that was made cannot be kept.
    #[error("cannot keep the endpoint's certificate in {}", path.display())]
    Unwritable {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate for the endpoint")]
    NotMade(#[source] rcgen::Error),
}

/// What is shown to whom, now.
pub(super) struct Certificates {
    default: Slot,
    named: Vec<Named>,
    clock: Arc<dyn Clock>,
    keys: &'static dyn KeyProvider,
    checked: Mutex<Instant>,
    /// Since [`Certificates::reload`] was last called.
    happened: Mutex<Reloaded>,
    /// By result.
    reloads: IntCounterVec,
}

/// A certificate for clients that ask for these names.
struct Named {
    /// Empty for those in the certificate.
    names: Vec<String>,
    slot: Slot,
}

/// One certificate and where it comes from.
struct Slot {
    /// Its files, if there are any.
    files: Option<Files>,
    /// Whom to make it for where nobody gave one.
    make_for: Option<IpAddr>,
    state: Mutex<State>,
}

#[derive(Clone)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

struct State {
    shown: Arc<CertifiedKey>,
    /// Of the bytes in use.
    fingerprint: u64,
    /// Of the bytes last found unusable, or of the error in reading them.
    refused: Option<u64>,
    /// When to make another, for one that was made here.
    renewal: Option<SystemTime>,
}

impl Certificates {
    /// Reads and makes all that `options` name.
    pub(super) fn load(
        options: &Options,
        keys: &'static dyn KeyProvider,
        metrics: &Metrics,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CertificateError> {
        let reloads = reloads(metrics);
        let (bind, wall) = (options.address, clock.wall());
        let default = match &options.certificate {
            Certificate::Files { certificate, key } => Slot::of_files(keys, certificate, key)?,
            Certificate::Folder(folder) => Slot::of_folder(keys, folder, bind, wall)?,
            Certificate::SelfSigned => Slot::made(keys, bind, wall)?,
        };
        let mut named = Vec::new();
        for pair in &options.sni {
            named.push(Named {
                names: pair.names.clone(),
                slot: Slot::of_files(keys, &pair.certificate, &pair.key)?,
            });
        }
        Ok(Self {
            default,
            named,
            checked: Mutex::new(clock.now()),
            happened: Mutex::default(),
            clock,
            keys,
            reloads,
        })
    }

    /// Reads all files again now. Returns what happened since the last call, also of what was seen when somebody connected.
    pub(super) fn reload(&self) -> Reloaded {
        *lock(&self.checked) = self.clock.now();
        self.look();
        std::mem::take(&mut *lock(&self.happened))
    }

    /// Reads all files again if that was some time ago.
    fn refresh(&self) {
        let now = self.clock.now();
        {
            let mut checked = lock(&self.checked);
            if now.saturating_duration_since(*checked) < MAX_AGE {
                return;
            }
            // before reading, so that other connections go on with what there is
            *checked = now;
        }
        self.look();
    }

    fn look(&self) {
        let wall = self.clock.wall();
        for slot in self.slots() {
            for result in [slot.reread(self.keys), slot.renew(self.keys, wall)] {
                let (happened, result) = match result {
                    Ok(Change::None) => continue,
                    Ok(Change::Back) => (Reloaded::Changed, SUCCESS),
                    Ok(Change::New) => {
                        info!(certificate:% = slot; "use a new certificate for the endpoint");
                        (Reloaded::Changed, SUCCESS)
                    }
                    Err(error) => {
                        error!(error = chain(&error).as_str(); "keep the endpoint's old certificate: the new one cannot be used");
                        (Reloaded::Refused, ERROR)
                    }
                };
                self.reloads.with_label_values(&[result]).inc();
                self.remember(happened);
            }
        }
    }

    /// All is well only when nothing is refused any more.
    fn remember(&self, happened: Reloaded) {
        let is_refused = |slot: &Slot| lock(&slot.state).refused.is_some();
        if happened == Reloaded::Refused || !self.slots().any(is_refused) {
            *lock(&self.happened) = happened;
        }
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        std::iter::once(&self.default).chain(self.named.iter().map(|named| &named.slot))
    }

    /// The one for a name: names that were given win over patterns, and both over names found in certificates.
    fn choose(&self, name: Option<&str>) -> &Slot {
        let Some(name) = name else { return &self.default };
        let exact = |named: &&Named| named.names.iter().any(|given| given.eq_ignore_ascii_case(name));
        let pattern = |named: &&Named| named.names.iter().any(|given| matches(given, name));
        let inside = |named: &&Named| named.names.is_empty() && named.slot.is_for(name);
        let all = || self.named.iter();
        let found = all()
            .find(exact)
            .or_else(|| all().find(pattern))
            .or_else(|| all().find(inside));
        found.map_or(&self.default, |named| &named.slot)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.refresh();
        Some(self.choose(hello.server_name()).shown())
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificates")
    }
}

/// New versions, by result.
pub(super) fn reloads(metrics: &Metrics) -> IntCounterVec {
    let reloads = metrics.counters(
        "endpoint_certificate_reloads_total",
        "New versions of the endpoint's certificates, by whether they could be used.",
        &["result"],
    );
    for result in [SUCCESS, ERROR] {
        reloads.with_label_values(&[result]).reset();
    }
    reloads
}

/// What became of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    None,
    /// What is shown is on disk again, after something that was refused.
    Back,
    New,
}

impl Slot {
    fn of_files(keys: &dyn KeyProvider, certificate: &Path, key: &Path) -> Result<Self, CertificateError> {
        let files = Files {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        };
        let material = Material::read(&files)?;
        Ok(Self::new(
            material.pair(keys, &files)?,
            Some(files),
            None,
            material.fingerprint(),
        ))
    }

    /// The pair in `folder`; made there where there is none.
    fn of_folder(
        keys: &dyn KeyProvider,
        folder: &Path,
        bind: IpAddr,
        now: SystemTime,
    ) -> Result<Self, CertificateError> {
        let files = Files {
            certificate: folder.join(format!("{NAME}.crt")),
            key: folder.join(format!("{NAME}.key")),
        };
        let half = |exists: &PathBuf, missing: &PathBuf| CertificateError::Half {
            exists: exists.clone(),
            missing: missing.clone(),
        };
        match (files.certificate.exists(), files.key.exists()) {
            (true, true) => {}
            (true, false) => return Err(half(&files.certificate, &files.key)),
            (false, true) => return Err(half(&files.key, &files.certificate)),
            (false, false) => {
                let made = self_signed::make(bind, now).map_err(CertificateError::NotMade)?;
                files.keep(&made)?;
            }
        }
        let mut slot = Self::of_files(keys, &files.certificate, &files.key)?;
        slot.make_for = Some(bind);
        // one that was left there may be over
        slot.renew(keys, now)?;
        Ok(slot)
    }

    fn made(keys: &dyn KeyProvider, bind: IpAddr, now: SystemTime) -> Result<Self, CertificateError> {
        let made = self_signed::make(bind, now).map_err(CertificateError::NotMade)?;
        let material = Material::from(made);
        let pair = material.pair(keys, &Files::nowhere())?;
        Ok(Self::new(pair, None, Some(bind), material.fingerprint()))
    }

    fn new(shown: CertifiedKey, files: Option<Files>, make_for: Option<IpAddr>, fingerprint: u64) -> Self {
        Self {
            files,
            make_for,
            state: Mutex::new(State {
                renewal: renewal(&shown),
                shown: Arc::new(shown),
                fingerprint,
                refused: None,
            }),
        }
    }

    fn shown(&self) -> Arc<CertifiedKey> {
        Arc::clone(&lock(&self.state).shown)
    }

    /// Whether the certificate itself names `name`.
    fn is_for(&self, name: &str) -> bool {
        let shown = self.shown();
        let Ok(name) = ServerName::try_from(name) else {
            return false;
        };
        let certificate = shown.end_entity_cert().ok();
        let parsed = certificate.and_then(|certificate| ParsedCertificate::try_from(certificate).ok());
        parsed.is_some_and(|parsed| verify_server_name(&parsed, &name).is_ok())
    }

    /// Looks whether the files changed, and goes on with what they hold.
    fn reread(&self, keys: &dyn KeyProvider) -> Result<Change, CertificateError> {
        let Some(files) = &self.files else {
            return Ok(Change::None);
        };
        // twice: the one may have been read before the files were swapped, the other after
        let attempt = || self.attempt(keys, files);
        attempt().or_else(|_| attempt()).map_err(|(fingerprint, error)| {
            lock(&self.state).refused = Some(fingerprint);
            error
        })
    }

    fn attempt(&self, keys: &dyn KeyProvider, files: &Files) -> Result<Change, (u64, CertificateError)> {
        let read = Material::read(files);
        let fingerprint = match &read {
            Ok(material) => material.fingerprint(),
            Err(error) => fingerprint(&chain(error)),
        };
        {
            let mut state = lock(&self.state);
            if state.fingerprint == fingerprint {
                let back = state.refused.take();
                return Ok(back.map_or(Change::None, |_| Change::Back));
            }
            if state.refused == Some(fingerprint) {
                return Ok(Change::None);
            }
        }
        let pair = read.and_then(|material| material.pair(keys, files));
        self.show(pair.map_err(|error| (fingerprint, error))?, fingerprint);
        Ok(Change::New)
    }

    /// Makes another where the one that was made here grows old.
    fn renew(&self, keys: &dyn KeyProvider, now: SystemTime) -> Result<Change, CertificateError> {
        let Some(bind) = self.make_for else {
            return Ok(Change::None);
        };
        {
            let mut state = lock(&self.state);
            if state.renewal.is_none_or(|renewal| now < renewal) {
                return Ok(Change::None);
            }
            // should it fail, not at once again
            state.renewal = Some(now + RENEWAL_RETRY);
        }
        let made = self_signed::make(bind, now).map_err(CertificateError::NotMade)?;
        if let Some(files) = &self.files {
            files.keep(&made)?;
        }
        let material = Material::from(made);
        let pair = material.pair(keys, self.files.as_ref().unwrap_or(&Files::nowhere()))?;
        self.show(pair, material.fingerprint());
        Ok(Change::New)
    }

    fn show(&self, pair: CertifiedKey, fingerprint: u64) {
        *lock(&self.state) = State {
            renewal: renewal(&pair),
            shown: Arc::new(pair),
            fingerprint,
            refused: None,
        };
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.files {
            Some(files) => write!(f, "{}", files.certificate.display()),
            None => f.write_str("self-signed"),
        }
    }
}

impl Files {
    /// Of what is only in memory; errors about it would name these.
    fn nowhere() -> Self {
        Self {
            certificate: PathBuf::from("made in memory"),
            key: PathBuf::from("made in memory"),
        }
    }

    /// Writes both, the key for its owner only.
    fn keep(&self, made: &Made) -> Result<(), CertificateError> {
        if let Some(folder) = self.certificate.parent() {
            fs::create_dir_all(folder).map_err(|source| CertificateError::Unwritable {
                path: folder.to_owned(),
                source,
            })?;
        }
        replace(&self.key, &made.key, 0o600)?;
        replace(&self.certificate, &made.certificate, 0o644)
    }
}

/// Puts `text` in place of what `path` holds, all at once.
fn replace(path: &Path, text: &str, mode: u32) -> Result<(), CertificateError> {
    let new = path.with_extension("new");
    let written = fs::remove_file(&new)
        .or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })
        .and_then(|()| {
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&new)
        })
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&new, path));
    written.map_err(|source| CertificateError::Unwritable {
        path: path.to_owned(),
        source,
    })
}

/// Certificate and key as bytes in PEM.
#[derive(Hash)]
struct Material {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl From<Made> for Material {
    fn from(made: Made) -> Self {
        Self {
            certificate: made.certificate.into_bytes(),
            key: made.key.into_bytes(),
        }
    }
}

impl Material {
    fn read(files: &Files) -> Result<Self, CertificateError> {
        Ok(Self {
            certificate: read(CERTIFICATE, &files.certificate)?,
            key: read(KEY, &files.key)?,
        })
    }

    fn fingerprint(&self) -> u64 {
        fingerprint(self)
    }

    fn pair(&self, keys: &dyn KeyProvider, files: &Files) -> Result<CertifiedKey, CertificateError> {
        let unusable = |what, path: &Path, found: String| CertificateError::Unusable {
            what,
            path: path.to_owned(),
            found,
        };
        let bad_certificate = |found| unusable(CERTIFICATE, &files.certificate, found);
        let bad_key = |found: &str| unusable(KEY, &files.key, found.to_owned());
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<_, _>>()
            .map_err(|_| bad_certificate("it is not valid PEM".to_owned()))?;
        if chain.is_empty() {
            let length = self.certificate.len();
            return Err(bad_certificate(format!(
                "it holds no certificate in PEM ({length} bytes)"
            )));
        }
        // what is wrong with a key may quote it
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| bad_key("it holds no private key in PEM"))?;
        let key = keys
            .load_private_key(key)
            .map_err(|_| bad_key("it is no RSA, ECDSA (P-256, P-384) or Ed25519 key"))?;
        let pair = CertifiedKey::new(chain, key);
        match pair.keys_match() {
            Ok(()) => Ok(pair),
            Err(rustls::Error::InconsistentKeys(_)) => Err(CertificateError::Mismatch {
                certificate: files.certificate.clone(),
                key: files.key.clone(),
            }),
            Err(error) => Err(bad_certificate(error.to_string())),
        }
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, CertificateError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .and_then(|count| match count as u64 > MAX_BYTES {
            true => Err(io::ErrorKind::FileTooLarge.into()),
            false => Ok(bytes),
        })
        .map_err(|source| CertificateError::Unreadable {
            what,
            path: path.to_owned(),
            source,
        })
}

fn renewal(pair: &CertifiedKey) -> Option<SystemTime> {
    self_signed::renewal(pair.end_entity_cert().ok()?)
}

/// Whether `name` is one of those that `pattern` stands for: `*.suffix` for one label before it, `*` for one without any.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some("") => !name.contains('.'),
        Some(suffix) => name
            .find('.')
            .is_some_and(|dot| dot > 0 && name[dot..].eq_ignore_ascii_case(suffix)),
        None => false,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const CERTIFICATE: &str = "certificate";
const KEY: &str = "key";
const SUCCESS: &str = "success";
const ERROR: &str = "error";
/// When a certificate that could not be renewed is tried again; the old one is good for months.
const RENEWAL_RETRY: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests;
