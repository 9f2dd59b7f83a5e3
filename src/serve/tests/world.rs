//! An endpoint on loopback, and a client of it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, bounded};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    SupportedProtocolVersion,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::http::testing::{Leaf, spawn};
use crate::metrics::Metrics;
use crate::runtime::clock::ManualClock;
use crate::runtime::stop::Stop;
use crate::serve::{
    Answer, Authentication, Authorization, Certificate, Checks, Guard, Incoming, Options, PATIENCE, Pages,
    Reloader, RequestHeader, Server, TlsVersion,
};

/// Longer than anything takes.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// On any port of loopback, self-signed, everything else as by default.
pub(crate) fn options() -> Options {
    Options {
        address: [127, 0, 0, 1].into(),
        port: 0,
        share_port: false,
        certificate: Certificate::SelfSigned,
        sni: Vec::new(),
        min_version: TlsVersion::V12,
        cipher_suites: Vec::new(),
        curves: Vec::new(),
        authentication: Authentication {
            kubeconfig: None,
            skip_lookup: true,
            tolerate_lookup_failure: false,
            token_ttl: Duration::ZERO,
            client_ca_file: None,
            request_header: RequestHeader {
                client_ca_file: None,
                username_headers: Vec::new(),
                group_headers: Vec::new(),
                uid_headers: Vec::new(),
                extra_headers_prefixes: Vec::new(),
                allowed_names: Vec::new(),
            },
        },
        authorization: Authorization {
            kubeconfig: None,
            always_allow: Vec::new(),
            authorized_ttl: Duration::ZERO,
            unauthorized_ttl: Duration::ZERO,
        },
    }
}

pub(crate) fn pages(metrics: &Metrics) -> Pages {
    Pages {
        checks: Arc::new(Checks::new()),
        metrics: metrics.clone(),
        configz: Box::new(|| "{}".to_owned()),
        status: Box::new(|| "all is well\n".to_owned()),
        set_verbosity: Some(Box::new(|value| match value {
            "4" => Ok(()),
            _ => Err("not 4".to_owned()),
        })),
    }
}

pub(crate) fn clock() -> ManualClock {
    ManualClock::new(UNIX_EPOCH + Duration::from_secs(1_800_000_000))
}

/// A request as a guard saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) request: String,
    pub(crate) host: Option<Vec<u8>>,
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    pub(crate) peer: SocketAddr,
}

/// Lets everybody read everything but `/configz`, and remembers what it saw.
#[derive(Default)]
pub(crate) struct Porter(pub(crate) Mutex<Vec<Seen>>);

impl Guard for Porter {
    fn admit(&self, request: &Incoming<'_>, _now: Instant) -> Result<(), Answer> {
        self.0.lock().unwrap().push(Seen {
            request: format!("{} {} {}", request.method, request.path, request.query),
            host: request.header("HOST").map(<[u8]>::to_vec),
            certificates: request.client_certificates.to_vec(),
            peer: request.peer,
        });
        match request.path {
            "/configz" => Err(Answer::failure(403, "Forbidden", "not for you").with("X-Why", "test")),
            _ => Ok(()),
        }
    }
}

