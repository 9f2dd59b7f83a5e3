//! Nodes that join, and passes over those that are there: calls to the ECS API, at 20 ms each, and time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cloud_provider_inspur::http::agent::{Agent, Roots, Settings};
use cloud_provider_inspur::k8s::{Call, Client, PatchType};
use cloud_provider_inspur::runtime::stop::StopToken;
use cloud_provider_inspur::sim::api_server::Resource;
use cloud_provider_inspur::sim::cloud::{InstanceSeed, Kind};
use cloud_provider_inspur::sim::server::Logged;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::process::Daemon;
use crate::report::{Millis, Report, Times};
use crate::world::{PATIENCE, World, address, pause};

const LATENCY: Duration = Duration::from_millis(20);
const NODES: usize = 5000;
const WORKERS: u32 = 8;
/// A call is about so many Nodes.
const AT_ONCE: usize = 100;
/// So many Nodes join at one moment.
const TOGETHER: usize = 20;
const UNINITIALIZED: &str = "node.cloudprovider.kubernetes.io/uninitialized";

/// 5,000 Nodes that wait to be initialised: at several limits, the last of which is none, so that daemon and simulators share the CPUs
/// and these are the bound; and with an API server that takes its time, where it is the workers that do. Then some that join together.
pub(crate) fn joining(report: &Report) {
    report.section("5,000 uninitialised Nodes, 20 ms a call, 8 workers");
    let writes = 2 * NODES;
    let alone = write_time(writes);
    report.tell(
        "10,000 writes to the simulated API, by eight bare clients",
        Millis(alone),
    );
    for (qps, write) in [(500, 0), (2000, 0), (10_000, 5), (10_000, 0)] {
        let write = Duration::from_millis(write);
        let world = world((0..NODES).map(|number| node(number, "True", true)));
        world.api_server.faults().set_latency(write);
        let begun = Instant::now();
        let daemon = world.start_with_instances(&[
            "--controllers=cloud-node-controller,cloud-node-lifecycle-controller",
            &format!("--kube-api-qps={qps}"),
            "--kube-api-burst=100",
            &format!("--concurrent-node-syncs={WORKERS}"),
        ]);
        let taken = until_initialized(&world, &daemon, NODES, begun);
        let calls = NODES / AT_ONCE;
        let limited = Duration::from_secs_f64(writes as f64 / f64::from(qps));
        let shared = write * writes as u32 / WORKERS;
        let bound = limited.max(alone).max(shared).max(LATENCY * calls as u32);
        let made = patches(&world);
        report.tell(
            &format!("at --kube-api-qps={qps}, {} ms a write: bound", write.as_millis()),
            Millis(bound),
        );
        report.tell("  CPU of the daemon", Millis(daemon.activity().cpu));
        report.at_most("  describe calls", describes(&world), calls);
        report.at_most("  writes", made, writes);
        let what = "  spawn → all are initialised";
        if write.is_zero() {
            report.at_most(what, Millis(taken), Millis(bound.mul_f64(1.2)));
        } else {
            // nobody promised it: it shows that the workers share the writes
            report.tell(what, Millis(taken));
        }
        report.tell(
            "  the same / bound",
            Times(taken.as_secs_f64() / bound.as_secs_f64()),
        );
        if qps == 10_000 && write.is_zero() {
            together(report, &world, &daemon);
        }
    }
}

/// Nodes that join at one moment, with nothing else to do.
fn together(report: &Report, world: &World, daemon: &Daemon) {
    // what is refreshed at the start, and what is known from that
    world.until_quiet(Duration::from_secs(1));
    world.cloud.clear_calls();
    let begun = Instant::now();
    for number in NODES..NODES + TOGETHER {
        join(world, node(number, "True", true));
    }
    let taken = until_initialized(world, daemon, NODES + TOGETHER, begun);
    report.at_most("20 Nodes that join together: describe calls", describes(world), 1);
    // they are gathered for 50 ms, and asked about once
    report.tell(
        "20 Nodes that join together: until all are initialised",
        Millis(taken),
    );
}

