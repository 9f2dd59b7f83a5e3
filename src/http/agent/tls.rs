//! The TLS configuration of an agent and its siblings, and its rotation.
//!
//! Files are read again when a connection is made, at most once a second. A version that cannot be used (empty, half
//! written, a certificate without its key) is logged once and ignored; the old one goes on.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::pem::{
    Anchors, Identity, Roots, SetupError, bad_identity, parse_anchors, parse_identity, read_identity,
    read_roots, system_anchors,
};
use crate::runtime::chain;
use crate::runtime::clock::Clock;

/// What connections are made with, now.
pub(super) struct Tls {
    roots: Roots,
    /// Only for [`Roots::System`], which is read once.
    system: Option<Anchors>,
    server_name: Option<ServerName<'static>>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    identity: Option<Identity>,
    /// `None` when nobody is trusted.
    config: Option<Arc<ClientConfig>>,
    /// Goes up with each new configuration.
    generation: u64,
    /// Of the bytes in use.
    fingerprint: u64,
    /// Of the bytes last found unusable, or of the error in reading them.
    refused: Option<u64>,
    checked: Instant,
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
        let system = match roots {
            Roots::System => Some(system_anchors()?),
            Roots::Nobody | Roots::Pem(_) => None,
        };
        let material = Material::read(&roots, identity.as_ref())?;
        let config = material.build(&roots, system.as_ref(), identity.as_ref())?;
        let state = Mutex::new(State {
            identity,
            config,
            generation: 0,
            fingerprint: material.fingerprint(),
            refused: None,
            checked: clock.now(),
        });
        Ok(Self {
            roots,
            system,
            server_name,
            clock,
            state,
        })
    }

    /// The configuration for a new connection and its generation, from files as they are now.
    pub(super) fn for_handshake(&self) -> Option<(Arc<ClientConfig>, u64)> {
        self.refresh(HANDSHAKE_CACHE);
        let state = self.lock();
        Some((state.config.clone()?, state.generation))
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

    /// Reads the files again if that was `max_age` ago. Returns whether they changed, and can be used.
    pub(super) fn refresh(&self, max_age: Duration) -> bool {
        let identity = {
            let (now, mut state) = (self.clock.now(), self.lock());
            if now.saturating_duration_since(state.checked) < max_age {
                return false;
            }
            // before reading, so that other threads go on with what there is
            state.checked = now;
            state.identity.clone()
        };
        let read = Material::read(&self.roots, identity.as_ref());
        let fingerprint = match &read {
            Ok(material) => material.fingerprint(),
            Err(error) => hash(&error.to_string()),
        };
        {
            let state = self.lock();
            if state.fingerprint == fingerprint || state.refused == Some(fingerprint) {
                return false;
            }
        }
        let built = read.and_then(|m| m.build(&self.roots, self.system.as_ref(), identity.as_ref()));
        let mut state = self.lock();
        match built {
            Ok(_) if state.identity != identity => false,
            Ok(config) => {
                log::info!(roots:? = self.roots; "use new certificates for TLS connections");
                state.replace(config, fingerprint);
                true
            }
            Err(error) => {
                state.refused = Some(fingerprint);
                log::warn!(error = chain(&error).as_str(); "keep the old certificates: the new ones cannot be used");
                false
            }
        }
    }

    pub(super) fn set_identity(&self, identity: Option<Identity>) -> Result<(), SetupError> {
        let material = Material::read(&self.roots, identity.as_ref())?;
        let config = material.build(&self.roots, self.system.as_ref(), identity.as_ref())?;
        let mut state = self.lock();
        state.identity = identity;
        state.replace(config, material.fingerprint());
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the TLS state panics")
    }
}

impl State {
    fn replace(&mut self, config: Option<Arc<ClientConfig>>, fingerprint: u64) {
        self.config = config;
        self.generation += 1;
        self.fingerprint = fingerprint;
        self.refused = None;
    }
}

/// Everything that can change, as bytes.
#[derive(Hash)]
struct Material {
    roots: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Material {
    fn read(roots: &Roots, identity: Option<&Identity>) -> Result<Self, SetupError> {
        Ok(Self {
            roots: read_roots(roots)?,
            identity: identity.map(read_identity).transpose()?,
        })
    }

    fn fingerprint(&self) -> u64 {
        hash(self)
    }

    fn build(
        &self,
        roots: &Roots,
        system: Option<&Anchors>,
        identity: Option<&Identity>,
    ) -> Result<Option<Arc<ClientConfig>>, SetupError> {
        let anchors = match (roots, &self.roots) {
            (Roots::Pem(pem), Some(bytes)) => parse_anchors(pem, bytes)?,
            _ => match system {
                Some(anchors) => anchors.clone(),
                None => return Ok(None),
            },
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
        let mut config = match (identity, &self.identity) {
            (Some(identity), Some((certificate, key))) => {
                let (chain, key) = parse_identity(identity, certificate, key)?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|e| bad_identity(identity, &e))?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Arc::new(config)))
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
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
