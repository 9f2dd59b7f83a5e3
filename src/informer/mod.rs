//! A copy of one resource, kept current: list, then watch, and list again when the watch cannot go on.
//!
//! The [`Reflector`] talks to the API server and owns the [`Writer`]; everybody else reads through a [`Store`] and is
//! told of each real change by a [`Handler`]. What cannot be read for sure is never taken for absent: a failed,
//! truncated or odd list changes nothing, and neither does an object that does not decode.

mod failure;
mod list;
pub(crate) mod metrics;
mod pulse;
mod reflector;
mod state;
mod store;
mod version;

use std::sync::Arc;

pub use pulse::Pulse;
pub use reflector::{Reflector, Step};
pub use store::{Store, Writer, store};
pub use version::{Order, compare_versions};

/// One object appeared, changed or vanished. At least one of `old` and `new` is there.
///
/// An object replaced by another of the same name is two changes, first gone, then there. After a disconnection `old`
/// may not be the last form that the object had.
#[derive(Debug)]
pub struct Change<T> {
    /// `namespace/name`, or the name alone for a cluster-wide object.
    pub key: Arc<str>,
    /// As it was in the store.
    pub old: Option<Arc<T>>,
    /// As it is in the store now.
    pub new: Option<Arc<T>>,
}

/// Told of every change, in order, on the reflector's thread, once the store shows it. It should do no more than put a
/// key into a queue: nothing else is read while it runs.
pub type Handler<T> = Box<dyn Fn(&Change<T>) + Send + Sync>;
