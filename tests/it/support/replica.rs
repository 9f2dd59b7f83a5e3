//! Two daemons that stand for one: who wrote what when, and who held the lease.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use cloud_provider_inspur::sim::server::{Logged, Server};
use serde_json::Value;

use super::api::text;
use super::cluster::Cluster;
use super::daemon::{Daemon, DaemonOptions};
use super::proxy::Proxy;
use super::{World, kubeconfig};

/// A daemon and the roads that it alone uses, so that what it does can be told from what the other does.
pub struct Replica {
    /// The daemon that stands there now.
    pub daemon: Daemon,
    /// Its road to the API server.
    pub road: Proxy,
    options: DaemonOptions,
    cloud: Server,
    /// Its own door to a simulated API; a real one keeps an audit log.
    api: Option<Server>,
    audit_uid: &'static str,
}

/// One write, by what the server that it reached saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// Which replica, from 0.
    pub replica: usize,
    /// Verb and target.
    pub what: String,
    /// Whether it is about the lease.
    pub of_lease: bool,
    /// Whether the server did it, or may have. A request of which the last byte never came has no effect.
    pub acted: bool,
    /// When it came.
    pub from: SystemTime,
    /// When it was answered.
    pub to: SystemTime,
}

impl Replica {
    /// Starts number 0 or 1 of a world's replicas, with these flags.
    pub fn start(world: &World, number: usize, flags: &[&str]) -> Self {
        let front = || {
            Server::start(
                "127.0.0.1:0".parse().expect("an address"),
                Arc::new(world.cloud.clone()),
            )
        };
        let cloud = front().expect("a free port");
        let name = ["ccm", "ccm-b"][number];
        let (api, target): (_, SocketAddr) = match &world.cluster {
            Cluster::Simulated(simulation) => {
                let address = "127.0.0.1:0".parse().expect("an address");
                let door = Server::start(address, Arc::new(simulation.core.clone())).expect("a free port");
                let target = door.address();
                (Some(door), target)
            }
            Cluster::Real(lease) => (None, SocketAddr::from(([127, 0, 0, 1], lease.port))),
        };
        let road = Proxy::to(target);
        let config = match &world.cluster {
            Cluster::Simulated(_) => kubeconfig(&format!("http://{}", road.address), &world.api.daemon_token),
            Cluster::Real(lease) => {
                let path = lease.file(&format!("{name}-{}.kubeconfig", lease.port));
                let text = fs::read_to_string(path).expect("run.sh wrote it");
                let ca = lease.file("ca.crt");
                text.replace(&format!("127.0.0.1:{}", lease.port), &road.address.to_string())
                    .replace(
                        "certificate-authority: ca.crt",
                        &format!("certificate-authority: \"{}\"", ca.display()),
                    )
            }
        };
        let options = DaemonOptions {
            kubeconfig: world.file(&format!("{name}.kubeconfig"), &config),
            cloud_config: world.file(
                &format!("{name}.conf"),
                &world.cloud_config(&cloud.url(), "cluster-id=test\n"),
            ),
            flags: flags.iter().map(|flag| (*flag).to_string()).collect(),
        };
        Self {
            daemon: Daemon::start(&options),
            road,
            options,
            cloud,
            api,
            audit_uid: name,
        }
    }

    /// Puts a new daemon in the place of one that has ended, and mends its road.
    pub fn replace(&mut self) {
        self.road.mend();
        self.daemon = Daemon::start(&self.options);
    }

    /// Whether this daemon ever led; one that loses the lease ends.
    pub fn leads(&self) -> bool {
        self.daemon.output().contains(LEADING)
    }

