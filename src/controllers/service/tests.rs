//! Syncs against a cloud in memory and the simulated API in-process, one at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use super::ServiceController;
use super::backends::BackendView;
use super::outcomes::Counts;
use super::sync::{Done, Error, Syncer};
use super::term::Cache;
use crate::cloud::fake::{Call, FakeCloud, ID, RECORD};
use crate::cloud::{self, Retry};
use crate::events::{EventSink, Step, recorder};
use crate::informer::{Writer, store};
use crate::k8s;
use crate::k8s::types::{Node, Service};
use crate::runtime::clock::{ManualClock, SystemClock};
use crate::runtime::random::Random;
use crate::runtime::stop::StopToken;
use crate::sim::api_server::{ApiServer, Resource};
use crate::sim::faults::{Effect, Rule};
use crate::sim::server::{InProcess, Logged};
use crate::workqueue::QueueMetrics;

struct World {
    api: ApiServer,
    transport: Arc<InProcess>,
    cloud: FakeCloud,
    services: Writer<Service>,
    nodes: Writer<Node>,
    syncer: Syncer,
    events: EventSink,
    clock: ManualClock,
}

const DAY: Duration = Duration::from_secs(86_400);

impl World {
    fn new() -> Self {
        let world = Self::standby();
        world.syncer.set_leading(Cache::Fresh);
        world
    }

    /// Nobody leads yet.
    fn standby() -> Self {
        let api = ApiServer::new(1);
        api.open(true);
        Self::between(api, FakeCloud::default())
    }

    /// A standby of this one.
    fn beside(&self) -> Self {
        let mut standby = Self::between(self.api.clone(), self.cloud.clone());
        assert_eq!(
            standby.refresh(),
            [] as [&str; 0],
            "that is the leader's business"
        );
        standby
    }

