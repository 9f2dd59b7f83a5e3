//! Events: what an object's owner should read in `kubectl describe`.
//!
//! Whoever records one never waits: it goes into a bounded queue, and a thread of its own sends it, combined and counted
//! with those before. Events may be lost, and the server forgets them after an hour: nothing may depend on one.

mod correlate;
mod counts;
mod recent;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded, select, unbounded};
use log::{debug, warn};
use serde_json::{Value, json};

use self::correlate::{Correlator, Event, Occurrence};
use self::counts::{Counts, Why};
use crate::http::{Limits, percent_encode};
use crate::k8s::types::Resource;
use crate::k8s::{Call, Client, Error, PatchType};
use crate::metrics::Metrics;
use crate::runtime::chain;
use crate::runtime::clock::Clock;
use crate::runtime::random::Random;
use crate::runtime::stop::StopToken;

/// Whether an event is news or trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventType {
    /// Something was done.
    Normal,
    /// Something needs attention.
    Warning,
}

impl EventType {
    /// As Kubernetes spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// The object that an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRef {
    /// `v1`.
    pub api_version: &'static str,
    /// `Service`.
    pub kind: &'static str,
    /// Empty for a cluster-wide object; its events are in `default`.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Tells it from a later one of the same name.
    pub uid: Box<str>,
    /// The version that the event is about.
    pub resource_version: Box<str>,
}

impl ObjectRef {
    /// Names `object`, of the core group.
    pub fn of<T: Resource>(object: &T) -> Self {
        let meta = object.meta();
        Self {
            api_version: "v1",
            kind: T::KIND,
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
        }
    }

    fn namespace_of_events(&self) -> &str {
        if self.namespace.is_empty() {
            "default"
        } else {
            &self.namespace
        }
    }
}

/// Takes events, in the name of one component. Clones and namesakes feed the same sink.
#[derive(Clone)]
pub struct EventRecorder {
    component: &'static str,
    queue: Sender<Occurrence>,
    counts: Arc<Counts>,
    clock: Arc<dyn Clock>,
}

/// Sends them.
pub struct EventSink {
    client: Client,
    clock: Arc<dyn Clock>,
    random: Arc<Random>,
    queue: Receiver<Occurrence>,
    counts: Arc<Counts>,
    correlator: Correlator,
    pending: Option<Pending>,
    /// Set once it is time to stop: when to have ended.
    deadline: Option<Instant>,
}

/// What one [`EventSink::step`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Something was done; there may be more to do at once.
    Worked,
    /// Nothing is queued.
    Idle,
    /// Nothing to do for so long.
    Wait(Duration),
}

/// An event on its way.
struct Pending {
    event: Event,
    action: Action,
    tries: u32,
    due: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Create,
    Count,
}

/// So many may be queued, give or take one for each thread that records. Source: client-go `record.maxQueuedEvents`.
const QUEUE: usize = 1000;
/// Source: client-go `record.maxTriesPerEvent`, `defaultSleepDuration`.
const TRIES: u32 = 12;
const PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// An older event is no news.
const TOO_OLD: Duration = Duration::from_secs(600);
/// How long to go on sending once it is time to stop.
const FLUSH: Duration = Duration::from_secs(2);

/// A recorder and the sink that sends what it takes, in the name of `component`.
///
/// `client` should be one that still works for two seconds after the stop, and has its own rate limit.
pub fn recorder(
    component: &'static str,
    client: Client,
    clock: Arc<dyn Clock>,
    random: Arc<Random>,
) -> (EventRecorder, EventSink) {
    let (sender, receiver) = unbounded();
    let counts = Arc::new(Counts::default());
    let recorder = EventRecorder {
        component,
        queue: sender,
        counts: Arc::clone(&counts),
        clock: Arc::clone(&clock),
    };
    let sink = EventSink {
        client,
        clock,
        random,
        queue: receiver,
        counts,
        correlator: Correlator::new(),
        pending: None,
        deadline: None,
    };
    (recorder, sink)
}

impl EventRecorder {
    /// One that feeds the same sink in the name of another component.
    pub fn named(&self, component: &'static str) -> Self {
        Self {
            component,
            ..self.clone()
        }
    }