    fn acts(&self, replica: usize, audit: &[Value]) -> Vec<Act> {
        let act = |call: Logged| {
            let path = call.target.split('?').next().unwrap_or_default();
            Act {
                replica,
                of_lease: path.contains("/leases"),
                acted: call.acted || call.status.is_none_or(|status| status < 300),
                from: call.dates.0,
                to: call.dates.1.unwrap_or_else(SystemTime::now),
                what: format!("{} {}", call.method, call.target),
            }
        };
        let writes = |call: &Logged| {
            call.method != "GET" && !call.target.contains("/token") && !is_review(&call.target)
        };
        let refused_lease =
            |call: &Logged| call.target.contains("/leases") && call.status.is_none_or(|s| s >= 300);
        let mut acts: Vec<Act> = self
            .cloud
            .log()
            .entries()
            .into_iter()
            .filter(&writes)
            .map(act)
            .collect();
        match &self.api {
            Some(door) => {
                let calls = door.log().entries().into_iter();
                acts.extend(calls.filter(|call| writes(call) && !refused_lease(call)).map(act));
            }
            None => acts.extend(audit.iter().filter_map(|event| self.audited(replica, event))),
        }
        acts
    }

    fn audited(&self, replica: usize, event: &Value) -> Option<Act> {
        let verb = text(&event["verb"]);
        let (uri, resource) = (text(&event["requestURI"]), text(&event["objectRef"]["resource"]));
        let writes = matches!(verb, "create" | "update" | "patch" | "delete") && !is_review(uri);
        let (of_lease, done) = (
            resource == "leases",
            event["responseStatus"]["code"].as_u64() < Some(300),
        );
        let counts = text(&event["user"]["uid"]) == self.audit_uid && writes && (done || !of_lease);
        let time = |key: &str| {
            humantime::parse_rfc3339(text(&event[key]))
                .unwrap_or_else(|error| panic!("{key}: {error}: {event}"))
        };
        counts.then(|| Act {
            replica,
            what: format!("{verb} {uri}"),
            of_lease,
            acted: done,
            from: time("requestReceivedTimestamp"),
            to: time("stageTimestamp"),
        })
    }
}

fn is_review(target: &str) -> bool {
    target.contains("reviews")
}

/// What a daemon logs when it is the leader.
pub const LEADING: &str = "leading";

/// Every write of both replicas since `since`, in order.
pub fn acts(world: &World, replicas: &[Replica; 2], since: SystemTime) -> Vec<Act> {
    let audit = match &world.cluster {
        Cluster::Simulated(_) => Vec::new(),
        Cluster::Real(lease) => audit(&lease.audit_log(), since),
    };
    let mut acts: Vec<Act> = replicas
        .iter()
        .enumerate()
        .flat_map(|(number, replica)| replica.acts(number, &audit))
        .collect();
    acts.sort_by_key(|act| act.from);
    acts
}

/// What an audit log says since then.
pub(super) fn audit(path: &PathBuf, since: SystemTime) -> Vec<Value> {
    let log = fs::read_to_string(path).unwrap_or_default();
    let since = humantime::format_rfc3339_micros(since).to_string();
    log.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| text(&event["requestReceivedTimestamp"]) >= since.as_str())
        .collect()
}

/// Every write that came outside its replica's term, or had an effect and was not over before another's term began.
pub fn strays(acts: &[Act]) -> Vec<String> {
    // beginnings of terms: a lease written by another than the last
    let mut terms: BTreeMap<SystemTime, usize> = BTreeMap::new();
    for lease in acts.iter().filter(|act| act.of_lease) {
        if terms
            .last_key_value()
            .is_none_or(|(_, holder)| *holder != lease.replica)
        {
            terms.insert(lease.from, lease.replica);
        }
    }
    let holder = |at: SystemTime| terms.range(..=at).next_back().map(|(_, holder)| *holder);
    acts.iter()
        .filter(|act| !act.of_lease)
        .filter(|act| {
            let is_ours = |at| holder(at) == Some(act.replica);
            !is_ours(act.from) || (act.acted && !is_ours(act.to))
        })
        .map(|act| {
            let holders = (holder(act.from), holder(act.to));
            format!("{act:?} while the lease was of {holders:?}")
        })
        .collect()
}
