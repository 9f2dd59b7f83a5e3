//! What controllers ask of a cloud: traits, nouns, errors. Knows Kubernetes' types and no particular cloud.

use std::sync::Arc;
use std::time::Duration;

use crate::k8s::types::{LoadBalancerIngress, Node, NodeAddress, Service};

#[cfg(test)]
pub mod fake;

/// A cloud.
pub trait CloudProvider: Send + Sync {
    /// The scheme of every provider ID this cloud issues: `incloud` in `incloud://i-0ab1`.
    fn name(&self) -> &'static str;
    /// `None` when the cloud config switches load balancers off.
    fn load_balancers(&self) -> Option<&dyn LoadBalancers>;
    /// What it knows of the machines behind Nodes.
    fn instances(&self) -> Option<&dyn Instances>;
}

/// Knows the machines behind Nodes.
pub trait Instances: Send + Sync {
    /// Whether it can tell what exists.
    fn authority(&self) -> Authority;

    /// What it knows of the instance of each of these Nodes, in their order. Many Nodes cost few calls, but each look-up makes its
    /// own at once: whoever will soon have more to ask about should gather first.
    ///
    /// A Node's instance is found by provider ID, else by what names it (an annotation, the Node's name, an internal address).
    ///
    /// # Errors
    /// Each Node has its own. No answer, one that cannot be understood, two candidates, a provider ID of another cloud: none of these
    /// ever reads as [`Lookup::Missing`].
    fn look_up(&self, nodes: &[Arc<Node>], freshness: Freshness) -> Vec<Result<Lookup, Error>>;
}

/// Whether a cloud can tell what exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// It asks an API of instances.
    Full,
    /// No such API is configured: it repeats what Node and config say. Nothing is ever gone or shut down by its word.
    Hearsay,
}

/// How old an answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// One of the last seconds will do, if it says that the instance exists.
    Recent,
    /// Asked now.
    Now,
}

/// What a cloud knows of a Node's instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// It exists.
    Found(Arc<Instance>),
    /// An authorised answer to a question about it did not hold it.
    Missing(Absence),
}

/// How much an answer without an instance proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absence {
    /// How many other instances that are known to exist were in answers of the same moment. Without any, it may be the answer that
    /// is wrong.
    pub witnesses: usize,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Instance {
    /// For `spec.providerID`: `incloud://i-0ab1`. Never empty.
    pub provider_id: Box<str>,
    /// For `status.addresses`, in order.
    pub addresses: Vec<NodeAddress>,
    /// For the label pair of that name; empty means "leave alone", as for the next two.
    pub instance_type: Box<str>,
    /// The zone it is in.
    pub zone: Box<str>,
    /// The region it is in.
    pub region: Box<str>,
    /// More labels, for Nodes that do not have them.
    pub labels: Vec<(Box<str>, Box<str>)>,
    /// Whether it runs.
    pub state: InstanceState,
}

/// Whether a machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InstanceState {
    /// It runs, or is about to, or the cloud says something else of which nothing follows.
    #[default]
    Up,
    /// It was shut down and may start again.
    ShutDown,
    /// The cloud still shows it, as something that will not come back. Nothing follows from it: what is gone is not shown.
    Ended,
}

/// Makes load balancers match Services.
///
/// Nothing is remembered between runs. What a cloud must know to find again what it made for a Service stands on
/// the Service itself, in the *record*: one annotation whose value this trait computes and the controller writes, together with
/// the finalizer, before [`LoadBalancers::ensure`] may write to the cloud.
pub trait LoadBalancers: Send + Sync {
    /// The key of the annotation that holds the record.
    fn record_key(&self) -> &'static str;

    /// What `service` lays claim to in the cloud. Two Services with one claim in common are rivals for it. Empty
    /// when its annotations cannot be read, or it names no load balancer.
    fn claims(&self, service: &Service) -> Vec<Claim>;

    /// Services of one group are synced one after the other, since their load balancer takes one change at a time.
    fn group(&self, service: &Service) -> Option<Arc<str>>;

    /// The record that must be on `service` before `ensure` may write. Reads the cloud, writes nothing.
    ///
    /// # Errors
    /// Everything that makes `ensure` impossible for this Service: an annotation that cannot be read, no load
    /// balancer named, one that is lost or somebody else's.
    fn locate(&self, service: &Service) -> Result<String, Error>;

    /// Makes the cloud match `service`, with `nodes` as backends, and says where traffic enters.
    ///
    /// `denied` are those claims of `service` that an older Service holds; nothing is made for them, and their ports wait.
    /// Safe to repeat: a change that an error left half done is finished by the next call. `leave` is asked before anything is
    /// written; where it says no, nothing is, and its error is the answer.
    fn ensure(
        &self,
        service: &Service,
        nodes: &[Arc<Node>],
        denied: &[Denied],
        leave: Leave<'_>,
    ) -> Result<Ensured, Error>;

