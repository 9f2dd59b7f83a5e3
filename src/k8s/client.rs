//! Blocking calls to the API server.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::auth::{Auth, Credential};
use super::error::Error;
use super::path;
use super::retry::{History, Next, Outcome, decide};
use super::status::{Refusal, Status, classify, without};
use super::types::Resource;
use crate::http::bucket::TokenBucket;
use crate::http::{self, Limits, Method, Request, Response, Transport};
use crate::runtime::clock::{Clock, SystemClock};
use crate::runtime::random::Random;
use crate::runtime::stop::StopToken;

/// One call: what to do with which path.
#[derive(Debug, Clone)]
pub struct Call {
    /// The verb.
    pub method: Method,
    /// From `/api` on, percent-encoded, with its query.
    pub path: String,
    /// Type and bytes.
    pub body: Option<(&'static str, Vec<u8>)>,
    /// Deadlines of one attempt.
    pub limits: Limits,
    /// How long all attempts, and the waits between them, may take; a watch has one attempt.
    pub budget: Duration,
}

/// The kinds of PATCH in use. Source: kube-client.md 6.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 7386: maps merge, lists are replaced.
    Merge,
    /// Lists follow Kubernetes' metadata: finalizers merge as a set.
    Strategic,
}

impl PatchType {
    /// Its `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Merge => "application/merge-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
        }
    }
}

impl Call {
    /// A read.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::Get,
            path: path.into(),
            body: None,
            limits: Limits::default(),
            budget: BUDGET,
        }
    }

    /// A partial change. It must be one that may happen twice.
    pub fn patch(path: impl Into<String>, kind: PatchType, body: &serde_json::Value) -> Self {
        let bytes = body.to_string().into_bytes();
        Self {
            method: Method::Patch,
            body: Some((kind.content_type(), bytes)),
            ..Self::get(path)
        }
    }

    /// Makes a new object.
    pub fn create(path: impl Into<String>, body: &serde_json::Value) -> Self {
        let bytes = body.to_string().into_bytes();
        Self {
            method: Method::Post,
            body: Some(("application/json", bytes)),
            ..Self::get(path)
        }
    }

    /// Replaces an object by all of it, as it was read with what is changed. It must carry its `resourceVersion`.
    pub fn replace(path: impl Into<String>, body: &serde_json::Value) -> Self {
        let bytes = body.to_string().into_bytes();
        Self {
            method: Method::Put,
            body: Some(("application/json", bytes)),
            ..Self::get(path)
        }
    }

    /// Deletes the object with that UID, and no later one of the same name.
    pub fn delete(path: impl Into<String>, uid: &str) -> Self {
        let options = serde_json::json!({
            "kind": "DeleteOptions", "apiVersion": "v1", "preconditions": { "uid": uid },
        });
        Self {
            method: Method::Delete,
            body: Some(("application/json", options.to_string().into_bytes())),
            ..Self::get(path)
        }
    }

    /// Sets the deadlines of one attempt.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets how long all attempts may take.
    pub fn budget(mut self, budget: Duration) -> Self {
        self.budget = budget;
        self
    }

    /// For errors and logs.
    pub fn describe(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// What a [`Client`] is made of.
pub struct ClientOptions {
    /// Scheme, host, port, perhaps a path.
    pub base: String,
    /// Makes the exchanges. A watch needs one of its own.
    pub transport: Arc<dyn Transport>,
    /// Who we are.
    pub auth: Arc<Auth>,
    /// How fast it may ask; watches do not count. `None` for no limit.
    pub bucket: Option<Arc<TokenBucket>>,
    /// The part of the daemon that asks, for the User-Agent: `service-controller`. May be empty.
    pub component: String,
    /// Ends its waits.
    pub stop: StopToken,
    /// Measures its attempts.
    pub clock: Arc<dyn Clock>,
    /// Spreads its waits.
    pub random: Arc<Random>,
}

/// A client of one API server. Clones share everything.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    options: ClientOptions,
    user_agent: String,
    /// Warnings of the server logged already.
    warned: Mutex<HashSet<String>>,
}

