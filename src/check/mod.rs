//! `check-config`: would the daemon work here? Everything is looked at, nothing is written, and the answer is a table.
//!
//! Each step takes 10 s at most, and one that fails does not keep the others from being taken. It asks the API server and the
//! cloud only to read, to review, and for a token; the gate through which changes would have to pass stays shut.

mod certificates;
mod cloud;
mod cluster;
mod permissions;
mod skew;
mod table;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;

use crate::config::{self, Config, Failure, Warning};
use crate::http::Limits;
use crate::runtime::chain;
use crate::runtime::clock::{Clock, SystemClock};
use crate::runtime::gate::Gate;
use crate::runtime::stop::Stop;
use crate::runtime::supervise::Supervisor;
use table::Table;
pub use table::{Row, Verdict};

/// Checks what `config` says, or what of it could be read, and writes the table to `out`. Success when nothing failed.
pub fn run(config: Result<&Config, &Failure>, warnings: &[Warning], out: &mut dyn Write) -> ExitCode {
    let table = Table(rows(config, warnings));
    // a reader that has seen enough is no fault of ours
    let _ = write!(out, "{table}").and_then(|()| out.flush());
    if table.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The rows of the table.
pub fn rows(config: Result<&Config, &Failure>, warnings: &[Warning]) -> Vec<Row> {
    let mut rows = of_configuration(config, warnings);
    let (flags, cloud) = match config {
        Ok(config) => (Some(&config.flags), Some(&config.cloud)),
        Err(failure) => (failure.flags.as_deref(), None),
    };
    let mut steps = Steps::new();
    let seen = match flags {
        Some(flags) => {
            let knows_itself = cloud.is_some_and(|cloud| cloud.cluster_id.is_some());
            let seen = cluster::check(&mut steps, flags, knows_itself, &mut rows);
            rows.extend(certificates::of_the_endpoint(flags, steps.clock.wall()));
            seen
        }
        None => {
            rows.push(Row::skipped("cluster", "the flags are not valid"));
            cluster::Seen::default()
        }
    };
    match config {
        Ok(config) => cloud::check(&mut steps, config, &seen, &mut rows),
        Err(_) => rows.push(Row::skipped("cloud", "the configuration is not valid")),
    }
    rows
}

fn of_configuration(config: Result<&Config, &Failure>, warnings: &[Warning]) -> Vec<Row> {
    let (mut of_flags, mut of_cloud) = (Vec::new(), Vec::new());
    for error in config.err().into_iter().flat_map(|failure| &failure.errors) {
        match error {
            config::Error::Flag(_) => of_flags.push(Row::failed("flags", chain(error)).advice("see --help")),
            config::Error::CloudConfig(_) => of_cloud
                .push(Row::failed("cloud config", chain(error)).advice("see docs/reference/cloud-config.md")),
        }
    }
    match config {
        Ok(config) => {
            of_flags.push(Row::ok("flags", ""));
            of_cloud.push(Row::ok(
                "cloud config",
                config.flags.cloud_config.display().to_string(),
            ));
        }
        Err(_) if of_flags.is_empty() => of_flags.push(Row::ok("flags", "")),
        Err(_) => {}
    }
    let warned = warnings
        .iter()
        .chain(config.err().into_iter().flat_map(|failure| &failure.warnings));
    let warned = warned.map(|warning| Row::warning("configuration", warning.to_string()));
    of_flags.into_iter().chain(of_cloud).chain(warned).collect()
}

/// How long one step may take. A look-up of a name cannot be cut, so a step that takes longer is left behind.
const STEP: Duration = Duration::from_secs(10);

/// Of one exchange: shorter than a step, so that it says itself why it failed.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(3),
    head: Duration::from_secs(5),
    silence: Duration::from_secs(1),
    body: Some(Duration::from_secs(1)),
};

/// Takes the steps, each on a thread of its own.
struct Steps {
    threads: Supervisor,
    taken: usize,
    clock: Arc<dyn Clock>,
    stop: Stop,
    /// Shut for good.
    gate: Gate,
    patience: Duration,
}

impl Steps {
    fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let stop = Stop::new();
        let (gate, _never_opened) = Gate::shut(Arc::clone(&clock));
        Self {
            threads: Supervisor::new(stop.token()),
            taken: 0,
            clock,
            stop,
            gate,
            patience: STEP,
        }
    }

    /// What `step` comes to; `None` when that takes too long.
    fn take<T: Send + 'static>(&mut self, step: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (done, result) = bounded(1);
        self.taken += 1;
        self.threads.spawn(format!("check-{}", self.taken), move || {
            // nobody waits any more for one that took too long
            let _ = done.send(step());
        });
        result.recv_timeout(self.patience).ok()
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        // a program that prints credentials is not left behind
        self.stop.stop();
    }
}

#[cfg(test)]
mod tests;
