//! The daemon: arguments → configuration → [`cloud_provider_inspur::manager`] → exit code.

use std::io::Write as _;
use std::process::ExitCode;

use cloud_provider_inspur::config::{self, Config, Failure, Start};
use cloud_provider_inspur::{check, logging, manager, runtime};
use log::Level;

fn main() -> ExitCode {
    match config::load(std::env::args_os().skip(1)) {
        Ok(Start::Print(text)) => {
            // a reader that has seen enough is no fault of ours
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Ok(Start::Run { config, warnings }) => {
            logging::init(
                config.flags.logging_format,
                config.flags.verbosity,
                config.flags.vmodule.clone(),
            );
            for warning in &warnings {
                log::warn!(reason:% = warning; "suspicious configuration");
            }
            run(&config)
        }
        Ok(Start::Check { config, warnings }) => {
            check::run(config.as_deref(), &warnings, &mut std::io::stdout().lock())
        }
        Err(failure) => {
            report(&failure);
            ExitCode::FAILURE
        }
    }
}

fn run(config: &Config) -> ExitCode {
    match manager::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(errors) => {
            for error in &errors {
                log::error!(error:% = runtime::chain(error); "cannot run");
            }
            ExitCode::FAILURE
        }
    }
}

/// All at once, for whoever reads the terminal or the Pod's log.
fn report(failure: &Failure) {
    let (warns, fails) = (logging::priority(Level::Warn), logging::priority(Level::Error));
    for warning in &failure.warnings {
        eprintln!("{warns}warning: {warning}");
    }
    for error in &failure.errors {
        eprintln!("{fails}error: {}", runtime::chain(error));
    }
    for error in failure
        .flags
        .iter()
        .flat_map(|flags| manager::faults_beside_the_cloud_config(flags))
    {
        eprintln!("{fails}error: {}", runtime::chain(&error));
    }
}
