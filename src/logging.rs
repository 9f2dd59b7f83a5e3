//! What the daemon says on standard error: one line a record, as text or as JSON.
//!
//! ```text
//! 2026-11-25T22:50:08.123Z INFO  service changed service=shop/web slb=slb-1
//! {"ts":"2026-11-25T22:50:08.123Z","level":"info","msg":"service changed","target":"cloud_provider_inspur::controllers","service":"shop/web","slb":"slb-1"}
//! ```
//!
//! Messages are constant, what varies is in the fields. Nothing in a message or a value can end the line or forge
//! another: control characters are escaped in both formats. `-v` and `--vmodule` decide what is said; `RUST_LOG` is not read,
//! so that the command line tells the whole story.
//!
//! A failure (`warn` or `error`) that happens again within five minutes, with the same message and fields, is counted and not
//! printed; when it happens after that, its line ends with `repeated=` and the count. From `-v=4` on each is printed.
//!
//! systemd's journal hears the level of each line besides ([`priority`]).

mod filter;
mod journal;
mod thin;

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use log::kv::{self, Key, Source, Value, VisitSource, VisitValue};
use log::{Level, LevelFilter, Log, Metadata, Record};

pub use filter::{Modules, levels};
pub use journal::priority;
use thin::{Failure, Thinner, Verdict};

/// How a record becomes a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object, with `ts`, `level`, `msg`, `target`, then the fields.
    Json,
}

/// Starts logging to standard error. A second call changes nothing.
pub fn init(format: Format, verbosity: u32, modules: Modules) {
    let logger = LOGGER.get_or_init(|| Logger::new(format, verbosity, modules));
    // fails only where a logger exists already, which then stays
    if log::set_logger(logger).is_ok() {
        logger.set_verbosity(verbosity);
    }
}

/// Changes `-v` while the program runs. Does nothing before [`init`].
pub fn set_verbosity(verbosity: u32) {
    if let Some(logger) = LOGGER.get() {
        logger.set_verbosity(verbosity);
    }
}

/// The one that [`log`] wants to have for ever.
static LOGGER: OnceLock<Logger> = OnceLock::new();

/// Lets records through, thins failures that repeat, and hands what is left to the printer.
struct Logger {
    verbosity: AtomicU32,
    modules: Modules,
    thinner: Mutex<Thinner>,
    started: Instant,
    printer: env_logger::Logger,
}

impl Logger {
    fn new(format: Format, verbosity: u32, modules: Modules) -> Self {
        let printer = env_logger::Builder::new()
            .filter_level(LevelFilter::Trace)
            .format(move |out, record| {
                let line = line(format, SystemTime::now(), record);
                out.write_all(priority(record.level()).as_bytes())?;
                out.write_all(line.as_bytes())
            })
            .build();
        Self {
            verbosity: AtomicU32::new(verbosity),
            modules,
            thinner: Mutex::default(),
            started: Instant::now(),
            printer,
        }
    }

    fn set_verbosity(&self, verbosity: u32) {
        self.verbosity.store(verbosity, Ordering::Relaxed);
        // what nobody may say is not even looked at
        log::set_max_level(levels(self.modules.highest(verbosity)).0);
    }

    fn verbosity(&self, target: &str) -> u32 {
        self.modules
            .verbosity(target, self.verbosity.load(Ordering::Relaxed))
    }

    /// Whether to print the record, and how often it was not printed before.
    fn admit(&self, record: &Record<'_>, now: Duration) -> Verdict {
        let verbosity = self.verbosity(record.target());
        if record.level() > filter::level(record.target(), verbosity) {
            return Verdict::Hide;
        }
        if record.level() > Level::Warn || verbosity >= UNTHINNED {
            return Verdict::Say { repeated: 0 };
        }
        let failure = Failure::of(record);
        let mut thinner = self.thinner.lock().unwrap_or_else(PoisonError::into_inner);
        thinner.admit(failure, now)
    }
}

/// From this verbosity on every failure is printed: who looks closely wants to see each.
const UNTHINNED: u32 = 4;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= filter::level(metadata.target(), self.verbosity(metadata.target()))
    }

    fn log(&self, record: &Record<'_>) {
        match self.admit(record, self.started.elapsed()) {
            Verdict::Hide => {}
            Verdict::Say { repeated: 0 } => self.printer.log(record),
            Verdict::Say { repeated } => {
                let fields = Repeated(record.key_values(), repeated);
                self.printer.log(&record.to_builder().key_values(&fields).build());
            }
        }
    }

    fn flush(&self) {
        self.printer.flush();
    }
}

/// A record's fields, and how often it was not printed.
struct Repeated<'a>(&'a dyn Source, u64);

