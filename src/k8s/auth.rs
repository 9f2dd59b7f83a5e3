//! Who we say we are: the `Authorization` header of each request.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use std::{fs, io};

use super::exec::{ExecConfig, OnIdentity, Plugin};
use crate::runtime::chain;
use crate::runtime::clock::Clock;
use crate::runtime::secret::Secret;
use crate::runtime::stop::StopToken;

/// Where credentials come from. Shared by all clients of one API server.
pub struct Auth(Source);

enum Source {
    Nobody,
    Token(Secret),
    File(TokenFile),
    Exec(Box<Plugin>),
}

/// What one request is sent with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The header's value; `None` where the connection says who we are, or nothing does.
    pub authorization: Option<Secret>,
    /// Tells it from a later one.
    generation: u64,
}

impl Credential {
    pub(super) fn new(authorization: Option<Secret>, generation: u64) -> Self {
        Self {
            authorization,
            generation,
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
}

impl Auth {
    /// Nobody, or whoever the client certificate names.
    pub fn nobody() -> Self {
        Self(Source::Nobody)
    }

    /// Always the same token; `from` names its place for errors.
    ///
    /// # Errors
    /// Something that no header can carry.
    pub fn token(from: &str, token: &Secret) -> Result<Self, AuthError> {
        Ok(Self(Source::Token(parse_token(from, token.expose())?)))
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
        Ok(Self(Source::File(TokenFile::new(path, fallback, clock)?)))
    }

    /// What a program prints, for as long as that is good. It runs at most once at a time, and until `stop` is set. A
    /// certificate that it prints goes to `on_identity`.
    pub fn exec(config: ExecConfig, clock: Arc<dyn Clock>, stop: StopToken, on_identity: OnIdentity) -> Self {
        Self(Source::Exec(Box::new(Plugin::new(
            config,
            clock,
            stop,
            on_identity,
        ))))
    }

    /// What to send now. A program may run for this, for up to a minute.
    ///
    /// # Errors
    /// There is nothing to send though there should be.
    pub fn credential(&self) -> Result<Credential, AuthError> {
        Ok(match &self.0 {
            Source::Nobody => Credential::new(None, 0),
            Source::Token(token) => Credential::new(Some(token.clone()), 0),
            Source::File(file) => file.credential(MAX_AGE),
            Source::Exec(plugin) => plugin.credential()?,
        })
    }

    /// The server did not accept `refused`. Looks for another one, and returns whether there is.
    pub fn renew(&self, refused: &Credential) -> bool {
        match &self.0 {
            Source::Nobody | Source::Token(_) => false,
            Source::File(file) => file.credential(Duration::ZERO).generation != refused.generation,
            Source::Exec(plugin) => plugin.renew(refused),
        }
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
                state.failing = false;
                if state.current.authorization.as_ref() != Some(&token) {
                    state.current = Credential::new(Some(token), state.current.generation + 1);
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut state.failing, true) {
                    log::warn!(error = chain(&error).as_str(); "keep the last token: the token file cannot be used");
                }
            }
        }
        state.current.clone()
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
