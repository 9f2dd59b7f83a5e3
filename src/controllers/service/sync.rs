//! One Service, from what the stores hold to the cloud and back to its status.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use super::backends::{BackendView, Backends};
use super::claims::Claims;
use super::decide::{Decision, FINALIZER, decide, has_finalizer, needs_sync};
use crate::cloud::{self, Change, CloudProvider, Denied, Ensured, LoadBalancers, Retry};
use crate::events::{EventRecorder, EventType, ObjectRef};
use crate::informer::{Order, Store, compare_versions};
use crate::k8s;
use crate::k8s::patch::ServicePatch;
use crate::k8s::types::Service;
use crate::runtime::chain;

/// Upstream's reasons and words. Source: ccm-behaviour.md 8.
mod reason {
    pub(super) const ENSURING: &str = "EnsuringLoadBalancer";
    pub(super) const ENSURED: &str = "EnsuredLoadBalancer";
    pub(super) const UPDATED: &str = "UpdatedLoadBalancer";
    pub(super) const NO_NODES: &str = "UnAvailableLoadBalancer";
    pub(super) const FAILED: &str = "SyncLoadBalancerFailed";
    pub(super) const UPDATE_FAILED: &str = "UpdateLoadBalancerFailed";
    pub(super) const DELETING: &str = "DeletingLoadBalancer";
    pub(super) const DELETED: &str = "DeletedLoadBalancer";
}

/// Why a sync did not get through.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cloud did not do it.
    #[error(transparent)]
    Cloud(#[from] cloud::Error),
    /// The finalizer and the record could not be written, so nothing was written to the cloud.
    #[error("failed to add load balancer cleanup finalizer")]
    Finalizer(#[source] k8s::Error),
    /// The load balancer is as it should be, the Service's status is not.
    #[error("failed to update load balancer status")]
    Status(#[source] k8s::Error),
    /// Everything is cleaned up, but the Service still waits for us.
    #[error("failed to remove load balancer cleanup finalizer")]
    Release(#[source] k8s::Error),
}

impl Error {
    /// What it is in one word, for logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Cloud(error) => error.reason().unwrap_or("Unavailable"),
            Self::Finalizer(_) | Self::Status(_) | Self::Release(_) => "PatchFailed",
        }
    }

    /// When to try again.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Cloud(error) => error.retry(),
            Self::Finalizer(_) | Self::Status(_) | Self::Release(_) => Retry::Backoff,
        }
    }
}

/// What a sync that got through leaves to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Done {
    /// Keys of other Services whose turn has come because of it.
    pub turns: BTreeSet<Arc<str>>,
    /// Some ports cannot be served yet, though the others are: when to try them again.
    pub waiting: Option<Retry>,
}

/// What was last made of a Service, by this process.
struct Synced {
    service: Arc<Service>,
    generation: u64,
}

/// Syncs Services. The queue never hands one key to two workers, so all here is serial for one Service.
pub struct Syncer {
    cloud: Arc<dyn CloudProvider>,
    client: k8s::Client,
    services: Store<Service>,
    backends: BackendView,
    recorder: EventRecorder,
    claims: Mutex<Claims>,
    synced: Mutex<HashMap<Arc<str>, Synced>>,
    /// Services that vanished although their record says that something may be left in the cloud: somebody took the finalizer away.
    departed: Mutex<HashMap<Arc<str>, Arc<Service>>>,
    /// UIDs of Services that were cleaned up and let go, until the store has seen them go.
    released: Mutex<BTreeSet<Box<str>>>,
}

impl Syncer {
    /// Works on `services` and the Nodes in `backends`, as `cloud` sees them.
    pub fn new(
        cloud: Arc<dyn CloudProvider>,
        client: k8s::Client,
        services: Store<Service>,
        backends: BackendView,
        recorder: EventRecorder,
    ) -> Self {
        Self {
            cloud,
            client,
            services,
            backends,
            recorder,
            claims: Mutex::default(),
            synced: Mutex::default(),
            departed: Mutex::default(),
            released: Mutex::default(),
        }
    }

    /// The cloud's load balancers. The manager starts this controller only where the cloud has them.
    pub fn load_balancers(&self) -> &dyn LoadBalancers {
        self.cloud
            .load_balancers()
            .expect("the service controller runs only on a cloud with load balancers")
    }