impl Client {
    /// Talks to `base` (scheme, host, port, perhaps a path) over `transport`, as nobody and without a limit.
    pub fn new(base: &str, transport: Arc<dyn Transport>, stop: StopToken) -> Self {
        Self::with_options(ClientOptions {
            base: base.to_owned(),
            transport,
            auth: Arc::new(Auth::nobody()),
            bucket: None,
            component: String::new(),
            stop,
            clock: Arc::new(SystemClock),
            random: Arc::new(Random::from_entropy()),
        })
    }

    /// A client with everything of its own.
    pub fn with_options(mut options: ClientOptions) -> Self {
        options.base.truncate(options.base.trim_end_matches('/').len());
        Self(Arc::new(Shared {
            user_agent: user_agent(&options.component),
            options,
            warned: Mutex::default(),
        }))
    }

    /// The token that ends its waits.
    pub fn stop_token(&self) -> &StopToken {
        &self.0.options.stop
    }

    /// Ends every exchange of its transport, from any thread: a blocked watch above all. It is of no use afterwards.
    pub fn shutdown(&self) {
        self.0.options.transport.shutdown();
    }

    /// Reads one object, and makes sure that it is of its kind. `namespace` is empty for kinds without.
    ///
    /// # Errors
    /// As [`Client::send`]; a name that is none.
    pub fn object<T: Resource>(&self, namespace: &str, name: &str) -> Result<T, Error> {
        let call = Call::get(path::object::<T>(namespace, name, None)?);
        self.run(&call, Mode::Retry, |response| {
            self.decode(&call, response, Some(T::KIND))
        })
    }

    /// Sends `call` and decodes the answer's object. Retries as kube-client.md 5.4 says.
    ///
    /// # Errors
    /// Those of [`Client::open`], and a body that is no such object. A write may then have happened.
    pub fn send<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Error> {
        self.run(call, Mode::Retry, |response| self.decode(call, response, None))
    }

    /// Sends `call` and hands over the answer of a 2xx, its body unread. Retries as kube-client.md 5.4 says.
    ///
    /// # Errors
    /// Any other status, something else than JSON, or no answer.
    pub fn open(&self, call: &Call) -> Result<Response, Error> {
        self.run(call, Mode::Retry, Ok)
    }

    /// Opens a watch: as [`Client::open`], but without the limit on how fast the client asks, and without retries:
    /// whoever watches waits longer after each failure anyway. After a 401 it tries another credential.
    ///
    /// # Errors
    /// Those of [`Client::open`].
    pub fn open_watch(&self, call: &Call) -> Result<Response, Error> {
        self.run(call, Mode::Watch, Ok)
    }

    /// As [`Client::open`], but without retries, for callers that wait longer after each failure themselves. The
    /// deadlines are those of the call. After a 401 it tries another credential.
    ///
    /// # Errors
    /// Those of [`Client::open`].
    pub fn open_once(&self, call: &Call) -> Result<Response, Error> {
        self.run(call, Mode::Once, Ok)
    }