/// What a pass of the lifecycle controller costs.
pub(crate) fn passes(report: &Report) {
    report.section("Passes over 5,000 Nodes, 20 ms a call");
    for (ready, calls) in [("True", 0), ("Unknown", NODES / AT_ONCE)] {
        let world = world((0..NODES).map(|number| node(number, ready, false)));
        let daemon = world.start_with_instances(&["--controllers=cloud-node-lifecycle-controller"]);
        if calls > 0 {
            world.until("it asks", &daemon, |state| !state.calls().is_empty());
        }
        // a pass has ended by then, and the next begins five seconds after that
        pause(Duration::from_secs(2));
        world.until_quiet(Duration::from_millis(500));
        let what = format!("describe calls of one, all Ready: {ready}");
        report.at_most(&what, describes(&world), calls);
        report.tell(
            "  CPU of the daemon with its start",
            Millis(daemon.activity().cpu),
        );
        report.at_most("  writes", patches(&world), 0);
    }
}

fn world(nodes: impl Iterator<Item = Value>) -> World {
    let world = World::new();
    nodes.for_each(|node| join(&world, node));
    world.cloud_server.faults().set_latency(LATENCY);
    world
}

/// Puts a Node there, and its instance.
fn join(world: &World, node: Value) {
    let name = node["metadata"]["name"]
        .as_str()
        .expect("it has a name")
        .to_owned();
    let ip = node["status"]["addresses"][0]["address"].as_str();
    let ip = ip.expect("it has an address").to_owned();
    world
        .cloud
        .add_instance(InstanceSeed::new(&format!("i-{name}"), &name, &ip));
    let created = world.api.create(Resource::Nodes, &node);
    assert!(created.is_ok(), "{created:?}");
}

/// One as kubelet registers it, or one that is initialised already.
fn node(number: usize, ready: &str, new: bool) -> Value {
    let name = format!("node-{number:04}");
    let mut node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "annotations": {"node.beta.kubernetes.io/instance-id": format!("i-{name}")}},
        "spec": {},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address(number)}, {"type": "Hostname", "address": format!("{name}.local")}],
            "conditions": [{"type": "Ready", "status": ready, "reason": "Test"}],
        },
    });
    if new {
        node["spec"]["taints"] = json!([{"key": UNINITIALIZED, "value": "true", "effect": "NoSchedule"}]);
    } else {
        node["spec"]["providerID"] = json!(format!("incloud://i-{name}"));
    }
    node
}

/// Waits until so many are initialised; how long that took since `begun`.
fn until_initialized(world: &World, daemon: &Daemon, nodes: usize, begun: Instant) -> Duration {
    let deadline = Instant::now() + PATIENCE;
    // the patch that takes the taint away is a Node's last
    let done = |logged: &Logged| {
        logged.method == "PATCH" && logged.status == Some(200) && !logged.target.contains("/status")
    };
    while world.api_server.log().count(done) < nodes {
        assert!(
            Instant::now() < deadline,
            "they were not all initialised\n{}",
            daemon.output()
        );
        pause(Duration::from_millis(10));
    }
    let taken = begun.elapsed();
    let all = world.api.objects(Resource::Nodes);
    assert!(all.values().all(|node| node["spec"]["taints"].is_null()));
    taken
}

/// How long so many patches take that wait for nothing but the API server.
fn write_time(writes: usize) -> Duration {
    const CLIENTS: usize = WORKERS as usize;
    let world = world((0..NODES).map(|number| node(number, "True", false)));
    world.api.open(true);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let agent = Agent::new(Settings::new("bench", Roots::Nobody)).expect("it reads no file");
            let url = world.api_server.url();
            scope.spawn(move || {
                let api = Client::new(&url, Arc::new(agent), StopToken::never());
                for write in (client..writes).step_by(CLIENTS) {
                    let path = format!("/api/v1/nodes/node-{:04}", write % NODES);
                    let body = json!({"metadata": {"labels": {"written": write.to_string()}}});
                    let sent = api.send::<IgnoredAny>(&Call::patch(path, PatchType::Merge, &body));
                    sent.expect("the API server takes it");
                }
            });
        }
    });
    begun.elapsed()
}

fn describes(world: &World) -> usize {
    world.cloud.count(|call| call.kind == Kind::DescribeInstances)
}

fn patches(world: &World) -> usize {
    world.api_server.log().count(|logged| logged.method == "PATCH")
}
