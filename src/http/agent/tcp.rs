//! TCP connections: a peer that vanished is noticed, and a connect in progress ends when the agent is shut down.
//!
//! ureq's own connector does neither, and does not show its sockets. Source: kube-client.md 2.2, 2.5.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use ureq::Timeout;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, ShutdownHandle, Transport,
};

use super::connector::remaining;

/// Opens sockets, unless an earlier connector has made a connection.
#[derive(Debug)]
pub(super) struct TcpConnector;

impl<In: Transport> Connector<In> for TcpConnector {
    type Out = Either<In, TcpTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        if let Some(transport) = chained {
            return Ok(Some(Either::A(transport)));
        }
        let left = time_left(&remaining(details))?;
        let socket = connect(&details.addrs, left, &*details.register_shutdown)?;
        let config = details.config;
        Ok(Some(Either::B(TcpTransport {
            socket,
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
            read_timeout: None,
            write_timeout: None,
        })))
    }
}

/// A socket that its agent can shut down.
struct Stream(Socket);

impl ShutdownHandle for Stream {
    /// Also ends a connect in progress, and one that is about to begin.
    fn shutdown(&self) {
        // an error says that it is not connected, which is what is wanted
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// Tries one address after the other, within `left` together: each may take half of what is left, the last one all of it.
fn connect(
    addresses: &[SocketAddr],
    left: Option<Duration>,
    register: &(dyn Fn(Weak<dyn ShutdownHandle>) -> Result<(), ureq::Error> + Send + Sync),
) -> Result<Arc<Stream>, ureq::Error> {
    let deadline = left.map(|left| Instant::now() + left);
    let mut failure = ureq::Error::HostNotFound;
    for (number, address) in addresses.iter().enumerate() {
        let is_last = number + 1 == addresses.len();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let share = left.map(|left| if is_last { left } else { left / 2 });
        let stream = Arc::new(Stream(open(address)?));
        let handle: Weak<dyn ShutdownHandle> = Arc::downgrade(&stream) as _;
        register(handle)?;
        let connected = match share {
            Some(share) => stream.0.connect_timeout(&(*address).into(), share),
            None => stream.0.connect(&(*address).into()),
        };
        failure = match connected {
            Ok(()) => return Ok(stream),
            Err(e) if e.kind() == io::ErrorKind::TimedOut => ureq::Error::Timeout(Timeout::Connect),
            Err(e) => e.into(),
        };
    }
    Err(failure)
}

/// A socket for `address`, with all its options.
fn open(address: &SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEP_ALIVE_IDLE)
            .with_interval(KEEP_ALIVE_INTERVAL)
            .with_retries(KEEP_ALIVE_PROBES),
    )?;
    Ok(socket)
}

/// A connection without TLS, or what is below it.
pub(super) struct TcpTransport {
    socket: Arc<Stream>,
    buffers: LazyBuffers,
    /// As the socket has them now.
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
}

impl Transport for TcpTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let timeout = timeout.for_write();
        let left = time_left(&timeout)?;
        if left != self.write_timeout {
            self.socket.0.set_write_timeout(left)?;
            self.write_timeout = left;
        }
        let output = &self.buffers.output()[..amount];
        (&self.socket.0)
            .write_all(output)
            .map_err(|e| failure(e, timeout.reason))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let timeout = timeout.for_read();
        let mut left = time_left(&timeout)?;
        let deadline = left.map(|left| Instant::now() + left);
        loop {
            if left != self.read_timeout {
                self.socket.0.set_read_timeout(left)?;
                self.read_timeout = left;
            }
            match (&self.socket.0).read(self.buffers.input_append_buf()) {
                Ok(amount) => {
                    self.buffers.input_appended(amount);
                    return Ok(amount > 0);
                }
                // Linux does not resume a read that has a time limit after a signal
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {
                    let now = Instant::now();
                    if deadline.is_some_and(|deadline| deadline <= now) {
                        return Err(ureq::Error::Timeout(timeout.reason));
                    }
                    left = deadline.map(|deadline| (deadline - now).max(SHORTEST));
                }
                Err(e) => return Err(failure(e, timeout.reason)),
            }
        }
    }

    fn is_open(&mut self) -> bool {
        is_quiet(&self.socket.0).unwrap_or(false)
    }
}

/// What the socket may take; zero would be for ever.
fn time_left(timeout: &NextTimeout) -> Result<Option<Duration>, ureq::Error> {
    if timeout.after.is_zero() {
        return Err(ureq::Error::Timeout(timeout.reason));
    }
    Ok(timeout.not_zero().map(|left| (*left).max(SHORTEST)))
}

