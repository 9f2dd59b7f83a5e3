//! Three ways to an access token; one that expires is fetched once, however many threads ask for it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::exchange::{Ask, Exchanges, Repeat};
use super::{Error, Renewal, encode, wire};
use crate::http::{Method, Request, percent_encode};
use crate::runtime::chain;
use crate::runtime::gate::{Harmless, Permit};
use crate::runtime::secret::Secret;
use crate::runtime::secret_source::{self, SecretSource};

/// A token is renewed this long before it expires, or after nine tenths of its life where that is later.
const MARGIN: Duration = Duration::from_secs(30);

/// How long a token is kept whose service does not say. `Assumed:`
const UNTOLD_LIFE: Duration = Duration::from_secs(60);

/// How long the content of a token file is kept before the file is read again.
const FILE_LIFE: Duration = Duration::from_secs(60);

/// Who we are to the cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Keycloak's token exchange. Source: inspur-api.md 1.1.
    Keycloak {
        /// Where to ask.
        url: String,
        /// `token-client-id`.
        client_id: String,
        /// `client-secret`.
        client_secret: SecretSource,
        /// Whose token is wanted.
        requested_subject: String,
    },
    /// A ready token, with or without `Bearer ` before it. Source: inspur-api.md 1.2.
    Static(SecretSource),
    /// IAM's login. Source: inspur-api.md 1.3.
    Iam {
        /// Where to ask.
        url: String,
        /// `main.sub`.
        username: String,
        /// Its password.
        password: SecretSource,
    },
}

/// Hands out tokens. Threads share one.
pub struct Tokens {
    exchanges: Exchanges,
    state: Mutex<State>,
    ended: Condvar,
}

struct State {
    credentials: Credentials,
    /// How often they were replaced. A fetch with others has no say any more.
    epoch: u64,
    kept: Option<(Token, Instant)>,
    /// Somebody is fetching.
    fetching: bool,
    fetches: u64,
    /// How many wait for it.
    waiting: usize,
    /// How the last fetch ended, for those who waited for it.
    last: Option<Result<Token, Failure>>,
}

/// A token, and which fetch brought it.
#[derive(Debug, Clone)]
pub(super) struct Token {
    text: Arc<Secret>,
    fetch: u64,
    /// Of the credentials.
    epoch: u64,
}

#[derive(Debug, Clone)]
enum Failure {
    Stopped,
    Other(String, Option<Duration>),
}

impl Token {
    /// The value of `Authorization`.
    pub(super) fn header(&self) -> String {
        let text = self.text.expose();
        if text.starts_with("Bearer ") {
            text.into()
        } else {
            format!("Bearer {text}")
        }
    }
}

impl Tokens {
    /// Fetches over `exchanges`, which belong to the token service alone.
    pub fn new(credentials: Credentials, exchanges: Exchanges) -> Self {
        let state = State {
            credentials,
            epoch: 0,
            kept: None,
            fetching: false,
            fetches: 0,
            waiting: 0,
            last: None,
        };
        Self {
            exchanges,
            state: Mutex::new(state),
            ended: Condvar::new(),
        }
    }

    /// Asks with other credentials from now on. Whoever waits for a token that was asked for with the old ones gets one of the
    /// new ones instead.
    pub fn set_credentials(&self, credentials: Credentials) {
        let mut state = self.lock();
        if state.credentials != credentials {
            state.credentials = credentials;
            state.epoch += 1;
            state.kept = None;
            state.fetching = false;
            self.ended.notify_all();
        }
    }

    /// Reads a file with a ready token again at the next use. A token that was asked for is kept: it is good for as long as the
    /// service said.
    pub fn look_again(&self) {
        let mut state = self.lock();
        if matches!(state.credentials, Credentials::Static(SecretSource::File(_))) {
            state.kept = None;
        }
    }

    /// A token that is good for now. Waits for a fetch that is under way rather than beginning another, and shares its
    /// failure too.
    pub(super) fn current(&self) -> Result<Token, Error> {
        loop {
            if let Some(outcome) = self.keep_or_fetch() {
                return outcome.map_err(Failure::into_error);
            }
        }
    }

