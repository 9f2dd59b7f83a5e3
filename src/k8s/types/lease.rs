//! Leases: who leads.
//!
//! Unlike the other kinds, a Lease is written back whole, since an update of one is only accepted with its version: so all of what was
//! read is kept, also what nobody here knows. What a field says is looked at when it is asked for, and may be nonsense.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

/// A Lease as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease(Value);

/// Something else than a Lease that can be written back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a Lease: {0}")]
pub struct NotALease(String);

/// Whom a Lease names as its holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder<'a> {
    /// Nobody: the field is empty, `null` or missing.
    Nobody,
    /// Whoever calls itself that.
    Named(&'a str),
    /// The field is no text. It may well be held.
    Unreadable,
}

/// For how long after a renewal a Lease is its holder's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Term {
    /// Not at all: the field is 0, `null` or missing.
    None,
    /// So long.
    For(Duration),
    /// The field is no number of seconds that an API server would take.
    Unreadable,
}

/// What a candidate writes into a Lease. All else stays as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Who holds it from now on; empty for nobody.
    pub holder: &'a str,
    /// For how long after `now`, in seconds.
    pub seconds: u32,
    /// The date.
    pub now: SystemTime,
    /// Whether the same holder goes on, so that the time of its beginning stays.
    pub tenure: Tenure,
}

/// Whose the Lease was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tenure {
    /// The same holder goes on.
    Goes,
    /// A new one begins.
    Begins,
    /// It ends: nobody holds it.
    Ends,
}

impl Lease {
    /// Takes what an API server sent for one Lease.
    ///
    /// # Errors
    /// It is something else, or it lacks what an update needs.
    pub fn parse(object: Value) -> Result<Self, NotALease> {
        let kind = &object["kind"];
        if kind != "Lease" {
            return Err(NotALease(format!("its kind is {}", shown(kind))));
        }
        for field in ["name", "uid", "resourceVersion"] {
            let found = &object["metadata"][field];
            if found.as_str().is_none_or(str::is_empty) {
                return Err(NotALease(format!("metadata.{field} is {}", shown(found))));
            }
        }
        Ok(Self(object))
    }

    /// A Lease that does not exist yet, as it is sent to be made.
    pub fn draft(namespace: &str, name: &str, entry: &Entry<'_>) -> Value {
        let metadata = serde_json::json!({ "namespace": namespace, "name": name });
        let mut object =
            serde_json::json!({ "apiVersion": API, "kind": "Lease", "metadata": metadata, "spec": {} });
        write(&mut object, entry);
        // the first tenure is no transition
        object["spec"]["leaseTransitions"] = 0.into();
        object
    }

    /// All of it, changed as `entry` says, to be sent back.
    pub fn with(&self, entry: &Entry<'_>) -> Value {
        let mut object = self.0.clone();
        write(&mut object, entry);
        object
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.text("name")
    }

    /// Tells it from a later one of the same name.
    pub fn uid(&self) -> &str {
        self.text("uid")
    }

    /// Opaque; an update of any other version is refused.
    pub fn resource_version(&self) -> &str {
        self.text("resourceVersion")
    }

    /// The record of the election, whole: whatever changes in it is a sign of life. `null` where there is none.
    pub fn spec(&self) -> &Value {
        &self.0["spec"]
    }

