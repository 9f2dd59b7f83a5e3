//! What the operator wants: the command line and the cloud config, checked and typed.

use std::ffi::OsString;
use std::path::PathBuf;

use cloud_config::CloudConfig;
use flags::{Command, Flags, Parsed};

pub mod cloud_config;
pub mod controllers;
#[cfg(test)]
pub(crate) mod docs;
pub mod flags;
mod nearest;
mod values;

/// The program's name.
pub const PROGRAM: &str = "inspur-cloud-controller-manager";

/// Everything that the program does depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The command line.
    pub flags: Flags,
    /// The file that it names.
    pub cloud: CloudConfig,
}

/// What to do, by the command line.
#[derive(Debug)]
pub enum Start {
    /// Show this text (help, version), and nothing else.
    Print(String),
    /// Run.
    Run {
        /// With this.
        config: Box<Config>,
        /// For the log.
        warnings: Vec<Warning>,
    },
    /// Say whether it could run, and change nothing.
    Check {
        /// With this; or what is already known to be wrong, to be told with the rest. Its warnings are those beside it.
        config: Result<Box<Config>, Failure>,
        /// To be told, too.
        warnings: Vec<Warning>,
    },
}

/// Everything that is wrong with the command line and the cloud config.
#[derive(Debug)]
pub struct Failure {
    /// Never empty; flags first, then the file's faults by line.
    pub errors: Vec<Error>,
    /// The command line, if only the file is at fault: what else it names can be tried all the same.
    pub flags: Option<Box<Flags>>,
    /// What is suspicious, and perhaps the reason.
    pub warnings: Vec<Warning>,
}

/// One thing that is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// In the command line.
    #[error(transparent)]
    Flag(#[from] flags::Error),
    /// In the cloud config.
    #[error(transparent)]
    CloudConfig(#[from] cloud_config::Error),
}

/// Reads the command line (without the program's name) and the cloud config that it names.
///
/// # Errors
/// All that is wrong with both, unless that is what is asked for: see [`Start::Check`].
pub fn load(args: impl IntoIterator<Item = OsString>) -> Result<Start, Failure> {
    match flags::parse(args) {
        Parsed::Help => Ok(Start::Print(flags::help::text(PROGRAM))),
        Parsed::Version => Ok(Start::Print(format!(
            "{PROGRAM} v{}\n",
            env!("CARGO_PKG_VERSION")
        ))),
        Parsed::Do {
            command,
            flags,
            cloud_config,
            mut warnings,
        } => {
            let cloud = cloud_config.map(|path| {
                let loaded = cloud_config::load(&path);
                warnings.extend(loaded.warnings);
                loaded.config
            });
            match (command, join(flags, cloud)) {
                (Command::Run, Ok(config)) => Ok(Start::Run { config, warnings }),
                (Command::Run, Err(failure)) => Err(Failure { warnings, ..failure }),
                (Command::CheckConfig, config) => Ok(Start::Check { config, warnings }),
            }
        }
    }
}

/// The cloud config is `None` where the command line names no file, which is one of its errors.
fn join(
    flags: Result<Box<Flags>, Vec<flags::Error>>,
    cloud: Option<Result<CloudConfig, Vec<cloud_config::Error>>>,
) -> Result<Box<Config>, Failure> {
    match (flags, cloud) {
        (Ok(flags), Some(Ok(cloud))) => Ok(Box::new(Config { flags: *flags, cloud })),
        (flags, cloud) => {
            let (flags, of_flags) = match flags {
                Ok(flags) => (Some(flags), Vec::new()),
                Err(errors) => (None, errors),
            };
            let of_cloud = cloud.and_then(Result::err).into_iter().flatten().map(Error::from);
            let errors = of_flags.into_iter().map(Error::from).chain(of_cloud).collect();
            Err(Failure {
                errors,
                flags,
                warnings: Vec::new(),
            })
        }
    }
}

/// Something that is accepted, but probably not what was meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// A key that the cloud config does not have.
    #[error("{}:{line}: unknown key{}{}", .path.display(), with(" ", .key.as_deref()), suggestion("", *.nearest))]
    UnknownKey {
        /// The cloud config.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// As written; `None` when it may be a piece of a secret.
        key: Option<String>,
        /// What may have been meant.
        nearest: Option<&'static str>,
    },
    /// In a cloud config of `key=value` lines: a line that is neither that nor a comment. Its text may be a piece of a secret.
    #[error("{}:{line}: this line is not key=value and has no effect", .path.display())]
    SkippedLine {
        /// The cloud config.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// In a cloud config of `key=value` lines: one key again, perhaps in another spelling.
    #[error(
        "{}:{line}: {key} is given again: line {earlier} has no effect; remove one of them",
        .path.display()
    )]
    RepeatedKey {
        /// The cloud config.
        path: PathBuf,
        /// Where it is given now; from 1.
        line: usize,
        /// The key.
        key: &'static str,
        /// Where it was given before.
        earlier: usize,
    },
    /// A static token beside the complete keys of the 2020 controller's token exchange, which counts.
    #[error(
        "{}:{line}: kktoken has no effect beside keycloakUrl: the token exchange counts, as it did in the 2020 controller; remove kktoken",
        .path.display()
    )]
    LeftoverToken {
        /// The cloud config.
        path: PathBuf,
        /// Where the token is; from 1.
        line: usize,
    },
    /// A flag of upstream's that means nothing here.
    #[error("--{flag} has no effect: {why}")]
    FlagWithoutEffect {
        /// Its name.
        flag: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// A version of TLS that there is not any more.
    #[error("--tls-min-version is {found:?}: the oldest version here is VersionTLS12")]
    OldTls {
        /// As given.
        found: String,
    },
    /// `--controllers` names a controller that this program does not have.
    #[error("{name} does not exist yet and starts nothing")]
    ControllerNotHere {
        /// Its name.
        name: &'static str,
    },
    /// `--controllers` leaves nothing to do.
    #[error("--controllers selects nothing that exists: this program will do nothing")]
    NothingToRun,
}