    fn between(api: ApiServer, cloud: FakeCloud) -> Self {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + DAY);
        let transport = Arc::new(InProcess::new(Arc::new(api.clone())));
        let client = k8s::Client::new("http://simulated", transport.clone(), StopToken::never());
        let (services, service_store) = store();
        let (nodes, node_store) = store();
        let (recorder, events) = recorder(
            "service-controller",
            client.clone(),
            Arc::new(SystemClock),
            Arc::new(Random::from_seed(1)),
        );
        let syncer = Syncer::new(
            Arc::new(cloud.clone()),
            client,
            service_store,
            BackendView::new(node_store),
            recorder,
            Arc::new(clock.clone()),
        );
        Self {
            api,
            transport,
            cloud,
            services,
            nodes,
            syncer,
            events,
            clock,
        }
    }

    /// With the Service `web` on `lb-1`, synced once.
    fn serving() -> Self {
        Self::new().with_web()
    }

    /// The same with one Node.
    fn serving_on(node: &str) -> Self {
        let world = Self::new();
        world
            .api
            .create(Resource::Nodes, &json!({"metadata": {"name": node}}))
            .unwrap();
        world.with_web()
    }

    fn with_web(self) -> Self {
        let mut world = self;
        world.create("web", "lb-1", 80);
        world.refresh();
        world.sync("web").unwrap();
        world
    }

    /// Creates a Service of type LoadBalancer on `id`, with this port.
    fn create(&self, name: &str, id: &str, port: u16) {
        let service = json!({
            "metadata": {"name": name, "annotations": {ID: id}},
            "spec": {"type": "LoadBalancer", "ports": [{"port": port}]},
        });
        self.api.create(Resource::Services, &service).unwrap();
    }

    fn patch(&self, name: &str, patch: Value) {
        self.api
            .patch(Resource::Services, "default", name, &patch)
            .unwrap();
    }

    /// Lets the store see the cluster as it is; the keys that are due because of it.
    fn refresh(&mut self) -> Vec<String> {
        fn decode<T: serde::de::DeserializeOwned>(objects: impl IntoIterator<Item = Value>) -> Vec<T> {
            objects
                .into_iter()
                .map(|object| serde_json::from_value(object).unwrap())
                .collect()
        }
        self.nodes
            .replace(decode::<Node>(self.api.objects(Resource::Nodes).into_values()));
        self.syncer.backends().changed();
        let changes = self.services.replace(decode::<Service>(
            self.api.objects(Resource::Services).into_values(),
        ));
        let due = changes
            .iter()
            .flat_map(|c| self.syncer.note_change(&c.key, c.old.as_ref(), c.new.as_ref()));
        due.collect::<BTreeSet<_>>()
            .iter()
            .map(|key| key.to_string())
            .collect()
    }

    fn sync(&self, name: &str) -> Result<Done, Error> {
        self.syncer.sync(&format!("default/{name}").into())
    }

    /// Reasons of all Events since the last call, in order.
    fn reasons(&mut self) -> Vec<String> {
        while self.events.step() != Step::Idle {}
        let mut events: Vec<Value> = self.api.objects(Resource::Events).into_values().collect();
        events.sort_by_key(|event| {
            event["metadata"]["resourceVersion"]
                .as_str()
                .unwrap()
                .parse::<u64>()
                .unwrap()
        });
        for event in &events {
            self.api.remove(
                Resource::Events,
                "default",
                event["metadata"]["name"].as_str().unwrap(),
            );
        }
        events
            .iter()
            .map(|event| event["reason"].as_str().unwrap().to_string())
            .collect()
    }

    /// How often the API server was asked for one Service since the last time.
    fn take_gets(&self) -> usize {
        let is_get = |logged: &&Logged| logged.method == "GET" && logged.target.contains("/services/");
        let log = self.transport.log();
        let count = log.entries().iter().filter(is_get).count();
        log.clear();
        count
    }

    fn take_over(&self, cache: Cache) -> Vec<String> {
        let due = self.syncer.set_leading(cache);
        due.iter().map(|key| key.to_string()).collect()
    }

    /// What the report says of the one Service that fails: reason, times, seconds since the clock's beginning.
    fn failing(&self) -> Option<(&'static str, u32, u64)> {
        let failing = self.syncer.report().failing;
        assert!(failing.len() < 2, "{failing:?}");
        failing.first().map(|(_, failing)| {
            let since = failing.since.duration_since(SystemTime::UNIX_EPOCH + DAY);
            (failing.reason, failing.times, since.unwrap().as_secs())
        })
    }

    /// The report's claims: what, whose, seconds since the clock's beginning when that succeeded.
    fn claims(&self) -> Vec<(String, String, Option<u64>)> {
        let seconds = |time: SystemTime| {
            let since = time.duration_since(SystemTime::UNIX_EPOCH + DAY);
            since.unwrap().as_secs()
        };
        let claims = self.syncer.report().claims.into_iter();
        let mut claims: Vec<_> = claims
            .map(|c| {
                (
                    c.claim.0.to_string(),
                    c.service.to_string(),
                    c.succeeded.map(seconds),
                )
            })
            .collect();
        claims.sort();
        claims
    }

    fn service(&self, name: &str) -> Option<Value> {
        self.api.object(Resource::Services, "default", name)
    }
}

fn turns(names: &[&str]) -> Done {
    Done {
        turns: names
            .iter()
            .map(|name| format!("default/{name}").into())
            .collect(),
        waiting: None,
    }
}

#[test]
fn a_service_is_marked_before_the_first_write_and_its_status_is_set_after() {
    let mut world = World::new();
    world
        .api
        .create(Resource::Nodes, &json!({"metadata": {"name": "n1"}}))
        .unwrap();
    world.create("web", "lb-1", 80);
    assert_eq!(world.refresh(), ["default/web"]);
    // the fake checks that the record is there before `ensure`
    assert_eq!(world.sync("web").unwrap(), turns(&[]));
    let web = world.service("web").unwrap();
    assert_eq!(web["metadata"]["finalizers"], json!([super::FINALIZER]));
    assert_eq!(web["metadata"]["annotations"][RECORD], "lb-1");
    assert_eq!(web["status"]["loadBalancer"]["ingress"][0]["ip"], "192.0.2.1");
    assert_eq!(world.reasons(), ["EnsuringLoadBalancer", "EnsuredLoadBalancer"]);
    assert_eq!(
        world.cloud.served(),
        [("lb-1/TCP/80".into(), "default/web".into(), vec!["n1".into()])]
    );
}

