//! The same failure again and again: said once, then counted.

use std::fmt::{self, Write as _};
use std::time::Duration;

use log::Record;
use log::kv::{self, Key, Value, VisitSource};
use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};

/// How long a failure that was said is not said again.
pub(super) const WINDOW: Duration = Duration::from_secs(5 * 60);
/// How many failures are told apart. One more, and the one that was silent for longest is forgotten, and said when it comes back.
pub(super) const CAPACITY: usize = 256;

/// Which failures were said lately. Takes no memory before the first.
#[derive(Debug, Default)]
pub(super) struct Thinner(Vec<Seen>);

#[derive(Debug)]
struct Seen {
    failure: Failure,
    /// When it was said.
    said: Duration,
    /// When it happened last.
    happened: Duration,
    /// How often it happened since it was said.
    repeated: u64,
}

/// What to do with a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Say it.
    Say {
        /// How often it happened unsaid since it was said last.
        repeated: u64,
    },
    /// It was said a moment ago.
    Hide,
}

impl Thinner {
    /// The failure happens at `now`, which never goes back.
    pub(super) fn admit(&mut self, failure: Failure, now: Duration) -> Verdict {
        let Some(seen) = self.0.iter_mut().find(|seen| seen.failure == failure) else {
            self.remember(failure, now);
            return Verdict::Say { repeated: 0 };
        };
        seen.happened = now;
        if now.saturating_sub(seen.said) < WINDOW {
            seen.repeated += 1;
            return Verdict::Hide;
        }
        seen.said = now;
        Verdict::Say {
            repeated: std::mem::take(&mut seen.repeated),
        }
    }

    fn remember(&mut self, failure: Failure, now: Duration) {
        let new = Seen {
            failure,
            said: now,
            happened: now,
            repeated: 0,
        };
        let full = self.0.len() == CAPACITY;
        let silent_for_longest = self.0.iter_mut().min_by_key(|seen| seen.happened);
        match silent_for_longest.filter(|seen| full || seen.is_over(now)) {
            Some(seen) => *seen = new,
            None => self.0.push(new),
        }
    }
}

impl Seen {
    /// Whether forgetting it changes nothing.
    fn is_over(&self, now: Duration) -> bool {
        self.repeated == 0 && now.saturating_sub(self.said) >= WINDOW
    }
}

/// What tells two failures apart: level, module, message and fields, but for those that say when, how long or how often.
///
/// A digest, so that what is remembered is small however long the records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure([u8; SHA256_OUTPUT_LEN]);

