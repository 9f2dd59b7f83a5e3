//! SLBs, each written by one thread at a time, and what is known of them.
//!
//! One read of an SLB (its description and its listeners) serves every Service that waits for it. What is known is kept while
//! somebody works on the SLB and for a few seconds after, follows our own writes, and is dropped at any error and at anything
//! that does not look as we left it. Of a listener's members only this is kept: for which wanted ones they were found, or made,
//! right. There may be thousands of members, and the same lists behind many listeners.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::api::{Client, Error};
use super::model::{Backend, Listener, ListenerSpec, LoadBalancer, Member};
use crate::runtime::clock::Clock;

/// How long knowledge is kept after the last one who used it.
const KEPT: Duration = Duration::from_secs(5);

/// How long it is kept at most, however many use it one after the other.
const LONGEST_KEPT: Duration = Duration::from_secs(60);

/// How many members are removed in one call: their ids stand in its URL, and longer ones than about 8 KB are refused in many
/// places. `Assumed:`
const REMOVED_AT_ONCE: usize = 100;

/// All SLBs that somebody works on.
pub struct Slbs {
    client: Client,
    clock: Arc<dyn Clock>,
    hasher: RandomState,
    slots: Mutex<HashMap<Box<str>, Arc<Slot>>>,
}

/// Locked by whoever works on the SLB.
#[derive(Default)]
struct Slot(Mutex<Option<Known>>);

struct Known {
    slb: LoadBalancer,
    listeners: Vec<Listener>,
    /// By the listener's id: a fingerprint of the backends that its members are right for.
    settled: HashMap<Box<str>, u64>,
    read: Instant,
    used: Instant,
}

/// One SLB in the hands of one thread, and what is known of it.
pub struct Slb<'a> {
    id: &'a str,
    client: &'a Client,
    hasher: &'a RandomState,
    known: Known,
    /// Somebody else was there too: good enough to go on with, not to keep.
    disturbed: bool,
}

impl Slbs {
    /// SLBs as `client` sees them.
    pub fn new(client: Client, clock: Arc<dyn Clock>) -> Self {
        Self {
            client,
            clock,
            hasher: RandomState::new(),
            slots: Mutex::default(),
        }
    }

    /// Waits until nobody else works on the SLB called `id`, reads it where it is not known well enough, and lets `work` do its
    /// work. After an error nothing is known of it.
    ///
    /// The wait ends soon after the stop token is set: whoever works on the SLB then fails at its next call.
    ///
    /// # Errors
    /// [`Error::NotFound`] says that the SLB does not exist, and nothing else does. Else those of `work`.
    pub fn with<T>(&self, id: &str, work: impl FnOnce(&mut Slb<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let slot = self.slot(id);
        // whoever panicked had taken what was known, so nothing half known is left behind
        let mut kept = slot.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = match kept.take().filter(|known| known.is_fresh(self.clock.now())) {
            Some(known) => known,
            None => self.read(id)?,
        };
        let mut slb = Slb {
            id,
            client: &self.client,
            hasher: &self.hasher,
            known,
            disturbed: false,
        };
        let done = work(&mut slb)?;
        if !slb.disturbed {
            slb.known.used = self.clock.now();
            *kept = Some(slb.known);
        }
        Ok(done)
    }

    fn read(&self, id: &str) -> Result<Known, Error> {
        let now = self.clock.now();
        Ok(Known {
            slb: self.client.describe(id)?,
            listeners: self.client.listeners(id).map_err(gone_in_between)?,
            settled: HashMap::new(),
            read: now,
            used: now,
        })
    }

    /// Makes room for a new one by forgetting those that nobody uses and nothing is known of.
    fn slot(&self, id: &str) -> Arc<Slot> {
        let mut slots = self.slots.lock().expect("no holder of the map of SLBs panics");
        if let Some(slot) = slots.get(id) {
            return Arc::clone(slot);
        }
        let now = self.clock.now();
        slots.retain(|_, slot| {
            let known = slot.0.try_lock();
            let fresh = |known: &Option<Known>| known.as_ref().is_some_and(|known| known.is_fresh(now));
            Arc::strong_count(slot) > 1 || known.is_ok_and(|known| fresh(&known))
        });
        Arc::clone(slots.entry(id.into()).or_default())
    }
}

impl Known {
    fn is_fresh(&self, now: Instant) -> bool {
        let since = |then: Instant| now.saturating_duration_since(then);
        since(self.used) < KEPT && since(self.read) < LONGEST_KEPT
    }
}

impl Slb<'_> {
    /// Its description.
    pub fn load_balancer(&self) -> &LoadBalancer {
        &self.known.slb
    }

