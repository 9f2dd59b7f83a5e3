//! Watches: from which version, which events, when they end. Pure: told the time, asked for the next piece.
//!
//! Source: kube-client.md 3.1, 3.4, 3.5 and 3.10; apiserver pkg/storage/cacher; compared with kube-apiserver 1.37.2.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::list::parse_version;
use super::object::{Resource, set};
use super::request::{Form, ListOptions};
use super::status::{Cause, Failure};
use super::store::{Change, Store};
use super::{KubeVersion, Lost, Settings, Signals, table};
use crate::sim::server::Now;

/// What a watch has to say at a moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Poll {
    /// An event.
    Bytes(Vec<u8>),
    /// Nothing before something is written, or that time has come.
    Wait(Instant),
    /// It is over.
    End,
}

/// One watch.
#[derive(Debug)]
pub(super) struct Watch {
    resource: Resource,
    namespace: String,
    options: ListOptions,
    form: Form,
    kube: KubeVersion,
    /// Events of this version and before are not told.
    start: u64,
    /// The number of the first change not looked at.
    next_change: u64,
    /// The last version the client was told.
    told: u64,
    ends: Instant,
    bookmark_interval: Option<Duration>,
    next_bookmark: Option<Instant>,
    seen: Signals,
    queue: VecDeque<Vec<u8>>,
    over: bool,
}

/// Servers end a watch without `timeoutSeconds` after 30 to 60 minutes. Source: apiserver handlers.(handleWatch).
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(45 * 60);
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

impl Watch {
    /// Begins to watch.
    ///
    /// # Errors
    /// 410 for what is forgotten where [`Lost::Status`] is set, 422 for options that contradict each other, 500 for a
    /// version that is none.
    pub(super) fn open(
        store: &Store,
        settings: &Settings,
        signals: &Signals,
        place: (Resource, &str),
        options: ListOptions,
        form: Form,
        now: Now,
    ) -> Result<Self, Failure> {
        let kube = settings.version;
        let current = kube != KubeVersion::V1_14;
        let initial = options.initial_events.filter(|_| current);
        if current {
            check_options(&options)?;
        }
        let from = match options.version.as_deref() {
            None | Some("0") => None,
            Some(text) => Some(parse_version(text).ok_or_else(|| {
                Failure::internal(format!(
                    "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
                ))
            })?),
        };
        let timeout = options
            .timeout_seconds
            .map_or(DEFAULT_TIMEOUT, Duration::from_secs);
        let mut watch = Self {
            resource: place.0,
            namespace: place.1.to_owned(),
            form,
            kube,
            start: from.unwrap_or(store.version()),
            next_change: store.number_after(from.unwrap_or(store.version())),
            told: from.unwrap_or(0),
            ends: now.monotonic + timeout,
            bookmark_interval: settings
                .bookmark_interval
                .filter(|_| options.bookmarks && current),
            next_bookmark: None,
            seen: signals.clone(),
            queue: VecDeque::new(),
            over: false,
            options,
        };
        watch.next_bookmark = watch.bookmark_after(now.monotonic);
        if initial.unwrap_or(from.is_none()) {
            watch.start = store.version();
            watch.next_change = store.number_after(store.version());
            watch.tell_all(store, now);
        } else if let Some(from) = from.filter(|from| *from < store.oldest()) {
            let failure = watch.lost(from, store.oldest());
            if settings.lost == Lost::Status {
                return Err(failure);
            }
            watch.tell("ERROR", &failure.to_value());
            watch.over = true;
        }
        Ok(watch)
    }

    /// The next piece at the time `now`.
    pub(super) fn poll(&mut self, store: &Store, signals: &Signals, now: Now) -> Poll {
        if self.queue.is_empty() && !self.over {
            self.look(store, signals, now);
        }
        if let Some(bytes) = self.queue.pop_front() {
            return Poll::Bytes(bytes);
        }
        if self.over {
            return Poll::End;
        }
        Poll::Wait(self.next_bookmark.map_or(self.ends, |at| at.min(self.ends)))
    }

