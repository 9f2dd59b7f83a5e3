//! A small Kubernetes API: namespaces, nodes, services, events, config maps and leases, and the reviews of tokens and access, with
//! the semantics a controller leans on.
//!
//! Lists with pages of one snapshot, watches with bookmarks and 410, patches, conflicts, finalizers, status subresources,
//! tokens and rules, and enough discovery and printing for `kubectl`. Its state, a request and the time make an answer;
//! locks and waiting are here, all else is pure.
//! Nothing else of a cluster is simulated: no endpoints, no scheduler, nobody empties a namespace or renews a node.
//!
//! Where it and a real kube-apiserver differ on what it serves, it is wrong; what it leaves out on purpose: server-side
//! apply (415), protobuf and YAML, aggregated discovery (406), `managedFields`, IPv6 cluster addresses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::runtime::clock::{Clock, SystemClock};
use crate::runtime::random::Random;
use crate::sim::server::{Answer, Core, Incoming, Now, Piece, Stream};
use crate::sim::watched::Watched;

mod access;
mod admission;
mod discovery;
mod list;
mod manifest;
mod object;
mod patch;
mod request;
mod rest;
mod review;
mod schema;
mod selector;
mod service;
mod status;
mod store;
mod table;
mod watch;
mod write;

pub use access::Rule;
pub use manifest::{Grant, ManifestError, grants};
pub use object::Resource;

use access::{Access, Who};
use object::text;
use rest::{Outcome, Routed};
use service::Allocations;
use store::{Key, Store};
use watch::{Poll, Watch};

/// Which Kubernetes is played. Source: control-plane.md 2, the table of differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KubeVersion {
    /// The oldest version promised: knows fewer fields, no bookmarks, no `remainingItemCount`, ignores `sendInitialEvents`
    /// and `resourceVersionMatch`, and refuses TCP and UDP in one load balancer.
    V1_14,
    /// 1.37.
    #[default]
    Current,
}

impl KubeVersion {
    /// The fields that are dropped in silence, by path.
    fn drops(self, resource: Resource) -> &'static [&'static str] {
        match (self, resource) {
            (Self::V1_14, Resource::Services) => &[
                "spec.allocateLoadBalancerNodePorts",
                "spec.clusterIPs",
                "spec.internalTrafficPolicy",
                "spec.ipFamilies",
                "spec.ipFamilyPolicy",
                "spec.loadBalancerClass",
                "spec.ports.appProtocol",
                "spec.trafficDistribution",
                "status.conditions",
                "status.loadBalancer.ingress.ipMode",
                "status.loadBalancer.ingress.ports",
            ],
            (Self::V1_14, Resource::Nodes) => &["spec.podCIDRs"],
            _ => &[],
        }
    }
}

/// How a watch from a version that is forgotten is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lost {
    /// By 200 and an `ERROR` event, as real servers do.
    #[default]
    Event,
    /// By HTTP 410.
    Status,
}

/// How the server behaves; changed at any time with [`ApiServer::configure`], for what is asked from then on.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which Kubernetes is played.
    pub version: KubeVersion,
    /// How often watches that allow bookmarks get one, and whether at all. One more comes 2 s before the end.
    pub bookmark_interval: Option<Duration>,
    /// How a watch from a forgotten version is refused.
    pub lost: Lost,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            version: KubeVersion::default(),
            bookmark_interval: Some(Duration::from_secs(60)),
            lost: Lost::default(),
        }
    }
}

/// How often open watches were told something; each compares with what it has seen.
#[derive(Debug, Clone, Default)]
struct Signals {
    bookmark: u64,
    expire: u64,
    end: u64,
}

/// Everything the server knows.
struct State {
    store: Store,
    access: Access,
    allocations: Allocations,
    settings: Settings,
    signals: Signals,
    random: Random,
}

/// Changes remembered for watches, pages and old versions.
const HISTORY: usize = 100_000;

/// The server. Clones are the same server.
#[derive(Clone)]
pub struct ApiServer {
    state: Arc<Watched<State>>,
    clock: Arc<dyn Clock>,
}

impl ApiServer {
    /// A server with the namespaces every cluster has. The same seed gives the same UIDs and ports: two clusters need two
    /// seeds. Nobody is let in before [`ApiServer::admin_token`] or [`ApiServer::open`].
    pub fn new(seed: u64) -> Self {
        Self::with_clock(seed, Arc::new(SystemClock))
    }

