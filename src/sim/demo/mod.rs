//! The demo: a Service's whole life between two simulators, told as a story.
//!
//! Each step says what a person would type and shows what came of it; a step that does not go as told ends the story with
//! an error. The controller is the built program, started as a process: nothing of it is linked in here.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitStatus;

use crate::runtime::chain;
use crate::runtime::stop::StopToken;

pub mod cluster;
mod controller;
mod curl;
mod example;
mod stage;
mod story;
mod teller;

use teller::Teller;

/// What to tell, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The controller's program.
    pub controller: PathBuf,
    /// How it ends.
    pub ending: Ending,
}

/// How the story ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With everything gone, its files too.
    Gone,
    /// With a living Service to play with, until it is stopped. Its files stay.
    Open,
}

/// Why the story ended early, and where.
#[derive(Debug, thiserror::Error)]
#[error("step {step} ({title})")]
pub struct Failure {
    step: usize,
    title: &'static str,
    #[source]
    source: Error,
}

/// Why the story ended early.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// This machine does not provide what the story needs.
    #[error("cannot {what}")]
    Stage {
        what: String,
        #[source]
        source: io::Error,
    },
    /// Something else happened than what is told.
    #[error("not as told: {0}")]
    NotAsTold(String),
    /// Nobody asked the controller to.
    #[error("the controller ended by itself: {0}")]
    ControllerEnded(ExitStatus),
    /// Somebody asked us to stop.
    #[error("interrupted")]
    Interrupted,
    /// Nobody listens.
    #[error("cannot tell it")]
    Output(#[from] io::Error),
}

impl Error {
    fn stage(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Stage { what, source }
    }
}

/// Tells the story to `out`, until its end or until `stop` is set. Whatever it started is gone when this returns; where it
/// did not go as told, what the cloud has and what the controller logged have been written to `out` first.
///
/// # Errors
/// When a step does not go as told, or `stop` is set before the end.
pub fn run(options: &Options, stop: &StopToken, out: &mut dyn Write) -> Result<(), Failure> {
    let mut teller = Teller::new(out);
    story::tell(options, stop, &mut teller).map_err(|source| Failure {
        step: teller.step,
        title: teller.title,
        source,
    })
}

impl Failure {
    /// All of it in one line.
    pub fn line(&self) -> String {
        chain(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_controller_the_story_ends_at_once_and_says_where() {
        let options = Options {
            controller: "/nowhere/controller".into(),
            ending: Ending::Gone,
        };
        let mut told = Vec::new();
        let failure = run(&options, &StopToken::never(), &mut told).unwrap_err();
        assert_eq!(
            failure.line(),
            "step 2 (The controller starts): cannot start /nowhere/controller: \
             No such file or directory (os error 2)"
        );
    }
}
