//! Blocking calls to the API server.

mod metrics;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use self::metrics::ClientMetrics;

use serde::de::DeserializeOwned;

use self::metrics::host_of;
use super::answer::{Failed, check_object, is_json, refused};
use super::auth::{Auth, Credential};
use super::call::Call;
use super::error::Error;
use super::path;
use super::retry::{History, Next, Outcome, decide};
use super::types::Resource;
use crate::http::bucket::TokenBucket;
use crate::http::{self, Limits, Request, Response, Transport};
use crate::runtime::clock::{Clock, SystemClock};
use crate::runtime::gate::{Gate, Permit, Shut};
use crate::runtime::json;
use crate::runtime::random::Random;
use crate::runtime::stop::StopToken;

/// What a [`Client`] is made of.
pub struct ClientOptions {
    /// Scheme, host, port, perhaps a path.
    pub base: String,
    /// Makes the exchanges. A watch needs one of its own.
    pub transport: Arc<dyn Transport>,
    /// Who we are.
    pub auth: Arc<Auth>,
    /// What changes have to pass.
    pub gate: Gate,
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
    /// Where its requests are measured.
    pub metrics: ClientMetrics,
}

/// A client of one API server. Clones share everything.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    options: ClientOptions,
    user_agent: String,
    /// Of the API server, for metrics.
    host: String,
    /// Warnings of the server logged already.
    warned: Mutex<HashSet<String>>,
}

impl Client {
    /// Talks to `base` (scheme, host, port, perhaps a path) over `transport`, as nobody, without a limit, and with a gate that is
    /// always open.
    pub fn new(base: &str, transport: Arc<dyn Transport>, stop: StopToken) -> Self {
        Self::with_options(ClientOptions {
            base: base.to_owned(),
            transport,
            auth: Arc::new(Auth::nobody()),
            gate: Gate::open(),
            bucket: None,
            component: String::new(),
            stop,
            clock: Arc::new(SystemClock),
            random: Arc::new(Random::from_entropy()),
            metrics: ClientMetrics::default(),
        })
    }

    /// A client with everything of its own.
    pub fn with_options(mut options: ClientOptions) -> Self {
        options.base.truncate(options.base.trim_end_matches('/').len());
        Self(Arc::new(Shared {
            user_agent: user_agent(&options.component),
            host: host_of(&options.base).to_owned(),
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
            gate,
            bucket,
            stop,
            clock,
            random,
            metrics,
            ..
        } = &self.0.options;
        let (method, host) = (call.method, &*self.0.host);
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
                metrics.limited(method, host, waited);
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
            let permit = call.permit(gate).map_err(|Shut| Error::NotLeading {
                call: call.describe(),
            })?;
            let begun = clock.now();
            let done = self
                .attempt(call, mode, &credential, permit, left)
                .and_then(&finish);
            if mode != Mode::Watch {
                metrics.took(method, host, clock.now().saturating_duration_since(begun));
            }
            let failed = match done {
                Ok(done) => return Ok(done),
                Err(failed) => failed,
            };
            let is_refused = matches!(failed.outcome, Outcome::Status { code: 401, .. });
            if is_refused && !std::mem::replace(&mut renewed, true) && auth.renew(&credential) {
                log::debug!(call = call.describe().as_str(); "try another credential after a 401");
                metrics.repeated(method, host, Some(401));
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
            metrics.repeated(method, host, failed.outcome.code());
        }
    }

    /// One exchange: the answer of a 2xx that calls itself JSON, or what went wrong.
    fn attempt(
        &self,
        call: &Call,
        mode: Mode,
        credential: &Credential,
        permit: Permit,
        left: Option<Duration>,
    ) -> Result<Response, Failed> {
        let request = self.request(call, credential, permit, left);
        let response = self.exchange(&request, mode).map_err(|source| {
            let outcome = match &source {
                http::Error::Connect { .. } => Outcome::NotSent,
                http::Error::NoAnswer { .. } => Outcome::Broken,
                // another attempt would meet the same certificate, or the same stop
                http::Error::Tls { .. }
                | http::Error::Invalid { .. }
                | http::Error::NotPermitted
                | http::Error::Stopped => Outcome::Final,
            };
            let error = match source {
                http::Error::Stopped => Error::Stopped {
                    call: call.describe(),
                },
                http::Error::NotPermitted => Error::NotLeading {
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

    /// Sends `request`, and measures what goes and comes.
    fn exchange(&self, request: &Request, mode: Mode) -> Result<Response, http::Error> {
        let (
            ClientOptions {
                metrics, transport, ..
            },
            host,
        ) = (&self.0.options, &*self.0.host);
        let answer = transport.exchange(request);
        metrics.attempted(request, host, &answer);
        match mode {
            Mode::Watch => answer,
            Mode::Retry | Mode::Once => answer.map(|answer| metrics.measured(request.method(), host, answer)),
        }
    }

    fn request(
        &self,
        call: &Call,
        credential: &Credential,
        permit: Permit,
        left: Option<Duration>,
    ) -> Request {
        let url = format!("{}{}", self.0.options.base, call.path_with_owner());
        let mut request = Request::permitted(permit, call.method, url)
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
        json::read(&bytes).map_err(|e| unintelligible(e.to_string()))
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
pub(super) fn user_agent(component: &str) -> String {
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

pub(super) const PROGRAM: &str = "inspur-cloud-controller-manager";
/// Source: kube-client.md 5.1.
const LONG_WAIT: Duration = Duration::from_secs(1);
/// The largest object accepted. Source: kube-client.md 2.6.
const OBJECT_LIMIT: usize = 8 << 20;
const MOST_WARNINGS: usize = 64;

#[cfg(test)]
mod tests;
