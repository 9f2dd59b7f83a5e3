//! A cloud and a cluster to run the daemon in.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloud_provider_inspur::runtime::stop::StopToken;
use cloud_provider_inspur::sim::api_server::{ApiServer, Resource};
use cloud_provider_inspur::sim::cloud::{Account, Cloud, Options, Seed, State};
use cloud_provider_inspur::sim::server::Server;
use serde_json::{Value, json};

use crate::process::Daemon;

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) const TOKEN: &str = "bench-token";

/// A simulated cloud and a simulated Kubernetes API, on sockets.
pub(crate) struct World {
    pub(crate) cloud: Cloud,
    pub(crate) cloud_server: Server,
    pub(crate) api: ApiServer,
    pub(crate) api_server: Server,
    dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let (cloud, api) = (Cloud::new(Options::default()), ApiServer::new(1));
        api.admin_token(TOKEN);
        let address = "127.0.0.1:0".parse().expect("an address");
        Self {
            cloud_server: Server::start(address, Arc::new(cloud.clone())).expect("a free port"),
            api_server: Server::start(address, Arc::new(api.clone())).expect("a free port"),
            cloud,
            api,
            dir: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    /// Starts the daemon with these flags, and others by default, but for election and endpoint, which are off. It knows of no instances API.
    pub(crate) fn start(&self, flags: &[&str]) -> Daemon {
        self.start_on(
            &Account::named("demo").cloud_config(&self.cloud_server.url()),
            flags,
        )
    }

    /// The same with the instances API.
    pub(crate) fn start_with_instances(&self, flags: &[&str]) -> Daemon {
        let url = self.cloud_server.url();
        self.start_on(&Account::named("demo").cloud_config_with_ecs(&url), flags)
    }

    fn start_on(&self, cloud_config: &str, flags: &[&str]) -> Daemon {
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: \"{}\"}}}}]\n\
             users: [{{name: u, user: {{token: \"{TOKEN}\"}}}}]\n\
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\ncurrent-context: c\n",
            self.api_server.url()
        );
        let mut args = vec![
            format!("--kubeconfig={}", self.file("kubeconfig", &kubeconfig).display()),
            format!(
                "--cloud-config={}",
                self.file("cloud-config", cloud_config).display()
            ),
        ];
        // the last of a flag counts
        args.extend(["--leader-elect=false", "--secure-port=0"].map(str::to_owned));
        args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        Daemon::start(self.dir.path(), &args)
    }

    /// Where a file of that name is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        // another daemon may be reading it
        if std::fs::read_to_string(&path).ok().as_deref() != Some(text) {
            std::fs::write(&path, text).expect("the folder is writable");
        }
        path
    }

    /// SLBs `slb-0` and so on, with so many Services of one port on each, on Nodes `node-0` and so on.
    pub(crate) fn fill(&self, slbs: usize, services_each: usize, nodes: usize) {
        (0..nodes).for_each(|number| self.add_node(number));
        for slb in 0..slbs {
            let address = format!("203.0.113.{slb}");
            self.cloud
                .add_slb(Seed::new(&format!("slb-{slb}"), "10.0.0.4", &address));
        }
        // neighbours by name are not neighbours in the cloud: nothing may depend on a lucky order
        for port in 0..services_each {
            for slb in 0..slbs {
                self.create(Resource::Services, &service(slb, port, services_each));
            }
        }
    }

    pub(crate) fn add_node(&self, number: usize) {
        self.create(Resource::Nodes, &node(number));
    }

    pub(crate) fn remove_node(&self, number: usize) {
        assert!(
            self.api.delete(Resource::Nodes, "", &format!("node-{number}")),
            "it was there"
        );
    }

    fn create(&self, resource: Resource, object: &Value) {
        if let Err(message) = self.api.create(resource, object) {
            panic!("{message}: {object}");
        }
    }

    /// Waits until `look` holds for the cloud.
    pub(crate) fn until(&self, what: &str, daemon: &Daemon, mut look: impl FnMut(&State) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let glance = Duration::from_secs(1);
        while self
            .cloud
            .wait_until(glance, |state| look(state).then_some(()))
            .is_none()
        {
            assert!(
                daemon.is_running() && Instant::now() < deadline,
                "{what}: it never came to that\n{}",
                daemon.output()
            );
        }
    }

    /// Waits until every Service has an address.
    pub(crate) fn until_served(&self, daemon: &Daemon) {
        let deadline = Instant::now() + PATIENCE;
        for key in self.api.objects(Resource::Services).keys() {
            let (namespace, name) = key.split_once('/').expect("Services lie in namespaces");
            let ingress = || {
                let object = self.api.object(Resource::Services, namespace, name)?;
                let ingress = object.pointer("/status/loadBalancer/ingress")?.as_array()?;
                (!ingress.is_empty()).then_some(())
            };
            while ingress().is_none() {
                assert!(
                    Instant::now() < deadline,
                    "{key}: no address\n{}",
                    daemon.output()
                );
                pause(Duration::from_millis(1));
            }
        }
    }

    /// Waits until the cloud was not called for so long.
    pub(crate) fn until_quiet(&self, time: Duration) {
        until_still(time, || self.cloud_server.log().count(|_| true));
    }

    /// Waits until the Kubernetes API was not called for so long either: Events are sent slowly.
    pub(crate) fn until_silent(&self, time: Duration) {
        let calls = || self.api_server.log().count(|_| true) + self.cloud_server.log().count(|_| true);
        until_still(time, calls);
    }
}

fn until_still(time: Duration, count: impl Fn() -> usize) {
    let mut before = count();
    loop {
        pause(time);
        let now = count();
        if now == before {
            return;
        }
        before = now;
    }
}

/// Lets time pass.
pub(crate) fn pause(time: Duration) {
    StopToken::never().wait(time);
}

/// Whether each SLB has so many listeners, each with so many members.
pub(crate) fn complete(state: &State, listeners: usize, members: usize) -> bool {
    state.slbs().all(|slb| {
        slb.listeners.len() == listeners && slb.listeners.values().all(|l| l.members.len() == members)
    })
}

fn service(slb: usize, port: usize, services_each: usize) -> Value {
    let number = slb * services_each + port;
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": format!("service-{port}-{slb}"), "namespace": "default",
            "annotations": {"service.beta.kubernetes.io/inspur-load-balancer-slbid": format!("slb-{slb}")},
        },
        "spec": {"type": "LoadBalancer", "ports": [
            {"protocol": "TCP", "port": 8000 + port, "targetPort": 80, "nodePort": 30000 + number},
        ]},
    })
}

fn node(number: usize) -> Value {
    let (name, address) = (format!("node-{number}"), address(number));
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name},
        "spec": {"providerID": format!("incloud://i-{name}")},
        "status": {"addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}]},
    })
}

pub(crate) fn address(number: usize) -> String {
    format!("10.1.{}.{}", number / 250, number % 250 + 1)
}
