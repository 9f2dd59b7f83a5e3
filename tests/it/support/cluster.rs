//! The cluster of a world: simulated, or a real API server borrowed for the time.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cloud_provider_inspur::http::agent::{Agent, Pem, Roots, Settings};
use cloud_provider_inspur::runtime::yaml;
use cloud_provider_inspur::sim::api_server::{ApiServer, KubeVersion, Rule, grants};
use cloud_provider_inspur::sim::server::Server;

use super::api::Api;
use super::control_plane::{Lease, programs};
use super::daemon::write;
use super::kubeconfig;

/// The tokens of a simulated API.
const ADMIN: &str = "admin-s3cret-token";
const DAEMON: &str = "daemon-s3cret-token";
const DAEMON_TOO: &str = "daemon-s3cret-token-2";

/// Who the daemon is.
const ACCOUNT: &str = "system:serviceaccount:kube-system:inspur-cloud-controller-manager";

/// Where a test's objects live.
pub enum Cluster {
    /// The simulated API.
    Simulated(Simulation),
    /// A real API server.
    Real(Lease),
}

/// A simulated API and its socket.
pub struct Simulation {
    /// What it knows.
    pub core: ApiServer,
    /// Where it listens.
    pub server: Server,
}

impl Cluster {
    /// On the control plane that the tests run on.
    pub fn of_the_run() -> Self {
        match programs() {
            Some(_) => Self::Real(Lease::take()),
            None => Self::simulated(),
        }
    }

    /// A new simulated one, in which the daemon may do exactly what `deploy/rbac.yaml` grants. `SIMULATED_K8S=1.14` plays
    /// the oldest version promised.
    pub fn simulated() -> Self {
        static SEED: AtomicU64 = AtomicU64::new(1);
        let core = ApiServer::new(SEED.fetch_add(1, Ordering::Relaxed));
        if std::env::var("SIMULATED_K8S").is_ok_and(|version| version == "1.14") {
            core.configure(|settings| settings.version = KubeVersion::V1_14);
        }
        core.admin_token(ADMIN);
        core.user_token(DAEMON, ACCOUNT);
        core.user_token(DAEMON_TOO, ACCOUNT);
        core.allow(ACCOUNT, granted());
        let address = "127.0.0.1:0".parse().expect("an address");
        let server = Server::start(address, Arc::new(core.clone())).expect("a free port");
        Self::Simulated(Simulation { core, server })
    }

    /// The simulated API, if it is one.
    pub fn simulation(&self) -> Option<&Simulation> {
        match self {
            Self::Simulated(simulation) => Some(simulation),
            Self::Real(_) => None,
        }
    }

    /// An all-powerful client, and kubeconfigs in `dir`.
    pub fn api(&self, dir: &Path) -> Api {
        match self {
            Self::Simulated(Simulation { server, .. }) => {
                let url = server.url();
                Api {
                    daemon_kubeconfig: write(dir, "ccm.kubeconfig", &kubeconfig(&url, DAEMON)),
                    admin_kubeconfig: write(dir, "admin.kubeconfig", &kubeconfig(&url, ADMIN)),
                    base: url,
                    daemon_token: DAEMON.into(),
                    second_daemon_token: DAEMON_TOO.into(),
                    client_certificates: None,
                    admin_token: ADMIN.into(),
                    transport: transport(Roots::System),
                }
            }
            Self::Real(lease) => {
                let kubeconfig = |who: &str| lease.file(&format!("{who}-{}.kubeconfig", lease.port));
                let token = |who: &str| {
                    let text = std::fs::read_to_string(kubeconfig(who)).expect("run.sh wrote it");
                    let config = yaml::parse(&text).expect("run.sh writes YAML");
                    super::api::text(&config["users"][0]["user"]["token"]).to_string()
                };
                Api {
                    base: format!("https://127.0.0.1:{}", lease.port),
                    daemon_kubeconfig: kubeconfig("ccm"),
                    admin_kubeconfig: kubeconfig("admin"),
                    daemon_token: token("ccm"),
                    second_daemon_token: token("ccm-b"),
                    client_certificates: lease.file("ca.crt").parent().map(Path::to_path_buf),
                    admin_token: token("admin"),
                    transport: transport(Roots::Pem(Pem::File(lease.file("ca.crt")))),
                }
            }
        }
    }
}

fn transport(roots: Roots) -> Arc<Agent> {
    Arc::new(Agent::new(Settings::new("tests", roots)).expect("the CA is good"))
}

/// What `deploy/rbac.yaml` grants to the daemon.
fn granted() -> Vec<Rule> {
    let grants = grants(include_str!("../../../deploy/rbac.yaml")).expect("deploy/rbac.yaml is in order");
    let ours = grants.into_iter().filter(|grant| grant.user == ACCOUNT);
    ours.map(|grant| grant.rule).collect()
}
