//! The Nodes that take traffic, filtered once for all Services.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::decide::is_backend;
use crate::informer::Store;
use crate::k8s::types::Node;

/// The Nodes that are backends at one moment.
#[derive(Debug, Clone)]
pub struct Backends {
    /// Grows with each change; equal generations are equal sets.
    pub generation: u64,
    /// In the order of their names.
    pub nodes: Arc<[Arc<Node>]>,
}

/// Filters the store of Nodes again only after it changed in a way that matters.
pub struct BackendView {
    store: Store<Node>,
    generation: AtomicU64,
    last: Mutex<Option<Backends>>,
}

impl BackendView {
    /// Of these Nodes.
    pub fn new(store: Store<Node>) -> Self {
        Self {
            store,
            generation: AtomicU64::new(1),
            last: Mutex::new(None),
        }
    }

    /// Says that a backend changed, after the store did.
    pub fn changed(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// The backends now, at least as new as the last [`BackendView::changed`] before this call.
    pub fn now(&self) -> Backends {
        let mut last = self.last.lock().expect("filtering Nodes does not panic");
        // read before the store: a change in between costs one more pass and is never missed
        let generation = self.generation.load(Ordering::SeqCst);
        match &*last {
            Some(backends) if backends.generation == generation => backends.clone(),
            _ => {
                let mut nodes = self.store.list();
                nodes.retain(|node| is_backend(node));
                nodes.sort_unstable_by(|a, b| a.meta.name.cmp(&b.meta.name));
                last.insert(Backends {
                    generation,
                    nodes: nodes.into(),
                })
                .clone()
            }
        }
    }
}
