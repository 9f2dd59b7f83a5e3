//! A Service's whole life.

use serde_json::json;

use crate::support::World;
use crate::support::fixtures::{SERVICES, node, service, service_path};

#[test]
fn a_service_gets_its_listener_changes_and_disappears_without_a_trace() {
    let world = World::new();
    world.slb("slb-1", "203.0.113.1");
    world.nodes(&[node("n1", "127.0.20.1"), node("n2", "127.0.20.2")]);
    let mut daemon = world.start();

    world
        .api
        .create(SERVICES, &service("web").slb("slb-1").port(80, 30080).json());
    world.until("the Service is served", &daemon, || {
        world.ingress("web") == ["203.0.113.1"] && world.served("slb-1") == ["TCP/80 -> n1:30080 n2:30080"]
    });
    let names = world.listener_names("slb-1");
    assert_eq!(names, [format!("k8s_{}_default_web_tcp80", world.cluster_id())]);
    world.until("the story is told", &daemon, || {
        world.reasons("web") == ["EnsuringLoadBalancer", "EnsuredLoadBalancer"]
    });

    let ports = json!([{"name": "http", "port": 8080, "nodePort": 30081}, {"name": "more", "port": 81, "nodePort": 30082}]);
    world
        .api
        .patch(&service_path("web"), &json!({"spec": {"ports": ports}}));
    world.until("the ports changed", &daemon, || {
        world.served("slb-1") == ["TCP/81 -> n1:30082 n2:30082", "TCP/8080 -> n1:30081 n2:30081"]
    });

    world.api.delete(&service_path("web"));
    world.until("nothing is left", &daemon, || {
        world.api.get(&service_path("web")).is_none() && world.served("slb-1").is_empty()
    });
    world.until("that is told too", &daemon, || {
        world
            .reasons("web")
            .ends_with(&["DeletingLoadBalancer".into(), "DeletedLoadBalancer".into()])
    });
    assert!(daemon.terminate().success(), "{}", daemon.output());
    assert_eq!(world.slbs(), ["slb-1"], "the SLB itself is never deleted");
}

#[test]
fn tcp_and_udp_may_share_a_port_number() {
    let world = World::small();
    let daemon = world.start();
    if world.api.minor() >= 24 {
        let both = service("dns")
            .slb("slb-1")
            .port_of("TCP", 53, 30053)
            .port_of("UDP", 53, 30054);
        world.api.create(SERVICES, &both.json());
    } else {
        // such an old server takes only one protocol in a LoadBalancer Service. Source: control-plane.md 2
        world.api.create(
            SERVICES,
            &service("dns-tcp").slb("slb-1").port_of("TCP", 53, 30053).json(),
        );
        world.api.create(
            SERVICES,
            &service("dns-udp").slb("slb-1").port_of("UDP", 53, 30054).json(),
        );
    }
    world.until("both are served", &daemon, || {
        world.served("slb-1") == ["TCP/53 -> n1:30053", "UDP/53 -> n1:30054"]
    });
    let health = world.health_checks("slb-1");
    assert_eq!(
        health,
        ["TCP/53 tcp every 10 s, time-out 5 s, 3 tries", "UDP/53 off"]
    );
}

#[test]
fn annotations_of_the_old_controller_are_honoured_and_kept_on_update() {
    let world = World::small();
    let daemon = world.start();
    let old_spelling = "service.beta.kubernetes.io/inspur-internal-load-balancer-slbid";
    let web = service("web")
        .annotation(old_spelling, "slb-1")
        .annotation("loadbalancer.inspur.com/forward-rule", "WRR")
        .annotation("loadbalancer.inspur.com/healthcheck-type", "http")
        .annotation("loadbalancer.inspur.com/healthcheck-port", "30090")
        .annotation("loadbalancer.inspur.com/healthcheck-period", "7")
        .annotation("loadbalancer.inspur.com/healthcheck-timeout", "2")
        .annotation("loadbalancer.inspur.com/healthcheck-max", "4")
        .annotation("loadbalancer.inspur.com/healthcheck-path", "/ready")
        .port(80, 30080);
    world.api.create(SERVICES, &web.json());
    let wanted = ["TCP/80 http /ready on 30090 every 7 s, time-out 2 s, 4 tries"];
    world.until("the health check is as asked", &daemon, || {
        world.health_checks("slb-1") == wanted
    });
    assert_eq!(world.listener("slb-1", "TCP", 80).forward_rule, "WRR");

    world.api.patch(
        &service_path("web"),
        &json!({"metadata": {"annotations": {"loadbalancer.inspur.com/healthcheck-max": "5"}}}),
    );
    let wanted = ["TCP/80 http /ready on 30090 every 7 s, time-out 2 s, 5 tries"];
    world.until("one setting changed and the others stayed", &daemon, || {
        world.health_checks("slb-1") == wanted
    });

    world.api.patch(
        &service_path("web"),
        &json!({"metadata": {"annotations": {"loadbalancer.inspur.com/is-healthcheck": "0"}}}),
    );
    world.until("it is off", &daemon, || {
        world.health_checks("slb-1") == ["TCP/80 off"]
    });
}

#[test]
fn a_local_service_is_checked_where_kube_proxy_answers() {
    let world = World::small();
    let daemon = world.start();
    let local = service("web")
        .slb("slb-1")
        .port(80, 30080)
        .spec("externalTrafficPolicy", json!("Local"));
    let created = world
        .api
        .create(SERVICES, &local.spec("healthCheckNodePort", json!(31999)).json());
    assert_eq!(created["spec"]["healthCheckNodePort"], 31999);
    let wanted = ["TCP/80 http /healthz on 31999 every 10 s, time-out 5 s, 3 tries"];
    world.until("it is checked there", &daemon, || {
        world.health_checks("slb-1") == wanted
    });
}

#[test]
fn an_internal_slb_shows_its_private_address() {
    let world = World::new();
    world.internal_slb("slb-1", "10.0.0.5");
    world.nodes(&[node("n1", "127.0.20.1")]);
    let daemon = world.start();
    world
        .api
        .create(SERVICES, &service("web").slb("slb-1").port(80, 30080).json());
    world.until("its address is shown", &daemon, || {
        world.ingress("web") == ["10.0.0.5"]
    });
}

#[test]
fn what_happened_while_the_daemon_was_away_is_caught_up() {
    let world = World::small();
    let mut daemon = world.start();
    for name in ["stays", "goes", "changes"] {
        let port = match name {
            "stays" => 80,
            "goes" => 81,
            _ => 82,
        };
        world.api.create(
            SERVICES,
            &service(name).slb("slb-1").port(port, 30000 + port).json(),
        );
    }
    world.until("all are served", &daemon, || {
        world.served("slb-1").len() == 3 && !world.ingress("changes").is_empty()
    });
    daemon.kill();
    world.api.delete(&service_path("goes"));
    world.api.patch(
        &service_path("changes"),
        &json!({"spec": {"ports": [{"name": "x", "port": 83, "nodePort": 30083}]}}),
    );
    world.api.create("/api/v1/nodes", &node("n2", "127.0.20.2"));
    let daemon = world.start();
    world.until("it is caught up", &daemon, || {
        world.served("slb-1") == ["TCP/80 -> n1:30080 n2:30080", "TCP/83 -> n1:30083 n2:30083"]
            && world.api.get(&service_path("goes")).is_none()
    });
}
