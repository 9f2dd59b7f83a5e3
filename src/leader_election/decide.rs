//! One candidate for a lease, as a function of what it was told and when. Pure: requests are made, and time passes, elsewhere.
//!
//! It follows client-go's `tools/leaderelection`, and is stricter where that may let two lead at once (kube-client.md 7.3, 7.4):
//!
//! 1. A lease counts from when the request was *sent* that renewed it, and ends a margin early. So it is over here before it is over for
//!    anybody else, who can have seen the renewal only later.
//! 2. What is taken is *proven* free only if its holder was watched doing nothing for as long as its record says, or if the record is what a
//!    holder leaves behind that has stopped writing. A lease that is missing or was blanked may still have a holder that writes and has not
//!    noticed. It is taken at once, so that this holder notices, but we do not lead before a holder who noticed nothing would have given up.
//! 3. The same holds for our own lease, when it is not as we left it.
//!
//! Why that is enough. Each write replaces the very record that was read (its version is a condition). So of all claims on the lease, the one that
//! is in the record was made last, and every other was sent before the record was written. Take the record of somebody who leads: all other claims
//! are over, by 2. It is then over for its own holder, by 1, when its successor leads, by 2.
//!
//! Dates of other machines are never compared with ours: only that a record changes counts.

mod proof;
mod record;

use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use self::proof::{LONGEST_DOUBT, Proof};
pub use self::record::{given_back, holder};
use super::Options;
use crate::k8s::types::Lease;
use crate::k8s::types::lease::{Holder, Tenure, Term};
use crate::runtime::gate::Moment;
use crate::runtime::random::Random;

/// A candidate.
pub struct Elector {
    options: Options,
    identity: Box<str>,
    stage: Stage,
    seen: Option<Seen>,
    /// The lease, while it is ours.
    claim: Option<Claim>,
    /// Whether it led. One that did must not stand again: its caches and queues are those of a leader that was.
    led: bool,
    /// Writes that may have happened, since the last that did.
    perhaps: Vec<Sent>,
    /// The longest that another's record lasted of late, and when it was seen.
    longest: Option<(Duration, Instant)>,
    /// Whether the next renewal has to read first.
    read_first: bool,
    /// The last time that anything happened.
    turn: Option<Moment>,
    /// When the last attempt began.
    tried: Option<Instant>,
    /// The date last written, which must differ from the next one, for that is how others see that we live.
    stamp: Option<SystemTime>,
    /// Renewals for which the lease had to be read first.
    detours: u64,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// To ask the API server, and tell [`Elector::answered`].
    Ask(Ask),
    /// To wait until then, or to tell [`Elector::heard`] before.
    Wait(Instant),
    /// Nothing: the lease is lost for good.
    End(Loss),
}

/// A request, and how long it may take in all.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// Which.
    pub what: What,
    /// From the first byte of the connection to the last of the answer.
    pub within: Duration,
}

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// Reads the lease.
    Read,
    /// Makes it.
    Create(Value),
    /// Replaces the version of it that is in there.
    Replace(Value),
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The lease as it is; after a write, as it is now.
    Lease(Lease),
    /// There is none.
    Absent,
    /// Somebody else was faster: it exists, or is another version.
    Conflict,
    /// Nothing that says what happened.
    Failed,
}

/// Why a lease is lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// It could not be renewed in time.
    #[error("the lease was not renewed within {} s", .0.as_secs_f64())]
    Late(Duration),
    /// Somebody else has or had it.
    #[error("the lease was taken by {0:?}")]
    Taken(String),
}

/// Where a candidate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The lease is not ours.
    Follows,
    /// It is ours, but an earlier holder may not know it until then.
    Doubts(Instant),
    /// It is provably ours for that long after a request was sent.
    Leads(Moment, Duration),
}

/// The record that was there when last looked.
struct Seen {
    lease: Lease,
    /// Since when it has been the same.
    since: Instant,
}

struct Claim {
    lease: Lease,
    /// When its last renewal was sent.
    sent: Moment,
    /// When no earlier holder can believe any more that it leads.
    proven: Instant,
}

struct Sent {
    body: Value,
    proof: Proof,
    at: Moment,
}