#[test]
fn our_own_writes_ask_for_no_sync_and_a_repeated_sync_writes_nothing() {
    let mut world = World::serving_on("n1");
    world.reasons();
    let version = world.api.version();
    // with the store still behind our own writes, and then with them in it
    for _ in 0..2 {
        world.sync("web").unwrap();
        assert_eq!(world.reasons(), [] as [&str; 0]);
        assert_eq!(world.api.version(), version, "nothing was written");
        assert_eq!(
            world.refresh(),
            [] as [&str; 0],
            "finalizer, record and status are ours"
        );
    }
}

#[test]
fn a_node_change_updates_and_is_told_as_such() {
    let mut world = World::serving_on("n1");
    world.reasons();
    world
        .api
        .create(Resource::Nodes, &json!({"metadata": {"name": "n2"}}))
        .unwrap();
    world.refresh();
    world.sync("web").unwrap();
    assert_eq!(world.reasons(), ["UpdatedLoadBalancer"]);
    assert_eq!(world.cloud.served()[0].2, ["n1", "n2"]);
    world.api.delete(Resource::Nodes, "", "n1");
    world.api.delete(Resource::Nodes, "", "n2");
    world.refresh();
    world.sync("web").unwrap();
    assert_eq!(world.reasons(), ["UnAvailableLoadBalancer"]);
}

#[test]
fn nothing_is_written_to_the_cloud_when_the_finalizer_cannot_be_set() {
    let mut world = World::new();
    world.create("web", "lb-1", 80);
    world.refresh();
    world
        .transport
        .faults()
        .add(Rule::on("PATCH", "/services/web/status", Effect::status(403)).forever());
    assert!(matches!(world.sync("web"), Err(Error::Finalizer(_))));
    assert_eq!(world.cloud.take_calls(), [Call::Locate("default/web".into())]);
    assert!(world.reasons().contains(&"SyncLoadBalancerFailed".into()));
}

#[test]
fn a_service_that_names_no_load_balancer_gets_no_finalizer() {
    let mut world = World::new();
    world.create("web", "", 80);
    world.patch("web", json!({"metadata": {"annotations": {ID: null}}}));
    world.refresh();
    let error = world.sync("web").unwrap_err();
    assert_eq!(error.retry(), Retry::OnChange);
    assert_eq!(world.reasons(), ["SyncLoadBalancerFailed"]);
    assert!(world.service("web").unwrap()["metadata"]["finalizers"].is_null());
}

#[test]
fn a_deleted_service_is_cleaned_up_then_let_go() {
    let mut world = World::serving();
    world.reasons();
    world.api.delete(Resource::Services, "default", "web");
    assert_eq!(world.refresh(), ["default/web"]);
    world.cloud.fail_next(cloud::Error::Unavailable {
        message: "busy".into(),
        retry_after: None,
    });
    assert!(world.sync("web").is_err());
    assert!(
        world.service("web").is_some(),
        "it waits for what is left in the cloud"
    );
    world.sync("web").unwrap();
    assert_eq!((world.cloud.served(), world.service("web")), (vec![], None));
    // the second DeletingLoadBalancer is a count of the first, and later than the failure
    assert_eq!(
        world.reasons(),
        [
            "SyncLoadBalancerFailed",
            "DeletingLoadBalancer",
            "DeletedLoadBalancer"
        ]
    );
    world.cloud.take_calls();
    assert_eq!(
        world.refresh(),
        [] as [&str; 0],
        "we let it go ourselves: nothing is left to look for"
    );
}

#[test]
fn a_service_that_vanished_with_its_record_is_cleaned_up_all_the_same() {
    let mut world = World::serving();
    world.refresh();
    world.api.remove(Resource::Services, "default", "web");
    assert_eq!(world.refresh(), ["default/web"]);
    world.sync("web").unwrap();
    assert_eq!(world.cloud.served(), []);
    world.cloud.take_calls();
    world.sync("web").unwrap();
    assert_eq!(world.cloud.take_calls(), [], "once");
}

