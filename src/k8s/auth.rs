//! Who we say we are: the `Authorization` header of each request.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use std::{fs, io};

use super::exec::{ExecConfig, OnIdentity, Plugin};
use super::service_account::ServiceAccount;
use crate::runtime::chain;
use crate::runtime::clock::Clock;
use crate::runtime::reload::Reloaded;
use crate::runtime::secret::Secret;
use crate::runtime::stop::StopToken;

/// Where credentials come from. Shared by all clients of one API server that are the same to it.
pub struct Auth(Mutex<Current>);

#[derive(Clone)]
struct Current {
    source: Arc<Source>,
    /// How often it was replaced.
    epoch: u64,
}

enum Source {
    Nobody,
    Token(Secret),
    File(TokenFile),
    Exec(Box<Plugin>),
    Account(Box<ServiceAccount>),
}

/// What one request is sent with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The header's value; `None` where the connection says who we are, or nothing does.
    pub authorization: Option<Secret>,
    /// Tells it from a later one of the same source.
    generation: u64,
    /// Tells its source from a later one.
    epoch: u64,
}

impl Credential {
    pub(super) fn new(authorization: Option<Secret>, generation: u64) -> Self {
        Self {
            authorization,
            generation,
            epoch: 0,
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }
}

/// Why there is no credential.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The token file cannot be read, and never could.
    #[error("cannot read the token file {}", path.display())]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It holds no token.
    #[error("{from} holds no token: {found}")]
    NoToken {
        /// Path, or place in a file.
        from: String,
        /// What it holds instead, never quoted.
        found: &'static str,
    },
    /// The program that should print it does not.
    #[error("no credential from {}: {reason}", command.display())]
    Plugin {
        /// Which program.
        command: PathBuf,
        /// Why; nothing of what it printed.
        reason: String,
    },
    /// The API server issues no token for a service account.
    #[error("no token of the service account {account}: {reason}")]
    Account {
        /// Namespace and name.
        account: String,
        /// Why.
        reason: String,
    },
}

impl Auth {
    fn of(source: Source) -> Self {
        Self(Mutex::new(Current {
            source: Arc::new(source),
            epoch: 0,
        }))
    }

    /// Nobody, or whoever the client certificate names.
    pub fn nobody() -> Self {
        Self::of(Source::Nobody)
    }

    /// Always the same token; `from` names its place for errors.
    ///
    /// # Errors
    /// Something that no header can carry.
    pub fn token(from: &str, token: &Secret) -> Result<Self, AuthError> {
        Ok(Self::of(Source::Token(parse_token(from, token.expose())?)))
    }

