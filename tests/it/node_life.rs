//! Nodes: initialised, kept true, tainted when shut down, deleted only when proven gone.

use cloud_provider_inspur::sim::cloud::{InstanceSeed, Status};
use cloud_provider_inspur::sim::faults::{Effect, Rule};
use serde_json::{Value, json};

use crate::support::World;
use crate::support::api::text;
use crate::support::fixtures::{NODES, SERVICES, service};

/// Passes of the lifecycle controller follow one another at once, and no Node is too young.
pub const QUICK: [&str; 3] = [
    "--node-monitor-period=50ms",
    "--node-startup-grace-period=0s",
    "--node-status-update-frequency=100ms",
];

/// A Node as a kubelet with `--cloud-provider=external` registers it.
pub fn registered(name: &str, instance: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "annotations": {"node.beta.kubernetes.io/instance-id": instance}},
        "spec": {"taints": [
            {"key": "example.com/other", "value": "x", "effect": "NoExecute"},
            {"key": "node.cloudprovider.kubernetes.io/uninitialized", "value": "true", "effect": "NoSchedule"},
        ]},
        "status": {
            "addresses": [{"type": "Hostname", "address": format!("{name}.local")}],
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        },
    })
}

/// A machine that the instances API tells all about.
pub fn instance(id: &str, name: &str, ip: &str) -> InstanceSeed {
    InstanceSeed {
        // the API gives none: the Node keeps its own
        host_name: String::new(),
        instance_type: "ecs.c4".into(),
        region: "cn-north-3".into(),
        zone: "cn-north-3a".into(),
        ipv6s: vec!["fd00::1".into()],
        eip: "203.0.113.50".into(),
        ..InstanceSeed::new(id, name, ip)
    }
}

/// A world with `count` Nodes n1, n2, … on instances i-n1, i-n2, …
fn world(count: u8) -> World {
    let world = World::new();
    for n in 1..=count {
        world.instance(instance(
            &format!("i-n{n}"),
            &format!("n{n}"),
            &format!("10.1.0.{n}"),
        ));
        world
            .api
            .create(NODES, &registered(&format!("n{n}"), &format!("i-n{n}")));
    }
    world
}

fn taints(world: &World, name: &str) -> Vec<String> {
    let node = world.api.get(&format!("{NODES}/{name}")).unwrap_or_default();
    let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    taints
        .iter()
        .map(|taint| text(&taint["key"]).to_string())
        .collect()
}

/// What the Node's kubelet, or who misses it, says of it.
pub fn set_ready(world: &World, name: &str, ready: &str) {
    let conditions = json!([{"type": "Ready", "status": ready, "reason": "Test"}]);
    world.api.patch(
        &format!("{NODES}/{name}/status"),
        &json!({"status": {"conditions": conditions}}),
    );
}

/// Whether the taint of `--cloud-provider=external` is gone from a Node of [`registered`].
pub fn is_initialised(world: &World, name: &str) -> bool {
    taints(world, name) == ["example.com/other"]
}

#[test]
fn a_node_is_initialised_with_all_that_the_cloud_knows() {
    let world = world(1);
    let daemon = world.start_with_ecs(&QUICK);
    world.until("the taint is gone", &daemon, || is_initialised(&world, "n1"));
    let node = world.api.get("/api/v1/nodes/n1").expect("it stays");
    assert_eq!(node["spec"]["providerID"], "incloud://i-n1");
    for (label, want) in [
        ("node.kubernetes.io/instance-type", "ecs.c4"),
        ("beta.kubernetes.io/instance-type", "ecs.c4"),
        ("topology.kubernetes.io/zone", "cn-north-3a"),
        ("failure-domain.beta.kubernetes.io/zone", "cn-north-3a"),
        ("topology.kubernetes.io/region", "cn-north-3"),
        ("failure-domain.beta.kubernetes.io/region", "cn-north-3"),
    ] {
        assert_eq!(node["metadata"]["labels"][label], want, "{label}");
    }
    let addresses = node["status"]["addresses"]
        .as_array()
        .expect("it has addresses")
        .iter();
    let addresses: Vec<_> = addresses
        .map(|a| format!("{} {}", text(&a["type"]), text(&a["address"])))
        .collect();
    assert_eq!(
        addresses,
        [
            "InternalIP 10.1.0.1",
            "InternalIP fd00::1",
            "ExternalIP 203.0.113.50",
            "Hostname n1.local"
        ]
    );
    world.until("it is told", &daemon, || world.reasons("n1") == ["Synced"]);
}

#[test]
fn without_an_instance_api_a_node_loses_its_taint_and_keeps_what_it_has() {
    let world = World::new();
    world.api.create(NODES, &registered("n1", "i-n1"));
    let daemon = world.start_with(&QUICK, "region=cn-north-3\nzone=cn-north-3b\n");
    world.until("the taint is gone", &daemon, || is_initialised(&world, "n1"));
    let node = world.api.get("/api/v1/nodes/n1").expect("it stays");
    assert_eq!(node["spec"]["providerID"], "incloud://i-n1");
    assert_eq!(
        node["metadata"]["labels"]["topology.kubernetes.io/zone"],
        "cn-north-3b"
    );
    assert_eq!(
        node["status"]["addresses"],
        json!([{"type": "Hostname", "address": "n1.local"}])
    );
}

