//! What was found, as a table in plain text. Pure.

use std::fmt::{self, Write as _};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It will work, but somebody should look at it.
    Warning,
    /// It will not work.
    Failed,
    /// It could not be told.
    Skipped,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "FAILED",
            Self::Skipped => "skipped",
        }
    }
}

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What.
    pub check: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it; empty where there is nothing to do.
    pub advice: String,
}

impl Row {
    pub(super) fn new(verdict: Verdict, check: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            verdict,
            found: found.into(),
            advice: String::new(),
        }
    }

    pub(super) fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(Verdict::Ok, check, found)
    }

    pub(super) fn warning(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(Verdict::Warning, check, found)
    }

    pub(super) fn failed(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(Verdict::Failed, check, found)
    }

    pub(super) fn skipped(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(Verdict::Skipped, check, found)
    }

    pub(super) fn advice(self, advice: impl Into<String>) -> Self {
        Self {
            advice: advice.into(),
            ..self
        }
    }
}

/// All that was checked, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Table(pub(super) Vec<Row>);

impl Table {
    /// Whether nothing failed.
    pub(super) fn is_good(&self) -> bool {
        self.count(Verdict::Failed) == 0
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.0.iter().filter(|row| row.verdict == verdict).count()
    }
}

/// Words from outside are kept on their line: they may come from anybody.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |row: &Row| row.check.chars().count();
        let first = self.0.iter().map(width).max().unwrap_or_default().max(5);
        let second = "skipped".len();
        writeln!(f, "{:first$}  {:second$}  FOUND", "CHECK", "RESULT")?;
        for row in &self.0 {
            let (check, verdict) = (&row.check, row.verdict.word());
            let mut line = String::new();
            write!(
                line,
                "{check:first$}  {verdict:second$}  {}",
                one_line(&row.found)
            )?;
            writeln!(f, "{}", line.trim_end())?;
            if !row.advice.is_empty() {
                writeln!(
                    f,
                    "{:indent$}-> {}",
                    "",
                    one_line(&row.advice),
                    indent = first + second + 4
                )?;
            }
        }
        let count = |verdict| self.count(verdict);
        writeln!(
            f,
            "\n{} failed, {} to look at, {} ok, {} skipped",
            count(Verdict::Failed),
            count(Verdict::Warning),
            count(Verdict::Ok),
            count(Verdict::Skipped)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_aligned_and_told_what_to_do() {
        let table = Table(vec![
            Row::ok("flags", ""),
            Row::failed("permission: nodes", "may not\npatch").advice("apply deploy/rbac.yaml"),
            Row::skipped("who we are", "not served"),
            Row::warning("ä", "late"),
        ]);
        let want = "\
CHECK              RESULT   FOUND
flags              ok
permission: nodes  FAILED   may not patch
                            -> apply deploy/rbac.yaml
who we are         skipped  not served
ä                  warning  late

1 failed, 1 to look at, 1 ok, 1 skipped
";
        assert_eq!(table.to_string(), want);
        assert!(!table.is_good() && Table(vec![Row::warning("a", "b")]).is_good());
    }
}
