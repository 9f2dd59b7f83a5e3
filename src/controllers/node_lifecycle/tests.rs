//! Passes against a cloud in memory and the simulated API in-process, one at a time.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{COMPONENT, Counts, DELETION_WANTED, Lifecycle, Limit, Rules, SHUTDOWN_TAINT, Settings};
use crate::cloud::{
    Absence, Authority, CloudProvider, Error, Freshness, Instance, InstanceState, Instances, LoadBalancers,
    Lookup,
};
use crate::events::{EventSink, Step, recorder};
use crate::http::{self, Method, Request, Response, Transport};
use crate::informer::{Writer, store};
use crate::k8s::Client;
use crate::k8s::types::Node;
use crate::runtime::clock::{Clock, ManualClock};
use crate::runtime::random::Random;
use crate::runtime::stop::{Stop, StopToken};
use crate::sim::api_server::{ApiServer, Resource};
use crate::sim::faults::{Effect, Rule};
use crate::sim::server::InProcess;

/// What an answer is like.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// There is none.
    Outage,
    /// There is none about these Nodes.
    OutageFor(Vec<String>),
    /// It is what was true then.
    Stale(BTreeMap<String, InstanceState>),
    /// It lacks one instance.
    Loses(String),
    /// It holds nothing at all, in good order.
    Empty,
    /// It is about one Node less than asked.
    Short,
}

#[derive(Default)]
pub(super) struct Cloud {
    pub(super) hearsay: bool,
    /// By id; `Up` unless changed.
    pub(super) instances: BTreeMap<String, InstanceState>,
    /// For the next questions, one each.
    pub(super) faults: VecDeque<Fault>,
    /// The Nodes of each question.
    pub(super) asked: Vec<Vec<String>>,
}

/// A cloud of instances. Clones are the same cloud. All its instances are asked about along with those in question, so that each
/// is a witness.
#[derive(Clone, Default)]
pub(super) struct FakeInstances(pub(super) Arc<Mutex<Cloud>>);

impl CloudProvider for FakeInstances {
    fn name(&self) -> &'static str {
        "incloud"
    }
    fn load_balancers(&self) -> Option<&dyn LoadBalancers> {
        None
    }
    fn instances(&self) -> Option<&dyn Instances> {
        Some(self)
    }
}

impl Instances for FakeInstances {
    fn authority(&self) -> Authority {
        match self.0.lock().unwrap().hearsay {
            true => Authority::Hearsay,
            false => Authority::Full,
        }
    }

    fn look_up(&self, nodes: &[Arc<Node>], freshness: Freshness) -> Vec<Result<Lookup, Error>> {
        assert_eq!(freshness, Freshness::Now, "an old answer proves nothing");
        let mut cloud = self.0.lock().unwrap();
        let names = nodes.iter().map(|node| node.meta.name.to_string());
        cloud.asked.push(names.collect());
        let fault = cloud.faults.pop_front();
        let mut shown = cloud.instances.clone();
        let (mut count, mut silent) = (nodes.len(), Vec::new());
        match fault {
            None => {}
            Some(Fault::OutageFor(nodes)) => silent = nodes,
            Some(Fault::Outage) => return nodes.iter().map(|_| Err(unavailable("503"))).collect(),
            Some(Fault::Stale(then)) => shown = then,
            Some(Fault::Loses(id)) => drop(shown.remove(&id)),
            Some(Fault::Empty) => shown.clear(),
            Some(Fault::Short) => count -= 1,
        }
        let is_silent = |node: &Node| silent.iter().any(|name| **name == *node.meta.name);
        nodes[..count]
            .iter()
            .map(|node| match is_silent(node) {
                true => Err(unavailable("timed out")),
                false => answer(node, &shown),
            })
            .collect()
    }
}

