//! How bad a line is, said to systemd's journal: `<3>` before an error and so on, which it takes off again, so that
//! `journalctl --priority` finds what it should. Source: sd-daemon(3); for `JOURNAL_STREAM`, systemd.exec(5).

use std::env;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::sync::OnceLock;

use log::Level;

/// What stands before a line of that level: nothing, where standard error leads to anything but the journal.
pub fn priority(level: Level) -> &'static str {
    static JOURNAL: OnceLock<bool> = OnceLock::new();
    match level {
        _ if !*JOURNAL.get_or_init(is_stderr) => "",
        Level::Error => "<3>",
        Level::Warn => "<4>",
        Level::Info => "<6>",
        Level::Debug | Level::Trace => "<7>",
    }
}

/// Whether standard error is the journal: `JOURNAL_STREAM` may also be about an ancestor's.
fn is_stderr() -> bool {
    let about = || File::from(io::stderr().as_fd().try_clone_to_owned()?).metadata();
    match (env::var("JOURNAL_STREAM"), about()) {
        (Ok(stream), Ok(about)) => stream == format!("{}:{}", about.dev(), about.ino()),
        _ => false,
    }
}
