//! A world for one test: a simulated cloud, a cluster, and daemons between them.

pub(crate) mod api;
mod cluster;
pub(crate) mod control_plane;
pub(crate) mod daemon;
pub(crate) mod fixtures;
mod proxy;
pub(crate) mod replica;
pub(crate) mod traffic;
pub(crate) mod unit;

use std::net::TcpListener;
use std::ops::Sub;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use cloud_provider_inspur::runtime::secret::Secret;
use cloud_provider_inspur::runtime::stop::StopToken;
use cloud_provider_inspur::sim::cloud::{
    Account, Cloud, ECS_PATH, InstanceSeed, KEYCLOAK_PATH, Kind, Options, SLB_PATH, Seed,
};
use cloud_provider_inspur::sim::faults::Faults;
use cloud_provider_inspur::sim::server::{Logged, Server};
use cloud_provider_inspur::sim::traffic::Traffic;
use serde_json::Value;

use api::{Api, text};
use cluster::Cluster;
use daemon::{Daemon, DaemonOptions};
use fixtures::{NODES, service_path};

/// How long a condition may take to come true before the test fails: far longer than it ever does.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at. Nothing is asserted about time.
const GLANCE: Duration = Duration::from_millis(10);

/// What the daemons' cloud config is called in the world's folder.
pub const CLOUD_CONFIG: &str = "cloud-config";

/// The tenant that the daemon is, and another one.
const TENANT: &str = "demo";
const SOMEBODY_ELSE: &str = "rival";

/// A cloud and a cluster.
pub struct World {
    /// The cluster, as its administrator sees it.
    pub api: Api,
    cluster: Cluster,
    cloud: Cloud,
    cloud_server: Arc<Server>,
    begun: SystemTime,
    _traffic: Option<Traffic>,
    dir: tempfile::TempDir,
}

/// How often the cloud was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calls {
    /// Reads of SLBs, listeners and members.
    pub reads: usize,
    /// Among them, lists of members.
    pub member_lists: usize,
    /// Changes of listeners and members.
    pub writes: usize,
}

impl Sub for Calls {
    type Output = Self;
    fn sub(self, before: Self) -> Self {
        Self {
            reads: self.reads - before.reads,
            member_lists: self.member_lists - before.member_lists,
            writes: self.writes - before.writes,
        }
    }
}

impl World {
    /// On the control plane that the tests run on.
    pub fn new() -> Self {
        Self::on(Cluster::of_the_run(), None)
    }

    /// With the SLB `slb-1` and the Node `n1`.
    pub fn small() -> Self {
        Self::new().furnished()
    }

    /// A small one in which a daemon serves the Service `web` on port 80.
    pub fn serving() -> (Self, Daemon) {
        Self::small().with_web()
    }

    fn furnished(self) -> Self {
        self.slb("slb-1", "203.0.113.1");
        self.nodes(&[fixtures::node("n1", "127.0.20.1")]);
        self
    }

    fn with_web(self) -> (Self, Daemon) {
        let daemon = self.start();
        self.api.create(
            fixtures::SERVICES,
            &fixtures::service("web").slb("slb-1").port(80, 30080).json(),
        );
        self.until("it is served", &daemon, || self.ingress("web") == ["203.0.113.1"]);
        (self, daemon)
    }

    /// As [`World::small`], on the simulated API whatever the tests run on.
    pub fn small_simulated() -> Self {
        Self::simulated().furnished()
    }

    /// As [`World::serving`], on the simulated API whatever the tests run on.
    pub fn serving_simulated() -> (Self, Daemon) {
        Self::small_simulated().with_web()
    }

    /// On the simulated API whatever the tests run on, to script its faults.
    pub fn simulated() -> Self {
        Self::on(Cluster::simulated(), None)
    }

    /// With a data plane that forwards, for SLBs with loopback addresses.
    pub fn with_traffic() -> Self {
        let cloud = Cloud::new(options());
        let traffic = Traffic::start(cloud.clone(), TRAFFIC_SPEED).expect("room for threads");
        let mut world = Self::on(Cluster::of_the_run(), Some(cloud));
        world._traffic = Some(traffic);
        world
    }

    /// Another cluster on the cloud of `other`.
    pub fn with_cloud_of(mut self, other: &World) -> Self {
        self.cloud = other.cloud.clone();
        self.cloud_server = Arc::clone(&other.cloud_server);
        self
    }

