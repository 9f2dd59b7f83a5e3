//! The transport with real sockets: the only place that knows ureq and rustls.
//!
//! It knows pools, deadlines, TLS, proxies and how to cancel; it does not retry, follow redirects or read bodies.

mod body;
mod connector;
mod pem;
mod resolver;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use ureq::AsSendBody;
use ureq::http::{HeaderName, HeaderValue, Uri};

use self::body::Body;
use self::connector::{AgentConnector, ConnectFailure, OnItsWay, peer_refused_us};
pub use self::pem::{Identity, Pem, Roots, SetupError};
use self::resolver::{CachingResolver, host_and_port};
use self::tls::{Shows, Tls};
use super::proxy::{ProxyRules, ProxyUrl, split_port};
use super::{Error, Limits, Method, Request, Response, Transport};
use crate::runtime::clock::{Clock, SystemClock};
use crate::runtime::reload::Reloaded;

/// How an [`Agent`] connects.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Sent with requests that bring none of their own, and to proxies.
    pub user_agent: String,
    /// Whom to trust.
    pub roots: Roots,
    /// What to show to servers that ask who we are.
    pub identity: Option<Identity>,
    /// The name to ask for and to verify, instead of the URL's host.
    pub server_name: Option<String>,
    /// Which targets are reached through a proxy.
    pub proxy: ProxyRules,
    /// Idle connections kept per host.
    pub max_idle: usize,
}

impl Settings {
    /// Direct connections that trust `roots`, and show no certificate.
    pub fn new(user_agent: impl Into<String>, roots: Roots) -> Self {
        Self {
            user_agent: user_agent.into(),
            roots,
            identity: None,
            server_name: None,
            proxy: ProxyRules::direct(),
            max_idle: 4,
        }
    }
}

/// Makes exchanges over HTTP/1.1, keeping connections for later ones. Each watch needs an agent of its own, for
/// [`Transport::shutdown`] is the only way to end one: see [`Agent::sibling`].
pub struct Agent {
    user_agent: String,
    proxy: ProxyRules,
    max_idle: usize,
    tls: Arc<Tls>,
    shows: Shows,
    resolver: CachingResolver,
    ureq: ureq::Agent,
    stopped: Arc<AtomicBool>,
}

impl Agent {
    /// Reads the files that `settings` names.
    ///
    /// # Errors
    /// One that cannot be read or used.
    pub fn new(settings: Settings) -> Result<Self, SetupError> {
        Self::with_clock(settings, Arc::new(SystemClock))
    }

    /// As [`Agent::new`], for tests that let certificate files age.
    ///
    /// # Errors
    /// One that cannot be read or used.
    pub fn with_clock(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        let tls = Tls::new(settings.roots, settings.identity, settings.server_name, clock)?;
        if HeaderValue::from_str(&settings.user_agent).is_err() {
            return Err(SetupError::UserAgent);
        }
        Ok(Self::assemble(
            settings.user_agent,
            settings.proxy,
            settings.max_idle,
            Arc::new(tls),
            Shows::Identity,
        ))
    }

    /// A new agent that connects in the same way and shares certificates and their rotation, but has its own
    /// connections and its own [`Transport::shutdown`].
    pub fn sibling(&self) -> Self {
        self.sibling_that(self.shows)
    }

    /// A sibling that shows no certificate: for requests that say in a header who we are. A server that knows the certificate
    /// would believe that one.
    pub fn nameless_sibling(&self) -> Self {
        self.sibling_that(Shows::Nothing)
    }

    fn sibling_that(&self, shows: Shows) -> Self {
        Self::assemble(
            self.user_agent.clone(),
            self.proxy.clone(),
            self.max_idle,
            Arc::clone(&self.tls),
            shows,
        )
    }

    /// Reads the certificate files again now rather than at the next chance. Bad ones are logged and ignored. Returns what
    /// happened since the last call, here or in a sibling. When they changed, idle connections are not used again.
    pub fn reload(&self) -> Reloaded {
        self.tls.reload()
    }

    /// Shows another certificate from the next connection on, here and in every sibling; connections made with the old
    /// one are not used for another exchange.
    ///
    /// # Errors
    /// A certificate that cannot be used; the old one goes on.
    pub fn set_identity(&self, identity: Option<Identity>) -> Result<(), SetupError> {
        self.tls.set(None, Some(identity))
    }