    /// `None` when the credentials were replaced meanwhile.
    fn keep_or_fetch(&self) -> Option<Result<Token, Failure>> {
        let mut state = self.lock();
        let epoch = state.epoch;
        match &state.kept {
            Some((token, until)) if self.exchanges.clock().now() < *until => return Some(Ok(token.clone())),
            _ => {}
        }
        if state.fetching {
            let awaited = state.fetches;
            state.waiting += 1;
            while state.fetching && state.fetches == awaited && state.epoch == epoch {
                state = self.ended.wait(state).expect(UNPOISONED);
            }
            state.waiting -= 1;
            return match state.epoch == epoch {
                true => Some(state.last.clone().expect("a fetch that ended left its result")),
                false => None,
            };
        }
        state.fetching = true;
        state.fetches += 1;
        let (fetch, credentials) = (state.fetches, state.credentials.clone());
        drop(state);
        let mut flight = Flight {
            tokens: self,
            epoch,
            result: Err(Failure::Other("fetching it panicked".into(), None)),
            until: None,
        };
        let begun = self.exchanges.clock().now();
        flight.result = match self.fetch(&credentials) {
            Ok((secret, life)) => {
                flight.until = Some(begun + life);
                Ok(Token {
                    text: Arc::new(secret),
                    fetch,
                    epoch,
                })
            }
            Err(failure) => Err(failure),
        };
        let result = flight.result.clone();
        drop(flight);
        let renewal = match &result {
            Ok(_) => Renewal::Succeeded,
            Err(_) => Renewal::Failed,
        };
        self.exchanges.metrics().token_renewals(renewal);
        (self.lock().epoch == epoch).then_some(result)
    }

    /// Forgets `refused`, which the cloud did not accept. False when asking again would bring the same one.
    pub(super) fn discard(&self, refused: &Token) -> bool {
        let mut state = self.lock();
        if state
            .kept
            .as_ref()
            .is_some_and(|(kept, _)| kept.fetch == refused.fetch)
        {
            state.kept = None;
        }
        let is_fixed = matches!(state.credentials, Credentials::Static(SecretSource::Value(_)));
        refused.epoch != state.epoch || !is_fixed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(UNPOISONED)
    }

    /// A new token and how long to keep it.
    fn fetch(&self, credentials: &Credentials) -> Result<(Secret, Duration), Failure> {
        let unreadable = |error: secret_source::Error| Failure::Other(chain(&error), None);
        match credentials {
            Credentials::Static(source) => {
                let life = match source {
                    SecretSource::Value(_) => FOREVER,
                    SecretSource::File(_) => FILE_LIFE,
                };
                Ok((source.read().map_err(unreadable)?, life))
            }
            Credentials::Keycloak {
                url,
                client_id,
                client_secret,
                requested_subject,
            } => {
                let secret = client_secret.read().map_err(unreadable)?;
                let form = exchange_form(client_id, &secret, requested_subject);
                self.ask(url, "application/x-www-form-urlencoded", form.into_bytes())
            }
            Credentials::Iam {
                url,
                username,
                password,
            } => {
                let password = password.read().map_err(unreadable)?;
                self.ask(url, "application/json", encode::login(username, &password))
            }
        }
    }

    /// Asks the token service. Safe to repeat: a token that nobody uses expires.
    fn ask(&self, url: &str, content_type: &str, body: Vec<u8>) -> Result<(Secret, Duration), Failure> {
        let ask = Ask {
            request: "token",
            call: "the token request",
            repeat: Repeat::Safe,
            words: wire::token_words,
        };
        let request = || {
            let permit = Permit::harmless(Harmless::CloudToken);
            Ok(Request::permitted(permit, Method::Post, url)
                .header("Accept", "application/json")
                .body(content_type, body.clone()))
        };
        let answer = self.exchanges.send(ask, request).map_err(Failure::from_error)?;
        let (token, life) = wire::token(&answer.body).map_err(|reason| {
            let reason = format!("the answer to the token request cannot be understood: {reason}");
            Failure::Other(reason, None)
        })?;
        let life = life.unwrap_or(UNTOLD_LIFE);
        Ok((token, life - MARGIN.min(life / 10)))
    }
}

const UNPOISONED: &str = "no holder of the token state panics";

/// Long enough for a value that never changes.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Both names of the token type are sent: INSPUR's, and the one of RFC 8693. Source: inspur-api.md 1.1.
fn exchange_form(client_id: &str, client_secret: &Secret, requested_subject: &str) -> String {
    const REFRESH_TOKEN: &str = "urn:ietf:params:oauth:token-type:refresh_token";
    [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("client_id", client_id),
        ("client_secret", client_secret.expose()),
        ("request_token_type", REFRESH_TOKEN),
        ("requested_token_type", REFRESH_TOKEN),
        ("requested_subject", requested_subject),
        ("audience", "console"),
    ]
    .map(|(name, value)| format!("{name}={}", percent_encode(value)))
    .join("&")
}

