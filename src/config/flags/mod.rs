//! The command line, as Go's flag libraries read it.
//!
//! `--flag=value` and `--flag value` are the same, except for booleans, whose value must be joined by `=`; an underscore in a
//! name counts as a hyphen; of a repeated flag the last value counts, and lists grow. Everything that is wrong is reported.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, Parser};

use super::Warning;
use super::controllers::Selection;
use super::nearest::nearest;
use super::values;
use crate::logging::{Format, Modules};
use crate::{leader_election, serve};

mod access;
mod election;
mod error;
pub(super) mod help;
mod resolve;
pub(super) mod serving;
pub mod table;

pub use error::Error;
use table::{Effect, FLAGS, Flag, Kind};

/// What the command line says, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Flags {
    /// Where the Kubernetes API is and who we are; `None` for in-cluster.
    pub kubeconfig: Option<PathBuf>,
    /// Overrides the address in the kubeconfig.
    pub master: Option<String>,
    /// The cloud config's file.
    pub cloud_config: PathBuf,
    /// The cluster's name.
    pub cluster_name: String,
    /// Which controllers run.
    pub controllers: Selection,
    /// Workers of the service controller; at least one.
    pub concurrent_service_syncs: usize,
    /// Workers of the node controller; at least one.
    pub concurrent_node_syncs: usize,
    /// Threads that refresh addresses; at least one.
    pub concurrent_node_status_updates: usize,
    /// Between two refreshes of addresses.
    pub node_status_update_frequency: Duration,
    /// Between two looks at Nodes that are not Ready.
    pub node_monitor_period: Duration,
    /// No younger Node is deleted.
    pub node_startup_grace_period: Duration,
    /// Answers that have to lack an instance; at least one.
    pub node_deletion_confirmations: u32,
    /// Share of the Nodes, in percent; 0 for no brake.
    pub node_deletion_brake_percent: u32,
    /// How long a Node counts for the brake.
    pub node_deletion_brake_window: Duration,
    /// The least time between two full re-syncs; zero for none.
    pub min_resync_period: Duration,
    /// Requests to the Kubernetes API a second; `None` for no limit.
    pub kube_api_qps: Option<f64>,
    /// Requests to it at once before `kube_api_qps` limits them; at least one.
    pub kube_api_burst: u32,
    /// Between the starts of two controllers, at least; at most twice that.
    pub controller_start_interval: Duration,
    /// Whether each controller writes as a service account of its own.
    pub use_service_account_credentials: bool,
    /// Which lease to hold while controllers run; `None` for none.
    pub election: Option<leader_election::Options>,
    /// How the HTTPS endpoint is served; `None` for no endpoint.
    pub serving: Option<serve::Options>,
    /// Whether `/debug/flags/v` answers.
    pub profiling: bool,
    /// How much is logged: see [`crate::logging::levels`].
    pub verbosity: u32,
    /// Which modules log more.
    pub vmodule: Modules,
    /// How it is logged.
    pub logging_format: Format,
}

/// What the program is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Its job.
    Run,
    /// Say whether it could.
    CheckConfig,
}

/// The word for [`Command::CheckConfig`].
pub const CHECK_CONFIG: &str = "check-config";

/// What the command line asks for.
#[derive(Debug)]
pub enum Parsed {
    /// `--help`, whatever else is wrong.
    Help,
    /// `--version`, likewise.
    Version,
    /// To do something with what the flags say.
    Do {
        /// What.
        command: Command,
        /// The flags, or everything that is wrong with them.
        flags: Result<Box<Flags>, Vec<Error>>,
        /// The cloud config's file, also when something else is wrong.
        cloud_config: Option<PathBuf>,
        /// What is suspicious.
        warnings: Vec<Warning>,
    },
}

/// Reads the arguments that follow the program's name.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Parsed {
    let mut given = Given::default();
    given.read(Parser::from_args(args));
    if given.is_true("help") {
        return Parsed::Help;
    }
    if given.is_true("version") {
        return Parsed::Version;
    }
    let mut warnings = given.without_effect();
    let cloud_config = given.non_empty("cloud-config").map(PathBuf::from);
    let flags = given.resolve(cloud_config.clone().unwrap_or_default(), &mut warnings);
    Parsed::Do {
        command: given.command.unwrap_or(Command::Run),
        flags: if given.errors.is_empty() {
            Ok(Box::new(flags))
        } else {
            Err(given.errors)
        },
        cloud_config,
        warnings,
    }
}

/// The values of each flag as given, those not allowed left out.
#[derive(Default)]
struct Given {
    values: BTreeMap<&'static str, Vec<String>>,
    command: Option<Command>,
    errors: Vec<Error>,
}

