//! The man page, in roff with the macros of `man`.

use std::fmt::Write as _;

use super::{COMMAND, fresh};
use crate::config::PROGRAM;
use crate::config::flags::CHECK_CONFIG;
use crate::config::flags::help::{EXIT_CODES, PURPOSE};
use crate::config::flags::table::{Effect, FLAGS, Flag, Group};
use crate::k8s::kubeconfig::POD_ACCOUNT;

#[test]
fn the_man_page_is_made_from_the_table() {
    fresh(&format!("deploy/man/{PROGRAM}.8"), &page());
}

#[test]
fn nothing_that_is_said_is_taken_for_roff() {
    for (text, want) in [
        ("a-b\\c", r"a\-b\ec"),
        (".so it's \"x\"", r"\&.so it\(aqs \(dqx\(dq"),
        ("`^~", r"\(ga\(ha\(ti"),
    ] {
        assert_eq!(escape(text), want);
    }
}

fn page() -> String {
    let [title, name] = [PROGRAM.to_uppercase(), PROGRAM.to_owned()].map(|text| escape(&text));
    let (package, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    let exit_codes: Vec<(String, &str)> = EXIT_CODES
        .iter()
        .map(|(code, sentence)| (code.to_string(), sentence.en))
        .collect();
    let exit_codes: Vec<(&str, &str)> = exit_codes.iter().map(|(code, text)| (&**code, *text)).collect();
    [
        format!(".\\\" Made by `{COMMAND}` from the table of flags: change that.\n"),
        format!(".TH {title} 8 \"\" \"{package} {version}\" \"System Administration\"\n"),
        // no flag is broken, nor are words spread
        ".nh\n.ad l\n".to_owned(),
        format!(".SH NAME\n{name} \\- Kubernetes cloud controller manager for INSPUR Cloud\n"),
        synopsis(&name),
        format!(
            ".SH DESCRIPTION\n{}\n{}",
            escape(PURPOSE),
            paragraphs(DESCRIPTION)
        ),
        format!(".SH COMMANDS\n{}", terms(&[(CHECK_CONFIG, CHECK)])),
        options(),
        format!(".SH EXIT STATUS\n{}", terms(&exit_codes)),
        format!(".SH ENVIRONMENT\n{}{}", terms(ENVIRONMENT), paragraphs(NOT_READ)),
        format!(".SH FILES\n{}", terms(FILES)),
        format!(".SH SIGNALS\n{}", terms(SIGNALS)),
        SEE_ALSO.to_owned(),
    ]
    .concat()
}

fn synopsis(name: &str) -> String {
    let line = |command: &str| {
        format!("\\fB{name}\\fR {command}\\fB\\-\\-cloud\\-config=\\fIFILE\\fR [\\fIFLAG\\fR]...\n")
    };
    format!(
        ".SH SYNOPSIS\n{}.br\n{}",
        line(""),
        line(&format!("\\fB{}\\fR ", escape(CHECK_CONFIG)))
    )
}

/// Working flags by group, then the names of those without effect.
fn options() -> String {
    let mut options = ".SH OPTIONS\n".to_owned();
    for group in Group::ALL {
        let mut heading = format!(".SS {}\n", escape(group.title().en));
        for flag in FLAGS.iter().filter(|flag| flag.group == group) {
            if let Effect::Works(sentence) = flag.effect {
                options += &std::mem::take(&mut heading);
                // writing to memory does not fail
                let _ = writeln!(options, ".TP\n{}\n{}", head(flag), escape(sentence.en));
            }
        }
    }
    let without = FLAGS
        .iter()
        .filter(|flag| matches!(flag.effect, Effect::Meaningless(_)));
    let names: Vec<String> = without.map(|flag| bold(&format!("--{}", flag.name))).collect();
    options
        + &format!(
            ".SS Accepted without effect\n{}\n.PP\n{}\n",
            escape(WITHOUT_EFFECT),
            names.join(",\n")
        )
}

/// `-v, --v=int (default 0)`.
fn head(flag: &Flag) -> String {
    let short = flag.short.map(|letter| bold(&format!("-{letter}")) + ", ");
    let mut head = short.unwrap_or_default() + &bold(&format!("--{}", flag.name));
    if !flag.kind.word().is_empty() {
        let _ = write!(head, "=\\fI{}\\fR", escape(flag.kind.word()));
    }
    if !["", "false"].contains(&flag.default) {
        let _ = write!(head, " (default {})", escape(flag.default));
    }
    head
}

fn terms(terms: &[(&str, &str)]) -> String {
    terms
        .iter()
        .map(|(term, text)| format!(".TP\n{}\n{}\n", bold(term), escape(text)))
        .collect()
}

fn paragraphs(text: &str) -> String {
    text.split('\n')
        .map(|paragraph| format!(".PP\n{}\n", escape(paragraph)))
        .collect()
}

fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", escape(text))
}

