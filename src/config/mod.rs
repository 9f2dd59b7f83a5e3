//! What the operator wants: the command line and the cloud config, checked and typed.

use std::path::PathBuf;

pub mod cloud_config;
mod nearest;
mod values;

/// A sentence of the reference, in both languages of the docs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sentence {
    /// In English.
    pub en: &'static str,
    /// In Chinese.
    pub zh: &'static str,
}

impl Sentence {
    /// The same thing said twice.
    pub const fn new(en: &'static str, zh: &'static str) -> Self {
        Self { en, zh }
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
