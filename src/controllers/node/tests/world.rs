//! A cluster, a cloud and the controller between them, moved by hand.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::super::{NodeController, NodeSyncer};
use crate::cloud::fake::{Call, FakeCloud};
use crate::cloud::{self, Freshness, Instance};
use crate::events::{EventSink, Step, recorder};
use crate::informer::{Handler, Writer, store};
use crate::k8s;
use crate::k8s::types::UNINITIALIZED;
use crate::k8s::types::{Node, NodeAddress};
use crate::metrics::Metrics;
use crate::runtime::backoff::Backoff;
use crate::runtime::clock::ManualClock;
use crate::runtime::random::Random;
use crate::runtime::stop::StopToken;
use crate::sim::api_server::{ApiServer, Resource};
use crate::sim::faults::{Canned, Effect};
use crate::sim::server::InProcess;

pub(super) struct World {
    pub(super) api: ApiServer,
    pub(super) transport: Arc<InProcess>,
    pub(super) cloud: FakeCloud,
    pub(super) nodes: Writer<Node>,
    pub(super) handler: Handler<Node>,
    pub(super) controller: NodeController,
    events: EventSink,
    pub(super) clock: ManualClock,
}

impl World {
    pub(super) fn new() -> Self {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let shared = Arc::new(clock.clone());
        let api = ApiServer::with_clock(1, shared.clone());
        api.open(true);
        let transport = Arc::new(InProcess::new(Arc::new(api.clone())));
        let client = k8s::Client::new("http://simulated", transport.clone(), StopToken::never());
        let (nodes, node_store) = store();
        let cloud = FakeCloud::default();
        let (random, metrics) = (Arc::new(Random::from_seed(1)), Metrics::new());
        let (recorder, events) = recorder(
            "cloud-node-controller",
            client.clone(),
            shared.clone(),
            Arc::clone(&random),
        );
        let mut syncer = NodeSyncer::new(
            Arc::new(cloud.clone()),
            client,
            node_store,
            recorder,
            shared.clone(),
            Arc::clone(&random),
            &metrics,
        );
        syncer.pauses = Backoff {
            initial: Duration::ZERO,
            cap: Duration::ZERO,
            jitter: 0.0,
        };
        let controller = NodeController::new(syncer, shared, random, &metrics);
        Self {
            api,
            transport,
            cloud,
            nodes,
            handler: controller.node_handler(),
            controller,
            events,
            clock,
        }
    }

    /// A Node as kubelet makes it for an external cloud provider.
    pub(super) fn join(&self, name: &str) {
        self.join_with(name, json!({}));
    }

