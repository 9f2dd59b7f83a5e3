//! The service controller: every Service of type LoadBalancer gets its listeners, and loses them with itself.
//!
//! Changes in the stores become keys in one queue; workers take them to [`Syncer::sync`]. Node changes are one
//! more key in the same queue, which puts every Service there: so a Service is never synced twice at once, and many
//! Node changes cost one pass.

mod backends;
mod claims;
mod decide;
mod departures;
mod metrics;
mod outcomes;
mod sync;
mod term;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, warn};

pub use backends::BackendView;
pub use decide::FINALIZER;
pub use metrics::{Ended, Metrics};
pub use outcomes::{Claimed, Counts, Failing, Report};
pub use sync::Syncer;
pub use term::Cache;

use crate::cloud::Retry;
use crate::informer::{Change, Handler, Store};
use crate::k8s::types::{Node, Service};
use crate::metrics as registry;
use crate::runtime::backoff::Backoff;
use crate::runtime::chain;
use crate::runtime::clock::Clock;
use crate::runtime::random::Random;
use crate::runtime::stop::StopToken;
use crate::workqueue::{self, Item, Key, QueueMetrics, WorkQueue};
use decide::{Decision, changes_backends};

/// The key that stands for "the Nodes changed". No Service has a key without a slash.
const NODES: &str = "nodes";

/// How long Node changes are gathered before one pass over the Services: a Node that joins changes several times.
const NODE_CHANGES_GATHER: Duration = Duration::from_millis(100);

/// How often a clean-up that failed is tried again at the latest. Source: ccm-behaviour.md 5.2.
const CLEANUP_RETRY: Duration = Duration::from_secs(30);

/// Back-off of a Service that fails. Source: ccm-behaviour.md 5.4; the jitter is ours (kube-client.md 4.3).
const BACKOFF: Backoff = Backoff {
    initial: Duration::from_secs(5),
    cap: Duration::from_secs(300),
    jitter: 0.2,
};

