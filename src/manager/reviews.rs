//! What the endpoint asks the API server about its callers: who they are, what they may, whom to trust.
//!
//! Reviews change nothing and pass any gate: a standby answers its callers, too.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use log::warn;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::{self, Limits};
use crate::k8s::connect::{ClientKind, ConnectError, ConnectOptions, Connector, Reloads, connect};
use crate::k8s::types::null_default;
use crate::k8s::{Call, Client, ClientMetrics, Error as CallError, Review};
use crate::runtime::chain;
use crate::runtime::clock::Clock;
use crate::runtime::gate::Gate;
use crate::runtime::json;
use crate::runtime::random::Random;
use crate::runtime::secret::Secret;
use crate::runtime::stop::StopToken;
use crate::serve::who::{AccessAsk, ReviewError, Reviews, User, Verdict};
use crate::serve::{Authentication, Authorization};

/// Asks the API server.
pub struct ApiReviews {
    client: Client,
    /// Whose client it is; `None` where somebody else cares for its credentials.
    connector: Option<Connector>,
    clock: Arc<dyn Clock>,
    random: Arc<Random>,
}

/// Whom to ask about what. Both may be the same.
#[derive(Default)]
pub struct Reviewers {
    /// About tokens and authorities.
    pub authentication: Option<Arc<ApiReviews>>,
    /// About access.
    pub authorization: Option<Arc<ApiReviews>>,
}

/// A kubeconfig for reviews cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("--{flag}")]
pub struct Unusable {
    /// Which names it.
    pub flag: &'static str,
    /// Why.
    #[source]
    pub source: ConnectError,
}

/// What their clients are made of.
pub struct Means<'a> {
    /// Ends their waits.
    pub stop: StopToken,
    /// The daemon's; reviews pass it in any case.
    pub gate: &'a Gate,
    /// Measures attempts, ages credentials.
    pub clock: &'a Arc<dyn Clock>,
    /// Spreads waits.
    pub random: &'a Arc<Random>,
}

impl Reviewers {
    /// Those of the flags: their kubeconfig, else the cluster that this Pod is in, else nobody. `--kubeconfig` is not for them.
    /// Source: apiserver pkg/server/options/authentication.go (getClient).
    ///
    /// # Errors
    /// Each kubeconfig that is named and cannot be used.
    pub fn new(
        authentication: &Authentication,
        authorization: &Authorization,
        means: &Means<'_>,
    ) -> Result<Self, Vec<Unusable>> {
        let (authn, authz) = (
            authentication.kubeconfig.as_deref(),
            authorization.kubeconfig.as_deref(),
        );
        let first = reviewer("authentication-kubeconfig", authn, means);
        let second = match &first {
            Ok(same) if authn == authz => Ok(same.clone()),
            _ => reviewer("authorization-kubeconfig", authz, means),
        };
        match (first, second) {
            (Ok(authentication), Ok(authorization)) => Ok(Self {
                authentication,
                authorization,
            }),
            (first, second) => Err(first.err().into_iter().chain(second.err()).collect()),
        }
    }
}

fn reviewer(
    flag: &'static str,
    kubeconfig: Option<&Path>,
    means: &Means<'_>,
) -> Result<Option<Arc<ApiReviews>>, Unusable> {
    let connected = connect(ConnectOptions {
        kubeconfig,
        master: None,
        // the endpoint limits itself how fast it asks
        qps: 0.0,
        burst: 1,
        stop: means.stop.clone(),
        gate: means.gate.clone(),
        clock: Arc::clone(means.clock),
        metrics: ClientMetrics::default(),
    });
    match (connected, kubeconfig) {
        (Ok(connector), _) => {
            let client = connector.client(COMPONENT, ClientKind::Controllers, means.stop.clone());
            let (clock, random) = (Arc::clone(means.clock), Arc::clone(means.random));
            Ok(Some(Arc::new(ApiReviews {
                connector: Some(connector),
                ..ApiReviews::new(client, clock, random)
            })))
        }
        (Err(source), Some(_)) => Err(Unusable { flag, source }),
        (Err(error), None) => {
            warn!(flag, why = chain(&error).as_str(); "there is no API server to ask about callers of the endpoint");
            Ok(None)
        }
    }
}

impl ApiReviews {
    /// Asks with `client`, whose own limit must not hold anything back.
    pub fn new(client: Client, clock: Arc<dyn Clock>, random: Arc<Random>) -> Self {
        Self {
            client,
            connector: None,
            clock,
            random,
        }
    }

    /// Looks at the kubeconfig and at what it names now, as [`Connector::reload`] does.
    pub fn reload(&self) -> Reloads {
        self.connector.as_ref().map(Connector::reload).unwrap_or_default()
    }

