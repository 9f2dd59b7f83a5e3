//! [`LoadBalancers`] on SLBs that exist: read what is there, plan, apply, say where traffic enters.
//!
//! The record of a Service is the list of SLBs on which it may have listeners. An SLB itself is never made or deleted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use log::debug;

use super::CurrentDefaults;
use super::annotations::{self, Asked, SLB_ID, SLB_IN_USE, Wishes};
use super::api;
use super::apply::apply;
use super::desired::{Desired, Question, desired, frontend};
use super::model::Frontend;
use super::name::{ClusterId, Owner};
use super::plan::{self, Conflict, Plan};
use super::reasons;
use super::slb::{Slb, Slbs};
use crate::cloud::{Change, Claim, Denied, Ensured, Error, Leave, LoadBalancers, Note, Retry, Waiting};
use crate::k8s::types::{LoadBalancerIngress, Node, Service};
use crate::runtime::chain;

/// Listeners on existing SLBs.
pub(super) struct SlbLoadBalancers {
    pub(super) cluster: ClusterId,
    pub(super) defaults: CurrentDefaults,
    pub(super) slbs: Slbs,
}

/// What became of a Service on its SLB.
struct Served {
    entry: Option<IpAddr>,
    change: Change,
    waiting: Vec<Waiting>,
    notes: Vec<Note>,
}

