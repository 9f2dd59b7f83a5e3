//! The client and the simulated cloud, each written from the contract by itself, understand each other, whatever way the cloud
//! spells things.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::annotations::{Defaults, SLB_ID, SLB_IN_USE};
use super::api::{Credentials, Limit};
use super::name::ClusterId;
use super::testing::{ServiceBuilder, eager, node, service};
use super::{InspurCloud, Options};
use crate::cloud::{
    Authority, Change, CloudProvider, Ensured, Error, Freshness, Instance, InstanceState, LoadBalancers,
    Lookup, granted,
};
use crate::http::Transport;
use crate::k8s::types::{LoadBalancerIngress, Node, Service};
use crate::metrics::Metrics;
use crate::runtime::clock::ManualClock;
use crate::runtime::gate::Gate;
use crate::runtime::secret::Secret;
use crate::runtime::secret_source::SecretSource;
use crate::runtime::stop::StopToken;
use crate::sim::cloud::{
    Account, Cloud, Code, Distortion, ECS_PATH, EmptyList, EmptyText, ExtraFields, IAM_PATH, InstanceSeed,
    KEYCLOAK_PATH, Kind, NameMatch, Numbers, Quirks, SLB_PATH, Seed, Status, TakenPort, UnknownBackend,
    UnknownInstance, UnknownSlb,
};
use crate::sim::server::InProcess;

const HOST: &str = "https://sim.example";

fn daemon(cloud: &Cloud, clock: &ManualClock, credentials: Credentials) -> InspurCloud {
    let options = Options {
        cluster_id: ClusterId::parse("c1").unwrap(),
        slb_url: format!("{HOST}{SLB_PATH}"),
        ecs_url: Some(format!("{HOST}{ECS_PATH}")),
        region: None,
        zone: None,
        credentials,
        defaults: Defaults::default(),
        limit: Limit::default(),
        retrying: eager(),
    };
    let clock = Arc::new(clock.clone());
    let transport: Arc<dyn Transport> =
        Arc::new(InProcess::with_clock(Arc::new(cloud.clone()), clock.clone()));
    let (stop, metrics) = (StopToken::never(), Metrics::new());
    InspurCloud::new(options, transport, Gate::open(), clock, stop, &metrics)
}

fn secret(secret: &Secret) -> SecretSource {
    SecretSource::Value(secret.clone())
}

fn keycloak() -> Credentials {
    let account = Account::named("demo");
    Credentials::Keycloak {
        url: format!("{HOST}{KEYCLOAK_PATH}"),
        client_id: account.client_id,
        client_secret: secret(&account.client_secret),
        requested_subject: account.subject,
    }
}

fn cloud() -> Cloud {
    let cloud = Cloud::default();
    cloud.add_slb(Seed::new("slb-1", "192.0.2.1", "203.0.113.1"));
    cloud
}

fn web() -> ServiceBuilder {
    service("web")
        .annotation(SLB_ID, "slb-1")
        .annotation(SLB_IN_USE, "slb-1")
}

fn nodes(count: u8) -> Vec<Arc<Node>> {
    (1..=count)
        .map(|n| node(&format!("n{n}"), &format!("10.0.0.{n}")))
        .collect()
}

fn balancers(daemon: &InspurCloud) -> &dyn LoadBalancers {
    daemon.load_balancers().unwrap()
}

fn ensure(daemon: &InspurCloud, service: &Service, count: u8) -> Result<Ensured, Error> {
    balancers(daemon).ensure(service, &nodes(count), &[], &granted)
}

