//! The TLS configuration of an agent and its siblings, and its rotation.
//!
//! Files are read again when a connection is made, at most once a second. A version that cannot be used (empty, half
//! written, a certificate without its key) is logged once and ignored; the old one goes on.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::pem::{
    Identity, Roots, SetupError, bad_identity, end_of_life, parse_anchors, parse_identity, read_identity,
    read_roots, system_anchors,
};
use crate::runtime::clock::Clock;
use crate::runtime::reload::Reloaded;
use crate::runtime::{chain, fingerprint};

/// What connections are made with, now.
pub(super) struct Tls {
    server_name: Option<ServerName<'static>>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Held while new certificates are read that somebody wants used, so that nobody's are lost.
    setting: Mutex<()>,
}

/// What a connection shows of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shows {
    /// The certificate, if there is one.
    Identity,
    /// Nothing, for whoever says in another way who it is.
    Nothing,
}

struct State {
    sources: Sources,
    /// `None` when nobody is trusted.
    built: Option<Built>,
    /// As `built`, but without the identity; made when it is first wanted.
    nameless: Option<Arc<ClientConfig>>,
    /// Goes up with each new configuration.
    generation: u64,
    /// Of the bytes in use.
    fingerprint: u64,
    /// Of the bytes last found unusable, or of the error in reading them.
    refused: Option<u64>,
    checked: Instant,
    /// What nobody has asked for yet.
    news: Reloaded,
}

/// Where certificates come from.
#[derive(Clone, PartialEq, Eq)]
struct Sources {
    roots: Roots,
    identity: Option<Identity>,
}

/// What became of them.
struct Built {
    config: Arc<ClientConfig>,
    /// When our certificate ends.
    expires: Option<SystemTime>,
}

impl Tls {
    pub(super) fn new(
        roots: Roots,
        identity: Option<Identity>,
        server_name: Option<String>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SetupError> {
        let server_name = match server_name {
            None => None,
            Some(name) => {
                Some(ServerName::try_from(name.clone()).map_err(|_| SetupError::ServerName { name })?)
            }
        };
        let sources = Sources { roots, identity };
        let material = Material::read(&sources)?;
        let built = material.build(&sources)?;
        let state = Mutex::new(State {
            sources,
            built,
            nameless: None,
            generation: 0,
            fingerprint: material.fingerprint(),
            refused: None,
            checked: clock.now(),
            news: Reloaded::Unchanged,
        });
        Ok(Self {
            server_name,
            clock,
            state,
            setting: Mutex::default(),
        })
    }

    /// The configuration for a new connection and its generation, from files as they are now.
    pub(super) fn for_handshake(&self, shows: Shows) -> Option<(Arc<ClientConfig>, u64)> {
        self.refresh(HANDSHAKE_CACHE);
        let mut state = self.lock();
        let config = match shows {
            Shows::Identity => Arc::clone(&state.built.as_ref()?.config),
            Shows::Nothing => state.nameless()?,
        };
        Some((config, state.generation))
    }

    /// The name to verify when connecting to `host`; `None` when it is none.
    pub(super) fn server_name(&self, host: &str) -> Option<ServerName<'static>> {
        match &self.server_name {
            Some(name) => Some(name.clone()),
            None => ServerName::try_from(host.to_owned()).ok(),
        }
    }

