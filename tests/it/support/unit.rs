//! A systemd unit as text: its settings, and the command that its `ExecStart` stands for.

use std::path::Path;
use std::process::Command;

/// The values of a setting, in order.
pub fn values<'a>(unit: &'a str, setting: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    lines
        .filter(move |(name, _)| *name == setting)
        .map(|(_, value)| value)
}

/// The value of a setting that is there.
pub fn value<'a>(unit: &'a str, setting: &'a str) -> &'a str {
    let value = values(unit, setting).next();
    value.unwrap_or_else(|| panic!("the unit has no {setting}"))
}

/// What the unit starts: `program` in the place of the one that it names, credentials in `folder`, `args` as the environment file has them.
pub fn exec_start(unit: &str, program: &dyn Fn(&str) -> String, folder: &Path, args: &str) -> Command {
    let line = value(unit, "ExecStart");
    let line = line
        .replace("${CREDENTIALS_DIRECTORY}", &folder.display().to_string())
        .replace("$ARGS", args);
    let mut words = line.split_whitespace();
    let mut command = Command::new(program(words.next().expect("it names a program")));
    command.args(words).env("CREDENTIALS_DIRECTORY", folder);
    command
}
