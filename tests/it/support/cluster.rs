//! The cluster of a world: simulated, or a real API server borrowed for the time.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cloud_provider_inspur::http::agent::{Agent, Pem, Roots, Settings};
use cloud_provider_inspur::runtime::yaml;
use cloud_provider_inspur::sim::api_server::{ApiServer, KubeVersion, Rule};
use cloud_provider_inspur::sim::server::Server;
use serde_json::Value;

use super::api::{Api, text};
use super::control_plane::{Lease, programs};
use super::daemon::write;
use super::kubeconfig;
use super::role::{documents, words};

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

/// The rules of `deploy/rbac.yaml`, and of the roles that every cluster has and it binds.
fn granted() -> Vec<Rule> {
    let manifest = include_str!("../../../deploy/rbac.yaml");
    let rule = |rule: &Value, namespace: Option<String>| Rule {
        verbs: words(&rule["verbs"]),
        groups: words(&rule["apiGroups"]),
        resources: words(&rule["resources"]),
        names: words(&rule["resourceNames"]),
        namespace,
        paths: words(&rule["nonResourceURLs"]),
    };
    let of_role = |role: &Value| -> Vec<Rule> {
        let namespace = role["metadata"]["namespace"].as_str().map(str::to_owned);
        let rules = role["rules"].as_array().expect("a role has rules").iter();
        rules.map(|one| rule(one, namespace.clone())).collect()
    };
    documents(manifest)
        .iter()
        .flat_map(|document| match text(&document["kind"]) {
            "ClusterRole" | "Role" => of_role(document),
            "ClusterRoleBinding" | "RoleBinding" => everywhere(text(&document["roleRef"]["name"])),
            _ => Vec::new(),
        })
        .collect()
}

/// The rules of a role that every cluster has. Source: kubernetes, plugin/pkg/auth/authorizer/rbac/bootstrappolicy.
fn everywhere(role: &str) -> Vec<Rule> {
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    let create = |group: &str, resource: &str| Rule {
        verbs: words(&["create"]),
        groups: words(&[group]),
        resources: words(&[resource]),
        names: Vec::new(),
        namespace: None,
        paths: Vec::new(),
    };
    match role {
        "system:auth-delegator" => vec![
            create("authentication.k8s.io", "tokenreviews"),
            create("authorization.k8s.io", "subjectaccessreviews"),
        ],
        "extension-apiserver-authentication-reader" => vec![Rule {
            verbs: words(&["get", "list", "watch"]),
            groups: words(&[""]),
            resources: words(&["configmaps"]),
            names: words(&["extension-apiserver-authentication"]),
            namespace: Some("kube-system".into()),
            paths: Vec::new(),
        }],
        _ => Vec::new(),
    }
}