impl Source for Repeated<'_> {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), kv::Error> {
        self.0.visit(visitor)?;
        visitor.visit_pair(Key::from("repeated"), Value::from(self.1))
    }
}

/// The line of one record, with its line break.
pub fn line(format: Format, now: SystemTime, record: &Record<'_>) -> String {
    let now = humantime::format_rfc3339_millis(now);
    let message = record.args().to_string();
    let mut line = match format {
        Format::Text => format!("{now} {:<5} {}", record.level(), escape(&message)),
        Format::Json => format!(
            r#"{{"ts":"{now}","level":"{}","msg":{},"target":{}"#,
            record.level().as_str().to_ascii_lowercase(),
            json(&message),
            json(record.target()),
        ),
    };
    // both visitors only write to memory
    let _ = record.key_values().visit(&mut Fields(format, &mut line));
    line.push_str(if format == Format::Json { "}\n" } else { "\n" });
    line
}

/// Appends fields to a line.
struct Fields<'a>(Format, &'a mut String);

impl<'kvs> VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let Self(format, line) = self;
        match format {
            Format::Text => {
                let _ = write!(line, " {}={}", escape(key.as_str()), quoted(&value.to_string()));
                Ok(())
            }
            Format::Json => {
                let own = matches!(key.as_str(), "ts" | "level" | "msg" | "target");
                let key = format!("{key}{}", if own { "_" } else { "" });
                let _ = write!(line, ",{}:", json(&key));
                value.visit(JsonValue(line))
            }
        }
    }
}

/// Appends a value as JSON: numbers and booleans as they are, everything else as a string.
struct JsonValue<'a>(&'a mut String);

impl<'v> VisitValue<'v> for JsonValue<'_> {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), kv::Error> {
        self.visit_str(&value.to_string())
    }
    fn visit_str(&mut self, value: &str) -> Result<(), kv::Error> {
        self.0.push_str(&json(value));
        Ok(())
    }
    fn visit_null(&mut self) -> Result<(), kv::Error> {
        self.0.push_str("null");
        Ok(())
    }
    fn visit_bool(&mut self, value: bool) -> Result<(), kv::Error> {
        self.0.push_str(if value { "true" } else { "false" });
        Ok(())
    }
    fn visit_u64(&mut self, value: u64) -> Result<(), kv::Error> {
        self.0.push_str(&value.to_string());
        Ok(())
    }
    fn visit_i64(&mut self, value: i64) -> Result<(), kv::Error> {
        self.0.push_str(&value.to_string());
        Ok(())
    }
    fn visit_f64(&mut self, value: f64) -> Result<(), kv::Error> {
        // JSON has no infinity
        match serde_json::Number::from_f64(value) {
            Some(number) => self.0.push_str(&number.to_string()),
            None => self.0.push_str(&json(&value.to_string())),
        }
        Ok(())
    }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// `value` in quotes where it would not be seen as one word.
fn quoted(value: &str) -> String {
    let quoted = format!("{value:?}");
    // two bytes more than the value: nothing in it had to be escaped
    let plain = quoted.len() == value.len() + 2 && !value.is_empty() && !value.contains([' ', '=']);
    if plain { value.to_owned() } else { quoted }
}

