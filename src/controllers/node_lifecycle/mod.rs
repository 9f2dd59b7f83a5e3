//! The node lifecycle controller: a Node whose instance is shut down is tainted, one whose instance is proven gone is deleted.
//!
//! It makes passes over the Nodes in the store, one every period. A pass asks the cloud once, about those Nodes that are not
//! Ready; what follows from the answer is said in `proof`, what is done about it in `decide`, and when nothing is deleted
//! although it should be in `brake`. Nothing is remembered between runs: whatever was suspected is proven anew.

mod brake;
mod counters;
mod decide;
mod proof;
#[cfg(test)]
mod schedule;
mod sync;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::{debug, error, info, warn};

pub use brake::Limit;
pub use counters::{Counters, Counts};
pub use decide::{DELETION_WANTED, SHUTDOWN_TAINT};
pub use proof::Rules;

use crate::cloud::{Authority, CloudProvider, Error, Freshness, Instances, Lookup};
use crate::events::EventRecorder;
use crate::informer::Store;
use crate::k8s::Client;
use crate::k8s::types::Node;
use crate::metrics::Metrics;
use crate::runtime::chain;
use crate::runtime::clock::Clock;
use crate::runtime::stop::StopToken;
use brake::{Brake, Verdict};
use decide::{Decision, decide, is_deletion_wanted, must_ask};
use proof::{Knowledge, Memory, Moment};
use sync::Writes;

/// The component in its Events. Source: ccm-behaviour.md 8.
pub const COMPONENT: &str = "cloud-node-lifecycle-controller";

/// How it works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The pause between two passes; [`Rules::distance`] should be the same.
    pub period: Duration,
    /// What proves that an instance is gone.
    pub proof: Rules,
    /// When too many are.
    pub brake: Limit,
}

/// The controller.
pub struct Lifecycle {
    cloud: Arc<dyn CloudProvider>,
    nodes: Store<Node>,
    period: Duration,
    clock: Arc<dyn Clock>,
    writes: Writes,
    /// For one pass at a time.
    state: Mutex<State>,
    /// When the pass began that is being made.
    passing: Mutex<Option<Instant>>,
}

struct State {
    memory: Memory,
    brake: Brake,
    /// What was last said about Nodes of which nothing is known.
    complaint: Option<String>,
}

impl Lifecycle {
    /// Ready to make passes over `nodes`, as `cloud` knows them, measured in `metrics`. `recorder` should be that of [`COMPONENT`].
    pub fn new(
        cloud: Arc<dyn CloudProvider>,
        client: Client,
        nodes: Store<Node>,
        recorder: EventRecorder,
        settings: Settings,
        clock: Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Self {
        Self {
            cloud,
            nodes,
            period: settings.period,
            clock,
            writes: Writes::new(client, recorder, metrics),
            state: Mutex::new(State {
                memory: Memory::new(settings.proof),
                brake: Brake::new(settings.brake),
                complaint: None,
            }),
            passing: Mutex::new(None),
        }
    }

    /// Makes a pass, waits for the period, and so on until it is time to stop. Begins when the store has synced.
    pub fn run(&self, stop: &StopToken) {
        if !self.nodes.wait_synced(stop) {
            return;
        }
        if self.instances().authority() == Authority::Hearsay {
            info!("no API of instances is configured: no Node is ever deleted or tainted as shut down");
        }
        loop {
            self.pass_until(stop);
            if stop.wait(self.period) {
                return;
            }
        }
    }

    /// Makes one pass, in the caller's thread. For those who drive the controller step by step.
    pub fn pass(&self) {
        self.pass_until(self.writes.client().stop_token());
    }

    /// How much was done so far.
    pub fn counts(&self) -> Counts {
        self.writes.counters().counts()
    }

    /// How long the pass has taken that is being made; `None` between two. Much longer than a pass can take means that it hangs.
    pub fn longest_running(&self) -> Option<Duration> {
        let began = (*self.passing())?;
        Some(self.clock.now().saturating_duration_since(began))
    }

    fn passing(&self) -> MutexGuard<'_, Option<Instant>> {
        self.passing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The manager starts this controller only where the cloud has them.
    fn instances(&self) -> &dyn Instances {
        self.cloud
            .instances()
            .expect("the node lifecycle controller runs only on a cloud with instances")
    }

    fn pass_until(&self, stop: &StopToken) {
        if !self.nodes.is_synced() || stop.is_set() {
            return;
        }
        *self.passing() = Some(self.clock.now());
        self.look(stop);
        *self.passing() = None;
    }

    fn look(&self, stop: &StopToken) {
        let nodes = self.nodes.list();
        self.with_state(|state| state.memory.meet(&nodes, self.clock.now()));
        let known = self.ask(&nodes, stop);
        let decided: Vec<(&Arc<Node>, Decision)> = nodes
            .iter()
            .zip(known)
            .map(|(node, known)| (node, decide(node, known)))
            .collect();
        for (node, wanted) in &decided {
            if stop.is_set() {
                return;
            }
            match wanted {
                Decision::Taint | Decision::Untaint => self.writes.taint(node, *wanted, stop),
                Decision::Wait => debug!(node:% = node.meta.name; "the instance seems to be gone"),
                Decision::Keep | Decision::Delete => {}
            }
        }
        let gone = decided.iter().filter(|(_, wanted)| *wanted == Decision::Delete);
        self.delete(gone.map(|(node, _)| *node), stop);
    }

    /// What is known of the instance of each of `nodes`, after one question about those that are not Ready.
    fn ask(&self, nodes: &[Arc<Node>], stop: &StopToken) -> Vec<Option<Knowledge>> {
        let nothing = || vec![None; nodes.len()];
        let (places, asked): (Vec<usize>, Vec<Arc<Node>>) = nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| must_ask(node))
            .map(|(place, node)| (place, Arc::clone(node)))
            .unzip();
        let instances = self.instances();
        if asked.is_empty() || instances.authority() == Authority::Hearsay {
            self.complain(&[]);
            return nothing();
        }
        let (date, began) = (self.clock.wall(), self.clock.now());
        let answers = instances.look_up(&asked, Freshness::Now);
        let at = Moment {
            asked: began,
            answered: self.clock.now(),
            date,
        };
        if answers.len() != asked.len() {
            error!(asked = asked.len(), answered = answers.len(); "the cloud answers about other Nodes than it was asked about");
            return nothing();
        }
        if stop.is_set() {
            return nothing();
        }
        let (mut known, mut doubts) = (nothing(), Vec::new());
        self.with_state(|state| {
            for ((place, node), answer) in places.into_iter().zip(&asked).zip(&answers) {
                let knowledge = state.memory.conclude(node, answer, at);
                doubts.extend(doubt(node, answer, knowledge));
                known[place] = Some(knowledge);
            }
        });
        self.complain(&doubts);
        known
    }

