//! What people read in either language of the docs.

/// The same thing said in both languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sentence {
    /// In English; `--help` and errors show this one.
    pub en: &'static str,
    /// In Chinese.
    pub zh: &'static str,
}

impl Sentence {
    /// The same thing said twice.
    pub const fn new(en: &'static str, zh: &'static str) -> Self {
        Self { en, zh }
    }

    /// What reads alike in both: names, numbers.
    pub const fn same(text: &'static str) -> Self {
        Self::new(text, text)
    }
}
