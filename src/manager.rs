//! The one place that knows all: builds clients, stores, controllers and threads, and stops them in order.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use log::{error, info, warn};
use serde::Deserialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cloud::CloudProvider;
use crate::config::flags::Flags;
use crate::config::{Config, PROGRAM};
use crate::controllers;
use crate::controllers::service::{BackendView, ServiceController, Syncer};
use crate::events::recorder;
use crate::http::Transport;
use crate::http::agent::{Agent, Pem, Roots, Settings, SetupError};
use crate::http::proxy::{ProxyError, ProxyRules};
use crate::informer::{Handler, Reflector, Store, Writer, store};
use crate::inspur::api::{Credentials, Limit, Retrying};
use crate::inspur::name::ClusterId;
use crate::inspur::{self, InspurCloud};
use crate::k8s::connect::{ClientKind, ConnectError, ConnectOptions, Connector, connect};
use crate::k8s::types::{Node, ObjectMeta, Resource, Service};
use crate::k8s::{self, Call};
use crate::runtime::backoff::Backoff;
use crate::runtime::chain;
use crate::runtime::clock::{Clock, SystemClock};
use crate::runtime::random::Random;
use crate::runtime::stop::{HookGuard, Stop, StopToken};
use crate::runtime::supervise::Supervisor;

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

/// Runs the daemon until a signal asks it to stop, or a thread ends unasked.
///
/// # Errors
/// Everything that keeps it from starting, all at once; or why it ended.
pub fn run(config: &Config) -> Result<(), Vec<Error>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let stop = Stop::new();
    let (api_server, cloud) = (api_server(&config.flags, &stop, &clock), cloud_agent(config));
    let (api_server, cloud) = match (api_server, cloud) {
        (Ok(api_server), Ok(cloud)) => (api_server, cloud),
        (api_server, cloud) => return Err(api_server.err().into_iter().chain(cloud.err()).collect()),
    };
    let signals = Signals::new([SIGTERM, SIGINT]).map_err(|source| vec![Error::Signals(source)])?;
    info!(version = env!("CARGO_PKG_VERSION"), api_server = api_server.server(), slb_api = config.cloud.slb_url.as_str(); "starting");
    let daemon = Daemon {
        config,
        clock,
        random: Arc::new(Random::from_entropy()),
        stop,
        api_server,
        cloud,
    };
    daemon.run(signals).map_err(|error| vec![error])
}

/// What would keep [`run`] from starting whatever the cloud config says; for when that cannot be used, so that all is told at once.
/// Reads files and the environment, and asks nobody.
pub fn faults_beside_the_cloud_config(flags: &Flags) -> Vec<Error> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let api_server = api_server(flags, &Stop::new(), &clock).err();
    let proxy = ProxyRules::from_env(|name| std::env::var(name).ok()).err();
    api_server.into_iter().chain(proxy.map(Error::from)).collect()
}

/// What the threads are made of.
struct Daemon<'a> {
    config: &'a Config,
    clock: Arc<dyn Clock>,
    random: Arc<Random>,
    stop: Stop,
    api_server: Connector,
    cloud: Arc<Agent>,
}

/// What was started, and what ends it.
struct Running {
    /// Wakes the workers when it is time to stop.
    _queue: HookGuard,
    /// Disconnected when the last worker has ended.
    workers: Receiver<()>,
    /// What workers write with.
    writes: k8s::Client,
    /// Disconnected when the last event is sent or given up.
    flushed: Receiver<()>,
    /// What events are sent with.
    events: k8s::Client,
}

/// How long workers may take to end the call they are at. A call to the cloud that was sent is better answered than cut.
const WORKERS_GRACE: Duration = Duration::from_millis(800);
/// How long events may take after that; they are flushed from the stop on.
const EVENTS_GRACE: Duration = Duration::from_secs(1);
/// How long the other threads may take after that. A name look-up or a connect in progress cannot be cut; it ends with the process.
const THREADS_GRACE: Duration = Duration::from_millis(150);

