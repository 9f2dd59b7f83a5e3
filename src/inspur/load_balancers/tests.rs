use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::cloud::{CloudProvider, granted};
use crate::http::Transport;
use crate::inspur::annotations::{Defaults, Switch};
use crate::inspur::api::{Credentials, Limit};
use crate::inspur::fake_slb::{BASE, FakeApi, Fault};
use crate::inspur::testing::{ServiceBuilder, eager, node, service};
use crate::inspur::{InspurCloud, Options};
use crate::k8s::types::Protocol;
use crate::metrics::Metrics;
use crate::runtime::clock::ManualClock;
use crate::runtime::gate::Gate;
use crate::runtime::secret::Secret;
use crate::runtime::secret_source::SecretSource;
use crate::runtime::stop::Stop;

/// How many calls are made, and what is remembered between them.
mod calls;
/// Killed at any call, followed by another.
mod crash;

/// A daemon of the cluster `c1`, and its time.
struct Daemon {
    cloud: InspurCloud,
    clock: ManualClock,
    stop: Stop,
}

impl Daemon {
    fn new(api: &Arc<FakeApi>) -> Self {
        Self::of_cluster("c1", api)
    }

    fn of_cluster(cluster: &str, api: &Arc<FakeApi>) -> Self {
        let options = Options {
            cluster_id: ClusterId::parse(cluster).unwrap(),
            slb_url: BASE.into(),
            ecs_url: None,
            region: None,
            zone: None,
            credentials: Credentials::Static(SecretSource::Value(Secret::new("t0"))),
            defaults: Defaults::default(),
            limit: Limit::default(),
            retrying: eager(),
        };
        let (clock, stop) = (ManualClock::new(UNIX_EPOCH), Stop::new());
        let transport = Arc::clone(api) as Arc<dyn Transport>;
        Self {
            cloud: InspurCloud::new(
                options,
                transport,
                Gate::open(),
                Arc::new(clock.clone()),
                stop.token(),
                &Metrics::new(),
            ),
            clock,
            stop,
        }
    }

    fn balancers(&self) -> &dyn LoadBalancers {
        self.cloud.load_balancers().unwrap()
    }

    fn ensure(&self, service: &Service, nodes: &[Arc<Node>]) -> Result<Ensured, Error> {
        self.balancers().ensure(service, nodes, &[], &granted)
    }

    fn delete(&self, service: &Service) -> Result<Change, Error> {
        self.balancers().ensure_deleted(service, &granted)
    }
}

/// `shop/<name>` on slb-1, recorded there.
fn on_slb_1(name: &str) -> ServiceBuilder {
    service(name)
        .annotation(SLB_ID, "slb-1")
        .annotation(SLB_IN_USE, "slb-1")
}

fn web() -> Service {
    on_slb_1("web").tcp(80, 30080).build()
}

fn nodes(count: u8) -> Vec<Arc<Node>> {
    (1..=count)
        .map(|n| node(&format!("n{n}"), &format!("10.0.0.{n}")))
        .collect()
}

fn ten_services() -> Vec<Service> {
    (0..10)
        .map(|n| on_slb_1(&format!("web-{n}")).tcp(80 + n, 30080 + n).build())
        .collect()
}

/// Variant, reason and sentence of an error.
fn told(error: Error) -> (&'static str, &'static str, String) {
    match error {
        Error::Rejected { reason, message } => ("rejected", reason, message),
        Error::NotFound { reason, message } => ("not found", reason, message),
        Error::Unavailable { message, .. } => ("unavailable", "", message),
        Error::Stopped => ("stopped", "", String::new()),
        Error::NotLeading => ("not leading", "", String::new()),
        Error::Outdated => ("outdated", "", String::new()),
    }
}