    /// The loop of attempts. `finish` makes of a good answer what the caller wants.
    fn run<T>(
        &self,
        call: &Call,
        mode: Mode,
        finish: impl Fn(Response) -> Result<T, Failed>,
    ) -> Result<T, Error> {
        let ClientOptions {
            auth,
            bucket,
            stop,
            clock,
            random,
            ..
        } = &self.0.options;
        let stopped = || Error::Stopped {
            call: call.describe(),
        };
        let mut renewed = false;
        let mut history = History {
            budget: call.budget,
            ..History::default()
        };
        let mut started = None;
        loop {
            if let (Some(bucket), Mode::Retry | Mode::Once) = (bucket, mode) {
                let waited = bucket.take(stop).map_err(|_| stopped())?;
                if waited >= LONG_WAIT {
                    log::debug!(call = call.describe().as_str(), waited_ms = waited.as_millis() as u64; "held back by the client's own limit");
                }
            }
            if stop.is_set() {
                return Err(stopped());
            }
            // the client's own limit is not the call's fault: its time begins after the first wait for it
            let started = *started.get_or_insert_with(|| clock.now());
            history.elapsed = clock.now().saturating_duration_since(started);
            history.attempts += 1;
            let credential = auth.credential().map_err(|e| Error::Credentials {
                call: call.describe(),
                reason: crate::runtime::chain(&e),
            })?;
            let left = match mode {
                Mode::Retry => Some(call.budget.saturating_sub(history.elapsed)),
                Mode::Once | Mode::Watch => None,
            };
            let failed = match self.attempt(call, &credential, left).and_then(&finish) {
                Ok(done) => return Ok(done),
                Err(failed) => failed,
            };
            let is_refused = matches!(failed.outcome, Outcome::Status { code: 401, .. });
            if is_refused && !std::mem::replace(&mut renewed, true) && auth.renew(&credential) {
                log::debug!(call = call.describe().as_str(); "try another credential after a 401");
                continue;
            }
            history.elapsed = clock.now().saturating_duration_since(started);
            let next = match mode {
                Mode::Retry => decide(call.method, failed.outcome, &history, random),
                Mode::Once | Mode::Watch => Next::Return,
            };
            let delay = match next {
                Next::Return => return Err(failed.error.after_attempts(history.attempts)),
                Next::Later(delay) => delay,
                Next::Again(delay) => {
                    history.failures += 1;
                    delay
                }
            };
            log::debug!(error = crate::runtime::chain(&failed.error).as_str(), delay_ms = delay.as_millis() as u64; "try again");
            if stop.wait(delay) {
                return Err(stopped());
            }
        }
    }

    /// One exchange: the answer of a 2xx that calls itself JSON, or what went wrong.
    fn attempt(
        &self,
        call: &Call,
        credential: &Credential,
        left: Option<Duration>,
    ) -> Result<Response, Failed> {
        let request = self.request(call, credential, left);
        let response = self.0.options.transport.exchange(&request).map_err(|source| {
            let outcome = match &source {
                http::Error::Connect { .. } => Outcome::NotSent,
                http::Error::NoAnswer { .. } => Outcome::Broken,
                // another attempt would meet the same certificate, or the same stop
                http::Error::Tls { .. } | http::Error::Invalid { .. } | http::Error::Stopped => {
                    Outcome::Final
                }
            };
            let error = match source {
                http::Error::Stopped => Error::Stopped {
                    call: call.describe(),
                },
                source => Error::NoAnswer {
                    call: call.describe(),
                    source,
                },
            };
            Failed { outcome, error }
        })?;
        self.log_warnings(&response);
        if !(200..300).contains(&response.status) {
            return Err(refused(call, credential, response));
        }
        match response.header("Content-Type") {
            Some(other) if !is_json(other) => {
                Err(Failed::unintelligible(call, format!("it is {other:?}, not JSON")))
            }
            Some(_) | None => Ok(response),
        }
    }

    fn request(&self, call: &Call, credential: &Credential, left: Option<Duration>) -> Request {
        let url = format!("{}{}", self.0.options.base, with_field_manager(call));
        let mut request = Request::new(call.method, url)
            .header("Accept", "application/json")
            .header("User-Agent", &self.0.user_agent);
        if let Some(authorization) = &credential.authorization {
            request = request.header("Authorization", authorization.expose());
        }
        if let Some((content_type, bytes)) = &call.body {
            request = request.body(content_type, bytes.clone());
        }
        request.limits = match left {
            None => call.limits,
            Some(left) => within(call.limits, left),
        };
        request
    }

    /// The object in an answer of a 2xx.
    fn decode<T: DeserializeOwned>(
        &self,
        call: &Call,
        response: Response,
        kind: Option<&str>,
    ) -> Result<T, Failed> {
        let unintelligible = |reason: String| Failed::unintelligible(call, reason);
        let bytes = response
            .into_bytes(OBJECT_LIMIT)
            .map_err(|source| match source.kind() {
                std::io::ErrorKind::FileTooLarge => unintelligible(source.to_string()),
                _ => Failed {
                    outcome: Outcome::Broken,
                    error: Error::NoAnswer {
                        call: call.describe(),
                        source: http::Error::NoAnswer {
                            peer: self.0.options.base.clone(),
                            source,
                        },
                    },
                },
            })?;
        check_object(call, &bytes, kind).map_err(unintelligible)?;
        serde_json::from_slice(&bytes).map_err(|e| unintelligible(e.to_string()))
    }

