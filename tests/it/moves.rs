//! A Service that changes its SLB, its type, its class.

use serde_json::{Value, json};

use crate::support::World;
use crate::support::fixtures::{SERVICES, SLB_ID, node, service, service_path};

fn annotate(world: &World, name: &str, value: &Value) {
    world.api.patch(
        &service_path(name),
        &json!({"metadata": {"annotations": {SLB_ID: value}}}),
    );
}

#[test]
fn a_service_that_moves_to_another_slb_leaves_nothing_behind() {
    let world = World::new();
    world.slb("slb-1", "203.0.113.1");
    world.slb("slb-2", "203.0.113.2");
    world.nodes(&[node("n1", "127.0.20.1")]);
    let mut daemon = world.start();
    world
        .api
        .create(SERVICES, &service("web").slb("slb-1").port(80, 30080).json());
    world.until("it is on the first", &daemon, || {
        world.ingress("web") == ["203.0.113.1"]
    });
    annotate(&world, "web", &json!("slb-2"));
    world.until("it is on the second alone", &daemon, || {
        world.ingress("web") == ["203.0.113.2"]
            && world.served("slb-2").len() == 1
            && world.served("slb-1").is_empty()
    });

    // also when it moves while nobody looks
    daemon.kill();
    annotate(&world, "web", &json!("slb-1"));
    let daemon = world.start();
    world.until("it is back on the first alone", &daemon, || {
        world.ingress("web") == ["203.0.113.1"]
            && world.served("slb-1").len() == 1
            && world.served("slb-2").is_empty()
    });
}

#[test]
fn a_service_that_lost_its_annotation_is_still_cleaned_up() {
    let (world, mut daemon) = World::serving();
    daemon.kill();
    annotate(&world, "web", &Value::Null);
    world.api.delete(&service_path("web"));
    let daemon = world.start();
    world.until("nothing is left", &daemon, || {
        world.api.get(&service_path("web")).is_none() && world.served("slb-1").is_empty()
    });
}

#[test]
fn a_service_of_another_type_loses_its_listeners_and_gets_them_back() {
    let (world, daemon) = World::serving();
    world
        .api
        .patch(&service_path("web"), &json!({"spec": {"type": "NodePort"}}));
    world.until("listener, finalizer, record and status are gone", &daemon, || {
        let web = world.api.get(&service_path("web")).expect("it stays");
        world.served("slb-1").is_empty()
            && web["metadata"]["finalizers"].is_null()
            && web["metadata"]["annotations"]["loadbalancer.inspur.com/slb-in-use"].is_null()
            && world.ingress("web").is_empty()
    });
    world
        .api
        .patch(&service_path("web"), &json!({"spec": {"type": "LoadBalancer"}}));
    world.until("it is served again", &daemon, || {
        world.ingress("web") == ["203.0.113.1"] && world.served("slb-1").len() == 1
    });
}

#[test]
fn a_service_of_another_class_is_left_alone() {
    let world = World::new();
    if world.api.minor() < 24 {
        // such an old server drops the field. Source: control-plane.md 2
        return;
    }
    world.slb("slb-1", "203.0.113.1");
    world.nodes(&[node("n1", "127.0.20.1")]);
    let daemon = world.start();
    let classed = service("classed")
        .slb("slb-1")
        .port(80, 30080)
        .spec("loadBalancerClass", json!("example.com/other"));
    let mut classed = classed.json();
    classed["metadata"]["finalizers"] = json!(["service.kubernetes.io/load-balancer-cleanup"]);
    world.api.create(SERVICES, &classed);
    world
        .api
        .create(SERVICES, &service("ours").slb("slb-1").port(81, 30081).json());
    world.until("ours is served", &daemon, || {
        world.ingress("ours") == ["203.0.113.1"]
    });
    world.api.delete(&service_path("classed"));
    world.api.delete(&service_path("ours"));
    world.until("ours is gone", &daemon, || {
        world.api.get(&service_path("ours")).is_none()
    });
    let left = world
        .api
        .get(&service_path("classed"))
        .expect("its finalizer is another implementation's");
    assert_eq!(
        left["metadata"]["finalizers"],
        json!(["service.kubernetes.io/load-balancer-cleanup"])
    );
    assert_eq!(world.reasons("classed"), [] as [&str; 0]);
}

#[test]
fn a_finalizer_taken_away_by_hand_does_not_leak_listeners() {
    let world = World::small();
    let daemon = world.start();
    let hold = |name: &str| {
        world
            .api
            .get(&service_path(name))
            .is_some_and(|s| !s["metadata"]["finalizers"].is_null())
    };
    world
        .api
        .create(SERVICES, &service("web").slb("slb-1").port(80, 30080).json());
    world.until("it is served", &daemon, || {
        world.ingress("web") == ["203.0.113.1"]
    });
    world
        .api
        .patch(&service_path("web"), &json!({"metadata": {"finalizers": null}}));
    world.until("it is put back", &daemon, || hold("web"));
    // and when the Service is deleted in the same breath, the listener goes all the same
    world.delete_without_finalizer(&daemon, "web");
    world.until("the listener is gone", &daemon, || {
        world.served("slb-1").is_empty()
    });
}
