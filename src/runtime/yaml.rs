//! YAML files (kubeconfig, cloud config) as plain data: mappings, lists and text.
//!
//! A scalar stays the text that was written, so that `token: 0123` and `name: no` lose nothing; who wants a number reads it
//! from the text. What makes YAML dangerous or surprising is refused: anchors and aliases, tags that change the meaning,
//! several documents, deep nesting, many nodes.

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Value};

/// Deeper nesting is refused.
const MAX_DEPTH: usize = 64;
/// More scalars, lists and mappings together are refused.
const MAX_NODES: usize = 50_000;

/// Why a text is not acceptable YAML, and where. Never shows any of the text, which may be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct Error {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong, in words of ours or the parser's.
    pub reason: String,
}

/// A value, and where it begins. Has no `Debug`: its texts may be secret.
pub struct Node {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The value.
    pub data: Data,
}

/// What a YAML value is to us.
pub enum Data {
    /// `null`, `~`, or nothing.
    Null,
    /// Any other scalar, as written: `no`, `0x10` and `1e3` are three texts.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the file's order. Keys may repeat here: [`parse`] refuses that, other readers report it as they like.
    Map(Vec<(Key, Node)>),
}

/// A mapping's key, and where it begins.
pub struct Key {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// As written, even where it would be null as a value.
    pub text: String,
}

/// `text` as JSON: mappings become objects, lists arrays, every scalar but null a string.
///
/// An empty text, one of comments only, and a document that is null are an empty object. A byte-order mark, and an empty
/// last document, are ignored.
///
/// # Errors
/// What is not YAML or is refused (see the module), or a key that is given twice.
pub fn parse(text: &str) -> Result<Value, Error> {
    match parse_spanned(text)?.into_value()? {
        Value::Null => Ok(Value::Object(Map::new())),
        value => Ok(value),
    }
}

/// Like [`parse`], but with positions, with repeated keys kept, and with null for an empty text.
///
/// # Errors
/// What is not YAML or is refused (see the module).
pub fn parse_spanned(text: &str) -> Result<Node, Error> {
    let mut parser = Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut builder = Builder::default();
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|e| {
            // the one reason of the parser's that quotes the text
            let reason = match e.info() {
                info if info.starts_with("unexpected character") => "a character that needs quotes",
                info => info,
            };
            error(e.marker().line(), e.marker().col() + 1, reason)
        })?;
        builder.take(event, span)?;
    }
    Ok(builder.documents.pop().unwrap_or(Node {
        line: 1,
        column: 1,
        data: Data::Null,
    }))
}

fn error(line: usize, column: usize, reason: &str) -> Error {
    Error {
        line,
        column,
        reason: reason.to_owned(),
    }
}

impl Node {
    fn into_value(self) -> Result<Value, Error> {
        Ok(match self.data {
            Data::Null => Value::Null,
            Data::Text(text) => Value::String(text),
            Data::List(items) => Value::Array(
                items
                    .into_iter()
                    .map(Node::into_value)
                    .collect::<Result<_, _>>()?,
            ),
            Data::Map(entries) => {
                let mut object = Map::new();
                for (key, node) in entries {
                    if object.insert(key.text, node.into_value()?).is_some() {
                        return Err(error(key.line, key.column, "this key is given twice"));
                    }
                }
                Value::Object(object)
            }
        })
    }
}

/// Builds nodes from the parser's events.
#[derive(Default)]
struct Builder {
    /// Lists and mappings not yet closed, the innermost last.
    open: Vec<Open>,
    /// Finished documents; at most one that is not null.
    documents: Vec<Node>,
    nodes: usize,
}

