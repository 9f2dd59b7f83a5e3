//! Many occurrences → few events: pure.
//!
//! In this order, each with a bound on what is remembered. Source: client-go `tools/record`, `EventCorrelator`.
//! 1. An object that says ever different things for one reason says one combined thing from the tenth on.
//! 2. What was said before is counted, not said again.
//! 3. An object that says more than 25 things, and then more than one in five minutes, is not heard.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::recent::Recent;
use super::{EventType, ObjectRef};
use crate::runtime::random::Random;

/// Something that was recorded.
#[derive(Debug, Clone)]
pub(super) struct Occurrence {
    /// Who says it.
    pub(super) component: &'static str,
    pub(super) object: ObjectRef,
    pub(super) kind: EventType,
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) at: Instant,
    pub(super) wall: SystemTime,
}

/// What to send of it.
#[derive(Debug, Clone)]
pub(super) struct Event {
    /// Unique; what the API server knows it by.
    pub(super) name: String,
    pub(super) occurrence: Occurrence,
    pub(super) first: SystemTime,
    /// 1 for an event that is new.
    pub(super) count: u64,
    key: String,
}

/// What is remembered of an event sent before.
struct Sent {
    name: String,
    first: SystemTime,
    count: u64,
}

/// What an object said for one reason.
struct Group {
    messages: Vec<Box<str>>,
    last: Instant,
}

/// How much an object may still say.
struct Allowance {
    left: f64,
    at: Instant,
}

pub(super) struct Correlator {
    groups: Recent<Group>,
    sent: Recent<Sent>,
    allowances: Recent<Allowance>,
    /// The number in the last name, so that no two are alike.
    last_name: u128,
}

/// Source: client-go `record.maxLruCacheEntries`.
const REMEMBERED: usize = 4096;
/// Source: client-go `record.defaultAggregateMaxEvents`, `defaultAggregateIntervalInSeconds`.
const DIFFERENT: usize = 10;
const GAP: Duration = Duration::from_secs(600);
/// Source: client-go `record.defaultSpamBurst`, `defaultSpamQPS`.
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(300);
/// The longest message sent, in bytes. Source: kubernetes `events.k8s.io` validation of `note`.
const MESSAGE_LIMIT: usize = 1024;
/// The longest name of an object. Source: RFC 1123 subdomain, as apimachinery validates it.
const NAME_LIMIT: usize = 253;

impl Correlator {
    pub(super) fn new() -> Self {
        Self {
            groups: Recent::new(REMEMBERED),
            sent: Recent::new(REMEMBERED),
            allowances: Recent::new(REMEMBERED),
            last_name: 0,
        }
    }

    /// The event to send: a new one if its count is 1, else one to be counted on. `None` for one too many.
    pub(super) fn correlate(&mut self, mut occurrence: Occurrence, random: &Random) -> Option<Event> {
        let object = &occurrence.object;
        let said_by = [
            occurrence.component,
            object.api_version,
            object.kind,
            &object.namespace,
            &object.name,
            &object.uid,
            occurrence.kind.as_str(),
        ]
        .join("\0");
        let mut key = format!("{said_by}\0{}", occurrence.reason);
        if self.is_one_of_many(&key, &occurrence) {
            occurrence.message = format!("(combined from similar events): {}", occurrence.message);
        } else {
            key = format!("{key}\0{}", occurrence.message);
        }
        truncate(&mut occurrence.message, MESSAGE_LIMIT);
        let (wall, at) = (occurrence.wall, occurrence.at);
        let unnamed = || Sent {
            name: String::new(),
            first: wall,
            count: 0,
        };
        let sent = self.sent.entry(&key, unnamed);
        sent.count += 1;
        let mut event = Event {
            name: sent.name.clone(),
            occurrence,
            first: sent.first,
            count: sent.count,
            key,
        };
        if event.count == 1 {
            self.rename(&mut event, random);
        }
        self.is_allowed(&said_by, at).then_some(event)
    }

    /// Gives `event` a new name, under which later ones are counted: the server has forgotten the old one.
    pub(super) fn rename(&mut self, event: &mut Event, random: &Random) {
        let nanos = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        self.last_name = nanos(event.occurrence.wall).max(self.last_name + 1);
        event.name = name_of(&event.occurrence.object.name, self.last_name, random);
        let (name, first, count) = (&event.name, event.first, event.count);
        let sent = self.sent.entry(&event.key, || Sent {
            name: String::new(),
            first,
            count,
        });
        sent.name.clone_from(name);
    }

    fn is_one_of_many(&mut self, group: &str, occurrence: &Occurrence) -> bool {
        let group = self.groups.entry(group, || Group {
            messages: Vec::new(),
            last: occurrence.at,
        });
        if occurrence.at.saturating_duration_since(group.last) > GAP {
            group.messages.clear();
        }
        group.last = occurrence.at;
        if group
            .messages
            .iter()
            .any(|message| **message == *occurrence.message)
        {
            return false;
        }
        if group.messages.len() + 1 >= DIFFERENT {
            return true;
        }
        // one message is the rule
        group.messages.reserve_exact(1);
        group.messages.push(occurrence.message.as_str().into());
        false
    }

    fn is_allowed(&mut self, said_by: &str, at: Instant) -> bool {
        let allowance = self.allowances.entry(said_by, || Allowance { left: BURST, at });
        let since = at.saturating_duration_since(allowance.at);
        allowance.left = (allowance.left + since.as_secs_f64() / REFILL.as_secs_f64()).min(BURST);
        allowance.at = at;
        let is_allowed = allowance.left >= 1.0;
        if is_allowed {
            allowance.left -= 1.0;
        }
        is_allowed
    }
}