fn answer(node: &Node, shown: &BTreeMap<String, InstanceState>) -> Result<Lookup, Error> {
    let id = match node.provider_id.strip_prefix("incloud://") {
        Some(id) => id,
        None if node.provider_id.is_empty() => &node.meta.name,
        None => {
            return Err(Error::Rejected {
                reason: "ForeignProviderId",
                message: "the provider ID is of another cloud".into(),
            });
        }
    };
    Ok(match shown.get(id) {
        Some(state) => Lookup::Found(Arc::new(Instance {
            provider_id: format!("incloud://{id}").into(),
            state: *state,
            ..Instance::default()
        })),
        None => Lookup::Missing(Absence {
            witnesses: shown.len(),
        }),
    })
}

fn unavailable(message: &str) -> Error {
    Error::Unavailable {
        message: message.into(),
        retry_after: None,
    }
}

type Deed = Box<dyn FnOnce() + Send>;

/// Does something just before the next request of one kind.
pub(super) struct Meddler {
    inner: Arc<InProcess>,
    before: Mutex<Option<(Method, Deed)>>,
}

impl Transport for Meddler {
    fn exchange(&self, request: &Request) -> Result<Response, http::Error> {
        let deed = self
            .before
            .lock()
            .unwrap()
            .take_if(|(method, _)| *method == request.method && !request.url.contains("/events"));
        if let Some((_, deed)) = deed {
            deed();
        }
        self.inner.exchange(request)
    }
    fn shutdown(&self) {
        self.inner.shutdown();
    }
}

pub(super) const SETTINGS: Settings = Settings {
    period: Duration::from_secs(5),
    proof: Rules {
        distance: Duration::from_secs(5),
        confirmations: NonZeroU32::new(2).unwrap(),
        startup_grace: Duration::from_secs(300),
    },
    brake: Limit {
        share_percent: 10,
        window: Duration::from_secs(600),
    },
};

pub(super) struct World {
    pub(super) clock: ManualClock,
    pub(super) api: ApiServer,
    pub(super) transport: Arc<InProcess>,
    meddler: Arc<Meddler>,
    pub(super) cloud: FakeInstances,
    nodes: Writer<Node>,
    pub(super) lifecycle: Lifecycle,
    events: EventSink,
}

impl World {
    /// An empty cluster, and a cloud with one instance that is no Node.
    pub(super) fn new() -> Self {
        Self::with_settings(SETTINGS)
    }

