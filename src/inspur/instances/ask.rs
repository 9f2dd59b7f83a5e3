//! From questions about Nodes to the fewest calls, and from their answers to what is known of each.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::EcsInstances;
use super::identity::Identity;
use super::known::{Listing, is_candidate, the_one};
use super::reason;
use crate::cloud::{Absence, Error, Lookup};
use crate::inspur::annotations::INSTANCE_ID;
use crate::inspur::api::{self, ASKED_AT_ONCE, Ecs};
use crate::inspur::model::Machine;
use crate::k8s::types::Node;
use crate::runtime::chain;

/// How many instances that should exist are asked for along with others, where there is room.
const WITNESSES: usize = 5;

/// With more Nodes than this that do not name their instance, all instances are listed rather than each looked for.
const FEW: usize = 5;

/// How many of a Node's internal addresses are looked for.
const ADDRESSES: usize = 4;

/// With so many failures in a row the rest is not tried.
const PATIENCE: usize = 2;

/// How often the cloud is asked again for what it did not show, as long as it then shows some of it.
const CONFIRMATIONS: u32 = 3;

/// How many more calls may go into questions that were answered in no useful way as a whole.
const SPLITS: usize = 16;

/// A Node, and what it says of its instance.
pub(super) struct Question {
    pub(super) node: Arc<Node>,
    pub(super) identity: Identity,
}

/// What an answer says about one id.
#[derive(Clone)]
enum Answer {
    There(Arc<Machine>),
    Absent(Absence),
    Failed(Rc<api::Error>),
}

/// One round of calls.
pub(super) struct Asking<'a> {
    of: &'a EcsInstances,
    answers: HashMap<Box<str>, Answer>,
    /// Those in a row, up to now.
    failures: Vec<Rc<api::Error>>,
    splits: usize,
}

impl<'a> Asking<'a> {
    pub(super) fn new(of: &'a EcsInstances) -> Self {
        Self {
            of,
            answers: HashMap::new(),
            failures: Vec::new(),
            splits: SPLITS,
        }
    }

    /// One answer a question, in their order.
    pub(super) fn answer(mut self, questions: &[Question]) -> Vec<Result<Lookup, Error>> {
        self.ask_for_ids(questions);
        let unsaid = questions
            .iter()
            .filter(|q| q.identity == Identity::Unsaid)
            .count();
        let listing = self.listing(unsaid);
        questions
            .iter()
            .map(|question| match (&question.identity, &listing) {
                (Identity::Id(id), _) => self.told(id),
                (Identity::Unsaid, None) => self.search(&question.node),
                (Identity::Unsaid, Some(Ok(listing))) => {
                    self.identified(&question.node, listing.instance_of(&question.node)?)
                }
                (Identity::Unsaid, Some(Err(error))) => Err(explain(error)),
            })
            .collect()
    }

    fn told(&self, id: &str) -> Result<Lookup, Error> {
        match &self.answers[id] {
            Answer::There(machine) => self.of.found(machine),
            Answer::Absent(absence) => Ok(Lookup::Missing(*absence)),
            Answer::Failed(error) => Err(explain(error)),
        }
    }

    /// Every id once, in as few questions as can be. Neighbours go into different ones: what goes together may be gone together, and
    /// then has witnesses.
    fn ask_for_ids(&mut self, questions: &[Question]) {
        let mut once = HashSet::new();
        let ids: Vec<&str> = questions
            .iter()
            .filter_map(|question| match &question.identity {
                Identity::Id(id) => Some(&**id),
                Identity::Unsaid => None,
            })
            .filter(|id| once.insert(*id))
            .collect();
        let calls = ids.len().div_ceil(ASKED_AT_ONCE);
        for first in 0..calls {
            let some: Vec<&str> = ids.iter().skip(first).step_by(calls).copied().collect();
            self.ask_for(&some);
        }
        let absent: Vec<&str> = ids
            .into_iter()
            .filter(|id| matches!(self.answers[*id], Answer::Absent(absence) if absence.witnesses > 0))
            .collect();
        for some in absent.chunks(ASKED_AT_ONCE) {
            self.confirm(some, CONFIRMATIONS);
        }
    }

    /// Asks for what was not there, and for nothing else. If the answer before showed fewer than it should, others were in their
    /// place; now none are.
    fn confirm(&mut self, absent: &[&str], times: u32) {
        let begun = self.of.clock.now();
        let found = match self.call(|ecs| ecs.describe(absent)) {
            Ok(found) => Vec::from_iter(found.into_iter().map(Arc::new)),
            Err(error) => return self.fail(absent, &error),
        };
        if found.is_empty() {
            return;
        }
        self.of.known().saw(&found, begun);
        let there = found
            .into_iter()
            .map(|machine| (machine.id.clone(), Answer::There(machine)));
        self.answers.extend(there);
        let is_absent = |id: &&str| matches!(self.answers[*id], Answer::Absent(_));
        let still: Vec<&str> = absent.iter().copied().filter(is_absent).collect();
        match times {
            _ if still.is_empty() => {}
            0 | 1 => {
                let unproven = Answer::Absent(Absence { witnesses: 0 });
                let unproven = still.into_iter().map(|id| (id.into(), unproven.clone()));
                self.answers.extend(unproven);
            }
            times => self.confirm(&still, times - 1),
        }
    }

    fn fail(&mut self, ids: &[&str], error: &Rc<api::Error>) {
        let failed = ids
            .iter()
            .map(|&id| (id.into(), Answer::Failed(Rc::clone(error))));
        self.answers.extend(failed);
    }

