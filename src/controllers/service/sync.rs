//! One Service, from what the stores hold to the cloud and back to its status.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use super::backends::{BackendView, Backends};
use super::claims::Claims;
use super::decide::{Decision, FINALIZER, decide, has_finalizer, needs_sync};
use super::departures::{Departure, Departures};
use super::outcomes::{Claimed, Counts, Outcomes, Report};
use super::term::{Cache, Term};
use crate::cloud::{self, Change, CloudProvider, Ensured, LoadBalancers, Retry};
use crate::events::{EventRecorder, EventType, ObjectRef};
use crate::informer::{Order, Store, compare_versions};
use crate::k8s;
use crate::k8s::patch::ServicePatch;
use crate::k8s::types::{ObjectMeta, Service};
use crate::runtime::chain;
use crate::runtime::clock::Clock;

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
            Self::Cloud(cloud::Error::Outdated) => "Outdated",
            Self::Cloud(error) => error.reason().unwrap_or("Unavailable"),
            Self::Finalizer(_) | Self::Status(_) | Self::Release(_) => "PatchFailed",
        }
    }

    /// Whether it says something about the Service: not when we stop, or know that we do not know.
    pub fn is_failure(&self) -> bool {
        use cloud::Error::{NotLeading, Outdated, Stopped};
        !matches!(self, Self::Cloud(Stopped | NotLeading | Outdated))
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
    /// When everything was last as the Service asks for.
    succeeded: Option<SystemTime>,
}

/// Whether we lead, and who vanished: one lock, so that nobody vanishes in between.
#[derive(Default)]
struct Standing {
    term: Term,
    departed: Departures,
}

/// What a Service should be in the eyes of the API server before the cloud is written to for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// What we act on, and nothing newer.
    There,
    /// Gone.
    Gone,
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
    standing: Mutex<Standing>,
    outcomes: Mutex<Outcomes>,
    /// UIDs of Services that were cleaned up and let go, until the store has seen them go.
    released: Mutex<BTreeSet<Box<str>>>,
    clock: Arc<dyn Clock>,
}

