//! What the daemon says on standard error: one line a record, as text or as JSON.
//!
//! ```text
//! 2026-11-25T22:50:08.123Z INFO  service changed service=shop/web slb=slb-1
//! {"ts":"2026-11-25T22:50:08.123Z","level":"info","msg":"service changed","target":"cloud_provider_inspur::controllers","service":"shop/web","slb":"slb-1"}
//! ```
//!
//! Messages are constant, what varies is in the fields. Nothing in a message or a value can end the line or forge
//! another: control characters are escaped in both formats. `-v` alone decides what is said; `RUST_LOG` is not read, so that
//! the command line tells the whole story.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::SystemTime;

use log::kv::{self, Key, Value, VisitSource, VisitValue};
use log::{LevelFilter, Record};

/// How a record becomes a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object, with `ts`, `level`, `msg`, `target`, then the fields.
    Json,
}

/// Starts logging to standard error. A second call changes nothing.
pub fn init(format: Format, verbosity: u32) {
    let (ours, theirs) = levels(verbosity);
    let mut builder = env_logger::Builder::new();
    builder.filter_level(ours);
    for chatty in ["ureq", "rustls"] {
        builder.filter_module(chatty, theirs);
    }
    builder.format(move |out, record| out.write_all(line(format, SystemTime::now(), record).as_bytes()));
    // fails only where a logger exists already, which then stays
    let _ = builder.try_init();
}

/// What `-v` lets through: from us, and from the HTTP and TLS crates, which stay one step quieter.
///
/// 0 to 3 are what an operator wants (Kubernetes' usual 2 included), 4 and 5 add decisions, 6 and more everything.
pub fn levels(verbosity: u32) -> (LevelFilter, LevelFilter) {
    match verbosity {
        0..=3 => (LevelFilter::Info, LevelFilter::Warn),
        4..=5 => (LevelFilter::Debug, LevelFilter::Info),
        6.. => (LevelFilter::Trace, LevelFilter::Debug),
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

    #[test]
    fn verbosity_chooses_levels_and_keeps_libraries_quieter() {
        for (verbosity, want) in [
            (0, (LevelFilter::Info, LevelFilter::Warn)),
            (3, (LevelFilter::Info, LevelFilter::Warn)),
            (4, (LevelFilter::Debug, LevelFilter::Info)),
            (6, (LevelFilter::Trace, LevelFilter::Debug)),
            (u32::MAX, (LevelFilter::Trace, LevelFilter::Debug)),
        ] {
            assert_eq!(levels(verbosity), want, "{verbosity}");
        }
    }
}
