//! How much memory it takes, and whether it rests when nothing happens.

use std::time::{Duration, Instant};

use cloud_provider_inspur::sim::api_server::Resource;
use cloud_provider_inspur::sim::cloud::Seed;
use serde_json::{Value, json};

use crate::process::{Daemon, Memory};
use crate::report::{Mib, Millis, Report, Times};
use crate::world::{PATIENCE, World, address, complete, pause};

/// What the reference is said to need.
const REFERENCE_MEMORY: Mib = Mib(64.6);

/// Nobody calls for so long: it is at rest.
const QUIET: Duration = Duration::from_secs(2);
/// What is known of an SLB is kept for so long and no longer.
const KNOWLEDGE_KEPT: Duration = Duration::from_secs(6);

const NODES: usize = 10_000;
const NODE_SIZE: usize = 10_000;

/// 100 Nodes and 100 Services on 10 SLBs, with flags by default.
pub(crate) fn small_cluster(report: &Report) {
    report.section("100 Nodes, 100 Services on 10 SLBs, flags by default");
    let world = World::new();
    world.fill(10, 10, 100);
    let daemon = world.start(&[]);
    world.until("all are served", &daemon, |state| complete(state, 10, 100));
    world.until_served(&daemon);
    world.until_silent(QUIET);
    pause(KNOWLEDGE_KEPT);
    let memory = daemon.memory();
    report.at_most("RSS at rest", memory.resident, Mib(5.0));
    report.at_most(
        "the same, against the reference",
        memory.resident,
        REFERENCE_MEMORY,
    );
    tell_memory(report, memory);
    tell_rest(report, &daemon);
}

/// Many Nodes as kubelets write them, and nothing else; then a heartbeat of each; then one Service that they all serve.
pub(crate) fn large_cluster(report: &Report) {
    report.section("10,000 Nodes of 10 KB each, flags by default");
    let world = World::new();
    for number in 0..NODES {
        world.api.put_unchecked(Resource::Nodes, large_node(number, 0));
    }
    let begun = Instant::now();
    let daemon = world.start(&[]);
    let watches = |target: &str| target.contains("/nodes?watch=");
    let listed = world
        .api_server
        .log()
        .wait_until(PATIENCE, |requests| requests.iter().any(|r| watches(&r.target)));
    let (taken, cpu) = (begun.elapsed(), daemon.activity().cpu);
    assert!(listed, "it never listed\n{}", daemon.output());
    world.until_silent(QUIET);
    let listed = daemon.memory();
    report.at_most("RSS at rest", listed.resident, Mib(25.0));
    tell_memory(report, listed);
    let peak = Times(listed.peak.0 / listed.resident.0);
    report.at_most("peak while listing / RSS at rest", peak, Times(1.15));
    report.tell(
        "spawn → all are known (the simulator's time included)",
        Millis(taken),
    );
    report.tell("  CPU of the daemon until then", Millis(cpu));

    for number in 0..NODES {
        world.api.put_unchecked(Resource::Nodes, large_node(number, 1));
    }
    pause(QUIET);
    let mut before = daemon.activity().cpu;
    loop {
        pause(QUIET);
        let now = daemon.activity().cpu;
        if now - before < Duration::from_millis(20) {
            break;
        }
        before = now;
    }
    let updated = daemon.memory();
    report.at_most("RSS after a heartbeat of each", updated.resident, Mib(25.0));
    let peak = Times(updated.peak.0 / updated.resident.0);
    report.at_most("peak so far / RSS at rest", peak, Times(1.15));

    world.cloud.add_slb(Seed::new("slb-0", "10.0.0.4", "203.0.113.1"));
    world.fill(1, 1, 0);
    world.until("it is served", &daemon, |state| complete(state, 1, NODES));
    world.until_served(&daemon);
    world.until_silent(QUIET);
    pause(KNOWLEDGE_KEPT);
    let served = daemon.memory();
    report.tell("RSS with one Service that all of them serve", served.resident);
    report.tell("  peak until then", served.peak);
}

/// What belongs to a figure of memory.
pub(crate) fn tell_memory(report: &Report, memory: Memory) {
    report.tell("  of it anonymous (heap and stacks)", memory.anonymous);
    report.tell("  peak until then", memory.peak);
}

/// What it does when nothing happens.
pub(crate) fn tell_rest(report: &Report, daemon: &Daemon) {
    let activity = daemon.activity_in(Duration::from_secs(10));
    report.tell("CPU in 10 s of silence", Millis(activity.cpu));
    report.tell("wake-ups in 10 s of silence, all threads", activity.sleeps);
}

/// A Node as a kubelet of a busy machine writes it, 10 KB as JSON.
pub(crate) fn large_node(number: usize, heartbeat: u32) -> Value {
    let name = format!("node-{number:05}.cn-north-3.compute.example");
    let time = format!("2026-11-25T00:00:{:02}Z", heartbeat % 60);
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({"type": kind, "status": status, "lastHeartbeatTime": time, "lastTransitionTime": "2026-11-01T00:00:00Z",
               "reason": reason, "message": "kubelet has no complaint about this one"})
    };
    let image = |n: usize| {
        json!({"names": [format!("registry.example/team-{n:02}/service-{n:02}@sha256:{:064x}", n * 7919),
                         format!("registry.example/team-{n:02}/service-{n:02}:v1.{n}.0")], "sizeBytes": 100_000_000 + n})
    };
    let quantities = json!({"cpu": "32", "ephemeral-storage": "511750Mi", "hugepages-1Gi": "0", "memory": "131072Mi", "pods": "110"});
    let mut node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": name, "uid": format!("00000000-0000-4000-8000-{number:012}"),
            "creationTimestamp": "2026-11-01T00:00:00Z",
            "labels": {
                "beta.kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "node.kubernetes.io/instance-type": "c6.8xlarge",
                "topology.kubernetes.io/region": "cn-north-3", "topology.kubernetes.io/zone": "cn-north-3a",
            },
            "annotations": {
                "node.alpha.kubernetes.io/ttl": "0", "volumes.kubernetes.io/controller-managed-attach-detach": "true",
                "csi.volume.kubernetes.io/nodeid": format!("{{\"disk.csi.example\":\"i-{number:010}\"}}"),
            },
            "managedFields": [],
        },
        "spec": {"podCIDR": format!("10.244.{}.0/24", number % 250), "podCIDRs": [], "providerID": format!("incloud://i-{number:010}")},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address(number)}, {"type": "Hostname", "address": name}],
            "allocatable": quantities, "capacity": quantities,
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID"),
                condition("Ready", "True", "KubeletReady"),
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "images": [],
            "nodeInfo": {
                "architecture": "amd64", "containerRuntimeVersion": "containerd://2.1.0", "kernelVersion": "6.1.0-13-amd64",
                "kubeProxyVersion": "v1.37.2", "kubeletVersion": "v1.37.2", "operatingSystem": "linux",
                "machineID": format!("{number:032x}"), "systemUUID": format!("{number:032x}"), "bootID": format!("{number:032x}"),
            },
        },
    });
    let mut size = node.to_string().len();
    for n in 0.. {
        let image = image(n);
        size += image.to_string().len() + 1;
        if size > NODE_SIZE {
            break;
        }
        let images = node["status"]["images"].as_array_mut();
        images.expect("made above").push(image);
    }
    node
}
