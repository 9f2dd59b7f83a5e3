//! The daemon as a process, and what the kernel knows of it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cloud_provider_inspur::runtime::stop::StopToken;
use cloud_provider_inspur::sim::signals;

use crate::report::Mib;

/// The program that is measured.
pub(crate) fn program() -> PathBuf {
    let built = env!("CARGO_BIN_EXE_inspur-cloud-controller-manager");
    std::env::var_os("DAEMON").map_or_else(|| built.into(), PathBuf::from)
}

/// A running daemon. Dropped, it is killed.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

/// How much memory a process has.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    /// All pages that are in memory, those of the program and its libraries included.
    pub(crate) resident: Mib,
    /// Those of no file: heap and stacks.
    pub(crate) anonymous: Mib,
    /// The most that was ever resident.
    pub(crate) peak: Mib,
}

/// What a process has done so far.
pub(crate) struct Activity {
    pub(crate) cpu: Duration,
    /// How often one of its threads went to sleep by itself, and so was woken.
    pub(crate) sleeps: u64,
}

impl Daemon {
    /// Starts it; what it logs goes to a file in `dir`.
    pub(crate) fn start(dir: &Path, args: &[String]) -> Self {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let log = dir.join(format!("daemon-{number}.log"));
        let child = Command::new(program())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("the folder is writable"))
            .spawn()
            .expect("the daemon was built");
        Self { child, log }
    }

    /// Whether it has not ended by itself.
    pub(crate) fn is_running(&self) -> bool {
        // what has ended and is not reaped has no memory
        self.proc("status").contains("VmRSS:")
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        signals::send(self.child.id(), name).expect("it runs");
    }

    /// What it logged.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn memory(&self) -> Memory {
        let status = self.proc("status");
        let kib = |field| Mib::of_kib(number(&status, field));
        Memory {
            resident: kib("VmRSS:"),
            anonymous: kib("RssAnon:"),
            peak: kib("VmHWM:"),
        }
    }

    pub(crate) fn activity(&self) -> Activity {
        let mut activity = Activity {
            cpu: Duration::ZERO,
            sleeps: 0,
        };
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it runs");
        for task in tasks.flatten() {
            let read = |name| fs::read_to_string(task.path().join(name)).unwrap_or_default();
            // the first number is the time on a CPU in nanoseconds
            let nanoseconds = read("schedstat");
            let nanoseconds = nanoseconds
                .split(' ')
                .next()
                .and_then(|number| number.parse().ok());
            activity.cpu += Duration::from_nanos(nanoseconds.unwrap_or(0));
            activity.sleeps += number(&read("status"), "voluntary_ctxt_switches:");
        }
        activity
    }

    /// What it does in the next `time`.
    pub(crate) fn activity_in(&self, time: Duration) -> Activity {
        let before = self.activity();
        StopToken::never().wait(time);
        let after = self.activity();
        Activity {
            cpu: after.cpu.saturating_sub(before.cpu),
            sleeps: after.sleeps.saturating_sub(before.sleeps),
        }
    }

    fn proc(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.child.id()))
            .unwrap_or_else(|error| panic!("the daemon ended: {error}\n{}", self.output()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // it may have ended by itself
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The number behind `field`, which begins a line.
fn number(status: &str, field: &str) -> u64 {
    let line = status.lines().find(|line| line.starts_with(field));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or_else(|| panic!("no {field} in:\n{status}"))
}
