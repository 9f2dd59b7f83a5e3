//! Signals and exit codes.

use cloud_provider_inspur::sim::faults::{Effect, Rule};

use crate::support::World;
use crate::support::daemon::Daemon;
use crate::support::fixtures::{SERVICES, service};

/// A world whose cloud hangs, with a daemon in the midst of a call to it.
fn hanging() -> (World, Daemon) {
    let world = World::small();
    world
        .cloud_faults()
        .add(Rule::on("GET", "/slb/", Effect::Hang).forever());
    let daemon = world.start();
    world
        .api
        .create(SERVICES, &service("web").slb("slb-1").port(80, 30080).json());
    world.until("a call hangs", &daemon, || world.cloud_call_hangs());
    (world, daemon)
}

#[test]
fn a_wanted_stop_ends_with_zero_even_while_the_cloud_hangs() {
    for signal in ["TERM", "INT"] {
        let (world, mut daemon) = hanging();
        daemon.signal(signal);
        let status = daemon.wait();
        assert_eq!(status.code(), Some(0), "SIG{signal}: {}", daemon.output());
        assert!(
            world.messages("web").iter().all(|m| !m.contains("stop")),
            "that we stop is nobody's business there"
        );
    }
}

#[test]
fn it_can_be_stopped_before_the_api_server_ever_answered() {
    let world = World::new();
    let nowhere = world.file(
        "nowhere.kubeconfig",
        &crate::support::kubeconfig("http://127.0.0.1:9", "none"),
    );
    let mut daemon = world.start_on(&nowhere);
    world.until("it tries", &daemon, || daemon.output().contains("127.0.0.1:9"));
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.output());
}

#[test]
fn a_wanted_stop_ends_with_zero_even_while_the_api_server_hangs() {
    let (world, mut daemon) = World::serving_simulated();
    for method in ["GET", "PATCH", "POST"] {
        world
            .api_faults()
            .add(Rule::on(method, "/api/", Effect::Hang).forever());
    }
    world.simulated_service(&service("late").slb("slb-1").port(81, 30081).json());
    world.until("a call hangs", &daemon, || world.api_call_hangs());
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.output());
}

#[test]
fn a_second_signal_ends_it_at_once_and_says_so() {
    let (world, mut daemon) = hanging();
    daemon.signal("TERM");
    world.until("it has heard", &daemon, || {
        daemon.output().contains("asked to stop")
    });
    daemon.signal("TERM");
    assert_eq!(daemon.wait().code(), Some(130), "{}", daemon.output());
}