    /// The same, with these annotations.
    pub(super) fn join_with(&self, name: &str, annotations: Value) {
        let node = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux"}, "annotations": annotations},
            "spec": {"taints": [
                {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute", "timeAdded": "2026-01-02T03:04:05Z"},
                {"key": UNINITIALIZED, "value": "true", "effect": "NoSchedule"},
            ]},
        });
        self.api.create(Resource::Nodes, &node).unwrap();
        self.set_addresses(name, &[("InternalIP", "10.0.0.9"), ("Hostname", name)]);
    }

    pub(super) fn set_addresses(&self, name: &str, addresses: &[(&str, &str)]) {
        let addresses: Vec<Value> = addresses
            .iter()
            .map(|(type_, address)| json!({"type": type_, "address": address}))
            .collect();
        let patch = json!({"status": {"addresses": addresses}});
        self.api.patch_status(Resource::Nodes, "", name, &patch).unwrap();
    }

    pub(super) fn patch(&self, name: &str, patch: &Value) {
        self.api.patch(Resource::Nodes, "", name, patch).unwrap();
    }

    /// Lets the store see the cluster as it is.
    pub(super) fn see(&mut self) {
        let objects = self.api.objects(Resource::Nodes).into_values();
        let nodes = objects.map(|object| serde_json::from_value::<Node>(object).unwrap());
        for change in self.nodes.replace(nodes.collect::<Vec<_>>()) {
            (self.handler)(&change);
        }
    }

    /// Lets the store see the cluster and the controller work until neither has news.
    pub(super) fn settle(&mut self) {
        self.see();
        while self.controller.step() {
            self.see();
        }
    }

    /// Lets time pass in small steps, the controller at work.
    pub(super) fn pass(&mut self, time: Duration) {
        let step = time / 100;
        for _ in 0..100 {
            self.clock.advance(step);
            self.settle();
        }
    }

    pub(super) fn node(&self, name: &str) -> Value {
        self.api.object(Resource::Nodes, "", name).unwrap()
    }

    pub(super) fn is_tainted(&self, name: &str) -> bool {
        let node = self.node(name);
        let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
        taints.iter().any(|taint| taint["key"] == UNINITIALIZED)
    }

    pub(super) fn addresses(&self, name: &str) -> Vec<(String, String)> {
        let node = self.node(name);
        let text = |value: &Value| value.as_str().unwrap().to_string();
        let addresses = node["status"]["addresses"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        addresses
            .iter()
            .map(|a| (text(&a["type"]), text(&a["address"])))
            .collect()
    }

    /// How many Nodes lost the taint by us.
    pub(super) fn initialized(&self) -> u64 {
        self.controller.counters().taint_removal_delay.get_sample_count()
    }

    /// Writes to Nodes since the last call: the end of the path and the status, in order.
    pub(super) fn writes(&self) -> Vec<String> {
        let log = self.transport.log();
        let of_nodes = |target: &str| {
            let path = target.split('?').next().unwrap_or_default().to_string();
            path.strip_prefix("/api/v1/nodes/").map(str::to_string)
        };
        let writes = log.entries().into_iter().filter(|entry| entry.method != "GET");
        let writes = writes.filter_map(|entry| {
            let path = of_nodes(&entry.target)?;
            Some(format!("{path} {}", entry.status.unwrap_or(0)))
        });
        let writes = writes.collect();
        log.clear();
        writes
    }

    /// Which Nodes were asked about, question by question.
    pub(super) fn look_ups(&self) -> Vec<Vec<String>> {
        let of = |call| match call {
            Call::LookUp(mut nodes, Freshness::Recent) => {
                nodes.sort();
                nodes
            }
            other => panic!("{other:?}"),
        };
        self.cloud.take_calls().into_iter().map(of).collect()
    }

    /// Reason and message of each Event since the last call, with its count.
    pub(super) fn events(&mut self) -> Vec<(String, String, u64)> {
        while self.events.step() != Step::Idle {}
        let events: Vec<Value> = self.api.objects(Resource::Events).into_values().collect();
        for event in &events {
            let name = event["metadata"]["name"].as_str().unwrap();
            self.api.remove(Resource::Events, "default", name);
            assert_eq!(event["source"]["component"], "cloud-node-controller");
            assert_eq!(event["involvedObject"]["kind"], "Node");
        }
        let text = |value: &Value| value.as_str().unwrap().to_string();
        events
            .iter()
            .map(|event| {
                (
                    text(&event["reason"]),
                    text(&event["message"]),
                    event["count"].as_u64().unwrap(),
                )
            })
            .collect()
    }
}

pub(super) fn addresses(list: &[(&str, &str)]) -> Vec<NodeAddress> {
    list.iter()
        .map(|(type_, address)| NodeAddress {
            type_: (*type_).into(),
            address: (*address).into(),
        })
        .collect()
}

pub(super) fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect()
}

pub(super) fn instance(id: &str) -> Instance {
    Instance {
        provider_id: format!("incloud://{id}").into(),
        addresses: addresses(&[
            ("InternalIP", "10.0.0.1"),
            ("InternalIP", "fd00::1"),
            ("ExternalIP", "1.2.3.4"),
        ]),
        instance_type: "c2.large".into(),
        zone: "cn-north-3a".into(),
        region: "cn-north-3".into(),
        ..Instance::default()
    }
}

pub(super) fn unavailable() -> cloud::Error {
    cloud::Error::Unavailable {
        message: "the cloud is away".into(),
        retry_after: None,
    }
}

pub(super) fn rejected() -> cloud::Error {
    cloud::Error::Rejected {
        reason: "ForeignProviderId",
        message: "aws:///i-1 is no provider ID of this cloud".into(),
    }
}

pub(super) fn conflict() -> Effect {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 409, "reason": "Conflict",
        "message": "the object has been modified", "details": {"name": "n1", "kind": "nodes"},
    });
    Effect::Answer(Canned {
        status: 409,
        body: Some(body.to_string()),
        ..Canned::default()
    })
}
