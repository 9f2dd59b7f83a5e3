//! Packets really arrive.

use crate::support::World;
use crate::support::fixtures::{SERVICES, node, service, service_path};
use crate::support::traffic::{ask, back_end};

#[test]
fn clients_reach_every_healthy_node_and_nobody_after_the_end() {
    let world = World::with_traffic();
    let (one, _two) = (
        back_end("127.0.22.1:30480", "one"),
        back_end("127.0.22.2:30480", "two"),
    );
    world.slb("slb-1", "127.0.22.100");
    world.nodes(&[node("n1", "127.0.22.1"), node("n2", "127.0.22.2")]);
    let daemon = world.start();
    world
        .api
        .create(SERVICES, &service("web").slb("slb-1").port(8080, 30480).json());
    world.until("both answer", &daemon, || {
        ask("127.0.22.100:8080", 8) == ["one", "two"]
    });
    world.until("its address is shown", &daemon, || {
        world.ingress("web") == ["127.0.22.100"]
    });
    one.stop();
    world.until("only the healthy one answers", &daemon, || {
        ask("127.0.22.100:8080", 8) == ["two"]
    });
    world.api.delete(&service_path("web"));
    world.until("nobody answers", &daemon, || {
        ask("127.0.22.100:8080", 1).is_empty()
    });
}