    /// Trusts others, as [`Agent::set_identity`] shows others.
    ///
    /// # Errors
    /// A certificate that cannot be used; the old ones go on.
    pub fn set_roots(&self, roots: Roots) -> Result<(), SetupError> {
        self.tls.set(Some(roots), None)
    }

    /// [`Agent::set_roots`] and [`Agent::set_identity`] at once.
    ///
    /// # Errors
    /// A certificate that cannot be used; all old ones go on.
    pub fn set_certificates(&self, roots: Roots, identity: Option<Identity>) -> Result<(), SetupError> {
        self.tls.set(Some(roots), Some(identity))
    }

    /// When the certificate ends that we show; `None` without one.
    pub fn certificate_expiry(&self) -> Option<SystemTime> {
        self.tls.expires()
    }

    fn assemble(user_agent: String, proxy: ProxyRules, max_idle: usize, tls: Arc<Tls>, shows: Shows) -> Self {
        let config = ureq::config::Config::builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(user_agent.as_str())
            .accept_encoding(ureq::config::AutoHeaderValue::None)
            .input_buffer_size(INPUT_BUFFER)
            .output_buffer_size(OUTPUT_BUFFER)
            .max_idle_connections(max_idle * 2)
            .max_idle_connections_per_host(max_idle)
            .max_idle_age(MAX_IDLE_AGE)
            .build();
        let resolver = CachingResolver::default();
        let connector = AgentConnector::new(Arc::clone(&tls), shows);
        Self {
            ureq: ureq::Agent::with_parts(config, connector, resolver.clone()),
            user_agent,
            proxy,
            max_idle,
            tls,
            shows,
            resolver,
            stopped: Arc::default(),
        }
    }

    /// What rustls says of a refusal leaves people guessing.
    fn with_expiry(&self, mut error: Error) -> Error {
        if let (Error::Tls { reason, .. }, Shows::Identity) = (&mut error, self.shows) {
            let expired = self.tls.expires().filter(|end| *end <= self.tls.clock().wall());
            if let Some(end) = expired {
                let end = humantime::format_rfc3339_seconds(end);
                reason.push_str(&format!("; our client certificate ended at {end}"));
            }
        }
        error
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    fn run(&self, request: &Request, uri: &Uri) -> Result<Response, Failed> {
        let proxy = self.proxy_for(uri)?;
        let mut head = ureq::http::Request::builder()
            .method(request.method().as_str())
            .uri(uri.clone());
        for (name, value) in &request.headers {
            // the value may be secret: only the name is told
            let invalid =
                |what: &str| Failed::Invalid(format!("the {what} of header {name:?} cannot be sent"));
            let value = HeaderValue::from_str(value).map_err(|_| invalid("value"))?;
            let name = HeaderName::try_from(name.as_str()).map_err(|_| invalid("name"))?;
            head = head.header(name, value);
        }
        let limits = request.limits;
        let answer = match (&request.body, request.method()) {
            (None, Method::Get | Method::Delete) => self.send(head.body(())?, limits, proxy)?,
            // the other verbs always have a body, if an empty one
            (body, _) => self.send(head.body(body.as_deref().unwrap_or_default())?, limits, proxy)?,
        };
        let (head, body) = answer.into_parts();
        let reader = body.into_reader();
        let stopped = Arc::clone(&self.stopped);
        Ok(Response {
            status: head.status.as_u16(),
            headers: head
                .headers
                .iter()
                .map(|(name, value)| {
                    (
                        name.to_string(),
                        String::from_utf8_lossy(value.as_bytes()).into_owned(),
                    )
                })
                .collect(),
            body: Box::new(Body::new(reader, limits.silence, limits.body, stopped)),
        })
    }

    fn send(
        &self,
        request: ureq::http::Request<impl AsSendBody>,
        limits: Limits,
        proxy: Option<ureq::Proxy>,
    ) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let request = self
            .ureq
            .configure_request(request)
            .proxy(proxy)
            .timeout_connect(Some(limits.connect))
            .timeout_send_request(Some(limits.head))
            .timeout_send_body(Some(limits.head))
            .timeout_recv_response(Some(limits.head))
            .timeout_per_read(Some(limits.silence))
            .timeout_recv_body(limits.body)
            .build();
        self.ureq.run(request)
    }

    fn proxy_for(&self, uri: &Uri) -> Result<Option<ureq::Proxy>, Failed> {
        let (host, port) = host_and_port(uri);
        let https = uri.scheme_str() == Some("https");
        self.proxy
            .decide(https, host, port)
            .map(|proxy| {
                build_proxy(proxy).map_err(|_| Failed::Invalid(format!("the proxy {proxy} cannot be used")))
            })
            .transpose()
    }
}

