//! [`Instances`] by the ECS API: which Node is which instance, and what is known of it.
//!
//! An instance that is not in an answer may be gone, or the answer may be wrong. So everything short of an authorised answer that
//! can be understood is an error, and an answer without an instance says how many others it held: where a question has room, it asks
//! for some that were there a moment ago too. Whatever was not in it is asked for once more, alone: an answer that was cut short
//! does not pass that.

mod ask;
mod describe;
mod hearsay;
pub(super) mod identity;
mod known;
mod reason;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::api::Ecs;
use super::model::Machine;
use crate::cloud::{Authority, Error, Freshness, Instances, Lookup};
use crate::k8s::types::Node;
use crate::runtime::clock::Clock;

use ask::{Asking, Question};
pub(super) use hearsay::Hearsay;
use identity::{Identity, identity};
use known::Known;

/// Where Nodes are, for those of which no API tells it.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    pub(super) region: Option<Box<str>>,
    pub(super) zone: Option<Box<str>>,
}

/// Instances as the ECS API shows them.
pub(super) struct EcsInstances {
    ecs: Ecs,
    place: Place,
    clock: Arc<dyn Clock>,
    known: Mutex<Known>,
}

impl EcsInstances {
    /// Knows nothing yet.
    pub(super) fn new(ecs: Ecs, place: Place, clock: Arc<dyn Clock>) -> Self {
        Self {
            ecs,
            place,
            clock,
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no holder of what is known panics")
    }

    /// What needs no call: what cannot be asked, and what was answered a moment ago.
    fn at_hand(
        &self,
        node: &Node,
        identity: &Result<Identity, Error>,
        freshness: Freshness,
    ) -> Option<Result<Lookup, Error>> {
        let identity = identity.as_ref().ok()?;
        if freshness == Freshness::Now {
            return None;
        }
        let (now, mut known) = (self.clock.now(), self.known());
        let machine = match identity {
            Identity::Id(id) => known.recent(id, now),
            // one that is not listed may have come since
            Identity::Unsaid => match known.listing(now)?.instance_of(node) {
                Ok(machine) => machine,
                Err(error) => return Some(Err(error)),
            },
        }?;
        drop(known);
        Some(self.found(&machine))
    }

    fn found(&self, machine: &Machine) -> Result<Lookup, Error> {
        let instance = describe::instance(machine, &self.place)?;
        Ok(Lookup::Found(Arc::new(instance)))
    }
}

impl Instances for EcsInstances {
    fn authority(&self) -> Authority {
        Authority::Full
    }

    fn look_up(&self, nodes: &[Arc<Node>], freshness: Freshness) -> Vec<Result<Lookup, Error>> {
        let (mut results, mut questions) = (Vec::with_capacity(nodes.len()), Vec::new());
        for node in nodes {
            let identity = identity(node);
            let at_hand = self.at_hand(node, &identity, freshness);
            results.push(match (at_hand, identity) {
                (Some(result), _) => Some(result),
                (None, Err(error)) => Some(Err(error)),
                (None, Ok(identity)) => {
                    questions.push(Question {
                        node: Arc::clone(node),
                        identity,
                    });
                    None
                }
            });
        }
        let mut answers = Asking::new(self).answer(&questions).into_iter();
        let mut results: Vec<_> = results
            .into_iter()
            .map(|result| result.unwrap_or_else(|| answers.next().expect("each question has an answer")))
            .collect();
        refuse_shared(nodes, &mut results);
        results
    }
}

/// Refuses every Node of `nodes` whose instance was found for another one of them too: which of them it is cannot be told.
fn refuse_shared(nodes: &[Arc<Node>], results: &mut [Result<Lookup, Error>]) {
    let mut claims: HashMap<Box<str>, Vec<usize>> = HashMap::new();
    for (index, result) in results.iter().enumerate() {
        if let Ok(Lookup::Found(instance)) = result {
            claims
                .entry(instance.provider_id.clone())
                .or_default()
                .push(index);
        }
    }
    for (provider_id, claimants) in claims {
        for &index in &claimants {
            let name = &nodes[index].meta.name;
            let rival = claimants.iter().map(|&other| &nodes[other].meta.name);
            if let Some(rival) = rival.into_iter().find(|rival| *rival != name) {
                results[index] = Err(Error::Rejected {
                    reason: reason::SHARED,
                    message: format!(
                        "the Node {rival} is {provider_id} too; remove the one that is not, or correct its provider ID or annotation"
                    ),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