    /// Records an event, without waiting; drops it when too many are queued. `reason` is a word in `PascalCase` from a
    /// fixed set; `message` is a sentence, cut at 1024 bytes, without secrets, and best without numbers that
    /// differ each time, for equal messages are counted.
    pub fn event(
        &self,
        object: &ObjectRef,
        kind: EventType,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        let occurrence = Occurrence {
            component: self.component,
            object: object.clone(),
            kind,
            reason,
            message: message.into(),
            at: self.clock.now(),
            wall: self.clock.wall(),
        };
        // a bounded channel would take the room for all of them from the start
        if self.queue.len() >= QUEUE || self.queue.send(occurrence).is_err() {
            self.counts.lost(Why::Queue, 1);
        }
    }

    /// How many events were not delivered: too many queued, too many of one object, refused, or no server for too long.
    pub fn dropped(&self) -> u64 {
        self.counts.dropped()
    }

    /// Shows in `metrics` what became of the events of all who feed this sink.
    pub fn measured(&self, metrics: &Metrics) {
        counts::show(&self.counts, metrics);
    }
}

impl EventSink {
    /// Sends events until it is time to stop, then what is left, for at most two seconds.
    pub fn run(mut self, stop: &StopToken) {
        let (wake, woken) = bounded(1);
        let _hook = stop.on_stop(move || {
            // one wake-up is enough
            let _ = wake.try_send(());
        });
        while !stop.is_set() {
            match self.step() {
                Step::Worked => {}
                Step::Wait(delay) => {
                    stop.wait(delay);
                }
                Step::Idle => select! {
                    recv(self.queue) -> occurrence => match occurrence {
                        Ok(occurrence) => self.accept(occurrence),
                        // nobody is left to record anything
                        Err(_) => { stop.wait(Duration::MAX); }
                    },
                    recv(woken) -> _ => {}
                },
            }
        }
        self.flush();
    }

    /// Takes one event from the queue, or makes one attempt to send it.
    pub fn step(&mut self) -> Step {
        let now = self.clock.now();
        match self.pending.take() {
            None => match self.queue.try_recv() {
                Ok(occurrence) => self.accept(occurrence),
                Err(_) => return Step::Idle,
            },
            Some(pending) if pending.due > now => {
                let wait = pending.due - now;
                self.pending = Some(pending);
                return Step::Wait(wait);
            }
            Some(pending) => self.attempt(pending),
        }
        Step::Worked
    }

    /// Sends what is left, each once, until the deadline or the first that gets no answer.
    fn flush(&mut self) {
        let deadline = self.clock.now() + FLUSH;
        self.deadline = Some(deadline);
        while self.clock.now() < deadline {
            if let Some(pending) = &mut self.pending {
                pending.due = self.clock.now();
            }
            let left = self.queue.len();
            if self.step() == Step::Idle {
                return;
            }
            // given up for want of an answer: the rest would fare no better
            if self.pending.as_ref().is_some_and(|pending| pending.tries > 0) {
                self.counts.lost(Why::Unanswered, left as u64 + 1);
                return;
            }
        }
    }

    fn accept(&mut self, occurrence: Occurrence) {
        let Some(event) = self.correlator.correlate(occurrence, &self.random) else {
            self.counts.lost(Why::Spam, 1);
            return;
        };
        let action = if event.count == 1 {
            Action::Create
        } else {
            Action::Count
        };
        self.pending = Some(Pending {
            event,
            action,
            tries: 0,
            due: self.clock.now(),
        });
    }

    fn attempt(&mut self, mut pending: Pending) {
        let call = self.call(&pending);
        let Err(error) = self.client.open_once(&call) else {
            self.counts.sent();
            return;
        };
        match &error {
            Error::NotFound { .. } if pending.action == Action::Count => {
                self.correlator.rename(&mut pending.event, &self.random);
                pending.action = Action::Create;
                self.pending = Some(pending);
            }
            Error::NoAnswer { .. } | Error::Credentials { .. } | Error::Stopped { .. } => {
                self.postpone(pending, &error, None);
            }
            // the server says that it did nothing, and when to ask again
            Error::Unavailable {
                status: 429 | 500 | 502 | 503,
                retry_after: Some(delay),
                ..
            } => self.postpone(pending, &error, Some(*delay)),
            // an attempt without an answer did create it
            Error::AlreadyExists { .. } => self.counts.sent(),
            Error::Forbidden { message, .. } if message.contains("being terminated") => {
                self.counts.lost(Why::Refused, 1);
            }
            _ => self.give_up(&pending, Why::Refused, &error),
        }
    }

