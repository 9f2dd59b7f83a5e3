//! What became of the events.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::{Metrics, raise};

/// Why an event was not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Too many were queued.
    Queue,
    /// Too many of one object.
    Spam,
    /// The server did not take it.
    Refused,
    /// No server for too long.
    Unanswered,
}

impl Why {
    const ALL: [Self; 4] = [Self::Queue, Self::Spam, Self::Refused, Self::Unanswered];

    fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Spam => "spam",
            Self::Refused => "refused",
            Self::Unanswered => "unanswered",
        }
    }
}

/// Since the start.
#[derive(Default)]
pub(super) struct Counts {
    sent: AtomicU64,
    dropped: [AtomicU64; Why::ALL.len()],
}

impl Counts {
    pub(super) fn sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn lost(&self, why: Why, events: u64) {
        self.dropped[why as usize].fetch_add(events, Ordering::Relaxed);
    }

    /// How many were not delivered.
    pub(super) fn dropped(&self) -> u64 {
        let each = self.dropped.iter();
        each.map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// Shows `counts` at each scrape.
pub(super) fn show(counts: &Arc<Counts>, metrics: &Metrics) {
    let sent = metrics.counter(
        "events_sent_total",
        "Events that the API server took, each repetition that it counts for itself.",
    );
    let dropped = metrics.counters(
        "events_dropped_total",
        "Events that were not delivered, by why: queue, too many waited; spam, too many of one object; refused by the API server; unanswered, no \
         API server for too long.",
        &["why"],
    );
    let counts = Arc::clone(counts);
    metrics.on_scrape(move || {
        raise(&sent, counts.sent.load(Ordering::Relaxed));
        for why in Why::ALL {
            let count = counts.dropped[why as usize].load(Ordering::Relaxed);
            if count > 0 {
                raise(&dropped.with_label_values(&[why.as_str()]), count);
            }
        }
    });
}
