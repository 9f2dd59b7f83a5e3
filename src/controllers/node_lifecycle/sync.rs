//! Writes what was decided about one Node. Each write is about the very object that was read: a Node that was replaced or
//! changed meanwhile is left to the next pass.

use std::sync::Arc;

use log::{debug, info, warn};
use serde::de::IgnoredAny;

use super::counters::Counters;
use super::decide::{DELETION_WANTED, Decision, may_delete, retaint};
use crate::events::{EventRecorder, EventType, ObjectRef};
use crate::k8s::patch::NodePatch;
use crate::k8s::types::Node;
use crate::k8s::{Call, Client, Error, path};
use crate::metrics::Metrics;
use crate::runtime::chain;
use crate::runtime::stop::StopToken;

/// Upstream's reasons, and one of ours. Source: ccm-behaviour.md 8.
mod reason {
    pub(super) const DELETING: &str = "DeletingNode";
    pub(super) const DELETING_FAILED: &str = "DeletingNodeFailed";
    pub(super) const BRAKED: &str = "NodeDeletionBraked";
}

/// How often a write of taints is tried while others change the Node. Source: ccm-behaviour.md 4.2.
const TRIES: u32 = 5;

/// Writes to the API server and tells of it.
pub(super) struct Writes {
    client: Client,
    recorder: EventRecorder,
    counters: Counters,
}

impl Writes {
    pub(super) fn new(client: Client, recorder: EventRecorder, metrics: &Metrics) -> Self {
        Self {
            client,
            recorder,
            counters: Counters::new(metrics),
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Deletes a Node whose instance is gone, if the API server shows it as it was decided upon. `held`: only because its
    /// deletion is wanted. `before` is called just before the Node is deleted.
    pub(super) fn delete(&self, node: &Node, held: bool, stop: &StopToken, before: impl FnOnce()) {
        let name = &*node.meta.name;
        let fresh = match self.read(name) {
            Ok(Some(fresh)) => fresh,
            Ok(None) => return,
            Err(error) => return tell_unread(name, &error),
        };
        if !may_delete(node, &fresh, held) {
            debug!(node = name; "not deleted: the Node has changed");
            return;
        }
        let path = match path::object::<Node>("", name, None) {
            Ok(path) => path,
            Err(error) => return tell_unread(name, &error),
        };
        if stop.is_set() {
            return;
        }
        let message = format!("Deleting node {name} because it does not exist in the cloud provider");
        self.event(&fresh, EventType::Normal, reason::DELETING, message);
        before();
        match self
            .client
            .send::<IgnoredAny>(&Call::delete_unchanged(path, &fresh.meta))
        {
            Ok(_) => {
                self.counters.deleted.inc();
                info!(node = name, provider_id:% = node.provider_id; "deleted a Node whose instance is gone");
            }
            // gone, replaced or changed: the next pass sees what there is
            Err(error @ (Error::NotFound { .. } | Error::Conflict { .. })) => {
                debug!(node = name, error = chain(&error).as_str(); "not deleted: the Node has changed");
            }
            Err(Error::Stopped { .. } | Error::NotLeading { .. }) => {}
            Err(error) => {
                self.counters.failed.inc();
                let error = chain(&error);
                warn!(node = name, error = error.as_str(); "cannot delete a Node whose instance is gone");
                let message = format!("Failed deleting node {name}: {error}");
                self.event(&fresh, EventType::Warning, reason::DELETING_FAILED, message);
            }
        }
    }

    /// Tells that `node` would be deleted if not so many were gone.
    pub(super) fn tell_braked(&self, node: &Node) {
        self.counters.braked.inc();
        let name = &node.meta.name;
        let message = format!(
            "Not deleting node {name} although it does not exist in the cloud provider: too many nodes are gone at once. \
             If its deletion is wanted, set its annotation {DELETION_WANTED} to \"true\""
        );
        self.event(node, EventType::Warning, reason::BRAKED, message);
    }

    /// Adds or removes the shutdown taint, as `wanted` says, unless the Node has become one for which that is wrong.
    pub(super) fn taint(&self, node: &Arc<Node>, wanted: Decision, stop: &StopToken) {
        let (name, mut node) = (&*node.meta.name, Arc::clone(node));
        let uid = node.meta.uid.clone();
        for _ in 0..TRIES {
            let Some(taints) = retaint(&node, wanted).filter(|_| node.meta.uid == uid) else {
                return;
            };
            if stop.is_set() {
                return;
            }
            let patch = NodePatch::default().taints(&taints);
            match self.client.send::<Node>(&patch.call(&node.meta)) {
                Ok(_) => return self.tell_tainted(name, wanted),
                // 422 is what a successor of the same name answers. Source: kube-client.md 6.4
                Err(Error::Conflict { .. } | Error::Rejected { status: 422, .. }) => {}
                Err(Error::NotFound { .. } | Error::Stopped { .. } | Error::NotLeading { .. }) => return,
                Err(error) => {
                    warn!(node = name, error = chain(&error).as_str(); "cannot write the shutdown taint");
                    return;
                }
            }
            node = match self.read(name) {
                Ok(Some(fresh)) => Arc::new(fresh),
                Ok(None) => return,
                Err(error) => return tell_unread(name, &error),
            };
        }
        warn!(node = name, tries = TRIES; "cannot write the shutdown taint: others change the Node all the time");
    }

    fn tell_tainted(&self, name: &str, wanted: Decision) {
        if wanted == Decision::Taint {
            self.counters.tainted.inc();
            info!(node = name; "tainted a Node whose instance is shut down");
        } else {
            self.counters.untainted.inc();
            info!(node = name; "took the shutdown taint off a Node that is Ready");
        }
    }

    /// The Node as the API server has it now; `None` where there is none.
    fn read(&self, name: &str) -> Result<Option<Node>, Error> {
        match self.client.object("", name) {
            Ok(node) => Ok(Some(node)),
            Err(error) if error.proves_absence() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn event(&self, node: &Node, kind: EventType, reason: &'static str, message: String) {
        self.recorder.event(&ObjectRef::of(node), kind, reason, message);
    }
}

fn tell_unread(name: &str, error: &Error) {
    if !matches!(error, Error::Stopped { .. }) {
        warn!(node = name, error = chain(error).as_str(); "cannot read a Node before writing it");
    }
}
