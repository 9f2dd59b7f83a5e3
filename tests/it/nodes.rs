//! Nodes that come, go, and are kept out.

use serde_json::json;

use crate::support::World;
use crate::support::fixtures::{NODES, SERVICES, node, service};

#[test]
fn members_follow_the_nodes() {
    let world = World::new();
    world.slb("slb-1", "203.0.113.1");
    world.nodes(&[
        node("n1", "127.0.20.1"),
        node("n2", "127.0.20.2"),
        node("n3", "127.0.20.3"),
    ]);
    let daemon = world.start();
    world
        .api
        .create(SERVICES, &service("web").slb("slb-1").port(80, 30080).json());
    world.until("all are members", &daemon, || {
        world.served("slb-1") == ["TCP/80 -> n1:30080 n2:30080 n3:30080"]
    });

    world.api.delete("/api/v1/nodes/n2");
    world.until("one left", &daemon, || {
        world.served("slb-1") == ["TCP/80 -> n1:30080 n3:30080"]
    });

    let exclude = "node.kubernetes.io/exclude-from-external-load-balancers";
    world.api.patch(
        "/api/v1/nodes/n1",
        &json!({"metadata": {"labels": {exclude: ""}}}),
    );
    world.until("one is excluded", &daemon, || {
        world.served("slb-1") == ["TCP/80 -> n3:30080"]
    });
    world.api.patch(
        "/api/v1/nodes/n1",
        &json!({"metadata": {"labels": {exclude: "false"}}}),
    );
    world.until("not excluded after all", &daemon, || {
        world.served("slb-1") == ["TCP/80 -> n1:30080 n3:30080"]
    });

    let going = json!([{"key": "ToBeDeletedByClusterAutoscaler", "value": "1", "effect": "NoSchedule"}]);
    world
        .api
        .patch("/api/v1/nodes/n3", &json!({"spec": {"taints": going}}));
    world.until("one is about to be scaled away", &daemon, || {
        world.served("slb-1") == ["TCP/80 -> n1:30080"]
    });

    world.api.create(NODES, &node("n4", "127.0.20.4"));
    world.until("one joined", &daemon, || {
        world.served("slb-1") == ["TCP/80 -> n1:30080 n4:30080"]
    });
    world.until("the story is told", &daemon, || {
        world.reasons("web").contains(&"UpdatedLoadBalancer".into())
    });
}

#[test]
fn a_node_costs_one_write_for_each_listener_that_it_joins() {
    let world = World::new();
    world.slb("slb-1", "203.0.113.1");
    world.nodes(&[node("n1", "127.0.20.1"), node("n2", "127.0.20.2")]);
    let daemon = world.start();
    for port in [80, 81, 82] {
        world.api.create(
            SERVICES,
            &service(&format!("web{port}"))
                .slb("slb-1")
                .port(port, 30000 + port)
                .json(),
        );
    }
    let all = |members: &str| {
        [80, 81, 82].map(|p| format!("TCP/{p} -> {}", members.replace("PORT", &(30000 + p).to_string())))
    };
    world.until("all are served", &daemon, || {
        world.served("slb-1") == all("n1:PORT n2:PORT") && world.ingresses(&["web80", "web81", "web82"])
    });

    let before = world.cloud_calls();
    world.api.create(NODES, &node("n3", "127.0.20.3"));
    world.until("one joined", &daemon, || {
        world.served("slb-1") == all("n1:PORT n2:PORT n3:PORT")
    });
    let joined = world.cloud_calls() - before;
    assert_eq!(joined.writes, 3, "one batched write a listener: {joined:?}");
    assert!(
        joined.reads <= 3 + 2,
        "at most one read a listener and two an SLB: {joined:?}"
    );

    let before = world.cloud_calls();
    world.api.delete("/api/v1/nodes/n1");
    world.until("one left", &daemon, || {
        world.served("slb-1") == all("n2:PORT n3:PORT")
    });
    let left = world.cloud_calls() - before;
    assert_eq!(left.writes, 3, "one batched write a listener: {left:?}");
    assert!(
        left.reads <= 3 + 2,
        "at most one read a listener and two an SLB: {left:?}"
    );
}

#[test]
fn a_service_without_nodes_says_so_and_is_served_when_one_comes() {
    let world = World::new();
    world.slb("slb-1", "203.0.113.1");
    let daemon = world.start();
    world
        .api
        .create(SERVICES, &service("web").slb("slb-1").port(80, 30080).json());
    world.until("it is told", &daemon, || {
        world.reasons("web").contains(&"UnAvailableLoadBalancer".into())
    });
    world.api.create(NODES, &node("n1", "127.0.20.1"));
    world.until("it is served", &daemon, || {
        world.served("slb-1") == ["TCP/80 -> n1:30080"]
    });
}

#[test]
fn an_instance_is_named_by_provider_id_then_annotation_then_name() {
    let world = World::new();
    world.slb("slb-1", "203.0.113.1");
    let mut annotated = node("n2", "127.0.20.2");
    annotated["spec"] = json!({});
    annotated["metadata"]["annotations"] = json!({"node.beta.kubernetes.io/instance-id": "ecs-2"});
    let mut bare = node("n3", "127.0.20.3");
    bare["spec"] = json!({});
    world.nodes(&[node("n1", "127.0.20.1"), annotated, bare]);
    let daemon = world.start();
    world
        .api
        .create(SERVICES, &service("web").slb("slb-1").port(80, 30080).json());
    world.until("all are members", &daemon, || {
        world.server_ids("slb-1", "TCP", 80) == ["ecs-2", "i-n1", "n3"]
    });
}
