//! Our clock against others', as their answers' `Date` tells it. Pure.

use std::time::{Duration, SystemTime};

use super::table::Row;

/// Nobody minds this much.
const GOOD: Duration = Duration::from_secs(5);

/// More breaks tokens, leases and certificates.
const BAD: Duration = Duration::from_secs(60);

/// An exchange, and the date in its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    /// Ours, before it.
    pub(super) before: SystemTime,
    /// Theirs: some time in this second, during it.
    pub(super) theirs: SystemTime,
    /// Ours, after it.
    pub(super) after: SystemTime,
}

impl Reading {
    /// `None` for a date that is none.
    pub(super) fn of(before: SystemTime, date: &str, after: SystemTime) -> Option<Self> {
        let theirs = http_date(date)?;
        Some(Self {
            before,
            theirs,
            after,
        })
    }
}

/// The row for the clock of `whom`.
pub(super) fn judge(whom: &str, reading: Option<Reading>) -> Row {
    let check = format!("clock: {whom}");
    let Some(reading) = reading else {
        return Row::skipped(check, "its answers carry no Date");
    };
    let (word, skew) = skew(reading);
    let found = match skew {
        Duration::ZERO => "no difference to be seen".to_owned(),
        skew => format!("this machine's clock is {} s {word}", skew.as_secs_f64().round()),
    };
    match skew {
        skew if skew <= GOOD => Row::ok(check, found),
        skew if skew <= BAD => Row::warning(check, found).advice("synchronise both machines' clocks, by NTP for example"),
        _ => Row::failed(check, found)
            .advice("synchronise both machines' clocks, by NTP for example: tokens and certificates are refused meanwhile"),
    }
}

/// How far, at least, our clock is from theirs.
fn skew(reading: Reading) -> (&'static str, Duration) {
    let end = reading.theirs + Duration::from_secs(1);
    let beyond = |later: SystemTime, earlier: SystemTime| later.duration_since(earlier).unwrap_or_default();
    match beyond(reading.before, end) {
        Duration::ZERO => ("behind", beyond(reading.theirs, reading.after)),
        ahead => ("ahead", ahead),
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`. Source: RFC 9110, 5.6.7 (of its three forms the one that may still be sent).
fn http_date(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (_, date) = text.split_once(", ")?;
    let [day, month, year, time, "GMT"] = *date.split(' ').collect::<Vec<_>>() else {
        return None;
    };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    humantime::parse_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z")).ok()
}

#[cfg(test)]
mod tests {
    use super::super::table::Verdict;
    use super::*;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn at(seconds: f64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs_f64(784_111_777.0 + seconds)
    }

    #[test]
    fn a_date_is_read_as_http_spells_it() {
        for (text, want) in [
            (DATE, Some(at(0.0))),
            (
                "Thu, 29 Feb 2024 00:00:00 GMT",
                Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_709_164_800)),
            ),
            ("Sunday, 06-Nov-94 08:49:37 GMT", None),
            ("Sun Nov  6 08:49:37 1994", None),
            ("Sun, 06 Nov 1994 08:49:37 CET", None),
            ("Sun, 31 Feb 1994 08:49:37 GMT", None),
            ("", None),
        ] {
            assert_eq!(http_date(text), want, "{text}");
        }
    }

    #[test]
    fn only_what_a_slow_answer_cannot_explain_is_held_against_a_clock() {
        for (case, before, after, verdict, found) in [
            (
                "in the same second",
                0.2,
                0.3,
                Verdict::Ok,
                "no difference to be seen",
            ),
            (
                "a slow answer",
                -20.0,
                20.0,
                Verdict::Ok,
                "no difference to be seen",
            ),
            (
                "a little ahead",
                4.0,
                4.1,
                Verdict::Ok,
                "this machine's clock is 3 s ahead",
            ),
            (
                "ahead",
                7.0,
                7.1,
                Verdict::Warning,
                "this machine's clock is 6 s ahead",
            ),
            (
                "far ahead",
                62.0,
                62.1,
                Verdict::Failed,
                "this machine's clock is 61 s ahead",
            ),
            (
                "behind",
                -60.5,
                -60.0,
                Verdict::Warning,
                "this machine's clock is 60 s behind",
            ),
            (
                "far behind",
                -62.0,
                -61.0,
                Verdict::Failed,
                "this machine's clock is 61 s behind",
            ),
        ] {
            let row = judge("x", Reading::of(at(before), DATE, at(after)));
            assert_eq!((row.verdict, row.found.as_str()), (verdict, found), "{case}");
        }
        assert_eq!(judge("x", None).verdict, Verdict::Skipped);
    }
}