    pub(super) fn with_settings(settings: Settings) -> Self {
        let clock = ManualClock::new(UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let api = ApiServer::with_clock(1, Arc::new(clock.clone()));
        api.open(true);
        let transport = Arc::new(InProcess::with_clock(
            Arc::new(api.clone()),
            Arc::new(clock.clone()),
        ));
        let meddler = Arc::new(Meddler {
            inner: Arc::clone(&transport),
            before: Mutex::default(),
        });
        let cloud = FakeInstances::default();
        cloud.run("other");
        let (mut nodes, _) = store::<Node>();
        nodes.set_synced();
        let (lifecycle, events) = build(&clock, &meddler, &cloud, &nodes, settings);
        Self {
            clock,
            api,
            transport,
            meddler,
            cloud,
            nodes,
            lifecycle,
            events,
        }
    }

    /// Another life of the controller, which knows nothing.
    pub(super) fn restart(&mut self, settings: Settings) {
        let (lifecycle, events) = build(&self.clock, &self.meddler, &self.cloud, &self.nodes, settings);
        (self.lifecycle, self.events) = (lifecycle, events);
    }

    /// Creates a Node, not Ready yet, with this provider ID.
    pub(super) fn create(&self, name: &str, provider_id: &str) {
        let node = json!({"metadata": {"name": name}, "spec": {"providerID": provider_id}});
        self.api.create(Resource::Nodes, &node).unwrap();
    }

    /// So many Nodes `n0`, `n1`, … that have been around, Ready, for longer than the grace period, and their instances.
    fn grown(&mut self, count: usize) {
        for n in 0..count {
            let (name, id) = (format!("n{n}"), format!("i-{n}"));
            self.create(&name, &format!("incloud://{id}"));
            self.cloud.run(&id);
            self.set_ready(&name, true);
        }
        self.refresh();
        self.lifecycle.pass();
        self.clock.advance(SETTINGS.proof.startup_grace);
    }

    pub(super) fn set_ready(&self, name: &str, ready: bool) {
        set_ready(&self.api, name, ready);
    }

    pub(super) fn patch(&self, name: &str, patch: Value) {
        self.api.patch(Resource::Nodes, "", name, &patch).unwrap();
    }

    /// Kubelet and instance of `n{n}` are gone.
    fn lose(&self, n: usize) {
        self.cloud.end(&format!("i-{n}"));
        self.set_ready(&format!("n{n}"), false);
    }

    /// Lets the store see the cluster as it is.
    pub(super) fn refresh(&mut self) {
        let nodes = self.api.objects(Resource::Nodes).into_values();
        self.nodes
            .replace(nodes.map(|node| serde_json::from_value(node).unwrap()));
    }

    /// Makes so many passes, a period apart.
    pub(super) fn passes(&mut self, count: usize) {
        for _ in 0..count {
            self.clock.advance(SETTINGS.period);
            self.refresh();
            self.lifecycle.pass();
        }
    }

    pub(super) fn node(&self, name: &str) -> Option<Value> {
        self.api.object(Resource::Nodes, "", name)
    }

    /// The names of all Nodes.
    pub(super) fn names(&self) -> Vec<String> {
        self.api.objects(Resource::Nodes).into_keys().collect()
    }

    fn taints(&self, name: &str) -> Value {
        self.node(name).unwrap()["spec"]["taints"].clone()
    }

    /// Does `deed` just before the next request of that kind.
    fn before(&self, method: Method, deed: impl FnOnce() + Send + 'static) {
        *self.meddler.before.lock().unwrap() = Some((method, Box::new(deed)));
    }

    /// How many requests of that kind were made for Nodes since the last call; forgets all.
    fn requests(&self, method: &str) -> usize {
        let log = self.transport.log();
        let count = log.count(|entry| entry.method == method && entry.target.contains("/nodes/"));
        log.clear();
        count
    }

    /// Node and reason of each Event so far, sorted.
    pub(super) fn events(&mut self) -> Vec<(String, String)> {
        while self.events.step() == Step::Worked {}
        let text = |value: &Value| value.as_str().unwrap().to_string();
        let mut events: Vec<_> = self
            .api
            .objects(Resource::Events)
            .into_values()
            .inspect(|event| assert_eq!(event["source"]["component"], COMPONENT))
            .map(|event| (text(&event["involvedObject"]["name"]), text(&event["reason"])))
            .collect();
        events.sort();
        events
    }
}

impl FakeInstances {
    pub(super) fn run(&self, id: &str) {
        self.set(id, InstanceState::Up);
    }
    pub(super) fn set(&self, id: &str, state: InstanceState) {
        self.0.lock().unwrap().instances.insert(id.to_string(), state);
    }
    pub(super) fn end(&self, id: &str) {
        self.0.lock().unwrap().instances.remove(id);
    }
    pub(super) fn exists(&self, id: &str) -> bool {
        self.0.lock().unwrap().instances.contains_key(id)
    }
    pub(super) fn next(&self, fault: Fault) {
        self.0.lock().unwrap().faults.push_back(fault);
    }
    fn take_asked(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }
}

fn build(
    clock: &ManualClock,
    meddler: &Arc<Meddler>,
    cloud: &FakeInstances,
    nodes: &Writer<Node>,
    settings: Settings,
) -> (Lifecycle, EventSink) {
    let client = Client::new("http://simulated", meddler.clone(), StopToken::never());
    let clock: Arc<dyn Clock> = Arc::new(clock.clone());
    let (recorder, sink) = recorder(
        COMPONENT,
        client.clone(),
        Arc::clone(&clock),
        Arc::new(Random::from_seed(1)),
    );
    let cloud = Arc::new(cloud.clone());
    let lifecycle = Lifecycle::new(cloud, client, nodes.store(), recorder, settings, clock);
    (lifecycle, sink)
}

fn set_ready(api: &ApiServer, name: &str, ready: bool) {
    let status = if ready { "True" } else { "Unknown" };
    let patch = json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
    api.patch_status(Resource::Nodes, "", name, &patch).unwrap();
}

fn event(node: &str, reason: &str) -> (String, String) {
    (node.to_string(), reason.to_string())
}

#[test]
fn a_node_whose_instance_is_gone_is_told_so_and_deleted_on_the_second_look() {
    let mut world = World::new();
    world.grown(2);
    world.lose(0);
    world.passes(1);
    assert_eq!(world.names(), ["n0", "n1"], "once is not proof");
    assert_eq!(world.events(), []);
    world.passes(1);
    assert_eq!(world.names(), ["n1"]);
    assert_eq!(world.events(), [event("n0", "DeletingNode")]);
    let message = world.api.objects(Resource::Events).into_values().next().unwrap();
    let want = "Deleting node n0 because it does not exist in the cloud provider";
    assert_eq!(message["message"], want);
    world.passes(3);
    let deleted_once = Counts {
        deleted: 1,
        ..Counts::default()
    };
    assert_eq!(world.lifecycle.counts(), deleted_once);
}

#[test]
fn passes_in_quick_succession_are_one_look() {
    let mut world = World::new();
    world.grown(2);
    world.lose(0);
    world.refresh();
    for _ in 0..10 {
        world.lifecycle.pass();
        world.clock.advance(Duration::from_millis(400));
    }
    assert_eq!(world.names(), ["n0", "n1"]);
}

#[test]
fn no_answer_that_is_none_deletes_a_node() {
    type Change = fn(&mut World);
    let all: [(&str, Change); 6] = [
        ("the API is out, or does not let us ask", |world| {
            world.cloud.0.lock().unwrap().faults = [Fault::Outage].into_iter().cycle().take(50).collect();
        }),
        ("nobody else is in the answer", |world| {
            world.cloud.0.lock().unwrap().instances.clear();
        }),
        ("an empty page where all exist", |world| {
            world.cloud.run("i-0");
            world.cloud.0.lock().unwrap().faults = [Fault::Empty].into_iter().cycle().take(50).collect();
        }),
        ("an answer about other Nodes than were asked about", |world| {
            world.set_ready("n1", false);
            world.cloud.0.lock().unwrap().faults = [Fault::Short].into_iter().cycle().take(50).collect();
        }),
        ("the instance has ended but is still shown", |world| {
            world.cloud.set("i-0", InstanceState::Ended);
        }),
        ("every other answer shows it", |world| {
            world.cloud.run("i-0");
            let faults = [Fault::Loses("i-0".into()), Fault::Loses("nothing".into())];
            world.cloud.0.lock().unwrap().faults = faults.into_iter().cycle().take(50).collect();
        }),
    ];
    for (case, change) in all {
        let mut world = World::new();
        world.grown(2);
        world.lose(0);
        change(&mut world);
        world.passes(20);
        assert_eq!(world.names(), ["n0", "n1"], "{case}");
        assert_eq!(world.events(), [], "{case}");
        assert_eq!(world.lifecycle.counts(), Counts::default(), "{case}");
    }
}

#[test]
fn an_outage_between_two_looks_neither_confirms_nor_absolves() {
    let mut world = World::new();
    world.grown(2);
    world.lose(0);
    world.passes(1);
    world.cloud.next(Fault::Outage);
    world.passes(1);
    assert_eq!(world.names(), ["n0", "n1"]);
    world.passes(1);
    assert_eq!(world.names(), ["n1"]);
}

#[test]
fn a_node_younger_than_the_grace_period_is_never_gone() {
    let mut world = World::new();
    world.create("n0", "incloud://i-0");
    // 59 passes of 5 s, and what was said during them does not count later
    world.passes(60);
    assert_eq!(world.names(), ["n0"]);
    world.passes(1);
    assert_eq!(world.names(), ["n0"], "the first look at a grown Node");
    world.passes(1);
    assert_eq!(world.names(), [] as [&str; 0]);
}

#[test]
fn a_controller_that_has_just_started_gives_every_node_the_grace_period() {
    let mut world = World::new();
    world.grown(2);
    world.lose(0);
    world.passes(1);
    world.restart(SETTINGS);
    world.passes(61);
    assert_eq!(
        world.names(),
        ["n0", "n1"],
        "the first look at a Node known long enough"
    );
    world.passes(1);
    assert_eq!(world.names(), ["n1"]);
}

#[test]
fn healthy_nodes_cost_no_question_and_all_others_one() {
    let mut world = World::new();
    world.grown(5);
    world.passes(3);
    assert_eq!(world.cloud.take_asked(), [] as [Vec<String>; 0]);
    world.set_ready("n1", false);
    world.set_ready("n3", false);
    world.passes(2);
    assert_eq!(world.cloud.take_asked(), [["n1", "n3"], ["n1", "n3"]]);
}

#[test]
fn nodes_that_cannot_be_told_are_left_alone_and_the_others_go_on() {
    let mut world = World::new();
    world.create("unnamed", "");
    world.create("foreign", "aws:///z/i-9");
    world.create("twin-a", "incloud://i-twin");
    world.create("twin-b", "incloud://i-twin");
    world.create("gone", "incloud://i-gone");
    world.passes(70);
    assert_eq!(world.names(), ["foreign", "twin-a", "twin-b", "unnamed"]);
    assert_eq!(world.events(), [event("gone", "DeletingNode")]);
}

#[test]
fn a_store_that_lags_behind_deletes_nobody() {
    type Deed = fn(&ApiServer);
    let all: [(&str, Method, Deed); 8] = [
        ("Ready again, when it is read", Method::Get, |api| {
            set_ready(api, "n0", true)
        }),
        ("Ready again, when it is deleted", Method::Delete, |api| {
            set_ready(api, "n0", true)
        }),
        ("another one, when it is read", Method::Get, |api| {
            reborn(api, "incloud://i-0", true)
        }),
        ("another one, when it is deleted", Method::Delete, |api| {
            reborn(api, "incloud://i-0", true)
        }),
        ("another one, not Ready, when it is read", Method::Get, |api| {
            reborn(api, "incloud://i-0", false)
        }),
        (
            "another one, not Ready, when it is deleted",
            Method::Delete,
            |api| reborn(api, "incloud://i-0", false),
        ),
        ("held by a finalizer, when it is read", Method::Get, |api| {
            hold(api)
        }),
        ("held by a finalizer, when it is deleted", Method::Delete, |api| {
            hold(api)
        }),
    ];
    for (case, method, deed) in all {
        let mut world = World::new();
        world.grown(2);
        world.lose(0);
        world.passes(1);
        let api = world.api.clone();
        world.before(method, move || deed(&api));
        world.passes(1);
        assert_eq!(world.names(), ["n0", "n1"], "{case}");
        assert_eq!(world.lifecycle.counts(), Counts::default(), "{case}");
        let told = usize::from(method == Method::Delete);
        assert_eq!(world.events(), vec![event("n0", "DeletingNode"); told], "{case}");
    }
}

/// Replaces `n0` by another of its name.
fn reborn(api: &ApiServer, provider_id: &str, ready: bool) {
    assert!(api.remove(Resource::Nodes, "", "n0"));
    let node = json!({"metadata": {"name": "n0"}, "spec": {"providerID": provider_id}});
    api.create(Resource::Nodes, &node).unwrap();
    set_ready(api, "n0", ready);
}

/// Somebody else deletes `n0`, which waits for a finalizer.
fn hold(api: &ApiServer) {
    let patch = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    api.patch(Resource::Nodes, "", "n0", &patch).unwrap();
    assert!(api.delete(Resource::Nodes, "", "n0"));
}

#[test]
fn a_node_that_is_being_deleted_is_left_alone() {
    let mut world = World::new();
    world.grown(2);
    world.lose(0);
    world.patch("n0", json!({"metadata": {"finalizers": ["example.com/hold"]}}));
    world.passes(2);
    assert!(!world.node("n0").unwrap()["metadata"]["deletionTimestamp"].is_null());
    (world.requests("GET"), world.cloud.take_asked());
    world.passes(5);
    assert_eq!(world.cloud.take_asked(), [] as [Vec<String>; 0]);
    assert_eq!(world.requests("DELETE"), 0);
    assert_eq!(world.lifecycle.counts().deleted, 1);
}

#[test]
fn a_deletion_that_fails_is_told_and_tried_again_and_one_that_comes_too_late_is_not() {
    for (case, method, effect, told) in [
        ("not allowed", "DELETE", Effect::status(403), true),
        ("conflict", "DELETE", Effect::status(409), false),
        ("the Node cannot be read", "GET", Effect::status(403), false),
    ] {
        let mut world = World::new();
        world.grown(2);
        world.lose(0);
        world.passes(1);
        world
            .transport
            .faults()
            .add(Rule::on(method, "/nodes/n0", effect));
        world.passes(1);
        assert_eq!(world.names(), ["n0", "n1"], "{case}");
        let failed = event("n0", "DeletingNodeFailed");
        assert_eq!(world.events().contains(&failed), told, "{case}");
        assert_eq!(world.lifecycle.counts().failed, u64::from(told), "{case}");
        world.passes(1);
        assert_eq!(world.names(), ["n1"], "{case}");
    }
}

#[test]
fn a_node_that_somebody_else_deletes_first_is_no_failure() {
    for method in [Method::Get, Method::Delete] {
        let mut world = World::new();
        world.grown(2);
        world.lose(0);
        world.passes(1);
        let api = world.api.clone();
        world.before(method, move || assert!(api.remove(Resource::Nodes, "", "n0")));
        world.passes(3);
        assert_eq!(world.names(), ["n1"], "{method}");
        assert_eq!(world.lifecycle.counts(), Counts::default(), "{method}");
    }
}

#[test]
fn the_brake_stops_all_deletions_tells_each_node_once_and_releases_by_itself() {
    let mut world = World::new();
    world.grown(20);
    (0..3).for_each(|n| world.lose(n));
    world.passes(200);
    assert_eq!(world.names().len(), 20, "time does not wear it down");
    let held = |n: &str| event(n, "NodeDeletionBraked");
    assert_eq!(world.events(), [held("n0"), held("n1"), held("n2")]);
    let told = Counts {
        braked: 3,
        ..Counts::default()
    };
    assert_eq!(world.lifecycle.counts(), told);
    world.cloud.run("i-0");
    world.passes(1);
    assert_eq!(world.names().len(), 18, "two of 20 may go");
    assert!(world.node("n0").is_some());
}

#[test]
fn the_brake_counts_what_was_deleted_before() {
    let mut world = World::new();
    world.grown(20);
    (0..2).for_each(|n| world.lose(n));
    world.passes(2);
    assert_eq!(world.names().len(), 18);
    world.lose(2);
    world.passes(20);
    assert_eq!(world.names().len(), 18, "the third within ten minutes");
    world.passes(100);
    assert_eq!(world.names().len(), 17, "two are longer ago than that");
}

#[test]
fn silence_about_some_of_the_held_nodes_does_not_release_the_others() {
    let mut world = World::new();
    world.grown(20);
    (0..5).for_each(|n| world.lose(n));
    world.passes(2);
    world
        .cloud
        .next(Fault::OutageFor(vec!["n0".into(), "n1".into(), "n2".into()]));
    world.passes(1);
    assert_eq!(world.names().len(), 20);
}

#[test]
fn a_node_whose_deletion_is_wanted_passes_the_brake_and_no_other_value_does() {
    let mut world = World::new();
    world.grown(4);
    (0..4).for_each(|n| world.lose(n));
    world.passes(2);
    assert_eq!(world.names().len(), 4);
    for (node, value) in [("n0", "false"), ("n1", "True"), ("n2", ""), ("n3", "true")] {
        world.patch(
            node,
            json!({"metadata": {"annotations": {DELETION_WANTED: value}}}),
        );
    }
    world.passes(1);
    assert_eq!(world.names(), ["n0", "n1", "n2"]);
}

#[test]
fn a_wish_taken_back_at_the_last_moment_holds() {
    for method in [Method::Get, Method::Delete] {
        let mut world = World::new();
        world.grown(4);
        (0..4).for_each(|n| world.lose(n));
        world.patch(
            "n0",
            json!({"metadata": {"annotations": {DELETION_WANTED: "true"}}}),
        );
        world.passes(1);
        let api = world.api.clone();
        world.before(method, move || {
            let patch = json!({"metadata": {"annotations": {DELETION_WANTED: null}}});
            api.patch(Resource::Nodes, "", "n0", &patch).unwrap();
        });
        world.passes(1);
        assert_eq!(world.names().len(), 4, "{method}");
    }
}

#[test]
fn a_wish_proves_nothing() {
    let mut world = World::new();
    world.grown(2);
    world.set_ready("n0", false);
    world.patch(
        "n0",
        json!({"metadata": {"annotations": {DELETION_WANTED: "true"}}}),
    );
    world.passes(5);
    assert_eq!(world.names(), ["n0", "n1"]);
}

#[test]
fn a_share_of_zero_switches_the_brake_off() {
    let mut settings = SETTINGS;
    settings.brake.share_percent = 0;
    let mut world = World::with_settings(settings);
    world.grown(10);
    (0..10).for_each(|n| world.lose(n));
    world.passes(2);
    assert_eq!(world.names(), [] as [&str; 0]);
}

#[test]
fn without_an_api_of_instances_nothing_is_asked_deleted_or_tainted() {
    let mut world = World::new();
    world.grown(3);
    world.cloud.0.lock().unwrap().hearsay = true;
    world.lose(0);
    world.set_ready("n1", false);
    world.cloud.set("i-1", InstanceState::ShutDown);
    world.patch(
        "n2",
        json!({"spec": {"taints": [{"key": SHUTDOWN_TAINT, "effect": "NoSchedule"}]}}),
    );
    world.passes(10);
    assert_eq!(world.cloud.take_asked(), [] as [Vec<String>; 0]);
    assert_eq!(world.names(), ["n0", "n1", "n2"]);
    assert_eq!(world.taints("n1"), Value::Null);
    assert_eq!(
        world.taints("n2"),
        Value::Null,
        "one from before does not stay for ever"
    );
}

#[test]
fn an_unsynced_store_is_not_an_empty_cluster() {
    let world = World::new();
    let (unsynced, _) = store::<Node>();
    let (lifecycle, _events) = build(&world.clock, &world.meddler, &world.cloud, &unsynced, SETTINGS);
    lifecycle.pass();
    let stop = Stop::new();
    stop.stop();
    lifecycle.run(&stop.token());
    assert_eq!(world.cloud.take_asked(), [] as [Vec<String>; 0]);
}

#[test]
fn a_stop_comes_between_any_two_writes() {
    let mut world = World::new();
    world.grown(30);
    (0..3).for_each(|n| world.lose(n));
    world.passes(1);
    let (stop, at_delete) = (Stop::new(), Stop::new());
    world.clock.advance(SETTINGS.period);
    world.refresh();
    stop.stop();
    world.lifecycle.pass_until(&stop.token());
    assert_eq!(world.names().len(), 30);
    let token = at_delete.token();
    world.before(Method::Delete, move || at_delete.stop());
    world.lifecycle.pass_until(&token);
    assert_eq!(world.names().len(), 29, "the one that was under way");

    let mut world = World::new();
    world.grown(2);
    for n in 0..2 {
        world.set_ready(&format!("n{n}"), false);
        world.cloud.set(&format!("i-{n}"), InstanceState::ShutDown);
    }
    world.refresh();
    let at_patch = Stop::new();
    let token = at_patch.token();
    world.before(Method::Patch, move || at_patch.stop());
    world.lifecycle.pass_until(&token);
    assert_eq!(
        (world.taints("n0").is_null(), world.taints("n1")),
        (false, Value::Null)
    );
}

#[test]
fn the_shutdown_taint_comes_with_the_shutdown_and_goes_when_the_node_is_ready() {
    let other =
        json!({"key": "example.com/other", "effect": "NoExecute", "timeAdded": "2026-01-02T03:04:05Z"});
    let shutdown = json!({"key": SHUTDOWN_TAINT, "effect": "NoSchedule"});
    let mut world = World::new();
    world.grown(2);
    world.patch("n0", json!({"spec": {"taints": [other]}}));
    world.set_ready("n0", false);
    world.passes(1);
    assert_eq!(world.taints("n0"), json!([other]), "down is not shut down");
    world.cloud.set("i-0", InstanceState::ShutDown);
    world.passes(1);
    assert_eq!(world.taints("n0"), json!([other, shutdown]));
    world.requests("PATCH");
    world.passes(3);
    assert_eq!(world.requests("PATCH"), 0, "once");
    world.cloud.run("i-0");
    world.passes(1);
    assert_eq!(world.taints("n0"), json!([other, shutdown]), "it starts");
    world.set_ready("n0", true);
    world.passes(1);
    assert_eq!(world.taints("n0"), json!([other]));
    assert_eq!(world.taints("n1"), Value::Null);
    let counts = world.lifecycle.counts();
    assert_eq!((counts.tainted, counts.untainted), (1, 1));
}

#[test]
fn a_taint_is_written_to_the_node_as_it_is_not_as_it_was() {
    let shutdown = json!({"key": SHUTDOWN_TAINT, "effect": "NoSchedule"});
    let late = json!({"key": "example.com/late", "effect": "NoExecute"});
    let mut world = World::new();
    world.grown(2);
    world.set_ready("n0", false);
    world.cloud.set("i-0", InstanceState::ShutDown);
    let (api, patch) = (world.api.clone(), json!({"spec": {"taints": [late]}}));
    world.before(Method::Patch, move || {
        api.patch(Resource::Nodes, "", "n0", &patch).unwrap();
    });
    world.passes(1);
    assert_eq!(world.taints("n0"), json!([late, shutdown]));

    // Ready meanwhile, replaced meanwhile, deleted meanwhile
    type Deed = fn(&ApiServer);
    let all: [(&str, Deed); 3] = [
        ("Ready", |api| set_ready(api, "n0", true)),
        ("replaced", |api| reborn(api, "incloud://i-0", false)),
        ("gone", |api| assert!(api.remove(Resource::Nodes, "", "n0"))),
    ];
    for (case, deed) in all {
        let mut world = World::new();
        world.grown(1);
        world.set_ready("n0", false);
        world.cloud.set("i-0", InstanceState::ShutDown);
        let api = world.api.clone();
        world.before(Method::Patch, move || deed(&api));
        world.passes(1);
        let tainted = world
            .node("n0")
            .is_some_and(|node| !node["spec"]["taints"].is_null());
        assert!(!tainted, "{case}");
        assert_eq!(world.lifecycle.counts(), Counts::default(), "{case}");
    }
}

#[test]
fn others_who_change_a_node_all_the_time_are_given_way_after_five_tries() {
    let mut world = World::new();
    world.grown(1);
    world.set_ready("n0", false);
    world.cloud.set("i-0", InstanceState::ShutDown);
    world
        .transport
        .faults()
        .add(Rule::on("PATCH", "/nodes/n0", Effect::status(409)).forever());
    world.passes(1);
    assert_eq!(world.requests("PATCH"), 5);
    world.transport.faults().clear();
    world.passes(1);
    assert!(!world.taints("n0").is_null());
}
