//! The node controller: a Node that joins learns from the cloud which machine it is, and keeps to it.
//!
//! Two jobs. Changes in the store become keys in a queue, and workers take them in batches to [`NodeSyncer::sync`], which
//! initialises Nodes and repairs labels. Beside that, [`NodeSyncer::refresh`] looks at the addresses of all Nodes now and
//! then. Neither ever deletes a Node, and both write only what differs.

mod addresses;
mod claims;
mod counters;
mod decide;
mod error;
mod refresh;
mod sync;
#[cfg(test)]
mod tests;
mod whole;

use std::sync::Arc;
use std::time::Duration;

use log::warn;

pub use addresses::AddressError;
pub use counters::Counters;
pub use error::Error;
pub use refresh::Share;
pub use sync::NodeSyncer;

use crate::cloud::{Authority, Retry};
use crate::informer::{Change, Handler};
use crate::k8s::types::Node;
use crate::metrics::Metrics;
use crate::runtime::backoff::Backoff;
use crate::runtime::chain;
use crate::runtime::clock::Clock;
use crate::runtime::random::Random;
use crate::runtime::stop::StopToken;
use crate::workqueue::{self, Item, Key, QueueMetrics, WorkQueue};
use sync::BATCH;

/// How long keys are gathered before one question to the cloud: Nodes mostly come together.
const GATHER: Duration = Duration::from_millis(50);

/// Back-off of a Node that fails. Source: ccm-behaviour.md 3.1; the jitter is ours (kube-client.md 4.3).
const BACKOFF: Backoff = Backoff {
    initial: Duration::from_millis(5),
    cap: Duration::from_secs(1000),
    jitter: 0.2,
};

/// The controller: its queue and what its workers do.
pub struct NodeController {
    syncer: Arc<NodeSyncer>,
    queue: Arc<WorkQueue>,
}

impl NodeController {
    /// Ready to be fed by the handler and drained by workers. Its queue is measured in `metrics`.
    pub fn new(syncer: NodeSyncer, clock: Arc<dyn Clock>, random: Arc<Random>, metrics: &Metrics) -> Self {
        let options = workqueue::Options {
            backoff: BACKOFF,
            group: None,
            // upstream's name
            metrics: QueueMetrics::new(metrics, "Nodes"),
        };
        Self {
            syncer: Arc::new(syncer),
            queue: Arc::new(WorkQueue::new(options, clock, random)),
        }
    }

    /// For the reflector of Nodes.
    pub fn node_handler(&self) -> Handler<Node> {
        let (syncer, queue) = (Arc::clone(&self.syncer), Arc::clone(&self.queue));
        Box::new(move |Change { key, old, new }| {
            for due in syncer.note_change(key, old.as_ref(), new.as_ref()) {
                queue.add(due);
            }
        })
    }

    /// One worker's whole life: sync keys until the queue is shut down. Start it when the store has synced.
    pub fn run_worker(&self) {
        loop {
            let items = self.queue.get_many(BATCH, GATHER);
            if items.is_empty() {
                return;
            }
            self.work(items);
        }
    }

    /// One refreshing thread's whole life: its share of the Nodes now, and again `period` after each pass has ended, until
    /// stopped. Start it when the store has synced. Where the cloud only repeats what Nodes say, it waits for the stop.
    pub fn run_refresh(&self, share: Share, period: Duration, stop: &StopToken) {
        if self.syncer.instances().authority() == Authority::Hearsay {
            stop.wait(Duration::MAX);
            return;
        }
        loop {
            self.syncer.refresh(share, stop);
            if stop.wait(period) {
                return;
            }
        }
    }

    /// Syncs one batch of the keys that are due, without waiting; whether there was one. For those who drive the controller step
    /// by step.
    pub fn step(&self) -> bool {
        let items: Vec<Item<'_>> = std::iter::from_fn(|| self.queue.try_get()).take(BATCH).collect();
        let worked = !items.is_empty();
        if worked {
            self.work(items);
        }
        worked
    }

    /// Refreshes all Nodes once, for those who drive the controller step by step.
    pub fn step_refresh(&self) {
        if self.syncer.instances().authority() == Authority::Full {
            let everything = Share {
                thread: 0,
                threads: 1,
            };
            self.syncer.refresh(everything, &StopToken::never());
        }
    }

    fn work(&self, items: Vec<Item<'_>>) {
        let keys: Vec<Key> = items.iter().map(|item| Key::clone(item.key())).collect();
        let mut items: Vec<Option<Item<'_>>> = items.into_iter().map(Some).collect();
        // each ends when its Node is settled; one that never is counts as a failure when it is dropped
        self.syncer.sync(&keys, |at, result| {
            let Some(item) = items[at].take() else { return };
            match result {
                Ok(()) => item.succeed(),
                Err(error) => {
                    warn!(node:% = keys[at], error:% = chain(&error); "cannot sync the node");
                    match error.retry() {
                        Retry::After(delay) => item.retry_after(delay),
                        Retry::Backoff => item.retry_with_backoff(),
                        Retry::OnChange => item.wait_for_change(),
                    }
                }
            }
        });
    }

    /// What was done so far.
    pub fn counters(&self) -> &Counters {
        self.syncer.counters()
    }

    /// How long the batch has been worked on that has been for longest; `None` while no worker is at one.
    pub fn longest_running(&self) -> Option<Duration> {
        self.queue.longest_running()
    }

    /// Ends all workers after what they are doing; what is queued is dropped and found again by the next run.
    pub fn shut_down(&self) {
        self.queue.shut_down();
    }
}