enum Stage {
    /// Between two attempts.
    Rests(Instant),
    /// In an attempt, about to ask.
    Asks(Plan),
    /// Waiting for what comes of it.
    Waits(Plan),
    /// Another has or had it, and we led.
    Lost(Loss),
}

/// A request of an attempt.
#[derive(Clone)]
struct Plan {
    what: What,
    /// Of a write: what it will prove.
    proof: Proof,
    /// A renewal without a look at the lease first.
    blind: bool,
}

impl Elector {
    /// One that tries at once.
    pub fn new(options: Options, identity: &str, now: Instant) -> Self {
        Self {
            options,
            identity: identity.into(),
            stage: Stage::Rests(now),
            seen: None,
            claim: None,
            led: false,
            perhaps: Vec::new(),
            longest: None,
            read_first: false,
            turn: None,
            tried: None,
            stamp: None,
            detours: 0,
        }
    }

    /// What to do at `at`. Asked again after each [`Step`] was done.
    pub fn next(&mut self, at: Moment, random: &Random) -> Step {
        self.turn(at);
        if self.give_up_at().is_some_and(|end| end <= at.now) {
            if self.led {
                return Step::End(Loss::Late(self.options.renew_deadline));
            }
            self.resign(at.now, random);
        }
        if let Stage::Rests(due) = self.stage {
            if due > at.now && !self.is_over(at.now) {
                return Step::Wait(self.wake(due, at.now));
            }
            self.begin(at);
        }
        match std::mem::replace(&mut self.stage, Stage::Rests(at.now)) {
            Stage::Asks(plan) => self.ask(plan, at),
            Stage::Lost(loss) => {
                self.stage = Stage::Lost(loss.clone());
                Step::End(loss)
            }
            unanswered => {
                self.stage = unanswered;
                Step::Wait(at.now + self.options.retry_period)
            }
        }
    }

    /// What came at `at` of the request sent at `sent`.
    pub fn answered(&mut self, sent: Moment, at: Moment, answer: Answer, random: &Random) {
        self.turn(at);
        let plan = match std::mem::replace(&mut self.stage, Stage::Rests(at.now)) {
            Stage::Waits(plan) => plan,
            // nobody asked
            other => {
                self.stage = other;
                return;
            }
        };
        match (plan.what, answer) {
            (What::Read, Answer::Lease(lease)) => {
                self.observe(lease.clone(), at.now);
                self.read(&lease, sent, at, random);
            }
            (What::Read, Answer::Absent) => {
                self.seen = None;
                let body = self.draft(at.wall);
                self.write(What::Create(body), Proof::None);
            }
            (What::Create(_) | What::Replace(_), Answer::Lease(lease)) if self.is_ours(&lease) => {
                self.won(lease, sent, at, plan.proof);
            }
            // perhaps it did happen
            (_, _) if plan.blind => self.look(),
            (_, _) => self.rest(at.now, random),
        }
    }

    /// The lease changed at `at`, as somebody who listens says, while [`Step::Wait`] was the last to be done. `None` when it was deleted.
    pub fn heard(&mut self, lease: Option<Lease>, at: Moment, random: &Random) {
        self.turn(at);
        let (Stage::Rests(due), None) = (&self.stage, &self.claim) else {
            return;
        };
        let others = lease.filter(|lease| is_held(lease) && !self.is_ours(lease));
        self.stage = Stage::Rests(match others {
            // the next sign of life is expected after a retry period
            Some(lease) => {
                let due = (at.now + self.options.retry_period * PATIENCE).max(*due);
                self.observe(lease, at.now);
                due
            }
            // free: whoever is first has it
            None => at.now + random.between(Duration::ZERO, CROWD),
        });
    }

    /// Nobody listens any more: as often as without that, the lease has to be read.
    pub fn deaf(&mut self, at: Instant, random: &Random) {
        if let Stage::Rests(due) = self.stage {
            self.stage = Stage::Rests(due.min(at + self.jitter(random)));
        }
    }

    /// Where it stands at `at`. The first that finds it leading makes it a leader, who ends when it no longer is one.
    pub fn standing(&mut self, at: Instant) -> Standing {
        match &self.claim {
            None => Standing::Follows,
            Some(claim) if claim.proven > at => Standing::Doubts(claim.proven),
            Some(claim) => {
                let validity = self.options.validity();
                self.led |= at < claim.sent.now + validity;
                if self.led {
                    Standing::Leads(claim.sent, validity)
                } else {
                    Standing::Follows
                }
            }
        }
    }

