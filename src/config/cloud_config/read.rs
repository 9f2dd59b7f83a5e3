//! The file's text → its entries, in either of two formats.
//!
//! A file in which a line begins with a known key and `=` is the old controller's `key=value` lines, whatever else is in it: the
//! old controller took what it knew. In any other file the first line that is neither blank, a comment (`#`, `;`) nor a section
//! (`[Global]`) decides: if its first `=` comes before its first `:`, or it has neither, the file is such lines, too. Else, or
//! when it begins with `---`, `{` or `%`, it is YAML: one mapping of the same keys to plain values.

use super::keys;
use crate::runtime::yaml::{self, Data};

/// What is in the file.
pub(super) enum Contents {
    /// `key=value` lines.
    Lines {
        /// In the file's order.
        entries: Vec<Entry>,
        /// Lines that mean nothing, from 1. They may be pieces of a secret that was broken up.
        skipped: Vec<usize>,
    },
    /// All of it, or none.
    Yaml(Result<Vec<Entry>, BadYaml>),
}

/// A key as written, and its value. Has no `Debug`: the value may be secret.
pub(super) struct Entry {
    /// From 1.
    pub(super) line: usize,
    /// As written.
    pub(super) key: String,
    /// `None` when it is a list or mapping.
    pub(super) value: Option<String>,
}

/// Why this is not the YAML that is wanted. Never shows any of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadYaml {
    /// From 1.
    pub(super) line: usize,
    /// Why it is not acceptable.
    pub(super) reason: String,
}

/// Reads `text` in the format that it is in.
pub(super) fn contents(text: &str) -> Contents {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if !gives_a_key(text) && is_yaml(text) {
        Contents::Yaml(from_yaml(text))
    } else {
        from_lines(text)
    }
}

/// Whether a line begins with a known key and `=`. No YAML that is a mapping has such a line: what continues a value is indented.
pub(super) fn gives_a_key(text: &str) -> bool {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .any(|(key, _)| keys::find(key.trim_end()).is_some())
}

/// Lines that mean something, numbered from 1.
fn meaningful(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()));
    lines.filter(|(_, line)| {
        let section = line.starts_with('[') && line.ends_with(']');
        !line.is_empty() && !line.starts_with(['#', ';']) && !section
    })
}

fn is_yaml(text: &str) -> bool {
    let Some((_, line)) = meaningful(text).next() else {
        return false;
    };
    let marked = ["---", "{", "%"].iter().any(|mark| line.starts_with(mark));
    marked
        || line
            .find([':', '='])
            .is_some_and(|at| line[at..].starts_with(':'))
}

/// Text around key and value is trimmed; a value may hold `=`, and quotes are part of it.
/// Source: OpenInspur/cloud-provider-inspur, cloud-controller-manager/pkg/incloud.go, LoadCloudCfg (it did not trim, knew comments by
/// a `#` in the first column only, and passed over every line without `=` or with another key).
fn from_lines(text: &str) -> Contents {
    let (mut entries, mut skipped) = (Vec::new(), Vec::new());
    for (line, text) in meaningful(text) {
        match text.split_once('=') {
            Some((key, value)) if is_key(key.trim()) => entries.push(Entry {
                line,
                key: key.trim().to_owned(),
                value: Some(value.trim().to_owned()),
            }),
            _ => skipped.push(line),
        }
    }
    Contents::Lines { entries, skipped }
}

fn from_yaml(text: &str) -> Result<Vec<Entry>, BadYaml> {
    let node = yaml::parse_spanned(text).map_err(|e| BadYaml {
        line: e.line,
        reason: format!("not valid YAML: column {}: {}", e.column, e.reason),
    })?;
    let Data::Map(pairs) = node.data else {
        return Err(BadYaml {
            line: node.line,
            reason: "the file must be one mapping of keys to values".to_owned(),
        });
    };
    let entry = |(key, node): (yaml::Key, yaml::Node)| Entry {
        line: key.line,
        key: key.text,
        value: match node.data {
            Data::Null => Some(String::new()),
            Data::Text(text) => Some(text),
            Data::List(_) | Data::Map(_) => None,
        },
    };
    Ok(pairs.into_iter().map(entry).collect())
}