impl Transport for Agent {
    fn exchange(&self, request: &Request) -> Result<Response, Error> {
        let uri = parse_url(&request.url)?;
        // connections made with certificates that were replaced meanwhile are not used again
        self.tls.refresh(CERTIFICATE_POLL);
        if self.is_stopped() {
            return Err(Error::Stopped);
        }
        if !request.is_permitted() {
            return Err(Error::NotPermitted);
        }
        let _current = OnItsWay::set(request.permit.clone());
        self.run(request, &uri).map_err(|failed| {
            let (host, port) = host_and_port(&uri);
            let peer = format!("{host}:{port}");
            match failed {
                _ if self.is_stopped() => Error::Stopped,
                Failed::Invalid(reason) => Error::Invalid { reason },
                Failed::Ureq(error) => {
                    let error = failure(peer, error, request.limits);
                    if matches!(error, Error::Connect { .. }) {
                        self.resolver.forget(host);
                    }
                    self.with_expiry(error)
                }
            }
        })
    }

    fn shutdown(&self) {
        // first the flag: whoever is woken asks it why
        self.stopped.store(true, Ordering::SeqCst);
        self.ureq.clone().shutdown();
    }
}

enum Failed {
    Invalid(String),
    Ureq(ureq::Error),
}

impl From<ureq::Error> for Failed {
    fn from(error: ureq::Error) -> Self {
        Self::Ureq(error)
    }
}

impl From<ureq::http::Error> for Failed {
    fn from(error: ureq::http::Error) -> Self {
        Self::Invalid(error.to_string())
    }
}

/// What `error` means for the caller. Whatever failed before a connection was there comes as a [`ConnectFailure`].
fn failure(peer: String, error: ureq::Error, limits: Limits) -> Error {
    let source = match error {
        ureq::Error::Other(inner) => match inner.downcast::<ConnectFailure>() {
            Ok(failure) => {
                return match *failure {
                    ConnectFailure::Socket(source) => Error::Connect { peer, source },
                    ConnectFailure::Tls(reason) => Error::Tls { peer, reason },
                    ConnectFailure::NotPermitted => Error::NotPermitted,
                };
            }
            Err(other) => io::Error::other(other),
        },
        ureq::Error::Io(e) => match peer_refused_us(&e) {
            Some(reason) => return Error::Tls { peer, reason },
            None => e,
        },
        ureq::Error::Timeout(_) => {
            io::Error::new(io::ErrorKind::TimedOut, format!("not within {:?}", limits.head))
        }
        other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
    };
    Error::NoAnswer { peer, source }
}

fn parse_url(url: &str) -> Result<Uri, Error> {
    let invalid = |reason: String| Error::Invalid { reason };
    let uri: Uri = url
        .parse()
        .map_err(|_| invalid(format!("{url:?} is not a URL")))?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        // not quoted: it may hold a password
        return Err(invalid("a URL with a user in it".to_owned()));
    }
    let (host, port) = split_port(authority);
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok());
    match uri.scheme_str() {
        Some("http" | "https") if !host.is_empty() && is_port => Ok(uri),
        _ => Err(invalid(format!("{url:?} is not an absolute http or https URL"))),
    }
}

fn build_proxy(proxy: &ProxyUrl) -> Result<ureq::Proxy, ureq::Error> {
    let host = match proxy.host.contains(':') {
        true => format!("[{}]", proxy.host),
        false => proxy.host.clone(),
    };
    let mut builder = ureq::Proxy::builder(ureq::ProxyProtocol::Http)
        .host(&host)
        .port(proxy.port);
    if let Some((user, password)) = &proxy.credentials {
        builder = builder.username(user).password(password.expose());
    }
    builder.build()
}

/// Half of ureq's memory per connection is these. The first also bounds an answer's head. Source: dependencies.md.
const INPUT_BUFFER: usize = 16 << 10;
const OUTPUT_BUFFER: usize = 4 << 10;
/// The API server closes idle connections after 90 s. Source: kube-client.md 2.2.
const MAX_IDLE_AGE: Duration = Duration::from_secs(60);
/// How long a busy connection may go on before certificate files are looked at. Source: kube-client.md 2.3.
const CERTIFICATE_POLL: Duration = Duration::from_secs(60);
