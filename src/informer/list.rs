//! One page of a list, read item by item: no more than one item is ever held besides those that are kept.

use std::fmt;
use std::io::Read;

use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::k8s::types::{Resource, null_default};
use crate::k8s::watch::Decoded;

/// What a page says of the list it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    /// The version of the whole list. Never empty.
    pub(super) resource_version: Box<str>,
    /// Asks for the next page; `None` on the last.
    pub(super) next: Option<String>,
}

/// Reads a page, handing over each item as it comes.
///
/// # Errors
/// The page proves nothing: it is cut short, is no list of `T`, has no version, or an item has no name, UID or
/// version. What was handed over must be dropped.
pub(super) fn read_page<T: Resource>(
    body: impl Read,
    each: &mut dyn FnMut(Decoded<T>),
) -> Result<Page, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_reader(std::io::BufReader::new(body));
    let page = PageSeed { each }.deserialize(&mut json)?;
    // reads to the end, where a cut connection shows
    json.end()?;
    Ok(page)
}

struct PageSeed<'a, T> {
    each: &'a mut dyn FnMut(Decoded<T>),
}

impl<'de, T: Resource> DeserializeSeed<'de> for PageSeed<'_, T> {
    type Value = Page;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Page, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Resource> Visitor<'de> for PageSeed<'_, T> {
    type Value = Page;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {}List", T::KIND)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Page, A::Error> {
        let (mut kind, mut api_version) = (String::new(), String::new());
        let (mut metadata, mut has_items) = (ListMeta::default(), false);
        while let Some(field) = map.next_key::<String>()? {
            match &*field {
                "kind" => kind = map.next_value()?,
                "apiVersion" => api_version = map.next_value()?,
                "metadata" => metadata = map.next_value()?,
                "items" => {
                    has_items = true;
                    map.next_value_seed(ItemsSeed {
                        each: &mut *self.each,
                    })?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let is_list = kind.strip_suffix("List") == Some(T::KIND) && api_version == "v1";
        if !is_list || !has_items {
            let odd = format!(
                "it is a {kind:?} of {api_version:?}, not a v1 {}List with items",
                T::KIND
            );
            return Err(de::Error::custom(odd));
        }
        if matches!(&*metadata.resource_version, "" | "0") {
            return Err(de::Error::custom("a list without a version"));
        }
        Ok(Page {
            resource_version: metadata.resource_version,
            next: Some(metadata.next).filter(|token| !token.is_empty()),
        })
    }
}

struct ItemsSeed<'a, T> {
    each: &'a mut dyn FnMut(Decoded<T>),
}

impl<'de, T: Resource> DeserializeSeed<'de> for ItemsSeed<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Resource> Visitor<'de> for ItemsSeed<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of items")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element::<Box<RawValue>>()? {
            (self.each)(Decoded::decode(item.get()).map_err(de::Error::custom)?);
        }
        Ok(())
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ListMeta {
    #[serde(deserialize_with = "null_default")]
    resource_version: Box<str>,
    #[serde(rename = "continue", deserialize_with = "null_default")]
    next: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::types::Node;

    const HEAD: &str =
        r#"{"kind":"NodeList","apiVersion":"v1","metadata":{"resourceVersion":"7","remainingItemCount":3}"#;
    const ITEM: &str = r#"{"metadata":{"name":"a","uid":"u","resourceVersion":"3","managedFields":[{}]}}"#;

    fn read(body: &str) -> Result<(Page, usize), serde_json::Error> {
        let mut items = 0;
        let page = read_page::<Node>(body.as_bytes(), &mut |_| items += 1)?;
        Ok((page, items))
    }

    #[test]
    fn a_page_hands_over_each_item() {
        for (case, body, want) in [
            ("no item", format!(r#"{HEAD},"items":[]}}"#), 0),
            ("null", format!(r#"{HEAD},"items":null}}"#), 0),
            ("two", format!(r#"{HEAD},"items":[{ITEM},{ITEM}]}}"#), 2),
            (
                "an odd one",
                format!(
                    r#"{HEAD},"items":[{ITEM},{}]}}"#,
                    ITEM.replace("}}", r#"},"spec":7}"#)
                ),
                2,
            ),
            (
                "items first",
                format!(r#"{{"items":[{ITEM}],{}}}"#, &HEAD[1..]),
                1,
            ),
        ] {
            let (page, items) = read(&body).unwrap_or_else(|error| panic!("{case}: {error}"));
            assert_eq!(
                (&*page.resource_version, page.next, items),
                ("7", None, want),
                "{case}"
            );
        }
        let more = HEAD.replace(r#""resource"#, r#""continue":"t=","resource"#);
        let (page, _) = read(&format!(r#"{more},"items":[]}}"#)).unwrap();
        assert_eq!(page.next.as_deref(), Some("t="));
    }

    #[test]
    fn what_proves_nothing_is_an_error() {
        let whole = format!(r#"{HEAD},"items":[{ITEM}]}}"#);
        for (case, body) in [
            ("nothing", String::new()),
            ("HTML", "<html>".into()),
            ("an empty object", "{}".into()),
            (
                "a Status",
                r#"{"kind":"Status","apiVersion":"v1","code":200,"metadata":{}}"#.into(),
            ),
            ("another kind", whole.replace("NodeList", "PodList")),
            ("a Table", whole.replace("NodeList", "Table")),
            ("another version", whole.replace(r#""v1""#, r#""v2""#)),
            ("no items", format!("{HEAD}}}")),
            ("items of another form", format!(r#"{HEAD},"items":{{}}}}"#)),
            ("no list version", whole.replace(r#""7""#, r#""""#)),
            ("list version 0", whole.replace(r#""7""#, r#""0""#)),
            ("an item without a name", whole.replace(r#""name":"a","#, "")),
            ("an item without a UID", whole.replace(r#""uid":"u","#, "")),
            (
                "an item without a version",
                whole.replace(r#""resourceVersion":"3","#, ""),
            ),
            ("something after the end", format!("{whole} x")),
        ] {
            assert!(read(&body).is_err(), "{case}");
        }
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
        }
    }
}
