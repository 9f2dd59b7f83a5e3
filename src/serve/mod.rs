//! The HTTPS endpoint: health, metrics, configuration and status, and who may read them.
//!
//! One request to a connection, one thread to a connection, at most [`PLACES`] of them; nobody connected, no thread. A connection has
//! [`PATIENCE`] for everything, and whoever comes when all places are taken gets that of the oldest: slow, silent and hostile clients cost
//! a few kilobytes for a moment, and delay nobody.
//!
//! ```text
//! accept → room (who may stay) → connection: wire (deadline) → TLS → http1 → guard → page
//! ```
//!
//! Knows no API server: a [`Guard`] decides about callers, pages get their contents from closures.

mod certificates;
mod connection;
mod counters;
mod exchange;
mod health;
mod http1;
mod listen;
mod options;
mod pages;
mod query;
mod room;
mod self_signed;
mod tls;
pub mod who;
mod wire;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};
use socket2::SockRef;

use certificates::Certificates;
use connection::Host;
use counters::{Counters, Cut};
use room::Room;

pub use certificates::CertificateError;
pub use exchange::{Answer, Guard, Incoming};
pub use health::{Checks, Kind};
pub use options::{
    Authentication, Authorization, Certificate, CipherSuite, Curve, Options, PathPattern, RequestHeader,
    SniPair, TlsVersion,
};
pub use pages::{Page, Pages, SetVerbosity};

use crate::metrics::Metrics;
use crate::runtime::clock::Clock;
use crate::runtime::reload::Reloaded;
use crate::runtime::stop::StopToken;
use crate::runtime::supervise::spawn_passing;

/// Connections at a time.
pub const PLACES: usize = 32;
/// For a connection, from its first byte to the last of its answer.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How long accepting waits for threads that were told to go, before it turns somebody away.
const ENTRY: Duration = Duration::from_millis(200);
/// Before accepting again where the system refuses, as it does when files run out.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has the port.
    #[error(
        "cannot serve HTTPS on {address}: the port is taken; choose another with --secure-port, or end what listens there"
    )]
    PortTaken {
        /// Address and port.
        address: SocketAddr,
    },
    /// The system does not let us listen there.
    #[error("cannot serve HTTPS on {address}")]
    Listen {
        /// Address and port.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// There is no certificate to show.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// What was chosen of TLS leaves nothing to speak.
    #[error("cannot serve HTTPS with the cipher suites and curves that were chosen")]
    Tls(#[source] rustls::Error),
}

/// The endpoint, listening. Nobody is answered until it runs.
pub struct Server {
    listener: Arc<TcpListener>,
    address: SocketAddr,
    certificates: Arc<Certificates>,
    room: Arc<Room>,
    host: Arc<Host>,
}

/// Reads the endpoint's certificates again when told to.
#[derive(Clone)]
pub struct Reloader(Arc<Certificates>);

impl Reloader {
    /// Looks at all certificate files now, as at SIGHUP, and says what happened since the last call. What cannot be used is logged and
    /// counted, and the old goes on.
    pub fn reload(&self) -> Reloaded {
        self.0.reload()
    }
}

impl Server {
    /// Loads or makes the certificates and takes the port.
    ///
    /// # Errors
    /// The port is taken, a certificate cannot be used.
    pub fn bind(
        options: &Options,
        pages: Pages,
        guard: Arc<dyn Guard>,
        metrics: &Metrics,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        Self::bind_within(PATIENCE, options, pages, guard, metrics, clock)
    }

    fn bind_within(
        patience: Duration,
        options: &Options,
        pages: Pages,
        guard: Arc<dyn Guard>,
        metrics: &Metrics,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let provider = tls::provider(options);
        let certificates = Certificates::load(options, provider.key_provider, metrics, Arc::clone(&clock))?;
        let certificates = Arc::new(certificates);
        let tls = tls::server_config(provider, options, Arc::clone(&certificates)).map_err(Error::Tls)?;
        let wanted = SocketAddr::new(options.address, options.port);
        let cannot_listen = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => Error::PortTaken { address: wanted },
            _ => Error::Listen {
                address: wanted,
                source,
            },
        };
        let listener = listen::listen(options).map_err(cannot_listen)?;
        let address = listener.local_addr().map_err(cannot_listen)?;
        let counters = Counters::new(metrics);
        info!(address:%; "serving HTTPS");
        Ok(Self {
            listener: Arc::new(listener),
            address,
            certificates,
            room: Room::new(PLACES, counters.cut(Cut::Oldest)),
            host: Arc::new(Host {
                tls: Arc::new(tls),
                pages,
                guard,
                clock,
                counters,
                patience,
            }),
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// A handle for rotation.
    pub fn reloader(&self) -> Reloader {
        Reloader(Arc::clone(&self.certificates))
    }

    /// Accepts connections until `stop` is set, then closes them all.
    pub fn run(self, stop: &StopToken) {
        let listener = Arc::clone(&self.listener);
        let _hook = stop.on_stop(move || {
            // ends the wait in accept; it fails only where there is nothing to end
            let _ = SockRef::from(&*listener).shutdown(std::net::Shutdown::Both);
        });
        let mut failing = false;
        while !stop.is_set() {
            match self.listener.accept() {
                Ok((socket, peer)) => {
                    failing = false;
                    self.welcome(socket, peer);
                }
                Err(_) if stop.is_set() => {}
                Err(error) if gone_before(&error) => {}
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        warn!(error:%; "cannot accept connections to the endpoint");
                    }
                    stop.wait(ACCEPT_RETRY);
                }
            }
        }
        self.room.clear();
    }

    fn welcome(&self, socket: TcpStream, peer: SocketAddr) {
        self.host.counters.connection();
        // an answer in two pieces must not wait for the client to confirm the first
        let _ = socket.set_nodelay(true);
        let socket = Arc::new(socket);
        let Some(seat) = self.room.enter(Arc::clone(&socket), ENTRY) else {
            self.host.counters.cut(Cut::Full).inc();
            return;
        };
        let (host, peer) = (
            Arc::clone(&self.host),
            SocketAddr::new(peer.ip().to_canonical(), peer.port()),
        );
        let spawned = spawn_passing(format!("http-{}", seat.number), move || {
            let _seat = seat;
            host.serve(&socket, peer);
        });
        if spawned.is_err() {
            self.host.counters.cut(Cut::Full).inc();
        }
    }
}

/// A client that hung up before it was accepted, or a signal.
fn gone_before(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Registers what an endpoint counts of itself, for the page that describes it.
#[cfg(test)]
pub(crate) fn register(metrics: &Metrics) {
    Counters::new(metrics);
    certificates::reloads(metrics);
}

#[cfg(test)]
mod tests;
