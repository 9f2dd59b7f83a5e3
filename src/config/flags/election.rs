//! Which lease is held while controllers run.

use std::time::Duration;

use super::{Error, Given, values};
use crate::leader_election::Options;

const LEASE: &str = "leader-elect-lease-duration";
const RENEW: &str = "leader-elect-renew-deadline";
const RETRY: &str = "leader-elect-retry-period";

impl Given {
    /// `None` for no election; what belongs to it is not looked at then, as upstream does not.
    pub(super) fn election(&mut self) -> Option<Options> {
        if !self.is_true("leader-elect") {
            return None;
        }
        let options = Options {
            namespace: self.last("leader-elect-resource-namespace").to_owned(),
            name: self.last("leader-elect-resource-name").to_owned(),
            lease_duration: self.duration(LEASE),
            renew_deadline: self.duration(RENEW),
            retry_period: self.duration(RETRY),
        };
        self.check_lock(&options);
        self.check_times(&options);
        Some(options)
    }

    fn check_lock(&mut self, options: &Options) {
        let lock = self.last("leader-elect-resource-lock");
        if lock != "leases" {
            let found = lock.to_owned();
            self.errors.push(Error::ResourceLock { found });
        }
        if !values::dns_name(&options.name) {
            self.refuse(
                "leader-elect-resource-name",
                "must be a DNS name: at most 253 lower case letters, digits, '-' and '.', with a letter or digit first and last",
            );
        }
        if !values::dns_label(&options.namespace) {
            self.refuse(
                "leader-elect-resource-namespace",
                "must be a DNS label: at most 63 lower case letters, digits and '-', with a letter or digit first and last",
            );
        }
    }

    /// The relations by which at most one replica leads. Source: kubernetes/client-go, tools/leaderelection, NewLeaderElector.
    fn check_times(&mut self, options: &Options) {
        let (lease, renew, retry) = (
            options.lease_duration,
            options.renew_deadline,
            options.retry_period,
        );
        // leaseDurationSeconds is a whole number of 32 bits
        if lease.subsec_nanos() != 0 || !(1..=i32::MAX as u64).contains(&lease.as_secs()) {
            self.refuse_once(LEASE, "must be whole seconds, from 1s to 2147483647s");
        }
        for (flag, time) in [(RENEW, renew), (RETRY, retry)] {
            if time == Duration::ZERO {
                self.refuse_once(flag, "must be longer than 0");
            }
        }
        if lease <= renew && ![LEASE, RENEW].iter().any(|flag| self.is_refused(flag)) {
            let allowed = format!("must be longer than --{RENEW} ({})", self.last(RENEW));
            self.refuse(LEASE, allowed);
        }
        let enough = renew.as_nanos() * 5 > retry.as_nanos() * 6;
        if !enough && ![RENEW, RETRY].iter().any(|flag| self.is_refused(flag)) {
            let allowed = format!("must be longer than 1.2 times --{RETRY} ({})", self.last(RETRY));
            self.refuse(RENEW, allowed);
        }
    }

    /// Says nothing of a flag whose value was refused already: what is looked at is its default.
    fn refuse_once(&mut self, flag: &'static str, allowed: &str) {
        if !self.is_refused(flag) {
            self.refuse(flag, allowed);
        }
    }
}
