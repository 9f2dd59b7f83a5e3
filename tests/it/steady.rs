//! An unchanged world is only read.

use crate::support::World;
use crate::support::fixtures::{SERVICES, node, service};

#[test]
fn a_restart_in_an_unchanged_world_only_reads() {
    let world = World::new();
    world.slb("slb-1", "203.0.113.1");
    world.slb("slb-2", "203.0.113.2");
    world.nodes(&[node("n1", "127.0.20.1"), node("n2", "127.0.20.2")]);
    let mut daemon = world.start();
    let names = ["a", "b", "c", "d"];
    for (port, name) in (80..).zip(names) {
        let slb = if port % 2 == 0 { "slb-1" } else { "slb-2" };
        world.api.create(
            SERVICES,
            &service(name)
                .slb(slb)
                .port(port, 30000 + port)
                .port(port + 100, 30100 + port)
                .json(),
        );
    }
    world.until("all are served, and it is told", &daemon, || {
        world.ingresses(&names)
            && names
                .iter()
                .all(|name| world.reasons(name).contains(&"EnsuredLoadBalancer".into()))
    });
    assert!(daemon.terminate().success());

    let (cluster, cloud) = (world.cluster_text(), world.cloud_text());
    let before = world.cloud_calls();
    let mut daemon = world.start();
    world.until("everything was read again", &daemon, || {
        (world.cloud_calls() - before).member_lists >= 8
    });
    assert!(daemon.terminate().success());
    let calls = world.cloud_calls() - before;
    assert_eq!(calls.writes, 0, "{calls:?}");
    assert_eq!(
        calls.reads,
        2 * 2 + 8,
        "two reads an SLB and one a listener: {calls:?}"
    );
    assert_eq!(world.cloud_text(), cloud);
    assert_eq!(
        world.cluster_text(),
        cluster,
        "no object and no Event was written"
    );
}
