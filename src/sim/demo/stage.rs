//! What the story is played on: both simulators, the data plane, the Nodes' web servers, a folder.

use std::fs::DirBuilder;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::example::Example;
use super::{Ending, Error, cluster};
use crate::sim::api_server::ApiServer;
use crate::sim::cloud::{Account, Cloud, InstanceSeed, Listener, Seed};
use crate::sim::server::{Answer, Core, Incoming, Now, Reply, Server};
use crate::sim::traffic::{Frontend, Served, Traffic, Transport, Usable};

/// Health checks run a hundred times as often as they say.
const TIME_SCALE: f64 = 0.01;
/// So many demos can be told side by side, each on addresses of its own.
const NETWORKS: u8 = 10;

/// Everything that is there before the controller. Dropped, it is gone; in an open ending all but the folder.
pub(super) struct Stage {
    /// INSPUR Cloud.
    pub(super) cloud: Cloud,
    /// Its socket.
    pub(super) cloud_server: Server,
    /// The Kubernetes API.
    pub(super) api: ApiServer,
    /// Its socket.
    pub(super) api_server: Server,
    /// The SLB's public address.
    pub(super) address: IpAddr,
    /// Whose web servers answer on the node port.
    pub(super) nodes: [Node; 2],
    traffic: Traffic,
    folder: Folder,
    _web_servers: [Server; 2],
}

/// A Node of the story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// Its name, and the instance's.
    pub(super) name: String,
    /// The instance's id.
    pub(super) instance: String,
    /// Its internal address.
    pub(super) ip: IpAddr,
}

/// Where clients reach a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entrance {
    /// As the Service says.
    pub(super) wanted: SocketAddr,
    /// As this machine allows: another port where that one cannot be bound.
    pub(super) actual: SocketAddr,
}

impl Stage {
    /// Sets it up for `example`: no Nodes and no Service yet, but everything that serves them.
    pub(super) fn build(example: &Example, ending: Ending) -> Result<Self, Error> {
        let folder = Folder::create(ending).map_err(Error::stage("make a temporary folder"))?;
        let (network, web_servers) = web_servers(example.node_port)?;
        let address = IpAddr::from([127, 0, 10, 1 + network]);
        let cloud = Cloud::default();
        cloud.add_slb(Seed::new(&example.slb, "10.0.0.4", &address.to_string()));
        let nodes = [1, 2].map(|number| node(network, number));
        for Node { name, instance, ip } in &nodes {
            cloud.add_instance(InstanceSeed::new(instance, name, &ip.to_string()));
        }
        let api = ApiServer::new(1);
        api.admin_token(cluster::TOKEN);
        api.open(true);
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let serve = |core: Arc<dyn Core>| {
            Server::start(any_port, core).map_err(Error::stage(format!("listen on {any_port}")))
        };
        let cloud_server = serve(Arc::new(cloud.clone()))?;
        let api_server = serve(Arc::new(api.clone()))?;
        let configs = [
            ("kubeconfig", cluster::kubeconfig(&api_server.url())),
            (
                "cloud-config",
                Account::named("demo").cloud_config_with_ecs(&cloud_server.url()),
            ),
        ];
        for (name, text) in configs {
            let path = folder.path.join(name);
            std::fs::write(&path, text).map_err(Error::stage(format!("write {}", path.display())))?;
        }
        let traffic =
            Traffic::start(cloud.clone(), TIME_SCALE).map_err(Error::stage("start the data plane"))?;
        Ok(Self {
            cloud,
            cloud_server,
            api,
            api_server,
            address,
            nodes,
            traffic,
            folder,
            _web_servers: web_servers,
        })
    }

    /// Where the configs and the log are.
    pub(super) fn folder(&self) -> &Path {
        &self.folder.path
    }

    /// Where clients reach `port` of the SLB, once it is open and goes to exactly `nodes`, all of them healthy.
    pub(super) fn entrance(&self, port: u16, nodes: &[Node]) -> Option<Entrance> {
        let wanted = SocketAddr::new(self.address, port);
        let front = Frontend {
            transport: Transport::Tcp,
            address: wanted,
        };
        let status = self.traffic.status().remove(&front)?;
        let actual = match status.served {
            Served::There => wanted,
            Served::Elsewhere(address) => address,
            Served::Not(_) => return None,
        };
        let served: Vec<IpAddr> = status.members.iter().map(|(member, _)| member.ip()).collect();
        let is_served = nodes.iter().all(|node| served.contains(&node.ip));
        let is_healthy = status.members.iter().all(|(_, usable)| *usable == Usable::Yes);
        (is_served && is_healthy && served.len() == nodes.len()).then_some(Entrance { wanted, actual })
    }