    /// Whom it names.
    pub fn holder(&self) -> Holder<'_> {
        match (self.spec(), &self.spec()["holderIdentity"]) {
            (Value::Object(_), Value::String(name)) if !name.is_empty() => Holder::Named(name),
            (Value::Null, _) | (Value::Object(_), Value::Null | Value::String(_)) => Holder::Nobody,
            _ => Holder::Unreadable,
        }
    }

    /// How long it lasts.
    pub fn term(&self) -> Term {
        match (self.spec(), &self.spec()["leaseDurationSeconds"]) {
            (Value::Null, _) | (Value::Object(_), Value::Null) => Term::None,
            (_, seconds) => match seconds.as_u64().map(u32::try_from) {
                Some(Ok(0)) => Term::None,
                Some(Ok(seconds)) if seconds <= MOST => Term::For(Duration::from_secs(seconds.into())),
                _ => Term::Unreadable,
            },
        }
    }

    /// How often the holder changed; 0 where that cannot be read.
    pub fn transitions(&self) -> u32 {
        let found = self.spec()["leaseTransitions"].as_u64().unwrap_or(0);
        u32::try_from(found).unwrap_or(MOST).min(MOST)
    }

    /// Whether it looks as a holder leaves it that gives it up: nobody's, for a second, begun and renewed at the same time.
    /// Source: client-go tools/leaderelection/leaderelection.go, `release`.
    pub fn is_released(&self) -> bool {
        let spec = self.spec();
        let (began, renewed) = (&spec["acquireTime"], &spec["renewTime"]);
        self.holder() == Holder::Nobody
            && self.term() == Term::For(Duration::from_secs(1))
            && renewed.is_string()
            && began == renewed
    }

    /// Set where a coordinator is to choose the leader, which we do not follow.
    pub fn strategy(&self) -> Option<&str> {
        self.spec()["strategy"].as_str().filter(|name| !name.is_empty())
    }

    /// What no candidate would have written, each with what was found.
    pub fn nonsense(&self) -> Vec<String> {
        let spec = self.spec();
        if !spec.is_object() && !spec.is_null() {
            return vec![format!("spec is {}", shown(spec))];
        }
        let date = |value: &Value| value.is_null() || value.as_str().is_some_and(is_date);
        let count = |value: &Value| value.is_null() || value.as_u64().is_some_and(|n| n <= MOST.into());
        let fields = [
            ("holderIdentity", self.holder() != Holder::Unreadable),
            ("leaseDurationSeconds", self.term() != Term::Unreadable),
            ("acquireTime", date(&spec["acquireTime"])),
            ("renewTime", date(&spec["renewTime"])),
            ("leaseTransitions", count(&spec["leaseTransitions"])),
        ];
        fields
            .into_iter()
            .filter(|(_, fine)| !fine)
            .map(|(field, _)| format!("spec.{field} is {}", shown(&spec[field])))
            .collect()
    }

    fn text(&self, field: &str) -> &str {
        self.0["metadata"][field].as_str().unwrap_or_default()
    }
}

fn write(object: &mut Value, entry: &Entry<'_>) {
    let transitions = Lease(object.clone()).transitions();
    let now = micro_time(entry.now);
    if !object["spec"].is_object() {
        object["spec"] = Value::Object(Map::new());
    }
    let spec = &mut object["spec"];
    let began = spec["acquireTime"].as_str().is_some_and(is_micro_time);
    if entry.tenure != Tenure::Goes || !began {
        spec["acquireTime"] = now.clone().into();
    }
    spec["renewTime"] = now.into();
    spec["holderIdentity"] = entry.holder.into();
    spec["leaseDurationSeconds"] = entry.seconds.into();
    spec["leaseTransitions"] = match entry.tenure {
        Tenure::Begins => (transitions + 1).min(MOST).into(),
        Tenure::Goes | Tenure::Ends => transitions.into(),
    };
}

/// A date as a Lease has it: UTC, with exactly six digits of a second, for the API server takes no other.
/// Source: apimachinery pkg/apis/meta/v1/micro_time.go.
pub fn micro_time(date: SystemTime) -> String {
    humantime::format_rfc3339_micros(date).to_string()
}

fn is_micro_time(text: &str) -> bool {
    humantime::parse_rfc3339(text).is_ok_and(|date| micro_time(date) == text)
}

/// Any way of writing a date that is read anywhere, also with an offset.
fn is_date(text: &str) -> bool {
    let utc = match text.char_indices().rev().nth(5) {
        Some((at, '+' | '-')) if text[at + 1..].bytes().all(|b| b.is_ascii_digit() || b == b':') => {
            format!("{}Z", &text[..at])
        }
        _ => text.to_owned(),
    };
    humantime::parse_rfc3339(&utc).is_ok()
}

