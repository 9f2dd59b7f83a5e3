//! What both ways in put around a core: faults, latency, the log of requests, the calls under `/_sim/`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::{Answer, Core, Incoming, Now, Reply};
use crate::runtime::clock::Clock;
use crate::sim::faults::{Canned, Effect, Faults, Release};
use crate::sim::watched::Watched;

/// A core with everything around it but a way in.
pub(super) struct Front {
    core: Arc<dyn Core>,
    clock: Arc<dyn Clock>,
    pub(super) faults: Faults,
    pub(super) log: Log,
}

/// What the client gets to see.
pub(super) enum Outcome {
    /// An answer.
    Answer(Answer),
    /// Half of an answer, then a closed connection.
    Truncated(Answer),
    /// A closed connection.
    HangUp,
    /// No connection for that long.
    Refuse(Duration),
}

impl Front {
    pub(super) fn new(core: Arc<dyn Core>, clock: Arc<dyn Clock>) -> Self {
        Self {
            core,
            clock,
            faults: Faults::default(),
            log: Log::default(),
        }
    }

    /// Takes one request through the script to the core. `wait` lets time pass.
    pub(super) fn handle(&self, request: &Incoming, wait: &dyn Fn(Duration)) -> Outcome {
        if let Some(call) = request.path().strip_prefix("/_sim/") {
            return Outcome::Answer(self.admin(call, request).into());
        }
        let order = self.log.begin(request);
        let latency = self.faults.latency();
        if !latency.is_zero() {
            wait(latency);
        }
        let effect = self.faults.decide(&request.method, &request.target);
        let fault = effect.as_ref().map(Effect::name);
        let (acted, outcome) = self.obey(effect, request, wait);
        let status = match &outcome {
            Outcome::Answer(answer) | Outcome::Truncated(answer) => Some(answer.status()),
            Outcome::HangUp | Outcome::Refuse(_) => None,
        };
        self.log.end(order, status, acted, fault);
        log::debug!(
            method = request.method.as_str(), target = request.target.as_str(), status = status.unwrap_or(0),
            fault = fault.unwrap_or("none"); "request"
        );
        outcome
    }

    fn obey(&self, effect: Option<Effect>, request: &Incoming, wait: &dyn Fn(Duration)) -> (Acted, Outcome) {
        let act = || self.core.respond(request, self.now());
        let call = || format!("{} {}", request.method, request.target);
        match effect {
            None => (Acted::Yes, Outcome::Answer(act())),
            Some(Effect::Delay(delay)) => {
                wait(delay);
                (Acted::Yes, Outcome::Answer(act()))
            }
            Some(Effect::Refuse(time)) => (Acted::No, Outcome::Refuse(time)),
            Some(Effect::Answer(canned)) => (Acted::No, Outcome::Answer(canned.into_reply().into())),
            Some(Effect::Html) => (Acted::No, Outcome::Answer(html().into())),
            Some(Effect::HangUp) => (Acted::No, Outcome::HangUp),
            Some(Effect::ActAndHangUp) => {
                act();
                (Acted::Yes, Outcome::HangUp)
            }
            Some(Effect::Hang) => {
                wait(Duration::MAX);
                (Acted::No, Outcome::HangUp)
            }
            Some(Effect::ActAndHang) => {
                act();
                wait(Duration::MAX);
                (Acted::Yes, Outcome::HangUp)
            }
            Some(Effect::Truncate) => (Acted::Yes, Outcome::Truncated(act())),
            Some(Effect::Empty) => (Acted::Yes, Outcome::Answer(act().with_body(Vec::new()))),
            Some(Effect::Malformed) => (
                Acted::Yes,
                Outcome::Answer(act().with_body(br#"{"oops": [1, "#.to_vec())),
            ),
            Some(Effect::PauseBefore(gate)) => match gate.pass(&call()) {
                Release::Proceed => (Acted::Yes, Outcome::Answer(act())),
                Release::HangUp => (Acted::No, Outcome::HangUp),
            },
            Some(Effect::PauseAfter(gate)) => {
                let answer = act();
                match gate.pass(&call()) {
                    Release::Proceed => (Acted::Yes, Outcome::Answer(answer)),
                    Release::HangUp => (Acted::Yes, Outcome::HangUp),
                }
            }
        }
    }

    fn now(&self) -> Now {
        Now {
            monotonic: self.clock.now(),
            wall: self.clock.wall(),
        }
    }

    fn admin(&self, call: &str, request: &Incoming) -> Reply {
        let refused = |message: String| Reply::json(400, &json!({"message": message}));
        match (request.method.as_str(), call) {
            ("GET", "faults") => Reply::json(200, &json!(self.faults.describe())),
            ("POST", "faults") => match self.faults.add_json(&request.body) {
                Ok(added) => Reply::json(200, &json!({"added": added})),
                Err(message) => refused(message),
            },
            ("DELETE", "faults") => {
                self.faults.clear();
                Reply::empty(204)
            }
            ("POST", "latency") => {
                let text = String::from_utf8_lossy(&request.body);
                match humantime::parse_duration(text.trim()) {
                    Ok(latency) => {
                        self.faults.set_latency(latency);
                        Reply::empty(204)
                    }
                    Err(error) => refused(format!("{text:?}: {error}")),
                }
            }
            ("GET", "requests") => {
                let lines: Vec<String> = self.log.entries().iter().map(Logged::to_string).collect();
                Reply::json(200, &json!(lines))
            }
            _ => self
                .core
                .told(call, request)
                .unwrap_or_else(|| Reply::json(404, &json!({"message": "no such call of the simulator"}))),
        }
    }
}

impl Answer {
    fn status(&self) -> u16 {
        match self {
            Self::Full(reply) => reply.status,
            Self::Stream { status, .. } => *status,
        }
    }

    fn with_body(self, body: Vec<u8>) -> Self {
        let (status, headers) = match self {
            Self::Full(reply) => (reply.status, reply.headers),
            Self::Stream { status, headers, .. } => (status, headers),
        };
        Self::Full(Reply {
            status,
            headers,
            body,
        })
    }
}

impl Canned {
    fn into_reply(self) -> Reply {
        let generic = json!({"code": self.status.to_string(), "message": "scripted fault"});
        let mut reply = match self.body {
            None => Reply::json(self.status, &generic),
            Some(body) => Reply {
                status: self.status,
                headers: Vec::new(),
                body: body.into_bytes(),
            },
        };
        reply.headers.extend(self.headers);
        reply
    }
}

fn html() -> Reply {
    Reply {
        status: 200,
        headers: vec![("Content-Type".into(), "text/html".into())],
        body: b"<!DOCTYPE html><html><body>Please log in</body></html>".to_vec(),
    }
}

/// Whether the core was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Acted {
    No,
    Yes,
}

/// The requests so far, oldest first, at most 100,000. Clones are the same log. Holds no header and no body.
#[derive(Clone, Default)]
pub struct Log(Arc<Watched<Entries>>);

#[derive(Default)]
struct Entries {
    sequence: u64,
    list: VecDeque<Logged>,
}

/// Older requests are forgotten.
const LOG_LIMIT: usize = 100_000;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// When it came, in a numbering of all beginnings and ends. Two requests overlapped when neither ended before the other
    /// began.
    pub began: u64,
    /// When its answer was ready; `None` while it is not.
    pub ended: Option<u64>,
    /// The date when it came, and the one when its answer was ready.
    pub dates: (SystemTime, Option<SystemTime>),
    /// The verb.
    pub method: String,
    /// Path and query as they came.
    pub target: String,
    /// `None` when there was no answer (yet).
    pub status: Option<u16>,
    /// Whether the simulator did what was asked, or would have if it were allowed. Faults may keep it from being asked.
    pub acted: bool,
    /// The fault that was played on it.
    pub fault: Option<&'static str>,
}

