//! Values as Go's flags spell them. Each reader answers `None` for what Go would refuse.

use std::time::Duration;

/// Source: Go, strconv.ParseBool.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A finite number.
pub(super) fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// A duration that is not negative: `1m30s`, `1.5h`, `0`. Source: Go, time.ParseDuration.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), digits);
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let unit = &after[..after
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after.len())];
        let nanoseconds: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        // 18 digits are more than an hour has nanoseconds
        let fraction = &fraction[..fraction.len().min(18)];
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let part: u128 = if fraction.is_empty() {
            0
        } else {
            fraction.parse().ok()?
        };
        total += u128::from(whole) * nanoseconds + part * nanoseconds / 10u128.pow(fraction.len() as u32);
        rest = &after[unit.len()..];
    }
    // Go's durations end there: 292 years
    i64::try_from(total)
        .ok()
        .map(|nanoseconds| Duration::from_nanos(nanoseconds.unsigned_abs()))
}

/// A DNS label, as Kubernetes names namespaces. Source: kubernetes/apimachinery, pkg/util/validation, IsDNS1123Label.
pub(super) fn dns_label(text: &str) -> bool {
    text.len() <= 63 && is_between_dots(text)
}

/// A DNS name, as Kubernetes names most objects. Source: kubernetes/apimachinery, pkg/util/validation, IsDNS1123Subdomain.
pub(super) fn dns_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_between_dots)
}

fn is_between_dots(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(allowed) && !text.starts_with('-') && !text.ends_with('-')
}

/// The leading digits, and the rest.
fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, want) in [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("12h", Some(43_200_000)),
            ("1m30s", Some(90_000)),
            ("1h0m0.5s", Some(3_600_500)),
            (".5s", Some(500)),
            ("5.s", Some(5_000)),
            ("+2s", Some(2_000)),
            ("1500us", Some(1)),
            ("3µs", Some(0)),
            ("", None),
            ("5", None),
            ("s", None),
            (".s", None),
            ("-1s", None),
            ("1d", None),
            ("1 s", None),
            ("1s ", None),
            ("99999999h", None),
            ("99999999999999999999h", None),
        ] {
            assert_eq!(duration(text).map(|d| d.as_millis()), want, "{text:?}");
        }
    }

    #[test]
    fn names_are_those_of_dns() {
        let long = |letters: usize| "a".repeat(letters);
        for (text, label, name) in [
            ("kube-system", true, true),
            ("0", true, true),
            ("a.b", false, true),
            ("", false, false),
            ("a..b", false, false),
            (".a", false, false),
            ("-a", false, false),
            ("a-", false, false),
            ("A", false, false),
            ("a_b", false, false),
            ("a/b", false, false),
            (&long(63), true, true),
            (&long(64), false, true),
            (&long(253), false, true),
            (&long(254), false, false),
        ] {
            assert_eq!((dns_label(text), dns_name(text)), (label, name), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_durations_panic(text in "([0-9]{0,22}|[.+-]|[a-zµ ]{0,2}|\\PC){0,6}") {
            let _ = duration(&text);
        }
    }
}
