//! Connections: TCP, perhaps through a proxy, perhaps with TLS.
//!
//! What ureq's own connector does not do: say whether a failure came before the first byte of a request, verify
//! another name than the URL's, and tell a body that ended from one that was cut.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{AlertDescription, ClientConnection, StreamOwned};
use ureq::Timeout;
use ureq::unversioned::transport::time as ureq_time;
use ureq::unversioned::transport::{
    Buffers, ChainedConnector, ConnectProxyConnector, ConnectionDetails, Connector, LazyBuffers, NextTimeout,
    Transport, TransportAdapter,
};

use super::resolver::host_and_port;
use super::tcp::TcpConnector;
use super::tls::{Shows, Tls};
use crate::runtime::gate::Permit;

/// No connection: nothing of the request was sent.
#[derive(Debug)]
pub(super) enum ConnectFailure {
    /// Name, TCP, proxy, or a TLS handshake that broke off or took too long.
    Socket(io::Error),
    /// The certificate, or the lack of a common protocol.
    Tls(String),
    /// The request may no longer be sent.
    NotPermitted,
}

impl ConnectFailure {
    /// As ureq passes it on.
    pub(super) fn socket(error: io::Error) -> ureq::Error {
        ureq::Error::Other(Box::new(Self::Socket(error)))
    }

    fn tls(reason: impl Into<String>) -> ureq::Error {
        ureq::Error::Other(Box::new(Self::Tls(reason.into())))
    }

    /// Whatever failed while connecting; one that is marked already stays as it is.
    fn mark(error: ureq::Error) -> ureq::Error {
        match error {
            ureq::Error::Other(inner) if inner.is::<Self>() => ureq::Error::Other(inner),
            ureq::Error::Io(e) => match rustls_error(&e) {
                Some(e) => Self::tls(e.to_string()),
                None => Self::socket(e),
            },
            ureq::Error::Timeout(_) => {
                Self::socket(io::Error::new(io::ErrorKind::TimedOut, "it took too long"))
            }
            other => Self::socket(io::Error::other(other.to_string())),
        }
    }
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(e) => write!(f, "{e}"),
            Self::Tls(reason) => f.write_str(reason),
            Self::NotPermitted => f.write_str("no longer permitted"),
        }
    }
}

impl std::error::Error for ConnectFailure {}

/// Whether the server told us, on a connection just made, that it does not accept our certificate. With TLS 1.3 it
/// can say so only after our first bytes, but before it looks at them.
pub(super) fn peer_refused_us(error: &io::Error) -> Option<String> {
    use AlertDescription as Alert;
    match rustls_error(error)? {
        e @ rustls::Error::AlertReceived(
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::CertificateRequired
            | Alert::UnknownCA
            | Alert::AccessDenied,
        ) => Some(e.to_string()),
        _ => None,
    }
}

fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

type Sockets = ChainedConnector<(), ChainedConnector<(), (), ConnectProxyConnector>, TcpConnector>;

/// Makes [`Connection`]s.
pub(super) struct AgentConnector {
    sockets: Sockets,
    tls: Arc<Tls>,
    shows: Shows,
}

impl AgentConnector {
    pub(super) fn new(tls: Arc<Tls>, shows: Shows) -> Self {
        let sockets = ().chain(ConnectProxyConnector::default()).chain(TcpConnector);
        Self { sockets, tls, shows }
    }

    fn handshake(
        &self,
        details: &ConnectionDetails<'_>,
        transport: Box<dyn Transport>,
    ) -> Result<(Channel, u64), ureq::Error> {
        let Some((config, generation)) = self.tls.for_handshake(self.shows) else {
            return Err(ConnectFailure::tls("no certificate authority is configured"));
        };
        let (host, _) = host_and_port(details.uri);
        let name = self
            .tls
            .server_name(host)
            .ok_or_else(|| ConnectFailure::tls(format!("{host:?} is not a host name")))?;
        let mut session =
            ClientConnection::new(config, name).map_err(|e| ConnectFailure::tls(e.to_string()))?;
        let mut socket = TransportAdapter::new(transport, Arc::clone(&details.current_time));
        socket.set_timeout(remaining(details));
        while session.is_handshaking() {
            session
                .complete_io(&mut socket)
                .map_err(|e| ConnectFailure::mark(ureq::Error::from(e)))?;
        }
        let config = details.config;
        let channel = Channel::Tls(Box::new(TlsChannel {
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
            stream: StreamOwned::new(session, socket),
        }));
        Ok((channel, generation))
    }
}

impl Connector for AgentConnector {
    type Out = Connection;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Connection>, ureq::Error> {
        let transport = self
            .sockets
            .connect(details, None)
            .map_err(ConnectFailure::mark)?
            .ok_or(ureq::Error::ConnectionFailed)?;
        let transport: Box<dyn Transport> = Box::new(transport);
        let (channel, generation) = if details.needs_tls() {
            let (channel, generation) = self.handshake(details, transport)?;
            (channel, Some(generation))
        } else {
            (Channel::Plain(transport), None)
        };
        Ok(Some(Connection {
            channel,
            born: self.tls.clock().now(),
            generation,
            tls: Arc::clone(&self.tls),
        }))
    }
}