    fn on(cluster: Cluster, cloud: Option<Cloud>) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let api = cluster.api(dir.path());
        api.clean();
        let cloud = cloud.unwrap_or_else(|| Cloud::new(options()));
        let address = "127.0.0.1:0".parse().expect("an address");
        let server = Server::start(address, Arc::new(cloud.clone())).expect("a free port");
        Self {
            api,
            cluster,
            cloud,
            cloud_server: Arc::new(server),
            begun: SystemTime::now(),
            _traffic: None,
            dir,
        }
    }

    // The cloud -----------------------------------------------------------------------------------------------------------

    /// An SLB that faces the internet with this address.
    pub fn slb(&self, id: &str, eip: &str) {
        self.cloud
            .add_slb(Seed::new(id, "10.0.0.4", eip).owned_by(&tenant().user_id));
    }

    /// An SLB without a public address.
    pub fn internal_slb(&self, id: &str, address: &str) {
        let mut seed = Seed::new(id, address, "").owned_by(&tenant().user_id);
        seed.scheme = "internal".into();
        self.cloud.add_slb(seed);
    }

    /// An SLB of another tenant.
    pub fn foreign_slb(&self, id: &str) {
        self.cloud.add_slb(
            Seed::new(id, "10.9.9.9", "203.0.113.9").owned_by(&Account::named(SOMEBODY_ELSE).user_id),
        );
    }

    /// The SLB is lost.
    pub fn remove_slb(&self, id: &str) {
        assert!(self.cloud.delete_slb(id), "{id} was there");
    }

    /// The ids of all SLBs.
    pub fn slbs(&self) -> Vec<String> {
        self.cloud
            .read(|state| state.slbs().map(|slb| slb.id.clone()).collect())
    }

    /// A listener that somebody made by hand.
    pub fn foreign_listener(&self, slb: &str, name: &str, protocol: &str, port: u16) {
        self.cloud.put_listener(slb, name, protocol, port);
    }

    /// What is served, by port: `TCP/80 -> n1:30080 n2:30080`, members by name.
    pub fn served(&self, slb: &str) -> Vec<String> {
        let served = |listener: cloud_provider_inspur::sim::cloud::Listener| {
            let mut members: Vec<String> = listener
                .members
                .iter()
                .map(|member| format!(" {}:{}", member.server_name, member.port))
                .collect();
            members.sort();
            format!("{}/{} ->{}", listener.protocol, listener.port, members.concat())
        };
        self.cloud.listeners(slb).into_iter().map(served).collect()
    }

    /// The names of all listeners, by port.
    pub fn listener_names(&self, slb: &str) -> Vec<String> {
        self.cloud
            .listeners(slb)
            .into_iter()
            .map(|listener| listener.name)
            .collect()
    }

    /// One listener, all of it.
    pub fn listener(
        &self,
        slb: &str,
        protocol: &str,
        port: u16,
    ) -> cloud_provider_inspur::sim::cloud::Listener {
        let found = self
            .cloud
            .listeners(slb)
            .into_iter()
            .find(|l| l.protocol == protocol && l.port == port);
        found.unwrap_or_else(|| panic!("no {protocol}/{port}:\n{}", self.cloud.snapshot()))
    }

    /// How each listener is checked, by port.
    pub fn health_checks(&self, slb: &str) -> Vec<String> {
        let checked = |listener: cloud_provider_inspur::sim::cloud::Listener| {
            let (front, health) = (
                format!("{}/{}", listener.protocol, listener.port),
                listener.health,
            );
            if !health.on {
                return format!("{front} off");
            }
            let path = if health.kind == "http" {
                format!(" {}", health.path)
            } else {
                String::new()
            };
            let port = if health.port == 0 {
                String::new()
            } else {
                format!(" on {}", health.port)
            };
            let (period, timeout, tries) = (health.period_seconds, health.timeout_seconds, health.max_tries);
            format!(
                "{front} {}{path}{port} every {period} s, time-out {timeout} s, {tries} tries",
                health.kind
            )
        };
        self.cloud.listeners(slb).into_iter().map(checked).collect()
    }

    /// The instance ids of a listener's members, sorted.
    pub fn server_ids(&self, slb: &str, protocol: &str, port: u16) -> Vec<String> {
        let mut ids: Vec<String> = self
            .cloud
            .members(slb, protocol, port)
            .into_iter()
            .map(|member| member.server_id)
            .collect();
        ids.sort();
        ids
    }

    /// How often the cloud was called so far.
    pub fn cloud_calls(&self) -> Calls {
        Calls {
            reads: self.cloud.count(|call| call.kind.is_read()),
            member_lists: self.cloud.count(|call| call.kind == Kind::ListMembers),
            writes: self.cloud.count(|call| call.kind.is_write()),
        }
    }

    /// Whether a call is being answered right now.
    pub fn cloud_call_hangs(&self) -> bool {
        self.cloud_server.log().count(|call| call.ended.is_none()) > 0
    }

    /// A machine.
    pub fn instance(&self, seed: InstanceSeed) {
        self.cloud.add_instance(seed);
    }

    /// Changes a machine from outside.
    pub fn change_instance(&self, id: &str, change: impl FnOnce(&mut InstanceSeed)) {
        self.cloud.change_instance(id, change);
    }

    /// A machine is gone.
    pub fn remove_instance(&self, id: &str) {
        assert!(self.cloud.remove_instance(id), "{id} was there");
    }

    /// Every request to the cloud so far.
    pub fn cloud_log(&self) -> Vec<Logged> {
        self.cloud_server.log().entries()
    }

    /// Everything in the cloud, as text.
    pub fn cloud_text(&self) -> String {
        self.cloud.snapshot()
    }

    /// The cloud's script of faults.
    pub fn cloud_faults(&self) -> &Faults {
        self.cloud_server.faults()
    }

    /// Every token given out so far is refused from now on.
    pub fn expire_cloud_tokens(&self) {
        self.cloud.expire_tokens();
    }

    /// The tenant's client has another secret from now on, and no token.
    pub fn change_client_secret(&self, secret: &str) {
        self.cloud
            .set_client_secret(&tenant().client_id, &Secret::new(secret));
        self.cloud.expire_tokens();
    }

    // The cluster ---------------------------------------------------------------------------------------------------------

    /// Makes Nodes.
    pub fn nodes(&self, nodes: &[Value]) {
        for node in nodes {
            self.api.create(NODES, node);
        }
    }

    /// The addresses in a Service's status.
    pub fn ingress(&self, name: &str) -> Vec<String> {
        let service = self.api.get(&service_path(name)).unwrap_or_default();
        let ingress = service["status"]["loadBalancer"]["ingress"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        ingress
            .iter()
            .map(|entry| text(&entry["ip"]).to_string())
            .collect()
    }

    /// Whether each of these Services has an address.
    pub fn ingresses(&self, names: &[&str]) -> bool {
        names.iter().all(|name| !self.ingress(name).is_empty())
    }

    fn events(&self, name: &str) -> Vec<Value> {
        let mut events = self.api.list("/api/v1/namespaces/default/events");
        events.retain(|event| text(&event["involvedObject"]["name"]) == name);
        // an Event's name ends in the nanosecond of its making
        events.sort_by_key(|event| text(&event["metadata"]["name"]).to_string());
        events
    }

    /// The reasons of a Service's Events, in order.
    pub fn reasons(&self, name: &str) -> Vec<String> {
        self.events(name)
            .iter()
            .map(|event| text(&event["reason"]).to_string())
            .collect()
    }

    /// The messages of a Service's Events, in order.
    pub fn messages(&self, name: &str) -> Vec<String> {
        self.events(name)
            .iter()
            .map(|event| text(&event["message"]).to_string())
            .collect()
    }

    /// Deletes all Events.
    pub fn forget_events(&self) {
        for event in self.api.list("/api/v1/namespaces/default/events") {
            self.api.delete(&format!(
                "/api/v1/namespaces/default/events/{}",
                text(&event["metadata"]["name"])
            ));
        }
    }

    /// Versions of all Services, Nodes and Events: unchanged when nothing was written.
    pub fn cluster_text(&self) -> String {
        let paths = ["/api/v1/services", NODES, "/api/v1/namespaces/default/events"];
        let versions = |path: &str| {
            let objects = self.api.list(path).into_iter();
            let line = |o: Value| {
                format!(
                    "{} {}\n",
                    text(&o["metadata"]["name"]),
                    text(&o["metadata"]["resourceVersion"])
                )
            };
            objects.map(line).collect::<String>()
        };
        paths.map(versions).concat()
    }

    /// What names this cluster in the cloud where no config does.
    pub fn cluster_id(&self) -> String {
        let system = self
            .api
            .get("/api/v1/namespaces/kube-system")
            .expect("every cluster has it");
        text(&system["metadata"]["uid"])[..8].to_string()
    }

    /// The simulated API, for what only it can do.
    fn simulation(&self) -> &cluster::Simulation {
        self.cluster
            .simulation()
            .expect("this test runs on World::simulated()")
    }

    /// The simulated API's script of faults.
    pub fn api_faults(&self) -> &Faults {
        self.simulation().server.faults()
    }

    /// Whoever brings no token may do everything: kubectl sends none over plain HTTP.
    pub fn let_anybody_in(&self) {
        self.simulation().core.open(true);
    }

    /// The token in the daemon's kubeconfig is nobody's from now on, on the simulated API; a real one cannot take it back.
    pub fn revoke_daemon_token(&self) {
        if let Some(simulation) = self.cluster.simulation() {
            simulation.core.revoke_token(&self.api.daemon_token);
        }
    }

    /// Whether the cluster is a simulated one.
    pub fn is_simulated(&self) -> bool {
        self.cluster.simulation().is_some()
    }

    /// Puts the Lease of the election into the simulated API as it is, checked by nobody.
    pub fn put_lease_unchecked(&self, lease: Value) {
        self.simulation()
            .core
            .put_unchecked(cloud_provider_inspur::sim::api_server::Resource::Leases, lease);
    }

    /// What a real API server's audit log says so far of those whose names hold `user`.
    pub fn audit_of(&self, user: &str) -> Vec<Value> {
        let Cluster::Real(lease) = &self.cluster else {
            return Vec::new();
        };
        let of_user = |event: &Value| text(&event["user"]["username"]).contains(user);
        replica::audit(&lease.audit_log(), self.begun)
            .into_iter()
            .filter(of_user)
            .collect()
    }

    /// Makes a Service though the simulated API may not answer.
    pub fn simulated_service(&self, object: &Value) {
        let resource = cloud_provider_inspur::sim::api_server::Resource::Services;
        self.simulation()
            .core
            .create(resource, object)
            .expect("a valid Service");
    }

    /// Whether a call to the simulated API, other than a watch, is being answered right now.
    pub fn api_call_hangs(&self) -> bool {
        let hangs = |call: &Logged| call.ended.is_none() && !call.target.contains("watch=");
        self.simulation().server.log().count(hangs) > 0
    }

    /// Breaks every connection to the simulated API.
    pub fn break_watches(&self) {
        self.simulation().server.break_connections();
    }

    /// The simulated API forgets its history.
    pub fn compact(&self) {
        self.simulation().core.compact();
    }

    /// How many lists of Services and Nodes the daemon has asked the simulated API for.
    pub fn api_lists(&self) -> usize {
        self.simulation().server.log().count(|call| {
            call.method == "GET" && !call.target.contains("watch=") && call.target.contains("limit=")
        })
    }

    /// Puts a Service there whose ports are no ports.
    pub fn put_undecodable_service(&self, name: &str, slb: &str) {
        let mut object = fixtures::service(name).slb(slb).json();
        object["metadata"]["uid"] = "odd-uid".into();
        object["spec"]["ports"] = "none".into();
        self.simulation()
            .core
            .put_unchecked(cloud_provider_inspur::sim::api_server::Resource::Services, object);
    }

    // Daemons -------------------------------------------------------------------------------------------------------------

    /// A daemon, logging its decisions.
    pub fn start(&self) -> Daemon {
        self.start_with(&[], "")
    }

    /// One with more flags and more lines in its cloud config.
    pub fn start_with(&self, flags: &[&str], cloud_config: &str) -> Daemon {
        self.start_with_kubeconfig(&self.api.daemon_kubeconfig, flags, cloud_config)
    }

    /// One that asks the instances API, too.
    pub fn start_with_ecs(&self, flags: &[&str]) -> Daemon {
        self.start_with(
            flags,
            &format!("ecsUrl-pre={}{ECS_PATH}\n", self.cloud_server.url()),
        )
    }

    /// One with another kubeconfig.
    pub fn start_on(&self, kubeconfig: &Path) -> Daemon {
        self.start_with_kubeconfig(kubeconfig, &[], "cluster-id=test\n")
    }

    fn start_with_kubeconfig(&self, kubeconfig: &Path, flags: &[&str], cloud_config: &str) -> Daemon {
        let mut all: Vec<String> = [
            "--leader-elect=false",
            "--secure-port=0",
            "--concurrent-service-syncs=4",
            "-v=4",
        ]
        .map(String::from)
        .to_vec();
        all.extend(flags.iter().map(|flag| (*flag).to_string()));
        Daemon::start(&DaemonOptions {
            kubeconfig: kubeconfig.to_path_buf(),
            cloud_config: self.cloud_config_file(cloud_config),
            flags: all,
        })
    }

    /// A cloud config for the tenant, with more lines.
    pub fn cloud_config(&self, url: &str, more: &str) -> String {
        let tenant = tenant();
        format!(
            "# made by a test\nslbUrl-pre={url}{SLB_PATH}\nkeycloakUrl={url}{KEYCLOAK_PATH}\ntoken-client-id={}\n\
             client-secret={}\nrequested-subject={}\n{more}",
            tenant.client_id,
            tenant.client_secret.expose(),
            tenant.subject,
        )
    }

    /// The file of one, written anew; where it is a link, it is written where that leads.
    pub fn cloud_config_file(&self, more: &str) -> PathBuf {
        self.file(CLOUD_CONFIG, &self.cloud_config(&self.cloud_server.url(), more))
    }

    /// Everything that must never be shown, with what it is.
    pub fn secrets(&self) -> Vec<(&'static str, String)> {
        let mut secrets = vec![
            ("the client secret", tenant().client_secret.expose().to_string()),
            ("the API server's token", self.api.daemon_token.clone()),
        ];
        secrets.extend(
            self.cloud
                .issued_tokens()
                .iter()
                .map(|token| ("a cloud token", token.expose().to_string())),
        );
        secrets
    }

    /// Writes a file and returns its path.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        daemon::write(self.dir.path(), name, text)
    }

    // Waiting -------------------------------------------------------------------------------------------------------------

    /// Waits until `condition` holds.
    pub fn until(&self, what: &str, daemon: &Daemon, condition: impl Fn() -> bool) {
        self.until_some(what, daemon, || condition().then_some(()));
    }

    /// Waits until `look` finds something.
    pub fn until_some<T>(&self, what: &str, daemon: &Daemon, look: impl Fn() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "{what}: it never came to that.\n--- the cloud\n{}\n--- its calls\n{}\n--- the cluster\n{}\n--- the daemon\n{}",
                self.cloud.snapshot(),
                self.cloud_server.log().text(),
                self.cluster_text(),
                daemon.output(),
            );
            StopToken::never().wait(GLANCE);
        }
    }

    /// Waits for the next second to begin: creation times have no finer grain.
    pub fn next_second(&self) {
        let second = || {
            SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .expect("after 1970")
                .as_secs()
        };
        let begun = second();
        while second() == begun {
            StopToken::never().wait(GLANCE);
        }
    }

    /// Deletes a Service and takes its finalizer away before the daemon can.
    pub fn delete_without_finalizer(&self, daemon: &Daemon, name: &str) {
        daemon.signal("STOP");
        self.api.delete(&service_path(name));
        self.api.patch(
            &service_path(name),
            &serde_json::json!({"metadata": {"finalizers": null}}),
        );
        daemon.signal("CONT");
    }
}

