//! Why a Node did not get what it lacks, and when to try again.

use std::sync::Arc;
use std::time::Duration;

use super::addresses::AddressError;
use crate::cloud::{self, Retry};
use crate::k8s;

/// How often something is tried again that only a change can mend, in case the change was where nobody tells us of it.
const SLOW_RETRY: Duration = Duration::from_secs(300);

/// Why a Node did not get what it lacks.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cloud did not answer for it, or says that it cannot be.
    #[error(transparent)]
    Cloud(#[from] cloud::Error),
    /// The cloud does not show an instance for it, perhaps not yet.
    #[error(
        "the cloud shows no instance for this Node, by its provider ID, its annotation, its name or its address; it stays tainted until there is one"
    )]
    Missing,
    /// The cloud's addresses make no sense for it.
    #[error(transparent)]
    Addresses(#[from] AddressError),
    /// Neither Node nor cloud says what the instance is called.
    #[error("the cloud gives the instance no provider ID, and the Node has none")]
    NoProviderId,
    /// Two Nodes say that they are one instance.
    #[error(
        "the Node {holder} is the instance {provider_id} already; delete whichever of the two is not, or correct its provider ID or annotation"
    )]
    Taken {
        /// What both claim.
        provider_id: Box<str>,
        /// The other Node.
        holder: Arc<str>,
    },
    /// The API server did not take it.
    #[error("cannot write to the Node")]
    Write(#[source] k8s::Error),
    /// The Node could not be read after a conflict.
    #[error("cannot read the Node")]
    Read(#[source] k8s::Error),
}

impl Error {
    /// When to try again.
    pub fn retry(&self) -> Retry {
        let retry = match self {
            Self::Cloud(error) => error.retry(),
            Self::Addresses(AddressError::NoAddress { .. } | AddressError::NodeIp { .. })
            | Self::NoProviderId
            | Self::Taken { .. } => Retry::OnChange,
            Self::Write(error) | Self::Read(error) => Retry::after(error.retry_after()),
            Self::Missing | Self::Addresses(AddressError::NotOfInstance { .. }) => Retry::Backoff,
        };
        match retry {
            Retry::OnChange => Retry::After(SLOW_RETRY),
            retry => retry,
        }
    }

    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Write(k8s::Error::Conflict { .. }))
    }

    pub(super) fn is_stop(&self) -> bool {
        matches!(
            self,
            Self::Cloud(cloud::Error::Stopped | cloud::Error::NotLeading)
                | Self::Write(k8s::Error::Stopped { .. } | k8s::Error::NotLeading { .. })
                | Self::Read(k8s::Error::Stopped { .. })
        )
    }
}