#[test]
fn a_service_of_another_type_keeps_nothing_of_ours() {
    let mut world = World::serving();
    world.patch("web", json!({"spec": {"type": "ClusterIP"}}));
    assert_eq!(world.refresh(), ["default/web"]);
    world.sync("web").unwrap();
    let web = world.service("web").unwrap();
    assert!(
        web["metadata"]["finalizers"].is_null() && web["metadata"]["annotations"][RECORD].is_null(),
        "{web}"
    );
    assert_eq!(world.cloud.served(), []);
    world.patch("web", json!({"spec": {"type": "LoadBalancer"}}));
    world.refresh();
    world.sync("web").unwrap();
    assert_eq!(world.cloud.served().len(), 1);
}

#[test]
fn finalizers_of_others_stay() {
    let mut world = World::new();
    world.create("web", "lb-1", 80);
    world.patch("web", json!({"metadata": {"finalizers": ["example.com/other"]}}));
    world.refresh();
    world.sync("web").unwrap();
    world.refresh();
    world.patch(
        "web",
        json!({"metadata": {"finalizers": ["example.com/other", "example.com/late", super::FINALIZER]}}),
    );
    world.api.delete(Resource::Services, "default", "web");
    world.refresh();
    world.sync("web").unwrap();
    let finalizers = world.service("web").unwrap()["metadata"]["finalizers"].clone();
    assert_eq!(finalizers, json!(["example.com/other", "example.com/late"]));
}

#[test]
fn the_younger_of_two_waits_and_its_turn_comes_when_the_older_is_cleaned_up() {
    let mut world = World::new();
    for (name, created) in [
        ("older", "2026-01-01T00:00:00Z"),
        ("younger", "2026-01-01T00:00:01Z"),
    ] {
        world.create(name, "lb-1", 80);
        let mut object = world.service(name).unwrap();
        object["metadata"]["creationTimestamp"] = json!(created);
        world.api.put_unchecked(Resource::Services, object);
    }
    world.refresh();
    let done = world.sync("younger").unwrap();
    assert_eq!(done.waiting, Some(Retry::Backoff));
    assert_eq!(world.cloud.served(), [], "found before anything is written");
    assert!(world.reasons().contains(&"PortTaken".into()));
    world.sync("older").unwrap();
    world.api.delete(Resource::Services, "default", "older");
    assert_eq!(world.refresh(), ["default/older"]);
    assert_eq!(world.sync("older").unwrap(), turns(&["younger"]));
    world.sync("younger").unwrap();
    assert_eq!(world.cloud.served()[0].1, "default/younger");
}

#[test]
fn a_port_that_waits_does_not_hold_up_the_turn_of_others() {
    let mut world = World::new();
    world.create("web", "lb-1", 80);
    world.cloud.occupy("lb-1/TCP/80");
    world.refresh();
    assert_eq!(
        world.sync("web").unwrap(),
        Done {
            waiting: Some(Retry::Backoff),
            ..Done::default()
        }
    );
    assert!(world.reasons().contains(&"PortTaken".into()));
}

#[test]
fn every_service_is_due_between_one_and_two_periods_from_now_or_never() {
    let (now, random) = (Instant::now(), Random::from_seed(1));
    let period = Duration::from_secs(60);
    for _ in 0..100 {
        let due = super::full_resync(period, now, &random).unwrap();
        assert!((period..=2 * period).contains(&(due - now)), "{:?}", due - now);
    }
    // it was every 30 s
    assert_eq!(super::full_resync(Duration::ZERO, now, &random), None);
}

// Reports --------------------------------------------------------------------------------------------------------------