#[test]
fn a_service_is_served_and_says_where() {
    let api = FakeApi::new(&["slb-1"]);
    let daemon = Daemon::new(&api);
    let service = on_slb_1("web").tcp(80, 30080).udp(80, 30081).build();
    let want = Ensured {
        ingress: vec![LoadBalancerIngress::ip("203.0.113.7".parse().unwrap())],
        change: Change::Made,
        record: "slb-1".into(),
        waiting: vec![],
        notes: vec![],
    };
    assert_eq!(daemon.ensure(&service, &nodes(2)).unwrap(), want);
    assert_eq!(
        api.shown("slb-1"),
        [
            "k8s_c1_shop_web_tcp80 TCP/80 RR i-n1@10.0.0.1:30080 i-n2@10.0.0.2:30080",
            "k8s_c1_shop_web_udp80 UDP/80 RR i-n1@10.0.0.1:30081 i-n2@10.0.0.2:30081",
        ]
    );
    let again = daemon.ensure(&service, &nodes(2)).unwrap();
    assert_eq!(
        again,
        Ensured {
            change: Change::None,
            ..want
        }
    );
}

#[test]
fn changes_of_a_service_reach_its_listeners() {
    let api = FakeApi::new(&["slb-1"]);
    let daemon = Daemon::new(&api);
    daemon
        .ensure(&on_slb_1("web").tcp(80, 30080).tcp(81, 30081).build(), &nodes(1))
        .unwrap();
    api.take_log();
    let changed = on_slb_1("web")
        .annotation("loadbalancer.inspur.com/forward-rule", "WRR")
        .tcp(80, 31080)
        .tcp(82, 30082)
        .build();
    daemon.ensure(&changed, &nodes(1)).unwrap();
    assert_eq!(
        api.shown("slb-1"),
        [
            "k8s_c1_shop_web_tcp80 TCP/80 WRR i-n1@10.0.0.1:31080",
            "k8s_c1_shop_web_tcp82 TCP/82 WRR i-n1@10.0.0.1:30082",
        ]
    );
    let writes = api.take_log();
    let writes: Vec<_> = writes.iter().filter(|line| !line.starts_with("GET")).collect();
    let verbs: Vec<_> = writes
        .iter()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(verbs, ["DELETE", "PUT", "POST", "POST", "POST", "DELETE"]);
}

#[test]
fn a_listener_that_somebody_changed_is_set_again_with_every_field() {
    let api = FakeApi::new(&["slb-1"]);
    Daemon::new(&api).ensure(&web(), &nodes(1)).unwrap();
    for (field, value) in [
        ("forwardRule", "WRR"),
        ("isHealthCheck", "0"),
        ("periodHealthCheck", "99"),
    ] {
        let mut before = None;
        api.change(|state| {
            let (listener, _) = state
                .slbs
                .get_mut("slb-1")
                .unwrap()
                .listeners
                .values_mut()
                .next()
                .unwrap();
            before = Some(listener.clone());
            listener[field] = value.into();
        });
        Daemon::new(&api).ensure(&web(), &nodes(1)).unwrap();
        api.change(|state| {
            let (listener, _) = state.slbs["slb-1"].listeners.values().next().unwrap();
            assert_eq!(Some(listener), before.as_ref(), "{field}");
        });
    }
}

#[test]
fn two_clusters_on_one_slb_never_touch_each_other() {
    let api = FakeApi::new(&["slb-1"]);
    let (one, two) = (Daemon::of_cluster("c1", &api), Daemon::of_cluster("c2", &api));
    api.put_listener("slb-1", "listener_30090_0", "HTTP", 90);
    let (ours, theirs) = (web(), on_slb_1("web").tcp(80, 30080).tcp(81, 30081).build());
    one.ensure(&ours, &nodes(1)).unwrap();
    let waiting = two.ensure(&theirs, &nodes(2)).unwrap().waiting;
    assert_eq!(waiting[0].note.reason, "PortTaken");
    assert!(
        waiting[0].note.message.contains("made by cluster c1"),
        "{waiting:?}"
    );
    let both = [
        "k8s_c1_shop_web_tcp80 TCP/80 RR i-n1@10.0.0.1:30080",
        "k8s_c2_shop_web_tcp81 TCP/81 RR i-n1@10.0.0.1:30081 i-n2@10.0.0.2:30081",
        "listener_30090_0 HTTP/90 ",
    ];
    assert_eq!(api.shown("slb-1"), both);
    one.clock.advance(Duration::from_secs(5));
    one.delete(&ours).unwrap();
    assert_eq!(api.shown("slb-1"), both[1..]);
    two.clock.advance(Duration::from_secs(5));
    assert_eq!(two.ensure(&theirs, &nodes(2)).unwrap().waiting, vec![]);
    two.delete(&theirs).unwrap();
    assert_eq!(api.shown("slb-1"), both[2..]);
}