    /// When it gives up, unless the lease is renewed before.
    pub fn give_up_at(&self) -> Option<Instant> {
        let claim = self.claim.as_ref()?;
        Some(claim.sent.now + self.options.renew_deadline)
    }

    /// The lease as it was when last read, heard of or written, and since when it has been the same.
    pub fn observed(&self) -> Option<(&Lease, Instant)> {
        self.seen.as_ref().map(|seen| (&seen.lease, seen.since))
    }

    /// How many renewals had to read the lease first.
    pub fn detours(&self) -> u64 {
        self.detours
    }

    /// Notices that the machine slept: then the clock that leases go by stood still, and nothing is proven before it is looked at.
    fn turn(&mut self, at: Moment) {
        if self.turn.is_some_and(|last| slept(last, at)) {
            self.read_first = true;
            if let (Stage::Rests(due), Some(_)) = (&mut self.stage, &self.claim) {
                *due = at.now;
            }
        }
        self.turn = Some(at);
    }

    /// Forgets a lease that was never proven to be ours.
    fn resign(&mut self, now: Instant, random: &Random) {
        self.claim = None;
        self.read_first = false;
        self.rest(now, random);
    }

    /// When there is next something to do, at `due` at the latest.
    fn wake(&self, due: Instant, now: Instant) -> Instant {
        let proven = self.claim.as_ref().map(|claim| claim.proven);
        let others = [
            self.give_up_at(),
            proven.filter(|proven| *proven > now),
            self.over().filter(|end| *end > now),
        ];
        others.into_iter().flatten().fold(due, Instant::min)
    }

    /// When the lease that another holds is over, as far as we know.
    fn over(&self) -> Option<Instant> {
        let held = |seen: &&Seen| self.claim.is_none() && is_held(&seen.lease);
        let seen = self.seen.as_ref().filter(held)?;
        seen.since.checked_add(self.term(&seen.lease))
    }

    /// Whether it is over and no attempt was made since: one that failed is repeated only when it is due.
    fn is_over(&self, now: Instant) -> bool {
        self.over()
            .is_some_and(|end| end <= now && self.tried.is_none_or(|tried| tried < end))
    }

    fn begin(&mut self, at: Moment) {
        self.tried = Some(at.now);
        let known = |claim: &Claim| (claim.lease.clone(), Proof::From(claim.proven));
        match self.claim.as_ref().map(known) {
            Some((lease, proof)) if !self.read_first => {
                let body = self.body(&lease, at.wall, Tenure::Goes);
                self.stage = Stage::Asks(Plan {
                    what: What::Replace(body),
                    proof,
                    blind: true,
                });
            }
            _ => self.look(),
        }
    }

    /// Reads the lease next.
    fn look(&mut self) {
        self.read_first = true;
        self.detours += u64::from(self.claim.is_some());
        self.stage = Stage::Asks(Plan {
            what: What::Read,
            proof: Proof::None,
            blind: false,
        });
    }

    /// Writes the lease next, after a look at it.
    fn write(&mut self, what: What, proof: Proof) {
        self.stage = Stage::Asks(Plan {
            what,
            proof,
            blind: false,
        });
    }

    fn ask(&mut self, plan: Plan, at: Moment) -> Step {
        let what = plan.what.clone();
        if let What::Create(body) | What::Replace(body) = &what {
            if self.perhaps.len() == MOST_PERHAPS {
                self.perhaps.remove(0);
            }
            self.perhaps.push(Sent {
                body: body.clone(),
                proof: plan.proof,
                at,
            });
        }
        self.stage = Stage::Waits(plan);
        let left = self.give_up_at().map(|end| end.saturating_duration_since(at.now));
        let limit = self.options.request_limit();
        let within = left.map_or(limit, |left| limit.min(left));
        Step::Ask(Ask { what, within })
    }

