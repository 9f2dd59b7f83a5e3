//! Credentials printed by a program: the exec plug-ins of a kubeconfig.
//!
//! Source: client-go, plugin/pkg/client/auth/exec/exec.go, but for the limits on time and the early renewal.

mod credential;
mod process;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use self::credential::{Printed, exec_info, parse_printed, renewal};
use super::auth::{AuthError, Credential};
use crate::http::agent::{Identity, Pem};
use crate::runtime::chain;
use crate::runtime::clock::Clock;
use crate::runtime::secret::Secret;
use crate::runtime::stop::StopToken;

/// Which program to run, and how. `Debug` leaves out arguments and variables, which may be secret.
#[derive(Clone, PartialEq, Eq)]
pub struct ExecConfig {
    /// `client.authentication.k8s.io/v1` or `…/v1beta1`: what it is asked in, and must answer in.
    pub api_version: String,
    /// A path, or a name to look up in `PATH`.
    pub command: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Added to our own environment.
    pub env: Vec<(String, Secret)>,
    /// What to tell people when it is missing.
    pub install_hint: Option<String>,
    /// What it is told of the cluster, if anything.
    pub cluster: Option<ExecCluster>,
}

impl fmt::Debug for ExecConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.command.display())
    }
}

/// What a plug-in may know of the cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct ExecCluster {
    /// The URL.
    pub server: String,
    /// The name to verify, if another.
    pub server_name: Option<String>,
    /// Whom to trust; told as data, also when it is a file.
    pub authority: Option<Pem>,
    /// As written, with its credentials.
    pub proxy_url: Option<Secret>,
    /// Of the cluster's extension for plug-ins.
    pub config: Option<Value>,
}

/// Takes a certificate that a plug-in printed, for connections from now on.
pub type OnIdentity = Box<dyn Fn(Identity) -> Result<(), String> + Send + Sync>;

/// A plug-in and what it printed last. It runs when there is no credential, shortly before one expires, and after a 401;
/// never twice at a time.
pub(super) struct Plugin {
    config: ExecConfig,
    clock: Arc<dyn Clock>,
    stop: StopToken,
    on_identity: OnIdentity,
    time_limit: Duration,
    cache: Mutex<Cache>,
    /// Held while it runs, for up to [`TIME_LIMIT`]: whoever needs a credential and has none must wait for it anyway.
    /// The stop token ends the run and so the wait.
    running: Mutex<()>,
}

#[derive(Default)]
struct Cache {
    held: Option<Held>,
    /// The last failure and when it was.
    failed: Option<(Instant, String)>,
    /// When it last ran after a 401.
    renewed: Option<Instant>,
}

struct Held {
    printed: Printed,
    credential: Credential,
    renew_at: Option<SystemTime>,
}

impl Plugin {
    pub(super) fn new(
        config: ExecConfig,
        clock: Arc<dyn Clock>,
        stop: StopToken,
        on_identity: OnIdentity,
    ) -> Self {
        Self {
            config,
            clock,
            stop,
            on_identity,
            time_limit: TIME_LIMIT,
            cache: Mutex::default(),
            running: Mutex::default(),
        }
    }

    /// What to send now. One that is about to expire is used for as long as another thread gets the next one.
    pub(super) fn credential(&self) -> Result<Credential, AuthError> {
        let old = match self.held() {
            Some((credential, Age::Fresh)) => return Ok(credential),
            Some((credential, Age::Renewable)) => Some(credential),
            Some((_, Age::Expired)) | None => None,
        };
        let running = match (&old, self.running.try_lock()) {
            (_, Ok(running)) => running,
            (Some(old), Err(TryLockError::WouldBlock)) => return Ok(old.clone()),
            (_, Err(_)) => self.running.lock().expect("no runner of a plug-in panics"),
        };
        // another thread may have run it while this one waited
        if let Some((credential, Age::Fresh)) = self.held() {
            return Ok(credential);
        }
        let result = self.run();
        drop(running);
        match (result, old) {
            (Err(error), Some(old)) => {
                log::warn!(error = chain(&error).as_str(); "use the old credential: the plug-in gives no new one");
                Ok(old)
            }
            (result, _) => result,
        }
    }

    /// The server did not accept `refused`. Runs the plug-in, but once for any number of 401s. Returns whether there is
    /// another credential.
    pub(super) fn renew(&self, refused: &Credential) -> bool {
        let _running = self.running.lock().expect("no runner of a plug-in panics");
        let is_other = |held: Option<(Credential, Age)>| held.is_some_and(|(held, _)| held != *refused);
        if is_other(self.held()) {
            return true;
        }
        let now = self.clock.now();
        {
            let mut cache = self.lock();
            let recent = cache
                .renewed
                .is_some_and(|at| now.saturating_duration_since(at) < PAUSE);
            if recent {
                return false;
            }
            cache.renewed = Some(now);
        }
        if let Err(error) = self.run() {
            log::warn!(error = chain(&error).as_str(); "the plug-in gives no new credential after a 401");
        }
        is_other(self.held())
    }

    /// Runs it, unless it failed a moment ago. The caller holds `running`.
    fn run(&self) -> Result<Credential, AuthError> {
        let failed = |reason: String| AuthError::Plugin {
            command: self.config.command.clone(),
            reason,
        };
        if let Some((at, reason)) = &self.lock().failed
            && self.clock.now().saturating_duration_since(*at) < PAUSE
        {
            return Err(failed(reason.clone()));
        }
        let printed = exec_info(&self.config)
            .and_then(|info| process::run(&self.config, &info, &self.stop, self.time_limit))
            .and_then(|bytes| parse_printed(&self.config.api_version, &bytes))
            .and_then(|printed| {
                if let Some(identity) = printed.identity(&self.config) {
                    (self.on_identity)(identity)?;
                }
                Ok(printed)
            });
        let mut cache = self.lock();
        match printed {
            Ok(printed) => {
                cache.failed = None;
                Ok(cache.keep(printed, self.clock.wall()))
            }
            Err(reason) => {
                cache.failed = Some((self.clock.now(), reason.clone()));
                Err(failed(reason))
            }
        }
    }

    fn held(&self) -> Option<(Credential, Age)> {
        let (now, cache) = (self.clock.wall(), self.lock());
        let held = cache.held.as_ref()?;
        let age = match (held.printed.expires, held.renew_at) {
            (Some(expires), _) if now >= expires => Age::Expired,
            (_, Some(renew_at)) if now >= renew_at => Age::Renewable,
            _ => Age::Fresh,
        };
        Some((held.credential.clone(), age))
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        self.cache
            .lock()
            .expect("no holder of a plug-in's credential panics")
    }
}

enum Age {
    Fresh,
    /// Still good, but not for long.
    Renewable,
    Expired,
}

impl Cache {
    fn keep(&mut self, printed: Printed, now: SystemTime) -> Credential {
        let generation = match &self.held {
            Some(held) if held.printed.is_same(&printed) => held.credential.generation(),
            Some(held) => held.credential.generation() + 1,
            None => 1,
        };
        let credential = Credential::new(printed.authorization.clone(), generation);
        self.held = Some(Held {
            renew_at: printed.expires.map(|expires| renewal(now, expires)),
            printed,
            credential: credential.clone(),
        });
        credential
    }
}

/// A plug-in that takes longer is killed. Source: kube-client.md 1.5.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// A plug-in that failed, or that ran after a 401, does not run again at once: many calls may be waiting.
const PAUSE: Duration = Duration::from_secs(10);