    /// All its listeners.
    pub fn listeners(&self) -> &[Listener] {
        &self.known.listeners
    }

    /// Whether the members of `listener` are known to be right for `wanted`, which is in the order of the servers' ids.
    pub fn is_settled(&self, listener: &str, wanted: &[Backend]) -> bool {
        self.known.settled.get(listener) == Some(&self.fingerprint(wanted))
    }

    /// Takes note that the members of `listener` were found, or made, right for `wanted`.
    pub fn settle(&mut self, listener: &str, wanted: &[Backend]) {
        let fingerprint = self.fingerprint(wanted);
        self.known.settled.insert(listener.into(), fingerprint);
    }

    /// Of what makes a difference to the members. Two lists have one fingerprint by chance once in 2^64; no other process knows
    /// its key, and a later read mends it.
    fn fingerprint(&self, wanted: &[Backend]) -> u64 {
        let relevant = wanted.iter().map(|backend| (backend.at(), backend.address));
        self.hasher.hash_one(relevant.collect::<Vec<_>>())
    }

    /// Reads the members of `listener`.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn read_members(&self, listener: &str) -> Result<Vec<Member>, Error> {
        self.client.members(self.id, listener).map_err(gone_in_between)
    }

    /// Makes a listener without members.
    ///
    /// # Errors
    /// See [`Error`]; also when the cloud says that it made another one.
    pub fn create(&mut self, spec: &ListenerSpec) -> Result<Listener, Error> {
        let written = self
            .client
            .create_listener(self.id, spec)
            .map_err(gone_in_between)?;
        let made = written.answer;
        if made.frontend() != Some(spec.frontend) || made.name != spec.name {
            return Err(Error::Unintelligible {
                call: format!("create {} on {}", spec.name, self.id),
                reason: format!("it is about listener {:?} on port {}", made.name, made.port),
            });
        }
        self.disturbed |= !written.undisturbed || made.settings.as_ref() != Some(&spec.settings);
        self.known.listeners.push(made.clone());
        Ok(made)
    }

    /// Makes `listener` what `spec` says. Its members stay.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn update(&mut self, listener: &Listener, spec: &ListenerSpec) -> Result<(), Error> {
        let written = self
            .client
            .update_listener(self.id, &listener.id, spec)
            .map_err(gone_in_between)?;
        let want = Listener {
            name: spec.name.clone(),
            settings: Some(spec.settings.clone()),
            ..listener.clone()
        };
        self.disturbed |= !written.undisturbed || written.answer != want;
        let known = self
            .known
            .listeners
            .iter_mut()
            .find(|known| known.id == listener.id);
        if let Some(known) = known {
            *known = want;
        }
        Ok(())
    }

    /// Removes `listener` with its members.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn delete(&mut self, listener: &Listener) -> Result<(), Error> {
        let written = self.client.delete_listener(self.id, &listener.id)?;
        self.disturbed |= !written.undisturbed;
        self.known.listeners.retain(|known| known.id != listener.id);
        self.known.settled.remove(&listener.id);
        Ok(())
    }

    /// Adds members to `listener` in one call. By which ids they can be removed is known when they are read.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn add(&mut self, listener: &Listener, backends: &[Backend]) -> Result<(), Error> {
        let written = self
            .client
            .add_members(self.id, &listener.id, backends)
            .map_err(gone_in_between)?;
        self.disturbed |= !written.undisturbed;
        Ok(())
    }

    /// Removes `members` from `listener`, in one call for up to a hundred.
    ///
    /// # Errors
    /// See [`Error`]; also when the id of one of them is not known.
    pub fn remove(&mut self, listener: &Listener, members: &[Member]) -> Result<(), Error> {
        let ids: Option<Vec<&str>> = members
            .iter()
            .map(|member| member.backend_id.as_deref())
            .collect();
        let ids = ids.ok_or_else(|| Error::Unintelligible {
            call: format!("list the members of {} on {}", listener.id, self.id),
            reason: "a member has no backendId".into(),
        })?;
        for ids in ids.chunks(REMOVED_AT_ONCE) {
            let written = self
                .client
                .remove_members(self.id, &listener.id, ids)
                .map_err(gone_in_between)?;
            self.disturbed |= !written.undisturbed;
        }
        Ok(())
    }
}

