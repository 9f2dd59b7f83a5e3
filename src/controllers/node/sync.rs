//! Many Nodes at once, from what the cloud knows of them to what they lack.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use log::{debug, info, warn};

use super::addresses;
use super::claims::Claims;
use super::counters::Counters;
use super::decide::{initialisation, label_repairs, needs_all_labels, needs_sync, refused_labels};
use super::error::Error;
use super::whole;
use crate::cloud::{self, Authority, CloudProvider, Freshness, Instance, Instances, Lookup};
use crate::events::{EventRecorder, EventType, ObjectRef};
use crate::informer::{Order, Store, compare_versions};
use crate::k8s::patch::{NodePatch, node_addresses};
use crate::k8s::types::{Node, Timestamp};
use crate::k8s::{self, Call};
use crate::metrics::Metrics;
use crate::runtime::backoff::Backoff;
use crate::runtime::chain;
use crate::runtime::clock::Clock;
use crate::runtime::random::Random;

/// Reasons of Events. `Synced` and its words are upstream's, which tells nobody of failures. Source: ccm-behaviour.md 8.
mod reason {
    pub(super) const SYNCED: &str = "Synced";
    pub(super) const FAILED: &str = "NodeInitializationFailed";
}

/// How many Nodes one question to the cloud is about: as many as one describe call answers. Source: inspur-api.md 4.
pub(super) const BATCH: usize = 100;

/// How often a write that meets somebody else's is tried. Source: kube-client.md 6.5.
const TRIES: u32 = 10;

/// The waits between those tries: from 50 ms to 2 s. Source: kube-client.md 6.5.
const PAUSES: Backoff = Backoff {
    initial: Duration::from_millis(100),
    cap: Duration::from_millis(1300),
    jitter: 0.5,
};

/// How long one write may take with all its retries: others wait behind it, and the queue tries again anyway.
const WRITE_BUDGET: Duration = Duration::from_secs(10);

/// After how long the same failure of a Node is told once more: the API server forgets Events after an hour.
const TELL_AGAIN: Duration = Duration::from_secs(600);

/// A failure that a Node's Event has told.
struct Told {
    uid: Box<str>,
    message: String,
    at: Instant,
}

/// A Node on its way to be initialised.
struct Attempt {
    at: usize,
    node: Arc<Node>,
    instance: Arc<Instance>,
    /// The Node must be read again first.
    is_stale: bool,
    /// `node` was read with all its labels.
    has_all_labels: bool,
    /// Its addresses were written: whatever the server made of them, they are not written again.
    has_addresses: bool,
    /// The taint was asked to go; an answer may be lost.
    has_tried: bool,
}

/// Syncs Nodes. The queue never hands one key to two workers; the refresh beside them guards its writes by versions.
pub struct NodeSyncer {
    cloud: Arc<dyn CloudProvider>,
    client: k8s::Client,
    nodes: Store<Node>,
    recorder: EventRecorder,
    clock: Arc<dyn Clock>,
    random: Arc<Random>,
    /// What our patches were answered with, until the store has caught up.
    written: Mutex<HashMap<Arc<str>, Arc<Node>>>,
    claims: Mutex<Claims>,
    told: Mutex<HashMap<Arc<str>, Told>>,
    counters: Counters,
    pub(super) pauses: Backoff,
}

impl NodeSyncer {
    /// Works on `nodes`, as `cloud` knows them, measured in `metrics`. Its waits end with the client's stop token.
    pub fn new(
        cloud: Arc<dyn CloudProvider>,
        client: k8s::Client,
        nodes: Store<Node>,
        recorder: EventRecorder,
        clock: Arc<dyn Clock>,
        random: Arc<Random>,
        metrics: &Metrics,
    ) -> Self {
        Self {
            cloud,
            client,
            nodes,
            recorder,
            clock,
            random,
            written: Mutex::default(),
            claims: Mutex::default(),
            told: Mutex::default(),
            counters: Counters::new(metrics),
            pauses: PAUSES,
        }
    }

