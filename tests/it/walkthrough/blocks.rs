//! The commands of a page: its fenced blocks of shell, and what the first line of each says about who runs it.

use std::path::Path;

/// A fenced block.
#[derive(Debug, Clone)]
pub struct Block {
    /// The page, from the root of the repository.
    pub page: String,
    /// Where its fence begins, from 1.
    pub line: usize,
    /// Its lines.
    pub text: String,
    /// Who runs it.
    pub run: Run,
}

/// Who runs a block. A comment in its first line says so, in the page's language; without one the tests run it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Run {
    /// The tests, on Kubernetes 1.`from` up to, but not with, 1.`before`.
    ByTests { from: u32, before: u32 },
    /// A file of the repository, which is named.
    By(String),
    /// Nobody: the reason.
    ByNobody(String),
    /// Nothing but `make`, with these targets: CI itself.
    ByMake(Vec<String>),
}

/// The words of the first line, before and after what they say.
const NOT_TESTED: [(&str, &str); 2] = [("# not tested: ", ""), ("# 未测试：", "")];
const TESTED_BY: [(&str, &str); 2] = [("# tested by ", ""), ("# 由 ", " 测试")];
const FROM: [(&str, &str); 2] = [("# from Kubernetes 1.", " on"), ("# Kubernetes 1.", " 起")];
const BEFORE: [(&str, &str); 2] = [("# before Kubernetes 1.", ""), ("# Kubernetes 1.", " 之前")];

/// All blocks of shell on a page, in order.
///
/// # Panics
/// For a fence of shell that goes by another name than `sh`: nobody would run it.
pub fn of(page: &str) -> Vec<Block> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{page}: {error}"));
    let (mut blocks, mut open) = (Vec::new(), None::<(usize, usize, bool, String)>);
    for (number, line) in text.lines().enumerate() {
        let bare = line.trim_start();
        open = match (open, bare.strip_prefix("```")) {
            (None, None) => None,
            (None, Some(name)) => {
                assert!(
                    !["bash", "shell", "console", ""].contains(&name),
                    "{page}:{}: commands are fenced by ```sh",
                    number + 1
                );
                Some((number + 1, line.len() - bare.len(), name == "sh", String::new()))
            }
            (Some((begun, _, is_shell, text)), Some("")) => {
                if is_shell {
                    blocks.push(Block {
                        page: page.into(),
                        line: begun,
                        run: who(&text),
                        text,
                    });
                }
                None
            }
            (Some((begun, indent, is_shell, mut text)), _) => {
                text.push_str(line.get(indent..).unwrap_or_default());
                text.push('\n');
                Some((begun, indent, is_shell, text))
            }
        };
    }
    blocks
}

fn who(text: &str) -> Run {
    let first = text.lines().next().unwrap_or_default();
    let said = |words: [(&str, &str); 2]| {
        words
            .iter()
            .find_map(|(before, after)| first.strip_prefix(before)?.strip_suffix(after))
            .map(str::to_owned)
    };
    let minor = |words| said(words).and_then(|text| text.parse().ok());
    let targets: Option<Vec<String>> = text.lines().map(make_target).collect();
    if let Some(reason) = said(NOT_TESTED) {
        Run::ByNobody(reason)
    } else if let Some(file) = said(TESTED_BY) {
        Run::By(file)
    } else if let Some(targets) = targets {
        Run::ByMake(targets)
    } else {
        Run::ByTests {
            from: minor(FROM).unwrap_or(0),
            before: minor(BEFORE).unwrap_or(u32::MAX),
        }
    }
}

/// The target of a line that is nothing but a call of `make`, but for its comment.
fn make_target(line: &str) -> Option<String> {
    let command = line.split(" #").next().unwrap_or_default();
    command
        .strip_prefix("make ")
        .map(|target| target.trim().to_owned())
}

impl Block {
    /// Its commands without comments and their words, which every language has in common.
    pub fn commands(&self) -> String {
        let lines = self
            .text
            .lines()
            .map(|line| line.split(" #").next().unwrap_or_default());
        let commands = lines
            .map(str::trim_end)
            .filter(|line| !line.starts_with('#') && !line.is_empty());
        commands.collect::<Vec<_>>().join("\n")
    }

    /// Whether a line of it begins with this program.
    pub fn calls(&self, program: &str) -> bool {
        self.text
            .lines()
            .any(|line| line.split_whitespace().next() == Some(program))
    }
}