/// Checks run every 100 ms instead of every 10 s.
const TRAFFIC_SPEED: f64 = 0.01;

fn tenant() -> Account {
    Account::named(TENANT)
}

fn options() -> Options {
    Options {
        accounts: vec![tenant(), Account::named(SOMEBODY_ELSE)],
        ..Options::default()
    }
}

/// A kubeconfig's text.
pub fn kubeconfig(server: &str, token: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\nclusters: [{{name: test, cluster: {{server: \"{server}\"}}}}]\n\
         users: [{{name: test, user: {{token: \"{token}\"}}}}]\n\
         contexts: [{{name: test, context: {{cluster: test, user: test}}}}]\ncurrent-context: test\n"
    )
}

/// A port of the loopback that nobody has right now.
pub fn free_port() -> u16 {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    port.expect("a free port").port()
}

/// The real kubectl.
pub struct Kubectl(PathBuf);

/// kubectl, which is built with the real control plane.
pub fn kubectl() -> Option<Kubectl> {
    Some(Kubectl(control_plane::programs()?.join("kubectl")))
}

impl Kubectl {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Runs it and returns what it printed.
    pub fn run(&self, kubeconfig: &Path, args: &[&str]) -> String {
        let output = Command::new(&self.0)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--namespace", "default"])
            .args(args)
            .output()
            .expect("kubectl was built");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {args:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