impl Syncer {
    /// Works on `services` and the Nodes in `backends`, as `cloud` sees them.
    pub fn new(
        cloud: Arc<dyn CloudProvider>,
        client: k8s::Client,
        services: Store<Service>,
        backends: BackendView,
        recorder: EventRecorder,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            cloud,
            client,
            services,
            backends,
            recorder,
            claims: Mutex::default(),
            synced: Mutex::default(),
            standing: Mutex::default(),
            outcomes: Mutex::default(),
            released: Mutex::default(),
            clock,
        }
    }

    /// A term of ours begins, the only one of this process; until then nothing is due. Returns the keys of Services that vanished
    /// and may have to be cleaned up after. Those that are in the store are for the caller to queue.
    pub fn set_leading(&self, cache: Cache) -> Vec<Arc<str>> {
        let (now, mut standing) = (self.clock.now(), self.standing());
        standing.term.begin(cache, now);
        standing
            .departed
            .take_over(now, |key| self.services.get(key).is_some())
    }

    /// Whether our term has begun.
    pub(super) fn is_leading(&self) -> bool {
        self.standing().term.is_leading()
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

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().expect("no holder of the standing panics")
    }

    fn outcomes(&self) -> MutexGuard<'_, Outcomes> {
        self.outcomes.lock().expect("no holder of the outcomes panics")
    }

    fn synced(&self) -> MutexGuard<'_, HashMap<Arc<str>, Synced>> {
        self.synced
            .lock()
            .expect("no holder of the synced Services panics")
    }

    fn claims(&self) -> MutexGuard<'_, Claims> {
        self.claims.lock().expect("no holder of the claims panics")
    }

    fn forget(&self, key: &str) {
        self.synced().remove(key);
        self.outcomes().forget(key);
    }

    /// Takes note of a change in the store. Returns the keys to sync because of it: none while another replica leads.
    pub fn note_change(
        &self,
        key: &Arc<str>,
        old: Option<&Arc<Service>>,
        new: Option<&Arc<Service>>,
    ) -> BTreeSet<Arc<str>> {
        let led = self.standing().term.is_leading();
        let due = self.take_in(key, old, new);
        if led {
            return due;
        }
        // what is no longer asked for is cleaned up by the leader, and those that wait for it are served by the leader
        let wanted = new.map(|new| self.load_balancers().claims(new));
        self.claims().settle(key, &wanted.unwrap_or_default());
        let mut standing = self.standing();
        standing.departed.sweep(self.clock.now());
        // our term may have begun meanwhile
        if standing.term.is_leading() {
            due
        } else {
            BTreeSet::new()
        }
    }

    fn take_in(
        &self,
        key: &Arc<str>,
        old: Option<&Arc<Service>>,
        new: Option<&Arc<Service>>,
    ) -> BTreeSet<Arc<str>> {
        let mut claims = self.claims();
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
            Decision::Ignore => {
                self.forget(key);
                claims.remove(key)
            }
        };
        let due = old.is_none_or(|old| needs_sync(old, new, self.load_balancers().record_key()));
        if due && self.decide(new) != Decision::Ignore {
            keys.insert(Arc::clone(key));
        }
        keys
    }

    /// Whether a Service that vanished leaves something for us to clean up.
    fn note_departure(&self, key: &Arc<str>, old: &Arc<Service>) -> bool {
        self.forget(key);
        let released = self.released().remove(&old.meta.uid);
        if released || self.record(old).is_none_or(str::is_empty) {
            return false;
        }
        let mut standing = self.standing();
        let leading = standing.term.is_leading();
        if leading {
            standing.departed.note(key, old);
        } else {
            standing.departed.note_before_our_term(key, old, self.clock.now());
        }
        leading
    }

    /// Makes cloud and status match the Service with this key.
    ///
    /// # Errors
    /// Anything left undone; an Event on the Service has told its owner, and the next call finishes it.
    pub fn sync(&self, key: &Arc<str>) -> Result<Done, Error> {
        let result = self.sync_now(key);
        match &result {
            Ok(Done { waiting: None, .. }) => self.outcomes().forget(key),
            Err(error) if error.is_failure() => self.note_failure(key, error.reason(), &chain(error)),
            // the ports that wait are noted where it is known why
            Ok(_) | Err(_) => {}
        }
        result
    }

    fn note_failure(&self, key: &Arc<str>, reason: &'static str, error: &str) {
        self.outcomes().failed(key, reason, error, self.clock.wall());
    }

    fn sync_now(&self, key: &Arc<str>) -> Result<Done, Error> {
        let departure = self.standing().departed.get(key);
        if let Some(departure) = departure {
            self.clear_up(key, &departure)
                .inspect_err(|error| self.tell(&departure.service, reason::FAILED, error))?;
            self.standing().departed.remove(key);
        }
        let Some(stored) = self.services.get(key) else {
            return Ok(Done::default());
        };
        let service = self.newest(key, stored);
        match self.decide(&service) {
            Decision::Ensure => self.ensure(key, &service),
            Decision::Delete => self.delete(key, &service),
            Decision::Ignore => {
                self.synced().remove(key);
                Ok(Done::default())
            }
        }
    }

    /// Removes from the cloud what a Service that vanished left there.
    fn clear_up(&self, key: &Arc<str>, departure: &Departure) -> Result<(), Error> {
        let Departure {
            service,
            before_our_term,
        } = departure;
        match before_our_term {
            None => self.delete_for(key, service, Expected::Gone),
            Some(_) => {
                // most probably the last leader did it, and told so
                let leave = || self.confirm(key, service, Expected::Gone);
                let change = self.load_balancers().ensure_deleted(service, &leave)?;
                if change == Change::Made {
                    self.tell_deleted(service);
                }
                Ok(())
            }
        }
    }

    /// Asked before the first write to the cloud for a Service. At the beginning of a term on warm stores this looks whether the
    /// Service is still what the store says.
    fn confirm(&self, key: &Arc<str>, acted_on: &Service, expected: Expected) -> Result<(), cloud::Error> {
        if !self.standing().term.doubts(key, self.clock.now()) {
            return Ok(());
        }
        let meta = &acted_on.meta;
        let found = match self.client.object::<Service>(&meta.namespace, &meta.name) {
            Ok(found) => Some(found.meta),
            Err(error) if error.proves_absence() => None,
            Err(error) => return Err(unconfirmed(&error)),
        };
        let mut standing = self.standing();
        let same = |found: &ObjectMeta| {
            let order = compare_versions(&found.resource_version, &meta.resource_version);
            found.uid == meta.uid && matches!(order, Order::Same | Order::Older)
        };
        match (expected, found) {
            (Expected::There, Some(found)) if same(&found) => {}
            (Expected::Gone, None) => {}
            (Expected::There, _) => return Err(cloud::Error::Outdated),
            (Expected::Gone, Some(_)) => {
                // the last leader may serve it already: what it no longer asks for is found by its own sync
                standing.departed.remove(key);
                return Err(cloud::Error::Outdated);
            }
        }
        standing.term.confirm(key);
        Ok(())
    }

    /// The newer of the stored object and what our last patch was answered with: the store lags behind our own writes.
    fn newest(&self, key: &str, stored: Arc<Service>) -> Arc<Service> {
        match self.synced().get(key) {
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
            .ensure_cloud(key, &mut latest, &backends, occasion)
            .inspect_err(|error| self.tell(service, occasion.failure_reason(), error))?;
        let patched = self
            .write_status(&mut latest, &ensured)
            .inspect_err(|error| self.tell(service, reason::FAILED, error));
        let waiting = ensured.waiting.first().map(|waiting| &waiting.note);
        if let Some(note) = waiting {
            self.note_failure(key, note.reason, &note.message);
        }
        let succeeded = (patched.is_ok() && waiting.is_none()).then(|| self.clock.wall());
        {
            let mut synced = self.synced();
            let before = synced.get(key).and_then(|before| before.succeeded);
            synced.insert(
                Arc::clone(key),
                Synced {
                    service: latest,
                    generation: backends.generation,
                    succeeded: succeeded.or(before),
                },
            );
        }
        patched?;
        let turns = self.claims().settle(key, &self.load_balancers().claims(service));
        let waits = ensured.waiting.iter().map(|waiting| waiting.retry);
        Ok(Done {
            turns,
            waiting: waits.reduce(sooner),
        })
    }

    /// Reads, makes sure that whatever is made will be found again, then writes.
    fn ensure_cloud(
        &self,
        key: &Arc<str>,
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
        let denied = self.claims().denied(key);
        let leave = || self.confirm(key, latest, Expected::There);
        let ensured = cloud.ensure(latest, &backends.nodes, &denied, &leave)?;
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
        let done = self
            .delete_for(key, service, Expected::There)
            .and_then(|()| self.release(service));
        done.inspect_err(|error| self.tell(service, reason::FAILED, error))?;
        self.synced().remove(key);
        let turns = self.claims().remove(key);
        Ok(Done { turns, waiting: None })
    }

    /// Removes from the cloud what the record says may be there.
    fn delete_for(&self, key: &Arc<str>, service: &Service, expected: Expected) -> Result<(), Error> {
        let recorded = self.record(service).is_some_and(|record| !record.is_empty());
        if recorded {
            self.event(
                service,
                EventType::Normal,
                reason::DELETING,
                "Deleting load balancer",
            );
            let leave = || self.confirm(key, service, expected);
            self.load_balancers().ensure_deleted(service, &leave)?;
            self.tell_deleted(service);
        }
        Ok(())
    }

    fn tell_deleted(&self, service: &Service) {
        self.event(
            service,
            EventType::Normal,
            reason::DELETED,
            "Deleted load balancer",
        );
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
        // before the patch: the watch may show the deletion before the patch is answered
        self.released().insert(service.meta.uid.clone());
        match self.client.send::<Service>(&patch.call(&service.meta)) {
            Ok(answer) if answer.meta.is_deleting() => Ok(()),
            Ok(_) => {
                // it stays, with another type; its next life begins with nothing released
                self.released().remove(&service.meta.uid);
                Ok(())
            }
            Err(error) if error.proves_absence() => Ok(()),
            Err(error) => {
                self.released().remove(&service.meta.uid);
                Err(Error::Release(error))
            }
        }
    }

    fn released(&self) -> MutexGuard<'_, BTreeSet<Box<str>>> {
        self.released
            .lock()
            .expect("no holder of the released UIDs panics")
    }

    /// Who is served by whom, and who fails. While another replica leads nothing is known of either but what is asked for.
    pub fn report(&self) -> Report {
        let mut claims: Vec<Claimed> = self
            .claims()
            .holders()
            .map(|(claim, service)| Claimed {
                claim: claim.clone(),
                service: Arc::clone(service),
                succeeded: None,
            })
            .collect();
        {
            let synced = self.synced();
            for claimed in &mut claims {
                claimed.succeeded = synced.get(&claimed.service).and_then(|synced| synced.succeeded);
            }
        }
        Report {
            claims,
            failing: self.outcomes().all(),
        }
    }

    /// How many listeners belong to Services that were synced.
    pub(super) fn listeners(&self) -> usize {
        let services: Vec<Arc<str>> = self
            .claims()
            .holders()
            .map(|(_, service)| Arc::clone(service))
            .collect();
        let synced = self.synced();
        services
            .iter()
            .filter(|service| synced.contains_key(&***service))
            .count()
    }

    /// How many Services were synced, by what became of them.
    pub fn counts(&self) -> Counts {
        let outcomes = self.outcomes();
        let synced = self.synced();
        let failing = outcomes.keys().filter(|key| synced.contains_key(&**key)).count();
        Counts {
            served: synced.len() - failing,
            failing: outcomes.len(),
        }
    }

    fn occasion(&self, key: &str, service: &Service, backends: &Backends) -> Occasion {
        match self.synced().get(key) {
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

    /// Tells the owner what failed. That we stop, or look again, is nobody's business there.
    fn tell(&self, service: &Service, reason: &'static str, error: &Error) {
        if error.is_failure() {
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

/// Why the Service could not be read when it had to be confirmed.
fn unconfirmed(error: &k8s::Error) -> cloud::Error {
    match error {
        k8s::Error::Stopped { .. } => cloud::Error::Stopped,
        k8s::Error::NotLeading { .. } => cloud::Error::NotLeading,
        error => cloud::Error::Unavailable {
            message: format!(
                "the Service could not be read before the cloud is changed: {}",
                chain(error)
            ),
            retry_after: None,
        },
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
