//! JSON out of bytes, and out of what was read already.

use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _};
use serde_json::Value;

/// Reads one value. JSON is UTF-8: bytes that are not text are none. By way of text, since each type is compiled for text once, and
/// would be for bytes again.
///
/// # Errors
/// It is no JSON, or no `T`.
pub fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, serde_json::Error> {
    let text = std::str::from_utf8(bytes).map_err(serde_json::Error::custom)?;
    serde_json::from_str(text)
}

/// What `tree` is as a `T`. By way of text, for the same reason; an error's line and column are of that text, which nobody sent.
///
/// # Errors
/// It is no `T`.
pub fn read_tree<T: DeserializeOwned>(tree: &Value) -> Result<T, serde_json::Error> {
    serde_json::from_str(&tree.to_string())
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