#[test]
fn a_report_says_who_is_served_since_when_and_who_fails_and_why() {
    let mut world = World::serving();
    let counts = |world: &World| {
        let Counts { served, failing } = world.syncer.counts();
        (served, failing)
    };
    let claim = |seconds| vec![("lb-1/TCP/80".into(), "default/web".into(), seconds)];
    assert_eq!((world.claims(), world.failing()), (claim(Some(0)), None));
    assert_eq!(counts(&world), (1, 0));
    for (times, second) in [(1, 10), (2, 20)] {
        world.clock.advance(Duration::from_secs(10));
        world.cloud.fail_next(cloud::Error::Unavailable {
            message: "busy".into(),
            retry_after: None,
        });
        world.sync("web").unwrap_err();
        assert_eq!(world.failing(), Some(("Unavailable", times, 10)), "at {second}");
        assert_eq!((world.claims(), counts(&world)), (claim(Some(0)), (0, 1)));
    }
    world.sync("web").unwrap();
    assert_eq!((world.claims(), world.failing()), (claim(Some(20)), None));
    world.api.delete(Resource::Services, "default", "web");
    world.refresh();
    world.sync("web").unwrap();
    world.refresh();
    assert_eq!((world.claims(), counts(&world)), (vec![], (0, 0)));
}

#[test]
fn a_port_that_waits_and_a_status_that_cannot_be_written_are_failures() {
    let mut world = World::serving();
    world.create("late", "lb-1", 80);
    world.refresh();
    world.sync("late").unwrap();
    assert_eq!(world.failing(), Some(("PortTaken", 1, 0)));
    assert_eq!(
        world.claims(),
        [("lb-1/TCP/80".into(), "default/web".into(), Some(0))],
        "the port is shown with the one that has it"
    );
    world.api.remove(Resource::Services, "default", "late");
    world.refresh();
    world.sync("late").unwrap();
    assert_eq!(world.failing(), None, "it is gone");
    world.cloud.occupy("lb-1/TCP/81");
    world.patch("web", json!({"spec": {"ports": [{"port": 81}]}}));
    world.refresh();
    world.clock.advance(Duration::from_secs(10));
    world.sync("web").unwrap();
    assert_eq!(world.failing(), Some(("PortTaken", 1, 10)));
    assert_eq!(world.claims()[0].2, Some(0), "all was well before");

    let mut world = World::new();
    world.create("web", "lb-1", 80);
    world.refresh();
    let is_second = Rule::on("PATCH", "/services/web/status", Effect::status(403)).nth(2);
    world.transport.faults().add(is_second);
    world.sync("web").unwrap_err();
    assert_eq!(world.failing(), Some(("PatchFailed", 1, 0)));
    assert_eq!(world.claims()[0].2, None);
}

#[test]
fn a_service_that_is_none_of_ours_any_more_is_not_in_the_report() {
    let mut world = World::serving();
    world.cloud.fail_next(cloud::Error::NotLeading);
    world.sync("web").unwrap_err();
    assert_eq!(world.failing(), None, "that is not the Service's fault");
    world.cloud.fail_next(cloud::Error::Rejected {
        reason: "Odd",
        message: "no".into(),
    });
    world.sync("web").unwrap_err();
    assert_eq!(world.failing(), Some(("Odd", 1, 0)));
    // somebody cleans up by hand
    world.patch(
        "web",
        json!({"spec": {"type": "ClusterIP"}, "metadata": {"finalizers": null, "annotations": {RECORD: null}}}),
    );
    world.refresh();
    assert_eq!((world.failing(), world.claims()), (None, vec![]));
}

// Standing by, taking over ---------------------------------------------------------------------------------------------

#[test]
fn a_standby_has_nothing_to_do_and_a_steady_takeover_costs_no_read() {
    let leader = World::serving_on("n1");
    let standby = leader.beside();
    leader.cloud.take_calls();
    assert_eq!(standby.take_over(Cache::Warm), [] as [&str; 0]);
    let version = standby.api.version();
    standby.sync("web").unwrap();
    assert_eq!((standby.take_gets(), standby.api.version()), (0, version));
    assert_eq!(standby.claims()[0].2, Some(0));
}

#[test]
fn a_term_on_a_warm_store_begins_with_one_read_before_the_first_write_for_a_service() {
    let leader = World::serving_on("n1");
    let mut standby = leader.beside();
    standby.take_over(Cache::Warm);
    standby
        .api
        .create(Resource::Nodes, &json!({"metadata": {"name": "n2"}}))
        .unwrap();
    standby.refresh();
    standby.sync("web").unwrap();
    assert_eq!(standby.take_gets(), 1);
    assert_eq!(standby.cloud.served()[0].2, ["n1", "n2"]);
    standby.api.remove(Resource::Nodes, "", "n2");
    standby.refresh();
    standby.sync("web").unwrap();
    assert_eq!(standby.cloud.served()[0].2, ["n1"]);
    assert_eq!(standby.take_gets(), 0, "once in a term");
}