    /// The backends of every load balancer.
    pub fn backends(&self) -> &BackendView {
        &self.backends
    }

    /// What to do with `service`.
    pub(super) fn decide(&self, service: &Service) -> Decision {
        decide(service, self.record(service))
    }

    fn record<'a>(&self, service: &'a Service) -> Option<&'a str> {
        service.meta.annotations.get(self.load_balancers().record_key())
    }

    /// Takes note of a change in the store. Returns the keys to sync because of it.
    pub fn note_change(
        &self,
        key: &Arc<str>,
        old: Option<&Arc<Service>>,
        new: Option<&Arc<Service>>,
    ) -> BTreeSet<Arc<str>> {
        let mut claims = self.claims.lock().expect("no holder of the claims panics");
        let Some(new) = new else {
            let mut keys = claims.remove(key);
            drop(claims);
            keys.extend(
                old.filter(|old| self.note_departure(key, old))
                    .map(|_| Arc::clone(key)),
            );
            return keys;
        };
        let mut keys = match self.decide(new) {
            Decision::Ensure => claims.add(key, &new.meta, self.load_balancers().claims(new)),
            Decision::Delete => BTreeSet::new(),
            Decision::Ignore => claims.remove(key),
        };
        let due = old.is_none_or(|old| needs_sync(old, new, self.load_balancers().record_key()));
        if due && self.decide(new) != Decision::Ignore {
            keys.insert(Arc::clone(key));
        }
        keys
    }

    /// Whether a Service that vanished leaves something to clean up.
    fn note_departure(&self, key: &Arc<str>, old: &Arc<Service>) -> bool {
        self.synced
            .lock()
            .expect("no holder of the synced Services panics")
            .remove(key);
        let released = self
            .released
            .lock()
            .expect("no holder of the released UIDs panics")
            .remove(&old.meta.uid);
        let leaves = !released && self.record(old).is_some_and(|record| !record.is_empty());
        if leaves {
            self.departed
                .lock()
                .expect("no holder of the departed Services panics")
                .insert(Arc::clone(key), Arc::clone(old));
        }
        leaves
    }

    /// Makes cloud and status match the Service with this key.
    ///
    /// # Errors
    /// Anything left undone; an Event on the Service has told its owner, and the next call finishes it.
    pub fn sync(&self, key: &Arc<str>) -> Result<Done, Error> {
        let departed = self
            .departed
            .lock()
            .expect("no holder of the departed Services panics")
            .get(key)
            .cloned();
        if let Some(departed) = departed {
            self.delete_for(&departed)
                .inspect_err(|error| self.tell(&departed, reason::FAILED, error))?;
            self.departed
                .lock()
                .expect("no holder of the departed Services panics")
                .remove(key);
        }
        let Some(stored) = self.services.get(key) else {
            return Ok(Done::default());
        };
        let service = self.newest(key, stored);
        match self.decide(&service) {
            Decision::Ensure => self.ensure(key, &service),
            Decision::Delete => self.delete(key, &service),
            Decision::Ignore => Ok(Done::default()),
        }
    }

    /// The newer of the stored object and what our last patch was answered with: the store lags behind our own writes.
    fn newest(&self, key: &str, stored: Arc<Service>) -> Arc<Service> {
        match self
            .synced
            .lock()
            .expect("no holder of the synced Services panics")
            .get(key)
        {
            Some(synced)
                if synced.service.meta.uid == stored.meta.uid
                    && compare_versions(
                        &synced.service.meta.resource_version,
                        &stored.meta.resource_version,
                    ) == Order::Newer =>
            {
                Arc::clone(&synced.service)
            }
            _ => stored,
        }
    }

    fn ensure(&self, key: &Arc<str>, service: &Arc<Service>) -> Result<Done, Error> {
        let backends = self.backends.now();
        let occasion = self.occasion(key, service, &backends);
        let mut latest = Arc::clone(service);
        let ensured = self
            .ensure_cloud(&mut latest, &backends, occasion)
            .inspect_err(|error| self.tell(service, occasion.failure_reason(), error))?;
        let patched = self
            .write_status(&mut latest, &ensured)
            .inspect_err(|error| self.tell(service, reason::FAILED, error));
        let generation = backends.generation;
        self.synced
            .lock()
            .expect("no holder of the synced Services panics")
            .insert(
                Arc::clone(key),
                Synced {
                    service: latest,
                    generation,
                },
            );
        patched?;
        let turns = {
            let mut claims = self.claims.lock().expect("no holder of the claims panics");
            claims.settle(key, &self.load_balancers().claims(service))
        };
        let waits = ensured.waiting.iter().map(|waiting| waiting.retry);
        Ok(Done {
            turns,
            waiting: waits.reduce(sooner),
        })
    }

    /// Reads, makes sure that whatever is made will be found again, then writes.
    fn ensure_cloud(
        &self,
        latest: &mut Arc<Service>,
        backends: &Backends,
        occasion: Occasion,
    ) -> Result<Ensured, Error> {
        let cloud = self.load_balancers();
        let service = Arc::clone(latest);
        let record = cloud.locate(&service)?;
        let held = has_finalizer(&service.meta) && self.record(&service) == Some(&record);
        let announced = !held || occasion == Occasion::Changed;
        if announced {
            self.event(
                &service,
                EventType::Normal,
                reason::ENSURING,
                "Ensuring load balancer",
            );
        }
        if !held {
            let patch = ServicePatch::default().annotation(cloud.record_key(), Some(&record));
            let patch = if has_finalizer(&service.meta) {
                patch
            } else {
                patch.add_finalizer(FINALIZER)
            };
            *latest = Arc::new(
                self.client
                    .send(&patch.call(&service.meta))
                    .map_err(Error::Finalizer)?,
            );
        }
        if backends.nodes.is_empty() && (announced || occasion != Occasion::Same) {
            let text = "There are no available nodes for LoadBalancer";
            self.event(&service, EventType::Warning, reason::NO_NODES, text);
        }
        let denied = self.denied(&service.meta.key());
        let ensured = cloud.ensure(latest, &backends.nodes, &denied)?;
        for note in ensured
            .notes
            .iter()
            .chain(ensured.waiting.iter().map(|waiting| &waiting.note))
        {
            self.event(&service, EventType::Warning, note.reason, note.message.as_str());
        }
        match (ensured.change, announced, occasion) {
            (Change::Made, false, Occasion::Nodes) if !backends.nodes.is_empty() => {
                self.event(
                    &service,
                    EventType::Normal,
                    reason::UPDATED,
                    "Updated load balancer with new hosts",
                );
            }
            (Change::Made, false, Occasion::Nodes) | (Change::None, false, _) => {}
            _ => self.event(
                &service,
                EventType::Normal,
                reason::ENSURED,
                "Ensured load balancer",
            ),
        }
        Ok(ensured)
    }

    /// Writes what differs of status and record, in one patch.
    fn write_status(&self, latest: &mut Arc<Service>, ensured: &Ensured) -> Result<(), Error> {
        let mut patch = ServicePatch::default();
        if *latest.ingress != *ensured.ingress {
            patch = patch.ingress(&ensured.ingress);
        }
        if self.record(latest) != Some(&ensured.record) {
            patch = patch.annotation(self.load_balancers().record_key(), Some(&ensured.record));
        }
        if patch.is_empty() {
            return Ok(());
        }
        match self.client.send(&patch.call(&latest.meta)) {
            Ok(answer) => *latest = Arc::new(answer),
            // it went while we worked; its deletion is the next thing we hear of it
            Err(error) if error.proves_absence() => {}
            Err(error) => return Err(Error::Status(error)),
        }
        Ok(())
    }

    fn delete(&self, key: &Arc<str>, service: &Arc<Service>) -> Result<Done, Error> {
        let done = self.delete_for(service).and_then(|()| self.release(service));
        done.inspect_err(|error| self.tell(service, reason::FAILED, error))?;
        self.synced
            .lock()
            .expect("no holder of the synced Services panics")
            .remove(key);
        let turns = self
            .claims
            .lock()
            .expect("no holder of the claims panics")
            .remove(key);
        Ok(Done { turns, waiting: None })
    }

    /// Removes from the cloud what the record says may be there.
    fn delete_for(&self, service: &Service) -> Result<(), Error> {
        let recorded = self.record(service).is_some_and(|record| !record.is_empty());
        if recorded {
            self.event(
                service,
                EventType::Normal,
                reason::DELETING,
                "Deleting load balancer",
            );
            self.load_balancers().ensure_deleted(service)?;
            self.event(
                service,
                EventType::Normal,
                reason::DELETED,
                "Deleted load balancer",
            );
        }
        Ok(())
    }

    /// Takes finalizer, record and status off a Service for which nothing is left in the cloud.
    fn release(&self, service: &Service) -> Result<(), Error> {
        let mut patch = ServicePatch::default();
        if has_finalizer(&service.meta) {
            patch = patch.remove_finalizer(FINALIZER);
        }
        if self.record(service).is_some() {
            patch = patch.annotation(self.load_balancers().record_key(), None);
        }
        if !service.ingress.is_empty() {
            patch = patch.ingress(&[]);
        }
        if patch.is_empty() {
            return Ok(());
        }
        let released = || {
            self.released
                .lock()
                .expect("no holder of the released UIDs panics")
        };
        // before the patch: the watch may show the deletion before the patch is answered
        released().insert(service.meta.uid.clone());
        match self.client.send::<Service>(&patch.call(&service.meta)) {
            Ok(answer) if answer.meta.is_deleting() => Ok(()),
            Ok(_) => {
                // it stays, with another type; its next life begins with nothing released
                released().remove(&service.meta.uid);
                Ok(())
            }
            Err(error) if error.proves_absence() => Ok(()),
            Err(error) => {
                released().remove(&service.meta.uid);
                Err(Error::Release(error))
            }
        }
    }

    fn denied(&self, key: &str) -> Vec<Denied> {
        self.claims
            .lock()
            .expect("no holder of the claims panics")
            .denied(key)
    }

    fn occasion(&self, key: &str, service: &Service, backends: &Backends) -> Occasion {
        match self
            .synced
            .lock()
            .expect("no holder of the synced Services panics")
            .get(key)
        {
            None => Occasion::First,
            Some(last) if needs_sync(&last.service, service, self.load_balancers().record_key()) => {
                Occasion::Changed
            }
            Some(last) if last.generation != backends.generation => Occasion::Nodes,
            Some(_) => Occasion::Same,
        }
    }

    fn event(&self, service: &Service, kind: EventType, reason: &'static str, message: impl Into<String>) {
        self.recorder
            .event(&ObjectRef::of(service), kind, reason, message);
    }

    /// Tells the owner what failed. That we stop is nobody's business there.
    fn tell(&self, service: &Service, reason: &'static str, error: &Error) {
        if !matches!(
            error,
            Error::Cloud(cloud::Error::Stopped | cloud::Error::NotLeading)
        ) {
            let message = match reason {
                reason::UPDATE_FAILED => {
                    format!("Error updating load balancer with new hosts: {}", chain(error))
                }
                _ => format!("Error syncing load balancer: {}", chain(error)),
            };
            self.event(service, EventType::Warning, reason, message);
        }
    }
}

