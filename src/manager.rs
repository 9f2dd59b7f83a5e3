//! The one place that knows all: builds clients, stores, controllers and threads, and stops them in order.

pub mod configz;
pub(crate) mod connections;
mod crew;
mod endpoint;
mod heartbeat;
pub mod reviews;
pub mod rotation;
pub mod status;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, at, bounded, never, select, unbounded};
use log::{error, info, warn};
use serde::Deserialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::config::Config;
use crate::controllers::service::Cache;
use crate::controllers::{self, CONTROLLERS};
use crate::events::EventRecorder;
use crate::http::Transport;
use crate::http::agent::{Agent, SetupError};
use crate::http::proxy::ProxyError;
use crate::informer::{Handler, Pulse, Reflector, Writer, store};
use crate::inspur::InspurCloud;
use crate::inspur::name::ClusterId;
use crate::k8s::connect::{ClientKind, ConnectError, Connector};
use crate::k8s::types::{Node, ObjectMeta, Resource};
use crate::k8s::{self, Call, ClientMetrics};
use crate::leader_election::{self, Election, ElectionOptions, Ended, Leadership, Turn, hostname, identity};
use crate::metrics::{self, Metrics};
use crate::runtime::backoff::Backoff;
use crate::runtime::chain;
use crate::runtime::clock::{Clock, SystemClock};
use crate::runtime::gate::{Gate, Keeper};
use crate::runtime::process;
use crate::runtime::random::Random;
use crate::runtime::service_manager::{News, ServiceManager};
use crate::runtime::stop::{Stop, StopToken};
use crate::runtime::supervise::Supervisor;
use crate::serve::{Checks, Kind};
pub use connections::faults_beside_the_cloud_config;
use crew::{Crew, Leaving};
use endpoint::{Endpoint, Parts, View};
use heartbeat::Heartbeat;
use rotation::{LiveCloudConfig, Rotation, Waker};