impl Daemon<'_> {
    fn run(&self, mut signals: Signals) -> Result<(), Error> {
        let mut threads = Supervisor::new(self.stop.token());
        let (handle, stop) = (signals.handle(), self.stop.clone());
        threads.spawn("signals", move || {
            let mut received = signals.forever();
            if let Some(signal) = received.next() {
                info!(signal; "asked to stop");
                stop.stop();
            }
            if received.next().is_some() {
                warn!("asked to stop again: ending at once");
                std::process::exit(EXIT_AT_ONCE);
            }
        });
        let enabled = self.config.flags.controllers.enables(controllers::SERVICE);
        let cluster = if enabled { self.cluster_id() } else { None };
        let running = cluster.map(|cluster| self.start_services(&mut threads, cluster));
        let ended = self.wait(&threads);
        self.stop.stop();
        if let Some(running) = running {
            self.close(&running);
        }
        handle.close();
        let left = threads.join(THREADS_GRACE);
        if left.is_empty() {
            info!("stopped");
        } else {
            let left = Vec::from_iter(left).join(",");
            warn!(threads = left.as_str(); "stopped, although some threads have not ended");
        }
        ended
    }

    /// Waits until it is time to stop, for whichever reason.
    fn wait(&self, threads: &Supervisor) -> Result<(), Error> {
        let (wake, woken) = bounded(1);
        let _hook = self.stop.token().on_stop(move || {
            // one wake-up is enough
            let _ = wake.try_send(());
        });
        select! {
            recv(woken) -> _ => Ok(()),
            recv(threads.ended()) -> ended => {
                let ended = ended.expect("the supervisor lives");
                error!(thread = ended.thread.as_str(), panicked = ended.panicked; "a thread ended unasked");
                Err(Error::ThreadEnded { thread: ended.thread })
            }
        }
    }

    /// Who this cluster is in the cloud. Asks the API server, for as long as it takes, where the config does not say;
    /// `None` when it is time to stop.
    fn cluster_id(&self) -> Option<ClusterId> {
        if let Some(id) = &self.config.cloud.cluster_id {
            return Some(id.clone());
        }
        let client = self
            .api_server
            .client("", ClientKind::Controllers, self.stop.token());
        let stopper = client.clone();
        let _hook = self.stop.token().on_stop(move || stopper.shutdown());
        for failures in 0.. {
            let error = match client.send::<Named>(&Call::get("/api/v1/namespaces/kube-system")) {
                Ok(namespace) => match ClusterId::of_uid(&namespace.metadata.uid) {
                    Some(id) => return Some(id),
                    None => format!("kube-system has the odd UID {:?}", namespace.metadata.uid),
                },
                Err(error) => chain(&error),
            };
            if !self.stop.token().is_set() {
                warn!(error = error.as_str(); "cannot learn who this cluster is from the UID of kube-system, and the cloud config has no cluster-id");
            }
            if self
                .stop
                .token()
                .wait(START_BACKOFF.delay(failures, &self.random))
            {
                return None;
            }
        }
        None
    }

    /// Starts everything that the service controller needs.
    fn start_services(&self, threads: &mut Supervisor, cluster: ClusterId) -> Running {
        info!(cluster_id = cluster.as_str(), workers = self.config.flags.concurrent_service_syncs; "starting the service controller");
        let cloud = self.inspur(cluster);
        let writes = self
            .api_server
            .client("service-controller", ClientKind::Controllers, self.stop.token());
        let events = self
            .api_server
            .client("service-controller", ClientKind::Events, StopToken::never());
        let (recorder, sink) = recorder(
            "service-controller",
            events.clone(),
            Arc::clone(&self.clock),
            Arc::clone(&self.random),
        );
        let (stop, (unflushed, flushed)) = (self.stop.token(), bounded(0));
        threads.spawn("events", move || {
            let _unflushed: Sender<()> = unflushed;
            sink.run(&stop);
        });

        let (service_writer, services) = store::<Service>();
        let (node_writer, nodes) = store::<Node>();
        let backends = BackendView::new(nodes.clone());
        let syncer = Syncer::new(cloud, writes.clone(), services.clone(), backends, recorder);
        let controller = ServiceController::new(
            syncer,
            services.clone(),
            Arc::clone(&self.clock),
            Arc::clone(&self.random),
        );
        let controller = Arc::new(controller);
        let queue = Arc::clone(&controller);
        let queue = self.stop.token().on_stop(move || queue.shut_down());

        self.reflect(
            "reflect-service",
            threads,
            service_writer,
            controller.service_handler(),
        );
        self.reflect("reflect-node", threads, node_writer, controller.node_handler());
        let (alive, workers) = bounded(0);
        for worker in 0..self.config.flags.concurrent_service_syncs {
            let (controller, services, nodes) = (Arc::clone(&controller), services.clone(), nodes.clone());
            let (stop, alive) = (self.stop.token(), alive.clone());
            threads.spawn(format!("service-{worker}"), move || {
                let _alive: Sender<()> = alive;
                if synced(&services, &nodes, &stop) {
                    controller.run_worker();
                }
            });
        }
        let (period, clock, random) = (
            self.config.flags.min_resync_period,
            Arc::clone(&self.clock),
            Arc::clone(&self.random),
        );
        let stop = self.stop.token();
        threads.spawn("service-resync", move || {
            controller.run_resync(period, &*clock, &random, &stop)
        });
        Running {
            _queue: queue,
            workers,
            writes,
            flushed,
            events,
        }
    }

    fn inspur(&self, cluster_id: ClusterId) -> Arc<dyn CloudProvider> {
        let cloud = &self.config.cloud;
        let options = inspur::Options {
            cluster_id,
            slb_url: cloud.slb_url.clone(),
            ecs_url: cloud.ecs_url.clone(),
            region: cloud.region.clone(),
            zone: cloud.zone.clone(),
            gathering: GATHERING,
            credentials: cloud.credentials.clone(),
            defaults: cloud.defaults.clone(),
            retrying: Retrying::default(),
            limit: Limit {
                qps: cloud.api_qps,
                burst: cloud.api_burst,
            },
        };
        let transport: Arc<dyn Transport> = Arc::clone(&self.cloud) as _;
        Arc::new(InspurCloud::new(
            options,
            transport,
            Arc::clone(&self.clock),
            self.stop.token(),
        ))
    }

    /// Keeps a store current, with a client of its own: a blocked watch is ended by shutting its connections down.
    fn reflect<T: Resource>(
        &self,
        name: &str,
        threads: &mut Supervisor,
        writer: Writer<T>,
        handler: Handler<T>,
    ) {
        let stop = self.stop.token();
        let client = self
            .api_server
            .client("shared-informers", ClientKind::Controllers, stop.clone());
        let stopper = client.clone();
        let reflector = Reflector::new(
            client,
            writer,
            vec![handler],
            Arc::clone(&self.clock),
            Arc::clone(&self.random),
        );
        threads.spawn(name, move || {
            let _hook = stop.on_stop(move || stopper.shutdown());
            reflector.run(&stop);
        });
    }

    /// Lets the workers and then the events end what they are at, and cuts what takes longer.
    fn close(&self, running: &Running) {
        // nothing is ever sent on these: they end when the last one drops its end, or when patience does
        let _ = running.workers.recv_timeout(WORKERS_GRACE);
        self.cloud.shutdown();
        running.writes.shutdown();
        let _ = running.flushed.recv_timeout(EVENTS_GRACE);
        running.events.shutdown();
    }
}