    /// The token in a file, which is read again after 50 s and after a 401. When that fails the last good token goes
    /// on. `fallback` is for as long as the file has never been read.
    ///
    /// # Errors
    /// The file cannot be used, and there is no fallback.
    pub fn token_file(
        path: &Path,
        fallback: Option<Secret>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AuthError> {
        Ok(Self::of(Source::File(TokenFile::new(path, fallback, clock)?)))
    }

    /// What a program prints, for as long as that is good. It runs at most once at a time, and until `stop` is set. A
    /// certificate that it prints goes to `on_identity`.
    pub fn exec(config: ExecConfig, clock: Arc<dyn Clock>, stop: StopToken, on_identity: OnIdentity) -> Self {
        let plugin = Plugin::new(config, clock, stop, on_identity);
        Self::of(Source::Exec(Box::new(plugin)))
    }

    /// Tokens that the API server issues for a service account: the first when it is first needed.
    pub fn service_account(account: ServiceAccount) -> Self {
        Self::of(Source::Account(Box::new(account)))
    }

    /// What to send now. A program may run for this, for up to a minute, or a token be asked for.
    ///
    /// # Errors
    /// There is nothing to send though there should be.
    pub fn credential(&self) -> Result<Credential, AuthError> {
        let Current { source, epoch } = self.current();
        let credential = match &*source {
            Source::Nobody => Credential::new(None, 0),
            Source::Token(token) => Credential::new(Some(token.clone()), 0),
            Source::File(file) => file.credential(MAX_AGE),
            Source::Exec(plugin) => plugin.credential()?,
            Source::Account(account) => account.credential()?,
        };
        Ok(Credential { epoch, ..credential })
    }

    /// The server did not accept `refused`. Looks for another one, and returns whether there is.
    pub fn renew(&self, refused: &Credential) -> bool {
        let Current { source, epoch } = self.current();
        if refused.epoch != epoch {
            return true;
        }
        // as the source knows it
        let refused = Credential {
            epoch: 0,
            ..refused.clone()
        };
        match &*source {
            Source::Nobody | Source::Token(_) => false,
            Source::File(file) => file.credential(Duration::ZERO).generation != refused.generation,
            Source::Exec(plugin) => plugin.renew(&refused),
            Source::Account(account) => account.renew(&refused),
        }
    }

    /// Takes credentials from where `other` does from now on. What is being asked for at the old place goes on to its end, for
    /// whoever asked.
    pub fn replace(&self, other: Self) {
        let source = other.current().source;
        let mut current = self.lock();
        current.source = source;
        current.epoch += 1;
    }

    /// Reads a token file again now rather than when it is 50 s old. Returns what happened since the last call.
    pub fn reload(&self) -> Reloaded {
        match &*self.current().source {
            Source::File(file) => file.reload(),
            Source::Nobody | Source::Token(_) | Source::Exec(_) | Source::Account(_) => Reloaded::Unchanged,
        }
    }

    fn current(&self) -> Current {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.0
            .lock()
            .expect("no holder of the source of credentials panics")
    }
}

struct TokenFile {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    current: Credential,
    read: Instant,
    failing: bool,
    /// What nobody has asked for yet.
    news: Reloaded,
}

impl TokenFile {
    fn new(path: &Path, fallback: Option<Secret>, clock: Arc<dyn Clock>) -> Result<Self, AuthError> {
        let authorization = match (read_token(path), fallback) {
            (Ok(token), _) => token,
            (Err(error), Some(fallback)) => {
                log::warn!(error = chain(&error).as_str(); "use the fixed token: the token file cannot be used");
                parse_token("token", fallback.expose())?
            }
            (Err(error), None) => return Err(error),
        };
        let current = Credential::new(Some(authorization), 0);
        let state = Mutex::new(State {
            current,
            read: clock.now(),
            failing: false,
            news: Reloaded::Unchanged,
        });
        Ok(Self {
            path: path.to_owned(),
            clock,
            state,
        })
    }

    /// The token, from a reading not older than `max_age` if possible. The path is opened anew each time: kubelet
    /// replaces the file by way of a symbolic link.
    fn credential(&self, max_age: Duration) -> Credential {
        {
            let (now, mut state) = (self.clock.now(), self.lock());
            if !max_age.is_zero() && now.saturating_duration_since(state.read) < max_age {
                return state.current.clone();
            }
            // before reading, so that other threads go on with what there is
            state.read = now;
        }
        let read = read_token(&self.path);
        let mut state = self.lock();
        match read {
            Ok(token) => {
                if std::mem::take(&mut state.failing) {
                    state.news = Reloaded::Changed;
                }
                if state.current.authorization.as_ref() != Some(&token) {
                    state.current = Credential::new(Some(token), state.current.generation + 1);
                    state.news = Reloaded::Changed;
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut state.failing, true) {
                    state.news = Reloaded::Refused;
                    log::error!(error = chain(&error).as_str(); "keep the last token: the token file cannot be used");
                }
            }
        }
        state.current.clone()
    }

    fn reload(&self) -> Reloaded {
        self.credential(Duration::ZERO);
        std::mem::take(&mut self.lock().news)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of a token panics")
    }
}

fn read_token(path: &Path) -> Result<Secret, AuthError> {
    let text = fs::read_to_string(path).map_err(|source| AuthError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    parse_token(&path.display().to_string(), &text)
}

/// The header's value for a token, without the blanks around it.
pub(super) fn parse_token(from: &str, text: &str) -> Result<Secret, AuthError> {
    let no_token = |found| AuthError::NoToken {
        from: from.to_owned(),
        found,
    };
    match text.trim() {
        "" => Err(no_token("it is empty")),
        token if token.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Secret::new(format!("Bearer {token}")))
        }
        _ => Err(no_token("it has blanks or characters that no header can carry")),
    }
}