    /// Tries again later: when the server asked for, or after a pause that differs between those who failed together.
    fn postpone(&mut self, mut pending: Pending, error: &Error, asked: Option<Duration>) {
        let now = self.clock.now();
        pending.tries += 1;
        let age = now.saturating_duration_since(pending.event.occurrence.at);
        if pending.tries >= TRIES || age >= TOO_OLD {
            self.give_up(&pending, Why::Unanswered, error);
            return;
        }
        debug!(error:% = chain(error); "cannot send an event yet");
        let pause = match asked {
            Some(asked) => asked.clamp(PAUSE, LONGEST_PAUSE),
            None if pending.tries == 1 => self.random.between(Duration::ZERO, PAUSE),
            None => PAUSE,
        };
        pending.due = now + pause;
        self.pending = Some(pending);
    }

    fn give_up(&self, pending: &Pending, why: Why, error: &Error) {
        let Occurrence { object, reason, .. } = &pending.event.occurrence;
        warn!(kind = object.kind, namespace = &*object.namespace, name = &*object.name, reason = *reason,
            error:% = chain(error); "an event is lost");
        self.counts.lost(why, 1);
    }

    fn call(&self, pending: &Pending) -> Call {
        let Pending { event, action, .. } = pending;
        let namespace = event.occurrence.object.namespace_of_events();
        let path = format!("/api/v1/namespaces/{}/events", percent_encode(namespace));
        let mut call = match action {
            Action::Create => Call::create(path, &body_of(event)),
            Action::Count => {
                let path = format!("{path}/{}", percent_encode(&event.name));
                Call::patch(path, PatchType::Merge, &count_of(event))
            }
        };
        let total = match self.deadline {
            // three parts of one exchange may each take that long
            Some(deadline) => deadline.saturating_duration_since(self.clock.now()) / 3,
            None => Duration::from_secs(10),
        };
        call.limits = Limits {
            connect: total.min(Duration::from_secs(5)),
            head: total,
            silence: total,
            body: Some(total),
        };
        call
    }
}

fn body_of(event: &Event) -> Value {
    let occurrence = &event.occurrence;
    let object = &occurrence.object;
    let mut involved = json!({
        "apiVersion": object.api_version,
        "kind": object.kind,
        "name": object.name,
        "uid": object.uid,
        "resourceVersion": object.resource_version,
    });
    if !object.namespace.is_empty() {
        involved["namespace"] = json!(object.namespace);
    }
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": event.name, "namespace": object.namespace_of_events()},
        "involvedObject": involved,
        "type": occurrence.kind.as_str(),
        "reason": occurrence.reason,
        "message": occurrence.message,
        "source": {"component": occurrence.component},
        "firstTimestamp": seconds(event.first),
        "lastTimestamp": seconds(occurrence.wall),
        "count": event.count,
        "reportingComponent": occurrence.component,
        "reportingInstance": "",
    })
}

fn count_of(event: &Event) -> Value {
    json!({
        "count": event.count,
        "lastTimestamp": seconds(event.occurrence.wall),
        "message": event.occurrence.message,
    })
}

