//! What every thread of the daemon stands on: time, stopping, who may write, spawning, waiting longer after each failure, chance, secrets,
//! files that change, sentences in two languages, YAML, what a certificate says, what the system knows of the process and what it is told.
//!
//! Knows nothing else of ours but [`crate::metrics`]; everyone may use it.

pub mod backoff;
pub mod clock;
pub mod gate;
pub mod json;
pub mod process;
pub mod random;
pub mod reload;
pub mod secret;
pub mod secret_source;
pub mod sentence;
pub mod service_manager;
pub mod stop;
pub mod supervise;
pub mod watched_file;
pub mod x509;
pub mod yaml;

use std::hash::{DefaultHasher, Hash, Hasher};

/// Tells what is there now from what was there before. Good within one run of the program, and against chance, not malice.
pub fn fingerprint(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// `error` and its causes in one clause: for a log line or an Event.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
