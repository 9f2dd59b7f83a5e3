//! One value of the API, whichever JSON type it comes in.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Any one value: text, number, switch, nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Loose {
    /// `null`, `""` or no such field.
    #[default]
    Missing,
    /// A number or a switch as its text.
    Text(Box<str>),
    /// A list or an object: nothing that any field here can be.
    Odd,
}

/// A value that is there and makes no sense where it stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Odd;

impl Loose {
    /// What it says, if it is one value.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Missing | Self::Odd => None,
        }
    }

    /// What `parse` makes of it; nothing of nothing.
    pub(super) fn read<T>(&self, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Odd> {
        match self {
            Self::Missing => Ok(None),
            Self::Text(text) => parse(text).map(Some).ok_or(Odd),
            Self::Odd => Err(Odd),
        }
    }

    /// As a number.
    pub(super) fn number<T: std::str::FromStr>(&self) -> Result<Option<T>, Odd> {
        self.read(|text| text.parse().ok())
    }

    /// As a switch.
    pub(super) fn switch(&self) -> Result<Option<bool>, Odd> {
        self.read(|text| match &*text.to_ascii_lowercase() {
            "0" | "false" => Some(false),
            "1" | "true" => Some(true),
            _ => None,
        })
    }
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LooseVisitor;
        impl<'de> Visitor<'de> for LooseVisitor {
            type Value = Loose;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Loose, E> {
                Ok(Loose::Missing)
            }
            fn visit_str<E>(self, text: &str) -> Result<Loose, E> {
                Ok(match text.trim() {
                    "" => Loose::Missing,
                    text => Loose::Text(text.into()),
                })
            }
            fn visit_bool<E>(self, value: bool) -> Result<Loose, E> {
                Ok(Loose::Text(value.to_string().into()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Loose, E> {
                Ok(Loose::Text(value.to_string().into()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Loose, E> {
                Ok(Loose::Text(value.to_string().into()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Loose, E> {
                Ok(Loose::Text(value.to_string().into()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Loose, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Loose::Odd)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Loose, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Loose::Odd)
            }
        }
        deserializer.deserialize_any(LooseVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_and_a_number_are_read_in_every_spelling() {
        for (json, switch, number) in [
            ("0", Ok(Some(false)), Ok(Some(0))),
            (r#""0""#, Ok(Some(false)), Ok(Some(0))),
            ("1", Ok(Some(true)), Ok(Some(1))),
            (r#"" 1 ""#, Ok(Some(true)), Ok(Some(1))),
            ("true", Ok(Some(true)), Err(Odd)),
            (r#""False""#, Ok(Some(false)), Err(Odd)),
            ("null", Ok(None), Ok(None)),
            (r#""""#, Ok(None), Ok(None)),
            ("80.0", Err(Odd), Ok(Some(80))),
            ("-1", Err(Odd), Err(Odd)),
            ("65536", Err(Odd), Err(Odd)),
            ("[1]", Err(Odd), Err(Odd)),
            (r#"{"a":[1]}"#, Err(Odd), Err(Odd)),
        ] {
            let value: Loose = serde_json::from_str(json).unwrap();
            assert_eq!(value.switch(), switch, "{json}");
            assert_eq!(value.number::<u16>(), number, "{json}");
        }
    }
}