struct Open {
    node: Node,
    /// In a mapping, the key whose value comes next.
    key: Option<Key>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Error> {
        let (line, column) = (span.start.line(), span.start.col() + 1);
        let refuse = |reason: &str| Err(error(line, column, reason));
        let (anchor, data) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                (anchor, scalar(text.into_owned(), style, tag.as_deref()))
            }
            Event::SequenceStart(anchor, tag) => (
                anchor,
                allowed(tag.as_deref(), &["seq"]).then(|| Data::List(Vec::new())),
            ),
            Event::MappingStart(anchor, tag) => (
                anchor,
                allowed(tag.as_deref(), &["map"]).then(|| Data::Map(Vec::new())),
            ),
            Event::SequenceEnd | Event::MappingEnd => {
                let closed = self.open.pop().expect("the parser closes only what it opened");
                return self.place(closed.node);
            }
            Event::Alias(_) => return refuse("aliases are not supported: write the value out"),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => return Ok(()),
        };
        self.nodes += 1;
        let Some(data) = data else {
            return refuse("this tag is not supported");
        };
        if anchor != 0 {
            return refuse("anchors are not supported: write the value out where it is needed");
        }
        if self.nodes > MAX_NODES {
            return refuse("too many values");
        }
        if self.open.len() >= MAX_DEPTH {
            return refuse("nested too deeply");
        }
        let node = Node { line, column, data };
        match node.data {
            Data::List(_) | Data::Map(_) => {
                self.open.push(Open { node, key: None });
                Ok(())
            }
            Data::Null | Data::Text(_) => self.place(node),
        }
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, node: Node) -> Result<(), Error> {
        let Some(parent) = self.open.last_mut() else {
            return self.document(node);
        };
        match (&mut parent.node.data, parent.key.take()) {
            (Data::Map(entries), Some(key)) => entries.push((key, node)),
            (Data::Map(_), None) => {
                let text = match node.data {
                    Data::Text(text) => text,
                    Data::Null => String::from("null"),
                    _ => return Err(error(node.line, node.column, "a key must be text")),
                };
                parent.key = Some(Key {
                    line: node.line,
                    column: node.column,
                    text,
                });
            }
            (Data::List(items), _) => items.push(node),
            (Data::Null | Data::Text(_), _) => unreachable!("only lists and mappings are open"),
        }
        Ok(())
    }

    fn document(&mut self, node: Node) -> Result<(), Error> {
        match (self.documents.is_empty(), &node.data) {
            (true, _) => self.documents.push(node),
            (false, Data::Null) => {}
            (false, _) => {
                return Err(error(
                    node.line,
                    node.column,
                    "a second document is not supported",
                ));
            }
        }
        Ok(())
    }
}

/// `None` for a tag that is not supported.
fn scalar(text: String, style: ScalarStyle, tag: Option<&Tag>) -> Option<Data> {
    let null = match tag {
        None => style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL"),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "null" => true,
        tag if allowed(tag, &["str", "int", "float", "bool"]) => false,
        Some(_) => return None,
    };
    Some(if null { Data::Null } else { Data::Text(text) })
}