/// Why the daemon could not start, or had to end. Each ends the process with exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no way to the API server.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// There is no way to the cloud.
    #[error("cannot connect to the cloud")]
    Cloud(#[source] SetupError),
    /// A proxy variable of the environment makes no sense.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// There is no HTTPS endpoint.
    #[error(transparent)]
    Endpoint(#[from] endpoint::Error),
    /// There is no lease of that name, and no name to hold it by.
    #[error("cannot stand for election")]
    Election(#[source] k8s::Error),
    /// The system does not let us hear signals.
    #[error("cannot handle signals")]
    Signals(#[source] std::io::Error),
    /// A thread ended although nobody asked it to.
    #[error("the thread {thread} ended unasked")]
    ThreadEnded {
        /// Its name.
        thread: String,
    },
}

/// Runs the daemon until a signal asks it to stop, or a thread ends unasked. A lost lease ends the process at once, with exit code 1.
///
/// # Errors
/// Everything that keeps it from starting, all at once; or why it ended.
pub fn run(config: &Config) -> Result<(), Vec<Error>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (stop, metrics) = (Stop::new(), Metrics::new());
    metrics::build::register(&metrics);
    process::register(&metrics, &*clock);
    let (gate, keeper) = match &config.flags.election {
        Some(_) => {
            let (gate, keeper) = Gate::shut(Arc::clone(&clock));
            (gate, Some(keeper))
        }
        None => (Gate::open(), None),
    };
    let random = Arc::new(Random::from_entropy());
    let (checks, view) = (Arc::new(Checks::new()), Arc::new(View::default()));
    let ready = Arc::new(AtomicBool::new(false));
    let is_ready = Arc::clone(&ready);
    checks.add("controllers", Kind::Ready, move || {
        match is_ready.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err("they are not ready to work yet".to_owned()),
        }
    });
    // from here on a signal is obeyed: opening the endpoint may wait for the API server
    let (asked, endpoint_stop) = (Stop::new(), Stop::new());
    let mut threads = Supervisor::new(endpoint_stop.token());
    let service_manager = Arc::new(ServiceManager::from_env());
    let mut rotation = Rotation::new(&metrics, Arc::clone(&clock));
    rotation.tell(Arc::clone(&service_manager));
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(|source| vec![Error::Signals(source)])?;
    let handle = signals.handle();
    hear(signals, &asked, rotation.waker(), &mut threads);
    let api_server =
        connections::api_server(&config.flags, &stop, &gate, &clock, ClientMetrics::new(&metrics));
    let cloud = connections::cloud_agent(config);
    let endpoint = config.flags.serving.as_ref().map(|options| {
        let parts = Parts {
            config,
            checks: &checks,
            view: &view,
            metrics: &metrics,
            gate: &gate,
            clock: &clock,
            random: &random,
            stop: asked.token(),
        };
        Endpoint::open(options, &parts)
    });
    let (api_server, cloud, endpoint) = match (api_server, cloud, endpoint.transpose()) {
        (Ok(api_server), Ok(cloud), Ok(endpoint)) => (api_server, cloud, endpoint),
        // whoever asked to stop is not interested in what that made fail
        _ if asked.token().is_set() => return Ok(()),
        (api_server, cloud, endpoint) => {
            let endpoint = endpoint.err().into_iter().flatten().map(Error::from);
            return Err(api_server
                .err()
                .into_iter()
                .chain(cloud.err())
                .chain(endpoint)
                .collect());
        }
    };
    info!(version = env!("CARGO_PKG_VERSION"), api_server = api_server.server(), slb_api = config.cloud.slb_url.as_str(); "starting");
    let daemon = Daemon {
        config,
        live: Arc::new(LiveCloudConfig::new(config.cloud.clone())),
        clock,
        random,
        asked,
        ready,
        stop,
        gate,
        metrics,
        checks,
        view,
        api_server: Arc::new(api_server),
        cloud,
        service_manager,
    };
    let ended = daemon.run(threads, &endpoint_stop, rotation, keeper, endpoint, &handle);
    ended.map_err(|error| vec![error])
}

/// What the threads are made of.
struct Daemon<'a> {
    config: &'a Config,
    live: Arc<LiveCloudConfig>,
    clock: Arc<dyn Clock>,
    random: Arc<Random>,
    /// Set when a signal asks to stop. All else that stops follows [`Daemon::stop`].
    asked: Stop,
    /// Whether the controllers that are enabled could work if it were our turn.
    ready: Arc<AtomicBool>,
    stop: Stop,
    gate: Gate,
    metrics: Metrics,
    checks: Arc<Checks>,
    view: Arc<View>,
    api_server: Arc<Connector>,
    cloud: Arc<Agent>,
    service_manager: Arc<ServiceManager>,
}

/// How long workers may take to end the call they are at. A call to the cloud that was sent is better answered than cut.
const WORKERS_GRACE: Duration = Duration::from_millis(800);
/// How long they may take to notice that it was cut.
const CUT_GRACE: Duration = Duration::from_millis(200);
/// How long events may take after that; they are flushed from the stop on.
const EVENTS_GRACE: Duration = Duration::from_secs(1);
/// How long giving the lease back may take.
const RELEASE_GRACE: Duration = Duration::from_secs(1);
/// How long the other threads may take after that. A name look-up cannot be cut; it ends with the process.
const THREADS_GRACE: Duration = Duration::from_millis(150);

