//! When the client certificate ends: shown as a metric, and said aloud before and after.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::seconds;
use crate::metrics::GaugeVec;
use crate::runtime::clock::Clock;

/// Watches one certificate and its successors.
pub(super) struct Expiry {
    gauge: GaugeVec,
    clock: Arc<dyn Clock>,
    /// What was said last: it is said once of each certificate.
    said: Mutex<Option<(SystemTime, Alarm)>>,
}

/// What is to be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alarm {
    /// It ends within a day, and nobody has renewed it.
    Soon,
    /// It has ended.
    Over,
}

impl Expiry {
    pub(super) fn new(gauge: GaugeVec, clock: Arc<dyn Clock>) -> Self {
        Self {
            gauge,
            clock,
            said: Mutex::default(),
        }
    }

    /// `end` is when the certificate in use ends; `None` without one.
    pub(super) fn look(&self, end: Option<SystemTime>) {
        let Some(end) = end else {
            self.gauge.reset();
            return;
        };
        self.gauge.with_label_values::<&str>(&[]).set(seconds(end));
        let Some(alarm) = alarm(end, self.clock.wall()) else {
            return;
        };
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.replace((end, alarm)) == Some((end, alarm)) {
            return;
        }
        let end = humantime::format_rfc3339_seconds(end);
        match alarm {
            Alarm::Soon => {
                log::warn!(end:% = end; "the client certificate for the API server ends within a day")
            }
            Alarm::Over => {
                log::error!(end:% = end; "the client certificate for the API server has expired: nothing works until it is renewed")
            }
        }
    }
}

fn alarm(end: SystemTime, now: SystemTime) -> Option<Alarm> {
    match end.duration_since(now) {
        Err(_) => Some(Alarm::Over),
        Ok(left) if left.is_zero() => Some(Alarm::Over),
        Ok(left) if left < DAY => Some(Alarm::Soon),
        Ok(_) => None,
    }
}

/// Source: kube-client.md 2.3.
const DAY: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_announced_a_day_before() {
        let now = SystemTime::UNIX_EPOCH + 10 * DAY;
        for (case, end, want) in [
            ("in a day", now + DAY, None),
            (
                "in less than a day",
                now + DAY - Duration::from_secs(1),
                Some(Alarm::Soon),
            ),
            ("now", now, Some(Alarm::Over)),
            ("over", now - DAY, Some(Alarm::Over)),
        ] {
            assert_eq!(alarm(end, now), want, "{case}");
        }
    }
}