impl LoadBalancers for SlbLoadBalancers {
    fn record_key(&self) -> &'static str {
        SLB_IN_USE
    }

    fn claims(&self, service: &Service) -> Vec<Claim> {
        let Ok((slb, _)) = asked(service) else {
            return Vec::new();
        };
        let frontends = service.ports.iter().filter_map(frontend);
        frontends.map(|frontend| claim(&slb, frontend)).collect()
    }

    fn group(&self, service: &Service) -> Option<Arc<str>> {
        asked(service).ok().map(|(slb, _)| slb.into())
    }

    fn locate(&self, service: &Service) -> Result<String, Error> {
        let (slb, _) = asked(service)?;
        self.slbs
            .with(&slb, |_| Ok(()))
            .map_err(|error| explain(&slb, error))?;
        let mut ids = recorded(service);
        ids.insert(&slb);
        Ok(join(&ids))
    }

    fn ensure(
        &self,
        service: &Service,
        nodes: &[Arc<Node>],
        denied: &[Denied],
        leave: Leave<'_>,
    ) -> Result<Ensured, Error> {
        let (slb, wishes) = asked(service)?;
        let served = self
            .slbs
            .with(&slb, |slb| {
                self.serve(slb, service, nodes, denied, &wishes, leave)
            })
            .map_err(|error| explain(&slb, error))??;
        let entry = served.entry.ok_or_else(|| Error::Unavailable {
            message: format!("SLB {slb} has no address yet, neither in its VPC nor on the Internet"),
            retry_after: None,
        })?;
        let mut ensured = Ensured {
            ingress: vec![LoadBalancerIngress::ip(entry)],
            change: served.change,
            waiting: served.waiting,
            notes: served.notes,
            record: String::new(),
        };
        let mut record = recorded(service);
        record.remove(&*slb);
        self.clear_others(&mut record, service, &mut ensured, leave)?;
        record.insert(&slb);
        ensured.record = join(&record);
        Ok(ensured)
    }

    fn ensure_deleted(&self, service: &Service, leave: Leave<'_>) -> Result<Change, Error> {
        let (mut change, mut first_error) = (Change::None, None);
        for slb in recorded(service) {
            match self.clear(slb, service, leave) {
                Ok(Change::Made) => change = Change::Made,
                Ok(Change::None) => {}
                Err(error @ (Error::Stopped | Error::NotLeading | Error::Outdated)) => return Err(error),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        first_error.map_or(Ok(change), Err)
    }
}

impl SlbLoadBalancers {
    fn serve(
        &self,
        slb: &mut Slb<'_>,
        service: &Service,
        nodes: &[Arc<Node>],
        denied: &[Denied],
        asked: &Wishes,
        leave: Leave<'_>,
    ) -> Result<Result<Served, Error>, api::Error> {
        let owner = Owner::new(&self.cluster, service);
        let mut desired = desired(&Question {
            owner: &owner,
            service,
            nodes,
            asked,
            defaults: &self.defaults.get(),
            denied: &denied_frontends(service, slb, denied),
            slb: slb.load_balancer(),
        });
        let plan = plan(slb, &owner, &desired)?;
        let conflicts = plan
            .conflicts
            .iter()
            .map(|conflict| conflict_note(slb, &owner, conflict));
        desired.waiting.extend(conflicts);
        let key = service.meta.key();
        if plan.actions.is_empty() {
            debug!(service = key, slb:% = slb.load_balancer().id; "nothing to do");
        }
        let change = match apply(slb, &plan.actions, &key, leave)? {
            Ok(change) => change,
            Err(refused) => return Ok(Err(refused)),
        };
        settle(slb, &owner, &desired);
        Ok(Ok(Served {
            change,
            entry: slb.load_balancer().entry(),
            waiting: desired.waiting,
            notes: desired.notes,
        }))
    }

    /// Clears the SLBs in `record`, which the Service no longer names, and takes them out of it; but not while a port that
    /// may be served there waits here.
    fn clear_others(
        &self,
        record: &mut BTreeSet<&str>,
        service: &Service,
        ensured: &mut Ensured,
        leave: Leave<'_>,
    ) -> Result<(), Error> {
        if ensured
            .waiting
            .iter()
            .any(|waiting| waiting.retry != Retry::OnChange)
        {
            return Ok(());
        }
        for slb in record.clone() {
            match self.clear(slb, service, leave) {
                Ok(change) => {
                    record.remove(slb);
                    if change == Change::Made {
                        ensured.change = change;
                    }
                }
                Err(error @ (Error::Stopped | Error::NotLeading | Error::Outdated)) => return Err(error),
                // traffic enters by the new one: that is to be told although the old one is not clean yet
                Err(error) => ensured.waiting.push(Waiting {
                    retry: error.retry(),
                    note: Note {
                        reason: reasons::LOAD_BALANCER_LEFT_BEHIND,
                        message: format!("listeners on SLB {slb}, used before, are not removed yet: {error}"),
                    },
                }),
            }
        }
        Ok(())
    }

    /// Removes every listener of `service` from `slb`, on whatever port. An SLB that is proven gone is clear.
    fn clear(&self, slb: &str, service: &Service, leave: Leave<'_>) -> Result<Change, Error> {
        let owner = Owner::new(&self.cluster, service);
        let key = service.meta.key();
        let cleared = self.slbs.with(slb, |slb| {
            let actions = plan::delete_all(&owner, slb.listeners());
            apply(slb, &actions, &key, leave)
        });
        match cleared {
            Err(api::Error::NotFound { .. }) => {
                debug!(service = key, slb; "the slb is gone, and the listeners with it");
                Ok(Change::None)
            }
            result => result.map_err(|error| explain(slb, error))?,
        }
    }
}

/// Plans with all that has to be known: members are read of listeners that stay, unless they are known to be right.
fn plan(slb: &Slb<'_>, owner: &Owner, desired: &Desired) -> Result<Plan, api::Error> {
    let mut members = HashMap::new();
    for (frontend, listener) in plan::kept(owner, &desired.listeners, slb.listeners()) {
        if !slb.is_settled(&listener.id, &desired.listeners[&frontend].members) {
            members.insert(listener.id.clone(), slb.read_members(&listener.id)?);
        }
    }
    Ok(plan::plan(owner, &desired.listeners, slb.listeners(), &members))
}

/// Takes note, after the plan was carried out, that every listener's members are right.
fn settle(slb: &mut Slb<'_>, owner: &Owner, desired: &Desired) {
    let kept: Vec<_> = plan::kept(owner, &desired.listeners, slb.listeners())
        .into_iter()
        .map(|(frontend, listener)| (frontend, listener.id.clone()))
        .collect();
    for (frontend, listener) in kept {
        slb.settle(&listener, &desired.listeners[&frontend].members);
    }
}

/// The SLB that `service` names, and what else it asks for.
fn asked(service: &Service) -> Result<(Box<str>, Wishes), Error> {
    let Asked { slb, wishes } = annotations::read(&service.meta.annotations).map_err(|invalid| {
        let all: Vec<_> = invalid.iter().map(ToString::to_string).collect();
        Error::Rejected {
            reason: reasons::INVALID_ANNOTATION,
            message: all.join("; "),
        }
    })?;
    let slb = slb.ok_or_else(|| Error::Rejected {
        reason: reasons::LOAD_BALANCER_ID_MISSING,
        message: format!("no SLB is named: add the annotation {SLB_ID} with the id of an SLB"),
    })?;
    Ok((slb, wishes))
}

fn recorded(service: &Service) -> BTreeSet<&str> {
    let record = service.meta.annotations.get(SLB_IN_USE).unwrap_or_default();
    record
        .split(',')
        .map(str::trim)
        .filter(|id| !id.is_empty())
        .collect()
}

fn join(ids: &BTreeSet<&str>) -> String {
    ids.iter().copied().collect::<Vec<_>>().join(",")
}

fn claim(slb: &str, frontend: Frontend) -> Claim {
    Claim(format!("{slb}/{}/{}", frontend.protocol.as_str(), frontend.port).into())
}

fn denied_frontends(service: &Service, slb: &Slb<'_>, denied: &[Denied]) -> BTreeMap<Frontend, Arc<str>> {
    let frontends = service.ports.iter().filter_map(frontend);
    let holder = |frontend| {
        let claim = claim(&slb.load_balancer().id, frontend);
        let denied = denied.iter().find(|denied| denied.claim == claim)?;
        Some((frontend, Arc::clone(&denied.holder)))
    };
    frontends.filter_map(holder).collect()
}

fn conflict_note(slb: &Slb<'_>, owner: &Owner, conflict: &Conflict) -> Waiting {
    let (id, holder) = (&slb.load_balancer().id, &conflict.holder);
    Waiting {
        note: Note {
            reason: reasons::PORT_TAKEN,
            message: format!(
                "{} of SLB {id} is taken by listener {:?} ({}), {}; choose another port or another SLB, or remove that listener",
                conflict.frontend,
                holder.name,
                holder.id,
                owner.describe_maker(holder)
            ),
        },
        retry: Retry::Backoff,
    }
}

/// What an error about `slb` means to a Service's owner.
fn explain(slb: &str, error: api::Error) -> Error {
    match error {
        api::Error::Stopped { .. } => Error::Stopped,
        api::Error::NotLeading { .. } => Error::NotLeading,
        api::Error::NotFound { .. } => Error::NotFound {
            reason: reasons::LOAD_BALANCER_NOT_FOUND,
            message: format!("SLB {slb} does not exist; name one that does in the annotation {SLB_ID}"),
        },
        api::Error::Forbidden { .. } => Error::NotFound {
            reason: reasons::LOAD_BALANCER_FORBIDDEN,
            message: format!(
                "SLB {slb} may not be used by this cluster's account ({}); name another one in the annotation {SLB_ID}",
                chain(&error)
            ),
        },
        error => Error::Unavailable {
            message: format!("SLB {slb}: {}", chain(&error)),
            retry_after: error.retry_after(),
        },
    }
}

#[cfg(test)]
mod tests;