impl Daemon<'_> {
    fn run(
        &self,
        mut threads: Supervisor,
        endpoint_stop: &Stop,
        mut rotation: Rotation,
        keeper: Option<Keeper>,
        endpoint: Option<Endpoint>,
        signals: &Handle,
    ) -> Result<(), Error> {
        // the election outlives the workers, and the endpoint outlives all
        let election_stop = Stop::new();
        rotation.watch_cluster(Arc::clone(&self.api_server));
        rotation.watch_cloud(Arc::clone(&self.cloud), Arc::clone(&self.live));
        if let Some(endpoint) = &endpoint {
            endpoint.watch(&mut rotation);
        }
        let stop = self.stop.token();
        threads.spawn("rotation", move || rotation.run(&stop));
        let mut crew = Crew::new(self, &mut threads);
        let (turns, turn) = unbounded();
        let leadership = match keeper.zip(self.config.flags.election.clone()) {
            Some((keeper, lease)) => Some(self.stand(
                lease,
                keeper,
                crew.recorder(),
                &mut threads,
                &election_stop,
                turns,
            )?),
            None => {
                turns.send(Turn::Leading).expect("it is received below");
                None
            }
        };
        if let Some(endpoint) = endpoint {
            endpoint.start(&mut threads, endpoint_stop.token());
        }
        self.report(&mut threads);
        let ended = self.work(&mut crew, &mut threads, &turn, leadership.as_ref());
        self.service_manager.tell(News::Stopping);
        if let Some(leadership) = &leadership {
            leadership.announce_end();
        }
        self.stop.stop();
        let idle = self.dismiss(crew);
        election_stop.stop();
        if let Some(leadership) = leadership {
            release(leadership, idle);
        }
        endpoint_stop.stop();
        signals.close();
        let left = threads.join(THREADS_GRACE);
        if left.is_empty() {
            info!("stopped");
        } else {
            let left = Vec::from_iter(left).join(",");
            warn!(threads = left.as_str(); "stopped, although some threads have not ended");
        }
        ended
    }

    /// Stands for election.
    fn stand(
        &self,
        lease: leader_election::Options,
        keeper: Keeper,
        recorder: EventRecorder,
        threads: &mut Supervisor,
        stop: &Stop,
        turns: Sender<Turn>,
    ) -> Result<Leadership, Error> {
        let client = || {
            self.api_server
                .client("leader-election", ClientKind::Lease, StopToken::never())
        };
        let identity = identity(&hostname());
        info!(identity = identity.as_str(), lease = lease.name.as_str(); "standing for election");
        let election = Election::new(ElectionOptions {
            lease,
            identity,
            client: client(),
            watches: client(),
            recorder,
            keeper,
            clock: Arc::clone(&self.clock),
            random: Arc::clone(&self.random),
            metrics: &self.metrics,
        });
        let election = election.map_err(Error::Election)?;
        let leadership = election.leadership();
        self.view.show_leadership(leadership.clone());
        let (checked, clock) = (leadership.clone(), Arc::clone(&self.clock));
        self.checks
            .add("leaderElection", Kind::Live, move || checked.check(clock.now()));
        let stop = stop.token();
        threads.spawn("leader", move || {
            // the manager receives until this thread ends
            let ended = election.run(&stop, |turn| drop(turns.send(turn)));
            match ended {
                // nothing else may happen first: another replica may be writing already
                Ended::Lost(_) => std::process::exit(EXIT_LOST),
                // until the endpoint's end, as the supervisor expects
                Ended::Stopped => drop(turns),
            }
        });
        Ok(leadership)
    }

    /// Tells the service manager that the start is over, and goes on telling it how things are. It does not wait for the API server: on a
    /// control plane that one may be started after us.
    fn report(&self, threads: &mut Supervisor) {
        if !self.service_manager.listens() {
            return;
        }
        self.service_manager.tell(News::Ready);
        let (view, clock) = (Arc::clone(&self.view), Arc::clone(&self.clock));
        let started = clock.wall();
        let status = move || view.status(started, &*clock);
        let (manager, checks) = (Arc::clone(&self.service_manager), Arc::clone(&self.checks));
        let stop = self.stop.token();
        threads.spawn("systemd", move || {
            Heartbeat::new(manager, checks, status).run(&stop)
        });
    }

    /// Has the crew get ready, and work once it is our turn, until it is time to stop, for whichever reason.
    fn work<'a>(
        &'a self,
        crew: &mut Crew<'a>,
        threads: &mut Supervisor,
        turn: &Receiver<Turn>,
        leadership: Option<&Leadership>,
    ) -> Result<(), Error> {
        let (wake, woken) = bounded(1);
        let _hook = self.asked.token().on_stop(move || {
            // one wake-up is enough
            let _ = wake.try_send(());
        });
        loop {
            let overdue = leadership.and_then(Leadership::overdue_at);
            select! {
                recv(woken) -> _ => return Ok(()),
                recv(threads.ended()) -> ended => {
                    let ended = ended.expect("the supervisor lives");
                    error!(thread = ended.thread.as_str(), panicked = ended.panicked; "a thread ended unasked");
                    return Err(Error::ThreadEnded { thread: ended.thread });
                }
                recv(turn) -> turn => match turn {
                    Ok(Turn::Standby { holder }) => {
                        info!(holder = holder.as_deref().unwrap_or_default(); "standing by");
                        self.hire(crew, threads);
                    }
                    Ok(Turn::Leading) => {
                        let cache = if crew.is_hired() { Cache::Warm } else { Cache::Fresh };
                        if leadership.is_some() {
                            info!("this replica leads");
                        }
                        self.hire(crew, threads);
                        crew.begin(threads, cache);
                    }
                    // the thread that told them ends the process, or was noticed above
                    Err(_) => return self.wait_for_stop(),
                },
                recv(overdue.map_or_else(never, at)) -> _ => {
                    let late = leadership.and_then(Leadership::overdue_at);
                    if late.is_some_and(|late| late <= Instant::now()) {
                        error!("the lease is lost: its renewal hangs");
                        std::process::exit(EXIT_LOST);
                    }
                }
            }
        }
    }

    fn wait_for_stop(&self) -> Result<(), Error> {
        self.asked.token().wait(Duration::MAX);
        Ok(())
    }

    /// Who this cluster is in the cloud. Asks the API server, for as long as it takes, where the config does not say;
    /// `None` when it is time to stop.
    fn cluster_id(&self) -> Option<ClusterId> {
        if let Some(id) = &self.config.cloud.cluster_id {
            return Some(id.clone());
        }
        let stop = self.asked.token();
        let client = self.api_server.client("", ClientKind::Controllers, stop.clone());
        let stopper = client.clone();
        let _hook = stop.on_stop(move || stopper.shutdown());
        for failures in 0.. {
            let error = match client.send::<Named>(&Call::get("/api/v1/namespaces/kube-system")) {
                Ok(namespace) => match ClusterId::of_uid(&namespace.metadata.uid) {
                    Some(id) => return Some(id),
                    None => format!("kube-system has the odd UID {:?}", namespace.metadata.uid),
                },
                Err(error) => chain(&error),
            };
            if !stop.is_set() {
                warn!(error = error.as_str(); "cannot learn who this cluster is from the UID of kube-system, and the cloud config has no cluster-id");
            }
            if stop.wait(START_BACKOFF.delay(failures, &self.random)) {
                return None;
            }
        }
        None
    }

    /// Gets the controllers that are enabled ready, and fills their caches. Does nothing the second time.
    fn hire<'a>(&'a self, crew: &mut Crew<'a>, threads: &mut Supervisor) {
        let flags = &self.config.flags;
        let enabled = |name| flags.controllers.enables(name);
        if crew.is_hired() || !CONTROLLERS.into_iter().any(enabled) {
            self.ready.store(true, Ordering::Relaxed);
            return;
        }
        let Some(cluster) = self.cluster_id() else { return };
        info!(cluster_id = cluster.as_str(); "getting the controllers ready");
        let cloud = self.inspur(cluster);
        crew.attach(&cloud);
        let (node_writer, nodes) = store::<Node>();
        let mut node_handlers = Vec::new();
        if enabled(controllers::SERVICE) {
            node_handlers.push(crew.prepare_services(threads, cloud.clone(), &nodes));
        }
        if enabled(controllers::NODE) {
            node_handlers.push(crew.prepare_nodes(cloud.clone(), &nodes));
        }
        if enabled(controllers::NODE_LIFECYCLE) {
            crew.prepare_lifecycle(cloud, nodes);
        }
        self.reflect("nodes", "reflect-node", threads, node_writer, node_handlers);
        self.ready.store(true, Ordering::Relaxed);
    }

    fn inspur(&self, cluster_id: ClusterId) -> Arc<InspurCloud> {
        let transport: Arc<dyn Transport> = Arc::clone(&self.cloud) as _;
        Arc::new(InspurCloud::new(
            connections::cloud_options(&self.live.config(), cluster_id),
            transport,
            self.gate.clone(),
            Arc::clone(&self.clock),
            self.stop.token(),
            &self.metrics,
        ))
    }

    /// Keeps a store current, with a client of its own: a blocked watch is ended by shutting its connections down.
    fn reflect<T: Resource>(
        &self,
        resource: &'static str,
        name: &str,
        threads: &mut Supervisor,
        writer: Writer<T>,
        handlers: Vec<Handler<T>>,
    ) {
        let stop = self.stop.token();
        let client = self
            .api_server
            .client("shared-informers", ClientKind::Controllers, stop.clone());
        let stopper = client.clone();
        let reflector = Reflector::new(
            client,
            writer,
            handlers,
            Arc::clone(&self.clock),
            Arc::clone(&self.random),
        )
        .measured(&self.metrics);
        self.look_at(resource, reflector.pulse());
        threads.spawn(name, move || {
            let _hook = stop.on_stop(move || stopper.shutdown());
            reflector.run(&stop);
        });
    }

    fn look_at(&self, resource: &'static str, pulse: Pulse) {
        endpoint::check_informer(&self.checks, resource, pulse.clone(), Arc::clone(&self.clock));
        self.view.show_informer(resource, pulse);
    }

    /// Lets the workers and then the events end what they are at, and cuts what takes longer. Whether all of them have ended.
    fn dismiss(&self, crew: Crew<'_>) -> bool {
        let Leaving {
            working,
            writes,
            flushing,
            events,
        } = crew.leave();
        // nothing is ever sent on these: they end when the last one drops its end, or when patience does
        let ended = |end: &Receiver<()>, patience| {
            let end = end.recv_timeout(patience);
            matches!(end, Err(crossbeam_channel::RecvTimeoutError::Disconnected))
        };
        let mut idle = ended(&working, WORKERS_GRACE);
        self.cloud.shutdown();
        writes.iter().for_each(k8s::Client::shutdown);
        idle = idle || ended(&working, CUT_GRACE);
        let mut flushed = ended(&flushing, EVENTS_GRACE);
        events.shutdown();
        flushed = flushed || ended(&flushing, CUT_GRACE);
        idle && flushed
    }
}

