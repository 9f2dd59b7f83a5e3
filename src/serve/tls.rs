//! TLS as the endpoint speaks it.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme, SupportedCipherSuite};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::certificates::Certificates;
use super::options::{Options, TlsVersion};

/// What there is of cipher suites and groups, less what `options` leave out. Suites of TLS 1.3 are left out only by a list that names
/// some of them: most lists were made for Go, where they cannot be chosen.
pub(super) fn provider(options: &Options) -> CryptoProvider {
    let mut provider = rustls::crypto::ring::default_provider();
    if !options.cipher_suites.is_empty() {
        let wanted = |suite: &SupportedCipherSuite| {
            let number = u16::from(suite.suite());
            options.cipher_suites.iter().any(|wanted| wanted.0 == number)
        };
        let newest = |suite: &SupportedCipherSuite| suite.tls13().is_some();
        let chooses = provider
            .cipher_suites
            .iter()
            .any(|suite| newest(suite) && wanted(suite));
        provider
            .cipher_suites
            .retain(|suite| wanted(suite) || (newest(suite) && !chooses));
    }
    if !options.curves.is_empty() {
        let all = std::mem::take(&mut provider.kx_groups);
        provider.kx_groups = options
            .curves
            .iter()
            .filter_map(|wanted| {
                all.iter()
                    .find(|group| u16::from(group.name()) == wanted.0)
                    .copied()
            })
            .collect();
    }
    provider
}

/// What every connection is served with.
///
/// # Errors
/// Nothing is left of suites or groups.
pub(super) fn server_config(
    provider: CryptoProvider,
    options: &Options,
    certificates: Arc<Certificates>,
) -> Result<ServerConfig, rustls::Error> {
    let algorithms = provider.signature_verification_algorithms;
    let versions: &[_] = match options.min_version {
        TlsVersion::V13 => &[&TLS13],
        TlsVersion::V12 => &[&TLS13, &TLS12],
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(Arc::new(Anybody(algorithms)))
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // nothing is kept of a client that is gone, its certificate least of all
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Asks for a client's certificate, demands none, and believes whoever holds its key. Who may read what is decided later, request by
/// request, by authorities that change.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ClientCertVerifier for Anybody {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