    /// One whose watches and dates go by another clock.
    pub fn with_clock(seed: u64, clock: Arc<dyn Clock>) -> Self {
        let mut state = State {
            store: Store::new(HISTORY),
            access: Access::default(),
            allocations: Allocations::default(),
            settings: Settings::default(),
            signals: Signals::default(),
            random: Random::from_seed(seed),
        };
        for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            let namespace = serde_json::json!({"metadata": {"name": name}});
            state
                .insert(Resource::Namespaces, "", &namespace, now(&*clock))
                .expect("a namespace of that name is valid and new");
        }
        Self {
            state: Arc::new(Watched::new(state)),
            clock,
        }
    }

    /// Lets the bearer of `token` do everything.
    pub fn admin_token(&self, token: &str) {
        self.state.update(|state| state.access.grant(token, Who::Admin));
    }

    /// Makes `token` that of `user`, who may do what [`ApiServer::allow`] says.
    pub fn user_token(&self, token: &str, user: &str) {
        self.state
            .update(|state| state.access.grant(token, Who::User(user.to_owned())));
    }

    /// Makes `token` nobody's: 401 from now on. Open watches go on.
    pub fn revoke_token(&self, token: &str) {
        self.state.update(|state| state.access.revoke(token));
    }

    /// Replaces what `user` may do. Open watches go on.
    pub fn allow(&self, user: &str, rules: Vec<Rule>) {
        self.state.update(|state| state.access.set_rules(user, rules));
    }

    /// Whether whoever brings no token may do everything: for `kubectl`, which sends none over plain HTTP.
    pub fn open(&self, open: bool) {
        self.state.update(|state| state.access.set_open(open));
    }

    /// Changes how the server behaves.
    pub fn configure(&self, change: impl FnOnce(&mut Settings)) {
        self.state.update(|state| change(&mut state.settings));
    }

    /// Creates an object as an admin's POST would, with unknown fields refused, and returns it as stored. A namespaced object
    /// without a namespace lands in `default`.
    ///
    /// # Errors
    /// The message of the refusal.
    pub fn create(&self, resource: Resource, object: &Value) -> Result<Value, String> {
        let now = now(&*self.clock);
        let namespace = match (resource.namespaced(), text(object, "/metadata/namespace")) {
            (false, _) => "",
            (true, "") => "default",
            (true, namespace) => namespace,
        };
        self.state
            .update(|state| state.insert(resource, namespace, object, now))
            .map_err(|failure| failure.message)
    }

    /// Puts an object into the store as it is, checked by nobody: for objects that no client can decode.
    pub fn put_unchecked(&self, resource: Resource, object: Value) -> Value {
        self.state.update(|state| {
            let after = state.store.put(Key::of(resource, &object), object);
            Value::clone(&after)
        })
    }

    /// Applies a merge patch as an admin's PATCH of the main endpoint would, or of `status` for [`ApiServer::patch_status`].
    ///
    /// # Errors
    /// The body of the refusal.
    pub fn patch(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        patch: &Value,
    ) -> Result<Value, String> {
        self.patch_at(resource, namespace, name, "", patch)
    }

    /// Applies a merge patch to the status subresource.
    ///
    /// # Errors
    /// The body of the refusal.
    pub fn patch_status(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        patch: &Value,
    ) -> Result<Value, String> {
        self.patch_at(resource, namespace, name, "status", patch)
    }

    fn patch_at(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        subresource: &str,
        patch: &Value,
    ) -> Result<Value, String> {
        let place = place(resource, namespace, name, subresource);
        let request =
            Incoming::new("PATCH", "/").with_body("application/merge-patch+json", patch.to_string());
        let reply = self
            .state
            .update(|state| state.patch(resource, &place, &request))
            .map_err(|failure| failure.message)?;
        serde_json::from_slice(&reply.body).map_err(|error| error.to_string())
    }

    /// Deletes as an admin's DELETE would: an object with finalizers stays, marked. Whether there was one.
    pub fn delete(&self, resource: Resource, namespace: &str, name: &str) -> bool {
        let (place, now) = (place(resource, namespace, name, ""), now(&*self.clock));
        let request = Incoming::new("DELETE", "/");
        self.state
            .update(|state| state.delete(resource, &place, &request, now))
            .is_ok()
    }

    /// Removes an object whatever holds it, as a restored backup might. Whether there was one.
    pub fn remove(&self, resource: Resource, namespace: &str, name: &str) -> bool {
        let key = Key::new(resource, namespace, name);
        self.state.update(|state| state.remove_object(&key)).is_some()
    }

    /// One object, as stored.
    pub fn object(&self, resource: Resource, namespace: &str, name: &str) -> Option<Value> {
        let key = Key::new(resource, namespace, name);
        self.state
            .read(|state| state.store.get(&key).map(|object| Value::clone(object)))
    }

    /// All objects of a resource by `namespace/name`, or by name where there is no namespace.
    pub fn objects(&self, resource: Resource) -> BTreeMap<String, Value> {
        self.state.read(|state| by_name(state, resource))
    }

    /// Waits until `wanted` finds what it looks for among the objects of a resource, at most `timeout`. Looked at now and
    /// after every change.
    pub fn wait_until<R>(
        &self,
        resource: Resource,
        timeout: Duration,
        mut wanted: impl FnMut(&BTreeMap<String, Value>) -> Option<R>,
    ) -> Option<R> {
        let mut looked_at = None;
        self.state.wait_until(timeout, |state| {
            let version = Some(state.store.version());
            if std::mem::replace(&mut looked_at, version) == version {
                return None;
            }
            wanted(&by_name(state, resource))
        })
    }

    /// The last version given out.
    pub fn version(&self) -> u64 {
        self.state.read(|state| state.store.version())
    }

    /// Forgets what was before now: pages and watches that ask for it get 410. Open watches are not disturbed.
    pub fn compact(&self) {
        self.state.update(|state| state.store.compact());
    }

    /// Sends an `ERROR` event with 410 to every open watch and ends it.
    pub fn expire_watches(&self) {
        self.state.update(|state| state.signals.expire += 1);
    }

    /// Ends every open watch cleanly, as a deadline does.
    pub fn end_watches(&self) {
        self.state.update(|state| state.signals.end += 1);
    }

    /// Sends a bookmark now to every open watch that allows them and has something new to learn from it.
    pub fn send_bookmarks(&self) {
        self.state.update(|state| state.signals.bookmark += 1);
    }
}

