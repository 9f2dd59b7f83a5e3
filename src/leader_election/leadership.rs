//! What the rest of the daemon may know of the election, and how it ends in order.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use log::{debug, info, warn};

use super::Options;
use super::api::Api;
use super::decide::{Elector, Standing, given_back, holder};
use crate::events::{EventRecorder, EventType, ObjectRef};
use crate::k8s::types::Lease;
use crate::k8s::types::lease::API;
use crate::k8s::{Client, Error};
use crate::metrics::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Metrics};
use crate::runtime::chain;
use crate::runtime::clock::Clock;
use crate::runtime::gate::Keeper;

/// Who leads, and whether it is us. Clones tell the same.
#[derive(Clone)]
pub struct Leadership(Arc<Shared>);

struct Shared {
    options: Options,
    identity: String,
    api: Api,
    clock: Arc<dyn Clock>,
    recorder: EventRecorder,
    master: IntGauge,
    detours: IntCounter,
    state: Mutex<State>,
}

struct State {
    keeper: Keeper,
    standing: Standing,
    led: bool,
    /// When the renewal was sent that counts.
    renewed: Option<Instant>,
    give_up_at: Option<Instant>,
    holder: Option<HeldBy>,
    /// What events are about.
    about: Option<ObjectRef>,
    /// Nothing is asked or opened any more.
    closed: bool,
    announced: bool,
}

/// Who holds the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBy {
    /// As it calls itself; empty for nobody.
    pub identity: String,
    /// When it was first seen here as the holder, by our clock.
    pub since: SystemTime,
    /// How often the holder changed in the lease's life.
    pub transitions: u32,
}

/// What changed when it was last looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing that others must know.
    None,
    /// We lead, for the first time.
    Leads,
}

/// Why a lease was not given back. It is then over by itself in the end.
#[derive(Debug, thiserror::Error)]
pub enum NotReleased {
    /// We do not lead, or not provably: then somebody may rely on the whole of the lease.
    #[error("it is not provably ours")]
    NotOurs,
    /// Somebody else has it.
    #[error("it is held by {0:?}")]
    Taken(String),
    /// The API server did not do it, or not in time.
    #[error("the API server did not take it back")]
    Failed(#[source] Error),
    /// Others changed it all the time.
    #[error("there was not enough time")]
    Late,
}

impl Leadership {
    pub(super) fn new(
        options: &Options,
        identity: &str,
        client: Client,
        recorder: &EventRecorder,
        keeper: Keeper,
        clock: Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Result<Self, Error> {
        let (master, detours) = families(metrics);
        let name = [options.name.as_str()];
        Ok(Self(Arc::new(Shared {
            api: Api::new(client, options)?,
            options: options.clone(),
            identity: identity.to_owned(),
            clock,
            recorder: recorder.named(COMPONENT),
            master: master.with_label_values(&name),
            detours: detours.with_label_values(&name),
            state: Mutex::new(State {
                keeper,
                standing: Standing::Follows,
                led: false,
                renewed: None,
                give_up_at: None,
                holder: None,
                about: None,
                closed: false,
                announced: false,
            }),
        })))
    }

    /// How we call ourselves.
    pub fn identity(&self) -> &str {
        &self.0.identity
    }

    /// Whether we lead. Whether we may write is the gate's to say.
    pub fn is_leading(&self) -> bool {
        let state = self.state();
        state.led && !state.closed
    }

    /// Who has the lease, as far as we know.
    pub fn holder(&self) -> Option<HeldBy> {
        self.state().holder.clone()
    }

    /// Whether the election is well: not when we lead, or believe so, and the lease has not been renewed for its duration and 20 s more.
    /// Source: client-go tools/leaderelection/leaderelection.go, `Check`; kubernetes cmd/cloud-controller-manager/app.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, now: Instant) -> Result<(), String> {
        let state = self.state();
        let age = match state.renewed {
            Some(renewed) if state.led && !state.closed => now.saturating_duration_since(renewed),
            _ => return Ok(()),
        };
        if age <= self.0.options.lease_duration + TOLERATED {
            return Ok(());
        }
        Err(format!("the lease was last renewed {} s ago", age.as_secs()))
    }

    /// When the process has to end, though the election has not said so: its thread hangs in something that cannot be cut, such as a name look-up.
    /// `None` unless we lead. It moves on with each renewal: who waits for it looks again then. The gate is still open, and only just.
    pub fn overdue_at(&self) -> Option<Instant> {
        let state = self.state();
        let Options {
            lease_duration,
            renew_deadline,
            ..
        } = self.0.options;
        let spare = lease_duration.saturating_sub(renew_deadline);
        let end = state.give_up_at.filter(|_| state.led && !state.closed)?;
        Some(end + (spare / 4).min(GRACE))
    }

    /// Shuts the gate for good; nothing is asked of the API server any more, but [`Leadership::release`]. Safe to repeat.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.keeper.shut();
        self.0.master.set(0);
        drop(state);
        self.announce_end();
    }

    /// Records the event that we stopped leading, once, if we led. Called before the gate is shut by whoever wants it to be sent.
    pub fn announce_end(&self) {
        let mut state = self.state();
        if state.led && !std::mem::replace(&mut state.announced, true) {
            self.record(&state, "stopped leading");
        }
    }