/// An endpoint that runs until it is dropped.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Metrics,
    pub(crate) porter: Arc<Porter>,
    pub(crate) clock: ManualClock,
    pub(crate) reloader: Reloader,
    pub(crate) stop: Stop,
    ended: Receiver<()>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(&options())
    }

    pub(crate) fn with(options: &Options) -> Self {
        Self::within(PATIENCE, options, |_| {})
    }

    pub(crate) fn within(patience: Duration, options: &Options, change: impl FnOnce(&mut Pages)) -> Self {
        let (metrics, clock, porter) = (Metrics::new(), clock(), Arc::new(Porter::default()));
        let mut pages = pages(&metrics);
        change(&mut pages);
        let guard: Arc<dyn Guard> = Arc::clone(&porter) as _;
        let server =
            Server::bind_within(patience, options, pages, guard, &metrics, Arc::new(clock.clone())).unwrap();
        let (stop, (ends, ended)) = (Stop::new(), bounded(1));
        let (address, reloader, token) = (server.local_addr(), server.reloader(), stop.token());
        spawn(move || {
            server.run(&token);
            drop(ends);
        });
        Self {
            address,
            metrics,
            porter,
            clock,
            reloader,
            stop,
            ended,
        }
    }

    /// Waits until the thread that accepts has ended.
    pub(crate) fn wait_until_ended(&self) {
        let ended = self.ended.recv_timeout(LONG);
        assert_eq!(ended, Err(crossbeam_channel::RecvTimeoutError::Disconnected));
    }

    /// The value of a line of `/metrics`; 0 where there is none.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.metrics.text();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until a line of `/metrics` shows at least so much.
    pub(crate) fn wait_for_metric(&self, name: &str, least: u64) {
        let deadline = Instant::now() + LONG;
        while self.metric(name) < least {
            assert!(
                Instant::now() < deadline,
                "{name} {least}: {}",
                self.metrics.text()
            );
            std::thread::yield_now();
        }
    }

    /// Sends `request` over TLS, and reads until the other end says that it is done.
    pub(crate) fn ask(&self, request: &str) -> Reply {
        let mut stream = connect(self.address, client(), "localhost");
        stream.write_all(request.as_bytes()).unwrap();
        Reply::read(&mut stream).unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"))
    }

    /// The certificate shown to one who asks for `name`.
    pub(crate) fn shown(&self, name: &str) -> CertificateDer<'static> {
        let mut stream = connect(self.address, client(), name);
        stream.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
        Reply::read(&mut stream).unwrap();
        stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

/// An answer as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    /// Reads to the end. A connection that is not ended by TLS's own goodbye is an error.
    pub(crate) fn read(stream: &mut impl Read) -> io::Result<Self> {
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).unwrap();
        Ok(Self {
            status: status.parse().unwrap(),
            head: head.to_owned(),
            body: body.to_owned(),
        })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|(found, _)| *found == name).map(|(_, value)| value)
    }
}

pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

pub(crate) fn connect(address: SocketAddr, config: ClientConfig, name: &str) -> Tls {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    socket.set_write_timeout(Some(LONG)).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), socket)
}

/// Trusts any server and shows nothing.
pub(crate) fn client() -> ClientConfig {
    client_of(&[&rustls::version::TLS13, &rustls::version::TLS12], |_| {})
}

pub(crate) fn client_of(
    versions: &[&'static SupportedProtocolVersion],
    change: impl FnOnce(&mut rustls::crypto::CryptoProvider),
) -> ClientConfig {
    builder(versions, change).with_no_client_auth()
}

/// Shows `leaf`.
pub(crate) fn client_with(versions: &[&'static SupportedProtocolVersion], leaf: &Leaf) -> ClientConfig {
    builder(versions, |_| {})
        .with_client_auth_cert(vec![der(leaf)], key(leaf))
        .unwrap()
}

/// Shows a certificate with another one's key.
pub(crate) fn client_with_stolen(certificate: &Leaf, other: &Leaf) -> ClientConfig {
    let provider = rustls::crypto::ring::default_provider();
    let key = provider.key_provider.load_private_key(key(other)).unwrap();
    let pair = rustls::sign::CertifiedKey::new(vec![der(certificate)], key);
    builder(&[&rustls::version::TLS13], |_| {})
        .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair)))
}

fn builder(
    versions: &[&'static SupportedProtocolVersion],
    change: impl FnOnce(&mut rustls::crypto::CryptoProvider),
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let mut provider = rustls::crypto::ring::default_provider();
    change(&mut provider);
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
}

pub(crate) fn der(leaf: &Leaf) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap()
}

fn key(leaf: &Leaf) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap()
}

/// Writes `leaf` into `folder` and names the files.
pub(crate) fn files(folder: &Path, leaf: &Leaf) -> Certificate {
    std::fs::write(folder.join("tls.crt"), &leaf.certificate).unwrap();
    std::fs::write(folder.join("tls.key"), &leaf.key).unwrap();
    Certificate::Files {
        certificate: folder.join("tls.crt"),
        key: folder.join("tls.key"),
    }
}

pub(crate) fn in_days(days: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + days * 24 * 3600)
}

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signed, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