    /// Ends what is being asked, from any thread. It is of no use afterwards.
    pub fn shutdown(&self) {
        self.client.shutdown();
    }

    /// Sends `call` until there is an answer, a failure that another attempt would not change, or no time left. The waits are upstream's.
    /// Unlike other POSTs a review may be repeated whatever became of it.
    fn ask(&self, call: &Call, within: Duration) -> Result<Vec<u8>, CallError> {
        let started = self.clock.now();
        let mut wait = FIRST_WAIT;
        for attempt in 1.. {
            let left = within.saturating_sub(self.clock.now().saturating_duration_since(started));
            let error = match self.attempt(&call.clone().limits(shares(left))) {
                Ok(bytes) => return Ok(bytes),
                Err(error) => error,
            };
            let delay = match again(&error) {
                // a kept connection that the server has closed meanwhile
                Again::AtOnce if attempt == 1 => Duration::ZERO,
                Again::AtOnce | Again::Later => {
                    let delay = wait.mul_f64(1.0 + JITTER * self.random.unit());
                    wait = wait.mul_f64(FACTOR);
                    delay.max(error.retry_after().unwrap_or_default())
                }
                Again::No => return Err(error),
            };
            let left = within.saturating_sub(self.clock.now().saturating_duration_since(started));
            if attempt >= STEPS || delay >= left || self.client.stop_token().wait(delay) {
                return Err(error);
            }
        }
        unreachable!("the attempts are counted")
    }

    fn attempt(&self, call: &Call) -> Result<Vec<u8>, CallError> {
        let response = self.client.open_once(call)?;
        response
            .into_bytes(MOST_BYTES)
            .map_err(|source| CallError::NoAnswer {
                call: call.describe(),
                source: http::Error::NoAnswer {
                    peer: "the API server".to_owned(),
                    source,
                },
            })
    }

    /// The status of a review's answer.
    fn review<T: for<'de> Deserialize<'de>>(
        &self,
        review: Review,
        spec: &Value,
        within: Duration,
    ) -> Result<T, ReviewError> {
        let (kind, group) = kind(review);
        let body = json!({"kind": kind, "apiVersion": format!("{group}/v1"), "spec": spec});
        let call = Call::review(review, &body);
        let bytes = self.ask(&call, within).map_err(failure)?;
        // what serde says may quote the answer, which repeats the question
        let unintelligible = || ReviewError::Unintelligible {
            message: format!("the answer to {} is no {kind}", call.describe()),
        };
        let answer: Answer<T> = json::read(&bytes).map_err(|_| unintelligible())?;
        match answer.kind == kind {
            true => Ok(answer.status),
            false => Err(unintelligible()),
        }
    }
}

impl Reviews for ApiReviews {
    fn token(&self, token: &Secret, within: Duration) -> Result<Option<User>, ReviewError> {
        let spec = json!({ "token": token.expose() });
        let status = self
            .review::<TokenStatus>(Review::Token, &spec, within)
            .map_err(|error| without(error, token))?;
        match status {
            TokenStatus {
                authenticated: false, ..
            } => Ok(None),
            TokenStatus { user, .. } if user.username.is_empty() => Err(ReviewError::Unintelligible {
                message: "a token's review names nobody".to_owned(),
            }),
            TokenStatus { user, .. } => Ok(Some(User {
                name: user.username,
                uid: user.uid,
                groups: user.groups,
                extra: user.extra,
            })),
        }
    }

    fn access(&self, ask: &AccessAsk<'_>, within: Duration) -> Result<Verdict, ReviewError> {
        let User {
            name,
            uid,
            groups,
            extra,
        } = ask.user;
        let spec = json!({
            "user": name, "uid": uid, "groups": groups, "extra": extra,
            "nonResourceAttributes": { "path": ask.path, "verb": ask.verb },
        });
        let status: AccessStatus = self.review(Review::SubjectAccess, &spec, within)?;
        let reason = status.reason;
        match (status.allowed, status.denied) {
            (true, true) => Err(ReviewError::Unintelligible {
                message: "a review of access both allows and denies".to_owned(),
            }),
            (true, false) => Ok(Verdict::Allowed),
            (false, true) => Ok(Verdict::Denied { reason }),
            (false, false) => Ok(Verdict::NoOpinion { reason }),
        }
    }

    fn authorities(&self, within: Duration) -> Result<Option<BTreeMap<String, String>>, ReviewError> {
        let call = Call::get(TRUST);
        let bytes = match self.ask(&call, within) {
            Ok(bytes) => bytes,
            Err(error) if error.proves_absence() => return Ok(None),
            Err(error) => return Err(failure(error)),
        };
        let unintelligible = |reason: String| ReviewError::Unintelligible {
            message: format!("the answer to {} is no ConfigMap: {reason}", call.describe()),
        };
        let found: ConfigMap = json::read(&bytes).map_err(|e| unintelligible(e.to_string()))?;
        match found.kind.as_str() {
            "ConfigMap" => Ok(Some(found.data)),
            other => Err(unintelligible(format!("it is a {other:?}"))),
        }
    }
}

