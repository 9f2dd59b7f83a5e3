//! What is made from the tables: the reference pages, the man page, what shells complete; and the tests that nothing of it is stale.
//!
//! A page is a plain value, so that any table can have one: make a [`Page`] in both languages and hand it to [`check`]. Another
//! file is a text for [`fresh`].

mod annotations;
mod cloud_config;
mod completions;
mod events;
mod examples;
mod flags;
mod links;
mod man;
mod metrics;

use std::fmt::Write as _;
use std::path::Path;

use crate::runtime::sentence::Sentence;

/// How to make the pages anew.
const COMMAND: &str = "UPDATE_DOCS=1 cargo test --lib config::docs";

/// A language of the docs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    English,
    Chinese,
}

impl Language {
    pub(crate) const ALL: [Self; 2] = [Self::English, Self::Chinese];

    /// The sentence in this language.
    pub(crate) fn of(self, sentence: Sentence) -> &'static str {
        match self {
            Self::English => sentence.en,
            Self::Chinese => sentence.zh,
        }
    }
}

/// A page of the reference in one language.
pub(crate) struct Page {
    pub(crate) title: &'static str,
    /// Markdown.
    pub(crate) intro: &'static str,
    pub(crate) sections: Vec<Section>,
}

/// A table under a heading.
pub(crate) struct Section {
    pub(crate) heading: &'static str,
    /// Markdown; may be empty.
    pub(crate) intro: &'static str,
    pub(crate) columns: Vec<&'static str>,
    /// Cells, made by [`code`], [`codes`] and [`prose`].
    pub(crate) rows: Vec<Vec<String>>,
}

/// A cell of code; empty for nothing.
pub(crate) fn code(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    format!("`{}`", text.replace('|', "\\|"))
}

/// A cell of several codes.
pub(crate) fn codes<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    texts.into_iter().map(code).collect::<Vec<_>>().join(", ")
}

/// A cell of a sentence.
pub(crate) fn prose(text: &str) -> String {
    text.replace('|', "\\|").replace('*', "\\*")
}

impl Page {
    /// As Markdown. `name` is the file's, to link the page's twin in the other language.
    pub(crate) fn markdown(&self, language: Language, name: &str) -> String {
        let twin = match language {
            Language::English => format!("[中文](../zh/reference/{name}.md)"),
            Language::Chinese => format!("[English](../../reference/{name}.md)"),
        };
        let mut page = format!(
            "<!-- Made by `{COMMAND}` from the tables in src/: change those. -->\n\n# {}\n\n{twin}\n\n{}\n",
            self.title,
            self.intro.trim()
        );
        for section in &self.sections {
            section.write(&mut page);
        }
        page
    }
}

impl Section {
    fn write(&self, page: &mut String) {
        // writing to memory does not fail
        let _ = write!(page, "\n## {}\n\n", self.heading);
        if !self.intro.is_empty() {
            let _ = write!(page, "{}\n\n", self.intro.trim());
        }
        let _ = writeln!(page, "| {} |", self.columns.join(" | "));
        let _ = writeln!(page, "|{}", "---|".repeat(self.columns.len()));
        for row in &self.rows {
            let _ = writeln!(page, "| {} |", row.join(" | "));
        }
    }
}

/// Compares `docs/reference/{name}.md` and its Chinese twin with what `page` makes of each language; writes them when
/// `UPDATE_DOCS` is set.
///
/// # Panics
/// A page is stale or missing; the message says which command to run.
pub(crate) fn check(name: &str, page: impl Fn(Language) -> Page) {
    for language in Language::ALL {
        let folder = match language {
            Language::English => "docs/reference",
            Language::Chinese => "docs/zh/reference",
        };
        fresh(
            &format!("{folder}/{name}.md"),
            &page(language).markdown(language, name),
        );
    }
}

/// Compares a file of the repository with what it should say; writes it when `UPDATE_DOCS` is set.
///
/// # Panics
/// The file is stale or missing; the message says which command to run.
fn fresh(file: &str, want: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().expect("the file is in a folder"))
            .expect("docs can be written");
        std::fs::write(&path, want).expect("docs can be written");
    } else {
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == want, "{file} is stale: run `{COMMAND}`");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_cannot_break_their_table() {
        let page = Page {
            title: "T",
            intro: "I\n",
            sections: vec![Section {
                heading: "H",
                intro: "",
                columns: vec!["A", "B"],
                rows: vec![
                    vec![code("a|b"), prose("'*' or | x")],
                    vec![code(""), codes(["c", "d"])],
                ],
            }],
        };
        let markdown = page.markdown(Language::English, "t");
        assert!(
            markdown.ends_with("# T\n\n[中文](../zh/reference/t.md)\n\nI\n\n## H\n\n| A | B |\n|---|---|\n| `a\\|b` | '\\*' or \\| x |\n|  | `c`, `d` |\n"),
            "{markdown}"
        );
    }
}
