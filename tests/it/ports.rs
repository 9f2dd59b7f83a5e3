//! Ports that somebody else holds.

use serde_json::json;

use crate::support::World;
use crate::support::fixtures::{SERVICES, node, service, service_path};

#[test]
fn a_foreign_listener_is_named_and_never_touched_and_the_other_ports_are_served() {
    let world = World::new();
    world.slb("slb-1", "203.0.113.1");
    world.foreign_listener("slb-1", "listener_30080_0", "TCP", 80);
    let foreign = world.listener("slb-1", "TCP", 80);
    world.nodes(&[node("n1", "127.0.20.1")]);
    let daemon = world.start();
    world.api.create(
        SERVICES,
        &service("web").slb("slb-1").port(80, 30080).port(81, 30081).json(),
    );
    world.until("the free port is served", &daemon, || {
        world.served("slb-1").contains(&"TCP/81 -> n1:30081".into())
    });
    world.until("an Event names the other", &daemon, || {
        world
            .messages("web")
            .iter()
            .any(|message| message.contains("listener_30080_0"))
    });
    world.api.delete(&service_path("web"));
    world.until("only ours is gone", &daemon, || {
        world.api.get(&service_path("web")).is_none() && world.listener_names("slb-1") == ["listener_30080_0"]
    });
    assert_eq!(world.listener("slb-1", "TCP", 80), foreign);
}

#[test]
fn of_two_services_on_one_port_the_older_wins_and_the_other_follows() {
    let world = World::small();
    // both are there before the daemon, so that neither is served merely because it was seen first
    world
        .api
        .create(SERVICES, &service("zz-older").slb("slb-1").port(80, 30080).json());
    world.next_second();
    world.api.create(
        SERVICES,
        &service("aa-younger")
            .slb("slb-1")
            .port(80, 30081)
            .port(81, 30082)
            .json(),
    );
    let daemon = world.start();
    world.until(
        "the older is served, and the younger's other port",
        &daemon,
        || world.served("slb-1") == ["TCP/80 -> n1:30080", "TCP/81 -> n1:30082"],
    );
    world.until("the younger is told", &daemon, || {
        world
            .messages("aa-younger")
            .iter()
            .any(|message| message.contains("default/zz-older"))
    });
    assert!(
        world
            .messages("zz-older")
            .iter()
            .all(|message| !message.contains("aa-younger"))
    );

    world.api.delete(&service_path("zz-older"));
    world.until("its turn has come", &daemon, || {
        world.served("slb-1") == ["TCP/80 -> n1:30081", "TCP/81 -> n1:30082"]
    });
}

#[test]
fn a_port_that_the_winner_gives_up_goes_to_the_one_who_waits() {
    let world = World::small();
    let daemon = world.start();
    world
        .api
        .create(SERVICES, &service("older").slb("slb-1").port(80, 30080).json());
    world.until("the first is served", &daemon, || {
        world.served("slb-1") == ["TCP/80 -> n1:30080"]
    });
    world.next_second();
    world
        .api
        .create(SERVICES, &service("younger").slb("slb-1").port(80, 30081).json());
    world.until("the second is told", &daemon, || {
        world
            .messages("younger")
            .iter()
            .any(|message| message.contains("default/older"))
    });
    world.api.patch(
        &service_path("older"),
        &json!({"spec": {"ports": [{"name": "x", "port": 90, "nodePort": 30080}]}}),
    );
    world.until("both are served", &daemon, || {
        world.served("slb-1") == ["TCP/80 -> n1:30081", "TCP/90 -> n1:30080"]
    });
}
