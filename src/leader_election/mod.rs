//! One of several replicas leads: the one that holds a Lease.
//!
//! [`decide`] says what a candidate does, and why two never lead at once. Here is the thread that does it: it asks the API server, opens the
//! gate that every write passes ([`crate::runtime::gate`]), and shuts it. Others ask [`Leadership`].

mod api;
pub mod decide;
mod identity;
mod leadership;
mod listen;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::mem::{Discriminant, discriminant};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, error, info, warn};

use self::decide::{Ask, Elector, Loss, Standing, Step, What};
pub use self::identity::{hostname, identity};
use self::leadership::Change;
#[cfg(test)]
pub(crate) use self::leadership::families;
pub use self::leadership::{HeldBy, Leadership, NotReleased};
use self::listen::{Heard, Listener};
use crate::events::EventRecorder;
use crate::k8s::{Client, Error};
use crate::metrics::Metrics;
use crate::runtime::chain;
use crate::runtime::clock::Clock;
use crate::runtime::gate::{Keeper, Moment};
use crate::runtime::random::Random;
use crate::runtime::stop::StopToken;

/// Which lease, and how it is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
    /// After this long without a renewal another replica may take the lease.
    pub lease_duration: Duration,
    /// After this long without a renewal the holder gives up; shorter than `lease_duration`.
    pub renew_deadline: Duration,
    /// Between two attempts; less than a 1.2th of `renew_deadline`.
    pub retry_period: Duration,
}

impl Options {
    /// How long a renewal proves that the lease is ours, from when it was sent. It is a margin shorter than the lease: a second, or half of what
    /// lies between giving up and the end of a short lease.
    pub fn validity(&self) -> Duration {
        let spare = self.lease_duration.saturating_sub(self.renew_deadline);
        self.lease_duration.saturating_sub((spare / 2).min(MARGIN))
    }

    /// The longest that one request may take. Source: kubernetes cmd/controller-manager (half of the renew deadline, at least a second);
    /// kube-client.md 7.4.
    pub fn request_limit(&self) -> Duration {
        (self.renew_deadline / 2).clamp(SHORTEST_LIMIT, LONGEST_LIMIT)
    }

    /// The duration as the lease says it: never less than what we go by.
    fn whole_seconds(&self) -> u32 {
        let whole = self.lease_duration.as_secs() + u64::from(self.lease_duration.subsec_nanos() > 0);
        u32::try_from(whole).unwrap_or(u32::MAX).min(i32::MAX as u32)
    }
}

/// What an [`Election`] is made of.
pub struct ElectionOptions<'a> {
    /// Which lease, and how it is held.
    pub lease: Options,
    /// Who we are: see [`identity()`].
    pub identity: String,
    /// Asks about the lease. It must still work after the stop, to release it, and have a rate limit of its own.
    pub client: Client,
    /// Listens to the lease. It is shut down when it is time to stop.
    pub watches: Client,
    /// Takes the events on the lease.
    pub recorder: EventRecorder,
    /// Of the gate that all other clients' writes have to pass.
    pub keeper: Keeper,
    /// Measures the lease.
    pub clock: Arc<dyn Clock>,
    /// Spreads attempts.
    pub random: Arc<Random>,
    /// Shows whether we lead.
    pub metrics: &'a Metrics,
}

/// Stands for election, on a thread of its own.
pub struct Election {
    elector: Elector,
    leadership: Leadership,
    options: Options,
    watches: Client,
    clock: Arc<dyn Clock>,
    random: Arc<Random>,
    ear: Ear,
    /// Whether the first attempt has ended.
    tried: bool,
    complaints: Vec<Complaint>,
    /// What of the lease makes no sense, as last told.
    nonsense: Vec<String>,
    coordinated: bool,
}

/// What others act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// The first attempt has ended, and we do not lead: it is time to get ready. Told once at most.
    Standby {
        /// Who else holds the lease; `None` when nobody does or nobody knows.
        holder: Option<String>,
    },
    /// We lead: it is time to work. Told once, perhaps without [`Turn::Standby`] before.
    Leading,
}

