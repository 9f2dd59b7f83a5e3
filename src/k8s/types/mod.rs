//! Kubernetes objects as plain data: only the fields that are read, so that a cached one stays small.
//!
//! Decoding is tolerant: unknown fields are skipped, `null` is a missing field, unknown words are kept as text. Writes
//! are patches made elsewhere; none of these is ever sent back whole, but for a [`Lease`].

pub mod lease;
mod meta;
mod node;
mod service;

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::Deserializer;

pub use lease::Lease;
pub use meta::{ObjectMeta, Pairs, Timestamp};
pub use node::{EXCLUDE_LABEL, Node, NodeAddress, Readiness, Taint, UNINITIALIZED};
pub use service::{IpMode, LoadBalancerIngress, Protocol, Service, ServicePort};

/// What the store and the reflector need to know of an object.
pub trait Resource: Send + Sync + Sized + 'static + for<'de> Deserialize<'de> {
    /// For logs and for checking answers: `Service`.
    const KIND: &'static str;
    /// Of the core group: `services`.
    const PLURAL: &'static str;
    /// Whether it lives in a namespace.
    const NAMESPACED: bool;
    /// Its metadata.
    fn meta(&self) -> &ObjectMeta;
}

/// A text that is looked at and let go: copied only if it is written with escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Takes `null` for a missing field. Go writes `null` for empty lists and maps. Source: kube-client.md, I12.
pub(crate) fn null_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
