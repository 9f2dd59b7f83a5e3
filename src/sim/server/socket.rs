//! A core on a real socket: HTTP/1.1 with keep-alive, a thread a connection.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;

use super::front::{Front, Log, Outcome};
use super::http1::{self, Broken, Extent, Inbox};
use super::in_process::Halved;
use super::{Answer, Core, Piece, Reply, Stream};
use crate::runtime::clock::{Clock, SystemClock};
use crate::runtime::stop::{Stop, StopToken};
use crate::sim::faults::Faults;
use crate::sim::watched::Watched;

/// How often a silent stream looks whether its client is still there.
const HEARTBEAT: Duration = Duration::from_millis(200);
/// A client that does not read for that long is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long [`Server::shutdown`] waits for its connections' threads.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// A simulator that listens. Dropping it shuts it down.
pub struct Server {
    shared: Arc<Shared>,
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    front: Front,
    address: SocketAddr,
    stop: Stop,
    sockets: Watched<Sockets>,
}

#[derive(Default)]
struct Sockets {
    next: u64,
    open: HashMap<u64, TcpStream>,
    door: Door,
}

/// What the listening socket is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Door {
    #[default]
    Open,
    /// To be closed for that long.
    Closing(Duration),
    Closed,
}

impl Server {
    /// Listens on `address` (port 0 for any) and serves `core` by the system's clock.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(address: SocketAddr, core: Arc<dyn Core>) -> io::Result<Self> {
        Self::start_with_clock(address, core, Arc::new(SystemClock))
    }

    /// The same by another clock. Latency and delays pass in real time all the same.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start_with_clock(
        address: SocketAddr,
        core: Arc<dyn Core>,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let shared = Arc::new(Shared {
            front: Front::new(core, clock),
            address: listener.local_addr()?,
            stop: Stop::new(),
            sockets: Watched::default(),
        });
        let acceptor = std::thread::Builder::new().name("sim-accept".into()).spawn({
            let shared = Arc::clone(&shared);
            move || accept(&shared, listener)
        })?;
        Ok(Self {
            shared,
            acceptor: Mutex::new(Some(acceptor)),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// `http://host:port`, without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.shared.address)
    }

    /// The script it obeys.
    pub fn faults(&self) -> &Faults {
        &self.shared.front.faults
    }

    /// The requests so far.
    pub fn log(&self) -> &Log {
        &self.shared.front.log
    }

    /// Waits until it listens again after [`crate::sim::faults::Effect::Refuse`], at most `timeout`; whether it does.
    pub fn wait_until_open(&self, timeout: Duration) -> bool {
        self.shared
            .sockets
            .wait_until(timeout, |sockets| (sockets.door == Door::Open).then_some(()))
            .is_some()
    }

    /// Waits until nobody is connected, at most `timeout`; whether it came to that.
    pub fn wait_until_idle(&self, timeout: Duration) -> bool {
        self.shared
            .sockets
            .wait_until(timeout, |sockets| sockets.open.is_empty().then_some(()))
            .is_some()
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.shared.sockets.read(|sockets| sockets.open.len())
    }

    /// Breaks every open connection, as a restart of a proxy in between would; goes on listening.
    pub fn break_connections(&self) {
        self.shared.break_connections();
    }

    /// Ends it: closes the port, breaks every connection, lets paused and hanging calls go. Returns when its threads are
    /// gone. Later calls do nothing.
    pub fn shutdown(&self) {
        self.shared.stop.stop();
        self.shared.front.faults.hang_up_paused();
        self.shared.knock();
        let acceptor = self
            .acceptor
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        if let Some(acceptor) = acceptor {
            // a panic there was printed when it happened
            let _ = acceptor.join();
        }
        self.shared.break_connections();
        if !self.wait_until_idle(SHUTDOWN) {
            log::warn!(address:% = self.shared.address; "a simulator's connections do not end");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Shared {
    /// Wakes the thread that accepts. Nothing is wrong when it is gone already.
    fn knock(&self) {
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }

    fn break_connections(&self) {
        self.sockets.read(|sockets| {
            for stream in sockets.open.values() {
                // it may be closed already
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
    }

    /// Closes the port for `time`; returns when it is closed.
    fn refuse(&self, time: Duration) {
        self.sockets.update(|sockets| sockets.door = Door::Closing(time));
        self.knock();
        self.sockets.wait_until(SHUTDOWN, |sockets| {
            (sockets.door != Door::Closing(time)).then_some(())
        });
    }
}

fn accept(shared: &Arc<Shared>, mut listener: TcpListener) {
    loop {
        let accepted = listener.accept();
        if shared.stop.token().is_set() {
            return;
        }
        if let Door::Closing(time) = shared.sockets.read(|sockets| sockets.door) {
            drop(listener);
            shared.break_connections();
            shared.sockets.update(|sockets| sockets.door = Door::Closed);
            match reopen(shared, time) {
                Some(again) => listener = again,
                None => return,
            }
            shared.sockets.update(|sockets| sockets.door = Door::Open);
            continue;
        }
        match accepted {
            Ok((stream, _)) => welcome(shared, stream),
            Err(error) => log::warn!(error:% = error; "cannot accept a connection"),
        }
    }
}

/// Binds the same address again after `time`, and until it works: somebody else may hold it for a moment. `None` when it
/// is time to stop.
fn reopen(shared: &Shared, time: Duration) -> Option<TcpListener> {
    let mut wait = time;
    while !shared.stop.token().wait(wait) {
        match TcpListener::bind(shared.address) {
            Ok(listener) => return Some(listener),
            Err(error) => {
                log::warn!(address:% = shared.address, error:% = error; "cannot listen again yet");
                wait = HEARTBEAT;
            }
        }
    }
    None
}

fn welcome(shared: &Arc<Shared>, stream: TcpStream) {
    let Ok(copy) = stream.try_clone() else { return };
    let id = shared.sockets.update(|sockets| {
        sockets.next += 1;
        sockets.open.insert(sockets.next, copy);
        sockets.next
    });
    let guard = Leaving(Arc::clone(shared), id);
    let spawned = std::thread::Builder::new()
        .name("sim-connection".into())
        .spawn(move || {
            // the socket must be closed before it is struck off the list: who waits for the list waits for that
            let guard = guard;
            let _ = converse(&guard.0, stream);
        });
    if let Err(error) = spawned {
        log::warn!(error:% = error; "no thread for a connection");
    }
}

/// Strikes a connection off the list when its thread ends, however it ends.
struct Leaving(Arc<Shared>, u64);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.sockets.update(|sockets| {
            if let Some(stream) = sockets.open.remove(&self.1) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
    }
}

/// One connection's whole life.
fn converse(shared: &Shared, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let stop = shared.stop.token();
    let mut inbox = Inbox::default();
    while !stop.is_set() {
        let received = match inbox.receive(&mut stream) {
            Ok(received) => received,
            Err(Broken::Closed) => return Ok(()),
            Err(Broken::Refused(status, message)) => {
                let reply = Reply::json(status, &json!({"message": message}));
                return http1::send(&mut stream, &reply, Extent::Whole, false);
            }
        };
        let wait = |time: Duration| {
            stop.wait(time);
        };
        let keep_alive = received.keep_alive;
        match shared.front.handle(&received.request, &wait) {
            Outcome::Answer(Answer::Full(reply)) => {
                let extent = if received.request.method == "HEAD" {
                    Extent::Head
                } else {
                    Extent::Whole
                };
                http1::send(&mut stream, &reply, extent, keep_alive)?;
            }
            Outcome::Truncated(Answer::Full(reply)) => {
                return http1::send(&mut stream, &reply, Extent::Half, false);
            }
            Outcome::Answer(Answer::Stream {
                status,
                headers,
                stream: body,
            }) => {
                http1::send_chunked_head(&mut stream, status, &headers, keep_alive)?;
                pour(&mut stream, body, &stop)?;
            }
            Outcome::Truncated(Answer::Stream {
                status,
                headers,
                stream: body,
            }) => {
                http1::send_chunked_head(&mut stream, status, &headers, false)?;
                return pour(&mut stream, Box::new(Halved(Some(body))), &stop);
            }
            Outcome::HangUp => return Ok(()),
            Outcome::Refuse(time) => {
                shared.refuse(time);
                return Ok(());
            }
        }
        if !keep_alive {
            return Ok(());
        }
    }
    Ok(())
}

/// Sends a stream in chunks until it ends, the client goes, or the simulator stops. An error closes the connection.
fn pour(stream: &mut TcpStream, mut body: Box<dyn Stream>, stop: &StopToken) -> io::Result<()> {
    loop {
        match body.next(HEARTBEAT) {
            _ if stop.is_set() => return Err(io::ErrorKind::Interrupted.into()),
            Piece::Bytes(bytes) => http1::send_chunk(stream, &bytes)?,
            Piece::Idle if is_gone(stream) => return Err(io::ErrorKind::BrokenPipe.into()),
            Piece::Idle => {}
            Piece::End => return http1::send_chunk(stream, &[]),
            Piece::Broken => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn is_gone(stream: &TcpStream) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return true;
    }
    let peeked = stream.peek(&mut [0]);
    let blocking = stream.set_nonblocking(false);
    match peeked {
        Ok(count) => count == 0 || blocking.is_err(),
        Err(error) => error.kind() != io::ErrorKind::WouldBlock || blocking.is_err(),
    }
}
