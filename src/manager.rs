//! The one place that knows all: builds clients, stores, controllers and threads, and stops them in order.

pub mod configz;
mod crew;
pub mod status;

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{bounded, select};
use log::{error, info, warn};
use serde::Deserialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cloud::CloudProvider;
use crate::config::flags::Flags;
use crate::config::{Config, PROGRAM};
use crate::controllers::{self, CONTROLLERS};
use crate::http::Transport;
use crate::http::agent::{Agent, Pem, Roots, Settings, SetupError};
use crate::http::proxy::{ProxyError, ProxyRules};
use crate::informer::{Handler, Reflector, Writer, store};
use crate::inspur::api::{Credentials, Limit, Retrying};
use crate::inspur::name::ClusterId;
use crate::inspur::{self, InspurCloud};
use crate::k8s::connect::{ClientKind, ConnectError, ConnectOptions, Connector, connect};
use crate::k8s::types::{Node, ObjectMeta, Resource};
use crate::k8s::{self, Call};
use crate::runtime::backoff::Backoff;
use crate::runtime::chain;
use crate::runtime::clock::{Clock, SystemClock};
use crate::runtime::gate::Gate;
use crate::runtime::random::Random;
use crate::runtime::stop::Stop;
use crate::runtime::supervise::Supervisor;
use crew::{Crew, Leaving};

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
    let (stop, gate) = (Stop::new(), Gate::open());
    let api_server = api_server(&config.flags, &stop, &gate, &clock);
    let (api_server, cloud) = (api_server, cloud_agent(config));
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
        gate,
        api_server,
        cloud,
    };
    daemon.run(signals).map_err(|error| vec![error])
}

/// What would keep [`run`] from starting whatever the cloud config says; for when that cannot be used, so that all is told at once.
/// Reads files and the environment, and asks nobody.
pub fn faults_beside_the_cloud_config(flags: &Flags) -> Vec<Error> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let gate = Gate::open();
    let api_server = api_server(flags, &Stop::new(), &gate, &clock).err();
    let proxy = ProxyRules::from_env(|name| std::env::var(name).ok()).err();
    api_server.into_iter().chain(proxy.map(Error::from)).collect()
}

/// What the threads are made of.
struct Daemon<'a> {
    config: &'a Config,
    clock: Arc<dyn Clock>,
    random: Arc<Random>,
    stop: Stop,
    gate: Gate,
    api_server: Connector,
    cloud: Arc<Agent>,
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
        let enabled = |name| self.config.flags.controllers.enables(name);
        let any = CONTROLLERS.into_iter().any(enabled);
        let cluster = if any { self.cluster_id() } else { None };
        let crew = cluster.map(|cluster| self.hire(&mut threads, cluster));
        let ended = self.wait(&threads);
        self.stop.stop();
        if let Some(crew) = crew {
            self.dismiss(crew);
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

    /// Starts the controllers that are enabled, and all they need.
    fn hire(&self, threads: &mut Supervisor, cluster: ClusterId) -> Crew<'_> {
        info!(cluster_id = cluster.as_str(); "starting the controllers");
        let flags = &self.config.flags;
        let cloud = self.inspur(cluster);
        let mut crew = Crew::new(self, threads);
        let (node_writer, nodes) = store::<Node>();
        let mut node_handlers = Vec::new();
        if flags.controllers.enables(controllers::SERVICE) {
            node_handlers.push(crew.start_services(threads, Arc::clone(&cloud), &nodes));
        }
        if flags.controllers.enables(controllers::NODE) {
            node_handlers.push(crew.start_nodes(threads, Arc::clone(&cloud), &nodes));
        }
        if flags.controllers.enables(controllers::NODE_LIFECYCLE) {
            crew.start_lifecycle(threads, cloud, nodes);
        }
        self.reflect("reflect-node", threads, node_writer, node_handlers);
        crew
    }

    fn inspur(&self, cluster_id: ClusterId) -> Arc<dyn CloudProvider> {
        let cloud = &self.config.cloud;
        let options = inspur::Options {
            cluster_id,
            slb_url: cloud.slb_url.clone(),
            ecs_url: cloud.ecs_url.clone(),
            region: cloud.region.clone(),
            zone: cloud.zone.clone(),
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
            self.gate.clone(),
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
        );
        threads.spawn(name, move || {
            let _hook = stop.on_stop(move || stopper.shutdown());
            reflector.run(&stop);
        });
    }

    /// Lets the workers and then the events end what they are at, and cuts what takes longer.
    fn dismiss(&self, crew: Crew<'_>) {
        let Leaving {
            working,
            writes,
            flushing,
            events,
        } = crew.leave();
        // nothing is ever sent on these: they end when the last one drops its end, or when patience does
        let _ = working.recv_timeout(WORKERS_GRACE);
        self.cloud.shutdown();
        writes.iter().for_each(k8s::Client::shutdown);
        let _ = flushing.recv_timeout(EVENTS_GRACE);
        events.shutdown();
    }
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

/// The way to the API server; reads files, and asks nobody.
pub(crate) fn api_server(
    flags: &Flags,
    stop: &Stop,
    gate: &Gate,
    clock: &Arc<dyn Clock>,
) -> Result<Connector, Error> {
    Ok(connect(ConnectOptions {
        kubeconfig: flags.kubeconfig.as_deref(),
        master: flags.master.as_deref(),
        qps: flags.kube_api_qps.unwrap_or(0.0),
        burst: flags.kube_api_burst,
        stop: stop.token(),
        gate: gate.clone(),
        clock: Arc::clone(clock),
    })?)
}

/// Connects to the cloud and its token service, through the environment's proxy.
pub(crate) fn cloud_agent(config: &Config) -> Result<Arc<Agent>, Error> {
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
