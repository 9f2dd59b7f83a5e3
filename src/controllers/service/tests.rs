//! Syncs against a cloud in memory and the simulated API in-process, one at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::backends::BackendView;
use super::sync::{Done, Error, Syncer};
use crate::cloud::fake::{Call, FakeCloud, ID, RECORD};
use crate::cloud::{self, Retry};
use crate::events::{EventSink, Step, recorder};
use crate::informer::{Writer, store};
use crate::k8s;
use crate::k8s::types::{Node, Service};
use crate::runtime::clock::SystemClock;
use crate::runtime::random::Random;
use crate::runtime::stop::StopToken;
use crate::sim::api_server::{ApiServer, Resource};
use crate::sim::faults::{Effect, Rule};
use crate::sim::server::InProcess;

struct World {
    api: ApiServer,
    transport: Arc<InProcess>,
    cloud: FakeCloud,
    services: Writer<Service>,
    nodes: Writer<Node>,
    syncer: Syncer,
    events: EventSink,
}

impl World {
    fn new() -> Self {
        let api = ApiServer::new(1);
        api.open(true);
        let transport = Arc::new(InProcess::new(Arc::new(api.clone())));
        let client = k8s::Client::new("http://simulated", transport.clone(), StopToken::never());
        let (services, service_store) = store();
        let (nodes, node_store) = store();
        let cloud = FakeCloud::default();
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
        );
        Self {
            api,
            transport,
            cloud,
            services,
            nodes,
            syncer,
            events,
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