    /// Whether the data plane has closed every port.
    pub(super) fn is_closed(&self) -> bool {
        self.traffic.status().is_empty()
    }

    /// The SLB's listeners and members, a line each.
    pub(super) fn slb_text(&self, slb: &str) -> String {
        let listeners = self.cloud.listeners(slb);
        if listeners.is_empty() {
            return format!("SLB {slb}, {}: no listener\n", self.address);
        }
        let lines = listeners.iter().map(listener_text).collect::<String>();
        format!("SLB {slb}, {}\n{lines}", self.address)
    }
}

fn listener_text(listener: &Listener) -> String {
    let Listener {
        name,
        protocol,
        port,
        health,
        ..
    } = listener;
    let check = match health.on {
        true => format!(
            "{} every {} s, time-out {} s, {} tries",
            health.kind, health.period_seconds, health.timeout_seconds, health.max_tries
        ),
        false => "off".to_owned(),
    };
    let mut members: Vec<String> = listener
        .members
        .iter()
        .map(|member| {
            format!(
                "    member {} at {}:{}\n",
                member.server_name, member.server_ip, member.port
            )
        })
        .collect();
    members.sort();
    let members = members.concat();
    format!("  listener {name}: {protocol} port {port}, health check {check}\n{members}")
}

fn node(network: u8, number: u8) -> Node {
    Node {
        name: format!("node-{number}"),
        instance: format!("i-{number}"),
        ip: IpAddr::from([127, 0, 30 + network, number]),
    }
}

/// The Nodes' web servers on `port`, and the first network where nobody else has it.
fn web_servers(port: u16) -> Result<(u8, [Server; 2]), Error> {
    let start = |network: u8, number: u8| {
        let node = node(network, number);
        let address = SocketAddr::new(node.ip, port);
        Server::start(address, Arc::new(Greeter(node.name))).map_err(|error| (address, error))
    };
    let both = |network| Ok([start(network, 1)?, start(network, 2)?]);
    let mut network = 0;
    loop {
        match both(network) {
            Ok(servers) => return Ok((network, servers)),
            Err((_, error)) if error.kind() == io::ErrorKind::AddrInUse && network + 1 < NETWORKS => {
                network += 1;
            }
            Err((address, error)) => return Err(Error::stage(format!("listen on {address}"))(error)),
        }
    }
}

/// A web server that answers everything with its Node's name.
struct Greeter(String);

impl Core for Greeter {
    fn respond(&self, _: &Incoming, _: Now) -> Answer {
        let reply = Reply {
            body: format!("hello from {}\n", self.0).into_bytes(),
            ..Reply::empty(200)
        };
        reply.with_header("Content-Type", "text/plain").into()
    }
}

/// A folder of its own that nobody else can read.
struct Folder {
    path: PathBuf,
    ending: Ending,
}

impl Folder {
    fn create(ending: Ending) -> io::Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!("inspur-demo-{}-{}", std::process::id(), now.as_micros());
        let path = std::env::temp_dir().join(name);
        // fails where there is one already: whatever is in it was not put there by us
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path, ending })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.ending == Ending::Gone {
            // the system cleans up what we cannot
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::demo::curl::curl;

    #[test]
    fn the_slb_leads_to_healthy_nodes_and_the_folder_goes_with_the_stage() {
        let example = Example::read().unwrap();
        let stage = Stage::build(&example, Ending::Gone).unwrap();
        let folder = stage.folder().to_owned();
        assert!(folder.join("kubeconfig").exists() && folder.join("cloud-config").exists());
        for node in &stage.nodes {
            let answer = curl(SocketAddr::new(node.ip, example.node_port)).unwrap();
            assert_eq!(answer, format!("hello from {}", node.name));
        }
        assert!(stage.is_closed() && stage.entrance(80, &[]).is_none());
        assert!(stage.slb_text(&example.slb).ends_with("no listener\n"));
        drop(stage);
        assert!(!folder.exists());
    }

    #[test]
    fn two_stages_stand_side_by_side() {
        let example = Example::read().unwrap();
        let (one, two) = (
            Stage::build(&example, Ending::Gone).unwrap(),
            Stage::build(&example, Ending::Gone).unwrap(),
        );
        assert!(one.address != two.address && one.nodes != two.nodes);
    }
}