impl std::fmt::Display for Logged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {} → ", self.began, self.method, self.target)?;
        match self.status {
            Some(status) => write!(f, "{status}")?,
            None if self.ended.is_some() => f.write_str("no answer")?,
            None => f.write_str("…")?,
        }
        match self.fault {
            Some(fault) => write!(f, " ({fault})"),
            None => Ok(()),
        }
    }
}

impl Log {
    /// All of them.
    pub fn entries(&self) -> Vec<Logged> {
        self.0.read(|entries| entries.list.iter().cloned().collect())
    }

    /// Those for which `filter` holds.
    pub fn count(&self, filter: impl Fn(&Logged) -> bool) -> usize {
        self.0
            .read(|entries| entries.list.iter().filter(|entry| filter(entry)).count())
    }

    /// Forgets all of them.
    pub fn clear(&self) {
        self.0.update(|entries| entries.list.clear());
    }

    /// Waits until the log is as wanted, at most `timeout`; whether it came to that. Looked at after each beginning and end.
    pub fn wait_until(&self, timeout: Duration, mut wanted: impl FnMut(&VecDeque<Logged>) -> bool) -> bool {
        self.0
            .wait_until(timeout, |entries| wanted(&entries.list).then_some(()))
            .is_some()
    }

    /// One line a request, for failure messages.
    pub fn text(&self) -> String {
        let lines: Vec<String> = self.entries().iter().map(Logged::to_string).collect();
        lines.join("\n")
    }

    fn begin(&self, request: &Incoming) -> u64 {
        self.0.update(|entries| {
            entries.sequence += 1;
            if entries.list.len() == LOG_LIMIT {
                entries.list.pop_front();
            }
            entries.list.push_back(Logged {
                began: entries.sequence,
                ended: None,
                dates: (SystemTime::now(), None),
                method: request.method.clone(),
                target: request.target.clone(),
                status: None,
                acted: false,
                fault: None,
            });
            entries.sequence
        })
    }

    fn end(&self, began: u64, status: Option<u16>, acted: Acted, fault: Option<&'static str>) {
        self.0.update(|entries| {
            entries.sequence += 1;
            let ended = Some(entries.sequence);
            let at = entries.list.binary_search_by_key(&began, |entry| entry.began);
            if let Some(entry) = at.ok().and_then(|at| entries.list.get_mut(at)) {
                entry.ended = ended;
                entry.dates.1 = Some(SystemTime::now());
                entry.status = status;
                entry.acted = acted == Acted::Yes;
                entry.fault = fault;
            }
        });
    }
}