    /// Remembers a record, and since when it has been the same.
    fn observe(&mut self, lease: Lease, now: Instant) {
        if is_held(&lease) && !self.is_ours(&lease) {
            let term = self.term(&lease);
            let stale = |(longest, at): (Duration, Instant)| {
                term >= longest || now.saturating_duration_since(at) > LONGEST_DOUBT
            };
            if self.longest.is_none_or(stale) {
                self.longest = Some((term, now));
            }
        }
        let same = |seen: &Seen| seen.lease.spec() == lease.spec() && seen.lease.uid() == lease.uid();
        let since = self
            .seen
            .as_ref()
            .filter(|seen| same(seen))
            .map_or(now, |seen| seen.since);
        self.seen = Some(Seen { lease, since });
    }

    /// Decides what to do about a lease that was read by a request sent at `sent`.
    fn read(&mut self, lease: &Lease, sent: Moment, at: Moment, random: &Random) {
        let (tenure, proof) = if self.is_ours(lease) {
            (Tenure::Goes, self.proof_of_ours(lease, at))
        } else {
            let taken = |claim: &Claim| is_held(lease) || lease.transitions() != claim.lease.transitions();
            match (self.freed(lease, sent.now), &self.claim) {
                (None, _) => return self.lose(lease, at.now, random),
                // we are no leader any more, and what we know is old
                (Some(_), Some(claim)) if taken(claim) => return self.lose(lease, at.now, random),
                // blanked, but not by us
                (Some(_), Some(_)) => (Tenure::Begins, Proof::None),
                (Some(proof), None) => (Tenure::Begins, proof),
            }
        };
        let body = self.body(lease, at.wall, tenure);
        self.write(What::Replace(body), proof);
    }

    /// The lease is ours from `sent` on.
    fn won(&mut self, lease: Lease, sent: Moment, at: Moment, proof: Proof) {
        let proven = match proof {
            Proof::From(then) => then,
            Proof::None => at.now + self.doubt(at.now),
        };
        self.perhaps.clear();
        self.read_first = slept(sent, at);
        self.seen = Some(Seen {
            lease: lease.clone(),
            since: at.now,
        });
        self.claim = Some(Claim { lease, sent, proven });
        self.stage = Stage::Rests(at.now + self.options.retry_period);
    }

    /// The lease is another's.
    fn lose(&mut self, lease: &Lease, now: Instant, random: &Random) {
        if self.led {
            self.stage = Stage::Lost(Loss::Taken(holder(lease)));
        } else {
            self.resign(now, random);
        }
    }

    /// Until the next attempt, after one that failed.
    fn rest(&mut self, now: Instant, random: &Random) {
        let period = self.options.retry_period;
        let due = match (self.give_up_at(), self.tried) {
            (Some(end), Some(tried)) => {
                // the last chance is not to be missed by a part of a period
                let last = end.checked_sub(period / 4).filter(|last| *last > now);
                last.map_or(tried + period, |last| last.min(tried + period))
                    .max(now)
            }
            _ => now + self.jitter(random),
        };
        self.stage = Stage::Rests(due);
    }

    /// Source: client-go tools/leaderelection/leaderelection.go, `JitterFactor`.
    fn jitter(&self, random: &Random) -> Duration {
        let period = self.options.retry_period;
        random.between(period, period.mul_f64(2.2))
    }

    fn is_ours(&self, lease: &Lease) -> bool {
        lease.holder() == Holder::Named(&self.identity)
    }
}

/// Whether somebody has it, or may have.
fn is_held(lease: &Lease) -> bool {
    lease.holder() != Holder::Nobody && lease.term() != Term::None
}

/// Whether the machine slept in between: the date went on, and the other clock did not.
fn slept(from: Moment, to: Moment) -> bool {
    let elapsed = to.now.saturating_duration_since(from.now);
    let by_date = to.wall.duration_since(from.wall).unwrap_or_default();
    by_date > elapsed + SLEPT
}

/// Source: kube-client.md 7.4.
const SLEPT: Duration = Duration::from_secs(3);
/// Whoever listens hears of a renewal every retry period; after so many without one, the lease is read.
const PATIENCE: u32 = 3;
/// Those who hear at once that the lease is free do not all ask at once.
const CROWD: Duration = Duration::from_millis(50);
/// Attempts without an answer until the renew deadline are fewer.
const MOST_PERHAPS: usize = 16;

#[cfg(test)]
mod tests;