/// Nothing in it is taken for roff, and what is typed stays what can be typed.
fn escape(text: &str) -> String {
    let guard = if text.starts_with(['.', '\'']) { "\\&" } else { "" };
    let escaped = text.chars().map(|letter| match letter {
        '\\' => "\\e".to_owned(),
        '-' => "\\-".to_owned(),
        '\'' => "\\(aq".to_owned(),
        '"' => "\\(dq".to_owned(),
        '`' => "\\(ga".to_owned(),
        '^' => "\\(ha".to_owned(),
        '~' => "\\(ti".to_owned(),
        other => other.to_string(),
    });
    guard.to_owned() + &escaped.collect::<String>()
}

const DESCRIPTION: &str = "\
It is an external cloud controller manager: kubelets run with --cloud-provider=external, and kube-controller-manager with it or, from Kubernetes 1.29 on, without any. It runs until a signal asks it to stop, and says on standard error what it does.
--flag=value and --flag value are the same, except for booleans: --flag is true, and a value must be joined (--flag=false). An underscore in a name counts as a hyphen. Of a flag that is given twice the last value counts; lists, with commas, grow. Durations are written as Go writes them: 1m30s, 12h.
An unknown flag, a value that is not allowed, or an argument that is no flag is an error. All errors of the command line and of the cloud config are printed together, before anything starts.";

const CHECK: &str = "Says in a table whether it could run with these flags: files, permissions, token, APIs, clocks, certificates. It changes nothing. The word stands before or after the flags.";

const WITHOUT_EFFECT: &str = "Kubernetes' cloud controller manager has these, or had them in 2020. Their values are checked, they change nothing, and each that is given is a warning in the log.";

const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "HTTPS_PROXY, NO_PROXY",
        "The proxy to INSPUR's API and its token service, and what is reached without it: domains, addresses, networks and ports, by comma. In lower case, too; capitals go first. The Kubernetes API goes through a proxy only where the kubeconfig says so.",
    ),
    (
        "HTTP_PROXY",
        "Likewise, for URLs without TLS. Those are allowed to this machine only, which is never reached through a proxy, so its value is checked and not used.",
    ),
    (
        "SSL_CERT_FILE",
        "File with the authorities of the cloud's certificates, in PEM, instead of the system's.",
    ),
    (
        "NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID",
        "Where and how often systemd wants to hear how it goes. Set by systemd.",
    ),
    (
        "KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT",
        "Where the Kubernetes API is, for a Pod without --kubeconfig and --master.",
    ),
];

const NOT_READ: &str = "KUBECONFIG and RUST_LOG are not read.";

const FILES: &[(&str, &str)] = &[
    (
        "/etc/inspur/cloud-config, /etc/inspur/kubeconfig",
        "What the systemd unit hands on; without them it is not started. Beside them client-secret, iam-password or kktoken, which the cloud config names.",
    ),
    (
        "/etc/default/inspur-cloud-controller-manager",
        "More flags for the unit, and proxy variables.",
    ),
    (POD_ACCOUNT, "The Pod's service account: token and ca.crt."),
    (
        "/etc/ssl/certs/ca-certificates.crt",
        "The system's authorities, here or where other distributions have them.",
    ),
];

const SIGNALS: &[(&str, &str)] = &[
    (
        "SIGTERM, SIGINT",
        "It stops in order and gives the lease back; at the second one it ends at once.",
    ),
    (
        "SIGHUP",
        "It looks at once at the files that may change without a restart: tokens, certificates, authorities, kubeconfig, cloud config. Without it, every 30 s.",
    ),
];

const SEE_ALSO: &str = "\
.SH SEE ALSO
.BR systemctl (1),
.BR sd_notify (3),
.BR systemd.exec (5)
.PP
Documentation and source:
.UR https://github.com/OpenInspur/cloud\\-provider\\-inspur
cloud\\-provider\\-inspur
.UE
";