    /// Asks for `ids` and, where there is room, for some that should exist.
    fn ask_for(&mut self, ids: &[&str]) {
        let room = WITNESSES.min(ASKED_AT_ONCE - ids.len());
        let witnesses = self.of.known().witnesses(ids, room);
        let asked: Vec<&str> = ids
            .iter()
            .copied()
            .chain(witnesses.iter().map(|id| &**id))
            .collect();
        let begun = self.of.clock.now();
        match self.call(|ecs| ecs.describe(&asked)) {
            Ok(found) => {
                let found: Vec<_> = found.into_iter().map(Arc::new).collect();
                // there was no room for a witness, and now one is needed
                let alone = found.is_empty() && witnesses.is_empty();
                if alone && !self.of.known().witnesses(ids, 1).is_empty() && self.split(ids) {
                    return;
                }
                self.learn(ids, &asked, &found, begun);
            }
            // one of them may be what is wrong with the question
            Err(error) if matches!(*error, api::Error::Rejected { .. }) && self.split(ids) => {}
            Err(error) => self.fail(ids, &error),
        }
    }

    /// Asks for `ids` in two halves, if there are two and not too much was asked already.
    fn split(&mut self, ids: &[&str]) -> bool {
        if ids.len() < 2 || self.splits < 2 {
            return false;
        }
        self.splits -= 2;
        let (some, others) = ids.split_at(ids.len() / 2);
        self.ask_for(some);
        self.ask_for(others);
        true
    }

    fn learn(&mut self, ids: &[&str], asked: &[&str], found: &[Arc<Machine>], begun: Instant) {
        let there: HashMap<&str, &Arc<Machine>> = found.iter().map(|m| (&*m.id, m)).collect();
        let absence = Absence {
            witnesses: found.len(),
        };
        for &id in ids {
            let answer = match there.get(id) {
                Some(machine) => Answer::There(Arc::clone(machine)),
                None => Answer::Absent(absence),
            };
            self.answers.insert(id.into(), answer);
        }
        let mut known = self.of.known();
        known.saw(found, begun);
        if !found.is_empty() {
            known.missed(asked.iter().copied().filter(|id| !there.contains_key(id)));
        }
    }

    /// All instances, when so many Nodes do not name theirs, here or of late, that looking for each would cost more; but not
    /// again for those that were not in a fresh list.
    fn listing(&mut self, unsaid: usize) -> Option<Result<Arc<Listing>, Rc<api::Error>>> {
        if unsaid == 0 {
            return None;
        }
        let begun = self.of.clock.now();
        let (of_late, listed) = {
            let mut known = self.of.known();
            (known.count_unsaid(unsaid, begun), known.listing(begun).is_some())
        };
        if unsaid <= FEW && (listed || of_late <= FEW) {
            return None;
        }
        let all = self.call(Ecs::list);
        Some(all.map(|all| {
            let all = all.into_iter().map(Arc::new).collect();
            let listing = Arc::new(Listing::new(all, begun));
            self.of.known().listed(Arc::clone(&listing));
            listing
        }))
    }

    /// Looks for one Node's instance by the Node's name, else by its internal addresses.
    fn search(&mut self, node: &Node) -> Result<Lookup, Error> {
        let begun = self.of.clock.now();
        let mut candidates = self.candidates(|ecs| ecs.named(&node.meta.name))?;
        if candidates.is_empty() {
            for address in node.internal_ips().take(ADDRESSES) {
                candidates.extend(self.candidates(|ecs| ecs.at(address))?);
            }
        }
        self.of.known().saw(&candidates, begun);
        self.identified(node, the_one(candidates)?)
    }

    fn candidates(
        &mut self,
        call: impl FnOnce(&Ecs) -> Result<Vec<Machine>, api::Error>,
    ) -> Result<Vec<Arc<Machine>>, Error> {
        let found = self.call(call).map_err(|error| explain(&error))?;
        Ok(found.into_iter().filter(is_candidate).map(Arc::new).collect())
    }

    fn identified(&self, node: &Node, machine: Option<Arc<Machine>>) -> Result<Lookup, Error> {
        let Some(machine) = machine else {
            return Err(Error::NotFound {
                reason: reason::NOT_FOUND,
                message: format!(
                    "no instance has the name {} or an internal address of the Node; name it in the annotation {INSTANCE_ID}",
                    node.meta.name
                ),
            });
        };
        self.of.found(&machine)
    }

    /// Calls, unless that failed too often just now.
    fn call<T>(&mut self, call: impl FnOnce(&Ecs) -> Result<T, api::Error>) -> Result<T, Rc<api::Error>> {
        if self.failures.len() >= PATIENCE {
            return Err(Rc::clone(&self.failures[0]));
        }
        match call(&self.of.ecs) {
            Ok(answer) => {
                self.failures.clear();
                Ok(answer)
            }
            Err(error) => {
                let error = Rc::new(error);
                // these say something about the question, not about the cloud
                let about_it = matches!(*error, api::Error::Rejected { .. } | api::Error::NotFound { .. });
                if !about_it {
                    self.failures.push(Rc::clone(&error));
                }
                Err(error)
            }
        }
    }
}

/// What an error of the ECS API means for a Node: that nothing is known.
fn explain(error: &api::Error) -> Error {
    match error {
        api::Error::Stopped { .. } => Error::Stopped,
        api::Error::NotLeading { .. } => Error::NotLeading,
        error => Error::Unavailable {
            message: chain(error),
            retry_after: error.retry_after(),
        },
    }
}