fn seconds(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::http::{self, Request, Response, Transport};
    use crate::k8s::types::{Node, ObjectMeta, Service};
    use crate::metrics::lines;
    use crate::runtime::clock::ManualClock;
    use crate::runtime::stop::Stop;

    /// Answers with one status after the other, 0 for no answer, 1 for 429 and when to come back, then 201 for ever.
    #[derive(Default)]
    struct Script {
        statuses: Mutex<VecDeque<u16>>,
        requests: Mutex<Vec<(String, Value)>>,
    }

    impl Transport for Script {
        fn exchange(&self, request: &Request) -> Result<Response, http::Error> {
            let body = serde_json::from_slice(request.body.as_deref().unwrap()).unwrap();
            let what = format!("{request:?}")
                .replace("http://api/api/v1/namespaces/", "")
                .replace(MANAGER, "");
            self.requests.lock().unwrap().push((what, body));
            match self.statuses.lock().unwrap().pop_front().unwrap_or(201) {
                0 => Err(http::Error::Connect {
                    peer: "api".into(),
                    source: std::io::ErrorKind::ConnectionRefused.into(),
                }),
                1 => {
                    let headers = vec![("Retry-After".into(), "30".into())];
                    Ok(Response::from_bytes(429, headers, b"slow down".to_vec()))
                }
                404 => {
                    let status = json!({"kind": "Status", "code": 404, "reason": "NotFound", "details": {"kind": "events"}});
                    Ok(Response::from_bytes(404, vec![], status.to_string().into_bytes()))
                }
                status => Ok(Response::from_bytes(status, vec![], b"{}".to_vec())),
            }
        }

        fn shutdown(&self) {}
    }

    struct World {
        recorder: EventRecorder,
        sink: EventSink,
        script: Arc<Script>,
        clock: ManualClock,
    }

    fn world(statuses: impl IntoIterator<Item = u16>) -> World {
        let clock = ManualClock::new(UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let script = Arc::new(Script::default());
        script.statuses.lock().unwrap().extend(statuses);
        let client = Client::new("http://api", Arc::clone(&script) as _, StopToken::never());
        let random = Arc::new(Random::from_seed(1));
        let (recorder, sink) = recorder("service-controller", client, Arc::new(clock.clone()), random);
        World {
            recorder,
            sink,
            script,
            clock,
        }
    }

    impl World {
        fn say(&self, message: &str) {
            let meta = ObjectMeta {
                name: "web".into(),
                namespace: "shop".into(),
                uid: "u-1".into(),
                resource_version: "7".into(),
                ..ObjectMeta::default()
            };
            let service = Service {
                meta,
                ..Service::default()
            };
            self.recorder
                .event(&ObjectRef::of(&service), EventType::Warning, "Tested", message);
        }

        /// Sends all there is, and says how long that took and what was asked.
        fn send(&mut self) -> (Duration, Vec<(String, Value)>) {
            let start = self.clock.now();
            loop {
                match self.sink.step() {
                    Step::Worked => {}
                    Step::Wait(delay) => self.clock.advance(delay),
                    Step::Idle => break,
                }
            }
            let requests = std::mem::take(&mut *self.script.requests.lock().unwrap());
            (self.clock.now() - start, requests)
        }
    }

    const MANAGER: &str = "?fieldManager=inspur-cloud-controller-manager";
    const NAME: &str = "web.18fae27693b40000";

    #[test]
    fn namesakes_speak_for_themselves_through_one_sink() {
        let mut world = world([]);
        world.say("busy");
        world.recorder = world.recorder.named("node-controller");
        world.say("busy");
        let (_, requests) = world.send();
        let said_by: Vec<_> = requests
            .iter()
            .map(|(call, body)| {
                (
                    call.split(' ').next().unwrap(),
                    body["source"]["component"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            said_by,
            [("POST", "service-controller"), ("POST", "node-controller")]
        );
    }

    #[test]
    fn an_event_is_created_and_then_counted() {
        let mut w = world([]);
        w.say("hello");
        let (_, requests) = w.send();
        let want = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": NAME, "namespace": "shop"},
            "involvedObject": {"apiVersion": "v1", "kind": "Service", "namespace": "shop", "name": "web", "uid": "u-1", "resourceVersion": "7"},
            "type": "Warning", "reason": "Tested", "message": "hello",
            "source": {"component": "service-controller"}, "reportingComponent": "service-controller", "reportingInstance": "",
            "firstTimestamp": "2027-01-15T08:00:00Z", "lastTimestamp": "2027-01-15T08:00:00Z", "count": 1,
        });
        assert_eq!(requests, [("POST shop/events".to_string(), want)]);
        w.clock.advance(Duration::from_secs(61));
        w.say("hello");
        let (_, requests) = w.send();
        let want = json!({"count": 2, "lastTimestamp": "2027-01-15T08:01:01Z", "message": "hello"});
        assert_eq!(requests, [(format!("PATCH shop/events/{NAME}"), want)]);
    }

    #[test]
    fn events_about_cluster_wide_objects_are_in_default() {
        let mut w = world([]);
        let node = ObjectRef::of(&Node::default());
        w.recorder.event(&node, EventType::Normal, "Tested", "hello");
        let (_, requests) = w.send();
        assert_eq!(requests[0].0, "POST default/events");
        assert_eq!(requests[0].1["involvedObject"].get("namespace"), None);
    }

    #[test]
    fn an_event_that_the_server_forgot_is_created_again_with_its_count() {
        let mut w = world([201, 404]);
        w.say("hello");
        w.say("hello");
        w.say("hello");
        let (_, requests) = w.send();
        let did: Vec<_> = requests
            .iter()
            .map(|(what, body)| (&**what, body["count"].as_u64().unwrap()))
            .collect();
        let again = format!(
            "PATCH shop/events/{}",
            requests[2].1["metadata"]["name"].as_str().unwrap()
        );
        let first = format!("PATCH shop/events/{NAME}");
        assert_eq!(
            did,
            [
                ("POST shop/events", 1),
                (&*first, 2),
                ("POST shop/events", 2),
                (&*again, 3)
            ]
        );
        assert_eq!(w.recorder.dropped(), 0);
    }

    #[test]
    fn without_an_answer_it_is_tried_twelve_times() {
        let mut w = world([0; 12]);
        w.say("hello");
        w.say("goodbye");
        let (took, requests) = w.send();
        assert_eq!((requests.len(), w.recorder.dropped()), (13, 1));
        assert!((100..=110).contains(&took.as_secs()), "{took:?}");
    }

    #[test]
    fn a_server_that_is_busy_is_asked_again_when_it_says() {
        let mut w = world([1, 1]);
        w.say("hello");
        let (took, requests) = w.send();
        assert_eq!((requests.len(), took), (3, Duration::from_secs(60)));
        assert_eq!(w.recorder.dropped(), 0);
    }

    #[test]
    fn an_event_of_ten_minutes_ago_is_not_tried_again() {
        let mut w = world([0; 2]);
        w.say("hello");
        w.clock.advance(TOO_OLD);
        let (_, requests) = w.send();
        assert_eq!((requests.len(), w.recorder.dropped()), (1, 1));
    }

    #[test]
    fn a_refusal_drops_the_event_at_once() {
        for status in [400, 401, 403, 404, 409, 410, 422, 429, 500, 503] {
            let mut w = world([status]);
            w.say("hello");
            let (took, requests) = w.send();
            assert_eq!((requests.len(), took), (1, Duration::ZERO), "{status}");
            assert_eq!(w.recorder.dropped(), 1, "{status}");
        }
    }

    #[test]
    fn a_scrape_shows_what_became_of_the_events() {
        let metrics = Metrics::new();
        let mut w = world([201, 403]);
        w.recorder.measured(&metrics);
        w.recorder.named("node-controller").measured(&metrics);
        w.say("told");
        w.say("refused");
        w.send();
        for n in 0..30 {
            w.say(&format!("spam {n}"));
        }
        w.send();
        assert_eq!(
            lines(&metrics, "events_"),
            [
                r#"events_dropped_total{why="refused"} 1"#,
                r#"events_dropped_total{why="spam"} 7"#,
                "events_sent_total 24",
            ]
        );
    }

    #[test]
    fn a_full_queue_drops_the_newest_and_never_waits() {
        let mut w = world([]);
        for n in 0..1010 {
            let node = Node {
                meta: ObjectMeta {
                    name: format!("n{n}").into(),
                    ..ObjectMeta::default()
                },
                ..Node::default()
            };
            w.recorder
                .event(&ObjectRef::of(&node), EventType::Normal, "Tested", "hello");
        }
        assert_eq!(w.recorder.dropped(), 10);
        let (_, requests) = w.send();
        assert_eq!(requests.len(), 1000);
        assert_eq!(requests[999].1["involvedObject"]["name"], "n999");
    }

    #[test]
    fn what_is_left_at_the_stop_is_sent_and_given_up_without_an_answer() {
        for (case, statuses, sent, dropped) in [("answers", vec![], 3, 0), ("none", vec![0; 9], 1, 3)] {
            let w = world(statuses);
            for message in ["a", "b", "c"] {
                w.say(message);
            }
            let stop = Stop::new();
            stop.stop();
            w.sink.run(&stop.token());
            assert_eq!(w.script.requests.lock().unwrap().len(), sent, "{case}");
            assert_eq!(w.recorder.dropped(), dropped, "{case}");
        }
    }

    #[test]
    fn an_idle_sink_wakes_for_an_event_and_for_the_stop() {
        let w = world([]);
        let stop = Stop::new();
        std::thread::scope(|scope| {
            let (token, recorder) = (stop.token(), w.recorder.clone());
            let sink = w.sink;
            let running = scope.spawn(move || sink.run(&token));
            recorder.event(
                &ObjectRef::of(&Node::default()),
                EventType::Normal,
                "Tested",
                "hello",
            );
            let patience = Instant::now() + Duration::from_secs(30);
            while w.script.requests.lock().unwrap().is_empty() && Instant::now() < patience {
                std::thread::yield_now();
            }
            stop.stop();
            running.join().unwrap();
        });
        assert_eq!(w.script.requests.lock().unwrap().len(), 1);
    }
}
