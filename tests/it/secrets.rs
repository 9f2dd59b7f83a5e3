//! Nothing secret in any output.

use cloud_provider_inspur::sim::faults::{Effect, Rule};

use crate::support::World;
use crate::support::fixtures::{SERVICES, service, service_path};

#[test]
fn no_secret_is_in_the_output_at_the_highest_level_nor_in_any_event() {
    let world = World::small();
    for format in ["text", "json"] {
        let mut daemon = world.start_with(&["-v=10", &format!("--logging-format={format}")], "");
        world
            .api
            .create(SERVICES, &service("web").slb("slb-1").port(80, 30080).json());
        world.until("it is served", &daemon, || {
            world.ingress("web") == ["203.0.113.1"]
        });
        // failures are where secrets slip out: a token refused, an exchange refused, an answer that is no JSON
        world.expire_cloud_tokens();
        world
            .cloud_faults()
            .add(Rule::on("POST", "/token", Effect::status(401)));
        world
            .cloud_faults()
            .add(Rule::on("GET", "/slb/", Effect::Malformed));
        world.api.delete(&service_path("web"));
        world.until("it is gone", &daemon, || {
            world.api.get(&service_path("web")).is_none()
        });
        daemon.terminate();
        let output = daemon.output();
        assert!(
            output.contains("slb-1"),
            "the level is high enough to show something:\n{output}"
        );
        for (what, secret) in world.secrets() {
            assert!(!output.contains(&secret), "{what} is in the {format} output");
            let events = world.messages("web").join("\n");
            assert!(!events.contains(&secret), "{what} is in an Event");
        }
        world.cloud_faults().clear();
    }
}