fn with(before: &str, text: Option<&str>) -> String {
    text.map(|text| format!("{before}{text}")).unwrap_or_default()
}

/// `: did you mean …?`, with `dashes` before the name.
fn suggestion(dashes: &str, nearest: Option<&str>) -> String {
    nearest
        .map(|nearest| format!(": did you mean {dashes}{nearest}?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::chain;

    fn load_with(args: &[&str], cloud_config: &str) -> Result<Start, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cloud-config");
        std::fs::write(&path, cloud_config).unwrap();
        let path = format!("--cloud-config={}", path.display());
        load(args.iter().copied().chain([&*path]).map(OsString::from))
    }

    #[test]
    fn a_command_line_and_a_file_make_a_config() {
        let start = load_with(
            &["--cloud-provider=incloud", "--v=2"],
            "slbUrl-pre=https://x/slbs\nkktoken=t\nzoen=a\n",
        );
        match start {
            Ok(Start::Run { config, warnings }) => {
                assert_eq!(
                    (config.flags.verbosity, &*config.cloud.slb_url),
                    (2, "https://x/slbs")
                );
                assert!(
                    warnings[0]
                        .to_string()
                        .ends_with("unknown key zoen: did you mean zone?"),
                    "{warnings:?}"
                );
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn faults_of_flags_and_file_come_together() {
        let failure = load_with(
            &["--v=x", "--cloud-provider="],
            "slbUrl-pr=https://x/slbs\nkktoken=t\n",
        )
        .unwrap_err();
        let texts: Vec<_> = failure.errors.iter().map(|error| chain(error)).collect();
        assert_eq!(texts.len(), 3, "{texts:?}");
        assert!(texts[0].starts_with("--v is"), "{texts:?}");
        assert!(
            texts[1].starts_with("--cloud-provider cannot be empty"),
            "{texts:?}"
        );
        assert!(texts[2].contains("slbUrl-pre is missing"), "{texts:?}");
        assert_eq!(failure.warnings.len(), 1, "{:?}", failure.warnings);
    }

    #[test]
    fn a_check_gets_what_is_right_and_what_is_wrong() {
        let good = "slbUrl-pre=https://x/slbs\nkktoken=t\n";
        for (case, args, cloud_config, wrong) in [
            ("all is well", &["check-config"][..], good, &[][..]),
            ("after the flags", &["--profiling", "check-config"], good, &[]),
            ("a flag", &["check-config", "--v=x"], good, &["--v is"]),
            (
                "both",
                &["--v=x", "check-config"],
                "kktoken=t\n",
                &["--v is", "slbUrl-pre is missing"],
            ),
        ] {
            let cloud_config = format!("{cloud_config}zoen=a\n");
            let Ok(Start::Check { config, warnings }) = load_with(args, &cloud_config) else {
                panic!("{case}");
            };
            let failure = config.err();
            let errors = failure.iter().flat_map(|failure| &failure.errors);
            let texts: Vec<_> = errors.map(|error| chain(error)).collect();
            assert_eq!(texts.len(), wrong.len(), "{case}: {texts:?}");
            for (text, wrong) in texts.iter().zip(wrong) {
                assert!(text.contains(wrong), "{case}: {texts:?}");
            }
            assert_eq!(warnings.len(), 1, "{case}: {warnings:?}");
            assert!(
                failure.is_none_or(|failure| failure.warnings.is_empty()),
                "{case}: said once"
            );
        }
    }

    #[test]
    fn help_and_version_are_printed() {
        for (arg, want) in [
            ("--help", "Usage:"),
            ("--version", "inspur-cloud-controller-manager v"),
        ] {
            match load([OsString::from(arg)]) {
                Ok(Start::Print(text)) => assert!(text.contains(want) && text.ends_with('\n'), "{text}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