    /// Logs each warning of the server once. Source: client-go, rest/warnings.go.
    fn log_warnings(&self, response: &Response) {
        let warnings = response
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("Warning"));
        for text in warnings.filter_map(|(_, value)| value.strip_prefix("299 ")) {
            let mut warned = self.0.warned.lock().expect("no holder of the warnings panics");
            if warned.len() < MOST_WARNINGS && warned.insert(text.to_owned()) {
                log::warn!(warning = text; "the API server warns");
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Retry,
    Once,
    Watch,
}

/// How an attempt ended: for the decision, and for the caller.
struct Failed {
    outcome: Outcome,
    error: Error,
}

impl Failed {
    fn unintelligible(call: &Call, reason: String) -> Self {
        let call = call.describe();
        Self {
            outcome: Outcome::Final,
            error: Error::Unintelligible { call, reason },
        }
    }
}

/// An answer other than 2xx. Its body is read, so that the connection can be used again.
fn refused(call: &Call, credential: &Credential, response: Response) -> Failed {
    let (code, retry_after) = (response.status, response.retry_after());
    let is_json = response.header("Content-Type").is_none_or(is_json);
    let mut body = Vec::new();
    // an error's text is for people: what can be read of it is enough
    let _ = response.body.take(REFUSAL_LIMIT).read_to_end(&mut body);
    let error = classify(&Refusal {
        call: call.describe(),
        path: &call.path,
        code,
        retry_after,
        is_json,
        body: &body,
    });
    let error = match &credential.authorization {
        Some(secret) => error.map_message(|message| without(message, secret)),
        None => error,
    };
    // a Status may carry the delay too, but only the header says that the server did not act on a write
    Failed {
        outcome: Outcome::Status { code, retry_after },
        error,
    }
}

/// Whether `bytes` are an object that answers `call`.
fn check_object(call: &Call, bytes: &[u8], kind: Option<&str>) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Head<'a> {
        #[serde(borrow, default)]
        kind: Option<Cow<'a, str>>,
        #[serde(default)]
        metadata: Option<serde::de::IgnoredAny>,
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err("it is empty".to_owned());
    }
    let head: Head<'_> = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    match (head.kind.as_deref(), kind) {
        (Some("Status"), _) => match Status::parse(bytes) {
            Some(status) if status.is_success() && call.method == Method::Delete => Ok(()),
            Some(status) => Err(format!("a Status instead of an object: {}", status.message())),
            None => Err("a Status that cannot be read".to_owned()),
        },
        (Some(found), Some(want)) if found != want => Err(format!("a {found:?} instead of a {want}")),
        (None, Some(want)) => Err(format!("no {want}: it has no kind")),
        (None, None) if head.metadata.is_none() && call.path.starts_with("/api") => {
            Err("it is no object of Kubernetes".to_owned())
        }
        _ => Ok(()),
    }
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// Writes say who owns the fields they set. Source: kube-client.md 5.6.
fn with_field_manager(call: &Call) -> Cow<'_, str> {
    match call.method {
        Method::Get | Method::Delete => Cow::Borrowed(&call.path),
        Method::Post | Method::Put | Method::Patch => {
            let separator = if call.path.contains('?') { '&' } else { '?' };
            Cow::Owned(format!("{}{separator}fieldManager={PROGRAM}", call.path))
        }
    }
}

/// `limits`, but none longer than what is left of the call's budget.
fn within(limits: Limits, left: Duration) -> Limits {
    let left = left.max(Duration::from_millis(1));
    Limits {
        connect: limits.connect.min(left),
        head: limits.head.min(left),
        silence: limits.silence,
        body: limits.body,
    }
}

