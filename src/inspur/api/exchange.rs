//! Exchanges with one service: what is repeated, when, and what an answer's status means.
//!
//! Knows neither tokens nor what the bodies say.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use log::debug;

use super::metrics::CloudMetrics;
use super::wire::Words;
use super::{Error, http};
use crate::http::bucket::{Stopped, TokenBucket};
use crate::http::{Request, Response, Transport};
use crate::runtime::backoff::Backoff;
use crate::runtime::clock::Clock;
use crate::runtime::gate::Shut;
use crate::runtime::random::Random;
use crate::runtime::stop::StopToken;

/// The longest wait between two attempts of one call. Whoever is asked to wait longer gets the error at once, and its caller
/// comes back later.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// `Retry-After` counts up to this much.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// The largest answer accepted: an SLB with thousands of members is far below.
const ANSWER_LIMIT: usize = 8 << 20;

/// How fast all callers together may call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// Calls a second in the long run; 0 = as fast as the workers are.
    pub qps: f64,
    /// Calls at once.
    pub burst: u32,
}

impl Default for Limit {
    /// None. Source: inspur-api.md 7.
    fn default() -> Self {
        Self { qps: 0.0, burst: 50 }
    }
}

/// How often and after which waits a call is repeated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retrying {
    /// The first attempt included.
    pub attempts: u32,
    /// Between two attempts.
    pub backoff: Backoff,
}

impl Default for Retrying {
    /// Four attempts within about 4 s: what takes longer is for the work queue, which keeps no SLB waiting.
    fn default() -> Self {
        Self {
            attempts: 4,
            backoff: Backoff {
                initial: Duration::from_millis(500),
                cap: Duration::from_secs(5),
                jitter: 0.2,
            },
        }
    }
}

/// What may be repeated after an attempt that perhaps had an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Twice is as good as once.
    Safe,
    /// Only what the other side said it did not do, or what never left.
    OnlyIfUndone,
}

/// What is asked, apart from the request itself.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    /// The operation, for metrics: one of a fixed set.
    pub(super) request: &'static str,
    /// For errors.
    pub(super) call: &'a str,
    pub(super) repeat: Repeat,
    /// What to show of a refusal's body.
    pub(super) words: fn(&[u8]) -> Result<Words, String>,
}

/// A 2xx.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) body: Vec<u8>,
    /// How many attempts it took: more than one means that others were there, or that we may have been there twice.
    pub(super) attempts: u32,
}

/// Talks to one service; all threads share one.
pub struct Exchanges {
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    stop: StopToken,
    random: Random,
    retrying: Retrying,
    limit: Arc<TokenBucket>,
    /// After a 429 nobody calls before this.
    throttled_until: Mutex<Option<Instant>>,
    metrics: CloudMetrics,
}

impl Exchanges {
    /// Exchanges over `transport`, as fast as they come; waits end when `stop` is set.
    pub fn new(
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
        stop: StopToken,
        retrying: Retrying,
    ) -> Self {
        let Limit { qps, burst } = Limit::default();
        Self {
            limit: Arc::new(TokenBucket::new(qps, burst, Arc::clone(&clock))),
            transport,
            clock,
            stop,
            random: Random::from_entropy(),
            retrying,
            throttled_until: Mutex::new(None),
            metrics: CloudMetrics::default(),
        }
    }

    /// The same, but no faster than `limit`, which others may share.
    pub fn limited(self, limit: Arc<TokenBucket>) -> Self {
        Self { limit, ..self }
    }

