//! Keeps a store current: makes the requests that the machine in `state.rs` asks for.

use std::io::{ErrorKind, Read};
use std::mem::{Discriminant, discriminant};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, info, warn};

use super::failure::Failure;
use super::list::{Page, read_page};
use super::metrics::{InformerMetrics, START, reason_of};
use super::state::{End, Input, Listing, Machine, Next, State, Want, Watched};
use super::store::{Loss, Staged};
use super::version::{Order, compare_versions};
use super::{Change, Handler, Pulse, Writer};
use crate::http::{Limits, percent_encode};
use crate::k8s::types::Resource;
use crate::k8s::watch::{Decoded, FrameError, Frames, WatchEvent};
use crate::k8s::{Call, Client, Error};
use crate::metrics::Metrics;
use crate::runtime::chain;
use crate::runtime::clock::Clock;
use crate::runtime::random::Random;
use crate::runtime::stop::StopToken;

/// Lists and watches one resource, cluster-wide, writes it into the store and tells the handlers.
///
/// The transport must give up a silent read of a watch after the time that the request says (some seconds), and must be
/// shut down when it is time to stop: then a blocked read ends at once, else within that time.
pub struct Reflector<T> {
    client: Client,
    writer: Writer<T>,
    handlers: Vec<Handler<T>>,
    clock: Arc<dyn Clock>,
    random: Arc<Random>,
    machine: Machine,
    work: Work<T>,
    is_synced: bool,
    pulse: Pulse,
    metrics: InformerMetrics,
    /// Why the next list is asked for, if one is.
    reason: &'static str,
    /// What was last complained about, and the kind of error, so that the same is said once.
    complaint: Option<(&'static str, Discriminant<Error>)>,
}

/// What one [`Reflector::step`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Something was done; there may be more to do at once.
    Worked,
    /// The watch is open and silent. The transport has waited already.
    Silent,
    /// Nothing to do for so long.
    Wait(Duration),
}

/// What is in progress.
enum Work<T> {
    /// The machine's state is entered at that time.
    Due(Instant),
    List {
        listing: Listing,
        staged: Staged<T>,
        first: Option<Page>,
        next: Option<String>,
        pages: u32,
    },
    Watch(Box<Watch>),
}

struct Watch {
    call: String,
    body: Box<dyn Read + Send>,
    frames: Frames,
    opened: Instant,
    window: Duration,
    heard: bool,
    /// Events about another kind, in a row.
    foreign: u32,
}

/// Source: client-go `pager.defaultPageSize`.
const PAGE_SIZE: u32 = 500;
/// A list of more pages runs in a circle.
const MOST_PAGES: u32 = 10_000;
/// The largest page accepted. Source: kube-client.md 2.6.
const PAGE_LIMIT: u64 = 256 << 20;
/// How long a watch is asked to last, chosen anew each time: short of the five minutes at which proxies cut.
const WINDOW: (Duration, Duration) = (Duration::from_secs(240), Duration::from_secs(290));
/// A server that does not end the watch by then is dead or deaf.
const OVERTIME: Duration = Duration::from_secs(15);
/// A silent read of a watch is given up after this, to look at the clock: so long may the end of a silent watch be overdue besides.
const TICK: Duration = Duration::from_secs(15);
/// So many events in a row about another kind, and the list is asked again.
const MOST_FOREIGN: u32 = 3;
/// A list that takes more than half away is doubted when more than this was known.
const FEW: usize = 10;
const READ_SIZE: usize = 16 << 10;

impl<T: Resource> Reflector<T> {
    /// Nothing is asked before [`Self::run`] or [`Self::step`].
    pub fn new(
        client: Client,
        writer: Writer<T>,
        handlers: Vec<Handler<T>>,
        clock: Arc<dyn Clock>,
        random: Arc<Random>,
    ) -> Self {
        let pulse = Pulse::new(writer.store(), clock.now());
        let metrics = InformerMetrics::new(&Metrics::new(), T::PLURAL, pulse.clone(), Arc::clone(&clock));
        Self {
            work: Work::Due(clock.now()),
            client,
            writer,
            handlers,
            clock,
            random,
            machine: Machine::new(),
            is_synced: false,
            pulse,
            metrics,
            reason: START,
            complaint: None,
        }
    }

    /// The same, measured in `metrics`, under the name of its resource.
    pub fn measured(self, metrics: &Metrics) -> Self {
        let (pulse, clock) = (self.pulse.clone(), Arc::clone(&self.clock));
        let metrics = InformerMetrics::new(metrics, T::PLURAL, pulse, clock);
        Self { metrics, ..self }
    }

