//! Leaves out of an object what makes most of its bytes and nobody reads: a kubelet's heartbeat carries all images of its
//! machine. Pure, and an economy alone: a spelling that it does not know is left to the full decoder.

use memchr::{memchr2, memchr3};

/// What is left out: a member, and which member of the object it belongs to.
const UNREAD: &[(&str, &str)] = &[
    ("metadata", "managedFields"),
    ("status", "allocatable"),
    ("status", "capacity"),
    ("status", "images"),
    ("status", "nodeInfo"),
];

/// `object` with `null` in the place of what nobody reads; `None` when it is not spelled as an API server spells it:
/// without blanks, and with nothing behind it.
pub(super) fn skim(object: &str) -> Option<String> {
    let mut kept = String::with_capacity(object.len().min(4 << 10));
    let (mut cursor, mut copied) = (Cursor { json: object, at: 0 }, 0);
    cursor.members(|cursor, group| {
        if !UNREAD.iter().any(|(of, _)| *of == group) {
            return cursor.value();
        }
        cursor.members(|cursor, member| {
            let begin = cursor.at;
            cursor.value()?;
            if UNREAD.contains(&(group, member)) {
                kept.push_str(&object[copied..begin]);
                kept.push_str("null");
                copied = cursor.at;
            }
            Some(())
        })
    })?;
    if cursor.at < object.len() {
        return None;
    }
    kept.push_str(&object[copied..]);
    Some(kept)
}

/// A place in JSON. It knows where values end, not whether they are right: whoever reads what is kept judges that.
struct Cursor<'a> {
    json: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn byte(&mut self) -> Option<u8> {
        let byte = self.json.as_bytes().get(self.at).copied();
        self.at += 1;
        byte
    }

    /// Walks over an object; `each` is called with a key, in front of its value, and walks over that.
    fn members(&mut self, mut each: impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        if self.byte()? != b'{' {
            return None;
        }
        if self.json.as_bytes().get(self.at) == Some(&b'}') {
            self.at += 1;
            return Some(());
        }
        loop {
            if self.byte()? != b'"' {
                return None;
            }
            let key = self.at;
            self.text()?;
            let key = &self.json[key..self.at - 1];
            if self.byte()? != b':' {
                return None;
            }
            each(self, key)?;
            match self.byte()? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    /// Walks over a value.
    fn value(&mut self) -> Option<()> {
        match self.byte()? {
            b'"' => self.text(),
            b'{' | b'[' => self.nested(),
            _ => {
                let rest = &self.json.as_bytes()[self.at..];
                self.at += memchr3(b',', b'}', b']', rest)?;
                Some(())
            }
        }
    }

    /// Walks to the end of what a brace or bracket has opened.
    fn nested(&mut self) -> Option<()> {
        let mut depth = 1;
        while depth > 0 {
            match self.byte()? {
                b'"' => self.text()?,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
        }
        Some(())
    }

    /// Walks to the end of a text, behind its quote.
    fn text(&mut self) -> Option<()> {
        loop {
            let rest = self.json.as_bytes().get(self.at..)?;
            let found = memchr2(b'"', b'\\', rest)?;
            self.at += found + 1;
            if rest[found] == b'"' {
                return Some(());
            }
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn what_nobody_reads_is_left_out() {
        for (case, object, want) in [
            ("nothing", "{}", Some("{}")),
            (
                "no such member",
                r#"{"metadata":{"name":"a"}}"#,
                Some(r#"{"metadata":{"name":"a"}}"#),
            ),
            (
                "images",
                r#"{"status":{"images":[{"names":["a]","\\\"]"]}],"addresses":[]}}"#,
                Some(r#"{"status":{"images":null,"addresses":[]}}"#),
            ),
            (
                "several",
                r#"{"metadata":{"managedFields":[{"f":{}}],"uid":"u"},"status":{"capacity":{},"nodeInfo":7}}"#,
                Some(
                    r#"{"metadata":{"managedFields":null,"uid":"u"},"status":{"capacity":null,"nodeInfo":null}}"#,
                ),
            ),
            (
                "of somebody else",
                r#"{"spec":{"images":[1]},"metadata":{"labels":{"images":"x","managedFields":"y"}}}"#,
                Some(r#"{"spec":{"images":[1]},"metadata":{"labels":{"images":"x","managedFields":"y"}}}"#),
            ),
            (
                "written differently",
                r#"{"status":{"im\u0061ges":[1]}}"#,
                Some(r#"{"status":{"im\u0061ges":[1]}}"#),
            ),
            ("with blanks", r#"{"status": {"images":[]}}"#, None),
            ("cut in a text", r#"{"status":{"images":["\"#, None),
            ("cut in an escape", r#"{"status":{"images":["\""#, None),
            ("cut", r#"{"status":{"images":["#, None),
            ("no object", "[1]", None),
            ("a status that is none", r#"{"status":null}"#, None),
            ("two objects", "{}{}", None),
        ] {
            assert_eq!(skim(object).as_deref(), want, "{case}");
        }
    }

    /// Any JSON, as compact as servers write it.
    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z\"\\\\{}\\[\\],:é\n]{0,8}".prop_map(Value::from),
        ];
        let key = prop_oneof![
            Just("metadata".to_owned()),
            Just("status".to_owned()),
            Just("images".to_owned()),
            Just("managedFields".to_owned()),
            "[a-z\"\\\\{}]{0,4}",
        ];
        leaf.prop_recursive(5, 64, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((key.clone(), inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Nothing else is changed, whatever it looks like.
        #[test]
        fn all_else_is_kept(mut object in json()) {
            if let Some(skimmed) = skim(&object.to_string()) {
                for (group, member) in UNREAD {
                    if let Some(found) = object.get_mut(group).and_then(|group| group.get_mut(member)) {
                        *found = Value::Null;
                    }
                }
                prop_assert_eq!(serde_json::from_str::<Value>(&skimmed).unwrap(), object);
            }
        }
    }
}
