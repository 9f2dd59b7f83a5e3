//! Forwarding TCP, a connection at a time.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::pool::Pool;
use crate::runtime::stop::StopToken;
use crate::sim::watched::Watched;

/// A member that takes longer to accept is passed over.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the end of a listener waits for its connections' threads.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// The connections of a listener, so that its end can break them.
#[derive(Default)]
struct Open {
    ended: bool,
    next: u64,
    /// Both sides of each.
    streams: HashMap<u64, Vec<TcpStream>>,
}

impl Open {
    fn enter(&mut self, client: TcpStream) -> u64 {
        self.next += 1;
        self.streams.insert(self.next, vec![client]);
        self.next
    }

    /// Breaks them, and those that find their member later.
    fn break_all(&mut self) {
        self.ended = true;
        for stream in self.streams.values().flatten() {
            // it may be closed already
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Accepts until `stop`, then breaks what is open. Assumed: an SLB, too, drops the connections of a listener it deletes.
pub(super) fn serve(listener: &TcpListener, pool: &Arc<Watched<Pool>>, stop: &StopToken) {
    let open = Arc::new(Watched::new(Open::default()));
    loop {
        let accepted = listener.accept();
        if stop.is_set() {
            break;
        }
        match accepted {
            Ok((client, _)) => forward(client, pool, &open),
            Err(error) => log::warn!(error:% = error; "cannot accept a client"),
        }
    }
    open.update(Open::break_all);
    open.wait_until(SHUTDOWN, |open| open.streams.is_empty().then_some(()));
}

fn forward(client: TcpStream, pool: &Arc<Watched<Pool>>, open: &Arc<Watched<Open>>) {
    let Ok(copy) = client.try_clone() else { return };
    let id = open.update(|open| open.enter(copy));
    let (pool, leaving) = (Arc::clone(pool), Leaving(Arc::clone(open), id));
    let spawned = std::thread::Builder::new()
        .name("sim-tcp-client".into())
        .spawn(move || {
            // whichever side breaks, the other sees its connection end: that is all there is to tell
            let _ = leaving.converse(&client, &pool);
        });
    if let Err(error) = spawned {
        log::warn!(error:% = error; "no thread for a client");
    }
}

/// Strikes a connection off the list when its thread ends, however it ends.
struct Leaving(Arc<Watched<Open>>, u64);

impl Leaving {
    /// Without a member the client finds its connection closed. Assumed.
    fn converse(&self, client: &TcpStream, pool: &Watched<Pool>) -> io::Result<()> {
        let Some(member) = connect(pool) else {
            return Ok(());
        };
        let copy = member.try_clone()?;
        self.0.update(|open| {
            if open.ended {
                let _ = copy.shutdown(Shutdown::Both);
            }
            if let Some(streams) = open.streams.get_mut(&self.1) {
                streams.push(copy);
            }
        });
        relay(client, &member)
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.update(|open| {
            for stream in open.streams.remove(&self.1).into_iter().flatten() {
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
    }
}

/// A connection to the member whose turn it is, or the next one that accepts.
fn connect(pool: &Watched<Pool>) -> Option<TcpStream> {
    (0..pool.read(Pool::len)).find_map(|_| {
        let target = pool.update(Pool::pick)?;
        TcpStream::connect_timeout(&target, CONNECT_TIMEOUT)
            .inspect_err(
                |error| log::debug!(member:% = target, error:% = error; "cannot connect to a member"),
            )
            .ok()
    })
}

/// Copies both ways until both sides have said all, passing each one's end on to the other.
fn relay(client: &TcpStream, member: &TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    member.set_nodelay(true)?;
    std::thread::scope(|scope| {
        let there = std::thread::Builder::new()
            .name("sim-tcp-relay".into())
            .spawn_scoped(scope, || pump(client, member))?;
        let back = pump(member, client);
        there
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("panicked")))
            .and(back)
    })
}

fn pump(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
    let copied = io::copy(&mut from, &mut to);
    match copied {
        Ok(_) => to.shutdown(Shutdown::Write),
        Err(error) => {
            // the other direction must not wait for a side that is gone
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            Err(error)
        }
    }
}