#[test]
fn fresh_stores_and_old_terms_are_not_doubted() {
    for (case, cache, wait, want) in [
        ("fresh", Cache::Fresh, 0, 0),
        ("just warm", Cache::Warm, 599, 1),
        ("an old term", Cache::Warm, 600, 0),
    ] {
        let leader = World::serving();
        let mut standby = leader.beside();
        standby.take_over(cache);
        standby.clock.advance(Duration::from_secs(wait));
        standby
            .api
            .create(Resource::Nodes, &json!({"metadata": {"name": "n1"}}))
            .unwrap();
        standby.refresh();
        standby.sync("web").unwrap();
        assert_eq!(standby.take_gets(), want, "{case}");
    }
}

#[test]
fn nothing_is_written_for_a_service_that_the_store_has_not_kept_up_with() {
    type Change = fn(&World);
    let cases: [(&str, Change); 3] = [
        ("it changed", |world| {
            world.patch("web", json!({"spec": {"ports": [{"port": 81}]}}))
        }),
        ("it is gone", |world| {
            assert!(world.api.remove(Resource::Services, "default", "web"));
        }),
        ("it is another one", |world| {
            assert!(world.api.remove(Resource::Services, "default", "web"));
            world.create("web", "lb-1", 81);
        }),
    ];
    for (case, change) in cases {
        let leader = World::serving();
        let mut standby = leader.beside();
        standby
            .api
            .create(Resource::Nodes, &json!({"metadata": {"name": "n1"}}))
            .unwrap();
        standby.refresh();
        change(&standby);
        standby.take_over(Cache::Warm);
        standby.reasons();
        let before = standby.cloud.served();
        let error = standby.sync("web").unwrap_err();
        assert!(
            matches!(error, Error::Cloud(cloud::Error::Outdated)),
            "{case}: {error}"
        );
        assert_eq!(error.retry(), Retry::After(Duration::from_millis(500)), "{case}");
        assert_eq!(standby.cloud.served(), before, "{case}");
        assert_eq!(standby.reasons(), [] as [&str; 0], "{case}: nobody's business");
        assert_eq!(standby.failing(), None, "{case}");
        standby.refresh();
        // one that came back is known only after its predecessor was found to have a successor
        let synced = (0..2).any(|_| standby.sync("web").is_ok());
        assert!(
            synced && standby.cloud.served() != before,
            "{case}: the store has caught up"
        );
    }
}

#[test]
fn a_service_that_cannot_be_confirmed_waits() {
    let leader = World::serving();
    let mut standby = leader.beside();
    standby.patch("web", json!({"spec": {"ports": [{"port": 81}]}}));
    standby.refresh();
    standby.take_over(Cache::Warm);
    standby
        .transport
        .faults()
        .add(Rule::on("GET", "/services/web", Effect::status(403)));
    let error = standby.sync("web").unwrap_err();
    assert_eq!((error.reason(), error.retry()), ("Unavailable", Retry::Backoff));
    assert_eq!(standby.cloud.served()[0].0, "lb-1/TCP/80");
    standby.sync("web").unwrap();
    assert_eq!(standby.cloud.served()[0].0, "lb-1/TCP/81");
}

#[test]
fn what_vanished_under_another_leader_is_cleaned_up_only_if_that_one_did_not() {
    let mut leader = World::serving();
    let mut standby = leader.beside();
    leader.api.delete(Resource::Services, "default", "web");
    leader.refresh();
    leader.sync("web").unwrap();
    standby.refresh();
    leader.reasons();
    assert_eq!(standby.take_over(Cache::Warm), ["default/web"]);
    standby.sync("web").unwrap();
    assert_eq!(standby.reasons(), [] as [&str; 0], "it was told already");

    let leader = World::serving();
    let mut standby = leader.beside();
    standby.api.remove(Resource::Services, "default", "web");
    standby.refresh();
    standby.reasons();
    assert_eq!(standby.take_over(Cache::Warm), ["default/web"]);
    standby.sync("web").unwrap();
    assert_eq!(standby.cloud.served(), []);
    assert_eq!(standby.reasons(), ["DeletedLoadBalancer"]);
    standby.cloud.take_calls();
    standby.sync("web").unwrap();
    assert_eq!(standby.cloud.take_calls(), [], "once");
}

