//! The simulated SLB's data plane: it really listens, checks members and forwards, on loopback.
//!
//! Each listener of an SLB whose public or internal address is a loopback address is served on that address and port. Nothing
//! else is ever connected to or listened on: a member elsewhere counts as unreachable. All protocols over TCP are forwarded
//! as bytes, HTTP too (`Assumed:` no client here sees the difference); HTTPS would need the certificate and is not served.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::cloud::{Cloud, Listener, Phase, State};
use super::watched::Watched;
use crate::runtime::stop::Stop;
use pool::Pool;

mod health;
mod pool;
mod tcp;
mod udp;

#[cfg(test)]
mod tests;

/// A running data plane. Dropping it shuts it down.
pub struct Traffic {
    cloud: Cloud,
    stop: Stop,
    board: Arc<Board>,
    manager: Mutex<Option<JoinHandle<()>>>,
}

/// What is served, for those who wait for it.
type Board = Watched<BTreeMap<Frontend, Status>>;

/// Where clients connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Frontend {
    /// TCP or UDP.
    pub transport: Transport,
    /// The SLB's address and the listener's port.
    pub address: SocketAddr,
}

/// What carries a listener's protocol.
#[expect(missing_docs, reason = "the names are the documentation")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    Tcp,
    Udp,
}

/// How one listener is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Its SLB.
    pub slb: String,
    /// Its id.
    pub listener: String,
    /// Whether and where.
    pub served: Served,
    /// Each member, and whether traffic goes there.
    pub members: Vec<(SocketAddr, Usable)>,
}

/// Whether and where a listener is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Served {
    /// Where it should be.
    There,
    /// Its port cannot be bound; this one stands in for it.
    Elsewhere(SocketAddr),
    /// Not at all, for this reason.
    Not(String),
}

/// Whether traffic goes to a member.
#[expect(missing_docs, reason = "the names are the documentation")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usable {
    Yes,
    No,
}

impl Traffic {
    /// Serves the listeners of `cloud`, now and as they change. Health checks run at the listeners' periods times
    /// `time_scale`: with 0.01 every 100 ms instead of every 10 s.
    ///
    /// # Errors
    /// When there is no room for another thread.
    pub fn start(cloud: Cloud, time_scale: f64) -> io::Result<Self> {
        let (stop, board) = (Stop::new(), Arc::new(Board::default()));
        let manager = std::thread::Builder::new().name("sim-traffic".into()).spawn({
            let manager = Manager {
                cloud: cloud.clone(),
                stop: stop.clone(),
                board: Arc::clone(&board),
                time_scale,
                serving: BTreeMap::new(),
            };
            move || manager.run()
        })?;
        Ok(Self {
            cloud,
            stop,
            board,
            manager: Mutex::new(Some(manager)),
        })
    }

    /// What is served now.
    pub fn status(&self) -> BTreeMap<Frontend, Status> {
        self.board.read(BTreeMap::clone)
    }

    /// Waits until `look` finds what it wants, at most `timeout`.
    pub fn wait_until<R>(
        &self,
        timeout: Duration,
        look: impl FnMut(&BTreeMap<Frontend, Status>) -> Option<R>,
    ) -> Option<R> {
        self.board.wait_until(timeout, look)
    }

