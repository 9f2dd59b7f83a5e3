//! What the service manager is told while the daemon runs: how things are, and that there is progress.

use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};

use super::status::{self, Status};
use crate::runtime::service_manager::{News, ServiceManager};
use crate::runtime::stop::StopToken;
use crate::serve::Checks;

/// How often it is looked whether there is news.
const PERIOD: Duration = Duration::from_secs(5);

/// The state of the thread `systemd`.
pub(super) struct Heartbeat<F> {
    manager: Arc<ServiceManager>,
    checks: Arc<Checks>,
    status: F,
    /// What was said last.
    said: String,
    stuck: bool,
}

impl<F: Fn() -> Status> Heartbeat<F> {
    pub(super) fn new(manager: Arc<ServiceManager>, checks: Arc<Checks>, status: F) -> Self {
        Self {
            manager,
            checks,
            status,
            said: String::new(),
            stuck: false,
        }
    }

    /// Until `stop` is set. Twice within the watchdog's time at least: one message may be lost.
    pub(super) fn run(mut self, stop: &StopToken) {
        let half = self.manager.watchdog().map(|watchdog| watchdog / 2);
        let period = half.map_or(PERIOD, |half| half.min(PERIOD));
        loop {
            self.beat();
            if stop.wait(period) {
                return;
            }
        }
    }

    /// One look. Whoever is stuck is not alive: the service manager ends the process then, and starts another.
    fn beat(&mut self) {
        let stuck = self.checks.stuck();
        if stuck.is_some() != self.stuck {
            self.stuck = stuck.is_some();
            match &stuck {
                Some(reason) => warn!(reason = reason.as_str(); "it is stuck: the watchdog will end it"),
                None => info!("it is not stuck any more"),
            }
        }
        let line = match stuck {
            Some(reason) => format!("stuck: {reason}"),
            None => {
                if self.manager.watchdog().is_some() {
                    self.manager.tell(News::Alive);
                }
                status::headline(&(self.status)())
            }
        };
        if line != self.said {
            self.manager.tell(News::Status(&line));
            self.said = line;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::sync::Mutex;
    use std::time::SystemTime;

    use super::*;
    use crate::serve::Kind;

    type Result<T = ()> = std::result::Result<T, String>;

    fn status() -> Status {
        Status {
            now: SystemTime::UNIX_EPOCH,
            version: "1",
            started: SystemTime::UNIX_EPOCH,
            leader: None,
            informers: Vec::new(),
            services: None,
            braked: None,
        }
    }

    fn heard(socket: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 512];
        let next = || {
            socket
                .recv(&mut buffer)
                .ok()
                .map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned())
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn who_is_stuck_is_not_alive() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (checks, result) = (Arc::new(Checks::new()), Arc::new(Mutex::new(Result::Ok(()))));
        let probe = Arc::clone(&result);
        checks.add("worker", Kind::Live, move || probe.lock().unwrap().clone());
        let manager = ServiceManager::at(path.as_os_str(), Some(Duration::from_secs(60))).unwrap();
        let mut heartbeat = Heartbeat::new(Arc::new(manager), checks, status);
        heartbeat.beat();
        heartbeat.beat();
        let [alive, how] =
            ["WATCHDOG=1", "STATUS=getting ready: waiting for the API server"].map(str::to_owned);
        assert_eq!(heard(&listener), [alive.clone(), how.clone(), alive.clone()]);
        *result.lock().unwrap() = Err("at one object for 601 s".into());
        heartbeat.beat();
        heartbeat.beat();
        assert_eq!(
            heard(&listener),
            ["STATUS=stuck: worker: at one object for 601 s"]
        );
        *result.lock().unwrap() = Ok(());
        heartbeat.beat();
        assert_eq!(heard(&listener), [alive, how]);
    }
}