/// Whether both stores are; false when it is time to stop.
fn synced(services: &Store<Service>, nodes: &Store<Node>, stop: &StopToken) -> bool {
    services.wait_synced(stop) && nodes.wait_synced(stop)
}

/// An object of which only the metadata is read.
#[derive(Deserialize)]
struct Named {
    metadata: ObjectMeta,
}

/// How long a look-up of instances waits for others that can share its calls.
const GATHERING: Duration = Duration::from_millis(50);

/// Between attempts to learn who we are.
const START_BACKOFF: Backoff = Backoff {
    initial: Duration::from_secs(1),
    cap: Duration::from_secs(30),
    jitter: 0.2,
};

/// Exit code of a second signal.
const EXIT_AT_ONCE: i32 = 130;

fn api_server(flags: &Flags, stop: &Stop, clock: &Arc<dyn Clock>) -> Result<Connector, Error> {
    Ok(connect(ConnectOptions {
        kubeconfig: flags.kubeconfig.as_deref(),
        master: flags.master.as_deref(),
        qps: flags.kube_api_qps.unwrap_or(0.0),
        burst: flags.kube_api_burst,
        stop: stop.token(),
        clock: Arc::clone(clock),
    })?)
}

/// Connects to the cloud and its token service, through the environment's proxy.
fn cloud_agent(config: &Config) -> Result<Arc<Agent>, Error> {
    let cloud = &config.cloud;
    let plain = |url: &str| url.starts_with("http://");
    let token_url = match &cloud.credentials {
        Credentials::Keycloak { url, .. } | Credentials::Iam { url, .. } => url,
        Credentials::Static(_) => &cloud.slb_url,
    };
    let roots = match &cloud.ca_file {
        Some(path) => Roots::Pem(Pem::File(path.clone())),
        // a simulator on loopback: a machine without a bundle must not fail for want of one
        None if plain(&cloud.slb_url) && plain(token_url) => Roots::Nobody,
        None => Roots::System,
    };
    let mut settings = Settings::new(format!("{PROGRAM}/{}", env!("CARGO_PKG_VERSION")), roots);
    settings.proxy = ProxyRules::from_env(|name| std::env::var(name).ok())?;
    settings.max_idle = config.flags.concurrent_service_syncs;
    Agent::new(settings).map(Arc::new).map_err(Error::Cloud)
}
