//! Forwarding UDP: a session a client, so that answers find their way back and a client keeps its member.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::pool::Pool;
use crate::runtime::stop::StopToken;
use crate::sim::watched::Watched;

/// How often a session looks whether it is still wanted.
const TICK: Duration = Duration::from_millis(100);
/// A session that is silent for so many ticks, both ways, ends: a minute. Assumed.
const IDLE_TICKS: u32 = 600;
/// No datagram is longer.
const DATAGRAM: usize = 65_536;

/// One client's datagrams on their way to one member.
struct Session {
    target: SocketAddr,
    upstream: Arc<UdpSocket>,
    /// Grows with each datagram from the client; the session's thread watches it, and holds it as long as it runs.
    activity: Arc<AtomicU64>,
}

/// The sessions of a listener.
#[derive(Default)]
struct Sessions {
    by_client: HashMap<SocketAddr, Session>,
    /// Of those and of sessions that were given up a moment ago: each holds the listener's socket.
    threads: Vec<JoinHandle<()>>,
}

impl Sessions {
    /// Gives up those that fell silent and those whose member left.
    fn tidy(&mut self, pool: &Watched<Pool>) {
        self.by_client.retain(|_, session| {
            let runs = Arc::strong_count(&session.activity) > 1;
            runs && pool.read(|pool| pool.is_usable(session.target))
        });
        self.threads.retain(|thread| !thread.is_finished());
    }
}

/// Receives until `stop`; sessions end with it.
pub(super) fn serve(socket: &UdpSocket, pool: &Watched<Pool>, stop: &StopToken) {
    let mut sessions = Sessions::default();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let received = socket.recv_from(&mut buffer);
        if stop.is_set() {
            break;
        }
        sessions.tidy(pool);
        match received {
            Ok((length, client)) => {
                pass_on(socket, client, &buffer[..length], pool, stop, &mut sessions);
            }
            // an answer to a client that left comes back as an error of the next call
            Err(error) => log::debug!(error:% = error; "cannot receive a datagram"),
        }
    }
    for thread in sessions.threads {
        // a panic there was printed when it happened
        let _ = thread.join();
    }
}

/// Sends a datagram to the client's member; to another one when nobody listens there.
fn pass_on(
    socket: &UdpSocket,
    client: SocketAddr,
    datagram: &[u8],
    pool: &Watched<Pool>,
    stop: &StopToken,
    sessions: &mut Sessions,
) {
    for _ in 0..=pool.read(Pool::len) {
        let session = match sessions.by_client.remove(&client) {
            Some(session) => session,
            None => match open(socket, client, pool, stop) {
                Ok(Some((session, thread))) => {
                    sessions.threads.push(thread);
                    session
                }
                // lost, as datagrams may be
                Ok(None) => return,
                Err(error) => {
                    log::warn!(error:% = error; "cannot open a session");
                    return;
                }
            },
        };
        session.activity.fetch_add(1, Ordering::Relaxed);
        match session.upstream.send(datagram) {
            Ok(_) => {
                sessions.by_client.insert(client, session);
                return;
            }
            Err(error) => log::debug!(member:% = session.target, error:% = error; "cannot send to a member"),
        }
    }
}

fn open(
    socket: &UdpSocket,
    client: SocketAddr,
    pool: &Watched<Pool>,
    stop: &StopToken,
) -> io::Result<Option<(Session, JoinHandle<()>)>> {
    let Some(target) = pool.update(Pool::pick) else {
        return Ok(None);
    };
    let own: IpAddr = match target.ip() {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let upstream = UdpSocket::bind((own, 0))?;
    upstream.connect(target)?;
    upstream.set_read_timeout(Some(TICK))?;
    let (upstream, activity) = (Arc::new(upstream), Arc::new(AtomicU64::new(0)));
    let answers = Answers {
        upstream: Arc::downgrade(&upstream),
        activity: Arc::clone(&activity),
        socket: socket.try_clone()?,
        client,
        stop: stop.clone(),
    };
    let thread = std::thread::Builder::new()
        .name("sim-udp-session".into())
        .spawn(move || answers.run())?;
    let session = Session {
        target,
        upstream,
        activity,
    };
    Ok(Some((session, thread)))
}

/// The way back: a session's own thread.
struct Answers {
    /// Gone when the session was dropped.
    upstream: std::sync::Weak<UdpSocket>,
    activity: Arc<AtomicU64>,
    socket: UdpSocket,
    client: SocketAddr,
    stop: StopToken,
}

impl Answers {
    /// Sends the member's answers to the client until the session is dropped, silent for long, or `stop` is set.
    fn run(self) {
        let (mut idle, mut seen) = (0, 0);
        let mut buffer = vec![0; DATAGRAM];
        while idle < IDLE_TICKS && !self.stop.is_set() {
            let Some(upstream) = self.upstream.upgrade() else {
                return;
            };
            let received = upstream.recv(&mut buffer);
            drop(upstream);
            let sent = self.activity.load(Ordering::Relaxed);
            idle = if received.is_ok() || sent != seen {
                0
            } else {
                idle + 1
            };
            seen = sent;
            match received {
                // the client may be gone, as UDP's clients go
                Ok(length) => drop(self.socket.send_to(&buffer[..length], self.client)),
                Err(error) if is_timeout(&error) => {}
                // nobody listens at the member; the next datagram's sender finds out too
                Err(_) => {
                    self.stop.wait(TICK);
                }
            }
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