/// Obeys signals: stop, stop at once, look at files.
fn hear(mut signals: Signals, asked: &Stop, files: Waker, threads: &mut Supervisor) {
    let asked = asked.clone();
    threads.spawn("signals", move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                info!("asked to read files again");
                files.wake();
            } else if asked.token().is_set() {
                warn!("asked to stop again: ending at once");
                std::process::exit(EXIT_AT_ONCE);
            } else {
                info!(signal; "asked to stop");
                asked.stop();
            }
        }
    });
}

/// Gives the lease back when nobody writes any more; else it is over by itself. A name look-up cannot be cut, so it has a thread of
/// its own.
fn release(leadership: Leadership, idle: bool) {
    if !idle {
        warn!("not every write has ended: the lease is not given back");
        return leadership.close();
    }
    let (done, is_done) = bounded::<()>(0);
    let mut threads = Supervisor::new(StopToken::never());
    threads.spawn("release", move || {
        let _done = done;
        // what came of it is logged there
        let _ = leadership.release(RELEASE_GRACE);
    });
    let _ = is_done.recv_timeout(RELEASE_GRACE + CUT_GRACE);
}

/// An object of which only the metadata is read.
#[derive(Deserialize)]
struct Named {
    metadata: ObjectMeta,
}

/// Between attempts to learn who we are.
const START_BACKOFF: Backoff = Backoff {
    initial: Duration::from_secs(1),
    cap: Duration::from_secs(30),
    jitter: 0.2,
};

/// Exit code of a second signal.
const EXIT_AT_ONCE: i32 = 130;
/// Exit code after the lease was lost.
const EXIT_LOST: i32 = 1;
