//! Two clusters on one SLB.

use crate::support::World;
use crate::support::fixtures::{SERVICES, node, service, service_path};

#[test]
fn two_clusters_on_one_slb_never_touch_each_others_listeners() {
    let (one, two) = (World::new(), World::simulated());
    one.slb("slb-1", "203.0.113.1");
    let two = two.with_cloud_of(&one);
    one.nodes(&[node("n1", "127.0.20.1")]);
    two.nodes(&[node("m1", "127.0.21.1")]);
    let first = one.start_with(&[], "cluster-id=one\n");
    let second = two.start_with(&[], "cluster-id=two\n");

    // the same names, and one port in common
    one.api
        .create(SERVICES, &service("web").slb("slb-1").port(80, 30080).json());
    one.until("the first is served", &first, || {
        one.served("slb-1") == ["TCP/80 -> n1:30080"]
    });
    two.api.create(
        SERVICES,
        &service("web").slb("slb-1").port(80, 30080).port(81, 30081).json(),
    );
    two.until("the second gets the port that is free", &second, || {
        one.served("slb-1") == ["TCP/80 -> n1:30080", "TCP/81 -> m1:30081"]
    });
    two.until("and is told about the other", &second, || {
        two.messages("web")
            .iter()
            .any(|message| message.contains("k8s_one_default_web_tcp80"))
    });

    two.api.delete(&service_path("web"));
    two.until("the second is gone", &second, || {
        two.api.get(&service_path("web")).is_none()
    });
    assert_eq!(
        one.served("slb-1"),
        ["TCP/80 -> n1:30080"],
        "the first is untouched"
    );
    one.api.delete(&service_path("web"));
    one.until("nothing is left", &first, || {
        one.served("slb-1").is_empty() && one.api.get(&service_path("web")).is_none()
    });
}