    /// The same, measured there.
    pub fn measured(self, metrics: CloudMetrics) -> Self {
        Self { metrics, ..self }
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Where they are measured.
    pub(super) fn metrics(&self) -> &CloudMetrics {
        &self.metrics
    }

    /// Sends what `request` builds, again where that is safe, until there is a 2xx. Each attempt needs a permit of its own.
    ///
    /// # Errors
    /// What the last attempt met.
    pub(super) fn send(
        &self,
        ask: Ask<'_>,
        request: impl Fn() -> Result<Request, Shut>,
    ) -> Result<Answer, Error> {
        self.repeat(ask, request).inspect_err(|error| {
            // that we stop, or stand by, is nobody's fault
            if !matches!(error, Error::Stopped { .. } | Error::NotLeading { .. }) {
                self.metrics.failed(ask.request);
            }
        })
    }

    fn repeat(&self, ask: Ask<'_>, request: impl Fn() -> Result<Request, Shut>) -> Result<Answer, Error> {
        let call = ask.call;
        let mut failures = 0;
        loop {
            self.throttle(call)?;
            let request = request().map_err(|Shut| Error::NotLeading { call: call.into() })?;
            let error = match self.attempt(ask, &request) {
                Ok(body) => {
                    return Ok(Answer {
                        body,
                        attempts: failures + 1,
                    });
                }
                Err(error) => error,
            };
            let wait = self
                .retrying
                .backoff
                .delay(failures, &self.random)
                .max(error.retry_after().unwrap_or_default());
            failures += 1;
            let shared = matches!(error, Error::Throttled { .. });
            if shared {
                self.hold_everybody(wait);
            }
            if failures >= self.retrying.attempts || wait > LONGEST_WAIT || !may_repeat(&error, ask.repeat) {
                return Err(error);
            }
            // a throttled call waits where all the others wait
            if !shared && self.stop.wait(wait) {
                return Err(Error::Stopped { call: call.into() });
            }
        }
    }

    /// Lets a call go when it may: not while stopping, not before a 429's delay is over, not faster than the limit.
    fn throttle(&self, call: &str) -> Result<(), Error> {
        let until = *self
            .throttled_until
            .lock()
            .expect("no holder of the delay panics");
        let left = until.map_or(Duration::ZERO, |until| {
            until.saturating_duration_since(self.clock.now())
        });
        if left > LONGEST_WAIT {
            return Err(Error::Throttled {
                call: call.into(),
                words: Words::default(),
                retry_after: Some(left),
            });
        }
        let stopped = || Error::Stopped { call: call.into() };
        if self.stop.wait(left) {
            return Err(stopped());
        }
        self.metrics.held_back(left);
        let waited = self.limit.take(&self.stop).map_err(|Stopped| stopped())?;
        self.metrics.limited(waited);
        Ok(())
    }

    fn hold_everybody(&self, wait: Duration) {
        let until = self.clock.now() + wait;
        let mut held = self
            .throttled_until
            .lock()
            .expect("no holder of the delay panics");
        *held = Some(held.map_or(until, |held| held.max(until)));
    }

    fn attempt(&self, ask: Ask<'_>, request: &Request) -> Result<Vec<u8>, Error> {
        let call = ask.call;
        let begun = self.clock.now();
        let elapsed = || self.clock.now().saturating_duration_since(begun);
        let answer = self.transport.exchange(request);
        let duration_ms = elapsed().as_millis() as u64;
        let status = answer.as_ref().map_or(0, |response| response.status);
        debug!(call, status, duration_ms; "called the cloud");
        match &answer {
            Ok(response) => self.metrics.attempted(ask.request, Some(response.status)),
            // never sent
            Err(http::Error::Stopped | http::Error::NotPermitted | http::Error::Invalid { .. }) => {}
            Err(_) => self.metrics.attempted(ask.request, None),
        }
        let response = answer.map_err(|source| match source {
            http::Error::Stopped => Error::Stopped { call: call.into() },
            http::Error::NotPermitted => Error::NotLeading { call: call.into() },
            source => Error::NoAnswer {
                call: call.into(),
                source,
            },
        })?;
        if !(200..300).contains(&response.status) {
            return Err(refusal(ask, response));
        }
        let body = response
            .into_bytes(ANSWER_LIMIT)
            .map_err(|e| Error::Unintelligible {
                call: call.into(),
                reason: e.to_string(),
            })?;
        self.metrics.succeeded(ask.request, elapsed());
        Ok(body)
    }
}

/// Whether another attempt can do no harm. Source: inspur-api.md 2 (409, 429 and 5xx).
fn may_repeat(error: &Error, repeat: Repeat) -> bool {
    match error {
        Error::Conflict { .. } | Error::Throttled { .. } => true,
        Error::NoAnswer { source, .. } => match source {
            http::Error::Connect { .. } => true,
            http::Error::NoAnswer { .. } => repeat == Repeat::Safe,
            // it would fail the same way
            http::Error::Tls { .. }
            | http::Error::Invalid { .. }
            | http::Error::NotPermitted
            | http::Error::Stopped => false,
        },
        // the body broke off after a 2xx
        Error::Unavailable { .. } | Error::Unintelligible { .. } => repeat == Repeat::Safe,
        _ => false,
    }
}

/// What an answer other than 2xx means.
fn refusal(ask: Ask<'_>, response: Response) -> Error {
    let (call, status) = (ask.call.to_string(), response.status);
    let retry_after = response.retry_after().map(|delay| delay.min(LONGEST_RETRY_AFTER));
    let body = response.into_bytes(ANSWER_LIMIT).unwrap_or_default();
    // an error without a body says as much as one with `{}`
    let words = match &*body {
        [] => Ok(Words::default()),
        body => (ask.words)(body),
    };
    if let (404, Err(reason)) = (status, &words) {
        // a proxy's page, or a base URL that leads elsewhere: not the API's word that something is gone
        return Error::Unintelligible {
            call,
            reason: format!("404, but {reason}"),
        };
    }
    let words = words.unwrap_or_default();
    match status {
        401 => Error::Unauthorized { call, words },
        403 => Error::Forbidden { call, words },
        404 => Error::NotFound { call, words },
        409 => Error::Conflict {
            call,
            words,
            retry_after,
        },
        429 => Error::Throttled {
            call,
            words,
            retry_after,
        },
        400..=499 => Error::Rejected { call, status, words },
        _ => Error::Unavailable {
            call,
            status,
            words,
            retry_after,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::inspur::api::wire;
    use crate::inspur::testing::{Reply, Script, eager};
    use crate::metrics::{Metrics, lines};
    use crate::runtime::clock::ManualClock;
    use crate::runtime::stop::Stop;

    fn send(script: &Arc<Script>, repeat: Repeat) -> Result<Answer, Error> {
        exchanges(script, &Stop::new()).send(ask(repeat), || Ok(Request::get("http://x/")))
    }

    fn ask(repeat: Repeat) -> Ask<'static> {
        Ask {
            request: "look",
            call: "GET /",
            repeat,
            words: wire::words,
        }
    }

    fn exchanges(script: &Arc<Script>, stop: &Stop) -> Exchanges {
        let clock = Arc::new(ManualClock::new(UNIX_EPOCH));
        Exchanges::new(
            Arc::clone(script) as Arc<dyn Transport>,
            clock,
            stop.token(),
            eager(),
        )
    }

    #[test]
    fn only_what_is_safe_is_repeated() {
        fn connect() -> Reply {
            Reply::Fail(http::Error::Connect {
                peer: "x:80".into(),
                source: io::ErrorKind::ConnectionRefused.into(),
            })
        }
        fn tls() -> Reply {
            Reply::Fail(http::Error::Tls {
                peer: "x:80".into(),
                reason: "expired".into(),
            })
        }
        type Case = (&'static str, fn() -> Reply, usize, usize);
        let cases: [Case; 11] = [
            ("no connection", connect, 4, 4),
            ("no answer", Reply::lost, 4, 1),
            ("no trust", tls, 1, 1),
            ("409", || Reply::json(409, "{}"), 4, 4),
            ("429", || Reply::json(429, "{}"), 4, 4),
            ("500", || Reply::json(500, "{}"), 4, 1),
            ("502 with a page", || Reply::json(502, "<html>"), 4, 1),
            ("400", || Reply::json(400, "{}"), 1, 1),
            ("403", || Reply::json(403, "{}"), 1, 1),
            ("a redirect", || Reply::json(302, ""), 4, 1),
            ("a body cut short", || Reply::CutShort("[{".into()), 4, 1),
        ];
        for (case, reply, safe, unsafe_) in cases {
            for (repeat, want) in [(Repeat::Safe, safe), (Repeat::OnlyIfUndone, unsafe_)] {
                let script = Script::always(reply);
                assert!(send(&script, repeat).is_err(), "{case}");
                assert_eq!(script.requests().len(), want, "{case}, {repeat:?}");
            }
        }
    }

    #[test]
    fn the_status_says_what_an_answer_means() {
        type Is = fn(&Error) -> bool;
        let cases: [(&str, u16, &str, Is); 9] = [
            ("401", 401, "{}", |e| matches!(e, Error::Unauthorized { .. })),
            ("403", 403, "{}", |e| matches!(e, Error::Forbidden { .. })),
            ("404", 404, r#"{"code":"404"}"#, |e| {
                matches!(e, Error::NotFound { .. })
            }),
            ("404 without a body", 404, "", |e| {
                matches!(e, Error::NotFound { .. })
            }),
            ("404 with a proxy's page", 404, "<html>nginx</html>", |e| {
                matches!(e, Error::Unintelligible { .. })
            }),
            ("404 cut short", 404, r#"{"code":"#, |e| {
                matches!(e, Error::Unintelligible { .. })
            }),
            ("409", 409, "busy", |e| matches!(e, Error::Conflict { .. })),
            ("422", 422, "{}", |e| {
                matches!(e, Error::Rejected { status: 422, .. })
            }),
            ("503", 503, "", |e| {
                matches!(e, Error::Unavailable { status: 503, .. })
            }),
        ];
        for (case, status, body, is) in cases {
            let script = Script::always(|| Reply::json(status, body));
            let error = send(&script, Repeat::Safe).unwrap_err();
            assert!(is(&error), "{case}: {error:?}");
        }
    }

    #[test]
    fn a_call_that_is_let_through_at_last_says_how_often_it_was_tried() {
        let script = Script::new([
            Reply::json(409, "{}"),
            Reply::json(503, ""),
            Reply::json(200, "[]"),
        ]);
        let answer = send(&script, Repeat::Safe).unwrap();
        assert_eq!((&*answer.body, answer.attempts), (&b"[]"[..], 3));
    }

    #[test]
    fn every_attempt_is_measured_by_operation_and_code() {
        let script = Script::new([
            Reply::json(409, "{}"),
            Reply::lost(),
            Reply::json(429, "{}"),
            Reply::json(200, "[]"),
            Reply::json(404, "{}"),
            Reply::Fail(http::Error::NotPermitted),
        ]);
        let metrics = Metrics::new();
        let exchanges = exchanges(&script, &Stop::new()).measured(CloudMetrics::new(&metrics));
        let send = || exchanges.send(ask(Repeat::Safe), || Ok(Request::get("http://x/")));
        send().unwrap();
        send().unwrap_err();
        send().unwrap_err();
        let shown: Vec<String> = lines(&metrics, "cloudprovider_inspur_api_")
            .iter()
            .filter(|line| !line.contains("_bucket"))
            .map(|line| line.replace("cloudprovider_inspur_api_", ""))
            .collect();
        assert_eq!(
            shown,
            [
                r#"conflicts_total{request="look"} 1"#,
                r#"request_duration_seconds_sum{request="look"} 0"#,
                r#"request_duration_seconds_count{request="look"} 1"#,
                r#"request_errors_total{request="look"} 1"#,
                r#"requests_total{code="200",request="look"} 1"#,
                r#"requests_total{code="404",request="look"} 1"#,
                r#"requests_total{code="409",request="look"} 1"#,
                r#"requests_total{code="429",request="look"} 1"#,
                r#"requests_total{code="<error>",request="look"} 1"#,
                r#"throttled_requests_total{request="look"} 1"#,
                r#"wait_seconds_total{why="limit"} 0"#,
                r#"wait_seconds_total{why="throttled"} 0"#,
            ]
        );
    }

    #[test]
    fn waits_are_measured_by_why() {
        let (metrics, clock) = (Metrics::new(), Arc::new(ManualClock::new(UNIX_EPOCH)));
        let script = Script::new([
            Reply::json(429, "{}").header("Retry-After", "1"),
            Reply::json(200, "[]"),
        ]);
        let limit = TokenBucket::new(100.0, 1, clock.clone() as Arc<dyn Clock>);
        let retrying = Retrying {
            attempts: 1,
            ..eager()
        };
        let exchanges = Exchanges::new(script, clock.clone(), StopToken::never(), retrying)
            .limited(Arc::new(limit))
            .measured(CloudMetrics::new(&metrics));
        let send = || exchanges.send(ask(Repeat::Safe), || Ok(Request::get("http://x/")));
        send().unwrap_err();
        clock.advance(Duration::from_millis(999));
        exchanges.limit.take(&StopToken::never()).unwrap();
        send().unwrap();
        assert_eq!(
            lines(&metrics, "cloudprovider_inspur_api_wait"),
            [
                r#"cloudprovider_inspur_api_wait_seconds_total{why="limit"} 0.01"#,
                r#"cloudprovider_inspur_api_wait_seconds_total{why="throttled"} 0.001"#,
            ]
        );
    }

    #[test]
    fn a_long_delay_is_handed_on_and_holds_everybody_after_a_429() {
        for (case, status, asked, told, held) in [
            ("throttled", 429, "60", 60, true),
            ("throttled for a day", 429, "86400", 300, true),
            ("down", 503, "60", 60, false),
        ] {
            let script = Script::always(|| Reply::json(status, "{}").header("Retry-After", asked));
            let exchanges = exchanges(&script, &Stop::new());
            let request = || Ok(Request::get("http://x/"));
            let error = exchanges.send(ask(Repeat::Safe), request).unwrap_err();
            assert_eq!(error.retry_after(), Some(Duration::from_secs(told)), "{case}");
            assert_eq!(script.requests().len(), 1, "{case}");
            let again = exchanges.send(ask(Repeat::Safe), request).unwrap_err();
            assert_eq!(again.retry_after(), Some(Duration::from_secs(told)), "{case}");
            assert_eq!(script.requests().len(), if held { 1 } else { 2 }, "{case}");
        }
    }

    #[test]
    fn nothing_is_sent_once_it_is_time_to_stop() {
        let (script, stop) = (Script::always(|| Reply::json(200, "[]")), Stop::new());
        stop.stop();
        let sent = exchanges(&script, &stop).send(ask(Repeat::Safe), || Ok(Request::get("http://x/")));
        assert!(matches!(sent, Err(Error::Stopped { .. })), "{sent:?}");
        assert_eq!(script.requests().len(), 0);
    }

    #[test]
    fn a_limit_counts_every_attempt() {
        let (script, stop) = (Script::always(|| Reply::json(503, "")), Stop::new());
        let limit = TokenBucket::new(1e-6, 2, Arc::new(ManualClock::new(UNIX_EPOCH)));
        let exchanges = exchanges(&script, &stop).limited(Arc::new(limit));
        let request = || Ok(Request::get("http://x/"));
        // the third attempt has to wait, until it is told to stop
        std::thread::scope(|scope| {
            let sent = scope.spawn(|| exchanges.send(ask(Repeat::Safe), request));
            while script.requests().len() < 2 {
                std::thread::yield_now();
            }
            stop.stop();
            assert!(matches!(sent.join().unwrap(), Err(Error::Stopped { .. })));
        });
        assert_eq!(script.requests().len(), 2);
    }
}