/// Must not begin with `kube-apiserver/`. Source: kube-client.md 5.6.
fn user_agent(component: &str) -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let version = env!("CARGO_PKG_VERSION");
    let agent = format!(
        "{PROGRAM}/{version} ({}/{arch}) {}",
        std::env::consts::OS,
        env!("CARGO_PKG_NAME")
    );
    match component {
        "" => agent,
        _ => format!("{agent}/{component}"),
    }
}

const PROGRAM: &str = "inspur-cloud-controller-manager";
/// Source: kube-client.md 5.4.
const BUDGET: Duration = Duration::from_secs(60);
/// Source: kube-client.md 5.1.
const LONG_WAIT: Duration = Duration::from_secs(1);
/// The largest object accepted. Source: kube-client.md 2.6.
const OBJECT_LIMIT: usize = 8 << 20;
/// Of an error's body; an invalid object may have many causes.
const REFUSAL_LIMIT: u64 = 64 << 10;
const MOST_WARNINGS: usize = 64;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use serde_json::{Value, json};

    use super::*;
    use crate::http::testing::Scripted;
    use crate::k8s::types::{Node, Service};
    use crate::runtime::clock::ManualClock;
    use crate::runtime::secret::Secret;
    use crate::runtime::stop::Stop;

    type Answer = Result<Response, http::Error>;

    fn json_answer(status: u16, body: &str) -> Answer {
        let headers = vec![("Content-Type".into(), "application/json".into())];
        Ok(Response::from_bytes(status, headers, body.into()))
    }

    fn later(status: u16) -> Answer {
        let headers = vec![("Retry-After".into(), "0".into())];
        Ok(Response::from_bytes(status, headers, b"later".to_vec()))
    }

    fn broken() -> Answer {
        Err(http::Error::NoAnswer {
            peer: "x:1".into(),
            source: std::io::ErrorKind::ConnectionReset.into(),
        })
    }

    fn client(answers: Vec<Answer>) -> (Client, Arc<Scripted>) {
        let transport = Scripted::new(answers);
        (
            Client::new("https://x:1/prefix/", transport.clone(), StopToken::never()),
            transport,
        )
    }

    const NODE: &str = r#"{"kind":"Node","metadata":{"name":"n-1"}}"#;

    #[test]
    fn requests_say_who_asks_for_what() {
        let transport = Scripted::new((0..4).map(|_| json_answer(200, NODE)).collect());
        let client = Client::with_options(ClientOptions {
            base: "https://x:1/prefix/".into(),
            transport: transport.clone(),
            auth: Arc::new(Auth::token("x", &Secret::new("t")).unwrap()),
            bucket: None,
            component: "node-controller".into(),
            stop: StopToken::never(),
            clock: Arc::new(SystemClock),
            random: Arc::new(Random::from_seed(1)),
        });
        for call in [
            Call::get("/api/v1/nodes/n-1"),
            Call::patch("/api/v1/nodes/n-1", PatchType::Merge, &json!({})),
            Call::replace("/api/v1/nodes/n-1?x=1", &json!({})),
            Call::delete("/api/v1/nodes/n-1", "u-1"),
        ] {
            client.send::<Value>(&call).unwrap();
        }
        let requests = transport.requests();
        let urls: Vec<&str> = requests
            .iter()
            .map(|r| r.url.strip_prefix("https://x:1/prefix").unwrap())
            .collect();
        let want = [
            "/api/v1/nodes/n-1",
            "/api/v1/nodes/n-1?fieldManager=inspur-cloud-controller-manager",
            "/api/v1/nodes/n-1?x=1&fieldManager=inspur-cloud-controller-manager",
            "/api/v1/nodes/n-1",
        ];
        assert_eq!(urls, want);
        let header = |request: &Request, name: &str| {
            request
                .headers
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, v)| v.clone())
                .unwrap()
        };
        assert_eq!(header(&requests[0], "Authorization"), "Bearer t");
        assert_eq!(header(&requests[0], "Accept"), "application/json");
        let agent = header(&requests[0], "User-Agent");
        assert!(
            agent.starts_with("inspur-cloud-controller-manager/") && agent.ends_with("/node-controller"),
            "{agent}"
        );
        assert_eq!(
            header(&requests[1], "Content-Type"),
            "application/merge-patch+json"
        );
        let options: Value = serde_json::from_slice(requests[3].body.as_ref().unwrap()).unwrap();
        assert_eq!(options["preconditions"]["uid"], "u-1");
    }

    #[test]
    fn what_is_no_object_is_never_taken_for_one() {
        let typed = |content_type: &str, body: &str| {
            Ok(Response::from_bytes(
                200,
                vec![("content-type".into(), content_type.into())],
                body.into(),
            ))
        };
        for (case, answer) in [
            ("HTML", typed("text/html; charset=utf-8", "<html>")),
            ("JSON that calls itself HTML", typed("text/html", NODE)),
            ("empty", json_answer(200, "")),
            (
                "blank",
                json_answer(
                    200, " 
",
                ),
            ),
            ("no kind", json_answer(200, "{}")),
            ("null", json_answer(200, "null")),
            ("cut", json_answer(200, r#"{"kind":"Node","metadata":{"na"#)),
            (
                "a failure",
                json_answer(200, r#"{"kind":"Status","status":"Failure","message":"x"}"#),
            ),
            (
                "a success",
                json_answer(200, r#"{"kind":"Status","status":"Success"}"#),
            ),
            (
                "another kind",
                json_answer(200, r#"{"kind":"Table","metadata":{}}"#),
            ),
        ] {
            let error = client(vec![answer]).0.object::<Node>("", "n-1").unwrap_err();
            assert!(matches!(error, Error::Unintelligible { .. }), "{case}: {error:?}");
            assert!(!error.proves_absence(), "{case}");
        }
        assert_eq!(
            &*client(vec![json_answer(200, NODE)])
                .0
                .object::<Node>("", "n-1")
                .unwrap()
                .meta
                .name,
            "n-1"
        );
        let done = r#"{"kind":"Status","status":"Success","details":{}}"#;
        let deleted = client(vec![json_answer(200, done)]).0;
        deleted
            .send::<Value>(&Call::delete("/api/v1/nodes/n-1", "u"))
            .unwrap();
    }

    #[test]
    fn a_read_is_repeated_and_a_creation_is_not() {
        let (reader, transport) = client(vec![broken(), later(503), json_answer(200, NODE)]);
        reader.object::<Node>("", "n-1").unwrap();
        assert_eq!(transport.requests().len(), 3);
        let (writer, transport) = client(vec![broken()]);
        let error = writer
            .send::<Value>(&Call::create("/api/v1/namespaces/a/events", &json!({})))
            .unwrap_err();
        assert!(error.may_have_happened(), "{error:?}");
        assert_eq!(transport.requests().len(), 1);
    }

    #[test]
    fn a_body_cut_short_is_no_answer() {
        struct Cut;
        impl Read for Cut {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
        }
        let cut = || {
            Ok(Response {
                status: 200,
                headers: vec![],
                body: Box::new(Cut),
            })
        };
        let (reader, _) = client(vec![cut(), json_answer(200, NODE)]);
        reader.object::<Node>("", "n-1").unwrap();
        let (writer, _) = client(vec![cut()]);
        let error = writer
            .send::<Value>(&Call::create("/api/v1/nodes", &json!({})))
            .unwrap_err();
        assert!(
            matches!(error, Error::NoAnswer { .. }) && error.may_have_happened(),
            "{error:?}"
        );
    }

    #[test]
    fn attempts_end_with_the_budget_and_are_counted() {
        let (busy, transport) = client((0..20).map(|_| later(429)).collect());
        let error = busy.object::<Node>("", "n-1").unwrap_err();
        assert_eq!(transport.requests().len(), 10);
        assert!(error.to_string().contains("(10 attempts)"), "{error}");
        assert_eq!(error.retry_after(), Some(Duration::ZERO));
        assert!(!error.may_have_happened());
        let (busy, transport) = client((0..20).map(|_| later(429)).collect());
        let call = Call::get("/api/v1/nodes/n-1").budget(Duration::from_millis(50));
        busy.send::<Value>(&call).unwrap_err();
        let requests = transport.requests();
        assert_eq!(requests.len(), 1);
        assert!(
            requests[0].limits.head <= Duration::from_millis(50),
            "an attempt fits into the budget"
        );
    }

    fn with_auth(transport: &Arc<Scripted>, auth: Auth) -> Client {
        Client::with_options(ClientOptions {
            base: "https://x:1".into(),
            transport: transport.clone(),
            auth: Arc::new(auth),
            bucket: None,
            component: String::new(),
            stop: StopToken::never(),
            clock: Arc::new(SystemClock),
            random: Arc::new(Random::from_seed(1)),
        })
    }

    #[test]
    fn a_401_makes_one_more_attempt_with_another_credential() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for (case, next, want) in [
            ("another token", "two", vec!["Bearer one", "Bearer two"]),
            ("the same token", "one", vec!["Bearer one"]),
        ] {
            for (mode, open) in [
                ("call", Client::open as fn(&_, &_) -> _),
                ("watch", Client::open_watch),
            ] {
                std::fs::write(&path, "one").unwrap();
                let clock = Arc::new(ManualClock::new(SystemTime::UNIX_EPOCH));
                let auth = Auth::token_file(&path, None, clock).unwrap();
                std::fs::write(&path, next).unwrap();
                let transport = Scripted::new((0..3).map(|_| json_answer(401, "")).collect());
                let error = open(&with_auth(&transport, auth), &Call::get("/api/v1/nodes")).unwrap_err();
                assert!(
                    matches!(error, Error::Unauthorized { .. }),
                    "{case}, {mode}: {error:?}"
                );
                let sent: Vec<String> = transport
                    .requests()
                    .iter()
                    .map(|r| r.headers[2].1.clone())
                    .collect();
                assert_eq!(sent, want, "{case}, {mode}");
            }
        }
    }

    #[test]
    fn a_token_sent_back_does_not_reach_the_error() {
        let echo = b"Authorization: Bearer s3cret".to_vec();
        let transport = Scripted::new(vec![Ok(Response::from_bytes(400, vec![], echo))]);
        let client = with_auth(&transport, Auth::token("x", &Secret::new("s3cret")).unwrap());
        let error = client.object::<Node>("", "n-1").unwrap_err();
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }

    #[test]
    fn a_watch_is_tried_once_and_takes_no_token_of_the_limit() {
        let clock = Arc::new(ManualClock::new(SystemTime::UNIX_EPOCH));
        let transport = Scripted::new(vec![json_answer(200, NODE), later(503), later(503)]);
        let stop = Stop::new();
        let client = Client::with_options(ClientOptions {
            base: "https://x:1".into(),
            transport: transport.clone(),
            auth: Arc::new(Auth::nobody()),
            bucket: Some(Arc::new(TokenBucket::new(0.001, 1, clock.clone()))),
            component: String::new(),
            stop: stop.token(),
            clock,
            random: Arc::new(Random::from_seed(1)),
        });
        client.open(&Call::get("/api/v1/nodes")).unwrap();
        for _ in 0..2 {
            let error = client
                .open_watch(&Call::get("/api/v1/nodes?watch=1"))
                .unwrap_err();
            assert!(
                matches!(error, Error::Unavailable { status: 503, .. }),
                "{error:?}"
            );
        }
        stop.stop();
        let error = client.open(&Call::get("/api/v1/nodes")).unwrap_err();
        assert!(matches!(error, Error::Stopped { .. }), "{error:?}");
        assert_eq!(transport.requests().len(), 3);
    }

    #[test]
    fn an_empty_name_reaches_no_collection() {
        let (client, transport) = client(vec![]);
        assert!(matches!(
            client.object::<Service>("a", ""),
            Err(Error::Invalid { .. })
        ));
        assert!(transport.requests().is_empty());
    }

    #[test]
    fn who_retries_himself_gets_the_first_failure() {
        for open in [Client::open_once, Client::open_watch] {
            for answer in [later(429), later(503), broken()] {
                let (client, transport) = client(vec![answer, json_answer(200, NODE)]);
                open(&client, &Call::get("/api/v1/nodes")).unwrap_err();
                assert_eq!(transport.requests().len(), 1);
            }
        }
    }
}