/// Whether `text` looks like a key at all, and not like a piece of something else.
pub(super) fn is_key(text: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=64).contains(&text.len()) && text.chars().all(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Line, key, value.
    type Row = (usize, String, Option<String>);

    /// The entries, and the lines that mean nothing or are no YAML.
    fn read(text: &str) -> (Vec<Row>, Vec<usize>) {
        let (entries, lines) = match contents(text) {
            Contents::Lines { entries, skipped } => (entries, skipped),
            Contents::Yaml(Ok(entries)) => (entries, Vec::new()),
            Contents::Yaml(Err(bad)) => (Vec::new(), vec![bad.line]),
        };
        (
            entries.into_iter().map(|e| (e.line, e.key, e.value)).collect(),
            lines,
        )
    }

    #[test]
    fn both_formats_give_the_same_entries() {
        let some = |line, key: &str, value: &str| (line, key.to_owned(), Some(value.to_owned()));
        for (case, text, want) in [
            (
                "the old file",
                "# old\n\nslbUrl-pre=https://x/slbs\nkktoken=abc\n",
                vec![some(3, "slbUrl-pre", "https://x/slbs"), some(4, "kktoken", "abc")],
            ),
            (
                "a section above",
                "[Global]\r\nkktoken = a:b \r\n; c\r\nzone=\r\n",
                vec![some(2, "kktoken", "a:b"), some(4, "zone", "")],
            ),
            (
                "a value with =",
                "client-secret=a=b==",
                vec![some(1, "client-secret", "a=b==")],
            ),
            (
                "quotes are part of it",
                "zone=\"a\"",
                vec![some(1, "zone", "\"a\"")],
            ),
            ("a byte-order mark", "\u{feff}zone=a", vec![some(1, "zone", "a")]),
            (
                "YAML",
                "# new\nslbUrl-pre: https://x/slbs?a=b\nkktoken: \"a=b\"\nzone:\n",
                vec![
                    some(2, "slbUrl-pre", "https://x/slbs?a=b"),
                    some(3, "kktoken", "a=b"),
                    some(4, "zone", ""),
                ],
            ),
            (
                "YAML with a start",
                "---\nhealth-check: off",
                vec![some(2, "health-check", "off")],
            ),
            (
                "YAML in one line",
                "{zone: a, region: b}",
                vec![some(1, "zone", "a"), some(1, "region", "b")],
            ),
            (
                "a list in YAML",
                "zone: a\nregion:\n- b",
                vec![some(1, "zone", "a"), (2, "region".to_owned(), None)],
            ),
            ("nothing", "\n# only this\n", vec![]),
        ] {
            assert_eq!(read(text), (want, vec![]), "{case}");
        }
    }

    #[test]
    fn a_line_that_gives_a_known_key_decides_for_lines() {
        for (case, text, want) in [
            ("a remark above", "cluster: prod\nslbUrl-pre=https://x\n", true),
            ("an unused key with :", "kktoken: t\nzone = a\n", true),
            ("an unknown key above", "a: b\nzoen=a\n", false),
            ("in a value", "zone: a\nregion: zone=a\n", false),
            ("in a broken value", "zone: >\n  zone=a\n", false),
            ("in a comment", "# zone=a\nzone: a\n", false),
        ] {
            assert_eq!(matches!(contents(text), Contents::Lines { .. }), want, "{case}");
        }
    }

    #[test]
    fn a_line_that_is_no_entry_is_reported_by_number() {
        for (case, text, want) in [
            ("no =", "zone=a\nhunter2\n\nregion", vec![2, 4]),
            ("no key", "=a\nzone=b", vec![1]),
            ("YAML in the old file", "zone=a\nregion: https://x?y=z", vec![2]),
            ("broken YAML", "zone: a\n  region: b\n c: d", vec![2]),
            ("YAML that is a list", "- zone: a", vec![1]),
            ("YAML that is text", "zone:a", vec![1]),
        ] {
            assert_eq!(read(text).1, want, "{case}");
        }
    }
}