/// Why a Service is synced, as far as its Events tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occasion {
    /// For the first time by this process.
    First,
    /// What it asks for changed.
    Changed,
    /// Only the Nodes changed.
    Nodes,
    /// A repetition: a retry, a re-sync.
    Same,
}

impl Occasion {
    fn failure_reason(self) -> &'static str {
        if self == Self::Nodes {
            reason::UPDATE_FAILED
        } else {
            reason::FAILED
        }
    }
}

/// The retry that comes first.
fn sooner(a: Retry, b: Retry) -> Retry {
    match (a, b) {
        (Retry::After(a), Retry::After(b)) => Retry::After(a.min(b)),
        (Retry::After(delay), _) | (_, Retry::After(delay)) => Retry::After(delay),
        (Retry::Backoff, _) | (_, Retry::Backoff) => Retry::Backoff,
        (Retry::OnChange, Retry::OnChange) => Retry::OnChange,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_sooner_retry_wins() {
        let (short, long) = (
            Retry::After(Duration::from_secs(1)),
            Retry::After(Duration::from_secs(2)),
        );
        for (case, a, b, want) in [
            ("two delays", long, short, short),
            ("a delay and back-off", Retry::Backoff, long, long),
            (
                "back-off and change",
                Retry::OnChange,
                Retry::Backoff,
                Retry::Backoff,
            ),
            ("only changes", Retry::OnChange, Retry::OnChange, Retry::OnChange),
        ] {
            assert_eq!(sooner(a, b), want, "{case}");
        }
    }
}
