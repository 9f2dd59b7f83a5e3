//! What can be wrong with a command line.

/// One thing that is wrong with the command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No flag has that name.
    #[error("unknown flag --{flag}{}", crate::config::suggestion("--", *.nearest))]
    Unknown {
        /// As given, without dashes.
        flag: String,
        /// What may have been meant.
        nearest: Option<&'static str>,
    },
    /// No flag has that letter; perhaps a dash is missing.
    #[error("unknown flag -{flag}{}", crate::config::suggestion("--", *.nearest))]
    UnknownShort {
        /// As given, without its dash.
        flag: String,
        /// What may have been meant.
        nearest: Option<&'static str>,
    },
    /// The command line ends where a value should be.
    #[error("--{flag} needs a value")]
    NoValue {
        /// Its name.
        flag: &'static str,
    },
    /// The value is not allowed.
    #[error("--{flag} is {found:?}: it {allowed}")]
    Value {
        /// Its name.
        flag: &'static str,
        /// As given.
        found: String,
        /// What is allowed, after the word "it".
        allowed: String,
    },
    /// The flag must be given, with a value that is not empty.
    #[error("--{flag} cannot be empty: {why}")]
    Empty {
        /// Its name.
        flag: &'static str,
        /// What it must say.
        why: &'static str,
    },
    /// An argument that is no flag.
    #[error("unexpected argument {found:?}{}{}", crate::config::suggestion("", *.nearest), .boolean.map(|flag| format!(": to set --{flag}, write --{flag}={found}")).unwrap_or_default())]
    Positional {
        /// As given.
        found: String,
        /// The command that may have been meant.
        nearest: Option<&'static str>,
        /// The boolean flag before it, whose value it may have been meant to be.
        boolean: Option<&'static str>,
    },
    /// Something else than a Lease is to be held, while there is an election. The reason is upstream's.
    #[error("--leader-elect-resource-lock is {found:?}: resourceLock value must be \"leases\"")]
    ResourceLock {
        /// As given.
        found: String,
    },
    /// `--controllers` has a name that no controller has.
    #[error("{name:?} is not in the list of known controllers{}", crate::config::suggestion("", *.nearest))]
    UnknownController {
        /// As given, without its minus.
        name: String,
        /// What may have been meant.
        nearest: Option<&'static str>,
    },
}
