//! What a candidate writes into a lease.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::Elector;
use crate::k8s::types::Lease;
use crate::k8s::types::lease::{Entry, Holder, Tenure};

impl Elector {
    /// The lease anew, after it was deleted or before it ever was.
    pub(super) fn draft(&mut self, wall: SystemTime) -> Value {
        let entry = self.entry(wall, Tenure::Begins);
        let mut body = Lease::draft(&self.options.namespace, &self.options.name, &entry);
        if let Some(claim) = &self.claim {
            body["spec"]["leaseTransitions"] = claim.lease.transitions().into();
        }
        self.stamp = Some(entry.now);
        body
    }

    pub(super) fn body(&mut self, lease: &Lease, wall: SystemTime, tenure: Tenure) -> Value {
        let entry = self.entry(wall, tenure);
        let body = lease.with(&entry);
        self.stamp = Some(entry.now);
        body
    }

    fn entry(&self, wall: SystemTime, tenure: Tenure) -> Entry<'_> {
        Entry {
            holder: &self.identity,
            seconds: self.options.whole_seconds(),
            now: stamp(self.stamp, wall),
            tenure,
        }
    }
}

/// A lease that was just read, as `identity` gives it back.
///
/// # Errors
/// Who has it, if not `identity`: ours may have been lost, and taken, since we last looked.
pub fn given_back(lease: &Lease, identity: &str, now: SystemTime) -> Result<Value, String> {
    match lease.holder() {
        Holder::Named(holder) if holder == identity => Ok(lease.with(&Entry {
            holder: "",
            seconds: 1,
            now,
            tenure: Tenure::Ends,
        })),
        _ => Err(holder(lease)),
    }
}

/// Whom it names, for people; empty for nobody.
pub fn holder(lease: &Lease) -> String {
    match lease.holder() {
        Holder::Named(name) => name.to_owned(),
        Holder::Nobody => String::new(),
        Holder::Unreadable => lease.spec()["holderIdentity"].to_string(),
    }
}

/// A date that differs from the one before, also where the clock stands still or is set back a little.
fn stamp(before: Option<SystemTime>, wall: SystemTime) -> SystemTime {
    match before {
        Some(before) if wall <= before && before.duration_since(wall).is_ok_and(|gap| gap < STEP) => {
            before + Duration::from_micros(1)
        }
        _ => wall,
    }
}

/// A clock that was set back further is believed.
const STEP: Duration = Duration::from_secs(1);