    /// Deletes `gone`, unless the brake holds, and then only those of them whose deletion is wanted.
    fn delete<'a>(&self, gone: impl Iterator<Item = &'a Arc<Node>>, stop: &StopToken) {
        let verdict = self.with_state(|State { memory, brake, .. }| {
            let is_there = |uid: &str| memory.knows(uid);
            brake.weigh(memory.gone(), memory.len(), is_there, self.clock.now())
        });
        self.tell_brake(verdict);
        let mut held = 0;
        for node in gone {
            if stop.is_set() {
                return;
            }
            if verdict.holds && !is_deletion_wanted(node) {
                held += 1;
                if self.with_state(|state| state.brake.tell(&node.meta.uid)) {
                    self.writes.tell_braked(node);
                }
                continue;
            }
            self.writes.delete(node, verdict.holds, stop, || {
                let now = self.clock.now();
                self.with_state(|state| state.brake.note_deletion(&node.meta.uid, now));
            });
        }
        self.writes.counters().held.set(held);
    }

    fn tell_brake(&self, verdict: Verdict) {
        let Verdict {
            holds,
            changed,
            tally,
        } = verdict;
        if changed && holds {
            let limit = self.with_state(|state| state.brake.limit());
            error!(
                gone = tally.gone, nodes = tally.nodes, share_percent = limit.share_percent, window_s = limit.window.as_secs();
                "too many Nodes are gone at once, so none is deleted; if they are really gone, annotate those to delete with \
                 node.inspur.com/deletion-wanted=true, or raise the share of the brake or set it to 0; if not, check the cloud's account and region"
            );
        } else if changed {
            info!(gone = tally.gone, nodes = tally.nodes; "no longer too many Nodes are gone: they are deleted again");
        }
    }

    /// Says once what keeps it from knowing, and again when that changes.
    fn complain(&self, doubts: &[(&str, String)]) {
        let text = doubts.first().map(|(_, text)| text.clone());
        if self.with_state(|state| std::mem::replace(&mut state.complaint, text.clone()) == text) {
            return;
        }
        match doubts.first() {
            Some((node, error)) => {
                warn!(node, error = error.as_str(), nodes = doubts.len(); "cannot tell whether the instances of some Nodes exist; nothing happens to them");
            }
            None => info!("the cloud says again which instances exist"),
        }
    }

    fn with_state<R>(&self, what: impl FnOnce(&mut State) -> R) -> R {
        what(&mut self.state.lock().expect("no holder of the state panics"))
    }
}

/// Why nothing is known of `node`, where somebody should hear of it.
fn doubt<'a>(
    node: &'a Node,
    answer: &Result<Lookup, Error>,
    knowledge: Knowledge,
) -> Option<(&'a str, String)> {
    let text = match (answer, knowledge) {
        (Err(error), _) => chain(error),
        (_, Knowledge::Doubt(doubt)) => doubt.text()?.to_owned(),
        _ => return None,
    };
    Some((&node.meta.name, text))
}
