//! What came of looking whether something that is configured has changed.

/// The outcome of one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reloaded {
    /// Nothing new since the last look.
    #[default]
    Unchanged,
    /// What is there now is in use; also when it came back to that after a version that was refused.
    Changed,
    /// What is there now cannot be used, and what was there before goes on. Said once of each version.
    Refused,
    /// Some of what is there now counts only after a restart. Said once of each version.
    NeedsRestart,
}