    /// Closes every port and connection. Returns when its threads are gone. Later calls do nothing.
    pub fn shutdown(&self) {
        self.stop.stop();
        self.cloud.wake();
        let manager = self.manager.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(manager) = manager {
            // a panic there was printed when it happened
            let _ = manager.join();
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// The thread that makes what is served match the cloud.
struct Manager {
    cloud: Cloud,
    stop: Stop,
    board: Arc<Board>,
    time_scale: f64,
    serving: BTreeMap<Frontend, Serving>,
}

/// One frontend being served.
struct Serving {
    listener: String,
    pool: Arc<Watched<Pool>>,
    stop: Stop,
    at: Frontend,
    threads: Vec<JoinHandle<()>>,
}

impl Manager {
    fn run(mut self) {
        let (token, mut seen) = (self.stop.token(), None);
        while !token.is_set() {
            let found = self.cloud.wait_until(Duration::MAX, |state| {
                let changed = seen != Some(state.generation());
                (changed || token.is_set()).then(|| (state.generation(), wanted(state)))
            });
            let (generation, wanted) = found.expect("a wait without a deadline ends with what it waits for");
            if !token.is_set() {
                seen = Some(generation);
                self.reconcile(wanted);
            }
        }
        self.reconcile(BTreeMap::new());
    }

    fn reconcile(&mut self, wanted: BTreeMap<Frontend, (String, Listener)>) {
        let stays = |frontend: &Frontend, serving: &Serving| {
            wanted
                .get(frontend)
                .is_some_and(|(_, listener)| listener.id == serving.listener)
        };
        let leaving: Vec<Frontend> = self
            .serving
            .iter()
            .filter(|(frontend, serving)| !stays(frontend, serving))
            .map(|(frontend, _)| *frontend)
            .collect();
        for frontend in leaving {
            if let Some(serving) = self.serving.remove(&frontend) {
                serving.end();
            }
        }
        self.board
            .update(|board| board.retain(|frontend, _| wanted.contains_key(frontend)));
        for (frontend, (slb, listener)) in wanted {
            self.serve(frontend, slb, &listener);
        }
    }

    fn serve(&mut self, frontend: Frontend, slb: String, listener: &Listener) {
        let served = match self.serving.get(&frontend) {
            Some(serving) => {
                serving.pool.update(|pool| pool.configure(listener));
                Ok(serving)
            }
            None => self
                .begin(frontend, listener)
                .map(|serving| &*self.serving.entry(frontend).or_insert(serving)),
        };
        let (served, members) = match served {
            Err(reason) => {
                log::warn!(slb = slb.as_str(), listener:% = listener, reason = reason.as_str(); "a listener is not served");
                (Served::Not(reason), Vec::new())
            }
            Ok(serving) => {
                let served = if serving.at == frontend {
                    Served::There
                } else {
                    Served::Elsewhere(serving.at.address)
                };
                (served, serving.pool.read(Pool::members))
            }
        };
        let status = Status {
            slb,
            listener: listener.id.clone(),
            served,
            members,
        };
        self.board.update(|board| board.insert(frontend, status));
    }

    fn begin(&self, wanted: Frontend, listener: &Listener) -> Result<Serving, String> {
        if listener.protocol == "HTTPS" {
            return Err("TLS would need the certificate".into());
        }
        let pool = Arc::new(Watched::new(Pool::new(listener)));
        let (stop, text) = (Stop::new(), |error: io::Error| error.to_string());
        let (at, server) = match wanted.transport {
            Transport::Tcp => {
                let socket = bind(wanted.address, TcpListener::bind::<SocketAddr>).map_err(text)?;
                let at = socket.local_addr().map_err(text)?;
                let (pool, stop) = (Arc::clone(&pool), stop.token());
                (at, spawn("sim-tcp", move || tcp::serve(&socket, &pool, &stop)))
            }
            Transport::Udp => {
                let socket = bind(wanted.address, UdpSocket::bind::<SocketAddr>).map_err(text)?;
                let at = socket.local_addr().map_err(text)?;
                let (pool, stop) = (Arc::clone(&pool), stop.token());
                (at, spawn("sim-udp", move || udp::serve(&socket, &pool, &stop)))
            }
        };
        let mut serving = Serving {
            listener: listener.id.clone(),
            pool: Arc::clone(&pool),
            stop,
            at: Frontend {
                address: at,
                ..wanted
            },
            threads: vec![server.map_err(text)?],
        };
        let (board, time_scale) = (Arc::clone(&self.board), self.time_scale);
        let publish = move |members: Vec<(SocketAddr, Usable)>| {
            board.update(|board| {
                if let Some(status) = board.get_mut(&wanted) {
                    status.members = members;
                }
            });
        };
        match spawn("sim-health", move || health::run(&pool, time_scale, publish)) {
            Ok(checker) => serving.threads.push(checker),
            Err(error) => {
                serving.end();
                return Err(error.to_string());
            }
        }
        Ok(serving)
    }
}

impl Serving {
    /// Closes the port and every connection; returns when the threads are gone.
    fn end(self) {
        self.stop.stop();
        self.pool.update(Pool::stop);
        // wakes the thread that accepts or receives; nothing is wrong when it is gone already
        match self.at.transport {
            Transport::Tcp => drop(TcpStream::connect_timeout(
                &self.at.address,
                Duration::from_secs(1),
            )),
            Transport::Udp => {
                let any = SocketAddr::new(self.at.address.ip(), 0);
                drop(UdpSocket::bind(any).and_then(|socket| socket.send_to(&[], self.at.address)));
            }
        }
        for thread in self.threads {
            // a panic there was printed when it happened
            let _ = thread.join();
        }
    }
}

/// The frontends that `state` asks for. Where two SLBs share an address, the first has the port.
fn wanted(state: &State) -> BTreeMap<Frontend, (String, Listener)> {
    let mut wanted = BTreeMap::new();
    for slb in state.slbs().filter(|slb| slb.phase == Phase::Active) {
        let addresses = [&slb.eip, &slb.business_ip];
        let addresses = addresses
            .iter()
            .filter_map(|text| text.parse::<IpAddr>().ok())
            .filter(IpAddr::is_loopback);
        for address in addresses {
            for listener in slb.listeners.values() {
                let frontend = Frontend {
                    transport: match listener.protocol.as_str() {
                        "UDP" => Transport::Udp,
                        _ => Transport::Tcp,
                    },
                    address: SocketAddr::new(address, listener.port),
                };
                wanted
                    .entry(frontend)
                    .or_insert_with(|| (slb.id.clone(), listener.clone()));
            }
        }
    }
    wanted
}

/// Binds `address`, or where that is not possible any other port of it.
fn bind<S>(address: SocketAddr, bind: impl Fn(SocketAddr) -> io::Result<S>) -> io::Result<S> {
    bind(address).or_else(|error| {
        log::warn!(address:% = address, error:% = error; "cannot bind a listener's port, taking another");
        bind(SocketAddr::new(address.ip(), 0))
    })
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(body)
}