/// `text` without anything that could end or forge a line.
fn escape(text: &str) -> String {
    text.chars()
        .fold(String::with_capacity(text.len()), |mut escaped, c| {
            match c {
                '"' | '\'' | '\\' => escaped.push(c),
                _ => escaped.extend(c.escape_debug()),
            }
            escaped
        })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use log::Level;

    use super::*;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(1_795_647_008_123)
    }

    fn record(format: Format, message: &str, fields: &[(&str, Value<'_>)]) -> String {
        let fields = &fields;
        line(
            format,
            now(),
            &Record::builder()
                .level(Level::Info)
                .target("cloud_provider_inspur::test")
                .args(format_args!("{message}"))
                .key_values(fields)
                .build(),
        )
    }

    #[test]
    fn a_record_is_one_line_for_people() {
        let text = |value: &str| {
            let line = record(
                Format::Text,
                "service changed",
                &[("service", Value::from(value))],
            );
            line.strip_prefix("2026-11-25T22:50:08.123Z INFO  service changed service=")
                .and_then(|rest| rest.strip_suffix('\n'))
                .unwrap_or_else(|| panic!("{line}"))
                .to_owned()
        };
        for (case, value, want) in [
            ("a word", "shop/web", "shop/web"),
            ("spaces", "a b", r#""a b""#),
            ("nothing", "", r#""""#),
            ("an equals sign", "a=b", r#""a=b""#),
            ("quotes", r#"say "x""#, r#""say \"x\"""#),
            ("a forged line", "x\n2026 ERROR", r#""x\n2026 ERROR""#),
            ("a terminal's escape", "\u{1b}[2J", r#""\u{1b}[2J""#),
            ("a line separator", "a\u{2028}b", r#""a\u{2028}b""#),
            ("other scripts", "负载均衡", "负载均衡"),
        ] {
            assert_eq!(text(value), want, "{case}");
        }
    }

    #[test]
    fn a_message_cannot_end_its_line() {
        let line = record(Format::Text, "it's a \"test\"\r\nof 100%", &[]);
        assert_eq!(
            line,
            "2026-11-25T22:50:08.123Z INFO  it's a \"test\"\\r\\nof 100%\n"
        );
        let line = record(Format::Json, "one\ntwo", &[]);
        assert_eq!(line.matches('\n').count(), 1, "{line}");
    }

    #[test]
    fn a_json_line_keeps_types_and_decodes() {
        let line = record(
            Format::Json,
            "say \"x\"",
            &[
                ("service", Value::from("a\n\u{1}b")),
                ("count", Value::from(3)),
                ("below", Value::from(-3)),
                ("ratio", Value::from(0.5)),
                ("endless", Value::from(f64::INFINITY)),
                ("done", Value::from(true)),
                ("shown", Value::from_display(&Duration::from_secs(1).as_secs())),
                ("msg", Value::from("not the message")),
            ],
        );
        assert!(
            line.starts_with(r#"{"ts":"2026-11-25T22:50:08.123Z","level":"info","msg":"#),
            "{line}"
        );
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&line).unwrap(),
            serde_json::json!({
                "ts": "2026-11-25T22:50:08.123Z", "level": "info", "msg": "say \"x\"", "target": "cloud_provider_inspur::test",
                "service": "a\n\u{1}b", "count": 3, "below": -3, "ratio": 0.5, "endless": "inf", "done": true, "shown": "1",
                "msg_": "not the message",
            })
        );
    }

    fn logger(verbosity: u32, modules: &str) -> Logger {
        Logger::new(Format::Text, verbosity, Modules::parse(modules).unwrap())
    }

    #[test]
    fn the_same_failure_is_printed_once_unless_somebody_looks_closely() {
        let (say, hide) = (Verdict::Say { repeated: 0 }, Verdict::Hide);
        for (case, logger, level, target, want) in [
            ("a failure", logger(2, ""), Level::Warn, "a", [say, hide]),
            ("a bad one", logger(2, ""), Level::Error, "a", [say, hide]),
            ("a change", logger(2, ""), Level::Info, "a", [say, say]),
            ("a decision", logger(2, ""), Level::Debug, "a", [hide, hide]),
            (
                "a decision, asked for",
                logger(4, ""),
                Level::Debug,
                "a",
                [say, say],
            ),
            (
                "a failure, looked at",
                logger(4, ""),
                Level::Warn,
                "a",
                [say, say],
            ),
            (
                "a failure of a module that is looked at",
                logger(2, "a=4"),
                Level::Warn,
                "x::a",
                [say, say],
            ),
            (
                "a decision of such a module",
                logger(2, "a=4"),
                Level::Debug,
                "x::a",
                [say, say],
            ),
            (
                "a failure beside it",
                logger(2, "a=4"),
                Level::Warn,
                "x::b",
                [say, hide],
            ),
            (
                "a library's news",
                logger(2, ""),
                Level::Info,
                "rustls::client",
                [hide, hide],
            ),
        ] {
            let args = format_args!("message");
            let record = Record::builder().level(level).target(target).args(args).build();
            let found = [0, 1].map(|seconds| logger.admit(&record, Duration::from_secs(seconds)));
            assert_eq!(found, want, "{case}");
            assert_eq!(logger.enabled(record.metadata()), want[0] == say, "{case}");
        }
    }

    #[test]
    fn verbosity_changes_while_the_program_runs() {
        let logger = logger(0, "b=6");
        let debug =
            |target: &str| logger.enabled(&Metadata::builder().level(Level::Debug).target(target).build());
        assert_eq!([debug("a"), debug("b")], [false, true]);
        logger.verbosity.store(4, Ordering::Relaxed);
        assert_eq!([debug("a"), debug("b")], [true, true]);
    }

    #[test]
    fn the_count_is_the_last_field() {
        let fields = [("service", Value::from("shop/web"))];
        let fields = &&fields[..];
        let fields = Repeated(fields, 12);
        for (format, want) in [
            (Format::Text, " WARN  failed service=shop/web repeated=12\n"),
            (Format::Json, r#""service":"shop/web","repeated":12}"#),
        ] {
            let args = format_args!("failed");
            let record = Record::builder()
                .level(Level::Warn)
                .args(args)
                .key_values(&fields)
                .build();
            let line = line(format, now(), &record);
            assert!(line.trim_end().ends_with(want.trim_end()), "{line}");
        }
    }
}
