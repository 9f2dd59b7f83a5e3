//! `deploy/examples`, applied by kubectl.

use crate::support::fixtures::{node, service_path};
use crate::support::{Kubectl, World};

#[test]
fn an_example_applied_by_kubectl_is_served_changes_and_disappears() {
    // kubectl is built with the real control plane; without one, `make e2e` runs this
    if let Some(kubectl) = crate::support::kubectl() {
        live_by_kubectl(&kubectl, &World::new());
    }
}

#[test]
fn kubectl_works_on_the_simulated_api_too() {
    if let Some(kubectl) = crate::support::kubectl() {
        let world = World::simulated();
        world.let_anybody_in();
        live_by_kubectl(&kubectl, &world);
    }
}

fn live_by_kubectl(kubectl: &Kubectl, world: &World) {
    world.slb("slb-example", "203.0.113.1");
    world.nodes(&[node("n1", "127.0.20.1"), node("n2", "127.0.20.2")]);
    let daemon = world.start();
    let run = |args: &[&str]| kubectl.run(&world.api.admin_kubeconfig, args);
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/examples/service.yaml");
    run(&["apply", "-f", example]);
    world.until("it has its EXTERNAL-IP", &daemon, || {
        run(&["get", "service", "web"]).contains("203.0.113.1")
    });
    assert_eq!(world.served("slb-example"), ["TCP/80 -> n1:30080 n2:30080"]);
    world.until("the story is told", &daemon, || {
        run(&["describe", "service", "web"]).contains("Ensured load balancer")
    });

    let tries = "loadbalancer.inspur.com/healthcheck-max";
    run(&["annotate", "service", "web", &format!("{tries}=7")]);
    world.until("the annotation counts", &daemon, || {
        world.health_checks("slb-example") == ["TCP/80 tcp every 10 s, time-out 5 s, 7 tries"]
    });
    run(&["delete", "node", "n2", "--wait=false"]);
    world.until("the Node left", &daemon, || {
        world.served("slb-example") == ["TCP/80 -> n1:30080"]
    });
    // not waiting by itself: before a server as old as 1.14 today's kubectl would do so for ever
    run(&["delete", "service", "web", "--wait=false"]);
    world.until("nothing is left", &daemon, || {
        world.api.get(&service_path("web")).is_none() && world.served("slb-example").is_empty()
    });
}

#[test]
fn every_example_is_accepted() {
    let Some(kubectl) = crate::support::kubectl() else {
        return;
    };
    let world = World::new();
    world.slb("slb-example", "203.0.113.1");
    world.nodes(&[node("n1", "127.0.20.1")]);
    let daemon = world.start();
    for (name, file) in [
        ("web", "service"),
        ("web-local", "service-local"),
        ("dns", "service-udp"),
    ] {
        let path = format!("{}/deploy/examples/{file}.yaml", env!("CARGO_MANIFEST_DIR"));
        kubectl.run(&world.api.admin_kubeconfig, &["apply", "-f", &path]);
        world.until(name, &daemon, || world.ingress(name) == ["203.0.113.1"]);
        assert!(
            world
                .reasons(name)
                .iter()
                .all(|reason| !reason.contains("Failed")),
            "{:?}",
            world.messages(name)
        );
    }
}
