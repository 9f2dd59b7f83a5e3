//! Faults of the API server: outages, lost history, nonsense. On the simulated one alone, since they are scripted.

use cloud_provider_inspur::sim::faults::{Effect, Rule};

use crate::support::World;
use crate::support::fixtures::{NODES, SERVICES, node, service, service_path};

#[test]
fn broken_watches_resume_without_missing_anything() {
    let (world, daemon) = World::serving_simulated();
    let lists = || world.api_lists();
    let before = lists();
    for round in 0..5u16 {
        world.break_watches();
        let port = 81 + round;
        world.api.create(
            SERVICES,
            &service(&format!("web{port}"))
                .slb("slb-1")
                .port(port, 30000 + port)
                .json(),
        );
        world.until("a Service made meanwhile is served", &daemon, || {
            world.served("slb-1").len() == 2 + usize::from(round)
        });
    }
    assert_eq!(
        lists(),
        before,
        "a broken watch resumes from its version, without a list"
    );
}

#[test]
fn lost_history_is_made_good_by_a_list() {
    let (world, daemon) = World::serving_simulated();
    world
        .api_faults()
        .add(Rule::on("GET", "watch=1", Effect::status(503)).times(3));
    world.break_watches();
    world
        .api
        .create(SERVICES, &service("more").slb("slb-1").port(81, 30081).json());
    world.api.delete(&service_path("web"));
    world.compact();
    world.until("both changes arrived", &daemon, || {
        world.served("slb-1") == ["TCP/81 -> n1:30081"] && world.api.get(&service_path("web")).is_none()
    });
}

#[test]
fn an_api_server_that_talks_nonsense_at_the_start_makes_nobody_act() {
    for (case, effect) in [
        ("a web page", Effect::Html),
        ("half a list", Effect::Truncate),
        ("no body", Effect::Empty),
        ("no JSON", Effect::Malformed),
        ("an outage", Effect::status(500)),
        ("throttling", Effect::throttle(0)),
        ("a hang-up", Effect::HangUp),
    ] {
        let (world, mut daemon) = World::serving_simulated();
        daemon.kill();
        let before = world.cloud_text();
        let writes = world.cloud_calls().writes;
        world
            .api_faults()
            .add(Rule::on("GET", "/api/v1/nodes?", effect.clone()).times(2));
        world
            .api_faults()
            .add(Rule::on("GET", "/api/v1/services?", effect).times(2));
        let daemon = world.start();
        world
            .api
            .create(SERVICES, &service("more").slb("slb-1").port(81, 30081).json());
        world.until(&format!("{case}: it recovers"), &daemon, || {
            world.served("slb-1") == ["TCP/80 -> n1:30080", "TCP/81 -> n1:30081"]
        });
        assert_eq!(
            world.cloud_calls().writes - writes,
            2,
            "{case}: nothing but the new listener and its member"
        );
        assert!(world.cloud_text().contains(before.trim()), "{case}");
    }
}

#[test]
fn an_api_that_refuses_our_patches_stops_every_write_to_the_cloud() {
    let world = World::small_simulated();
    world
        .api_faults()
        .add(Rule::on("PATCH", "/services/web/status", Effect::status(403)).forever());
    let mut daemon = world.start();
    world
        .api
        .create(SERVICES, &service("web").slb("slb-1").port(80, 30080).json());
    world.until("the failure is told", &daemon, || {
        world.messages("web").iter().any(|m| m.contains("finalizer"))
    });
    assert_eq!(world.cloud_calls().writes, 0, "the finalizer comes first");
    daemon.terminate();
    world.api_faults().clear();
    let daemon = world.start();
    world.until("allowed, it goes on", &daemon, || {
        world.ingress("web") == ["203.0.113.1"]
    });
}

#[test]
fn a_patch_that_was_done_but_not_answered_is_not_a_failure() {
    let world = World::small_simulated();
    world
        .api_faults()
        .add(Rule::on("PATCH", "/services/web/status", Effect::ActAndHangUp).times(1));
    let daemon = world.start();
    world
        .api
        .create(SERVICES, &service("web").slb("slb-1").port(80, 30080).json());
    world.until("it is served", &daemon, || {
        world.ingress("web") == ["203.0.113.1"]
    });
    assert!(
        world.messages("web").iter().all(|m| !m.contains("Error")),
        "{:?}",
        world.messages("web")
    );
}

#[test]
fn an_object_that_does_not_decode_is_left_alone_and_the_others_go_on() {
    let (world, daemon) = World::serving_simulated();
    world.put_undecodable_service("odd", "slb-1");
    world.api.create(NODES, &node("n2", "127.0.20.2"));
    world.until("the others go on", &daemon, || {
        world.served("slb-1") == ["TCP/80 -> n1:30080 n2:30080"]
    });
}