#[test]
fn what_vanished_long_before_the_term_or_came_back_is_left_alone() {
    let leader = World::serving();
    let mut standby = leader.beside();
    standby.api.remove(Resource::Services, "default", "web");
    standby.refresh();
    standby.clock.advance(Duration::from_secs(600));
    assert_eq!(standby.take_over(Cache::Warm), [] as [&str; 0]);

    let mut leader = World::serving();
    let mut standby = leader.beside();
    standby.api.remove(Resource::Services, "default", "web");
    standby.refresh();
    leader.create("web", "lb-1", 80);
    leader.refresh();
    leader.sync("web").unwrap();
    standby.refresh();
    let served = standby.cloud.served();
    standby.cloud.take_calls();
    assert_eq!(standby.take_over(Cache::Warm), [] as [&str; 0]);
    standby.sync("web").unwrap();
    let deletes = |call: &Call| matches!(call, Call::EnsureDeleted(_));
    assert!(!standby.cloud.take_calls().iter().any(deletes));
    assert_eq!(standby.cloud.served(), served);
}

#[test]
fn one_that_came_back_unseen_keeps_what_the_last_leader_made_for_it() {
    let mut leader = World::serving();
    let mut standby = leader.beside();
    standby.api.remove(Resource::Services, "default", "web");
    standby.refresh();
    leader.refresh();
    leader.sync("web").unwrap();
    leader.create("web", "lb-1", 80);
    leader.refresh();
    leader.sync("web").unwrap();
    let served = standby.cloud.served();
    assert_eq!(standby.take_over(Cache::Warm), ["default/web"]);
    let error = standby.sync("web").unwrap_err();
    assert!(matches!(error, Error::Cloud(cloud::Error::Outdated)), "{error}");
    assert_eq!(standby.cloud.served(), served);
    standby.refresh();
    standby.sync("web").unwrap();
    assert_eq!(standby.cloud.served(), served);
}

#[test]
fn a_port_that_was_given_up_under_another_leader_is_not_held_against_the_next_service() {
    let mut leader = World::serving();
    let mut standby = leader.beside();
    leader.patch("web", json!({"spec": {"ports": [{"port": 81}]}}));
    for world in [&mut leader, &mut standby] {
        world.refresh();
    }
    leader.sync("web").unwrap();
    leader.create("late", "lb-1", 80);
    for world in [&mut leader, &mut standby] {
        world.refresh();
    }
    leader.sync("late").unwrap();
    let served = leader.cloud.served();
    assert_eq!(served.len(), 2);
    standby.take_over(Cache::Warm);
    standby.refresh();
    assert_eq!(standby.sync("late").unwrap(), turns(&[]));
    assert_eq!(
        standby.cloud.served(),
        served,
        "it is not taken away for a moment"
    );
}

#[test]
fn a_controller_queues_nothing_before_its_term_and_everything_at_its_beginning() {
    let leader = World::serving();
    let World {
        syncer, mut services, ..
    } = World::between(leader.api.clone(), leader.cloud.clone());
    let controller = ServiceController::new(
        syncer,
        services.store(),
        Arc::new(SystemClock),
        Arc::new(Random::from_seed(1)),
        QueueMetrics::default(),
    );
    let handler = controller.service_handler();
    let objects = leader.api.objects(Resource::Services).into_values();
    let decoded = objects.map(|object| serde_json::from_value::<Service>(object).unwrap());
    for change in services.replace(decoded) {
        handler(&change);
    }
    assert!(!controller.step(), "somebody else leads");
    controller.set_leading(Cache::Warm);
    leader.cloud.take_calls();
    assert!(controller.step() && !controller.step());
    assert!(
        leader
            .cloud
            .take_calls()
            .contains(&Call::Locate("default/web".into()))
    );
}