#[test]
fn a_port_that_is_taken_waits_and_the_others_are_served() {
    for (case, name, protocol, ours, sentence) in [
        (
            "a console's",
            "by-hand",
            "HTTPS",
            "TCP/81",
            "TCP port 80 of SLB slb-1 is taken by listener \"by-hand\" (l-1), not made by this controller; choose another port or another SLB, or remove that listener",
        ),
        (
            "a sibling's",
            "k8s_c1_shop_api_tcp80",
            "TCP",
            "TCP/81",
            "TCP port 80 of SLB slb-1 is taken by listener \"k8s_c1_shop_api_tcp80\" (l-1), that of Service shop/api; choose another port or another SLB, or remove that listener",
        ),
    ] {
        let api = FakeApi::new(&["slb-1"]);
        api.put_listener("slb-1", name, protocol, 80);
        let service = on_slb_1("web").tcp(80, 30080).tcp(81, 30081).build();
        let ensured = Daemon::new(&api).ensure(&service, &nodes(1)).unwrap();
        let waiting: Vec<_> = ensured
            .waiting
            .iter()
            .map(|w| (w.note.reason, &*w.note.message, w.retry))
            .collect();
        assert_eq!(waiting, [("PortTaken", sentence, Retry::Backoff)], "{case}");
        let shown = api.shown("slb-1");
        assert_eq!(shown.len(), 2, "{case}");
        assert!(shown.iter().any(|line| line.contains(ours)), "{case}: {shown:?}");
    }
}

#[test]
fn a_denied_port_loses_its_listener_to_the_older_service() {
    let api = FakeApi::new(&["slb-1"]);
    let daemon = Daemon::new(&api);
    let service = on_slb_1("web").tcp(80, 30080).udp(80, 30080).build();
    daemon.ensure(&service, &nodes(1)).unwrap();
    let claims = daemon.balancers().claims(&service);
    let texts: Vec<_> = claims.iter().map(|claim| &*claim.0).collect();
    assert_eq!(texts, ["slb-1/TCP/80", "slb-1/UDP/80"]);
    let denied = Denied {
        claim: claims[0].clone(),
        holder: "shop/old".into(),
    };
    let ensured = daemon
        .balancers()
        .ensure(&service, &nodes(1), &[denied], &granted)
        .unwrap();
    assert!(
        ensured.waiting[0]
            .note
            .message
            .contains("belongs to Service shop/old"),
        "{ensured:?}"
    );
    assert_eq!(
        api.shown("slb-1"),
        ["k8s_c1_shop_web_udp80 UDP/80 RR i-n1@10.0.0.1:30080"]
    );
}

#[test]
fn a_service_that_cannot_be_read_writes_nothing_and_says_why() {
    let invalid = on_slb_1("web")
        .annotation("loadbalancer.inspur.com/forward-rule", "LC")
        .annotation("loadbalancer.inspur.com/healthcheck-port", "http")
        .tcp(80, 30080)
        .build();
    let nameless = service("web").tcp(80, 30080).build();
    for (case, service, reason, parts) in [
        (
            "two annotations",
            invalid,
            "InvalidAnnotation",
            [
                r#"forward-rule is "LC"; allowed is RR or WRR; "#,
                r#"healthcheck-port is "http"; allowed is a number from 0 to 65535"#,
            ],
        ),
        (
            "no SLB",
            nameless,
            "LoadBalancerIdMissing",
            ["add the annotation", SLB_ID],
        ),
    ] {
        let api = FakeApi::new(&["slb-1"]);
        let daemon = Daemon::new(&api);
        let balancers = daemon.balancers();
        assert_eq!(
            (balancers.claims(&service), balancers.group(&service)),
            (vec![], None),
            "{case}"
        );
        for error in [
            balancers.locate(&service).unwrap_err(),
            daemon.ensure(&service, &nodes(1)).unwrap_err(),
        ] {
            let (variant, told_reason, message) = told(error);
            assert_eq!((variant, told_reason), ("rejected", reason), "{case}");
            assert!(
                parts.iter().all(|part| message.contains(part)),
                "{case}: {message}"
            );
        }
        assert_eq!(api.take_log(), [""; 0], "{case}");
    }
}

