//! The controller as a process.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::Error;
use crate::runtime::stop::StopToken;
use crate::sim::signals;

/// How often it is looked at while it stops.
const GLANCE: Duration = Duration::from_millis(5);
/// How long it may take to stop: far longer than it ever does.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running controller. Dropped, it is killed.
pub(super) struct Controller {
    child: Child,
    /// As it would be typed.
    pub(super) command: String,
    /// What it writes.
    pub(super) log: PathBuf,
}

impl Controller {
    /// Starts `program` with the kubeconfig and cloud config in `folder`, where it logs, too. In a process group of its own: a
    /// Ctrl-C is for the story, which ends it when it is its turn.
    pub(super) fn start(program: &Path, folder: &Path) -> Result<Self, Error> {
        let log = folder.join("controller.log");
        let arguments = [
            format!("--kubeconfig={}", folder.join("kubeconfig").display()),
            format!("--cloud-config={}", folder.join("cloud-config").display()),
            // a kubelet's silence and a missing instance are noticed at once: nobody wants to watch the real times
            "--node-monitor-period=100ms".to_owned(),
            "--node-startup-grace-period=0s".to_owned(),
            // and so is that nobody else leads
            "--leader-elect-lease-duration=5s".to_owned(),
            "--leader-elect-renew-deadline=4s".to_owned(),
            "--leader-elect-retry-period=500ms".to_owned(),
            // the port may be that of this machine's own cluster
            "--secure-port=0".to_owned(),
            // decisions, too
            "-v=4".to_owned(),
        ];
        let spawn = || -> io::Result<Child> {
            let output = File::create(&log)?;
            Command::new(program)
                .args(&arguments)
                .stdin(Stdio::null())
                .stdout(output.try_clone()?)
                .stderr(output)
                .process_group(0)
                .spawn()
        };
        let child = spawn().map_err(Error::stage(format!("start {}", program.display())))?;
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self {
            child,
            command: format!("{name} {}", arguments.join(" \\\n    ")),
            log,
        })
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// # Errors
    /// When it has ended.
    pub(super) fn check(&mut self) -> Result<(), Error> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(Error::ControllerEnded(status)),
            Err(error) => Err(Error::stage("look after the controller")(error)),
        }
    }

    /// Asks it to stop, by SIGTERM, and waits until it has.
    ///
    /// # Errors
    /// When it has ended before, or does not end in time.
    pub(super) fn terminate(&mut self) -> Result<ExitStatus, Error> {
        self.check()?;
        signals::send(self.id(), "TERM").map_err(Error::stage("stop the controller"))?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let ended = self.child.try_wait();
            if let Some(status) = ended.map_err(Error::stage("look after the controller"))? {
                return Ok(status);
            }
            StopToken::never().wait(GLANCE);
        }
        let waited = format!("it does not stop within {} s of SIGTERM", PATIENCE.as_secs());
        Err(Error::NotAsTold(waited))
    }

    /// Ends it at once, if it has not ended.
    pub(super) fn kill(&mut self) {
        // it may have ended by itself
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    /// A shell in the controller's place, which runs `script` and writes to the pipe.
    fn shell(script: &str) -> Controller {
        let mut command = Command::new("sh");
        let command = command.args(["-c", script]).stdout(Stdio::piped());
        Controller {
            child: command.spawn().unwrap(),
            command: String::new(),
            log: PathBuf::new(),
        }
    }

    #[test]
    fn it_is_told_to_stop_and_its_exit_code_is_seen() {
        let mut controller = shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done");
        let mut ready = [0; 5];
        let mut stdout = controller.child.stdout.take().unwrap();
        stdout.read_exact(&mut ready).unwrap();
        assert_eq!(controller.terminate().unwrap().code(), Some(7));
    }

    #[test]
    fn an_end_that_nobody_asked_for_is_an_error() {
        let mut controller = shell("exit 3");
        controller.child.wait().unwrap();
        for ended in [controller.check(), controller.terminate().map(drop)] {
            assert!(matches!(ended, Err(Error::ControllerEnded(status)) if status.code() == Some(3)));
        }
    }
}
