//! For tests of this crate: authorities, and servers on loopback that do what a script says.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{Error, Request, Response, Transport};

/// A certificate and its key in PEM.
pub(crate) struct Leaf {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A certificate authority.
pub(crate) struct Ca {
    pub(crate) certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        Self::with(name, |_| {})
    }

    pub(crate) fn with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (mut params, key) = Self::params(name);
        change(&mut params);
        let certificate = params.self_signed(&key).unwrap().pem();
        Self {
            certificate,
            issuer: Issuer::new(params, key),
        }
    }

    /// One that this one vouches for.
    pub(crate) fn subordinate(&self, name: &str) -> Self {
        let (params, key) = Self::params(name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Self {
            certificate,
            issuer: Issuer::new(params, key),
        }
    }

    fn params(name: &str) -> (CertificateParams, KeyPair) {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params, KeyPair::generate().unwrap())
    }

    /// A certificate for `names` (host names or addresses).
    pub(crate) fn issue(&self, names: &[&str]) -> Leaf {
        self.issue_with(names, |_| {})
    }

    pub(crate) fn issue_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "leaf");
        change(&mut params);
        Leaf {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

/// What `openssl req -x509` makes: an authority that servers show as their own certificate.
pub(crate) fn self_signed_authority(change: impl FnOnce(&mut CertificateParams)) -> Leaf {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    Leaf {
        certificate: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

/// A server's side of TLS that shows `leaf`; with `clients`, it demands a certificate of that authority.
pub(crate) fn server_config(leaf: &Leaf, clients: Option<&Ca>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_slice(ca.certificate.as_bytes()).unwrap())
                .unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
    builder.with_single_cert(chain, key).unwrap()
}

/// A connection as a server's script sees it.
pub(crate) trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// Listens on loopback; `script` gets each connection and its number, from 0. Its errors (the client hung up) are
/// nobody's business.
pub(crate) fn listen(
    script: impl Fn(TcpStream, usize) -> io::Result<()> + Send + Sync + 'static,
) -> SocketAddr {
    listen_on("127.0.0.1:0", script).unwrap()
}

pub(crate) fn listen_on(
    address: &str,
    script: impl Fn(TcpStream, usize) -> io::Result<()> + Send + Sync + 'static,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let script = Arc::new(script);
    spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (Ok(stream), script) = (stream, Arc::clone(&script)) else {
                continue;
            };
            spawn(move || drop(script(stream, number)));
        }
    });
    Ok(address)
}

/// As [`listen`], with TLS as `config` says at each connection.
pub(crate) fn listen_tls(
    config: &Arc<Mutex<Arc<ServerConfig>>>,
    script: impl Fn(&mut dyn Stream, usize) -> io::Result<()> + Send + Sync + 'static,
) -> SocketAddr {
    let config = Arc::clone(config);
    listen(move |socket, number| serve_tls(&config, socket, |stream| script(stream, number)))
}

pub(crate) fn serve_tls(
    config: &Mutex<Arc<ServerConfig>>,
    socket: TcpStream,
    script: impl FnOnce(&mut dyn Stream) -> io::Result<()>,
) -> io::Result<()> {
    let session = ServerConnection::new(Arc::clone(&config.lock().unwrap())).unwrap();
    let mut stream = StreamOwned::new(session, socket);
    script(&mut stream)?;
    stream.conn.send_close_notify();
    stream.flush()
}

/// Waits without end for the client to hang up.
pub(crate) fn hang(stream: &mut dyn Stream) -> io::Result<()> {
    while stream.read(&mut [0; 64])? > 0 {}
    Ok(())
}

/// Reads one request: its head, and its body as its length says.
pub(crate) fn read_request(stream: &mut dyn Stream) -> io::Result<String> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let head = String::from_utf8(request).unwrap();
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.trim().parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(head + &String::from_utf8(body).unwrap())
}

/// An answer with its length.
pub(crate) fn answer(status: u16, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Answers every request on a connection with `body`.
pub(crate) fn keep_answering(stream: &mut dyn Stream, body: &str) -> io::Result<()> {
    loop {
        read_request(stream)?;
        stream.write_all(answer(200, body).as_bytes())?;
    }
}

pub(crate) fn spawn(body: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().spawn(body).unwrap();
}

/// A transport that gives prepared answers in order and keeps the requests.
#[derive(Default)]
pub(crate) struct Scripted {
    answers: Mutex<Vec<Result<Response, Error>>>,
    requests: Mutex<Vec<Request>>,
}

impl Scripted {
    pub(crate) fn new(answers: Vec<Result<Response, Error>>) -> Arc<Self> {
        Arc::new(Self {
            answers: Mutex::new(answers),
            requests: Mutex::default(),
        })
    }

    /// What was asked so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Transport for Scripted {
    fn exchange(&self, request: &Request) -> Result<Response, Error> {
        self.requests.lock().unwrap().push(request.clone());
        self.answers.lock().unwrap().remove(0)
    }

    fn shutdown(&self) {}
}
