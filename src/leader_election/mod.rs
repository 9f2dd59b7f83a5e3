//! One of several replicas leads: the one that holds a Lease.

use std::time::Duration;

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