    fn look(&mut self, store: &Store, signals: &Signals, now: Now) {
        if self.seen.expire != signals.expire {
            self.fail(store);
        } else if self.seen.end != signals.end {
            self.over = true;
        } else {
            match store.changes_from(self.next_change) {
                None => self.fail(store),
                Some(changes) => {
                    // borrowed from the store, not from the watch
                    for change in changes {
                        self.next_change += 1;
                        self.tell_change(change, now);
                    }
                }
            }
        }
        if self.over || !self.queue.is_empty() {
            return;
        }
        let due = self.next_bookmark.is_some_and(|at| at <= now.monotonic);
        if due || self.seen.bookmark != signals.bookmark {
            self.seen.bookmark = signals.bookmark;
            self.next_bookmark = self.bookmark_after(now.monotonic);
            if self.bookmark_interval.is_some() && store.version() > self.told {
                self.tell_bookmark(store.version(), false);
            }
        }
        if self.queue.is_empty() && self.ends <= now.monotonic {
            self.over = true;
        }
    }

    fn bookmark_after(&self, now: Instant) -> Option<Instant> {
        let regular = now + self.bookmark_interval?;
        let last = self.ends.checked_sub(LAST_BOOKMARK).filter(|last| *last > now);
        Some(last.map_or(regular, |last| last.min(regular)))
    }

    fn lost(&self, from: u64, oldest: u64) -> Failure {
        let mut failure = Failure::expired(format!("too old resource version: {from} ({oldest})"));
        if self.kube == KubeVersion::V1_14 {
            failure.reason = Some("Gone");
        }
        failure
    }

    fn fail(&mut self, store: &Store) {
        let failure = self.lost(self.told, store.version());
        self.tell("ERROR", &failure.to_value());
        self.over = true;
    }

    fn tell_all(&mut self, store: &Store, now: Now) {
        for object in store.list(self.resource, &self.namespace) {
            if self.options.selector.matches(&object) {
                self.tell_object("ADDED", &object, now);
            }
        }
        self.told = store.version();
        let marks = self.options.bookmarks || self.options.initial_events == Some(true);
        if marks && self.kube != KubeVersion::V1_14 {
            self.tell_bookmark(store.version(), true);
        }
    }

    fn tell_change(&mut self, change: &Change, now: Now) {
        let here = change.key.resource == self.resource
            && (self.namespace.is_empty() || change.key.namespace == self.namespace);
        if !here || change.version <= self.start {
            return;
        }
        let meant = |object: &Option<std::sync::Arc<Value>>| {
            object
                .clone()
                .filter(|object| self.options.selector.matches(object))
        };
        match (meant(&change.before), meant(&change.after)) {
            (None, None) => return,
            (None, Some(after)) => self.tell_object("ADDED", &after, now),
            (Some(_), Some(after)) => self.tell_object("MODIFIED", &after, now),
            (Some(before), None) => {
                let mut last = Value::clone(&before);
                set(&mut last, "/metadata/resourceVersion", change.version.to_string());
                self.tell_object("DELETED", &last, now);
            }
        }
        self.told = change.version;
    }

    fn tell_object(&mut self, what: &str, object: &Value, now: Now) {
        match self.form {
            Form::Plain => self.tell(what, object),
            Form::Table { whole } => {
                let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                let table = table::table(self.resource, [object], &metadata, whole, now.wall);
                self.tell(what, &table);
            }
        }
    }

    fn tell_bookmark(&mut self, version: u64, initial_end: bool) {
        let mut metadata = json!({"resourceVersion": version.to_string()});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({
            "kind": self.resource.kind(), "apiVersion": self.resource.api_version(), "metadata": metadata,
        });
        self.tell("BOOKMARK", &object);
        self.told = version;
    }

