//! From flags and files to clients.

mod reload;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;
use std::{fs, io};

use self::reload::Kubeconfig;
pub use self::reload::Reloads;
use super::auth::{Auth, AuthError};
use super::client::{Client, ClientMetrics, ClientOptions, user_agent};
use super::kubeconfig::{self, ClusterAccess, Credentials, Problems};
use super::service_account::ServiceAccount;
use crate::http::agent::{Agent, Settings, SetupError};
use crate::http::bucket::TokenBucket;
use crate::http::proxy::ProxyRules;
use crate::http::{self, Request, Response, Transport};
use crate::runtime::chain;
use crate::runtime::clock::Clock;
use crate::runtime::gate::Gate;
use crate::runtime::random::Random;
use crate::runtime::stop::StopToken;
use crate::runtime::yaml;

/// How to find the API server, and how fast to ask it.
pub struct ConnectOptions<'a> {
    /// Without one, and without a master, this runs in a pod.
    pub kubeconfig: Option<&'a Path>,
    /// Replaces the kubeconfig's server.
    pub master: Option<&'a str>,
    /// Requests a second of the controllers together; zero or less for no limit.
    pub qps: f64,
    /// Requests of the controllers at once.
    pub burst: u32,
    /// Ends a plug-in that prints credentials. Set it last: clients have stop tokens of their own.
    pub stop: StopToken,
    /// What its clients' changes have to pass.
    pub gate: Gate,
    /// Ages credentials.
    pub clock: Arc<dyn Clock>,
    /// Where its clients' requests are measured.
    pub metrics: ClientMetrics,
}

/// Why there is no way to the API server. All of these end the start.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be read.
    #[error("cannot read the kubeconfig {}", path.display())]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no YAML.
    #[error("the kubeconfig {} is not valid", path.display())]
    Yaml {
        /// Its path.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: yaml::Error,
    },
    /// It says something that cannot be; or there is none, and no pod either.
    #[error(transparent)]
    Config(#[from] Problems),
    /// A certificate that it names cannot be used.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// A token that it names cannot be used.
    #[error(transparent)]
    Auth(#[from] AuthError),
}

/// What a client is for: each has its own limit, so that none can starve another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    /// Informers and controllers share one limit, the one of the flags.
    Controllers,
    /// The lease: 5 a second.
    Lease,
    /// Events: 5 a second, 25 at once.
    Events,
}

/// Makes clients of one API server, and keeps their certificates and credentials as the files say: see [`Connector::reload`].
pub struct Connector {
    server: String,
    agent: Arc<Agent>,
    auth: Arc<Auth>,
    /// `None` where there is no such file.
    kubeconfig: Option<Mutex<Kubeconfig>>,
    plugins: Turns,
    stop: StopToken,
    gate: Gate,
    clock: Arc<dyn Clock>,
    random: Arc<Random>,
    metrics: ClientMetrics,
    controllers: Arc<TokenBucket>,
    lease: Arc<TokenBucket>,
    events: Arc<TokenBucket>,
}

/// Finds the API server: the kubeconfig's, the master's, or the pod's.
///
/// # Errors
/// A file that cannot be read or used.
pub fn connect(options: ConnectOptions<'_>) -> Result<Connector, ConnectError> {
    let access = match (options.kubeconfig, options.master) {
        (Some(path), master) => read_kubeconfig(path, master)?,
        (None, Some(master)) => kubeconfig::only_master(master)?,
        (None, None) => kubeconfig::in_cluster(
            |name| std::env::var(name).ok(),
            Path::new(kubeconfig::POD_ACCOUNT),
        )?,
    };
    Connector::new(access, options)
}

fn read_kubeconfig(path: &Path, master: Option<&str>) -> Result<ClusterAccess, ConnectError> {
    let text = fs::read_to_string(path).map_err(|source| ConnectError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    parse_kubeconfig(&text, path, master)
}

fn parse_kubeconfig(text: &str, path: &Path, master: Option<&str>) -> Result<ClusterAccess, ConnectError> {
    let config = yaml::parse(text).map_err(|source| ConnectError::Yaml {
        path: path.to_owned(),
        source,
    })?;
    Ok(kubeconfig::resolve(&config, path, master)?)
}

/// Which plug-in's certificates count: one that was replaced may still print one.
type Turns = Arc<Mutex<u64>>;

/// What makes credentials of what a kubeconfig says.
struct Sources<'a> {
    agent: &'a Arc<Agent>,
    clock: &'a Arc<dyn Clock>,
    stop: &'a StopToken,
    plugins: &'a Turns,
}

