//! The SLB API from memory, for tests: (state, request) → answer, with a log of calls and a script of faults.
//!
//! Shares nothing with the wire module: its JSON is written from the same contract. Source: inspur-api.md 3.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::http::{Error, Method, Request, Response, Transport};

pub(super) const BASE: &str = "https://slb.example/slb/v1/slbs";

/// Status and body.
type Answer = Result<(u16, String), Error>;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fault {
    /// From the n-th call (from 0) on nobody answers; nothing happens.
    DeadBefore(usize),
    /// The same, but the n-th call still happens.
    DeadAfter(usize),
    /// Calls whose line begins with this are answered once so, without happening.
    Once(&'static str, u16, &'static str),
    /// Calls whose line begins with this are always answered so, without happening.
    Always(&'static str, u16, &'static str),
}

#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) slbs: BTreeMap<String, FakeSlb>,
    next_id: u32,
}

#[derive(Debug, Clone)]
pub(super) struct FakeSlb {
    pub(super) described: Value,
    pub(super) listeners: BTreeMap<String, (Value, Vec<Value>)>,
}

/// An SLB API with no SLBs, no faults and an empty log.
#[derive(Default)]
pub(super) struct FakeApi {
    state: Mutex<State>,
    faults: Mutex<Vec<Fault>>,
    log: Mutex<Vec<String>>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl FakeApi {
    /// With these SLBs, each with a public address.
    pub(super) fn new(slbs: &[&str]) -> Arc<Self> {
        let api = Arc::new(Self::default());
        for slb in slbs {
            api.change(|state| {
                let described = json!({
                    "slbId": slb, "slbName": "x", "scheme": "internet-facing", "businessIp": "10.0.0.9",
                    "eipAddress": "203.0.113.7", "listenerCount": 0, "state": "ACTIVE"
                });
                let listeners = BTreeMap::new();
                state
                    .slbs
                    .insert(slb.to_string(), FakeSlb { described, listeners });
            });
        }
        api
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    pub(super) fn break_with(&self, fault: Fault) {
        self.faults.lock().unwrap().push(fault);
    }

    pub(super) fn mend(&self) {
        self.faults.lock().unwrap().clear();
    }

    /// Calls since the last time, each as `GET ?slbId=…`.
    pub(super) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    /// How many reads of SLBs (describe and list), reads of members, and writes since the last time.
    pub(super) fn take_counts(&self) -> (usize, usize, usize) {
        let (mut slbs, mut members, mut writes) = (0, 0, 0);
        for line in self.take_log() {
            match line.starts_with("GET") {
                true if line.ends_with("/members") => members += 1,
                true => slbs += 1,
                false => writes += 1,
            }
        }
        (slbs, members, writes)
    }

    pub(super) fn most_at_once(&self) -> usize {
        self.most_at_once.load(Ordering::SeqCst)
    }

    /// Everything on `slb`, one line a listener: `name TCP/80 RR i-n1@10.0.0.1:30080 …`, in the order of the lines.
    pub(super) fn shown(&self, slb: &str) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let shown = state.slbs[slb].listeners.values().map(|(listener, members)| {
            let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_string();
            let mut line = format!(
                "{} {}/{} {}",
                text(listener, "listenerName"),
                text(listener, "protocol"),
                listener["port"],
                text(listener, "forwardRule")
            );
            let mut members: Vec<_> = members
                .iter()
                .map(|m| format!(" {}@{}:{}", text(m, "serverId"), text(m, "serverIp"), m["port"]))
                .collect();
            members.sort();
            line.extend(members);
            line
        });
        let mut shown: Vec<_> = shown.collect();
        shown.sort();
        shown
    }

    /// Puts a listener there by hand.
    pub(super) fn put_listener(&self, slb: &str, name: &str, protocol: &str, port: u16) {
        self.change(|state| {
            let id = state.id("l");
            let listener = json!({"slbId": slb, "listenerId": id, "listenerName": name, "protocol": protocol, "port": port});
            state.slbs.get_mut(slb).unwrap().listeners.insert(id, (listener, vec![]));
        });
    }

    /// Whether the call happens all the same, and what is answered.
    fn fault(&self, line: &str, number: usize) -> Option<(bool, Answer)> {
        let dead = || {
            Err(Error::NoAnswer {
                peer: "slb.example:443".into(),
                source: io::ErrorKind::ConnectionReset.into(),
            })
        };
        let mut faults = self.faults.lock().unwrap();
        let at = faults.iter().position(|fault| match fault {
            Fault::DeadBefore(n) | Fault::DeadAfter(n) => number >= *n,
            Fault::Once(start, ..) | Fault::Always(start, ..) => line.starts_with(start),
        })?;
        Some(match faults[at].clone() {
            Fault::DeadBefore(_) => (false, dead()),
            Fault::DeadAfter(n) => (number == n, dead()),
            Fault::Always(_, status, body) => (false, Ok((status, body.into()))),
            Fault::Once(_, status, body) => {
                faults.remove(at);
                (false, Ok((status, body.into())))
            }
        })
    }
}

impl Transport for FakeApi {
    fn exchange(&self, request: &Request) -> Result<Response, Error> {
        let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(now, Ordering::SeqCst);
        std::thread::yield_now();
        let path = request.url.strip_prefix(BASE).expect("below the base");
        let line = format!("{} {path}", request.method());
        let number = {
            let mut log = self.log.lock().unwrap();
            log.push(line.clone());
            log.len() - 1
        };
        let body = request
            .body
            .as_deref()
            .map(|bytes| serde_json::from_slice(bytes).unwrap());
        let act = || {
            self.state
                .lock()
                .unwrap()
                .act(request.method(), path, body.clone())
        };
        let answer = match self.fault(&line, number) {
            Some((acts, answer)) => {
                if acts {
                    act();
                }
                answer
            }
            None => Ok(act()),
        };
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        answer.map(|(status, body)| Response::from_bytes(status, vec![], body.into_bytes()))
    }