    /// Tells how it is, from whatever thread.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Keeps the store current until it is time to stop. No error ends it.
    pub fn run(mut self, stop: &StopToken) {
        while !stop.is_set() {
            if let Step::Wait(delay) = self.step(stop) {
                stop.wait(delay);
            }
        }
    }

    /// Makes one request or one read: a page of a list, the opening of a watch, what a watch has to say.
    pub fn step(&mut self, stop: &StopToken) -> Step {
        let step = self.go_on(stop);
        self.pulse.stepped(self.clock.now());
        step
    }

    fn go_on(&mut self, stop: &StopToken) -> Step {
        let now = self.clock.now();
        match std::mem::replace(&mut self.work, Work::Due(now)) {
            Work::Due(at) if at > now => {
                self.work = Work::Due(at);
                Step::Wait(at - now)
            }
            Work::Due(_) => self.enter(),
            Work::List {
                listing,
                staged,
                first,
                next,
                pages,
            } => self.list_page(listing, staged, first, next, pages),
            Work::Watch(watch) => self.read_watch(watch, stop),
        }
    }

    /// Begins what the machine's state asks for.
    fn enter(&mut self) -> Step {
        match self.machine.state() {
            State::Listing(listing) => {
                self.metrics.list(self.reason);
                self.list_page(listing, Staged::default(), None, None, 0)
            }
            State::Watching => self.open_watch(),
            State::Probing => self.probe(),
        }
    }

    fn decide(&mut self, input: Input) -> Step {
        let now = self.clock.now();
        self.reason = reason_of(&input);
        let Next { state, delay } = self.machine.step(input, now, &self.random);
        debug!(kind = T::KIND, next:? = state, delay_ms = delay.as_millis() as u64; "reflector goes on");
        self.work = Work::Due(now + delay);
        Step::Worked
    }

    // ---- list ----

    fn list_page(
        &mut self,
        listing: Listing,
        mut staged: Staged<T>,
        first: Option<Page>,
        next: Option<String>,
        pages: u32,
    ) -> Step {
        let call = self.list_call(listing, next.as_deref());
        let page = match self.read_list(&call, &mut staged) {
            Ok(page) => page,
            Err(Error::Expired { .. }) if first.is_some() => return self.decide(Input::PagesExpired),
            Err(error) => return self.list_failed(&error),
        };
        let first = first.unwrap_or_else(|| page.clone());
        let doubt = if page.resource_version != first.resource_version {
            Some("its pages are of different versions")
        } else if page.next.is_some() && (page.next == next || pages >= MOST_PAGES) {
            Some("its pages do not end")
        } else if listing.want == Want::Known
            && compare_versions(&page.resource_version, self.machine.version()) == Order::Older
        {
            Some("it is older than what is known")
        } else {
            None
        };
        if let Some(reason) = doubt {
            return self.list_failed(&unintelligible(&call, reason));
        }
        if page.next.is_none() {
            return self.listed(listing, staged, first.resource_version);
        }
        self.work = Work::List {
            listing,
            staged,
            first: Some(first),
            next: page.next,
            pages: pages + 1,
        };
        Step::Worked
    }

    fn list_call(&self, listing: Listing, next: Option<&str>) -> Call {
        let plural = T::PLURAL;
        let limit = (listing.want == Want::Newest).then(|| format!("limit={PAGE_SIZE}"));
        let version = (listing.want == Want::Known && next.is_none())
            .then(|| format!("resourceVersion={}", percent_encode(self.machine.version())));
        let next = next.map(|token| format!("continue={}", percent_encode(token)));
        let query: Vec<String> = [limit, version, next].into_iter().flatten().collect();
        let question = if query.is_empty() { "" } else { "?" };
        let mut call = Call::get(format!("/api/v1/{plural}{question}{}", query.join("&")));
        call.limits = Limits {
            head: Duration::from_secs(60),
            body: Some(Duration::from_secs(120)),
            ..Limits::default()
        };
        call
    }

    fn read_list(&mut self, call: &Call, staged: &mut Staged<T>) -> Result<Page, Error> {
        let response = self.client.open_once(call)?;
        let writer = &self.writer;
        let body = response.body.take(PAGE_LIMIT);
        let page = read_page(body, &mut |item| writer.stage(staged, item))
            .map_err(|error| unintelligible(call, error.to_string()))?;
        self.pulse.answered(self.clock.now());
        Ok(page)
    }

    fn list_failed(&mut self, error: &Error) -> Step {
        self.complain("cannot list", error);
        self.decide(Input::ListFailed(Failure::of(error)))
    }

