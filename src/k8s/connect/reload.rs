//! Keeping up with a kubeconfig and the files that it names while the program runs.
//!
//! What can change is who we are and whom we trust; where the API server is, and the way there, cannot. A version that cannot be used is
//! told once and looked at again each time, since files that it names may come later.

use std::path::Path;
use std::sync::MutexGuard;

use super::{ConnectError, Connector, Sources, parse_kubeconfig};
use crate::k8s::kubeconfig::ClusterAccess;
use crate::runtime::chain;
use crate::runtime::reload::Reloaded;
use crate::runtime::watched_file::{Seen, WatchedFile};

/// What came of one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reloads {
    /// The kubeconfig itself.
    pub kubeconfig: Reloaded,
    /// The files with certificates that it names, or the pod's CA file.
    pub certificates: Reloaded,
    /// The token file that it names, or the pod's.
    pub token: Reloaded,
}

/// The file, and what is in use of it.
pub(super) struct Kubeconfig {
    file: WatchedFile,
    master: Option<String>,
    current: ClusterAccess,
}

impl Kubeconfig {
    pub(super) fn new(path: &Path, master: Option<&str>, current: ClusterAccess) -> Self {
        Self {
            file: WatchedFile::new(path, LARGEST),
            master: master.map(str::to_owned),
            current,
        }
    }

    /// What a version that is not settled says.
    fn parse(&self, bytes: &[u8]) -> Result<ClusterAccess, ConnectError> {
        let text = String::from_utf8_lossy(bytes);
        parse_kubeconfig(&text, self.file.path(), self.master.as_deref())
    }

    fn refuse(&mut self, error: &ConnectError) -> Reloaded {
        let reason = chain(error);
        if !self.file.refuse(&reason) {
            return Reloaded::Unchanged;
        }
        log::error!(error = reason.as_str(); "keep the old kubeconfig: the new one cannot be used");
        Reloaded::Refused
    }
}

impl Connector {
    /// Looks at the kubeconfig and at all files with credentials and certificates now, and uses what is new for every client from its next
    /// connection or request on. Returns what happened since the last call. Nobody is asked, but a plug-in may run at
    /// the next request.
    pub fn reload(&self) -> Reloads {
        Reloads {
            // first: what it names now is what the others look at
            kubeconfig: self.reload_kubeconfig(),
            certificates: self.agent.reload(),
            token: self.auth.reload(),
        }
    }

    fn reload_kubeconfig(&self) -> Reloaded {
        let Some(kubeconfig) = &self.kubeconfig else {
            return Reloaded::Unchanged;
        };
        let mut kubeconfig = kubeconfig.lock().expect("no reader of a kubeconfig panics");
        let bytes = match kubeconfig.file.look() {
            Ok(Seen::Same) => return Reloaded::Unchanged,
            Ok(Seen::Back) => return Reloaded::Changed,
            Ok(Seen::Other(bytes)) => bytes,
            Err(source) => {
                let path = kubeconfig.file.path().to_owned();
                return kubeconfig.refuse(&ConnectError::Unreadable { path, source });
            }
        };
        let new = match kubeconfig.parse(&bytes) {
            Ok(new) => new,
            Err(error) => return kubeconfig.refuse(&error),
        };
        let fixed = what_is_fixed(&kubeconfig.current, &new);
        if !fixed.is_empty() {
            kubeconfig.file.settle(&bytes);
            log::warn!(changed = fixed.join(",").as_str(), server = new.server.as_str(); "the kubeconfig says another way to the API server, which needs a restart; all goes on as before");
            return Reloaded::NeedsRestart;
        }
        if let Err(error) = self.take_over(&kubeconfig.current, &new) {
            return kubeconfig.refuse(&error);
        }
        let differs = kubeconfig.current != new;
        if differs {
            log::info!(kubeconfig:% = kubeconfig.file.path().display(); "use the new credentials of the kubeconfig");
        }
        kubeconfig.current = new;
        match kubeconfig.file.settle(&bytes) || differs {
            true => Reloaded::Changed,
            // what the program started with
            false => Reloaded::Unchanged,
        }
    }

    /// All of what is new, or nothing of it.
    fn take_over(&self, old: &ClusterAccess, new: &ClusterAccess) -> Result<(), ConnectError> {
        if old == new {
            return Ok(());
        }
        let mut turn = self.turn();
        let auth = match old.credentials == new.credentials {
            true => None,
            false => Some(self.sources().auth(new.credentials.clone(), *turn + 1)?),
        };
        let (roots, identity) = (new.roots.clone(), new.identity.clone());
        match auth {
            // the certificate in use may be one that a plug-in printed
            None if old.identity == new.identity => self.agent.set_roots(roots)?,
            _ => self.agent.set_certificates(roots, identity)?,
        }
        if let Some(auth) = auth {
            *turn += 1;
            self.auth.replace(auth);
        }
        Ok(())
    }

    fn sources(&self) -> Sources<'_> {
        Sources {
            agent: &self.agent,
            clock: &self.clock,
            stop: &self.stop,
            plugins: &self.plugins,
        }
    }

    fn turn(&self) -> MutexGuard<'_, u64> {
        self.plugins
            .lock()
            .expect("no holder of the plug-ins' turns panics")
    }
}

/// The fields that count only at the start.
fn what_is_fixed(old: &ClusterAccess, new: &ClusterAccess) -> Vec<&'static str> {
    [
        ("server", old.server != new.server),
        ("tls-server-name", old.server_name != new.server_name),
        ("proxy-url", old.proxy != new.proxy),
    ]
    .into_iter()
    .filter_map(|(field, differs)| differs.then_some(field))
    .collect()
}

/// A larger file is no kubeconfig.
const LARGEST: u64 = 8 << 20;