/// How an election ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// We led, and do no longer: the process has to end at once, for another may be writing. The gate is shut.
    Lost(Loss),
    /// It was time to stop. The lease may still be ours, and the gate open: see [`Leadership::release`].
    Stopped,
}

/// What one [`Election::step`] came to.
enum Done {
    Asked,
    Wait(Instant),
    End(Ended),
}

/// What was complained about, so that the same is said once: while doing what, and which kind of error.
type Complaint = (&'static str, Discriminant<Error>);

/// Who listens to the lease while another holds it.
enum Ear {
    Open(Box<Listener>),
    /// Nobody, and that should not change before then.
    Shut(Instant),
}

impl Election {
    /// Nothing is asked before [`Election::run`].
    ///
    /// # Errors
    /// A namespace or a name of a lease that is none.
    pub fn new(options: ElectionOptions<'_>) -> Result<Self, Error> {
        let ElectionOptions {
            lease,
            identity,
            client,
            watches,
            recorder,
            keeper,
            clock,
            random,
            metrics,
        } = options;
        let now = clock.now();
        Ok(Self {
            elector: Elector::new(lease.clone(), &identity, now),
            leadership: Leadership::new(
                &lease,
                &identity,
                client,
                &recorder,
                keeper,
                Arc::clone(&clock),
                metrics,
            )?,
            options: lease,
            watches,
            clock,
            random,
            ear: Ear::Shut(now),
            tried: false,
            complaints: Vec::new(),
            nonsense: Vec::new(),
            coordinated: false,
        })
    }

    /// For whoever wants to know who leads.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Stands for election until the lease is lost or it is time to stop; `tell` must not block. While it waits for an answer of the API server it
    /// notices a stop only then: the caller should not wait for it without a deadline, and has to end the process at
    /// [`Leadership::overdue_at`], whatever this does.
    pub fn run(mut self, stop: &StopToken, mut tell: impl FnMut(Turn)) -> Ended {
        let watches = self.watches.clone();
        let _hook = stop.on_stop(move || watches.shutdown());
        loop {
            match self.step(stop, &mut tell) {
                Done::Asked => {}
                Done::Wait(until) => {
                    let left = until.saturating_duration_since(self.clock.now());
                    if !self.hears(left) {
                        stop.wait(left);
                    }
                }
                Done::End(ended) => return ended,
            }
        }
    }

    /// Makes one request, or says how long there is nothing to do.
    fn step(&mut self, stop: &StopToken, tell: &mut impl FnMut(Turn)) -> Done {
        if stop.is_set() || self.leadership.is_closed() {
            return Done::End(Ended::Stopped);
        }
        let done = match self.elector.next(Moment::of(&*self.clock), &self.random) {
            Step::Ask(ask) => {
                self.ask(&ask);
                Done::Asked
            }
            Step::Wait(until) => Done::Wait(until),
            Step::End(loss) => {
                self.leadership.close();
                error!(identity = self.leadership.identity(), reason:% = loss; "the lease is lost");
                return Done::End(Ended::Lost(loss));
            }
        };
        if self.leadership.publish(&mut self.elector) == Change::Leads {
            self.tried = true;
            tell(Turn::Leading);
        }
        if matches!(done, Done::Wait(_)) {
            self.tell_standby(tell);
        }
        done
    }

    fn tell_standby(&mut self, tell: &mut impl FnMut(Turn)) {
        if !std::mem::replace(&mut self.tried, true) {
            let holder = self.leadership.holder().map(|holder| holder.identity);
            let another = |holder: &String| !holder.is_empty() && holder != self.leadership.identity();
            tell(Turn::Standby {
                holder: holder.filter(another),
            });
        }
    }

    fn ask(&mut self, ask: &Ask) {
        let sent = Moment::of(&*self.clock);
        let (answer, failure) = self.leadership.api().ask(ask);
        let at = Moment::of(&*self.clock);
        self.elector.answered(sent, at, answer, &self.random);
        let doing = match ask.what {
            What::Read => "cannot read the lease",
            What::Create(_) => "cannot create the lease",
            What::Replace(_) => "cannot update the lease",
        };
        match failure {
            Some(error) => self.complain(doing, &error),
            None => self.complaints.retain(|(about, _)| *about != doing),
        }
        self.look_at_lease();
    }

    /// Waits a little for the lease to change, where somebody else has it and there is time for that. Whether it did.
    fn hears(&mut self, left: Duration) -> bool {
        let now = self.clock.now();
        self.listen(left, now);
        let tick = self.tick();
        let heard = match &mut self.ear {
            // a read ends by itself after a tick
            Ear::Open(listener) if left > tick => listener.next(),
            Ear::Open(_) | Ear::Shut(_) => return false,
        };
        let at = Moment::of(&*self.clock);
        match heard {
            Heard::Silence => {}
            Heard::Lease(lease) => {
                self.elector.heard(lease, at, &self.random);
                self.look_at_lease();
            }
            Heard::End(reason) => {
                debug!(reason = reason.as_str(); "the watch of the lease has ended");
                // a version that is too old would end the next one, too: first the lease is read
                self.ear = Ear::Shut(at.now + self.options.retry_period);
                self.elector.deaf(at.now, &self.random);
            }
        }
        true
    }

    /// Listens while another holds the lease, and only then.
    fn listen(&mut self, left: Duration, now: Instant) {
        let follows = self.elector.standing(now) == Standing::Follows;
        let version = match self.elector.observed() {
            Some((lease, _)) if follows => lease.resource_version().to_owned(),
            _ => {
                self.ear = Ear::Shut(now);
                return;
            }
        };
        match &self.ear {
            Ear::Shut(before) if *before <= now && left > self.tick() * 2 => {}
            _ => return,
        }
        let opened = Listener::open(&self.watches, &self.options, &version, self.tick(), &self.random);
        self.ear = match opened {
            Ok(listener) => {
                self.complaints.retain(|(about, _)| *about != DEAF);
                Ear::Open(Box::new(listener))
            }
            // who stops is not interested
            Err(Error::Stopped { .. }) => Ear::Shut(now),
            Err(error) => {
                self.complain(DEAF, &error);
                let pause = match error {
                    Error::Forbidden { .. } | Error::NotServed { .. } => LONG_PAUSE,
                    _ => SHORT_PAUSE,
                };
                Ear::Shut(now + pause)
            }
        };
    }

    /// How long a silent read of the watch takes.
    fn tick(&self) -> Duration {
        (self.options.retry_period / 2).min(TICK)
    }

    /// Says once what is odd about the lease.
    fn look_at_lease(&mut self) {
        let Some((lease, _)) = self.elector.observed() else {
            return;
        };
        let nonsense = lease.nonsense();
        if nonsense != self.nonsense && !nonsense.is_empty() {
            let found = nonsense.join(", ");
            warn!(lease = lease.name(), found = found.as_str(); "the lease makes no sense; it counts as held for as long as ours would be");
        }
        let strategy = lease.strategy().filter(|_| !self.coordinated);
        if let Some(strategy) = strategy {
            info!(lease = lease.name(), strategy; "the lease is to be given by a coordinator, which is not supported: standing for it all the same");
            self.coordinated = true;
        }
        self.nonsense = nonsense;
    }

    fn complain(&mut self, doing: &'static str, error: &Error) {
        let complaint = (doing, discriminant(error));
        if self.complaints.contains(&complaint) {
            debug!(error:% = chain(error); "{doing}");
        } else {
            warn!(lease = self.options.name.as_str(), error:% = chain(error); "{doing}");
            self.complaints.push(complaint);
        }
    }
}

/// Makes up for clocks that drift apart by 6 % while a lease of 15 s lasts.
const MARGIN: Duration = Duration::from_secs(1);
const SHORTEST_LIMIT: Duration = Duration::from_secs(1);
const LONGEST_LIMIT: Duration = Duration::from_secs(5);
const DEAF: &str = "cannot watch the lease: a release will be seen a little later";
/// A silent read of a watch is given up after this, to look at the clock.
const TICK: Duration = Duration::from_secs(1);
/// After a watch that could not be opened.
const SHORT_PAUSE: Duration = Duration::from_secs(10);
/// Somebody has to grant it first.
const LONG_PAUSE: Duration = Duration::from_secs(60);