fn failure(error: io::Error, reason: Timeout) -> ureq::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ureq::Error::Timeout(reason),
        _ => error.into(),
    }
}

/// Whether the peer neither said anything nor hung up: both end the use of an idle connection.
fn is_quiet(mut socket: &Socket) -> io::Result<bool> {
    socket.set_nonblocking(true)?;
    let quiet = matches!(socket.read(&mut [0]), Err(e) if e.kind() == io::ErrorKind::WouldBlock);
    socket.set_nonblocking(false)?;
    Ok(quiet)
}

impl fmt::Debug for TcpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TCP connection")
    }
}

/// A peer that vanished is noticed after a minute. Source: kube-client.md 2.5.
const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_PROBES: u32 = 3;
/// The system counts in microseconds, and takes less than one for no limit.
const SHORTEST: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Mutex;
    use std::sync::mpsc;

    use super::*;
    use crate::http::testing::spawn;

    fn nobody_stops(_: Weak<dyn ShutdownHandle>) -> Result<(), ureq::Error> {
        Ok(())
    }

    fn closed() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    }

    /// Whoever connects to it waits: its queue is full. As long as what is returned lives.
    fn full() -> (SocketAddr, Vec<Socket>) {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut kept = vec![listener];
        loop {
            let socket = open(&address).unwrap();
            if socket
                .connect_timeout(&address.into(), Duration::from_millis(50))
                .is_err()
            {
                return (address, kept);
            }
            kept.push(socket);
        }
    }

    #[test]
    fn a_peer_that_vanished_is_noticed_within_a_minute() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stream = connect(&[address], None, &nobody_stops).unwrap();
        assert!(stream.0.keepalive().unwrap() && stream.0.tcp_nodelay().unwrap());
        let found = (
            stream.0.tcp_keepalive_time().unwrap().as_secs(),
            stream.0.tcp_keepalive_interval().unwrap().as_secs(),
            stream.0.tcp_keepalive_retries().unwrap(),
        );
        assert_eq!(found, (30, 10, 3));
    }

    #[test]
    fn one_address_after_the_other_within_one_limit() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let (silent, _queue) = full();
        let limit = Some(Duration::from_millis(100));
        for (case, addresses, works) in [
            ("refused, then open", vec![closed(), open], true),
            ("silent, then open", vec![silent, open], true),
            ("refused", vec![closed(), closed()], false),
            ("silent", vec![silent, silent, silent], false),
        ] {
            let outcome = connect(&addresses, limit, &nobody_stops);
            assert_eq!(outcome.is_ok(), works, "{case}");
            match outcome.err() {
                Some(ureq::Error::Timeout(Timeout::Connect)) => assert_eq!(case, "silent"),
                Some(ureq::Error::Io(e)) => assert_eq!(e.kind(), io::ErrorKind::ConnectionRefused, "{case}"),
                Some(other) => panic!("{case}: {other}"),
                None => {}
            }
        }
    }

    #[test]
    fn a_shutdown_ends_a_connect_in_progress() {
        let (silent, _queue) = full();
        for (case, waits) in [("before it begins", false), ("in progress", true)] {
            let ((registered, handles), (done, result)) = (mpsc::channel(), mpsc::channel());
            let (registered, (go, gone)) = (Mutex::new(registered), mpsc::channel());
            let gone = Mutex::new(gone);
            spawn(move || {
                let register = |handle: Weak<dyn ShutdownHandle>| {
                    registered.lock().unwrap().send(handle).unwrap();
                    gone.lock().unwrap().recv().unwrap();
                    Ok(())
                };
                let outcome = connect(&[silent], Some(Duration::from_secs(60)), &register);
                done.send(outcome.is_err()).unwrap();
            });
            let handle: Weak<dyn ShutdownHandle> = handles.recv().unwrap();
            if waits {
                go.send(()).unwrap();
                while !is_connecting(silent) {
                    std::thread::yield_now();
                }
            }
            handle.upgrade().unwrap().shutdown();
            if !waits {
                go.send(()).unwrap();
            }
            assert!(
                result.recv_timeout(Duration::from_secs(20)).expect("it returns"),
                "{case}"
            );
        }
    }

    /// Whether a SYN to `peer` is unanswered: state 02. Source: Linux, Documentation/networking/proc_net_tcp.
    fn is_connecting(peer: SocketAddr) -> bool {
        let peer = format!(" 0100007F:{:04X} 02 ", peer.port());
        std::fs::read_to_string("/proc/net/tcp").unwrap().contains(&peer)
    }
}
