//! What became of the Services, for those who look at the daemon: who fails, why, and since when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use crate::cloud::Claim;

/// How much of an error is kept.
const MOST_BYTES: usize = 200;

/// A Service of which something is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// In one word.
    pub reason: &'static str,
    /// What happened last; not longer than 200 bytes.
    pub error: Box<str>,
    /// When it was first tried in vain.
    pub since: SystemTime,
    /// How often it was.
    pub times: u32,
}

/// Who is served by whom, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// In no order; of Services that want the same, only the one that may have it.
    pub claims: Vec<Claimed>,
    /// By the Service's key.
    pub failing: Vec<(Arc<str>, Failing)>,
}

/// Something of the cloud that a Service asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// What.
    pub claim: Claim,
    /// The Service's key.
    pub service: Arc<str>,
    /// When all was last found, or made, as the Service asks for, by this process.
    pub succeeded: Option<SystemTime>,
}

/// How many Services there are, by what became of them in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Everything is as they ask for.
    pub served: usize,
    /// Something is not.
    pub failing: usize,
}

/// Those that fail.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    failing: BTreeMap<Arc<str>, Failing>,
}

impl Outcomes {
    pub(super) fn failed(&mut self, key: &Arc<str>, reason: &'static str, error: &str, now: SystemTime) {
        let error = cut(error);
        self.failing
            .entry(Arc::clone(key))
            .and_modify(|known| {
                known.reason = reason;
                known.error = error.clone();
                known.times = known.times.saturating_add(1);
            })
            .or_insert(Failing {
                reason,
                error,
                since: now,
                times: 1,
            });
    }

    /// It does not fail (any more), or is gone.
    pub(super) fn forget(&mut self, key: &str) {
        self.failing.remove(key);
    }

    pub(super) fn len(&self) -> usize {
        self.failing.len()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.failing.keys()
    }

    pub(super) fn all(&self) -> Vec<(Arc<str>, Failing)> {
        let copy = |(key, failing): (&Arc<str>, &Failing)| (Arc::clone(key), failing.clone());
        self.failing.iter().map(copy).collect()
    }
}

fn cut(text: &str) -> Box<str> {
    if text.len() <= MOST_BYTES {
        return text.into();
    }
    const MARK: &str = "…";
    let fits = |end: &usize| text.is_char_boundary(*end);
    let end = (0..=MOST_BYTES - MARK.len()).rev().find(fits).unwrap_or_default();
    format!("{}{MARK}", &text[..end]).into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_failure_that_repeats_is_counted_from_its_beginning() {
        let (first, later) = (
            SystemTime::UNIX_EPOCH,
            SystemTime::UNIX_EPOCH + Duration::from_secs(9),
        );
        let (mut outcomes, key) = (Outcomes::default(), Arc::from("default/web"));
        outcomes.failed(&key, "PortTaken", "80", first);
        outcomes.failed(&key, "Unavailable", "gone", later);
        let want = Failing {
            reason: "Unavailable",
            error: "gone".into(),
            since: first,
            times: 2,
        };
        assert_eq!(outcomes.all(), [(Arc::clone(&key), want)]);
        outcomes.forget(&key);
        outcomes.failed(&key, "PortTaken", "80", later);
        let (_, again) = &outcomes.all()[0];
        assert_eq!(
            (again.since, again.times),
            (later, 1),
            "it had not failed in between"
        );
    }

    #[test]
    fn an_error_is_cut_between_characters() {
        for (case, text, want) in [
            ("short", "a".repeat(200), "a".repeat(200)),
            ("long", "a".repeat(201), format!("{}…", "a".repeat(197))),
            (
                "of two bytes each",
                "ö".repeat(101),
                format!("{}…", "ö".repeat(98)),
            ),
        ] {
            assert_eq!(*cut(&text), want, "{case}");
        }
    }
}