    fn listed(&mut self, listing: Listing, staged: Staged<T>, version: Box<str>) -> Step {
        let Loss { known, vanished } = self.writer.loss(&staged);
        let (objects, opaque) = staged.len();
        if known > FEW && vanished * 2 > known {
            warn!(kind = T::KIND, known, vanished, listed = objects, confirmed = listing.confirms;
                "a list takes away more than half of what is known");
            if !listing.confirms {
                return self.decide(Input::Doubtful);
            }
        }
        if opaque > 0 && opaque != self.writer.opaque_len() {
            warn!(kind = T::KIND, objects = opaque; "some objects cannot be understood and are left alone");
        }
        let changes = self.writer.apply(staged);
        debug!(kind = T::KIND, objects, changes = changes.len(), version = &*version; "listed");
        self.tell(&changes);
        self.note_applied();
        if !std::mem::replace(&mut self.is_synced, true) {
            self.writer.set_synced();
            self.pulse.synced(self.clock.wall());
        }
        self.decide(Input::Listed(version))
    }

    /// Asks for the newest version alone.
    fn probe(&mut self) -> Step {
        let call = Call::get(format!("/api/v1/{}?limit=1", T::PLURAL));
        match self.read_list(&call, &mut Staged::default()) {
            Ok(page) => {
                if compare_versions(&page.resource_version, self.machine.version()) == Order::Older {
                    warn!(kind = T::KIND, known = self.machine.version(), found = &*page.resource_version;
                        "the API server went back to an older state");
                }
                self.decide(Input::Probed(page.resource_version))
            }
            Err(error) => {
                self.complain("cannot ask for the newest version", &error);
                self.decide(Input::ProbeFailed)
            }
        }
    }

    // ---- watch ----

    fn open_watch(&mut self) -> Step {
        let window = Duration::from_secs(self.random.between(WINDOW.0, WINDOW.1).as_secs());
        let call = self.watch_call(window);
        let opened = self.clock.now();
        let response = self.client.open_watch(&call);
        let watch = |body| Watch {
            call: call.describe(),
            body,
            frames: Frames::default(),
            opened,
            window,
            heard: false,
            foreign: 0,
        };
        match response {
            Ok(response) => {
                self.recovered();
                self.pulse.answered(self.clock.now());
                self.work = Work::Watch(Box::new(watch(response.body)));
                Step::Worked
            }
            Err(error) => {
                self.complain("cannot watch", &error);
                let nothing = watch(Box::new(std::io::empty()));
                self.watch_ended(&nothing, End::Failed(Failure::of(&error)))
            }
        }
    }

    fn watch_call(&self, window: Duration) -> Call {
        let bookmarks = if self.machine.bookmarks() {
            "&allowWatchBookmarks=true"
        } else {
            ""
        };
        let version = percent_encode(self.machine.version());
        let (plural, seconds) = (T::PLURAL, window.as_secs());
        let mut call = Call::get(format!(
            "/api/v1/{plural}?watch=1&resourceVersion={version}{bookmarks}&timeoutSeconds={seconds}"
        ));
        call.limits = Limits {
            silence: TICK,
            body: None,
            ..Limits::default()
        };
        call
    }

    fn read_watch(&mut self, mut watch: Box<Watch>, stop: &StopToken) -> Step {
        let mut buffer = [0; READ_SIZE];
        let read = watch.body.read(&mut buffer);
        if stop.is_set() {
            // the end of a connection that was shut down says nothing
            return Step::Worked;
        }
        let end = match read {
            Ok(0) if watch.frames.is_mid_frame() => Some(End::Broken),
            Ok(0) => Some(End::Clean),
            Ok(n) => {
                self.pulse.answered(self.clock.now());
                watch.frames.push(&buffer[..n]);
                self.apply_frames(&mut watch)
            }
            Err(e) if is_tick(e.kind()) => {
                let is_over = self.clock.now() >= watch.opened + watch.window + OVERTIME;
                if !is_over {
                    self.work = Work::Watch(watch);
                    return Step::Silent;
                }
                Some(End::Clean)
            }
            Err(e) => {
                debug!(kind = T::KIND, error:% = e; "the watch broke");
                Some(End::Broken)
            }
        };
        match end {
            Some(end) => self.watch_ended(&watch, end),
            // a stream that never falls silent must end, too
            None if self.clock.now() >= watch.opened + watch.window + OVERTIME => {
                self.watch_ended(&watch, End::Clean)
            }
            None => {
                self.work = Work::Watch(watch);
                Step::Worked
            }
        }
    }

    fn watch_ended(&mut self, watch: &Watch, end: End) -> Step {
        self.metrics.watch_ended(end);
        let watched = Watched {
            lasted: self.clock.now().saturating_duration_since(watch.opened),
            heard: watch.heard,
            window: watch.window,
        };
        self.decide(Input::WatchEnded(watched, end))
    }