/// Kubelet replaces tokens at 80 % of a life of at least ten minutes. Source: client-go, transport/token_source.go.
const MAX_AGE: Duration = Duration::from_secs(50);

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::runtime::clock::ManualClock;

    fn shown(auth: &Auth) -> String {
        auth.credential()
            .unwrap()
            .authorization
            .unwrap()
            .expose()
            .to_owned()
    }

    #[test]
    fn a_token_file_is_read_again_and_the_last_good_token_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, " one\r\n").unwrap();
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
        let auth = Auth::token_file(&path, None, Arc::new(clock.clone())).unwrap();
        assert_eq!(shown(&auth), "Bearer one");
        fs::write(&path, "two").unwrap();
        clock.advance(Duration::from_secs(49));
        assert_eq!(shown(&auth), "Bearer one");
        clock.advance(Duration::from_secs(1));
        assert_eq!(shown(&auth), "Bearer two");
        for bad in ["", "\n", "a b", "a\u{7}"] {
            fs::write(&path, bad).unwrap();
            clock.advance(MAX_AGE);
            assert_eq!(shown(&auth), "Bearer two", "{bad:?}");
        }
        fs::remove_file(&path).unwrap();
        clock.advance(MAX_AGE);
        assert_eq!(shown(&auth), "Bearer two");
        fs::write(&path, "three").unwrap();
        clock.advance(MAX_AGE);
        assert_eq!(shown(&auth), "Bearer three");
    }

    #[test]
    fn a_refusal_makes_it_look_again_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "one").unwrap();
        let clock = Arc::new(ManualClock::new(SystemTime::UNIX_EPOCH));
        let auth = Auth::token_file(&path, None, clock).unwrap();
        let refused = auth.credential().unwrap();
        assert!(!auth.renew(&refused), "it did not change");
        fs::write(&path, "two").unwrap();
        assert!(auth.renew(&refused));
        assert!(auth.renew(&refused), "another thread's 401 for the old one");
        assert_eq!(shown(&auth), "Bearer two");
        assert!(!auth.renew(&auth.credential().unwrap()));
    }

    #[test]
    fn a_fixed_token_stands_in_for_a_file_never_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
        let open = |fallback| Auth::token_file(&path, fallback, Arc::new(clock.clone()));
        assert!(matches!(open(None), Err(AuthError::Unreadable { .. })));
        let auth = open(Some(Secret::new("fixed"))).unwrap();
        assert_eq!(shown(&auth), "Bearer fixed");
        fs::write(&path, "read").unwrap();
        clock.advance(MAX_AGE);
        assert_eq!(shown(&auth), "Bearer read");
    }

    #[test]
    fn what_happened_to_a_token_file_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "one").unwrap();
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
        let auth = Auth::token_file(&path, None, Arc::new(clock.clone())).unwrap();
        for (case, text, want, token) in [
            ("the same", "one", Reloaded::Unchanged, "one"),
            ("another", "two", Reloaded::Changed, "two"),
            ("nothing", "", Reloaded::Refused, "two"),
            ("still nothing", "", Reloaded::Unchanged, "two"),
            ("good again", "two", Reloaded::Changed, "two"),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(auth.reload(), want, "{case}");
            assert_eq!(shown(&auth), format!("Bearer {token}"), "{case}");
        }
        fs::write(&path, "three").unwrap();
        clock.advance(MAX_AGE);
        assert_eq!(shown(&auth), "Bearer three");
        assert_eq!(auth.reload(), Reloaded::Changed, "a request saw it first");
    }

    #[test]
    fn a_token_is_read_through_the_link_that_kubelet_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, token) in [("v1", "one"), ("v2", "two")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("token"), token).unwrap();
        }
        let point_to = |version: &str| {
            std::os::unix::fs::symlink(version, at("..data_tmp")).unwrap();
            fs::rename(at("..data_tmp"), at("..data")).unwrap();
        };
        point_to("v1");
        std::os::unix::fs::symlink("..data/token", at("token")).unwrap();
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
        let auth = Auth::token_file(&at("token"), None, Arc::new(clock.clone())).unwrap();
        point_to("v2");
        assert_eq!(shown(&auth), "Bearer one");
        clock.advance(MAX_AGE);
        assert_eq!(shown(&auth), "Bearer two");
    }

    #[test]
    fn a_replaced_source_makes_a_refusal_of_the_old_one_worth_another_try() {
        let auth = Auth::token("x", &Secret::new("old")).unwrap();
        let old = auth.credential().unwrap();
        assert!(!auth.renew(&old));
        auth.replace(Auth::token("x", &Secret::new("new")).unwrap());
        assert!(auth.renew(&old), "there is another one");
        assert_eq!(shown(&auth), "Bearer new");
        assert!(!auth.renew(&auth.credential().unwrap()));
    }

    #[test]
    fn a_bad_token_is_refused_and_not_quoted() {
        let error = Auth::token("user \"a\"", &Secret::new("s3cret\nx"))
            .err()
            .unwrap();
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
        let auth = Auth::token("x", &Secret::new("t")).unwrap();
        assert!(!auth.renew(&auth.credential().unwrap()));
        assert_eq!(Auth::nobody().credential().unwrap().authorization, None);
    }
}