impl Core for ApiServer {
    fn respond(&self, request: &Incoming, now: Now) -> Answer {
        match self.state.read(|state| state.route(request, now)) {
            Routed::Write(write) => self.state.update(|state| state.act(&write, request, now)).into(),
            Routed::Done(Outcome::Full(reply)) => reply.into(),
            Routed::Done(Outcome::Watch(watch)) => Answer::Stream {
                status: 200,
                headers: vec![("Content-Type".into(), "application/json".into())],
                stream: Box::new(Events {
                    server: self.clone(),
                    watch: *watch,
                }),
            },
        }
    }
}

/// An open watch.
struct Events {
    server: ApiServer,
    watch: Watch,
}

impl Stream for Events {
    fn next(&mut self, timeout: Duration) -> Piece {
        let Self { server, watch } = self;
        let deadline = Instant::now().checked_add(timeout);
        let mut patience = Duration::ZERO;
        loop {
            // when the watch has something to say though nothing is written, on the server's clock
            let mut wake = Duration::ZERO;
            let piece = server.state.wait_until(patience, |state| {
                let now = now(&*server.clock);
                match watch.poll(&state.store, &state.signals, now) {
                    Poll::Bytes(bytes) => Some(Piece::Bytes(bytes)),
                    Poll::End => Some(Piece::End),
                    Poll::Wait(at) => {
                        wake = at.saturating_duration_since(now.monotonic);
                        None
                    }
                }
            });
            if let Some(piece) = piece {
                return piece;
            }
            let left = deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Piece::Idle;
            }
            patience = wake.min(left);
        }
    }
}

fn now(clock: &dyn Clock) -> Now {
    Now {
        monotonic: clock.now(),
        wall: clock.wall(),
    }
}

fn place(resource: Resource, namespace: &str, name: &str, subresource: &str) -> request::Place {
    request::Place {
        group: resource.group().to_owned(),
        version: "v1".to_owned(),
        plural: resource.plural().to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        subresource: subresource.to_owned(),
    }
}

fn by_name(state: &State, resource: Resource) -> BTreeMap<String, Value> {
    let objects = state.store.list(resource, "");
    let named = objects.iter().map(|object| {
        let name = text(object, "/metadata/name");
        let key = match text(object, "/metadata/namespace") {
            "" => name.to_owned(),
            namespace => format!("{namespace}/{name}"),
        };
        (key, Value::clone(object))
    });
    named.collect()
}

#[cfg(test)]
mod tests;