/// Whether a tag says no more than we take the value for anyway.
fn allowed(tag: Option<&Tag>, names: &[&str]) -> bool {
    tag.is_none_or(|tag| tag.is_yaml_core_schema() && names.contains(&&*tag.suffix))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn scalars_stay_what_was_written() {
        for (case, text, want) in [
            ("empty", "", json!({})),
            ("comments only", "# nothing\n\n", json!({})),
            ("a null document", "---\n~\n", json!({})),
            ("a number", "token: 0123", json!({"token": "0123"})),
            (
                "a boolean",
                "name: no\nother: true",
                json!({"name": "no", "other": "true"}),
            ),
            ("a quoted number", "port: \"80\"", json!({"port": "80"})),
            (
                "nulls",
                "a:\nb: ~\nc: null\nd: Null",
                json!({"a": null, "b": null, "c": null, "d": null}),
            ),
            (
                "quoted nulls",
                "a: ''\nb: \"~\"\nc: 'null'",
                json!({"a": "", "b": "~", "c": "null"}),
            ),
            ("a null key", "null: x", json!({"null": "x"})),
            (
                "tags of the core schema",
                "a: !!str null\nb: !!int 1\nc: !!null x",
                json!({"a": "null", "b": "1", "c": null}),
            ),
            (
                "flow style",
                "{a: [1, {b: c}], \"d\": []}",
                json!({"a": ["1", {"b": "c"}], "d": []}),
            ),
            (
                "JSON",
                r#"{"a": {"b": [true, null, 1.5, "x\ny"]}}"#,
                json!({"a": {"b": ["true", null, "1.5", "x\ny"]}}),
            ),
            (
                "a literal block",
                "ca: |\n  one\n  two\nx: y",
                json!({"ca": "one\ntwo\n", "x": "y"}),
            ),
            ("a folded block", "a: >-\n  one\n  two", json!({"a": "one two"})),
            (
                "a plain scalar over lines",
                "a: one\n  two\nb: c",
                json!({"a": "one two", "b": "c"}),
            ),
            (
                "escapes",
                "a: \"x\\ty\"\nb: 'it''s'",
                json!({"a": "x\ty", "b": "it's"}),
            ),
            (
                "Windows line ends",
                "a: b\r\nc:\r\n- d\r\n- e\r\n",
                json!({"a": "b", "c": ["d", "e"]}),
            ),
            (
                "Windows line ends in a block",
                "a: |\r\n  one\r\n  two\r\n",
                json!({"a": "one\ntwo\n"}),
            ),
            ("a byte-order mark", "\u{feff}a: b", json!({"a": "b"})),
            ("an empty last document", "a: b\n---\n", json!({"a": "b"})),
            ("a document end", "---\na: b\n...\n", json!({"a": "b"})),
            (
                "a list without indent",
                "a:\n- b\n- c: d\n  e: f",
                json!({"a": ["b", {"c": "d", "e": "f"}]}),
            ),
            (
                "a value with = and #",
                "a: b=c#d # comment",
                json!({"a": "b=c#d"}),
            ),
        ] {
            assert_eq!(parse(text), Ok(want), "{case}");
        }
    }

    #[test]
    fn a_kubeconfig_reads_as_kubectl_writes_it() {
        let text = "apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: LS0tLS1CRUdJTg==
    server: https://10.0.0.1:6443
  name: prod
contexts:
- context: {cluster: prod, user: ccm}
  name: ccm@prod
current-context: ccm@prod
kind: Config
preferences: {}
users:
- name: ccm
  user:
    exec:
      args: [\"get-token\", -v]
      command: helper
      env: null
";
        let want = json!({
            "apiVersion": "v1",
            "clusters": [{"cluster": {"certificate-authority-data": "LS0tLS1CRUdJTg==", "server": "https://10.0.0.1:6443"}, "name": "prod"}],
            "contexts": [{"context": {"cluster": "prod", "user": "ccm"}, "name": "ccm@prod"}],
            "current-context": "ccm@prod",
            "kind": "Config",
            "preferences": {},
            "users": [{"name": "ccm", "user": {"exec": {"args": ["get-token", "-v"], "command": "helper", "env": null}}}],
        });
        assert_eq!(parse(text), Ok(want));
    }

    #[test]
    fn what_is_refused_is_refused_where_it_stands() {
        let laughs = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]";
        let wide = format!("[{}]", "x,".repeat(MAX_NODES));
        for (case, text, place, reason) in [
            ("billion laughs", laughs, (1, 4), "anchors"),
            ("an alias", "a: *b", (1, 4), "unknown anchor"),
            ("a duplicate key", "a: 1\nb:\n  c: 1\n  c: 2", (4, 3), "twice"),
            ("a second document", "a: 1\n---\nb: 2", (3, 1), "second document"),
            ("a key that is a list", "[a]: b", (1, 1), "must be text"),
            ("a tag", "a: !!binary aGk=", (1, 4), "tag"),
            ("a tag of somebody's own", "a: !vault x", (1, 4), "tag"),
            ("too many nodes", &wide, (1, 100_000), "too many"),
            ("a tab as indent", "a:\n\tb: c", (2, 2), "tab"),
            ("an open quote", "a: \"b", (1, 4), "quoted scalar"),
            (
                "a character that cannot begin a value",
                "a: @b",
                (1, 4),
                "needs quotes",
            ),
        ] {
            let error = parse(text).expect_err(case);
            assert!(error.reason.contains(reason), "{case}: {error}");
            assert_eq!((error.line, error.column), place, "{case}: {error}");
        }
    }

    #[test]
    fn nesting_ends_at_the_limit() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(&nested(MAX_DEPTH)).is_ok());
        for depth in [MAX_DEPTH + 1, 200, 300, 200_000] {
            assert!(parse(&nested(depth)).is_err(), "{depth}");
            assert!(
                parse(&"[".repeat(depth)).is_err(),
                "{depth} brackets never closed"
            );
            assert!(parse(&"- ".repeat(depth)).is_err(), "{depth} block lists");
        }
    }

    #[test]
    fn an_error_shows_nothing_of_the_text() {
        for text in [
            "password: hunter2\npassword: hunter2",
            "password: hunter2\nhunter2",
            "password: \"hunter2",
            "password: @hunter2",
            "password: *hunter2",
            "password: !hunter2 x",
            "hunter2\n---\nhunter2",
            "{hunter2",
            "? [hunter2]\n: hunter2",
        ] {
            let error = parse(text).expect_err(text);
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn positions_are_those_of_the_file() {
        let node = parse_spanned("# c\nslbUrl-pre: x\n\nkktoken:   y\nkktoken: z\n")
            .unwrap_or_else(|e| panic!("{e}"));
        let Data::Map(entries) = node.data else {
            panic!("not a mapping")
        };
        let places: Vec<_> = entries
            .iter()
            .map(|(k, v)| (&*k.text, k.line, v.line, v.column))
            .collect();
        assert_eq!(
            places,
            [
                ("slbUrl-pre", 2, 2, 13),
                ("kktoken", 4, 4, 12),
                ("kktoken", 5, 5, 10)
            ]
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn nothing_that_looks_like_yaml_makes_it_panic(text in "([-?:,\\[\\]{}#&*!|>'\"%@` \n\r\t~=]|[a-c0]|---|\\.\\.\\.|: |- |\n  |<<|é|\u{feff}){0,80}") {
            let _ = parse(&text);
        }

        #[test]
        fn json_of_texts_survives(map in proptest::collection::btree_map(".{0,12}", ".{0,40}", 0..6)) {
            let text = serde_json::to_string(&map).unwrap();
            // JSON allows control characters that YAML does not; where it is read, it is read right
            if let Ok(value) = parse(&text) {
                prop_assert_eq!(value, serde_json::to_value(&map).unwrap());
            }
        }
    }
}