    fn shutdown(&self) {}
}

impl State {
    fn id(&mut self, kind: &str) -> String {
        self.next_id += 1;
        format!("{kind}-{}", self.next_id)
    }

    fn act(&mut self, method: Method, path: &str, body: Option<Value>) -> (u16, String) {
        if let Some(id) = path.strip_prefix("?slbId=") {
            let found: Vec<_> = self.slbs.get(id).map(|slb| &slb.described).into_iter().collect();
            return (200, json!(found).to_string());
        }
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let ids = [self.id("l"), self.id("b")];
        let Some(slb) = parts.first().and_then(|id| self.slbs.get_mut(*id)) else {
            return (404, json!({"code": "404", "message": "no such slb"}).to_string());
        };
        match (method, &parts[1..], body) {
            (Method::Get, ["listeners"], None) => {
                let all: Vec<_> = slb.listeners.values().map(|(listener, _)| listener).collect();
                (200, json!(all).to_string())
            }
            (Method::Post, ["listeners", ""], Some(spec)) => slb.create(spec, &ids[0]),
            (method, ["listeners", id, rest @ ..], body) => {
                slb.on_listener(method, id, rest, query, body, &ids[1])
            }
            _ => (405, "{}".into()),
        }
    }
}

impl FakeSlb {
    fn create(&mut self, mut spec: Value, id: &str) -> (u16, String) {
        let udp = |listener: &Value| listener["protocol"] == "UDP";
        let taken =
            |(there, _): &(Value, Vec<Value>)| there["port"] == spec["port"] && udp(there) == udp(&spec);
        if self.listeners.values().any(taken) {
            return (
                400,
                json!({"code": "PortTaken", "message": "the port is in use"}).to_string(),
            );
        }
        spec["listenerId"] = id.into();
        self.listeners.insert(id.into(), (spec.clone(), vec![]));
        (200, spec.to_string())
    }

    fn on_listener(
        &mut self,
        method: Method,
        id: &str,
        rest: &[&str],
        query: &str,
        body: Option<Value>,
        new_id: &str,
    ) -> (u16, String) {
        let Some((listener, members)) = self.listeners.get_mut(id) else {
            return (
                404,
                json!({"code": "404", "message": "no such listener"}).to_string(),
            );
        };
        match (method, rest, body) {
            (Method::Get, [], None) => (200, listener.to_string()),
            (Method::Put, [], Some(mut spec)) => {
                assert_eq!(
                    (&spec["protocol"], &spec["port"]),
                    (&listener["protocol"], &listener["port"])
                );
                spec["listenerId"] = id.into();
                *listener = spec;
                (200, listener.to_string())
            }
            (Method::Delete, [], None) => {
                self.listeners.remove(id);
                (204, String::new())
            }
            (Method::Get, ["members"], None) => (200, json!(members).to_string()),
            (Method::Post, ["members"], Some(Value::Array(specs))) => {
                for (n, mut spec) in specs.clone().into_iter().enumerate() {
                    spec["backendId"] = format!("{new_id}-{n}").into();
                    members.push(spec);
                }
                (
                    200,
                    json!({"code": "200", "message": "ok", "data": specs}).to_string(),
                )
            }
            (Method::Delete, ["members"], None) => {
                let list = query.strip_prefix("backendIdList=").unwrap();
                let list = list
                    .replace("%5B", "[")
                    .replace("%5D", "]")
                    .replace("%22", "\"")
                    .replace("%2C", ",");
                let ids: Vec<String> = serde_json::from_str(&list).unwrap();
                for id in &ids {
                    let at = members.iter().position(|m| m["backendId"] == **id);
                    let Some(at) = at else {
                        return (
                            404,
                            json!({"code": "404", "message": "no such member"}).to_string(),
                        );
                    };
                    members.remove(at);
                }
                (200, String::new())
            }
            _ => (405, "{}".into()),
        }
    }
}
