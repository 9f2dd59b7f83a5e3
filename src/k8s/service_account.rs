//! Acting as a service account of `kube-system`: tokens that the API server issues for it, kept and renewed in memory.
//!
//! Nothing is asked for before the first request that needs a token, and all of it passes the gate as the writes do for which it is
//! needed: a replica that does not lead creates nothing.
//! Source: kubernetes/cloud-provider, controllers' client builder; client-go, transport/token_source.go; ccm-behaviour.md 2.5.

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::json;

use super::auth::{AuthError, Credential, parse_token};
use super::call::Call;
use super::client::Client;
use super::error::Error;
use crate::runtime::chain;
use crate::runtime::clock::Clock;
use crate::runtime::json;
use crate::runtime::secret::Secret;

/// One account and its token. The account, and its namespace, are created where they are missing.
pub struct ServiceAccount {
    name: String,
    /// Asks as the program itself.
    client: Client,
    clock: Arc<dyn Clock>,
    first_pause: Duration,
    state: Mutex<State>,
    /// Held while one is fetched, for as long as all attempts take; the client's stop token ends them.
    fetching: Mutex<()>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    /// The last failure and when it was.
    failed: Option<(Instant, String)>,
    /// When one was last fetched after a 401.
    renewed: Option<Instant>,
    fetches: u64,
}

struct Held {
    credential: Credential,
    renew_at: Instant,
    expires: Instant,
}

/// How good what is held is.
enum Age {
    Fresh,
    /// Still good, but not for long.
    Renewable,
    Expired,
}

/// What is read of a TokenRequest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenRequest {
    #[serde(default)]
    spec: TokenSpec,
    status: TokenStatus,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct TokenSpec {
    /// What was granted, which may be more or less than was asked for.
    expiration_seconds: Option<u64>,
}

#[derive(Deserialize)]
struct TokenStatus {
    token: String,
}

impl ServiceAccount {
    /// The account `name`. `client` asks for its tokens and must not be one that is authorised by them.
    pub fn new(name: impl Into<String>, client: Client, clock: Arc<dyn Clock>) -> Self {
        Self {
            name: name.into(),
            client,
            clock,
            first_pause: FIRST_PAUSE,
            state: Mutex::default(),
            fetching: Mutex::default(),
        }
    }

    /// What to send now. A token that is about to expire is used for as long as another thread gets the next one.
    pub(super) fn credential(&self) -> Result<Credential, AuthError> {
        let old = match self.held() {
            Some((credential, Age::Fresh)) => return Ok(credential),
            Some((credential, Age::Renewable)) => Some(credential),
            Some((_, Age::Expired)) | None => None,
        };
        let fetching = match (&old, self.fetching.try_lock()) {
            (_, Ok(fetching)) => fetching,
            (Some(old), Err(TryLockError::WouldBlock)) => return Ok(old.clone()),
            (_, Err(_)) => self.fetching.lock().expect(NO_PANIC),
        };
        // another thread may have fetched one while this one waited
        if let Some((credential, Age::Fresh)) = self.held() {
            return Ok(credential);
        }
        let fetched = self.fetch();
        drop(fetching);
        match (fetched, old) {
            (Err(error), Some(old)) => {
                log::debug!(error = chain(&error).as_str(); "use the old token of the service account");
                Ok(old)
            }
            (fetched, _) => fetched,
        }
    }

    /// The server did not accept `refused`. Fetches another one, but once for any number of 401s. Returns whether there is
    /// another.
    pub(super) fn renew(&self, refused: &Credential) -> bool {
        let _fetching = self.fetching.lock().expect(NO_PANIC);
        let is_other = |held: Option<(Credential, Age)>| held.is_some_and(|(held, _)| held != *refused);
        if is_other(self.held()) {
            return true;
        }
        let now = self.clock.now();
        {
            let mut state = self.lock();
            if state.renewed.is_some_and(|at| is_recent(at, now)) {
                return false;
            }
            state.renewed = Some(now);
        }
        // a failure is kept, and told to whoever asks next
        let _ = self.fetch();
        is_other(self.held())
    }

