//! The client and the simulated cloud, each written from the contract by itself, understand each other, whatever way the cloud
//! spells things.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::annotations::{Defaults, SLB_ID, SLB_IN_USE};
use super::api::{Credentials, Limit};
use super::name::ClusterId;
use super::testing::{ServiceBuilder, eager, node, service};
use super::{InspurCloud, Options};
use crate::cloud::{Change, CloudProvider, Ensured, Error, LoadBalancers};
use crate::http::Transport;
use crate::k8s::types::{LoadBalancerIngress, Node, Service};
use crate::runtime::clock::ManualClock;
use crate::runtime::secret::Secret;
use crate::runtime::secret_source::SecretSource;
use crate::runtime::stop::StopToken;
use crate::sim::cloud::{
    Account, Cloud, Code, EmptyList, ExtraFields, IAM_PATH, KEYCLOAK_PATH, Kind, Numbers, Quirks, SLB_PATH,
    Seed, TakenPort, UnknownBackend, UnknownSlb,
};
use crate::sim::server::InProcess;

const HOST: &str = "https://sim.example";

fn daemon(cloud: &Cloud, clock: &ManualClock, credentials: Credentials) -> InspurCloud {
    let options = Options {
        cluster_id: ClusterId::parse("c1").unwrap(),
        slb_url: format!("{HOST}{SLB_PATH}"),
        ecs_url: None,
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
    InspurCloud::new(options, transport, clock, StopToken::never())
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
    balancers(daemon).ensure(service, &nodes(count), &[])
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
            balancers(&fresh()).ensure_deleted(&changed).unwrap(),
            Change::Made,
            "{quirks:?}"
        );
        assert_eq!(cloud.listeners("slb-1").len(), 1, "{quirks:?}");
        cloud.delete_slb("slb-1");
        assert_eq!(
            balancers(&fresh()).ensure_deleted(&changed).unwrap(),
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