impl Failure {
    pub(super) fn of(record: &Record<'_>) -> Self {
        let mut parts = Parts(Context::new(&SHA256), 0);
        parts.add(&record.level());
        parts.add(&record.target());
        parts.add(record.args());
        // the visitor only feeds the digest
        let _ = record.key_values().visit(&mut parts);
        let digest = parts.0.finish();
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

/// Fields of which two records of one failure may differ.
fn tells_time(key: &str) -> bool {
    const UNITS: [&str; 5] = ["_us", "_ms", "_s", "_seconds", "_minutes"];
    UNITS.iter().any(|unit| key.ends_with(unit)) || ["attempt", "attempts"].contains(&key)
}

/// A digest, and the bytes of the part that it is at. Each part is followed by its length: two different lists of parts never
/// make the same bytes.
struct Parts(Context, u64);

impl Parts {
    fn add(&mut self, part: &dyn fmt::Display) {
        // feeding the digest does not fail
        let _ = write!(self, "{part}");
        self.0.update(&self.1.to_be_bytes());
        self.1 = 0;
    }
}

impl fmt::Write for Parts {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        self.1 += text.len() as u64;
        Ok(())
    }
}

impl<'kvs> VisitSource<'kvs> for Parts {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        if !tells_time(key.as_str()) {
            self.add(&key);
            self.add(&value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use log::Level;
    use proptest::prelude::*;

    use super::*;

    const SAY: Verdict = Verdict::Say { repeated: 0 };

    fn failure(message: &str, fields: &[(&str, Value<'_>)]) -> Failure {
        of(Level::Warn, "a", message, fields)
    }

    fn of(level: Level, target: &str, message: &str, fields: &[(&str, Value<'_>)]) -> Failure {
        Failure::of(
            &Record::builder()
                .level(level)
                .target(target)
                .args(format_args!("{message}"))
                .key_values(&fields)
                .build(),
        )
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_repeated_failure_is_said_once_a_window_with_its_count() {
        let (mut thinner, one) = (Thinner::default(), failure("one", &[]));
        for (case, seconds, want) in [
            ("the first", 10, SAY),
            ("at once", 10, Verdict::Hide),
            ("later", 200, Verdict::Hide),
            ("just before the window ends", 309, Verdict::Hide),
            ("when it ends", 310, Verdict::Say { repeated: 3 }),
            ("again", 311, Verdict::Hide),
            ("the next window", 611, Verdict::Say { repeated: 1 }),
            ("once in a long while", 5_000, SAY),
        ] {
            assert_eq!(thinner.admit(one, at(seconds)), want, "{case}");
        }
    }

    #[test]
    fn different_failures_do_not_hide_each_other() {
        let web = [
            ("service", Value::from("shop/web")),
            ("error", Value::from("timeout")),
        ];
        let cases = [
            ("one", failure("cannot sync", &web)),
            ("another message", failure("cannot delete", &web)),
            ("another level", of(Level::Error, "a", "cannot sync", &web)),
            ("another module", of(Level::Warn, "b", "cannot sync", &web)),
            (
                "another value",
                failure(
                    "cannot sync",
                    &[("service", Value::from("shop/api")), web[1].clone()],
                ),
            ),
            (
                "another field",
                failure(
                    "cannot sync",
                    &[("node", Value::from("shop/web")), web[1].clone()],
                ),
            ),
            ("a field less", failure("cannot sync", &web[..1])),
            ("no field", failure("cannot sync", &[])),
            (
                "a value in the message",
                failure("cannot syncserviceshop/web", &web[1..]),
            ),
            ("a count", failure("cannot sync", &[("nodes", Value::from(2))])),
            (
                "another count",
                failure("cannot sync", &[("nodes", Value::from(3))]),
            ),
        ];
        let mut thinner = Thinner::default();
        for (case, failure) in cases {
            assert_eq!(thinner.admit(failure, at(1)), SAY, "{case}");
        }
    }

    #[test]
    fn when_how_long_and_how_often_make_no_difference() {
        for key in [
            "duration_ms",
            "waited_ms",
            "delay_ms",
            "retry_s",
            "age_seconds",
            "attempt",
            "attempts",
        ] {
            let [one, two] =
                [1, 2].map(|value| failure("m", &[("node", Value::from("a")), (key, Value::from(value))]));
            assert_eq!(one, two, "{key}");
        }
        let [one, two] = [1, 2].map(|value| failure("m", &[("tries_left", Value::from(value))]));
        assert_ne!(one, two, "other numbers do");
    }

    fn numbered(number: usize) -> Failure {
        failure("m", &[("number", Value::from(number))])
    }

    #[test]
    fn the_failure_that_was_silent_for_longest_is_forgotten_first() {
        let mut thinner = Thinner::default();
        for number in 0..CAPACITY {
            thinner.admit(numbered(number), at(number as u64 / 10));
        }
        assert_eq!(thinner.admit(numbered(0), at(30)), Verdict::Hide);
        assert_eq!(thinner.admit(numbered(CAPACITY), at(31)), SAY);
        assert_eq!(
            thinner.admit(numbered(0), at(32)),
            Verdict::Hide,
            "it happened again and is kept"
        );
        assert_eq!(thinner.admit(numbered(1), at(33)), SAY, "it made room");
        assert_eq!(thinner.0.len(), CAPACITY);
    }

    #[test]
    fn failures_of_long_ago_make_room_before_more_is_taken() {
        let mut thinner = Thinner::default();
        for number in 0..1_000 {
            thinner.admit(numbered(number), at(number as u64 * 400));
        }
        assert_eq!(thinner.0.len(), 1);
        assert_eq!(Thinner::default().0.capacity(), 0, "nothing said takes nothing");
    }

    proptest! {
        #[test]
        fn nothing_is_hidden_that_was_not_said_within_the_window(steps in proptest::collection::vec((0usize..300, 0u64..20), 0..600)) {
            let (mut thinner, mut now, mut said) = (Thinner::default(), at(0), std::collections::HashMap::new());
            for (number, seconds) in steps {
                now += at(seconds);
                match thinner.admit(numbered(number), now) {
                    Verdict::Say { .. } => {
                        said.insert(number, now);
                    }
                    Verdict::Hide => prop_assert!(said.get(&number).is_some_and(|said| now - *said < WINDOW)),
                }
                prop_assert!(thinner.0.len() <= CAPACITY);
            }
        }
    }
}