    /// Fetches one, unless that failed a moment ago. The caller holds `fetching`.
    fn fetch(&self) -> Result<Credential, AuthError> {
        let failed = |reason: String| AuthError::Account {
            account: format!("{NAMESPACE}/{}", self.name),
            reason,
        };
        let now = self.clock.now();
        match &self.lock().failed {
            Some((at, reason)) if is_recent(*at, now) => return Err(failed(reason.clone())),
            _ => {}
        }
        let issued = self.ask_again_and_again();
        let mut state = self.lock();
        match issued {
            Ok((token, lifetime)) => {
                state.failed = None;
                Ok(state.keep(token, now, lifetime))
            }
            Err(error) => {
                let reason = chain(&error);
                // these two may be over at any moment
                if !matches!(error, Error::NotLeading { .. } | Error::Stopped { .. }) {
                    log::warn!(account = self.name.as_str(), error = reason.as_str(); "no token of the service account");
                    state.failed = Some((self.clock.now(), reason.clone()));
                }
                Err(failed(reason))
            }
        }
    }

    /// Up to four attempts. There is no other retry around or below it.
    fn ask_again_and_again(&self) -> Result<(Secret, Duration), Error> {
        let mut pause = self.first_pause;
        for _ in 1..ATTEMPTS {
            match self.ask() {
                Err(error @ (Error::Stopped { .. } | Error::NotLeading { .. } | Error::Forbidden { .. })) => {
                    return Err(error);
                }
                Err(error) => {
                    log::debug!(account = self.name.as_str(), error = chain(&error).as_str(); "ask again for a token of the service account");
                }
                done => return done,
            }
            if self.client.stop_token().wait(pause) {
                return Err(Error::Stopped {
                    call: self.token_call().describe(),
                });
            }
            pause *= 2;
        }
        self.ask()
    }

    /// The header's value of a new token, and for how long it is good.
    fn ask(&self) -> Result<(Secret, Duration), Error> {
        self.ensure_account()?;
        let call = self.token_call();
        let answer: TokenRequest = self.send(&call)?;
        let token = parse_token("the token", &answer.status.token).map_err(|error| {
            // the error does not quote it
            Error::Unintelligible {
                call: call.describe(),
                reason: error.to_string(),
            }
        })?;
        let lifetime = answer
            .spec
            .expiration_seconds
            .map_or(LIFETIME, Duration::from_secs);
        Ok((token, lifetime.max(SHORTEST_LIFETIME)))
    }