#[derive(Deserialize)]
struct Answer<T> {
    kind: String,
    status: T,
}

#[derive(Deserialize)]
struct TokenStatus {
    #[serde(default, deserialize_with = "null_default")]
    authenticated: bool,
    #[serde(default, deserialize_with = "null_default")]
    user: UserInfo,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct UserInfo {
    #[serde(deserialize_with = "null_default")]
    username: String,
    #[serde(deserialize_with = "null_default")]
    uid: String,
    #[serde(deserialize_with = "null_default")]
    groups: Vec<String>,
    #[serde(deserialize_with = "null_default")]
    extra: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct AccessStatus {
    #[serde(default, deserialize_with = "null_default")]
    allowed: bool,
    #[serde(default, deserialize_with = "null_default")]
    denied: bool,
    #[serde(default, deserialize_with = "null_default")]
    reason: String,
}

#[derive(Deserialize)]
struct ConfigMap {
    kind: String,
    #[serde(default, deserialize_with = "null_default")]
    data: BTreeMap<String, String>,
}

fn kind(review: Review) -> (&'static str, &'static str) {
    match review {
        Review::Token => ("TokenReview", "authentication.k8s.io"),
        Review::SubjectAccess => ("SubjectAccessReview", "authorization.k8s.io"),
        Review::SelfSubjectAccess => ("SelfSubjectAccessReview", "authorization.k8s.io"),
        Review::SelfSubject => ("SelfSubjectReview", "authentication.k8s.io"),
    }
}

enum Again {
    AtOnce,
    Later,
    No,
}

fn again(error: &CallError) -> Again {
    match error {
        CallError::NoAnswer {
            source: http::Error::NoAnswer { .. },
            ..
        } => Again::AtOnce,
        CallError::NoAnswer {
            source: http::Error::Connect { .. },
            ..
        }
        | CallError::Unavailable { .. } => Again::Later,
        _ => Again::No,
    }
}

fn failure(error: CallError) -> ReviewError {
    let message = chain(&error);
    match error {
        CallError::Unauthorized { .. } => ReviewError::Refused { status: 401, message },
        CallError::Forbidden { .. } => ReviewError::Refused { status: 403, message },
        CallError::NotFound { .. } | CallError::NotServed { .. } => {
            ReviewError::Refused { status: 404, message }
        }
        CallError::Conflict { .. } | CallError::AlreadyExists { .. } => {
            ReviewError::Refused { status: 409, message }
        }
        CallError::Expired { .. } => ReviewError::Refused { status: 410, message },
        CallError::Rejected { status, .. } => ReviewError::Refused { status, message },
        CallError::Unavailable { status, .. } => ReviewError::Unavailable { status, message },
        CallError::Unintelligible { .. } => ReviewError::Unintelligible { message },
        CallError::NoAnswer { .. }
        | CallError::Invalid { .. }
        | CallError::Credentials { .. }
        | CallError::NotLeading { .. }
        | CallError::Stopped { .. } => ReviewError::NoAnswer { message },
    }
}

/// The error, without the token that a server may have repeated.
fn without(error: ReviewError, token: &Secret) -> ReviewError {
    let clean = |message: String| message.replace(token.expose(), "***");
    match error {
        ReviewError::Refused { status, message } => ReviewError::Refused {
            status,
            message: clean(message),
        },
        ReviewError::Unavailable { status, message } => ReviewError::Unavailable {
            status,
            message: clean(message),
        },
        ReviewError::NoAnswer { message } => ReviewError::NoAnswer {
            message: clean(message),
        },
        ReviewError::Unintelligible { message } => ReviewError::Unintelligible {
            message: clean(message),
        },
    }
}

/// Deadlines of the parts of one attempt that together make `all`.
fn shares(all: Duration) -> Limits {
    let all = all.max(Duration::from_millis(8));
    Limits {
        connect: all / 4,
        head: all * 5 / 8,
        silence: all / 8,
        body: Some(all / 8),
    }
}

const COMPONENT: &str = "delegated-auth";
const TRUST: &str = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
/// No answer is as large.
const MOST_BYTES: usize = 4 << 20;
/// Source: apiserver pkg/server/options/authentication.go (DefaultAuthWebhookRetryBackoff).
const FIRST_WAIT: Duration = Duration::from_millis(500);
const FACTOR: f64 = 1.5;
const JITTER: f64 = 0.2;
const STEPS: u32 = 5;

#[cfg(test)]
mod tests;
