//! Typed readers over plain data, which collect what is wrong.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{ClusterAccess, Object, Problems, is_nothing};
use crate::http::agent::Pem;
use crate::runtime::secret::Secret;

/// A named entry's body, and where it stands.
pub(super) struct Entry<'a> {
    pub(super) map: &'a Object,
    /// `/etc/kubeconfig: user "admin"`
    pub(super) place: String,
}

impl Entry<'_> {
    /// What is wrong with a field.
    pub(super) fn at(&self, field: &str, reason: &str) -> String {
        format!("{}: {field}: {reason}", self.place)
    }
}

pub(super) struct Reader<'a> {
    file: &'a Path,
    /// Relative paths start here.
    pub(super) folder: PathBuf,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a Path) -> Self {
        Self {
            file,
            folder: file.parent().unwrap_or(Path::new("")).to_owned(),
            problems: Vec::new(),
        }
    }

    pub(super) fn problem(&mut self, problem: String) {
        self.problems.push(problem);
    }

    pub(super) fn finish(self, access: ClusterAccess) -> Result<ClusterAccess, Problems> {
        match self.problems.is_empty() {
            true => Ok(access),
            false => Err(Problems(self.problems)),
        }
    }

    /// The document; an empty one has no entries.
    pub(super) fn root<'v>(&mut self, config: &'v Value) -> Option<&'v Object> {
        match config {
            Value::Object(map) => Some(map),
            Value::Null => None,
            _ => {
                self.problem(format!("{}: it is no kubeconfig", self.file.display()));
                None
            }
        }
    }

    /// Cluster and user of the current context. Without a context there may be a master given elsewhere.
    pub(super) fn current<'v>(
        &mut self,
        root: Option<&'v Object>,
        has_master: bool,
    ) -> (Option<Entry<'v>>, Option<Entry<'v>>) {
        let file = self.file.display().to_string();
        let name = root
            .and_then(|map| map.get("current-context"))
            .and_then(scalar)
            .filter(|n| !n.is_empty());
        let (Some(map), Some(name)) = (root, name) else {
            if !has_master && self.problems.is_empty() {
                self.problem(format!("{file}: current-context: it names no context"));
            }
            return (None, None);
        };
        let Some(context) = self.entry(map, "contexts", "context", &name) else {
            let reason = format!("there is no context {name:?}");
            self.problem(format!("{file}: current-context: {reason}"));
            return (None, None);
        };
        let cluster = match self.text(&context, "cluster") {
            Some(name) => self.wanted(map, &context, "cluster", &name),
            None if has_master => None,
            None => {
                self.problem(context.at("cluster", "it is missing"));
                None
            }
        };
        let user = self
            .text(&context, "user")
            .and_then(|name| self.wanted(map, &context, "user", &name));
        (cluster, user)
    }

    fn wanted<'v>(
        &mut self,
        root: &'v Object,
        context: &Entry<'_>,
        kind: &'static str,
        name: &str,
    ) -> Option<Entry<'v>> {
        let found = self.entry(root, &format!("{kind}s"), kind, name);
        if found.is_none() {
            self.problem(context.at(kind, &format!("there is no {kind} {name:?}")));
        }
        found
    }

    /// The body of the first entry called `name`.
    fn entry<'v>(&mut self, root: &'v Object, list: &str, kind: &str, name: &str) -> Option<Entry<'v>> {
        let found = root
            .get(list)?
            .as_array()?
            .iter()
            .find(|entry| entry.get("name").and_then(scalar).as_deref() == Some(name))?;
        let place = format!("{}: {kind} {name:?}", self.file.display());
        match found.get(kind) {
            Some(Value::Object(map)) => Some(Entry { map, place }),
            _ => {
                self.problem(format!("{place}: it has no {kind}"));
                None
            }
        }
    }

    /// A scalar that is there and not empty.
    pub(super) fn text(&mut self, entry: &Entry<'_>, field: &str) -> Option<String> {
        let value = entry.map.get(field).filter(|value| !is_nothing(value))?;
        let text = scalar(value);
        if text.is_none() {
            self.problem(entry.at(field, "it is no text"));
        }
        text
    }

    /// False when it is missing.
    pub(super) fn flag(&mut self, entry: &Entry<'_>, field: &str) -> bool {
        match self.text(entry, field).as_deref() {
            None | Some("false" | "False" | "FALSE") => false,
            Some("true" | "True" | "TRUE") => true,
            Some(_) => {
                self.problem(entry.at(field, "it is neither true nor false"));
                false
            }
        }
    }

    pub(super) fn path(&mut self, entry: &Entry<'_>, field: &str) -> Option<PathBuf> {
        self.text(entry, field).map(|path| self.folder.join(path))
    }

    /// `field-data` in base64, or the path in `field`. Data wins. Source: client-go, rest/transport.go.
    pub(super) fn pem(&mut self, entry: &Entry<'_>, field: &str) -> Option<Pem> {
        let data_field = format!("{field}-data");
        let Some(data) = self.text(entry, &data_field) else {
            return self.path(entry, field).map(Pem::File);
        };
        let packed: String = data.split_ascii_whitespace().collect();
        let decoded = STANDARD
            .decode(packed)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        match decoded {
            Some(text) => Some(Pem::Text {
                from: entry.at(&data_field, "").trim_end_matches([':', ' ']).to_owned(),
                text: Secret::new(text),
            }),
            None => {
                self.problem(entry.at(&data_field, "it is not PEM in base64"));
                None
            }
        }
    }

    pub(super) fn texts(&mut self, entry: &Entry<'_>, field: &str) -> Vec<String> {
        let texts = match entry.map.get(field) {
            None | Some(Value::Null) => Some(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(scalar).collect(),
            Some(_) => None,
        };
        texts.unwrap_or_else(|| {
            self.problem(entry.at(field, "it is no list of texts"));
            Vec::new()
        })
    }

    /// A list of `name` and `value`.
    pub(super) fn pairs(&mut self, entry: &Entry<'_>, field: &str) -> Vec<(String, Secret)> {
        let pair = |item: &Value| {
            let name = item
                .get("name")
                .and_then(scalar)
                .filter(|name| !name.is_empty() && !name.contains(['=', '\0']));
            let value = item
                .get("value")
                .map_or(Some(String::new()), scalar)
                .filter(|value| !value.contains('\0'));
            Some((name?, Secret::new(value?)))
        };
        let pairs = match entry.map.get(field) {
            None | Some(Value::Null) => Some(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(pair).collect(),
            Some(_) => None,
        };
        pairs.unwrap_or_else(|| {
            self.problem(entry.at(field, "it is no list of names and values"));
            Vec::new()
        })
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