    fn token_call(&self) -> Call {
        let path = format!("{ACCOUNTS}/{}/token", self.name);
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"expirationSeconds": LIFETIME.as_secs()},
        });
        Call::create(path, &body)
    }

    fn ensure_account(&self) -> Result<(), Error> {
        let Some(error) = self.exists(&format!("{ACCOUNTS}/{}", self.name)) else {
            return Ok(());
        };
        if !matches!(error, Error::NotFound { .. }) {
            return Err(error);
        }
        self.ensure_namespace();
        let body = json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"namespace": NAMESPACE, "name": self.name},
        });
        match self.send::<IgnoredAny>(&Call::create(ACCOUNTS, &body)) {
            Ok(_) => {
                log::info!(account = self.name.as_str(), namespace = NAMESPACE; "created the service account");
                Ok(())
            }
            Err(Error::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What fails here shows in the account's own creation.
    fn ensure_namespace(&self) {
        let missing = self.exists(&format!("/api/v1/namespaces/{NAMESPACE}"));
        if let Some(Error::NotFound { .. }) = missing {
            let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
            if let Err(error) = self.send::<IgnoredAny>(&Call::create("/api/v1/namespaces", &body)) {
                log::debug!(error = chain(&error).as_str(); "cannot create the namespace of the service account");
            }
        }
    }

    /// `None` if it does.
    fn exists(&self, path: &str) -> Option<Error> {
        self.send::<IgnoredAny>(&Call::get(path)).err()
    }

    fn send<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Error> {
        let unintelligible = |reason: String| Error::Unintelligible {
            call: call.describe(),
            reason,
        };
        let bytes = self.client.open_once(call)?.into_bytes(ANSWER_LIMIT);
        let bytes = bytes.map_err(|error| unintelligible(error.to_string()))?;
        // what serde_json says of a token request may quote the token
        json::read(&bytes).map_err(|error| unintelligible(format!("no such object at line {}", error.line())))
    }

    fn held(&self) -> Option<(Credential, Age)> {
        let (now, state) = (self.clock.now(), self.lock());
        let held = state.held.as_ref()?;
        let age = match now {
            now if now >= held.expires => Age::Expired,
            now if now >= held.renew_at => Age::Renewable,
            _ => Age::Fresh,
        };
        Some((held.credential.clone(), age))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(NO_PANIC)
    }
}

impl State {
    fn keep(&mut self, token: Secret, asked: Instant, lifetime: Duration) -> Credential {
        self.fetches += 1;
        let credential = Credential::new(Some(token), self.fetches);
        self.held = Some(Held {
            credential: credential.clone(),
            renew_at: asked + lifetime * 4 / 5,
            expires: asked + lifetime,
        });
        credential
    }
}

fn is_recent(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < PAUSE
}

const NO_PANIC: &str = "no fetcher of a service account's token panics";
const NAMESPACE: &str = "kube-system";
const ACCOUNTS: &str = "/api/v1/namespaces/kube-system/serviceaccounts";
const LIFETIME: Duration = Duration::from_secs(3600);
/// A shorter one is a clock that goes wrong. Source: ccm-behaviour.md 2.5.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(600);
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// After a failure, and after a token was fetched for a 401, none is asked for at once: many calls may be waiting.
const PAUSE: Duration = Duration::from_secs(5);
const ANSWER_LIMIT: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::http::testing::Scripted;
    use crate::http::{self, Response};
    use crate::k8s::auth::Auth;
    use crate::k8s::client::ClientOptions;
    use crate::runtime::clock::ManualClock;
    use crate::runtime::gate::{Gate, Moment};
    use crate::runtime::random::Random;
    use crate::runtime::stop::StopToken;

    type Answer = Result<Response, http::Error>;

    fn answer(status: u16, body: &serde_json::Value) -> Answer {
        let headers = vec![("Content-Type".into(), "application/json".into())];
        Ok(Response::from_bytes(status, headers, body.to_string().into()))
    }

    fn found() -> Answer {
        answer(
            200,
            &json!({"kind": "ServiceAccount", "metadata": {"name": "node-controller"}}),
        )
    }

    fn missing(kind: &str, name: &str) -> Answer {
        let details = json!({"kind": kind, "name": name});
        answer(
            404,
            &json!({"kind": "Status", "reason": "NotFound", "code": 404, "details": details, "message": "not found"}),
        )
    }

    fn issued(token: &str, seconds: u64) -> Answer {
        let spec = json!({"expirationSeconds": seconds});
        answer(
            201,
            &json!({"kind": "TokenRequest", "spec": spec, "status": {"token": token}}),
        )
    }

    fn unavailable() -> Answer {
        answer(503, &json!({"kind": "Status", "code": 503, "message": "later"}))
    }

    struct World {
        transport: Arc<Scripted>,
        clock: ManualClock,
        auth: Auth,
    }

    impl World {
        fn new(answers: Vec<Answer>) -> Self {
            Self::behind(Gate::open(), answers)
        }

        fn behind(gate: Gate, answers: Vec<Answer>) -> Self {
            let transport = Scripted::new(answers);
            let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
            let client = Client::with_options(ClientOptions {
                metrics: crate::k8s::ClientMetrics::default(),
                base: "https://x:1".into(),
                transport: transport.clone(),
                auth: Arc::new(Auth::token("x", &Secret::new("root")).unwrap()),
                gate,
                bucket: None,
                component: "cloud-controller-manager".into(),
                stop: StopToken::never(),
                clock: Arc::new(clock.clone()),
                random: Arc::new(Random::from_seed(1)),
            });
            let account = ServiceAccount {
                first_pause: Duration::ZERO,
                ..ServiceAccount::new("node-controller", client, Arc::new(clock.clone()))
            };
            Self {
                transport,
                clock,
                auth: Auth::service_account(account),
            }
        }

        fn token(&self) -> Result<String, String> {
            match self.auth.credential() {
                Ok(credential) => Ok(credential.authorization.unwrap().expose().to_owned()),
                Err(error) => Err(chain(&error)),
            }
        }

        /// What was asked so far: verbs and paths below the API's root, without queries.
        fn asked(&self) -> Vec<String> {
            let requests = self.transport.requests();
            let path = |url: &str| {
                let path = url.strip_prefix("https://x:1/api/v1/namespaces").unwrap();
                path.split('?').next().unwrap().to_owned()
            };
            let shown = |request: &http::Request| format!("{} {}", request.method(), path(&request.url));
            requests.iter().map(shown).collect()
        }
    }

    const GET: &str = "GET /kube-system/serviceaccounts/node-controller";
    const TOKEN: &str = "POST /kube-system/serviceaccounts/node-controller/token";

    #[test]
    fn a_token_is_fetched_at_its_first_use_and_again_when_a_fifth_of_its_life_is_left() {
        for (case, granted, kept) in [
            ("an hour", 3600, 2880),
            ("a moment", 1, 480),
            ("a day", 86_400, 69_120),
        ] {
            let world = World::new(vec![
                found(),
                issued("one", granted),
                found(),
                issued("two", granted),
            ]);
            assert_eq!(world.asked(), [""; 0], "{case}: nothing before it is needed");
            assert_eq!(world.token().unwrap(), "Bearer one", "{case}");
            world.clock.advance(Duration::from_secs(kept - 1));
            assert_eq!(world.token().unwrap(), "Bearer one", "{case}");
            assert_eq!(world.asked(), [GET, TOKEN], "{case}");
            world.clock.advance(Duration::from_secs(1));
            assert_eq!(world.token().unwrap(), "Bearer two", "{case}");
        }
    }

    #[test]
    fn the_request_is_upstreams_and_is_sent_as_the_program_itself() {
        let world = World::new(vec![found(), issued("one", 3600)]);
        world.token().unwrap();
        let request = &world.transport.requests()[1];
        let body: serde_json::Value = serde_json::from_slice(request.body.as_ref().unwrap()).unwrap();
        assert_eq!(
            body,
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}})
        );
        let sent = |name: &str| request.headers.iter().find(|(n, _)| n == name).unwrap().1.clone();
        assert_eq!(sent("Authorization"), "Bearer root");
        assert!(sent("User-Agent").ends_with("/cloud-controller-manager"));
    }

    #[test]
    fn an_account_that_is_missing_is_created_and_its_namespace_before_it() {
        let account = "POST /kube-system/serviceaccounts";
        for (case, answers, want) in [
            (
                "the account",
                vec![missing("serviceaccounts", "node-controller"), found(), found()],
                vec![GET, "GET /kube-system", account],
            ),
            (
                "both",
                vec![
                    missing("serviceaccounts", "node-controller"),
                    missing("namespaces", "kube-system"),
                    found(),
                    found(),
                ],
                vec![GET, "GET /kube-system", "POST ", account],
            ),
            (
                "the namespace cannot be looked at",
                vec![
                    missing("serviceaccounts", "node-controller"),
                    unavailable(),
                    found(),
                ],
                vec![GET, "GET /kube-system", account],
            ),
            (
                "somebody else was faster",
                vec![
                    missing("serviceaccounts", "node-controller"),
                    found(),
                    answer(
                        409,
                        &json!({"kind": "Status", "reason": "AlreadyExists", "code": 409}),
                    ),
                ],
                vec![GET, "GET /kube-system", account],
            ),
        ] {
            let world = World::new(answers.into_iter().chain([issued("one", 3600)]).collect());
            assert_eq!(world.token().unwrap(), "Bearer one", "{case}");
            assert_eq!(world.asked(), [want, vec![TOKEN]].concat(), "{case}");
        }
    }

    #[test]
    fn four_attempts_and_then_a_pause() {
        let world = World::new(
            (0..4)
                .map(|_| unavailable())
                .chain([found(), issued("one", 3600)])
                .collect(),
        );
        let error = world.token().unwrap_err();
        assert!(
            error.contains("kube-system/node-controller") && error.contains("later"),
            "{error}"
        );
        assert_eq!(world.asked(), [GET; 4]);
        assert_eq!(world.token().unwrap_err(), error, "no storm");
        assert_eq!(world.asked().len(), 4);
        world.clock.advance(PAUSE);
        assert_eq!(world.token().unwrap(), "Bearer one");
    }

    #[test]
    fn what_is_forbidden_is_not_asked_again_and_again() {
        let forbidden = answer(
            403,
            &json!({"kind": "Status", "reason": "Forbidden", "code": 403}),
        );
        let world = World::new(vec![forbidden]);
        world.token().unwrap_err();
        assert_eq!(world.asked(), [GET]);
    }

    #[test]
    fn an_old_token_goes_on_until_it_expires() {
        let failures = || (0..4).map(|_| unavailable());
        let answers = [found(), issued("one", 3600)]
            .into_iter()
            .chain(failures())
            .chain(failures());
        let world = World::new(answers.collect());
        world.token().unwrap();
        world.clock.advance(Duration::from_secs(3599));
        assert_eq!(world.token().unwrap(), "Bearer one");
        world.clock.advance(PAUSE);
        world.token().unwrap_err();
    }

    #[test]
    fn a_refused_token_is_replaced_once() {
        let world = World::new(vec![found(), issued("one", 3600), found(), issued("two", 3600)]);
        let refused = world.auth.credential().unwrap();
        assert!(world.auth.renew(&refused));
        assert!(world.auth.renew(&refused), "another thread's 401 for the old one");
        let second = world.auth.credential().unwrap();
        assert!(!world.auth.renew(&second), "not at once");
        assert_eq!(world.asked().len(), 4);
    }

    #[test]
    fn a_replica_that_does_not_lead_creates_nothing() {
        let clock = Arc::new(ManualClock::new(SystemTime::UNIX_EPOCH));
        let (gate, keeper) = Gate::shut(clock.clone());
        let world = World::behind(gate, vec![found(), found(), issued("one", 3600)]);
        let error = world.token().unwrap_err();
        assert!(error.contains("not leading"), "{error}");
        assert_eq!(world.asked(), [GET], "only a read");
        keeper.open_since(Moment::of(&*clock), Duration::from_secs(60));
        assert_eq!(world.token().unwrap(), "Bearer one", "at once");
    }

    #[test]
    fn no_token_shows_in_an_error() {
        for (case, answers) in [
            ("no header can carry it", vec![found(), issued("s3 cret", 60)]),
            (
                "no text",
                vec![
                    found(),
                    answer(201, &json!({"status": {"token": {"s3cret": "s3cret"}}})),
                ],
            ),
            ("nothing", vec![found(), answer(201, &json!({"s3cret": 1}))]),
        ] {
            let world = World::new(answers.into_iter().chain((0..3).map(|_| unavailable())).collect());
            let error = world.token().unwrap_err();
            assert!(!error.contains("cret"), "{case}: {error}");
        }
        let answers = (0..4).flat_map(|_| [found(), issued("s3 cret", 60)]);
        let error = World::new(answers.collect()).token().unwrap_err();
        assert!(error.contains("blanks") && !error.contains("cret"), "{error}");
    }
}