/// The controller: its queue and what its workers do.
pub struct ServiceController {
    syncer: Arc<Syncer>,
    services: Store<Service>,
    queue: Arc<WorkQueue>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl ServiceController {
    /// Ready to be fed by the handlers and, after [`ServiceController::set_leading`], drained by workers. Its queue is measured there.
    pub fn new(
        syncer: Syncer,
        services: Store<Service>,
        clock: Arc<dyn Clock>,
        random: Arc<Random>,
        metrics: QueueMetrics,
    ) -> Self {
        let syncer = Arc::new(syncer);
        let (of, by_key) = (Arc::clone(&syncer), services.clone());
        let group = move |key: &str| {
            by_key
                .get(key)
                .and_then(|service| of.load_balancers().group(&service))
        };
        let options = workqueue::Options {
            backoff: BACKOFF,
            group: Some(Box::new(group)),
            metrics,
        };
        Self {
            syncer,
            services,
            queue: Arc::new(WorkQueue::new(options, Arc::clone(&clock), random)),
            clock,
            metrics: Arc::new(Metrics::new(&registry::Metrics::new())),
        }
    }

    /// The same, measured in `registry`.
    pub fn measured(mut self, registry: &registry::Metrics) -> Self {
        let metrics = Arc::new(Metrics::new(registry));
        let (syncer, gauges) = (Arc::downgrade(&self.syncer), Arc::clone(&metrics));
        registry.on_scrape(move || {
            if let Some(syncer) = syncer.upgrade() {
                gauges.set_failing(syncer.counts().failing);
                gauges.set_listeners(syncer.listeners());
            }
        });
        self.metrics = metrics;
        self
    }

    /// A term of ours begins, the only one of this process: whatever may have to be done is queued, now and at every change. To be
    /// called once, before the workers start; until then no key is queued.
    pub fn set_leading(&self, cache: Cache) {
        for departed in self.syncer.set_leading(cache) {
            self.queue.add(departed);
        }
        self.add_all(Decision::Ensure);
        self.add_all(Decision::Delete);
    }

    /// Has every Service synced again, where we lead.
    pub fn sync_all(&self) {
        if self.syncer.is_leading() {
            self.add_all(Decision::Ensure);
        }
    }

    /// Who is served by whom, and who fails.
    pub fn report(&self) -> Report {
        self.syncer.report()
    }

    /// How many Services were synced, by what became of them.
    pub fn counts(&self) -> Counts {
        self.syncer.counts()
    }

    /// For the reflector of Services.
    pub fn service_handler(&self) -> Handler<Service> {
        let (syncer, queue) = (Arc::clone(&self.syncer), Arc::clone(&self.queue));
        Box::new(move |Change { key, old, new }| {
            for due in syncer.note_change(key, old.as_ref(), new.as_ref()) {
                queue.add(due);
            }
        })
    }

    /// For the reflector of Nodes.
    pub fn node_handler(&self) -> Handler<Node> {
        let (syncer, queue) = (Arc::clone(&self.syncer), Arc::clone(&self.queue));
        Box::new(move |Change { old, new, .. }| {
            if changes_backends(old.as_deref(), new.as_deref()) {
                syncer.backends().changed();
                queue.add_after(NODES.into(), NODE_CHANGES_GATHER);
            }
        })
    }

    /// One worker's whole life: sync keys until the queue is shut down. Start it when both stores have synced.
    pub fn run_worker(&self) {
        while let Some(item) = self.queue.get() {
            self.work(item);
        }
    }

    /// Syncs one key if one is due, without waiting; whether one was. For those who drive the controller step by step.
    pub fn step(&self) -> bool {
        let item = self.queue.try_get();
        let worked = item.is_some();
        item.into_iter().for_each(|item| self.work(item));
        worked
    }

    fn work(&self, item: Item<'_>) {
        if &**item.key() == NODES {
            let keys = self.add_all(Decision::Ensure);
            self.metrics.pass_begun(keys, self.clock.now());
            return item.succeed();
        }
        let key = Key::clone(item.key());
        let (begun, for_nodes) = (self.clock.now(), self.metrics.awaits(&key));
        let synced = self.syncer.sync(&key);
        let now = self.clock.now();
        if for_nodes {
            let ended = if synced.is_ok() { Ended::Well } else { Ended::Badly };
            self.metrics
                .node_sync(ended, now.saturating_duration_since(begun));
        }
        self.metrics.handled(&key, now);
        let retry = match synced {
            Ok(done) => {
                for due in done.turns {
                    self.queue.add(due);
                }
                done.waiting
            }
            Err(error) if !error.is_failure() => {
                debug!(service:% = key, reason = error.reason(), error:% = chain(&error); "left a load balancer for later");
                Some(error.retry())
            }
            Err(error) => {
                warn!(service:% = key, reason = error.reason(), error:% = chain(&error); "cannot sync the load balancer");
                Some(error.retry())
            }
        };
        match retry {
            None => item.succeed(),
            Some(Retry::After(delay)) => item.retry_after(delay),
            Some(Retry::Backoff) => item.retry_with_backoff(),
            Some(Retry::OnChange) => item.wait_for_change(),
        }
    }

    /// Queues clean-ups again every 30 s and every Service every `period` (zero for never), until stopped.
    pub fn run_resync(&self, period: Duration, clock: &dyn Clock, random: &Random, stop: &StopToken) {
        let mut full = full_resync(period, clock.now(), random);
        while !stop.wait(CLEANUP_RETRY) {
            self.add_all(Decision::Delete);
            if full.is_some_and(|due| clock.now() >= due) {
                self.add_all(Decision::Ensure);
                full = full_resync(period, clock.now(), random);
            }
        }
    }

    /// Queues all for which that is to be done, and returns their keys.
    fn add_all(&self, what: Decision) -> Vec<Key> {
        let services = self.services.list().into_iter();
        let due = services.filter(|service| self.syncer.decide(service) == what);
        let keys: Vec<Key> = due.map(|service| service.meta.key().into()).collect();
        for key in &keys {
            self.queue.add(Key::clone(key));
        }
        keys
    }

    /// How long the Service has been worked on that has been for longest; `None` while no worker is at one.
    pub fn longest_running(&self) -> Option<Duration> {
        self.queue.longest_running()
    }

    /// Ends all workers after what they are doing; what is queued is dropped and found again by the next run.
    pub fn shut_down(&self) {
        self.queue.shut_down();
    }
}

/// When every Service is due again; `None` for never.
fn full_resync(period: Duration, now: Instant, random: &Random) -> Option<Instant> {
    (!period.is_zero()).then(|| now + random.between(period, 2 * period))
}