#[test]
fn every_way_to_a_token_is_a_way_in() {
    let account = Account::named("demo");
    for (case, credentials) in [
        ("Keycloak", keycloak()),
        (
            "a ready token",
            Credentials::Static(secret(&account.static_token)),
        ),
        (
            "IAM",
            Credentials::Iam {
                url: format!("{HOST}{IAM_PATH}"),
                username: account.iam_username.clone(),
                password: secret(&account.iam_password),
            },
        ),
    ] {
        let (cloud, clock) = (cloud(), ManualClock::new(UNIX_EPOCH));
        let daemon = daemon(&cloud, &clock, credentials);
        let service = web().tcp(80, 30080).build();
        let ensured = ensure(&daemon, &service, 1).unwrap_or_else(|e| panic!("{case}: {e}"));
        let want = LoadBalancerIngress::ip("203.0.113.1".parse().unwrap());
        assert_eq!(ensured.ingress, [want], "{case}");
        // what it was given is no longer good: it gets another one and goes on
        cloud.expire_tokens();
        clock.advance(Duration::from_secs(5));
        ensure(&daemon, &service, 2).unwrap_or_else(|e| panic!("{case}: {e}"));
    }
}

#[test]
fn one_token_serves_until_it_is_about_to_expire() {
    let (cloud, clock) = (cloud(), ManualClock::new(UNIX_EPOCH));
    let daemon = daemon(&cloud, &clock, keycloak());
    for _ in 0..26 {
        ensure(&daemon, &web().tcp(80, 30080).build(), 1).unwrap();
        clock.advance(Duration::from_secs(10));
    }
    let tokens = cloud.count(|call| call.kind == Kind::Token);
    assert_eq!((tokens, cloud.count(|call| call.status == 401)), (1, 0));
    clock.advance(Duration::from_secs(10));
    ensure(&daemon, &web().tcp(80, 30080).build(), 1).unwrap();
    assert_eq!(
        cloud.count(|call| call.kind == Kind::Token),
        2,
        "270 of 300 s have passed"
    );
    assert_eq!(cloud.count(|call| call.status == 401), 0);
}

#[test]
fn every_spelling_of_the_cloud_is_understood() {
    for quirks in spellings() {
        let (cloud, clock) = (cloud(), ManualClock::new(UNIX_EPOCH));
        cloud.set_quirks(quirks);
        cloud.put_listener("slb-1", "by-hand", "HTTPS", 443);
        let fresh = || daemon(&cloud, &clock, keycloak());
        let first = web()
            .tcp(80, 30080)
            .udp(80, 30081)
            .tcp(81, 30082)
            .tcp(443, 30443)
            .build();
        let ensured = ensure(&fresh(), &first, 2).unwrap();
        assert_eq!(
            (ensured.change, ensured.waiting.len()),
            (Change::Made, 1),
            "{quirks:?}"
        );

        let again = ensure(&fresh(), &first, 2).unwrap();
        assert_eq!(again.change, Change::None, "{quirks:?}");

        let changed = web()
            .annotation("loadbalancer.inspur.com/healthcheck-type", "http")
            .annotation("loadbalancer.inspur.com/healthcheck-port", "10256")
            .annotation("loadbalancer.inspur.com/healthcheck-domain", "shop.example")
            .tcp(80, 31080)
            .udp(80, 30081)
            .build();
        assert_eq!(
            ensure(&fresh(), &changed, 1).unwrap().change,
            Change::Made,
            "{quirks:?}"
        );
        assert_eq!(
            ensure(&fresh(), &changed, 1).unwrap().change,
            Change::None,
            "{quirks:?}"
        );
        let shown: Vec<_> = cloud
            .listeners("slb-1")
            .iter()
            .map(|l| {
                let members: Vec<_> = l
                    .members
                    .iter()
                    .map(|m| format!("{}:{}", m.server_id, m.port))
                    .collect();
                format!(
                    "{} {}/{} {} {}",
                    l.name,
                    l.protocol,
                    l.port,
                    l.health.on,
                    members.join(" ")
                )
            })
            .collect();
        let want = [
            "k8s_c1_shop_web_tcp80 TCP/80 true i-n1:31080",
            "k8s_c1_shop_web_udp80 UDP/80 true i-n1:30081",
            "by-hand HTTPS/443 false ",
        ];
        assert_eq!(shown, want, "{quirks:?}");

        assert_eq!(
            balancers(&fresh()).ensure_deleted(&changed, &granted).unwrap(),
            Change::Made,
            "{quirks:?}"
        );
        assert_eq!(cloud.listeners("slb-1").len(), 1, "{quirks:?}");
        cloud.delete_slb("slb-1");
        assert_eq!(
            balancers(&fresh()).ensure_deleted(&changed, &granted).unwrap(),
            Change::None,
            "{quirks:?}"
        );
        assert!(
            matches!(ensure(&fresh(), &changed, 1), Err(Error::NotFound { .. })),
            "{quirks:?}"
        );
        assert_eq!(refusals(&cloud), [], "{quirks:?}");
    }
}