    /// What was done so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The cloud's instances. The manager starts this controller only where the cloud has them.
    pub(super) fn instances(&self) -> &dyn Instances {
        self.cloud
            .instances()
            .expect("the node controller runs only on a cloud with instances")
    }

    /// Takes note of a change in the store. Returns the keys to sync because of it.
    pub fn note_change(
        &self,
        key: &Arc<str>,
        old: Option<&Arc<Node>>,
        new: Option<&Arc<Node>>,
    ) -> Vec<Arc<str>> {
        let Some(new) = new else {
            lock(&self.written).remove(key);
            lock(&self.told).remove(key);
            return lock(&self.claims).remove(key);
        };
        self.forget_written(key, new);
        let has_another_id = old.is_none_or(|old| old.provider_id != new.provider_id);
        let mut keys = if has_another_id && !new.provider_id.is_empty() {
            lock(&self.claims).add(key, new, &new.provider_id)
        } else {
            Vec::new()
        };
        if needs_sync(old.map(|old| &**old), new) {
            keys.push(Arc::clone(key));
        }
        keys
    }

    /// Gives the Nodes with these keys what they lack: all that wait for it are initialised with one question to the cloud. Calls
    /// `done` with the index of each key once that Node is settled; one that fails holds up no other.
    pub fn sync(&self, keys: &[Arc<str>], mut done: impl FnMut(usize, Result<(), Error>)) {
        let mut waiting = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            match self.newest(key) {
                None => done(at, Ok(())),
                Some(node) if node.is_uninitialized() => waiting.push((at, node)),
                Some(node) => done(at, self.repair_labels(&node)),
            }
        }
        if waiting.is_empty() {
            return;
        }
        self.initialize(waiting, |at, node, result| {
            let result = result.inspect_err(|error| self.tell(node, error));
            done(at, result);
        });
    }

    fn initialize(
        &self,
        waiting: Vec<(usize, Arc<Node>)>,
        mut done: impl FnMut(usize, &Node, Result<(), Error>),
    ) {
        let nodes: Vec<Arc<Node>> = waiting.iter().map(|(_, node)| Arc::clone(node)).collect();
        let mut found = Vec::with_capacity(nodes.len());
        for ((at, node), answer) in waiting.into_iter().zip(self.look_up(&nodes)) {
            match self.claimed(&node, answer) {
                Ok(instance) => found.push(Attempt {
                    at,
                    node,
                    instance,
                    is_stale: false,
                    has_all_labels: false,
                    has_addresses: false,
                    has_tried: false,
                }),
                Err(error) => done(at, &node, Err(error)),
            }
        }
        // in rounds, so that one in conflict waits while the others go on
        for tries in 1.. {
            let mut again = Vec::new();
            for mut attempt in found {
                match self.attempt(&mut attempt) {
                    Err(error) if error.is_conflict() => {
                        self.counters.conflicts.inc();
                        debug!(node:% = attempt.node.meta.name, error:% = chain(&error); "another change came first");
                        if tries < TRIES {
                            attempt.is_stale = true;
                            again.push(attempt);
                        } else {
                            done(attempt.at, &attempt.node, Err(error));
                        }
                    }
                    result => done(attempt.at, &attempt.node, result),
                }
            }
            if again.is_empty() {
                return;
            }
            if self
                .client
                .stop_token()
                .wait(self.pauses.delay(tries - 1, &self.random))
            {
                for attempt in again {
                    done(attempt.at, &attempt.node, Err(cloud::Error::Stopped.into()));
                }
                return;
            }
            found = again;
        }
    }

    /// What the cloud knows of `nodes` now, or knew in the last seconds.
    pub(super) fn look_up(&self, nodes: &[Arc<Node>]) -> Vec<Result<Lookup, cloud::Error>> {
        self.counters.look_ups.inc();
        self.instances().look_up(nodes, Freshness::Recent)
    }

    /// The instance in `answer`; from now on the Node claims it.
    fn claimed(&self, node: &Node, answer: Result<Lookup, cloud::Error>) -> Result<Arc<Instance>, Error> {
        let Lookup::Found(instance) = answer? else {
            return Err(Error::Missing);
        };
        let has_id = !instance.provider_id.is_empty() || !node.provider_id.is_empty();
        if self.has_authority() && !has_id {
            return Err(Error::NoProviderId);
        }
        self.claim(node, &instance);
        Ok(instance)
    }

    pub(super) fn claim(&self, node: &Node, instance: &Instance) {
        let id = if instance.provider_id.is_empty() {
            &node.provider_id
        } else {
            &instance.provider_id
        };
        if !id.is_empty() {
            lock(&self.claims).add(&(*node.meta.name).into(), node, id);
        }
    }

    /// One way through: addresses, then everything else and the taint in one write. Pods never see a Node without addresses.
    fn attempt(&self, attempt: &mut Attempt) -> Result<(), Error> {
        let (name, instance) = (
            Arc::<str>::from(&*attempt.node.meta.name),
            Arc::clone(&attempt.instance),
        );
        if let Some(holder) = lock(&self.claims).holder(&name) {
            let provider_id = instance.provider_id.clone();
            return Err(Error::Taken { provider_id, holder });
        }
        if attempt.is_stale && !self.read_again(attempt)? {
            return Ok(());
        }
        if attempt.node.is_uninitialized() && self.has_authority() && !attempt.has_addresses {
            if let Some(wanted) = addresses::wanted(&attempt.node, &instance.addresses)? {
                let call = node_addresses(&attempt.node.meta, &wanted);
                let Some(answer) = self.write(&attempt.node, call)? else {
                    return Ok(());
                };
                attempt.node = answer;
                attempt.has_all_labels = false;
            }
            attempt.has_addresses = true;
        }
        if needs_all_labels(&instance) && !attempt.has_all_labels && !self.read_again(attempt)? {
            return Ok(());
        }
        if attempt.node.is_uninitialized() {
            let call = initialisation(&attempt.node, &instance).call(&attempt.node.meta);
            attempt.has_tried = true;
            let Some(answer) = self.write(&attempt.node, call)? else {
                return Ok(());
            };
            let refused = Vec::from_iter(refused_labels(&attempt.node, &instance)).join(",");
            if !refused.is_empty() {
                warn!(node:% = name, labels:% = refused; "labels of the instance are not for this node");
            }
            attempt.node = answer;
        } else if !attempt.has_tried {
            return Ok(()); // by somebody else
        }
        self.tell_initialized(&attempt.node, &instance);
        Ok(())
    }

    /// Whether the cloud knows better than kubelet.
    fn has_authority(&self) -> bool {
        self.instances().authority() == Authority::Full
    }

    /// Reads the Node from the API server. False when it is gone, or another has its name.
    fn read_again(&self, attempt: &mut Attempt) -> Result<bool, Error> {
        match whole::read(&self.client, &attempt.node.meta.name) {
            Ok(node) if node.meta.uid == attempt.node.meta.uid => {
                attempt.node = Arc::new(node);
                (attempt.is_stale, attempt.has_all_labels) = (false, true);
                Ok(true)
            }
            Ok(_) => Ok(false),
            Err(error) if error.proves_absence() => Ok(false),
            Err(error) => Err(Error::Read(error)),
        }
    }

    /// Sends a patch of `node`; its answer, or `None` when that Node is gone.
    pub(super) fn write(&self, node: &Node, call: Call) -> Result<Option<Arc<Node>>, Error> {
        match self.client.send::<Node>(&call.budget(WRITE_BUDGET)) {
            Ok(answer) => {
                let answer = Arc::new(answer);
                self.remember(&answer);
                Ok(Some(answer))
            }
            Err(error) if error.proves_absence() => Ok(None),
            // with the UID of a predecessor a patch is refused like one with a label that is none
            Err(error @ k8s::Error::Rejected { status: 422, .. }) => {
                match whole::read(&self.client, &node.meta.name) {
                    Ok(now) if now.meta.uid != node.meta.uid => Ok(None),
                    Err(read) if read.proves_absence() => Ok(None),
                    _ => Err(Error::Write(error)),
                }
            }
            Err(error) => Err(Error::Write(error)),
        }
    }

    fn repair_labels(&self, node: &Node) -> Result<(), Error> {
        let repairs = label_repairs(node);
        if repairs.is_empty() {
            return Ok(());
        }
        let patch = repairs
            .into_iter()
            .fold(NodePatch::default(), |patch, (key, value)| {
                patch.label(key, value)
            });
        if self.write(node, patch.call(&node.meta))?.is_some() {
            self.counters.labels_repaired.inc();
            info!(node:% = node.meta.name; "repaired the labels of a node");
        }
        Ok(())
    }

    /// The Node of that name: the newer of the stored one and what our last patch was answered with. The store lags behind our own
    /// writes.
    pub(super) fn newest(&self, key: &str) -> Option<Arc<Node>> {
        let stored = self.nodes.get(key)?;
        match lock(&self.written).get(key) {
            Some(written) if is_newer(written, &stored) => Some(Arc::clone(written)),
            _ => Some(stored),
        }
    }

    /// All Nodes, each as [`NodeSyncer::newest`], in the order of their names.
    pub(super) fn all(&self) -> Vec<Arc<Node>> {
        let mut nodes = self.nodes.list();
        let written = lock(&self.written);
        for node in &mut nodes {
            if let Some(written) = written.get(&*node.meta.name).filter(|w| is_newer(w, node)) {
                *node = Arc::clone(written);
            }
        }
        nodes
    }

    /// Keeps what we wrote until the store shows it.
    fn remember(&self, answer: &Arc<Node>) {
        // the lock is taken first: whoever tells us of a change waits for it, and finds what is kept here
        let mut written = lock(&self.written);
        let key = &*answer.meta.name;
        if self
            .nodes
            .get(key)
            .is_some_and(|stored| is_newer(answer, &stored))
        {
            written.insert(key.into(), Arc::clone(answer));
        }
    }

    fn forget_written(&self, key: &str, stored: &Node) {
        let mut written = lock(&self.written);
        if written.get(key).is_some_and(|written| !is_newer(written, stored)) {
            written.remove(key);
        }
    }

    fn tell_initialized(&self, node: &Arc<Node>, instance: &Instance) {
        lock(&self.told).remove(&*node.meta.name);
        self.claim(node, instance);
        let created = node.meta.creation_timestamp.unwrap_or(Timestamp(0));
        let now = self.clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        let delay = now.saturating_sub(Duration::from_secs(created.0));
        self.counters.initialized(delay);
        info!(node:% = node.meta.name, provider_id:% = node.provider_id, delay_ms = delay.as_millis() as u64; "initialised a node");
        let text = "Node synced successfully";
        self.recorder
            .event(&ObjectRef::of(&**node), EventType::Normal, reason::SYNCED, text);
    }

    /// Tells what fails, once until it is something else. That we stop is nobody's business there.
    fn tell(&self, node: &Node, error: &Error) {
        if error.is_stop() {
            return;
        }
        self.counters.initialization_failures.inc();
        let (message, now) = (
            format!("Error initializing node: {}", chain(error)),
            self.clock.now(),
        );
        let mut told = lock(&self.told);
        let is_told = told.get(&*node.meta.name).is_some_and(|told| {
            told.uid == node.meta.uid
                && told.message == message
                && now.saturating_duration_since(told.at) < TELL_AGAIN
        });
        if is_told {
            return;
        }
        let uid = node.meta.uid.clone();
        told.insert(
            (*node.meta.name).into(),
            Told {
                uid,
                message: message.clone(),
                at: now,
            },
        );
        drop(told);
        self.recorder
            .event(&ObjectRef::of(node), EventType::Warning, reason::FAILED, message);
    }
}

/// What these locks guard is whole between any two calls, even if a holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether `written` is a later form of the same object.
fn is_newer(written: &Node, stored: &Node) -> bool {
    written.meta.uid == stored.meta.uid
        && compare_versions(&written.meta.resource_version, &stored.meta.resource_version) == Order::Newer
}