fn shown(value: &Value) -> String {
    let mut text = value.to_string();
    if let Some((end, _)) = text.char_indices().nth(LONGEST_SHOWN) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The group and version of Leases.
pub const API: &str = "coordination.k8s.io/v1";
/// The API server's numbers have 32 bits and a sign.
const MOST: u32 = i32::MAX as u32;
/// Of a value that makes no sense, for people.
const LONGEST_SHOWN: usize = 64;

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use serde_json::json;

    use super::*;

    fn lease(spec: Value) -> Lease {
        let metadata = json!({"name": "ccm", "uid": "u", "resourceVersion": "7"});
        Lease::parse(json!({"kind": "Lease", "metadata": metadata, "spec": spec})).unwrap()
    }

    fn date(micros: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(micros)
    }

    #[test]
    fn only_a_lease_is_taken_for_one() {
        let metadata = json!({"name": "ccm", "uid": "u", "resourceVersion": "7"});
        for (case, object, want) in [
            ("a Lease", json!({"kind": "Lease", "metadata": metadata}), ""),
            (
                "another kind",
                json!({"kind": "ConfigMap", "metadata": metadata}),
                r#"not a Lease: its kind is "ConfigMap""#,
            ),
            ("no kind", json!({}), "not a Lease: its kind is null"),
            ("no object", json!([1]), "not a Lease: its kind is null"),
            (
                "no version",
                json!({"kind": "Lease", "metadata": {"name": "ccm", "uid": "u"}}),
                "not a Lease: metadata.resourceVersion is null",
            ),
            (
                "metadata that is text",
                json!({"kind": "Lease", "metadata": "x"}),
                "not a Lease: metadata.name is null",
            ),
        ] {
            let found = Lease::parse(object).map_or_else(|e| e.to_string(), |_| String::new());
            assert_eq!(found, want, "{case}");
        }
    }

    /// F62: the lease says anything.
    #[test]
    fn what_a_lease_says_is_read_safely() {
        use Holder::{Named, Nobody, Unreadable};
        let seconds = |n| Term::For(Duration::from_secs(n));
        for (case, spec, holder, term, nonsense) in [
            (
                "held",
                json!({"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "2026-01-02T03:04:05.000006Z",
                    "acquireTime": "2026-01-02T03:04:05+08:00", "leaseTransitions": 3}),
                Named("a"),
                seconds(15),
                vec![],
            ),
            ("nothing", json!(null), Nobody, Term::None, vec![]),
            ("empty", json!({}), Nobody, Term::None, vec![]),
            (
                "blank",
                json!({"holderIdentity": "", "leaseDurationSeconds": 0}),
                Nobody,
                Term::None,
                vec![],
            ),
            (
                "no object",
                json!("x"),
                Unreadable,
                Term::Unreadable,
                vec![r#"spec is "x""#],
            ),
            (
                "all of it nonsense",
                json!({"holderIdentity": 7, "leaseDurationSeconds": -5, "renewTime": "soon", "acquireTime": {}, "leaseTransitions": "x"}),
                Unreadable,
                Term::Unreadable,
                vec![
                    "spec.holderIdentity is 7",
                    "spec.leaseDurationSeconds is -5",
                    "spec.acquireTime is {}",
                    "spec.renewTime is \"soon\"",
                    "spec.leaseTransitions is \"x\"",
                ],
            ),
            (
                "a duration too long for the API server",
                json!({"holderIdentity": "a", "leaseDurationSeconds": 1u64 << 31}),
                Named("a"),
                Term::Unreadable,
                vec!["spec.leaseDurationSeconds is 2147483648"],
            ),
            (
                "half a second",
                json!({"holderIdentity": "a", "leaseDurationSeconds": 0.5}),
                Named("a"),
                Term::Unreadable,
                vec!["spec.leaseDurationSeconds is 0.5"],
            ),
        ] {
            let lease = lease(spec);
            assert_eq!((lease.holder(), lease.term()), (holder, term), "{case}");
            assert_eq!(lease.nonsense(), nonsense, "{case}");
        }
        let long = lease(json!("界".repeat(100))).nonsense();
        assert_eq!(long[0].chars().count(), "spec is ".len() + LONGEST_SHOWN + 1);
    }

    #[test]
    fn only_what_a_holder_leaves_behind_is_a_release() {
        let released = json!({"holderIdentity": "", "leaseDurationSeconds": 1,
            "acquireTime": "2026-01-02T03:04:05.000006Z", "renewTime": "2026-01-02T03:04:05.000006Z"});
        assert!(lease(released.clone()).is_released());
        for (field, value) in [
            ("holderIdentity", json!("a")),
            ("holderIdentity", json!(7)),
            ("leaseDurationSeconds", json!(15)),
            ("leaseDurationSeconds", json!(null)),
            ("renewTime", json!("2026-01-02T03:04:06.000006Z")),
            ("renewTime", json!(null)),
        ] {
            let mut blanked = released.clone();
            blanked[field] = value.clone();
            assert!(!lease(blanked).is_released(), "{field}: {value}");
        }
    }

    #[test]
    fn a_write_keeps_all_that_is_not_the_holders() {
        let object = json!({
            "apiVersion": API, "kind": "Lease", "more": true,
            "metadata": {"name": "ccm", "uid": "u", "resourceVersion": "7", "labels": {"a": "b"}, "ownerReferences": [{"uid": "x"}]},
            "spec": {"holderIdentity": "a", "leaseDurationSeconds": 30, "acquireTime": "2026-01-02T03:04:05.000006Z",
                "renewTime": "2026-01-02T03:04:05.000006Z", "leaseTransitions": 4, "strategy": "OldestEmulationVersion", "new": [1]},
        });
        let lease = Lease::parse(object.clone()).unwrap();
        let entry = |holder, tenure| Entry {
            holder,
            seconds: 15,
            now: date(1_767_323_046_000_000),
            tenure,
        };
        let want = |holder: &str, began: &str, transitions: u32| {
            let mut want = object.clone();
            want["spec"]["holderIdentity"] = holder.into();
            want["spec"]["leaseDurationSeconds"] = 15.into();
            want["spec"]["acquireTime"] = began.into();
            want["spec"]["renewTime"] = "2026-01-02T03:04:06.000000Z".into();
            want["spec"]["leaseTransitions"] = transitions.into();
            want
        };
        let (began, now) = ("2026-01-02T03:04:05.000006Z", "2026-01-02T03:04:06.000000Z");
        for (case, entry, want) in [
            ("renewed", entry("a", Tenure::Goes), want("a", began, 4)),
            ("taken over", entry("b", Tenure::Begins), want("b", now, 5)),
            ("released", entry("", Tenure::Ends), want("", now, 4)),
        ] {
            assert_eq!(lease.with(&entry), want, "{case}");
        }
        assert_eq!(lease.strategy(), Some("OldestEmulationVersion"));
    }

    #[test]
    fn nonsense_is_never_written_back() {
        let entry = Entry {
            holder: "b",
            seconds: 15,
            now: date(6),
            tenure: Tenure::Goes,
        };
        let want = json!({"holderIdentity": "b", "leaseDurationSeconds": 15, "acquireTime": "1970-01-01T00:00:00.000006Z",
            "renewTime": "1970-01-01T00:00:00.000006Z", "leaseTransitions": 0});
        for spec in [
            json!("x"),
            json!({"acquireTime": "1970-01-01T00:00:00Z", "leaseTransitions": -1}),
            json!({"acquireTime": 5, "renewTime": [], "leaseTransitions": {}}),
        ] {
            assert_eq!(lease(spec.clone()).with(&entry)["spec"], want, "{spec}");
        }
        let begins = Entry {
            tenure: Tenure::Begins,
            ..entry
        };
        let full = lease(json!({"leaseTransitions": MOST}));
        assert_eq!(full.with(&begins)["spec"]["leaseTransitions"], MOST);
        assert_eq!(Lease::draft("ns", "ccm", &begins)["spec"], want);
    }
}