/// A 404 about a part of an SLB that was just described says that somebody changed it, not that the SLB is gone.
fn gone_in_between(error: Error) -> Error {
    match error {
        Error::NotFound { call, words } => Error::Unavailable {
            call,
            status: 404,
            words,
            retry_after: None,
        },
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::http::Transport;
    use crate::inspur::api::{Credentials, Exchanges, Tokens};
    use crate::inspur::fake_slb::{BASE, FakeApi};
    use crate::inspur::testing::eager;
    use crate::runtime::clock::ManualClock;
    use crate::runtime::gate::Gate;
    use crate::runtime::secret::Secret;
    use crate::runtime::secret_source::SecretSource;
    use crate::runtime::stop::StopToken;

    fn slbs(api: &Arc<FakeApi>) -> (Slbs, ManualClock) {
        let clock = ManualClock::new(UNIX_EPOCH);
        let exchanges = || {
            let transport = Arc::clone(api) as Arc<dyn Transport>;
            Exchanges::new(transport, Arc::new(clock.clone()), StopToken::never(), eager())
        };
        let credentials = Credentials::Static(SecretSource::Value(Secret::new("t0")));
        let client = Client::new(
            BASE,
            Arc::new(Tokens::new(credentials, exchanges())),
            exchanges(),
            Gate::open(),
        );
        (Slbs::new(client, Arc::new(clock.clone())), clock)
    }

    #[test]
    fn slbs_that_nobody_uses_are_forgotten() {
        let api = FakeApi::new(&["slb-1", "slb-2", "slb-3"]);
        let (slbs, clock) = slbs(&api);
        let names = || {
            let mut names: Vec<_> = slbs
                .slots
                .lock()
                .unwrap()
                .keys()
                .map(ToString::to_string)
                .collect();
            names.sort();
            names
        };
        slbs.with("slb-lost", |_| Ok(())).unwrap_err();
        slbs.with("slb-1", |_| Ok(())).unwrap();
        assert_eq!(names(), ["slb-1"], "nothing is known of the lost one");
        clock.advance(KEPT);
        slbs.with("slb-2", |_| {
            assert_eq!(names(), ["slb-2"], "what was known of the first is too old");
            clock.advance(LONGEST_KEPT);
            slbs.with("slb-3", |_| Ok(()))
        })
        .unwrap();
        assert_eq!(names(), ["slb-2", "slb-3"], "one that is in use stays");
    }

    #[test]
    fn a_panic_leaves_nothing_known_behind() {
        let api = FakeApi::new(&["slb-1"]);
        let (slbs, _) = slbs(&api);
        slbs.with("slb-1", |_| Ok(())).unwrap();
        let panics = || slbs.with("slb-1", |_| -> Result<(), Error> { panic!("as a test does") });
        catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
        api.take_log();
        slbs.with("slb-1", |_| Ok(())).unwrap();
        assert_eq!(api.take_counts(), (2, 0, 0));
    }
}