#[test]
fn addresses_and_labels_are_kept_true() {
    let world = world(1);
    let daemon = world.start_with_ecs(&QUICK);
    world.until("it is initialised", &daemon, || is_initialised(&world, "n1"));
    world.change_instance("i-n1", |instance| instance.private_ips = vec!["10.1.0.99".into()]);
    world.until("its address follows", &daemon, || {
        let node = world.api.get("/api/v1/nodes/n1").unwrap_or_default();
        node["status"]["addresses"][0]["address"] == "10.1.0.99"
    });
    world.api.patch(
        "/api/v1/nodes/n1",
        &json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "elsewhere"}}}),
    );
    world.until("the label is put right", &daemon, || {
        let node = world.api.get("/api/v1/nodes/n1").unwrap_or_default();
        node["metadata"]["labels"]["topology.kubernetes.io/zone"] == "cn-north-3a"
    });
}

#[test]
fn a_node_that_was_shut_down_is_tainted_until_it_is_ready_again() {
    let world = world(2);
    let daemon = world.start_with_ecs(&QUICK);
    world.until("both are initialised", &daemon, || {
        is_initialised(&world, "n1") && is_initialised(&world, "n2")
    });
    world.change_instance("i-n1", |instance| instance.status = Status::Stopped);
    set_ready(&world, "n1", "Unknown");
    let shutdown = "node.cloudprovider.kubernetes.io/shutdown";
    world.until("it is tainted", &daemon, || {
        taints(&world, "n1").contains(&shutdown.to_string())
    });
    world.change_instance("i-n1", |instance| instance.status = Status::Running);
    set_ready(&world, "n1", "True");
    world.until("it is not any more", &daemon, || is_initialised(&world, "n1"));
}

#[test]
fn a_node_whose_instance_is_proven_gone_is_deleted_and_leaves_the_load_balancer() {
    let world = world(3);
    world.slb("slb-1", "203.0.113.1");
    let daemon = world.start_with_ecs(&QUICK);
    world.until("all are initialised", &daemon, || {
        ["n1", "n2", "n3"].iter().all(|n| is_initialised(&world, n))
    });
    world
        .api
        .create(SERVICES, &service("web").slb("slb-1").port(80, 30080).json());
    world.until("all are members", &daemon, || {
        world.served("slb-1") == ["TCP/80 -> n1:30080 n2:30080 n3:30080"]
    });
    world.remove_instance("i-n2");
    set_ready(&world, "n2", "Unknown");
    world.until("it is gone", &daemon, || {
        world.api.get("/api/v1/nodes/n2").is_none()
    });
    world.until("and no longer a member", &daemon, || {
        world.served("slb-1") == ["TCP/80 -> n1:30080 n3:30080"]
    });
    world.until("it was told", &daemon, || {
        world.reasons("n2").contains(&"DeletingNode".into())
    });
}

#[test]
fn an_answer_that_proves_nothing_deletes_nobody() {
    for (case, effect) in [
        ("a web page", Effect::Html),
        ("half a body", Effect::Truncate),
        ("no body", Effect::Empty),
        ("an outage", Effect::status(503)),
        ("a refusal", Effect::status(403)),
        ("an unknown client", Effect::status(401)),
        ("throttling", Effect::throttle(0)),
        ("a hang-up", Effect::HangUp),
    ] {
        let world = world(3);
        let daemon = world.start_with_ecs(&QUICK);
        world.until(&format!("{case}: all are initialised"), &daemon, || {
            ["n1", "n2", "n3"].iter().all(|n| is_initialised(&world, n))
        });
        world
            .cloud_faults()
            .add(Rule::on("GET", "/instances", effect).forever());
        set_ready(&world, "n1", "Unknown");
        let before = world.cloud_log().len();
        world.until(&format!("{case}: the cloud was asked ten times"), &daemon, || {
            world.cloud_log().len() >= before + 10
        });
        assert!(world.api.get("/api/v1/nodes/n1").is_some(), "{case}");
    }
}

#[test]
fn many_nodes_gone_at_once_are_not_deleted_without_a_word() {
    let world = world(6);
    let mut daemon = world.start_with_ecs(&QUICK);
    let names = ["n1", "n2", "n3", "n4", "n5", "n6"];
    world.until("all are initialised", &daemon, || {
        names.iter().all(|n| is_initialised(&world, n))
    });
    // while nobody looks, for two may always go before the third is missed
    assert!(daemon.terminate().success());
    for name in &names[..3] {
        set_ready(&world, name, "Unknown");
        world.remove_instance(&format!("i-{name}"));
    }
    let daemon = world.start_with_ecs(&QUICK);
    world.until("the brake is told on each", &daemon, || {
        names[..3]
            .iter()
            .all(|n| world.reasons(n).contains(&"NodeDeletionBraked".into()))
    });
    let left = || world.api.list(NODES).len();
    assert_eq!(left(), 6);
    let wanted = json!({"metadata": {"annotations": {"node.inspur.com/deletion-wanted": "true"}}});
    world.api.patch("/api/v1/nodes/n1", &wanted);
    world.until("the one whose deletion is wanted goes", &daemon, || {
        world.api.get("/api/v1/nodes/n1").is_none()
    });
    let before = world.cloud_log().len();
    world.until("the others were looked at ten times more", &daemon, || {
        world.cloud_log().len() >= before + 10
    });
    assert_eq!(left(), 5, "and no other goes");
}
