//! What follows the `?` of a URL.

use std::borrow::Cow;

/// Names and values, decoded, in their order.
pub(super) struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// Understands as much as there is to understand: what is not encoded well stays as it is.
    pub(super) fn parse(text: &'a str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (decode(name), decode(value)))
                .collect(),
        )
    }

    /// Whether there is such a name, with any value or none.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(found, _)| found == name)
    }

    /// All its values.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        let named = self.0.iter().filter(|(found, _)| found == name);
        named.map(|(_, value)| &**value).collect()
    }
}

fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['+', '%']) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = |at: usize| after.get(at).and_then(|&digit| char::from(digit).to_digit(16));
        let (byte, left) = match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                let byte = u8::try_from(high * 16 + low).expect("two hex digits are a byte");
                (byte, &after[2..])
            }
            (b'+', ..) => (b' ', after),
            _ => (first, after),
        };
        bytes.push(byte);
        rest = left;
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded() {
        for (case, text, want) in [
            ("nothing", "", vec![]),
            ("another name", "b=c", vec![]),
            ("no value", "a", vec![""]),
            ("several", "a=1&b=2&&a=2", vec!["1", "2"]),
            ("encoded", "%61=x%2Fy+z", vec!["x/y z"]),
            ("an equals sign", "a=b=c", vec!["b=c"]),
            ("badly encoded", "a=%zz%4%", vec!["%zz%4%"]),
            ("not UTF-8", "a=%ff", vec!["\u{fffd}"]),
        ] {
            assert_eq!(Query::parse(text).all("a"), want, "{case}");
            assert_eq!(Query::parse(text).has("a"), !want.is_empty(), "{case}");
        }
    }
}