    fn tell(&mut self, what: &str, object: &Value) {
        // the real one writes the type first, too
        let mut bytes = format!(r#"{{"type":{},"object":{object}}}"#, json!(what)).into_bytes();
        bytes.push(b'\n');
        self.queue.push_back(bytes);
    }
}

/// Source: apimachinery pkg/apis/meta/internalversion/validation.
fn check_options(options: &ListOptions) -> Result<(), Failure> {
    let given = !options.version_match.is_empty();
    let cause = match options.initial_events {
        None if given => Cause::forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
        Some(_) if options.version_match != "NotOlderThan" => Cause::forbidden(
            "resourceVersionMatch",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
        _ => return Ok(()),
    };
    Err(Failure::invalid_kind("meta.k8s.io", "ListOptions", "", &[cause]))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::super::selector::Selector;
    use super::super::store::Key;
    use super::*;

    struct World {
        store: Store,
        settings: Settings,
        signals: Signals,
        now: Now,
    }

    impl World {
        fn new() -> Self {
            let settings = Settings {
                bookmark_interval: Some(Duration::from_secs(60)),
                ..Settings::default()
            };
            let now = Now {
                monotonic: Instant::now(),
                wall: UNIX_EPOCH,
            };
            Self {
                store: Store::new(100),
                settings,
                signals: Signals::default(),
                now,
            }
        }

        fn put(&mut self, name: &str, label: &str) {
            let object = json!({"metadata": {"name": name, "labels": {"l": label}}});
            self.store.put(Key::of(Resource::Nodes, &object), object);
        }

        fn remove(&mut self, name: &str) {
            self.store.remove(&Key::new(Resource::Nodes, "", name)).unwrap();
        }

        fn open(&self, options: ListOptions) -> Result<Watch, Failure> {
            let place = (Resource::Nodes, "");
            Watch::open(
                &self.store,
                &self.settings,
                &self.signals,
                place,
                options,
                Form::Plain,
                self.now,
            )
        }

        /// What the watch has to say now: `ADDED n1@1`, and whether it is over.
        fn said(&self, watch: &mut Watch) -> (Vec<String>, bool) {
            let mut said = Vec::new();
            loop {
                match watch.poll(&self.store, &self.signals, self.now) {
                    Poll::Wait(_) => return (said, false),
                    Poll::End => return (said, true),
                    Poll::Bytes(bytes) => {
                        let event: Value = serde_json::from_slice(&bytes).unwrap();
                        let (metadata, code) =
                            (&event["object"]["metadata"], event["object"]["code"].as_u64());
                        let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
                        said.push(match code {
                            Some(code) => format!(
                                "{} {code} {}",
                                text(&event["type"]),
                                text(&event["object"]["reason"])
                            ),
                            None => format!(
                                "{} {}@{}",
                                text(&event["type"]),
                                text(&metadata["name"]),
                                text(&metadata["resourceVersion"])
                            ),
                        });
                    }
                }
            }
        }
    }

    fn from(version: &str) -> ListOptions {
        ListOptions {
            version: Some(version.into()),
            bookmarks: true,
            ..ListOptions::default()
        }
    }

    #[test]
    fn a_watch_tells_what_happens_after_its_version() {
        let mut world = World::new();
        world.put("a", "x");
        world.put("b", "x");
        let mut watch = world.open(from("1")).unwrap();
        assert_eq!(world.said(&mut watch).0, ["ADDED b@2"]);
        world.put("a", "y");
        world.remove("b");
        assert_eq!(
            world.said(&mut watch),
            (vec!["MODIFIED a@3".into(), "DELETED b@4".into()], false)
        );
    }

    #[test]
    fn a_watch_without_a_version_begins_with_what_is_there() {
        let mut world = World::new();
        world.put("a", "x");
        for (case, version, bookmarks, want) in [
            ("unset", None, false, vec!["ADDED a@1"]),
            ("zero", Some("0"), false, vec!["ADDED a@1"]),
            (
                "zero, with bookmarks",
                Some("0"),
                true,
                vec!["ADDED a@1", "BOOKMARK @1"],
            ),
        ] {
            let options = ListOptions {
                version: version.map(str::to_owned),
                bookmarks,
                ..ListOptions::default()
            };
            let mut watch = world.open(options).unwrap();
            assert_eq!(world.said(&mut watch).0, want, "{case}");
        }
    }

    #[test]
    fn a_selector_turns_changes_into_comings_and_goings() {
        let mut world = World::new();
        world.put("a", "x");
        let options = ListOptions {
            selector: Selector::parse(Resource::Nodes, "l=y", "").unwrap(),
            ..from("1")
        };
        let mut watch = world.open(options).unwrap();
        for label in ["y", "y", "x", "x"] {
            world.put("a", label);
        }
        assert_eq!(
            world.said(&mut watch).0,
            ["ADDED a@2", "MODIFIED a@3", "DELETED a@4"]
        );
    }

    #[test]
    fn a_version_of_the_future_is_silent_until_it_is_passed() {
        let mut world = World::new();
        world.put("a", "x");
        let mut watch = world.open(from("3")).unwrap();
        for label in ["b", "c", "d"] {
            world.put("a", label);
        }
        assert_eq!(world.said(&mut watch).0, ["MODIFIED a@4"]);
    }

    #[test]
    fn bookmarks_come_by_the_clock_before_the_end_and_when_told() {
        let mut world = World::new();
        world.put("a", "x");
        let options = ListOptions {
            timeout_seconds: Some(100),
            ..from("1")
        };
        let mut watch = world.open(options).unwrap();
        let start = world.now.monotonic;
        // other resources move the version on, unseen by this watch
        let elsewhere = |world: &mut World| {
            let object = json!({"metadata": {"name": "s"}});
            world.store.put(Key::of(Resource::Services, &object), object);
        };
        for (case, seconds, written, signal, want) in [
            ("nothing new to tell", 61, false, false, vec![]),
            ("not yet", 62, true, false, vec![]),
            (
                "two seconds before the end",
                98,
                false,
                false,
                vec!["BOOKMARK @2"],
            ),
            ("when told", 99, true, true, vec!["BOOKMARK @3"]),
            ("the end", 100, false, false, vec![]),
        ] {
            if written {
                elsewhere(&mut world);
            }
            world.signals.bookmark += u64::from(signal);
            world.now.monotonic = start + Duration::from_secs(seconds);
            assert_eq!(
                world.said(&mut watch),
                (want.into_iter().map(str::to_owned).collect(), seconds == 100),
                "{case}"
            );
        }
    }

    #[test]
    fn what_is_forgotten_ends_in_410() {
        for (case, version, lost, want) in [
            (
                "as an event",
                KubeVersion::Current,
                Lost::Event,
                Ok("ERROR 410 Expired"),
            ),
            ("as a status", KubeVersion::Current, Lost::Status, Err(410)),
            (
                "in old words",
                KubeVersion::V1_14,
                Lost::Event,
                Ok("ERROR 410 Gone"),
            ),
        ] {
            let mut world = World::new();
            (world.settings.version, world.settings.lost) = (version, lost);
            world.put("a", "x");
            let mut early = world.open(from("1")).unwrap();
            world.put("a", "y");
            world.store.compact();
            let opened = world.open(from("1"));
            let got = opened.map(|mut watch| world.said(&mut watch)).map_err(|f| f.code);
            assert_eq!(
                got,
                want.map(|event: &str| (vec![event.to_owned()], true)),
                "{case}"
            );
            assert_eq!(
                world.said(&mut early).0,
                ["MODIFIED a@2"],
                "{case}: an open watch misses nothing"
            );
        }
    }

    #[test]
    fn a_slow_watch_and_one_told_to_expire_end_in_410_and_one_told_to_end_ends() {
        let mut world = World::new();
        let mut slow = world.open(from("0")).unwrap();
        world.said(&mut slow);
        for n in 0..101 {
            world.put("a", &n.to_string());
        }
        assert_eq!(world.said(&mut slow), (vec!["ERROR 410 Expired".into()], true));
        let (mut expired, mut ended) = (world.open(from("101")).unwrap(), world.open(from("101")).unwrap());
        world.signals.end += 1;
        assert_eq!(world.said(&mut ended), (vec![], true));
        world.signals.expire += 1;
        assert_eq!(world.said(&mut expired), (vec!["ERROR 410 Expired".into()], true));
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        let mut world = World::new();
        world.put("a", "x");
        let ask = |initial_events, version_match: &str, version: Option<&str>| ListOptions {
            initial_events,
            version_match: version_match.into(),
            version: version.map(str::to_owned),
            ..ListOptions::default()
        };
        for (case, options, want) in [
            ("no match", ask(Some(true), "", None), Err(422)),
            ("a match alone", ask(None, "NotOlderThan", Some("1")), Err(422)),
            ("a malformed version", ask(None, "", Some("abc")), Err(500)),
            (
                "a list as a watch",
                ask(Some(true), "NotOlderThan", Some("1")),
                Ok(vec!["ADDED a@1", "BOOKMARK @1"]),
            ),
        ] {
            let got = world
                .open(options)
                .map(|mut w| world.said(&mut w).0)
                .map_err(|f| f.code);
            assert_eq!(
                got,
                want.map(|w| w.into_iter().map(str::to_owned).collect()),
                "{case}"
            );
        }
        world.settings.version = KubeVersion::V1_14;
        let mut old = world.open(ask(Some(true), "NotOlderThan", Some("1"))).unwrap();
        assert_eq!(
            world.said(&mut old).0,
            Vec::<String>::new(),
            "an old server does not know the option"
        );
    }
}