    /// Applies every whole frame. Returns why the watch is over, if it is.
    fn apply_frames(&mut self, watch: &mut Watch) -> Option<End> {
        loop {
            let event = match watch.frames.next_frame() {
                Ok(None) => return None,
                Ok(Some(frame)) => WatchEvent::<T>::decode(frame),
                Err(error) => Err(error),
            };
            let applied = event
                .map_err(|error| garbled(&watch.call, &error))
                .and_then(|event| {
                    watch.heard = true;
                    self.apply(watch, event)
                });
            if let Err((end, error)) = applied {
                self.complain("the watch ended", &error);
                return Some(end);
            }
        }
    }

    fn apply(&mut self, watch: &mut Watch, event: WatchEvent<T>) -> Result<(), (End, Error)> {
        self.metrics.event(type_of(&event));
        if !matches!(event, WatchEvent::Foreign { .. }) {
            watch.foreign = 0;
        }
        let (version, changes) = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => match object {
                Decoded::Object(object) => {
                    let version = object.meta().resource_version.clone();
                    (version, self.writer.upsert(object))
                }
                Decoded::Opaque(opaque) => {
                    if !self.writer.is_opaque(&opaque.key) {
                        warn!(kind = T::KIND, object = &*opaque.key, reason = &*opaque.reason;
                            "an object cannot be understood and is left alone");
                    }
                    (opaque.resource_version.clone(), self.writer.set_opaque(opaque))
                }
            },
            WatchEvent::Deleted(object) => {
                let (key, version) = match object {
                    Decoded::Object(object) => (object.meta().key(), object.meta().resource_version.clone()),
                    Decoded::Opaque(opaque) => (opaque.key, opaque.resource_version),
                };
                let changes = self.writer.remove(&key, &version);
                (version, changes)
            }
            WatchEvent::Bookmark { resource_version } => (resource_version, Vec::new()),
            WatchEvent::Foreign { kind } => {
                watch.foreign += 1;
                if watch.foreign < MOST_FOREIGN {
                    return Ok(());
                }
                let error = FrameError::Malformed(format!("events about {kind}"));
                return Err(garbled(&watch.call, &error));
            }
            WatchEvent::Unknown { type_ } => {
                let error = FrameError::Malformed(format!("an event of type {type_:?}"));
                return Err(garbled(&watch.call, &error));
            }
            WatchEvent::Error(status) => {
                let error = status.into_error(watch.call.clone());
                let end = match Failure::of(&error) {
                    // a server error in mid-watch says that its stream cannot be trusted: list again
                    Failure::Unavailable(_) | Failure::Rejected => End::Garbled,
                    failure => End::Failed(failure),
                };
                return Err((end, error));
            }
        };
        self.tell(&changes);
        self.note_applied();
        // only now: what is not applied must come again
        self.machine.advance(&version);
        Ok(())
    }

    // ---- telling ----

    fn note_applied(&self) {
        self.pulse.applied(self.clock.now());
        self.metrics.opaque(self.writer.opaque_len());
    }

    fn tell(&self, changes: &[Change<T>]) {
        for change in changes {
            for handler in &self.handlers {
                handler(change);
            }
        }
    }

    /// Warns once of what goes on failing in the same way. An expired version is no failure.
    fn complain(&mut self, what: &'static str, error: &Error) {
        let complaint = Some((what, discriminant(error)));
        if matches!(error, Error::Expired { .. }) || complaint == self.complaint {
            debug!(kind = T::KIND, error = &*chain(error); "{what}");
        } else {
            warn!(kind = T::KIND, error = &*chain(error); "{what}");
            self.complaint = complaint;
        }
    }

    fn recovered(&mut self) {
        if self.complaint.take().is_some() {
            info!(kind = T::KIND; "watching again");
        }
    }
}

/// For metrics.
fn type_of<T>(event: &WatchEvent<T>) -> &'static str {
    match event {
        WatchEvent::Added(_) => "added",
        WatchEvent::Modified(_) => "modified",
        WatchEvent::Deleted(_) => "deleted",
        WatchEvent::Bookmark { .. } => "bookmark",
        WatchEvent::Error(_) => "error",
        WatchEvent::Foreign { .. } | WatchEvent::Unknown { .. } => "other",
    }
}

fn is_tick(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::TimedOut | ErrorKind::WouldBlock | ErrorKind::Interrupted
    )
}

fn unintelligible(call: &Call, reason: impl Into<String>) -> Error {
    Error::Unintelligible {
        call: call.describe(),
        reason: reason.into(),
    }
}

fn garbled(call: &str, error: &FrameError) -> (End, Error) {
    let error = Error::Unintelligible {
        call: call.into(),
        reason: error.to_string(),
    };
    (End::Garbled, error)
}

#[cfg(test)]
mod tests;
