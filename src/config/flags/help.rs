//! `--help`.

use std::fmt::Write as _;

use super::CHECK_CONFIG;
use super::table::{Effect, FLAGS, Flag, Group};
use crate::runtime::sentence::Sentence;

/// Columns of a terminal.
const WIDTH: usize = 100;

/// What it is for.
pub(crate) const PURPOSE: &str =
    "Makes load balancers of INSPUR Cloud match a cluster's Services, and looks after its Nodes.";

/// How the process can end by itself.
#[rustfmt::skip]
pub(crate) static EXIT_CODES: [(u8, Sentence); 3] = [
    (0, Sentence::new(
        "It was asked to stop (SIGTERM, SIGINT) and did; or it printed help or version; or check-config found nothing wrong.",
        "收到停止信号（SIGTERM、SIGINT）并正常停止；或打印了帮助或版本；或 check-config 未发现问题。")),
    (1, Sentence::new(
        "It cannot start (flags, cloud config, files, port); or it lost the lease; or a thread ended unasked; or check-config found something wrong. Standard error says which.",
        "无法启动（参数、云配置、文件、端口）；或失去租约；或有线程意外结束；或 check-config 发现问题。标准错误会说明原因。")),
    (130, Sentence::new(
        "It was asked to stop a second time and ended at once.",
        "第二次收到停止信号，立即结束。")),
];

/// Working flags by section, then the names of those without effect.
pub(crate) fn text(program: &str) -> String {
    let mut text = format!(
        "{PURPOSE}\n\nUsage:\n  {program} --cloud-config=FILE [flags]\n  {program} {CHECK_CONFIG} --cloud-config=FILE [flags]   says whether it could run; changes nothing\n"
    );
    for group in Group::ALL {
        let of_group = FLAGS.iter().filter(|flag| flag.group == group);
        let mut heading = format!("\n{}:\n", group.title().en);
        for flag in of_group {
            if let Effect::Works(sentence) = flag.effect {
                text += &std::mem::take(&mut heading);
                // writing to memory does not fail
                let _ = writeln!(text, "{}\n{}", head(flag), wrap(sentence.en.split(' '), 10));
            }
        }
    }
    let without = FLAGS
        .iter()
        .filter(|flag| matches!(flag.effect, Effect::Meaningless(_)));
    let names: Vec<String> = without.map(|flag| format!("--{}", flag.name)).collect();
    text += "\nAccepted for compatibility, without effect (docs/reference/flags.md says why):\n";
    text += &wrap(names.iter().map(String::as_str), 2);
    text += "\n\nExit codes:\n";
    for (code, sentence) in &EXIT_CODES {
        let _ = writeln!(text, "  {code}\n{}", wrap(sentence.en.split(' '), 10));
    }
    text
}

/// `  -v, --v int (default 0)`.
fn head(flag: &Flag) -> String {
    let short = flag
        .short
        .map_or("    ".to_owned(), |letter| format!("-{letter}, "));
    let mut head = format!("  {short}--{}", flag.name);
    for part in [flag.kind.word(), &default(flag)] {
        if !part.is_empty() {
            head.push(' ');
            head += part;
        }
    }
    head
}

fn default(flag: &Flag) -> String {
    match flag.default {
        "" | "false" => String::new(),
        default => format!("(default {default})"),
    }
}

fn wrap<'a>(words: impl Iterator<Item = &'a str>, indent: usize) -> String {
    let mut lines = vec![String::new()];
    for word in words {
        let line = lines.last_mut().expect("there is always a line");
        if !line.is_empty() && indent + line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(word.to_owned());
        } else {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
    }
    let indented = lines.iter().map(|line| format!("{:indent$}{line}", ""));
    indented.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_flag_by_section_and_fits_a_terminal() {
        let help = text("ccm");
        for flag in FLAGS {
            assert!(help.contains(&format!("--{}", flag.name)), "--{}", flag.name);
        }
        for heading in [
            "Generic flags:",
            "Leader election flags:",
            "Secure serving flags:",
            "Authentication flags:",
            "Authorization flags:",
            "Debugging flags:",
            "Logs flags:",
            "Global flags:",
            "Exit codes:",
        ] {
            assert!(help.contains(&format!("\n{heading}\n")), "{heading}\n{help}");
        }
        assert!(
            !help.contains("Webhook flags"),
            "a section without a working flag has no heading"
        );
        assert!(
            help.contains("  -v, --v int (default 0)\n          How much"),
            "{help}"
        );
        assert!(
            help.contains("      --tls-sni-cert-key namedCertKey\n          Another"),
            "{help}"
        );
        assert!(help.lines().all(|line| line.len() <= WIDTH), "{help}");
    }
}
