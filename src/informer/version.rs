//! Versions of objects, as far as they can be compared: pure.

/// How a version relates to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// It came before.
    Older,
    /// They are one.
    Same,
    /// It came after.
    Newer,
    /// At least one is no number: they can only be the same or not.
    Unknown,
}

/// How `version` relates to `other`, both of one resource. Never by value: they may be longer than any integer.
/// Source: apimachinery `resourceversion.CompareResourceVersion`.
pub fn compare_versions(version: &str, other: &str) -> Order {
    let is_number =
        |v: &str| !v.is_empty() && !v.starts_with('0') && v.bytes().all(|byte| byte.is_ascii_digit());
    if version == other {
        return Order::Same;
    }
    if !is_number(version) || !is_number(other) {
        return Order::Unknown;
    }
    if (version.len(), version) < (other.len(), other) {
        Order::Older
    } else {
        Order::Newer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers_of_any_length() {
        for (version, other, want) in [
            ("9", "10", Order::Older),
            ("10", "9", Order::Newer),
            (
                "123456789012345678901234567890",
                "99999999999999999999",
                Order::Newer,
            ),
            ("7", "7", Order::Same),
            ("07", "6", Order::Unknown),
            ("", "6", Order::Unknown),
            ("0", "6", Order::Unknown),
            ("abc", "6", Order::Unknown),
        ] {
            assert_eq!(compare_versions(version, other), want, "{version} and {other}");
        }
    }
}