/// A fetch under way. Its end, a panic too, is told to those who wait.
struct Flight<'a> {
    tokens: &'a Tokens,
    /// Of the credentials it was begun with.
    epoch: u64,
    result: Result<Token, Failure>,
    until: Option<Instant>,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut state = self.tokens.lock();
        if state.epoch != self.epoch {
            return;
        }
        state.fetching = false;
        if let (Ok(token), Some(until)) = (&self.result, self.until) {
            state.kept = Some((token.clone(), until));
        }
        state.last = Some(self.result.clone());
        self.tokens.ended.notify_all();
    }
}

impl Failure {
    fn from_error(error: Error) -> Self {
        match error {
            Error::Stopped { .. } => Self::Stopped,
            Error::Unauthorized { words, .. }
            | Error::Forbidden { words, .. }
            | Error::Rejected { words, .. } => Self::Other(
                format!("the token service refuses our credentials: {words}"),
                None,
            ),
            error => Self::Other(chain(&error), error.retry_after()),
        }
    }

    fn into_error(self) -> Error {
        match self {
            Self::Stopped => Error::Stopped {
                call: "fetching a token".into(),
            },
            Self::Other(reason, retry_after) => Error::Credentials { reason, retry_after },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::http::Transport;
    use crate::inspur::api::CloudMetrics;
    use crate::inspur::testing::{Reply, Script, eager};
    use crate::metrics::{Metrics, lines};
    use crate::runtime::clock::ManualClock;
    use crate::runtime::stop::StopToken;

    fn keycloak() -> Credentials {
        Credentials::Keycloak {
            url: "https://iam.example/token".into(),
            client_id: "cl&ent".into(),
            client_secret: SecretSource::Value(Secret::new("s3c=ret ö")),
            requested_subject: "sub".into(),
        }
    }

    fn tokens(credentials: Credentials, script: &Arc<Script>) -> (Tokens, ManualClock) {
        let clock = ManualClock::new(UNIX_EPOCH);
        let transport = Arc::clone(script) as Arc<dyn Transport>;
        let exchanges = Exchanges::new(transport, Arc::new(clock.clone()), StopToken::never(), eager());
        (Tokens::new(credentials, exchanges), clock)
    }

    fn issued(token: &str, seconds: u64) -> Reply {
        Reply::json(
            200,
            &format!(r#"{{"access_token":"{token}","expires_in":{seconds}}}"#),
        )
    }

    #[test]
    fn each_renewal_is_counted_by_its_result() {
        let script = Script::new([issued("t1", 300), Reply::json(403, "{}")]);
        let (mut tokens, clock) = tokens(keycloak(), &script);
        let metrics = Metrics::new();
        tokens.exchanges = tokens.exchanges.measured(CloudMetrics::new(&metrics));
        tokens.current().unwrap();
        tokens.current().unwrap();
        clock.advance(Duration::from_secs(300));
        tokens.current().unwrap_err();
        assert_eq!(
            lines(&metrics, "cloudprovider_inspur_token"),
            [
                r#"cloudprovider_inspur_token_renewals_total{result="failure"} 1"#,
                r#"cloudprovider_inspur_token_renewals_total{result="success"} 1"#,
            ]
        );
        let asked = lines(&metrics, "cloudprovider_inspur_api_requests_total");
        assert!(
            asked.iter().all(|line| line.contains(r#"request="token""#)),
            "{asked:?}"
        );
    }

    #[test]
    fn keycloak_is_asked_with_every_field_encoded() {
        let script = Script::new([issued("t1", 300)]);
        let (tokens, _) = tokens(keycloak(), &script);
        assert_eq!(tokens.current().unwrap().header(), "Bearer t1");
        let request = &script.requests()[0];
        assert_eq!(
            (request.method, &*request.url),
            (Method::Post, "https://iam.example/token")
        );
        assert_eq!(
            request.header("content-type"),
            Some("application/x-www-form-urlencoded")
        );
        assert_eq!(
            request.text(),
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&client_id=cl%26ent\
             &client_secret=s3c%3Dret%20%C3%B6\
             &request_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Arefresh_token\
             &requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Arefresh_token\
             &requested_subject=sub&audience=console"
        );
    }

    #[test]
    fn iam_is_asked_with_a_login() {
        let script = Script::new([issued("t1", 5400)]);
        let credentials = Credentials::Iam {
            url: "https://iam.example/auth/v1/token".into(),
            username: "main.sub".into(),
            password: SecretSource::Value(Secret::new("p\"w")),
        };
        let (tokens, _) = tokens(credentials, &script);
        assert_eq!(tokens.current().unwrap().header(), "Bearer t1");
        let request = &script.requests()[0];
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(request.text(), r#"{"username":"main.sub","password":"p\"w"}"#);
    }

    #[test]
    fn a_ready_token_is_used_as_it_is() {
        for (case, value) in [("plain", "t0"), ("with its scheme", "Bearer t0")] {
            let source = SecretSource::Value(Secret::new(value));
            let (tokens, clock) = tokens(Credentials::Static(source), &Script::new([]));
            let token = tokens.current().unwrap();
            assert_eq!(token.header(), "Bearer t0", "{case}");
            assert!(!tokens.discard(&token), "{case}: there is no other");
            clock.advance(Duration::from_secs(86_400));
            assert_eq!(tokens.current().unwrap().header(), "Bearer t0", "{case}");
        }
    }

    #[test]
    fn a_token_file_is_read_again_after_a_while_and_after_a_refusal() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write("t1\n");
        let source = SecretSource::File(path.to_path_buf());
        let (tokens, clock) = tokens(Credentials::Static(source), &Script::new([]));
        let header = || tokens.current().unwrap().header();
        assert_eq!(header(), "Bearer t1");
        write("t2\r\n");
        assert_eq!(header(), "Bearer t1");
        clock.advance(FILE_LIFE);
        assert_eq!(header(), "Bearer t2");
        write("t3");
        assert!(tokens.discard(&tokens.current().unwrap()));
        assert_eq!(header(), "Bearer t3");
    }

    #[test]
    fn a_token_is_kept_until_shortly_before_it_expires() {
        for (case, life, kept) in [
            ("five minutes", 300, 270),
            ("a minute", 60, 54),
            ("a moment", 1, 1),
        ] {
            let script = Script::new([issued("t1", life), issued("t2", life)]);
            let (tokens, clock) = tokens(keycloak(), &script);
            let header = || tokens.current().unwrap().header();
            assert_eq!(header(), "Bearer t1", "{case}");
            clock.advance(Duration::from_secs(kept - 1));
            assert_eq!(header(), "Bearer t1", "{case}");
            clock.advance(Duration::from_secs(1));
            assert_eq!(header(), "Bearer t2", "{case}");
        }
    }

    #[test]
    fn only_the_token_that_was_refused_is_forgotten() {
        let script = Script::new([issued("t1", 300), issued("t2", 300)]);
        let (tokens, _) = tokens(keycloak(), &script);
        let first = tokens.current().unwrap();
        assert!(tokens.discard(&first));
        assert_eq!(tokens.current().unwrap().header(), "Bearer t2");
        assert!(tokens.discard(&first), "late news of the first one");
        assert_eq!(tokens.current().unwrap().header(), "Bearer t2");
    }

    #[test]
    fn many_threads_share_one_fetch_and_its_failure() {
        for (case, reply, want) in [
            ("success", issued("t1", 300), Ok("Bearer t1".to_string())),
            (
                "failure",
                Reply::json(400, r#"{"error":"invalid_client","error_description":"s3cret"}"#),
                Err("no access token: the token service refuses our credentials: invalid_client".to_string()),
            ),
        ] {
            let gate = Arc::new(Barrier::new(2));
            let script = Script::new([Reply::Held(Arc::clone(&gate), Box::new(reply))]);
            let (tokens, _) = tokens(keycloak(), &script);
            let ask = || tokens.current().map(|t| t.header()).map_err(|e| e.to_string());
            std::thread::scope(|scope| {
                let first = scope.spawn(ask);
                // once the first one is at the token service, the others can only wait for it
                gate.wait();
                let others: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
                while tokens.lock().waiting < 8 {
                    std::thread::yield_now();
                }
                gate.wait();
                for thread in others.into_iter().chain([first]) {
                    assert_eq!(thread.join().unwrap(), want, "{case}");
                }
            });
            assert_eq!(script.requests().len(), 1, "{case}");
        }
    }

    #[test]
    fn replaced_credentials_count_at_once() {
        let script = Script::new([issued("t1", 300), issued("t2", 300)]);
        let (tokens, _) = tokens(keycloak(), &script);
        let first = tokens.current().unwrap();
        tokens.set_credentials(keycloak());
        assert_eq!(
            tokens.current().unwrap().header(),
            "Bearer t1",
            "they are the same"
        );
        let changed = Credentials::Iam {
            url: "https://iam.example/login".into(),
            username: "main.sub".into(),
            password: SecretSource::Value(Secret::new("p")),
        };
        tokens.set_credentials(changed);
        assert_eq!(tokens.current().unwrap().header(), "Bearer t2");
        assert_eq!(script.requests()[1].url, "https://iam.example/login");
        tokens.set_credentials(Credentials::Static(SecretSource::Value(Secret::new("t3"))));
        assert!(
            tokens.discard(&first),
            "late news of the first one: there is another"
        );
        let fixed = tokens.current().unwrap();
        assert_eq!(fixed.header(), "Bearer t3");
        assert!(!tokens.discard(&fixed));
    }

    #[test]
    fn a_fetch_with_replaced_credentials_changes_nothing() {
        for (case, reply) in [
            ("success", issued("old", 300)),
            ("failure", Reply::json(400, "{}")),
        ] {
            let gate = Arc::new(Barrier::new(2));
            let held = Reply::Held(Arc::clone(&gate), Box::new(reply));
            let script = Script::new([held, issued("new", 300)]);
            let (tokens, _) = tokens(keycloak(), &script);
            let changed = Credentials::Keycloak {
                url: "https://iam.example/token".into(),
                client_id: "other".into(),
                client_secret: SecretSource::Value(Secret::new("s")),
                requested_subject: "sub".into(),
            };
            let ask = || tokens.current().map(|t| t.header()).map_err(|e| e.to_string());
            std::thread::scope(|scope| {
                let first = scope.spawn(ask);
                gate.wait();
                let second = scope.spawn(ask);
                while tokens.lock().waiting < 1 {
                    std::thread::yield_now();
                }
                tokens.set_credentials(changed);
                // it need not wait for the old fetch, which is still at the token service
                assert_eq!(second.join().unwrap().as_deref(), Ok("Bearer new"), "{case}");
                gate.wait();
                assert_eq!(first.join().unwrap().as_deref(), Ok("Bearer new"), "{case}");
            });
            assert_eq!(ask().as_deref(), Ok("Bearer new"), "{case}");
            assert_eq!(script.requests().len(), 2, "{case}");
        }
    }

    #[test]
    fn secrets_in_files_are_read_at_each_fetch_and_ready_tokens_when_told() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, text) in [("v1", "one"), ("v2", "two")] {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("secret"), text).unwrap();
        }
        // as kubelet does
        let point_to = |version: &str| {
            std::os::unix::fs::symlink(version, at("..data_tmp")).unwrap();
            std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
        };
        point_to("v1");
        std::os::unix::fs::symlink("..data/secret", at("secret")).unwrap();
        let source = || SecretSource::File(at("secret"));
        let exchange = Credentials::Keycloak {
            url: "https://iam.example/token".into(),
            client_id: "c".into(),
            client_secret: source(),
            requested_subject: "sub".into(),
        };
        let script = Script::new([issued("t1", 300), issued("t2", 300)]);
        let (exchanged, clock) = tokens(exchange, &script);
        let (ready, _) = tokens(Credentials::Static(source()), &Script::new([]));
        exchanged.current().unwrap();
        assert_eq!(ready.current().unwrap().header(), "Bearer one");
        point_to("v2");
        assert_eq!(ready.current().unwrap().header(), "Bearer one");
        for tokens in [&exchanged, &ready] {
            tokens.look_again();
        }
        assert_eq!(ready.current().unwrap().header(), "Bearer two");
        assert_eq!(
            exchanged.current().unwrap().header(),
            "Bearer t1",
            "it is still good"
        );
        clock.advance(Duration::from_secs(300));
        exchanged.current().unwrap();
        let secrets: Vec<bool> = ["client_secret=one", "client_secret=two"]
            .iter()
            .zip(script.requests())
            .map(|(secret, request)| request.text().contains(secret))
            .collect();
        assert_eq!(secrets, [true, true]);
    }

    #[test]
    fn no_secret_shows_in_debug_or_in_an_error() {
        assert!(!format!("{:?}", keycloak()).contains("s3c"));
        let script = Script::always(|| Reply::json(200, r#"{"token":"s3cret"}"#));
        let (tokens, _) = tokens(keycloak(), &script);
        assert_eq!(
            tokens.current().unwrap_err().to_string(),
            "no access token: the answer to the token request cannot be understood: no access_token in it"
        );
    }
}