/// `<object>.<number in hex>`; a random UUID where that is not a valid name.
fn name_of(object: &str, number: u128, random: &Random) -> String {
    let name = format!("{object}.{number:x}");
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        label.bytes().all(|byte| inner(byte) || byte == b'-')
            && label.bytes().next().is_some_and(inner)
            && label.bytes().last().is_some_and(inner)
    };
    if name.len() <= NAME_LIMIT && name.split('.').all(is_label) {
        return name;
    }
    let (high, low) = (random.next_u64(), random.next_u64());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | (low >> 48) & 0x3fff,
        low & 0xffff_ffff_ffff
    )
}

fn truncate(text: &mut String, limit: usize) {
    if text.len() > limit {
        let end = (0..=limit)
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(0);
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Driven {
        correlator: Correlator,
        random: Random,
        start: Instant,
        elapsed: Duration,
    }

    fn driven() -> Driven {
        Driven {
            correlator: Correlator::new(),
            random: Random::from_seed(1),
            start: Instant::now(),
            elapsed: Duration::ZERO,
        }
    }

    impl Driven {
        fn say_of(&mut self, object: &str, kind: EventType, message: &str) -> Option<Event> {
            let occurrence = Occurrence {
                component: "tests",
                object: ObjectRef {
                    api_version: "v1",
                    kind: "Service",
                    namespace: "shop".into(),
                    name: object.into(),
                    uid: "u".into(),
                    resource_version: "1".into(),
                },
                kind,
                reason: "Tested",
                message: message.into(),
                at: self.start + self.elapsed,
                wall: UNIX_EPOCH + Duration::from_secs(1_800_000_000) + self.elapsed,
            };
            self.correlator.correlate(occurrence, &self.random)
        }

        fn say(&mut self, message: &str) -> Option<Event> {
            self.say_of("web", EventType::Normal, message)
        }
    }

    #[test]
    fn what_was_said_before_is_counted_under_its_name() {
        let mut d = driven();
        let first = d.say("hello").unwrap();
        d.elapsed = Duration::from_secs(60);
        let second = d.say("hello").unwrap();
        assert_eq!((first.count, second.count), (1, 2));
        assert_eq!((&second.name, second.first), (&first.name, first.first));
        let third = d.say("goodbye").unwrap();
        assert_eq!(third.count, 1);
        let other = d.say_of("web", EventType::Warning, "hello").unwrap();
        assert_eq!(other.count, 1, "a warning is another event");
        assert_ne!(third.name, other.name, "names differ even at one instant");
    }

    #[test]
    fn from_the_tenth_different_message_on_they_are_combined() {
        let mut d = driven();
        for n in 0..9 {
            let event = d.say(&format!("attempt {n}")).unwrap();
            assert_eq!(
                (event.count, event.occurrence.message),
                (1, format!("attempt {n}"))
            );
        }
        for (n, count) in [(9, 1), (10, 2), (11, 3)] {
            let event = d.say(&format!("attempt {n}")).unwrap();
            let want = format!("(combined from similar events): attempt {n}");
            assert_eq!((event.count, event.occurrence.message), (count, want));
        }
        assert_eq!(
            d.say("attempt 3").unwrap().count,
            2,
            "an early one is still counted by itself"
        );
        d.elapsed = GAP + Duration::from_secs(1);
        assert_eq!(
            d.say("attempt 12").unwrap().occurrence.message,
            "attempt 12",
            "after a gap"
        );
    }

    #[test]
    fn who_says_too_much_is_not_heard_for_a_while() {
        let mut d = driven();
        let heard = (0..40).filter_map(|_| d.say("again")).count();
        assert_eq!(heard, 25);
        assert!(
            d.say_of("db", EventType::Normal, "again").is_some(),
            "others are heard"
        );
        assert!(
            d.say_of("web", EventType::Warning, "again").is_some(),
            "warnings are heard"
        );
        d.elapsed = REFILL;
        let event = d.say("again").unwrap();
        assert_eq!(event.count, 41, "those not heard are counted");
        assert!(d.say("again").is_none());
    }

    #[test]
    fn a_forgotten_event_gets_a_new_name_and_keeps_its_count() {
        let mut d = driven();
        d.say("hello");
        let mut second = d.say("hello").unwrap();
        let old = second.name.clone();
        d.correlator.rename(&mut second, &d.random);
        assert_ne!(second.name, old);
        let third = d.say("hello").unwrap();
        assert_eq!((third.name, third.count), (second.name, 3));
    }

    #[test]
    fn a_message_is_cut_between_characters() {
        for (case, message, want) in [
            ("short", "x".repeat(1024), 1024),
            ("long", "x".repeat(1025), 1024),
            ("two bytes each", format!("x{}", "ö".repeat(600)), 1023),
        ] {
            let event = driven().say(&message).unwrap();
            assert_eq!(event.occurrence.message.len(), want, "{case}");
        }
    }

    #[test]
    fn a_name_is_always_valid() {
        let random = Random::from_seed(1);
        assert_eq!(name_of("web", 0x18ab, &random), "web.18ab");
        for object in ["", "system:node", "Web", "a..b", "-a", &"n".repeat(250)] {
            let name = name_of(object, 0x18ab, &random);
            let groups: Vec<usize> = name.split('-').map(str::len).collect();
            assert_eq!(groups, [8, 4, 4, 4, 12], "{object}: {name}");
        }
    }
}
