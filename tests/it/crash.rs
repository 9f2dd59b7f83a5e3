//! Killed between any two cloud calls, a restart ends in the same state.

use std::time::Duration;

use cloud_provider_inspur::sim::faults::{Effect, Gate, Moment, Release, Rule};
use serde_json::json;

use crate::support::World;
use crate::support::daemon::Daemon;
use crate::support::fixtures::{NODES, SERVICES, node, service, service_path};

/// Runs `change` once for each cloud call it makes and each moment of that call, kills the daemon there, and lets a new one
/// end in `done`. `prepare` is undone and done again before each run.
fn killed_at_each_call(
    world: &World,
    prepare: &dyn Fn(&Daemon),
    change: &dyn Fn(),
    done: &dyn Fn() -> bool,
    clear: &dyn Fn(&Daemon),
) -> usize {
    let mut calls = 0;
    for moment in [Moment::BeforeActing, Moment::AfterActing] {
        for nth in 1.. {
            let mut daemon = world.start();
            prepare(&daemon);
            let gate = pause(world, moment, nth);
            change();
            // a call that acted and is held has not ended: then not all is done yet
            let all_done = || done() && !world.cloud_call_hangs();
            let held = world.until_some("the call is held, or all is done", &daemon, || {
                gate.wait_reached(Duration::ZERO)
                    .map(Some)
                    .or_else(|| all_done().then_some(None))
            });
            daemon.kill();
            gate.release(Release::HangUp);
            world.cloud_faults().clear();
            let Some(call) = held else { break };
            calls += 1;
            let daemon = world.start();
            world.until(
                &format!("all is as it would have been, killed {moment:?} {call}"),
                &daemon,
                done,
            );
            clear(&daemon);
        }
        // the run that was not held ended with everything done
        let daemon = world.start();
        clear(&daemon);
    }
    calls
}

/// Holds the nth call to the SLB API, of any kind.
fn pause(world: &World, moment: Moment, nth: u64) -> Gate {
    let gate = Gate::default();
    let effect = match moment {
        Moment::BeforeActing => Effect::PauseBefore(gate.clone()),
        Moment::AfterActing => Effect::PauseAfter(gate.clone()),
    };
    let mut rule = Rule::new(effect).nth(nth);
    rule.path = "/slb/".into();
    world.cloud_faults().add(rule);
    gate
}

fn gone(world: &World, daemon: &Daemon) {
    world.api.delete(&service_path("web"));
    world.until("all is cleared", daemon, || {
        world.api.get(&service_path("web")).is_none() && world.served("slb-1").is_empty()
    });
}

fn world() -> World {
    let world = World::new();
    world.slb("slb-1", "203.0.113.1");
    world.nodes(&[node("n1", "127.0.20.1"), node("n2", "127.0.20.2")]);
    world
}

fn web() -> serde_json::Value {
    service("web").slb("slb-1").port(80, 30080).port(81, 30081).json()
}

const WEB: [&str; 2] = ["TCP/80 -> n1:30080 n2:30080", "TCP/81 -> n1:30081 n2:30081"];

fn is_served(world: &World, wanted: &[&str]) -> bool {
    let service = world.api.get(&service_path("web"));
    world.served("slb-1") == wanted
        && world.ingress("web") == ["203.0.113.1"]
        && service
            .is_some_and(|s| s["metadata"]["annotations"]["loadbalancer.inspur.com/slb-in-use"] == "slb-1")
}

#[test]
fn a_crash_in_the_midst_of_create_changes_nothing_of_the_end() {
    let world = world();
    let calls = killed_at_each_call(
        &world,
        &|_| {},
        &|| drop(world.api.create(SERVICES, &web())),
        &|| is_served(&world, &WEB),
        &|daemon| gone(&world, daemon),
    );
    assert!(
        calls >= 2 * 6,
        "describe, list, and create and add for each port, before and after: {calls}"
    );
}

#[test]
fn a_crash_in_the_midst_of_update_changes_nothing_of_the_end() {
    let world = world();
    let ports =
        json!([{"name": "a", "port": 80, "nodePort": 30090}, {"name": "b", "port": 82, "nodePort": 30082}]);
    let calls = killed_at_each_call(
        &world,
        &|daemon| {
            world.api.create(SERVICES, &web());
            world.until("it is served", daemon, || is_served(&world, &WEB));
        },
        &|| {
            drop(
                world
                    .api
                    .patch(&service_path("web"), &json!({"spec": {"ports": ports}})),
            )
        },
        &|| {
            is_served(
                &world,
                &["TCP/80 -> n1:30090 n2:30090", "TCP/82 -> n1:30082 n2:30082"],
            )
        },
        &|daemon| gone(&world, daemon),
    );
    assert!(
        calls >= 2 * 5,
        "delete, create, and three changes of members, before and after: {calls}"
    );
}

#[test]
fn a_crash_in_the_midst_of_a_node_change_changes_nothing_of_the_end() {
    let world = world();
    let joined = [
        "TCP/80 -> n1:30080 n2:30080 n3:30080",
        "TCP/81 -> n1:30081 n2:30081 n3:30081",
    ];
    let calls = killed_at_each_call(
        &world,
        &|daemon| {
            world.api.create(SERVICES, &web());
            world.until("it is served", daemon, || is_served(&world, &WEB));
        },
        &|| drop(world.api.create(NODES, &node("n3", "127.0.20.3"))),
        &|| is_served(&world, &joined),
        &|daemon| {
            gone(&world, daemon);
            world.api.delete("/api/v1/nodes/n3");
        },
    );
    assert!(calls >= 2 * 2, "one write a listener, before and after: {calls}");
}

#[test]
fn a_crash_in_the_midst_of_delete_changes_nothing_of_the_end() {
    let world = world();
    let calls = killed_at_each_call(
        &world,
        &|daemon| {
            world.api.create(SERVICES, &web());
            world.until("it is served", daemon, || is_served(&world, &WEB));
        },
        &|| world.api.delete(&service_path("web")),
        &|| world.api.get(&service_path("web")).is_none() && world.served("slb-1").is_empty(),
        &|_| {},
    );
    assert!(calls >= 2 * 2, "one delete a listener, before and after: {calls}");
}
