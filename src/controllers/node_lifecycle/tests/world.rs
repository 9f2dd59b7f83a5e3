//! A cluster on the simulated API, a cloud in memory, and the controller between them, all in one thread and on one clock.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::super::{COMPONENT, Lifecycle, Limit, Rules, Settings};
use crate::cloud::{
    Absence, Authority, CloudProvider, Error, Freshness, Instance, InstanceState, Instances, LoadBalancers,
    Lookup,
};
use crate::events::{EventSink, Step, recorder};
use crate::http::{self, Method, Request, Response, Transport};
use crate::informer::{Writer, store};
use crate::k8s::Client;
use crate::k8s::types::Node;
use crate::metrics::Metrics;
use crate::runtime::clock::{Clock, ManualClock};
use crate::runtime::random::Random;
use crate::runtime::stop::StopToken;
use crate::sim::api_server::{ApiServer, Resource};
use crate::sim::server::InProcess;

/// What an answer is like.
#[derive(Debug, Clone)]
pub(in super::super) enum Fault {
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
pub(in super::super) struct Cloud {
    pub(in super::super) hearsay: bool,
    /// By id; `Up` unless changed.
    pub(in super::super) instances: BTreeMap<String, InstanceState>,
    /// For the next questions, one each.
    pub(in super::super) faults: VecDeque<Fault>,
    /// The Nodes of each question.
    pub(in super::super) asked: Vec<Vec<String>>,
}

/// A cloud of instances. Clones are the same cloud. All its instances are asked about along with those in question, so that each
/// is a witness.
#[derive(Clone, Default)]
pub(in super::super) struct FakeInstances(pub(in super::super) Arc<Mutex<Cloud>>);

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
pub(in super::super) struct Meddler {
    inner: Arc<InProcess>,
    before: Mutex<Option<(Method, Deed)>>,
}

impl Transport for Meddler {
    fn exchange(&self, request: &Request) -> Result<Response, http::Error> {
        let deed = self
            .before
            .lock()
            .unwrap()
            .take_if(|(method, _)| *method == request.method() && !request.url.contains("/events"));
        if let Some((_, deed)) = deed {
            deed();
        }
        self.inner.exchange(request)
    }
    fn shutdown(&self) {
        self.inner.shutdown();
    }
}

pub(in super::super) const SETTINGS: Settings = Settings {
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

pub(in super::super) struct World {
    pub(in super::super) clock: ManualClock,
    pub(in super::super) api: ApiServer,
    pub(in super::super) transport: Arc<InProcess>,
    pub(in super::super) meddler: Arc<Meddler>,
    pub(in super::super) cloud: FakeInstances,
    nodes: Writer<Node>,
    pub(in super::super) lifecycle: Lifecycle,
    events: EventSink,
}

impl World {
    /// An empty cluster, and a cloud with one instance that is no Node.
    pub(in super::super) fn new() -> Self {
        Self::with_settings(SETTINGS)
    }

    pub(in super::super) fn with_settings(settings: Settings) -> Self {
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
    pub(in super::super) fn restart(&mut self, settings: Settings) {
        let (lifecycle, events) = build(&self.clock, &self.meddler, &self.cloud, &self.nodes, settings);
        (self.lifecycle, self.events) = (lifecycle, events);
    }

    /// Creates a Node, not Ready yet, with this provider ID.
    pub(in super::super) fn create(&self, name: &str, provider_id: &str) {
        let node = json!({"metadata": {"name": name}, "spec": {"providerID": provider_id}});
        self.api.create(Resource::Nodes, &node).unwrap();
    }

    /// So many Nodes `n0`, `n1`, … that have been around, Ready, for longer than the grace period, and their instances.
    pub(in super::super) fn grown(&mut self, count: usize) {
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

    pub(in super::super) fn set_ready(&self, name: &str, ready: bool) {
        set_ready(&self.api, name, ready);
    }

    pub(in super::super) fn patch(&self, name: &str, patch: Value) {
        self.api.patch(Resource::Nodes, "", name, &patch).unwrap();
    }

    /// Kubelet and instance of `n{n}` are gone.
    pub(in super::super) fn lose(&self, n: usize) {
        self.cloud.end(&format!("i-{n}"));
        self.set_ready(&format!("n{n}"), false);
    }

    /// Lets the store see the cluster as it is.
    pub(in super::super) fn refresh(&mut self) {
        let nodes = self.api.objects(Resource::Nodes).into_values();
        self.nodes
            .replace(nodes.map(|node| serde_json::from_value(node).unwrap()));
    }

    /// Makes so many passes, a period apart.
    pub(in super::super) fn passes(&mut self, count: usize) {
        for _ in 0..count {
            self.clock.advance(SETTINGS.period);
            self.refresh();
            self.lifecycle.pass();
        }
    }

    pub(in super::super) fn node(&self, name: &str) -> Option<Value> {
        self.api.object(Resource::Nodes, "", name)
    }

    /// The names of all Nodes.
    pub(in super::super) fn names(&self) -> Vec<String> {
        self.api.objects(Resource::Nodes).into_keys().collect()
    }

    pub(in super::super) fn taints(&self, name: &str) -> Value {
        self.node(name).unwrap()["spec"]["taints"].clone()
    }

    /// Does `deed` just before the next request of that kind.
    pub(in super::super) fn before(&self, method: Method, deed: impl FnOnce() + Send + 'static) {
        *self.meddler.before.lock().unwrap() = Some((method, Box::new(deed)));
    }

    /// How many requests of that kind were made for Nodes since the last call; forgets all.
    pub(in super::super) fn requests(&self, method: &str) -> usize {
        let log = self.transport.log();
        let count = log.count(|entry| entry.method == method && entry.target.contains("/nodes/"));
        log.clear();
        count
    }

    /// Node and reason of each Event so far, sorted.
    pub(in super::super) fn events(&mut self) -> Vec<(String, String)> {
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
    pub(in super::super) fn run(&self, id: &str) {
        self.set(id, InstanceState::Up);
    }
    pub(in super::super) fn set(&self, id: &str, state: InstanceState) {
        self.0.lock().unwrap().instances.insert(id.to_string(), state);
    }
    pub(in super::super) fn end(&self, id: &str) {
        self.0.lock().unwrap().instances.remove(id);
    }
    pub(in super::super) fn exists(&self, id: &str) -> bool {
        self.0.lock().unwrap().instances.contains_key(id)
    }
    pub(in super::super) fn next(&self, fault: Fault) {
        self.0.lock().unwrap().faults.push_back(fault);
    }
    pub(in super::super) fn take_asked(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }
}

pub(in super::super) fn build(
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
    let metrics = &Metrics::new();
    let lifecycle = Lifecycle::new(cloud, client, nodes.store(), recorder, settings, clock, metrics);
    (lifecycle, sink)
}

pub(in super::super) fn set_ready(api: &ApiServer, name: &str, ready: bool) {
    let status = if ready { "True" } else { "Unknown" };
    let patch = json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
    api.patch_status(Resource::Nodes, "", name, &patch).unwrap();
}
