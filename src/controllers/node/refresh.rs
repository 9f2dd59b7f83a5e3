//! The addresses of all Nodes, again and again: they change in the cloud, and nobody tells.

use log::{debug, info, warn};

use super::addresses;
use super::error::Error;
use super::sync::{BATCH, NodeSyncer};
use crate::cloud::{self, Lookup};
use crate::k8s;
use crate::k8s::patch::node_addresses;
use crate::k8s::types::Node;
use crate::runtime::chain;
use crate::runtime::stop::StopToken;

/// The part of all Nodes that one of several threads refreshes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Which thread, from 0.
    pub thread: usize,
    /// Of how many; at least 1.
    pub threads: usize,
}

impl NodeSyncer {
    /// Brings the addresses of this share of the initialised Nodes up to date, with one question for a hundred of them. One that
    /// matches is not written; one that fails waits for the next pass.
    pub fn refresh(&self, share: Share, stop: &StopToken) {
        let mut nodes = self.all();
        nodes.retain(|node| !node.is_uninitialized());
        let (mut failed, mut first) = (0usize, None);
        for chunk in nodes.chunks(BATCH).skip(share.thread).step_by(share.threads) {
            for (node, answer) in chunk.iter().zip(self.look_up(chunk)) {
                if stop.is_set() {
                    return;
                }
                if let Err(error) = self.refresh_one(node, answer) {
                    debug!(node:% = node.meta.name, error:% = chain(&error); "cannot refresh the addresses of a node");
                    self.counters().refresh_failures.inc();
                    failed += 1;
                    first.get_or_insert((node.meta.name.clone(), error));
                }
            }
        }
        if let Some((node, error)) = first {
            warn!(nodes = failed, first:% = node, error:% = chain(&error); "cannot refresh the addresses of nodes");
        }
    }

    fn refresh_one(&self, node: &Node, answer: Result<Lookup, cloud::Error>) -> Result<(), Error> {
        let Lookup::Found(instance) = answer? else {
            // what follows from that is another controller's business
            return Ok(());
        };
        self.claim(node, &instance);
        if instance.addresses.is_empty() {
            return Ok(());
        }
        let Some(wanted) = addresses::wanted(node, &instance.addresses)? else {
            return Ok(());
        };
        match self.write(node, node_addresses(&node.meta, &wanted)) {
            Ok(Some(_)) => {
                self.counters().addresses_updated.inc();
                info!(node:% = node.meta.name; "updated the addresses of a node");
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(Error::Write(k8s::Error::Conflict { .. })) => {
                self.counters().conflicts.inc();
                debug!(node:% = node.meta.name; "the node is changing: its addresses wait for the next pass");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
