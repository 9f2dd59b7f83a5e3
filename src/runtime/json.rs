//! JSON out of bytes.

use serde::Deserialize;
use serde::de::Error as _;

/// Reads one value. JSON is UTF-8: bytes that are not text are none. By way of text, since each type is compiled for text once, and
/// would be for bytes again.
///
/// # Errors
/// It is no JSON, or no `T`.
pub fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, serde_json::Error> {
    let text = std::str::from_utf8(bytes).map_err(serde_json::Error::custom)?;
    serde_json::from_str(text)
}

#[cfg(test)]
mod tests {
    use serde::de::IgnoredAny;

    use super::*;

    #[test]
    fn bytes_are_text_or_no_json() {
        assert_eq!(read::<&str>(b"\"web\"").unwrap(), "web");
        for bytes in [&b"\"web"[..], b"\"w\xffb\"", b""] {
            assert!(read::<IgnoredAny>(bytes).is_err(), "{bytes:?}");
        }
    }
}