fn look_up(daemon: &InspurCloud, nodes: &[Arc<Node>]) -> Vec<Result<Lookup, Error>> {
    let instances = daemon.instances().unwrap();
    assert_eq!(instances.authority(), Authority::Full);
    instances.look_up(nodes, Freshness::Now)
}

fn found(result: &Result<Lookup, Error>) -> &Instance {
    match result {
        Ok(Lookup::Found(instance)) => instance,
        other => panic!("{other:?}"),
    }
}

/// How many others were there while it was not.
fn witnesses(result: &Result<Lookup, Error>) -> usize {
    match result {
        Ok(Lookup::Missing(absence)) => absence.witnesses,
        other => panic!("{other:?}"),
    }
}

/// A Node that does not say which instance it is.
fn new(name: &str, addresses: &str) -> Arc<Node> {
    let mut node = Node::clone(&node(name, addresses));
    node.provider_id = "".into();
    Arc::new(node)
}

/// `i-n1` to `i-n<count>`, as [`nodes`] has them.
fn put_instances(cloud: &Cloud, count: u8) {
    for n in 1..=count {
        cloud.add_instance(InstanceSeed::new(
            &format!("i-n{n}"),
            &format!("n{n}"),
            &format!("10.0.0.{n}"),
        ));
    }
}

#[test]
fn every_spelling_of_instances_is_understood() {
    for (empty_text, unknown_instance, name_match) in [
        (EmptyText::Text, UnknownInstance::EmptyList, NameMatch::Exact),
        (EmptyText::Null, UnknownInstance::NotFound, NameMatch::Contains),
        (
            EmptyText::Missing,
            UnknownInstance::EmptyList,
            NameMatch::Contains,
        ),
    ] {
        for quirks in spellings() {
            let quirks = Quirks {
                empty_text,
                unknown_instance,
                name_match,
                ..quirks
            };
            let (cloud, clock) = (cloud(), ManualClock::new(UNIX_EPOCH));
            cloud.set_quirks(quirks);
            put_instances(&cloud, 12);
            let mut seed = InstanceSeed::new("i-n1", "n1", "10.0.0.1");
            seed.status = Status::Stopped;
            seed.eip = "203.0.113.9".into();
            seed.ipv6s = vec!["fd00::1".into()];
            cloud.add_instance(seed);
            cloud.add_instance(InstanceSeed::new("i-n2", "n2", "10.0.0.2").owned_by("user-other"));
            let daemon = daemon(&cloud, &clock, keycloak());

            let results = look_up(&daemon, &nodes(3));
            let instance = found(&results[0]);
            let addresses = instance
                .addresses
                .iter()
                .map(|a| format!("{} {}", a.type_, a.address));
            let want = [
                "InternalIP 10.0.0.1",
                "InternalIP fd00::1",
                "ExternalIP 203.0.113.9",
                "Hostname n1",
            ];
            assert_eq!(Vec::from_iter(addresses), want, "{quirks:?}");
            let place = [&*instance.instance_type, &*instance.region, &*instance.zone];
            assert_eq!(place, ["ecs.c1.large", "cn-north-3", "cn-north-3a"], "{quirks:?}");
            assert_eq!(instance.state, InstanceState::ShutDown, "{quirks:?}");
            assert_eq!(witnesses(&results[1]), 2, "somebody else's: {quirks:?}");

            let named = look_up(
                &daemon,
                &[new("n1", ""), new("other", "10.0.0.12"), new("n2", "192.0.2.1")],
            );
            assert_eq!(*found(&named[0]).provider_id, *"incloud://i-n1", "{quirks:?}");
            assert_eq!(*found(&named[1]).provider_id, *"incloud://i-n12", "{quirks:?}");
            assert!(matches!(named[2], Err(Error::NotFound { .. })), "{quirks:?}");
            let many: Vec<_> = nodes(12).iter().map(|node| new(&node.meta.name, "")).collect();
            let listed = look_up(&daemon, &many)
                .iter()
                .filter(|result| result.is_ok())
                .count();
            assert_eq!(listed, 11, "{quirks:?}");
            let wrong = cloud.count(|call| call.status >= 400 && call.kind != Kind::DescribeInstances);
            assert_eq!(wrong, 0, "{quirks:?}");
        }
    }
}

