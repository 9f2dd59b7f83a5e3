//! What can be wrong with a cloud config. No variant holds any of a secret's text.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::runtime::secret_source;

/// One thing that is wrong, and where.
#[derive(Debug)]
pub struct Error {
    /// The cloud config.
    pub path: PathBuf,
    /// From 1; `None` when it is about the file as a whole.
    pub line: Option<usize>,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a cloud config.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Missing, a directory, no permission.
    #[error("cannot read the cloud config")]
    Unreadable(#[source] io::Error),
    /// Larger than any cloud config, or not UTF-8 and not `key=value` lines either.
    #[error("this is no cloud config: it must be a text file of at most 1 MiB")]
    NotText,
    /// Nothing but blank lines and comments, as the file that a `FileOrCreate` volume makes.
    #[error("the cloud config is empty: it needs slbUrl-pre and a way to a token")]
    Empty,
    /// In YAML: what is no mapping of keys to values.
    #[error("{reason}")]
    Yaml {
        /// Why not.
        reason: String,
    },
    /// The value is a list or mapping.
    #[error("{key} must have a plain value")]
    NotPlain {
        /// The key.
        key: &'static str,
    },
    /// In YAML: one key twice, perhaps in two spellings.
    #[error("{key} is already given in line {first}")]
    Duplicate {
        /// The key.
        key: &'static str,
        /// Where it was given before.
        first: usize,
    },
    /// The key's value is not allowed.
    #[error("{key}{}: it {allowed}", Shown(.found))]
    Value {
        /// The key.
        key: &'static str,
        /// What was found; `None` where it must not be shown.
        found: Option<String>,
        /// What is allowed, after the word "it".
        allowed: String,
    },
    /// A file with a secret is not acceptable.
    #[error("{key}: the secret cannot be used")]
    Secret {
        /// The key.
        key: &'static str,
        /// Why.
        #[source]
        source: secret_source::Error,
    },
    /// A key that is needed is not there, or empty.
    #[error("{keys} is missing: {why}")]
    Missing {
        /// The key to add, or a choice of keys.
        keys: &'static str,
        /// What it is needed for.
        why: &'static str,
    },
    /// No way to a token.
    #[error("no way to a token is configured: add {ways}")]
    NoCredentials {
        /// The keys of each way.
        ways: String,
    },
    /// More than one way to a token.
    #[error("exactly one way to a token may be configured, but there are {found}: remove all but one")]
    SeveralCredentials {
        /// The keys that were found, by way.
        found: String,
    },
    /// Two keys that say the same, such as a secret and a file for it.
    #[error("{key} and {other} exclude each other: remove one")]
    Exclusive {
        /// One key.
        key: &'static str,
        /// The other.
        other: &'static str,
    },
    /// What no annotation could hold either.
    #[error("{key}: {reason}")]
    Default {
        /// The key.
        key: &'static str,
        /// What was found, and what is allowed.
        reason: String,
    },
}

/// `is "…"`, cut where it is long; nothing for what must not be shown.
struct Shown<'a>(&'a Option<String>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(found) = self.0 else { return Ok(()) };
        match found.char_indices().nth(80) {
            Some((end, _)) => write!(f, " is {:?}…", &found[..end]),
            None => write!(f, " is {found:?}"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.problem)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.problem)
    }
}