    /// Connections of an older generation are not used for another exchange.
    pub(super) fn generation(&self) -> u64 {
        self.lock().generation
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// When the certificate that is shown ends.
    pub(super) fn expires(&self) -> Option<SystemTime> {
        self.lock().built.as_ref()?.expires
    }

    /// Reads the files again now. Returns what happened since the last call.
    pub(super) fn reload(&self) -> Reloaded {
        self.refresh(Duration::ZERO);
        std::mem::take(&mut self.lock().news)
    }

    /// Reads the files again if that was `max_age` ago.
    pub(super) fn refresh(&self, max_age: Duration) {
        let sources = {
            let (now, mut state) = (self.clock.now(), self.lock());
            if now.saturating_duration_since(state.checked) < max_age {
                return;
            }
            // before reading, so that other threads go on with what there is
            state.checked = now;
            state.sources.clone()
        };
        let read = Material::read(&sources);
        let fingerprint = match &read {
            Ok(material) => material.fingerprint(),
            Err(error) => fingerprint(&error.to_string()),
        };
        {
            let mut state = self.lock();
            if state.sources != sources || state.refused == Some(fingerprint) {
                return;
            }
            if state.fingerprint == fingerprint {
                if state.refused.take().is_some() {
                    state.news = Reloaded::Changed;
                }
                return;
            }
        }
        let built = read.and_then(|material| material.build(&sources));
        let mut state = self.lock();
        match built {
            // somebody else's are used meanwhile
            _ if state.sources != sources => {}
            Ok(built) => {
                log::info!(roots:? = sources.roots; "use new certificates for TLS connections");
                state.replace(built, fingerprint);
                state.news = Reloaded::Changed;
            }
            Err(error) => {
                log::error!(error = chain(&error).as_str(); "keep the old certificates: the new ones cannot be used");
                state.refused = Some(fingerprint);
                state.news = Reloaded::Refused;
            }
        }
    }

    /// Uses other certificates from the next connection on; `None` leaves what is there.
    pub(super) fn set(
        &self,
        roots: Option<Roots>,
        identity: Option<Option<Identity>>,
    ) -> Result<(), SetupError> {
        let _setting = self.setting.lock().expect("no setter of certificates panics");
        let mut sources = self.lock().sources.clone();
        sources.roots = roots.unwrap_or(sources.roots);
        sources.identity = identity.unwrap_or(sources.identity);
        let material = Material::read(&sources)?;
        let built = material.build(&sources)?;
        let mut state = self.lock();
        if state.refused.is_some() {
            state.news = Reloaded::Changed;
        }
        state.sources = sources;
        state.replace(built, material.fingerprint());
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the TLS state panics")
    }
}

impl State {
    fn replace(&mut self, built: Option<Built>, fingerprint: u64) {
        self.built = built;
        self.nameless = None;
        self.generation += 1;
        self.fingerprint = fingerprint;
        self.refused = None;
    }

    fn nameless(&mut self) -> Option<Arc<ClientConfig>> {
        if self.nameless.is_none() {
            let mut config = ClientConfig::clone(&self.built.as_ref()?.config);
            config.client_auth_cert_resolver = Arc::new(NoIdentity);
            // a session that is resumed has the identity it began with
            config.resumption = Resumption::disabled();
            self.nameless = Some(Arc::new(config));
        }
        self.nameless.clone()
    }
}

#[derive(Debug)]
struct NoIdentity;

impl ResolvesClientCert for NoIdentity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// Everything that can change, as bytes.
#[derive(Hash)]
struct Material {
    roots: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Material {
    fn read(sources: &Sources) -> Result<Self, SetupError> {
        Ok(Self {
            roots: read_roots(&sources.roots)?,
            identity: sources.identity.as_ref().map(read_identity).transpose()?,
        })
    }

    fn fingerprint(&self) -> u64 {
        fingerprint(self)
    }

    fn build(&self, sources: &Sources) -> Result<Option<Built>, SetupError> {
        let anchors = match (&sources.roots, &self.roots) {
            (Roots::Pem(pem), Some(bytes)) => parse_anchors(pem, bytes)?,
            (Roots::System, _) => system_anchors()?,
            _ => return Ok(None),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(anchors.store, Arc::clone(&provider))
            .build()
            .expect("anchors are not empty, and there is no revocation list to be wrong");
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .expect("ring knows both versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier {
                webpki: verifier,
                pinned: anchors.pinned,
            }));
        let mut expires = None;
        let mut config = match (&sources.identity, &self.identity) {
            (Some(identity), Some((certificate, key))) => {
                let (chain, key) = parse_identity(identity, certificate, key)?;
                expires = chain.first().and_then(end_of_life);
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|e| bad_identity(identity, &e))?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let config = Arc::new(config);
        Ok(Some(Built { config, expires }))
    }
}

/// The usual rules, and one more: a certificate that was configured as an authority may be shown by the server itself.
///
/// `openssl req -x509` makes such certificates, and webpki refuses an authority at the end of a chain. Whoever can prove
/// to hold its key could sign a certificate for any name, so nothing is lost by not looking at the name. Validity
/// is still checked: webpki looks at it first.
#[derive(Debug)]
struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    pinned: Arc<[CertificateDer<'static>]>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self
            .webpki
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        {
            // webpki's "CA used as end entity" arrives as Other
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_)))
                if self.pinned.iter().any(|pinned| pinned == end_entity) =>
            {
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// How old a reading of the files may be when a connection is made. Source: kube-client.md 2.3.
const HANDSHAKE_CACHE: Duration = Duration::from_secs(1);