    /// Gives the lease back, so that another replica takes over at once. To be called when no worker will write any more; it shuts the gate first.
    ///
    /// It takes about `within` at most, but that a name look-up cannot be cut: nobody should wait for it without a deadline of their own.
    ///
    /// # Errors
    /// It was not given back, and will be over by itself.
    pub fn release(&self, within: Duration) -> Result<(), NotReleased> {
        let proven = matches!(self.state().standing, Standing::Leads(..));
        self.close();
        let released = if proven {
            self.blank(within)
        } else {
            Err(NotReleased::NotOurs)
        };
        match &released {
            Ok(()) => info!(lease = self.0.options.name.as_str(); "released the lease"),
            Err(NotReleased::NotOurs) => debug!("no lease to release"),
            Err(error) => {
                warn!(lease = self.0.options.name.as_str(), error:% = chain(error); "cannot release the lease")
            }
        }
        released
    }

    /// Only a lease that was just read and names us is given back: ours may have been lost, and taken, since we last looked.
    fn blank(&self, within: Duration) -> Result<(), NotReleased> {
        let (api, clock) = (&self.0.api, &self.0.clock);
        let deadline = clock.now() + within;
        let left = || {
            let left = deadline.saturating_duration_since(clock.now());
            if left.is_zero() {
                Err(NotReleased::Late)
            } else {
                Ok(left)
            }
        };
        loop {
            let lease = api.read(left()?).map_err(NotReleased::Failed)?;
            let body = given_back(&lease, &self.0.identity, clock.wall()).map_err(NotReleased::Taken)?;
            match api.replace(body, left()?) {
                Ok(_) => return Ok(()),
                // a renewal on its way, or somebody's annotation: what is there now decides
                Err(Error::Conflict { .. }) => {}
                Err(error) => return Err(NotReleased::Failed(error)),
            }
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    pub(super) fn api(&self) -> &Api {
        &self.0.api
    }

    /// Tells everybody where `elector` stands, the gate first.
    pub(super) fn publish(&self, elector: &mut Elector) -> Change {
        let now = self.0.clock.now();
        let mut state = self.state();
        if state.closed {
            return Change::None;
        }
        let (before, standing) = (state.standing, elector.standing(now));
        if let (Standing::Leads(sent, validity), true) = (standing, standing != before) {
            state.keeper.open_since(sent, validity);
        }
        state.standing = standing;
        state.give_up_at = elector.give_up_at();
        let renew_deadline = self.0.options.renew_deadline;
        state.renewed = state.give_up_at.and_then(|end| end.checked_sub(renew_deadline));
        self.observe(&mut state, elector.observed().map(|(lease, _)| lease));
        self.0.detours.inc_by(elector.detours() - self.0.detours.get());
        match (standing, before) {
            (Standing::Leads(..), _) if !state.led => {
                state.led = true;
                self.0.master.set(1);
                info!(identity = self.0.identity.as_str(); "leading");
                self.record(&state, "became leader");
                Change::Leads
            }
            (Standing::Doubts(until), Standing::Follows | Standing::Leads(..)) => {
                let wait = until.saturating_duration_since(now).as_millis() as u64;
                info!(wait_ms = wait; "the lease is ours, but somebody else may have held it and not know that: what was not proven before has to wait");
                Change::None
            }
            _ => Change::None,
        }
    }

    /// Follows who holds the lease.
    fn observe(&self, state: &mut State, lease: Option<&Lease>) {
        let Some(lease) = lease else {
            return;
        };
        let identity = holder(lease);
        let since = match &state.holder {
            Some(before) if before.identity == identity => before.since,
            _ => {
                let whose = match identity.as_str() {
                    "" => "the lease has no holder",
                    name if name == self.0.identity => "the lease names this replica",
                    _ => "the lease has another holder",
                };
                info!(holder = identity.as_str(), transitions = lease.transitions(); "{whose}");
                self.0.clock.wall()
            }
        };
        state.holder = Some(HeldBy {
            identity,
            since,
            transitions: lease.transitions(),
        });
        let stale = |about: &ObjectRef| *about.resource_version != *lease.resource_version();
        if state.about.as_ref().is_none_or(stale) {
            state.about = Some(ObjectRef {
                api_version: API,
                kind: "Lease",
                namespace: self.0.options.namespace.as_str().into(),
                name: lease.name().into(),
                uid: lease.uid().into(),
                resource_version: lease.resource_version().into(),
            });
        }
    }

    fn record(&self, state: &State, what: &str) {
        if let Some(about) = &state.about {
            let message = format!("{} {what}", self.0.identity);
            self.0
                .recorder
                .event(about, EventType::Normal, reason::LEADER_ELECTION, message);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Leadership of {}", self.0.identity)
    }
}

/// Registers what is measured of an election.
pub(crate) fn families(metrics: &Metrics) -> (IntGaugeVec, IntCounterVec) {
    let master = metrics.gauges(
        "leader_election_master_status",
        "Whether this replica leads: 1 when it does, 0 when it stands by. The name is that of the lease.",
        &["name"],
    );
    let detours = metrics.counters(
        "leader_election_slowpath_total",
        "Renewals of the lease that had to read it first. The name is that of the lease.",
        &["name"],
    );
    (master, detours)
}

mod reason {
    pub(super) const LEADER_ELECTION: &str = "LeaderElection";
}

/// In whose name events are recorded. Source: ccm-behaviour.md 8.
const COMPONENT: &str = "cloud-controller-manager";
/// Source: kubernetes cmd/cloud-controller-manager/app, `leaderElectionHealthzAdaptorTimeout`.
const TOLERATED: Duration = Duration::from_secs(20);
/// For the election to say by itself that the lease is lost.
const GRACE: Duration = Duration::from_millis(500);