impl Sources<'_> {
    /// `turn` is when a plug-in's certificates count.
    fn auth(&self, credentials: Credentials, turn: u64) -> Result<Auth, AuthError> {
        Ok(match credentials {
            Credentials::Nobody => Auth::nobody(),
            Credentials::Token { from, token } => Auth::token(&from, &token)?,
            Credentials::TokenFile { path, fallback } => {
                Auth::token_file(&path, fallback, Arc::clone(self.clock))?
            }
            Credentials::Exec(config) => {
                let (agent, turns) = (Arc::clone(self.agent), Arc::clone(self.plugins));
                let on_identity = Box::new(move |identity| {
                    let now = turns.lock().expect("no holder of the plug-ins' turns panics");
                    if *now != turn {
                        return Err("another kubeconfig is in use meanwhile".to_owned());
                    }
                    agent.set_identity(Some(identity)).map_err(|error| chain(&error))
                });
                Auth::exec(*config, Arc::clone(self.clock), self.stop.clone(), on_identity)
            }
        })
    }
}

impl Connector {
    fn new(access: ClusterAccess, options: ConnectOptions<'_>) -> Result<Self, ConnectError> {
        let ConnectOptions {
            kubeconfig,
            master,
            qps,
            burst,
            stop,
            gate,
            clock,
            metrics,
        } = options;
        let kubeconfig = kubeconfig.map(|path| Mutex::new(Kubeconfig::new(path, master, access.clone())));
        let agent = Arc::new(Agent::with_clock(
            Settings {
                identity: access.identity,
                server_name: access.server_name,
                proxy: access.proxy.map_or(ProxyRules::direct(), ProxyRules::always),
                ..Settings::new(user_agent(""), access.roots)
            },
            Arc::clone(&clock),
        )?);
        let plugins = Turns::default();
        let sources = Sources {
            agent: &agent,
            clock: &clock,
            stop: &stop,
            plugins: &plugins,
        };
        let auth = sources.auth(access.credentials, 0)?;
        let bucket = |qps, burst| Arc::new(TokenBucket::new(qps, burst, Arc::clone(&clock)));
        Ok(Self {
            server: access.server,
            agent,
            auth: Arc::new(auth),
            kubeconfig,
            plugins,
            stop,
            gate,
            random: Arc::new(Random::from_entropy()),
            metrics,
            controllers: bucket(qps, burst),
            lease: bucket(5.0, 5),
            events: bucket(5.0, 25),
            clock,
        })
    }

    /// The URL of the API server.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// When the client certificate ends that is in use; `None` without one.
    pub fn certificate_expiry(&self) -> Option<SystemTime> {
        self.agent.certificate_expiry()
    }

    /// A client with connections of its own. `component` is the part of the daemon that it works for, `stop` ends its waits;
    /// a watch that blocks is ended by [`Client::shutdown`], so each watch needs a client of its own.
    pub fn client(&self, component: &str, kind: ClientKind, stop: StopToken) -> Client {
        let transport = Arc::new(self.agent.sibling());
        self.client_over(transport, Arc::clone(&self.auth), component, kind, stop)
    }

    /// A client that is the service account `kube-system/<account>` to the API server, and works for the part of the daemon of that name. It asks
    /// for its tokens as ourselves, the first when it first needs one, and shows no certificate.
    pub fn client_as(&self, account: &str, kind: ClientKind, stop: StopToken) -> Client {
        let ourselves = self.client(ACCOUNTS, kind, stop.clone());
        let transport = Arc::new(WithHelper {
            own: self.agent.nameless_sibling(),
            helper: ourselves.clone(),
        });
        let tokens = ServiceAccount::new(account, ourselves, Arc::clone(&self.clock));
        let auth = Arc::new(Auth::service_account(tokens));
        self.client_over(transport, auth, account, kind, stop)
    }

    fn client_over(
        &self,
        transport: Arc<dyn Transport>,
        auth: Arc<Auth>,
        component: &str,
        kind: ClientKind,
        stop: StopToken,
    ) -> Client {
        let bucket = match kind {
            ClientKind::Controllers => &self.controllers,
            ClientKind::Lease => &self.lease,
            ClientKind::Events => &self.events,
        };
        Client::with_options(ClientOptions {
            base: self.server.clone(),
            transport,
            auth,
            gate: self.gate.clone(),
            bucket: Some(Arc::clone(bucket)),
            component: component.to_owned(),
            stop,
            clock: Arc::clone(&self.clock),
            random: Arc::clone(&self.random),
            metrics: self.metrics.clone(),
        })
    }
}

/// Who asks for the tokens of service accounts, in the User-Agent. Source: ccm-behaviour.md 2.5.
const ACCOUNTS: &str = "cloud-controller-manager";

/// A transport that takes another client along when it is shut down.
struct WithHelper {
    own: Agent,
    helper: Client,
}

impl Transport for WithHelper {
    fn exchange(&self, request: &Request) -> Result<Response, http::Error> {
        self.own.exchange(request)
    }

    fn shutdown(&self) {
        self.own.shutdown();
        self.helper.shutdown();
    }
}
