//! Where a page is tried: a cluster, a cloud, and a reader.

use std::collections::BTreeMap;
use std::path::Path;

use super::blocks::{Block, Run};
use super::controller_manager;
use super::reader::Reader;
use crate::support::daemon::Daemon;
use crate::support::fixtures::node;
use crate::support::{Kubectl, World, free_port, kubectl};

/// What the pages have as an example.
pub const SLB: &str = "slb-0000000898";
/// Its address on the Internet.
pub const ADDRESS: &str = "203.0.113.1";

/// A cluster on a real API server, a cloud with an SLB and an instance, and the reader of a page at the administrator's machine.
pub struct Town {
    /// The cluster and the cloud.
    pub world: World,
    /// Who reads the page.
    pub reader: Reader,
    /// Behind those that a page gives the daemon.
    pub flags: Vec<String>,
    kubectl: Kubectl,
}

impl Town {
    /// `None` without a real API server.
    pub fn new() -> Option<Self> {
        let kubectl = kubectl()?;
        let world = World::new();
        world.slb(SLB, ADDRESS);
        let mut town = Self {
            flags: flags(),
            reader: Reader::new(),
            kubectl,
            world,
        };
        town.forget();
        let mut new = node("n1", "127.0.20.1");
        new["spec"] = serde_json::json!({"taints": [{"key": "node.cloudprovider.kubernetes.io/uninitialized", "value": "true", "effect": "NoSchedule"}]});
        town.world.nodes(&[new]);
        town.furnish();
        Some(town)
    }

    /// Takes away what pages have made on this API server before; `World` sees to Services, Nodes and the Lease.
    fn forget(&self) {
        let system = [
            "-n",
            "kube-system",
            "delete",
            "--ignore-not-found",
            "--wait=false",
        ];
        let labelled = "app.kubernetes.io/name=inspur-cloud-controller-manager";
        for what in [
            &["deployment,poddisruptionbudget,configmap,secret", "-l", labelled][..],
            &["secret", "-l", "owner=helm"],
            &[
                "secret/inspur-cloud-controller-manager-token",
                "deployment/cloud-controller-manager",
            ],
            &[
                "csr/inspur-ccm",
                "clusterrolebinding/inspur-ccm",
                "rolebinding/inspur-ccm",
            ],
        ] {
            self.kubectl(&[&system, what].concat());
        }
    }

    /// The machine's files and programs, and what the reader writes for the page's examples.
    fn furnish(&mut self) {
        let Self { world, reader, .. } = self;
        std::fs::write(
            reader.at("etc/kubernetes/admin.conf"),
            world.api.kubeconfig_with(world.api.admin_token()),
        )
        .expect("the folder is ours");
        let authority = world
            .api
            .client_certificates
            .as_deref()
            .expect("a real API server");
        std::fs::copy(authority.join("ca.crt"), reader.at("etc/kubernetes/pki/ca.crt"))
            .expect("run.sh made it");
        reader.program_at("kubectl", self.kubectl.path(), "");
        for (name, more) in [("kubeadm", ""), ("helm", "--take-ownership")] {
            if let Some(path) = tool(name) {
                reader.program_at(name, Path::new(&path), more);
            }
        }
        let config = std::fs::read_to_string(world.cloud_config_file("")).expect("it was just written");
        let own = settings(&config);
        for (example, key) in [
            (
                "https://service.cloud.inspur.com/regionsvc-cn-north/slb/v1/slbs",
                "slbUrl-pre",
            ),
            (
                "https://auth.example.com/auth/realms/picp/protocol/openid-connect/token",
                "keycloakUrl",
            ),
            ("my-client", "token-client-id"),
            ("change-me", "client-secret"),
            ("my-user-id", "requested-subject"),
        ] {
            reader.writes(example, own[key]);
        }
    }

    /// Types a block, if the tests are to run it here.
    pub fn types(&mut self, block: &Block, daemon: Option<&Daemon>) {
        let place = format!("{}:{}", block.page, block.line);
        let minor = self.world.api.minor();
        match block.run {
            Run::ByTests { from, before } if (from..before).contains(&minor) => {}
            _ => return,
        }
        for name in ["kubeadm", "helm"] {
            if block.calls(name) && tool(name).is_none() {
                eprintln!("skipped: {place}, since {} names no {name}", name.to_uppercase());
                return;
            }
        }
        controller_manager::manage(&self.world);
        if let Err(said) = self.reader.types(block) {
            let log = daemon.map(Daemon::output).unwrap_or_default();
            panic!(
                "{place}:\n{}\n--- it said\n{said}\n--- the daemon\n{log}",
                block.text
            );
        }
    }

    /// What is served on the SLB.
    pub fn served(&self) -> Vec<String> {
        self.world.served(SLB)
    }

    /// The real kubectl, as the administrator.
    pub fn kubectl(&self, args: &[&str]) -> String {
        self.kubectl.run(&self.world.api.admin_kubeconfig, args)
    }

    /// Everything that the reader had to fill in was asked for.
    pub fn leaves(self) {
        let idle = self.reader.not_asked_for();
        assert!(idle.is_empty(), "the page has no {idle:?}");
    }
}

/// The tests' own port, on loopback, and leases that are not long to wait for.
fn flags() -> Vec<String> {
    let port = format!("--secure-port={}", free_port());
    let others = [
        "--bind-address=127.0.0.1",
        "--leader-elect-lease-duration=3s",
        "--leader-elect-renew-deadline=2s",
        "--leader-elect-retry-period=500ms",
        "-v=4",
    ];
    std::iter::once(port).chain(others.map(str::to_owned)).collect()
}

/// A program that not every machine has: the variable of its name says where it is.
pub fn tool(name: &str) -> Option<String> {
    std::env::var(name.to_uppercase())
        .ok()
        .filter(|path| !path.is_empty())
}

/// The lines of a cloud config by key.
fn settings(cloud_config: &str) -> BTreeMap<&str, &str> {
    let lines = cloud_config.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).collect()
}