#[test]
fn an_slb_that_cannot_be_used_is_told_apart() {
    let always = |status, body| Some(Fault::Always("GET ?", status, body));
    for (case, slb, fault, want) in [
        ("nobody's", "slb-9", None, ("not found", "LoadBalancerNotFound")),
        (
            "404",
            "slb-1",
            always(404, "{}"),
            ("not found", "LoadBalancerNotFound"),
        ),
        (
            "somebody else's",
            "slb-1",
            always(403, "{}"),
            ("not found", "LoadBalancerForbidden"),
        ),
        ("a page", "slb-1", always(200, "<html>"), ("unavailable", "")),
        (
            "a page that says 404",
            "slb-1",
            always(404, "<html>"),
            ("unavailable", ""),
        ),
        (
            "truncated",
            "slb-1",
            always(200, r#"[{"slbId":"#),
            ("unavailable", ""),
        ),
        ("empty", "slb-1", always(200, ""), ("unavailable", "")),
        ("down", "slb-1", always(503, ""), ("unavailable", "")),
        (
            "a list that is gone",
            "slb-1",
            Some(Fault::Always("GET /slb-1", 404, "{}")),
            ("unavailable", ""),
        ),
    ] {
        let api = FakeApi::new(&["slb-1"]);
        if let Some(fault) = fault {
            api.break_with(fault);
        }
        let daemon = Daemon::new(&api);
        let service = service("web")
            .annotation(SLB_ID, slb)
            .annotation(SLB_IN_USE, slb)
            .tcp(80, 30080)
            .build();
        let (located, ensured) = (
            daemon.balancers().locate(&service),
            daemon.ensure(&service, &nodes(1)),
        );
        for error in [located.unwrap_err(), ensured.unwrap_err()] {
            assert_eq!(error.retry(), Retry::Backoff, "{case}");
            let (variant, reason, message) = told(error);
            assert_eq!((variant, reason), want, "{case}");
            assert!(message.contains(slb), "{case}: {message}");
        }
        let gone = want.1 == "LoadBalancerNotFound";
        assert_eq!(
            daemon.delete(&service).is_ok(),
            gone,
            "{case}: only a proven loss counts as deleted"
        );
        assert_eq!(api.take_counts().2, 0, "{case}");
    }
}

#[test]
fn deletion_follows_the_record_and_takes_every_port() {
    let api = FakeApi::new(&["slb-1", "slb-2"]);
    let daemon = Daemon::new(&api);
    let both = |slb: &str| {
        service("web")
            .annotation(SLB_ID, slb)
            .annotation(SLB_IN_USE, slb)
            .tcp(80, 30080)
            .udp(53, 30053)
    };
    daemon.ensure(&both("slb-1").build(), &nodes(1)).unwrap();
    daemon.ensure(&both("slb-2").build(), &nodes(1)).unwrap();
    api.put_listener("slb-1", "k8s_c1_shop_web2_tcp81", "TCP", 81);
    api.put_listener("slb-1", "k8s_c1_shop_web_tcp82", "TCP", 83);
    api.take_log();

    assert_eq!(
        daemon
            .delete(&service("web").annotation(SLB_ID, "slb-1").build())
            .unwrap(),
        Change::None
    );
    assert_eq!(
        api.take_log(),
        [""; 0],
        "without a record nothing was ever written"
    );

    daemon.clock.advance(Duration::from_secs(5));
    let changed = service("web")
        .annotation(SLB_IN_USE, "slb-1,slb-2,slb-lost")
        .tcp(443, 30443)
        .build();
    assert_eq!(daemon.delete(&changed).unwrap(), Change::Made);
    assert_eq!(
        api.shown("slb-1"),
        ["k8s_c1_shop_web2_tcp81 TCP/81 ", "k8s_c1_shop_web_tcp82 TCP/83 "]
    );
    assert_eq!(api.shown("slb-2"), [""; 0]);
    assert_eq!(daemon.delete(&changed).unwrap(), Change::None);
}

#[test]
fn one_slb_that_fails_does_not_keep_listeners_on_another() {
    let api = FakeApi::new(&["slb-1", "slb-2"]);
    let daemon = Daemon::new(&api);
    daemon
        .ensure(
            &service("web").annotation(SLB_ID, "slb-2").tcp(80, 30080).build(),
            &nodes(1),
        )
        .unwrap();
    api.break_with(Fault::Always("GET ?slbId=slb-1", 403, "{}"));
    let record = service("web").annotation(SLB_IN_USE, "slb-1,slb-2").build();
    let (_, reason, _) = told(daemon.delete(&record).unwrap_err());
    assert_eq!(reason, "LoadBalancerForbidden");
    assert_eq!(api.shown("slb-2"), [""; 0]);
}

#[test]
fn a_service_that_moves_is_served_on_the_new_slb_before_it_leaves_the_old() {
    let moved = |record: &str| {
        service("web")
            .annotation(SLB_ID, "slb-2")
            .annotation(SLB_IN_USE, record)
            .tcp(80, 30080)
            .build()
    };
    let there = |api: &FakeApi| (api.shown("slb-1").len(), api.shown("slb-2").len());
    let start = || {
        let api = FakeApi::new(&["slb-1", "slb-2"]);
        Daemon::new(&api).ensure(&web(), &nodes(1)).unwrap();
        api.take_log();
        (Daemon::new(&api), api)
    };

    let (daemon, api) = start();
    assert_eq!(daemon.balancers().locate(&moved("slb-1")).unwrap(), "slb-1,slb-2");
    let ensured = daemon.ensure(&moved("slb-1,slb-2"), &nodes(1)).unwrap();
    assert_eq!((ensured.record.as_str(), ensured.waiting), ("slb-2", vec![]));
    assert_eq!(there(&api), (0, 1));
    let log = api.take_log();
    let made = log
        .iter()
        .position(|line| line.starts_with("POST /slb-2"))
        .unwrap();
    let removed = log
        .iter()
        .position(|line| line.starts_with("DELETE /slb-1"))
        .unwrap();
    assert!(made < removed, "{log:?}");

    let (daemon, api) = start();
    api.put_listener("slb-2", "by-hand", "TCP", 80);
    let ensured = daemon.ensure(&moved("slb-1,slb-2"), &nodes(1)).unwrap();
    assert_eq!(
        (ensured.record.as_str(), ensured.waiting.len()),
        ("slb-1,slb-2", 1)
    );
    assert_eq!(there(&api), (1, 1), "what cannot be served there stays here");

    let (daemon, api) = start();
    api.change(|state| drop(state.slbs.remove("slb-1")));
    assert_eq!(
        daemon.ensure(&moved("slb-1,slb-2"), &nodes(1)).unwrap().record,
        "slb-2",
        "the old one is lost"
    );

    let (daemon, api) = start();
    api.break_with(Fault::Always("GET ?slbId=slb-1", 403, "{}"));
    let ensured = daemon.ensure(&moved("slb-1,slb-2"), &nodes(1)).unwrap();
    assert_eq!(
        (ensured.record.as_str(), ensured.ingress.len()),
        ("slb-1,slb-2", 1)
    );
    assert_eq!(ensured.waiting[0].note.reason, "LoadBalancerLeftBehind");
}

#[test]
fn the_address_told_is_the_one_that_clients_reach() {
    for (case, scheme, vpc, eip, want) in [
        (
            "public",
            "internet-facing",
            "10.0.0.9",
            "203.0.113.7",
            Some("203.0.113.7"),
        ),
        (
            "no public one",
            "internet-facing",
            "10.0.0.9",
            "",
            Some("10.0.0.9"),
        ),
        (
            "internal",
            "internal",
            "10.0.0.9",
            "203.0.113.7",
            Some("10.0.0.9"),
        ),
        ("none", "internet-facing", "", "", None),
    ] {
        let api = FakeApi::new(&["slb-1"]);
        api.change(|state| {
            let described = &mut state.slbs.get_mut("slb-1").unwrap().described;
            described["scheme"] = scheme.into();
            described["businessIp"] = vpc.into();
            described["eipAddress"] = eip.into();
        });
        let ensured = Daemon::new(&api).ensure(&web(), &nodes(1));
        let ingress = ensured.map(|e| e.ingress).map_err(|e| told(e).0);
        let want = want
            .map(|ip| vec![LoadBalancerIngress::ip(ip.parse().unwrap())])
            .ok_or("unavailable");
        assert_eq!(ingress, want, "{case}");
    }
}

#[test]
fn an_unsupported_port_does_not_keep_a_service_on_its_old_slb() {
    let api = FakeApi::new(&["slb-1", "slb-2"]);
    let daemon = Daemon::new(&api);
    daemon.ensure(&web(), &nodes(1)).unwrap();
    let moved = service("web")
        .annotation(SLB_ID, "slb-2")
        .annotation(SLB_IN_USE, "slb-1,slb-2")
        .tcp(80, 30080)
        .port(Protocol::Other("SCTP".into()), 81, 30081)
        .build();
    let ensured = daemon.ensure(&moved, &nodes(1)).unwrap();
    assert_eq!((ensured.record.as_str(), ensured.waiting.len()), ("slb-2", 1));
}

#[test]
fn nothing_is_called_once_it_is_time_to_stop() {
    let api = FakeApi::new(&["slb-1"]);
    let daemon = Daemon::new(&api);
    daemon.balancers().locate(&web()).unwrap();
    api.take_log();
    daemon.stop.stop();
    assert!(matches!(daemon.ensure(&web(), &nodes(1)), Err(Error::Stopped)));
    assert!(matches!(daemon.delete(&web()), Err(Error::Stopped)));
    assert_eq!(api.take_log(), [""; 0]);
}

#[test]
fn leave_is_asked_before_the_first_write_and_never_for_reads() {
    let api = FakeApi::new(&["slb-1", "slb-2"]);
    let daemon = Daemon::new(&api);
    let asked = std::cell::Cell::new(0);
    let refuse = || -> Result<(), Error> {
        asked.set(asked.get() + 1);
        Err(Error::Outdated)
    };
    let refused = |result: Result<Change, Error>, case: &str| {
        assert!(matches!(result, Err(Error::Outdated)), "{case}: {result:?}");
        assert_eq!(
            (asked.take(), api.take_counts().2),
            (1, 0),
            "{case}: asked once, nothing written"
        );
    };
    let ensure = |service: &Service| {
        let ensured = daemon.balancers().ensure(service, &nodes(1), &[], &refuse);
        ensured.map(|ensured| ensured.change)
    };
    refused(ensure(&web()), "a new one");
    daemon.ensure(&web(), &nodes(1)).unwrap();
    api.take_counts();
    assert_eq!(ensure(&web()).unwrap(), Change::None, "nothing is to be written");
    assert_eq!(asked.take(), 0);
    let gone = service("web").annotation(SLB_IN_USE, "slb-1,slb-2").build();
    refused(daemon.balancers().ensure_deleted(&gone, &refuse), "a deletion");
    let moved = service("web")
        .annotation(SLB_ID, "slb-2")
        .annotation(SLB_IN_USE, "slb-1,slb-2")
        .tcp(80, 30080)
        .build();
    refused(ensure(&moved), "a move");
    daemon.ensure(&moved, &nodes(1)).unwrap();
    assert_eq!(api.shown("slb-1"), [""; 0]);
}

#[test]
fn other_defaults_count_from_the_next_sync_on() {
    let api = FakeApi::new(&["slb-1"]);
    let daemon = Daemon::new(&api);
    daemon.ensure(&web(), &nodes(1)).unwrap();
    let other = Defaults {
        rule: Some(crate::inspur::model::ForwardRule::WeightedRoundRobin),
        check: Some(Switch::Off),
        ..Defaults::default()
    };
    daemon.cloud.controls().set_defaults(other);
    let ensured = daemon.ensure(&web(), &nodes(1)).unwrap();
    assert_eq!(ensured.change, Change::Made);
    let shown = api.shown("slb-1");
    assert!(shown[0].contains(" WRR "), "{shown:?}");
}