impl Given {
    fn read(&mut self, mut parser: Parser) {
        let mut boolean = None;
        loop {
            let before = boolean.take();
            match parser.next() {
                Ok(None) => return,
                Ok(Some(Arg::Long(name))) => {
                    let name = name.replace('_', "-");
                    match find(&name) {
                        Some(flag) => boolean = self.value(flag, &mut parser),
                        None => {
                            let _ = guess_value(&mut parser);
                            let nearest = nearest(&name, names());
                            self.errors.push(Error::Unknown { flag: name, nearest });
                        }
                    }
                }
                Ok(Some(Arg::Short(letter))) => self.short(letter, &mut parser),
                // upstream takes an empty argument for none
                Ok(Some(Arg::Value(value))) if value.is_empty() => {}
                Ok(Some(Arg::Value(value))) if value == CHECK_CONFIG && self.command.is_none() => {
                    self.command = Some(Command::CheckConfig);
                }
                Ok(Some(Arg::Value(value))) => {
                    let found = value.to_string_lossy().into_owned();
                    let nearest = nearest(&found, [CHECK_CONFIG]).filter(|_| self.command.is_none());
                    self.errors.push(Error::Positional {
                        found,
                        nearest,
                        boolean: before,
                    });
                }
                Err(_) => unreachable!("every flag's value is taken at once"),
            }
        }
    }

    /// Takes the flag's value. Answers a boolean's name if it had none.
    fn value(&mut self, flag: &'static Flag, parser: &mut Parser) -> Option<&'static str> {
        let joined = parser.optional_value();
        let alone = flag.kind == Kind::Bool && joined.is_none();
        let value = match joined {
            _ if alone => OsString::from("true"),
            Some(value) => value,
            None => match parser.value() {
                Ok(value) => value,
                Err(_) => {
                    self.errors.push(Error::NoValue { flag: flag.name });
                    return None;
                }
            },
        };
        self.put(flag, value);
        alone.then_some(flag.name)
    }

    fn put(&mut self, flag: &'static Flag, value: OsString) {
        let checked = match value.into_string() {
            Ok(value) => flag
                .kind
                .check(&value)
                .map_err(|allowed| (value.clone(), allowed))
                .map(|()| value),
            Err(value) => Err((value.to_string_lossy().into_owned(), "must be UTF-8".to_owned())),
        };
        match checked {
            Ok(value) => self.values.entry(flag.name).or_default().push(value),
            Err((found, allowed)) => self.errors.push(Error::Value {
                flag: flag.name,
                found,
                allowed,
            }),
        }
    }

    /// A letter, or a long name with one dash missing: `-v3`, `-h`, `-kubeconfig=x`.
    fn short(&mut self, letter: char, parser: &mut Parser) {
        let rest = parser
            .optional_value()
            .map(|rest| rest.to_string_lossy().into_owned());
        let joined = format!("{letter}{}", rest.as_deref().unwrap_or_default());
        let name = joined.split('=').next().unwrap_or_default().replace('_', "-");
        let known = FLAGS.iter().find(|flag| flag.short == Some(letter));
        match (known, rest) {
            _ if name.chars().count() > 1 && find(&name).is_some() => {
                if !joined.contains('=') {
                    let _ = guess_value(parser);
                }
                let nearest = find(&name).map(|flag| flag.name);
                self.errors.push(Error::UnknownShort { flag: name, nearest });
            }
            (Some(flag), Some(rest)) => self.put(flag, rest.into()),
            (Some(flag), None) => {
                self.value(flag, parser);
            }
            (None, _) => {
                let _ = guess_value(parser);
                let nearest = nearest(&name, names());
                self.errors.push(Error::UnknownShort { flag: name, nearest });
            }
        }
    }

    fn last(&self, name: &'static str) -> &str {
        let flag = find(name).expect("the table has every flag that is read");
        self.values
            .get(name)
            .and_then(|values| values.last())
            .map_or(flag.default, String::as_str)
    }

    fn is_true(&self, name: &'static str) -> bool {
        values::boolean(self.last(name)).unwrap_or_default()
    }

    fn non_empty(&self, name: &'static str) -> Option<String> {
        Some(self.last(name).to_owned()).filter(|value| !value.is_empty())
    }

    fn number<T: std::str::FromStr>(&self, name: &'static str) -> T {
        let number = self.last(name).parse().ok();
        number.expect("the table allows only what fits")
    }

    /// A list's entries: by comma, and by repeating the flag.
    fn list(&self, name: &'static str) -> Vec<String> {
        let flag = find(name).expect("the table has every flag that is read");
        let default = [flag.default.to_owned()];
        let lists = self.values.get(name).map_or(&default[..], Vec::as_slice);
        let entries = lists
            .iter()
            .filter(|list| !list.is_empty())
            .flat_map(|list| list.split(','));
        entries.map(|entry| entry.trim().to_owned()).collect()
    }

    /// The values, one by one as given.
    fn every(&self, name: &'static str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// Likewise, in one piece.
    fn as_given(&self, name: &'static str) -> String {
        self.every(name).join(",")
    }

    fn without_effect(&self) -> Vec<Warning> {
        let given = FLAGS.iter().filter(|flag| self.values.contains_key(flag.name));
        given
            .filter_map(|flag| match flag.effect {
                Effect::Works(_) => None,
                Effect::Meaningless(why) => Some(Warning::FlagWithoutEffect {
                    flag: flag.name,
                    why: why.en,
                }),
            })
            .collect()
    }
}

fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name)
}

fn names() -> impl Iterator<Item = &'static str> {
    FLAGS.iter().map(|flag| flag.name)
}

/// Takes what seems to be the value of a flag that nobody knows, so that it is not reported as well.
fn guess_value(parser: &mut Parser) -> Option<OsString> {
    parser.optional_value().or_else(|| {
        let mut following = parser.try_raw_args()?;
        following.next_if(|argument| !argument.to_string_lossy().starts_with('-'))
    })
}

#[cfg(test)]
mod tests;