    /// Removes everything made for `service`, by its record. Succeeds too when there is nothing left to delete, and when
    /// the load balancer is proven gone. `leave` is as in [`LoadBalancers::ensure`].
    fn ensure_deleted(&self, service: &Service, leave: Leave<'_>) -> Result<Change, Error>;
}

/// Asked by a call right before its first write to a load balancer, and before none that only reads: so it may be costly, and may
/// say no. It may be asked again for another load balancer.
pub type Leave<'a> = &'a dyn Fn() -> Result<(), Error>;

/// For [`Leave`]: whoever asks may write.
///
/// # Errors
/// None.
pub fn granted() -> Result<(), Error> {
    Ok(())
}

/// Something of which the cloud has one, such as a port of a load balancer: `slb-1/TCP/80`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim(pub Arc<str>);

/// A claim that somebody else holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// What was claimed.
    pub claim: Claim,
    /// Key of the Service that holds it.
    pub holder: Arc<str>,
}

/// What [`LoadBalancers::ensure`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ensured {
    /// Where traffic enters, for the Service's status.
    pub ingress: Vec<LoadBalancerIngress>,
    /// Whether anything was written to the cloud.
    pub change: Change,
    /// The record from now on: less than before when a load balancer was left behind.
    pub record: String,
    /// Ports that have to wait, and why. The others are served.
    pub waiting: Vec<Waiting>,
    /// What the Service's owner should know though all is served.
    pub notes: Vec<Note>,
}

/// A sentence for the Service's owner, as a Warning Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// PascalCase.
    pub reason: &'static str,
    /// What to change.
    pub message: String,
}

/// A port that cannot be served yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// For the Event.
    pub note: Note,
    /// When to try again.
    pub retry: Retry,
}

/// Whether a call wrote to the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Change {
    /// Everything was right already.
    #[default]
    None,
    /// At least one write.
    Made,
}

/// When to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// After exactly this long: the other side said so.
    After(Duration),
    /// Longer after each failure.
    Backoff,
    /// Not before the Service changes: it would fail the same way.
    OnChange,
}

impl Retry {
    /// After as long as the other side said, if it did: at once would be a circle without a pause, so that does not count.
    pub fn after(told: Option<Duration>) -> Self {
        match told {
            Some(delay) if !delay.is_zero() => Self::After(delay),
            Some(_) | None => Self::Backoff,
        }
    }
}

/// After this long a store that lags has most probably caught up.
const CATCHING_UP: Duration = Duration::from_millis(500);

/// Why a cloud could not do what was asked. `Display` is the sentence for the Service's owner.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the Service asks for is not possible; its owner must change it. Nothing was written.
    #[error("{message}")]
    Rejected {
        /// PascalCase, for logs: the Event has upstream's reason.
        reason: &'static str,
        /// What was found, what is allowed.
        message: String,
    },
    /// The cloud does not have it (any more), or it is not ours to touch. Nothing was written; it may come back.
    #[error("{message}")]
    NotFound {
        /// PascalCase, for logs: the Event has upstream's reason.
        reason: &'static str,
        /// Which one, and what to do.
        message: String,
    },
    /// No answer, or one that says to come back: outage, throttling, busy, expired credentials.
    #[error("{message}")]
    Unavailable {
        /// What was asked of whom, and why it failed.
        message: String,
        /// How long the other side wants us to wait.
        retry_after: Option<Duration>,
    },
    /// The caller knows meanwhile that it was about an older state of the Service, and did not give [`Leave`]. Nothing was written.
    #[error("the Service has changed meanwhile")]
    Outdated,
    /// The lease is not provably ours (any more); what was begun is finished by whoever leads.
    #[error("not leading")]
    NotLeading,
    /// The daemon is stopping; what was begun is finished by the next run.
    #[error("stopping")]
    Stopped,
}

impl Error {
    /// What it is in one word, where there is one.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Rejected { reason, .. } | Self::NotFound { reason, .. } => Some(reason),
            Self::Unavailable { .. } | Self::Outdated | Self::NotLeading | Self::Stopped => None,
        }
    }

    /// When to try again.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Rejected { .. } => Retry::OnChange,
            Self::Unavailable { retry_after, .. } => Retry::after(*retry_after),
            Self::Outdated => Retry::After(CATCHING_UP),
            Self::NotFound { .. } | Self::NotLeading | Self::Stopped => Retry::Backoff,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_delay_that_is_one_takes_the_place_of_back_off() {
        let second = Duration::from_secs(1);
        for (told, want) in [
            (None, Retry::Backoff),
            (Some(Duration::ZERO), Retry::Backoff),
            (Some(second), Retry::After(second)),
        ] {
            let error = Error::Unavailable {
                message: "throttled".into(),
                retry_after: told,
            };
            assert_eq!(error.retry(), want, "{told:?}");
        }
    }
}
