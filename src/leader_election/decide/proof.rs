//! What is known of earlier holders when a lease is taken.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Claim, Elector, Sent, is_held, slept};
use crate::k8s::types::Lease;
use crate::k8s::types::lease::Term;
use crate::runtime::gate::Moment;

/// What is known of earlier holders when a lease is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// From then on, none believes that it leads.
    From(Instant),
    /// One may have renewed its claim until our write.
    None,
}

impl Elector {
    /// What is known of earlier holders, if the lease can be taken from whoever has it.
    pub(super) fn freed(&self, lease: &Lease, now: Instant) -> Option<Proof> {
        if !is_held(lease) {
            let proof = if lease.is_released() {
                Proof::From(now)
            } else {
                Proof::None
            };
            return Some(proof);
        }
        let since = self.seen.as_ref().map_or(now, |seen| seen.since);
        let end = since.checked_add(self.term(lease))?;
        // a record that says less than a holder goes by is not of the holder's making
        (end <= now).then(|| Proof::From(end.max(since + self.doubt(now))))
    }

    /// What is known of earlier holders when the lease names us.
    pub(super) fn proof_of_ours(&self, lease: &Lease, at: Moment) -> Proof {
        // nobody else has led since one of our writes before it was over; later, somebody may have, and put our record back
        let lasts = |sent: Moment| at.now < sent.now + self.options.validity() && !slept(sent, at);
        let left = |claim: &&Claim| {
            let untouched = claim.lease.resource_version() == lease.resource_version();
            is_same(claim.lease.spec(), lease.spec()) && (untouched || lasts(claim.sent))
        };
        if let Some(claim) = self.claim.as_ref().filter(left) {
            return Proof::From(claim.proven);
        }
        // a write without an answer did happen
        let happened = |sent: &&Sent| is_same(&sent.body["spec"], lease.spec()) && lasts(sent.at);
        match self.perhaps.iter().find(happened).map(|sent| sent.proof) {
            Some(Proof::None) => Proof::From(at.now + self.doubt(at.now)),
            Some(proof) => proof,
            // somebody wrote our name: who knows whose was there before
            None => Proof::None,
        }
    }

    /// How long a holder that we know nothing of may go on after its last renewal.
    pub(super) fn doubt(&self, now: Instant) -> Duration {
        let of_late = |(_, at): &(Duration, Instant)| now.saturating_duration_since(*at) <= LONGEST_DOUBT;
        let longest = self.longest.filter(of_late);
        let longest = longest.map_or(Duration::ZERO, |(longest, _)| longest.min(LONGEST_DOUBT));
        self.options.lease_duration.max(longest)
    }

    /// How long `lease` lasts after a renewal; where it makes no sense, as long as ours.
    pub(super) fn term(&self, lease: &Lease) -> Duration {
        match lease.term() {
            Term::None => Duration::ZERO,
            Term::For(term) => term,
            Term::Unreadable => self.options.lease_duration,
        }
    }
}

/// Whether two records are one and the same write of a candidate. Whatever else is in there is not a candidate's.
fn is_same(one: &Value, other: &Value) -> bool {
    let fields = [
        "holderIdentity",
        "leaseDurationSeconds",
        "acquireTime",
        "renewTime",
        "leaseTransitions",
    ];
    fields.into_iter().all(|field| one[field] == other[field])
}

/// A record may say any number of seconds; a mistake of somebody who is gone should not keep everybody from leading for a week.
pub(super) const LONGEST_DOUBT: Duration = Duration::from_secs(300);