#[test]
fn no_distorted_answer_proves_that_an_instance_is_gone() {
    for (case, distortion) in [
        ("an empty page", Distortion::AtMost(0)),
        ("a page of one", Distortion::AtMost(1)),
        ("a page of three", Distortion::AtMost(3)),
        ("a page of five", Distortion::AtMost(5)),
        ("a stale answer without anything", Distortion::AsOf(vec![])),
    ] {
        for unknown_instance in [UnknownInstance::EmptyList, UnknownInstance::NotFound] {
            let (cloud, clock) = (cloud(), ManualClock::new(UNIX_EPOCH));
            cloud.set_quirks(Quirks {
                unknown_instance,
                ..Quirks::default()
            });
            put_instances(&cloud, 12);
            let daemon = daemon(&cloud, &clock, keycloak());
            look_up(&daemon, &nodes(12));
            cloud.distort(distortion.clone(), None);
            for asked in [1, 2, 6, 12] {
                for result in look_up(&daemon, &nodes(asked)) {
                    let harmless = match &result {
                        Ok(Lookup::Missing(absence)) => absence.witnesses == 0,
                        Ok(Lookup::Found(_)) | Err(_) => true,
                    };
                    assert!(harmless, "{case}, {asked} Nodes: {result:?}");
                }
            }
        }
    }
}

#[test]
fn what_is_gone_is_missed_by_those_who_are_there() {
    let (cloud, clock) = (cloud(), ManualClock::new(UNIX_EPOCH));
    put_instances(&cloud, 12);
    let daemon = daemon(&cloud, &clock, keycloak());
    look_up(&daemon, &nodes(12));
    cloud.remove_instance("i-n1");
    assert_eq!(witnesses(&look_up(&daemon, &nodes(1))[0]), 5);
    assert_eq!(witnesses(&look_up(&daemon, &nodes(12))[0]), 11);
}

/// Calls that the cloud found wrong, which is stricter than the real one.
fn refusals(cloud: &Cloud) -> Vec<(Kind, u16)> {
    let calls = cloud.calls();
    let refused = calls
        .iter()
        .filter(|call| call.status >= 400 && call.kind != Kind::DescribeSlb);
    refused.map(|call| (call.kind, call.status)).collect()
}

fn spellings() -> Vec<Quirks> {
    let mut all = Vec::new();
    for numbers in [Numbers::AsNumbers, Numbers::AsStrings, Numbers::FlagAsNumber] {
        for (empty_list, unknown_slb, code, extra_fields) in [
            (
                EmptyList::Array,
                UnknownSlb::EmptyList,
                Code::Text,
                ExtraFields::No,
            ),
            (
                EmptyList::Null,
                UnknownSlb::EmptyList,
                Code::Number,
                ExtraFields::Yes,
            ),
            (
                EmptyList::Array,
                UnknownSlb::NotFound,
                Code::Number,
                ExtraFields::Yes,
            ),
        ] {
            all.push(Quirks {
                numbers,
                empty_list,
                unknown_slb,
                code,
                extra_fields,
                taken_port: TakenPort::Conflict,
                unknown_backend: UnknownBackend::Ignored,
                ..Quirks::default()
            });
        }
    }
    all
}