impl fmt::Debug for AgentConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgentConnector")
    }
}

/// What is left of the time to connect.
pub(super) fn remaining(details: &ConnectionDetails<'_>) -> NextTimeout {
    let spent = match ((details.current_time)(), details.now) {
        (ureq_time::Instant::Exact(now), ureq_time::Instant::Exact(start)) => {
            now.saturating_duration_since(start)
        }
        _ => Duration::ZERO,
    };
    let mut timeout = total(details.timeout);
    if let ureq_time::Duration::Exact(after) = timeout.after {
        timeout.after = after.saturating_sub(spent).into();
    }
    timeout
}

/// The limit on silence is for bodies: until the answer's head is complete, only the limit on that whole part counts.
fn total(mut timeout: NextTimeout) -> NextTimeout {
    if matches!(timeout.reason, Timeout::Connect | Timeout::RecvResponse) {
        timeout.per_read = None;
    }
    timeout
}

thread_local! {
    static ON_ITS_WAY: RefCell<Option<Permit>> = const { RefCell::new(None) };
}

/// The permit of the request that this thread is sending. ureq makes an exchange on its caller's thread from beginning to end, but tells a
/// connection nothing of whose bytes it sends.
pub(super) struct OnItsWay(());

impl OnItsWay {
    /// Until it is dropped.
    pub(super) fn set(permit: Option<Permit>) -> Self {
        ON_ITS_WAY.set(permit);
        Self(())
    }

    /// Asked between connecting and the request's first byte, and before each later one.
    fn is_permitted() -> bool {
        ON_ITS_WAY.with_borrow(|current| current.as_ref().is_none_or(Permit::holds))
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        ON_ITS_WAY.take();
    }
}

/// One connection. It is not used for another exchange when it is old, or made with certificates since replaced.
pub(super) struct Connection {
    channel: Channel,
    born: Instant,
    /// Of the certificates; `None` without TLS.
    generation: Option<u64>,
    tls: Arc<Tls>,
}

enum Channel {
    Plain(Box<dyn Transport>),
    Tls(Box<TlsChannel>),
}

struct TlsChannel {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        match &mut self.channel {
            Channel::Plain(transport) => transport.buffers(),
            Channel::Tls(tls) => &mut tls.buffers,
        }
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        if !OnItsWay::is_permitted() {
            return Err(ureq::Error::Other(Box::new(ConnectFailure::NotPermitted)));
        }
        match &mut self.channel {
            Channel::Plain(transport) => transport.transmit_output(amount, timeout),
            Channel::Tls(tls) => {
                tls.stream.sock.set_timeout(timeout);
                tls.stream.write_all(&tls.buffers.output()[..amount])?;
                Ok(())
            }
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let timeout = total(timeout);
        let read = match &mut self.channel {
            Channel::Plain(transport) => transport.await_input(timeout),
            Channel::Tls(tls) => {
                tls.stream.sock.set_timeout(timeout);
                match tls.stream.read(tls.buffers.input_append_buf()) {
                    Ok(amount) => {
                        tls.buffers.input_appended(amount);
                        Ok(amount > 0)
                    }
                    Err(e) => Err(e.into()),
                }
            }
        };
        read.map_err(never_a_plain_end)
    }

    fn is_open(&mut self) -> bool {
        let age = self.tls.clock().now().saturating_duration_since(self.born);
        let current = self.generation.is_none_or(|own| own == self.tls.generation());
        current
            && age < MAX_AGE
            && match &mut self.channel {
                Channel::Plain(transport) => transport.is_open(),
                Channel::Tls(tls) => tls.stream.sock.get_mut().is_open(),
            }
    }

    fn is_tls(&self) -> bool {
        matches!(self.channel, Channel::Tls(_))
    }
}

/// ureq takes a reset, and TLS that ends without saying so, for the end of a body that has no length. They are not.
fn never_a_plain_end(error: ureq::Error) -> ureq::Error {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, UnexpectedEof};
    match error {
        ureq::Error::Io(e) if matches!(e.kind(), UnexpectedEof | ConnectionAborted | ConnectionReset) => {
            ureq::Error::Io(io::Error::new(io::ErrorKind::BrokenPipe, e))
        }
        other => other,
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_tls() {
            "TLS connection"
        } else {
            "connection"
        })
    }
}

/// Through a balancer, a connection stays with one server for life; so it must not live for long. Also how long a
/// client certificate that was replaced may be in use. Source: kube-client.md 2.2, 2.3.
const MAX_AGE: Duration = Duration::from_secs(5 * 60);
