//! Which objects of a collection are meant: label and field selectors.
//!
//! Source: apimachinery pkg/labels (Parse) and pkg/fields (ParseSelector).

use serde_json::Value;

use super::object::{Resource, text};
use super::status::Failure;

/// Both selectors; the default takes all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Selector {
    labels: Vec<LabelTerm>,
    fields: Vec<FieldTerm>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum LabelTerm {
    /// Present, with one of these values.
    In(String, Vec<String>),
    /// Absent, or with another value.
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct FieldTerm {
    field: String,
    value: String,
    equal: bool,
}

impl Selector {
    /// # Errors
    /// 400 for what does not parse and for a field that cannot be selected by.
    pub(super) fn parse(resource: Resource, labels: &str, fields: &str) -> Result<Self, Failure> {
        Ok(Self {
            labels: parse_labels(labels)?,
            fields: parse_fields(resource, fields)?,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        self.labels.iter().all(|term| term.matches(object))
            && self.fields.iter().all(|term| term.matches(object))
    }

    /// The only name there can be, when a field selector names it.
    pub(super) fn name(&self) -> Option<&str> {
        self.fields
            .iter()
            .find(|t| t.equal && t.field == "metadata.name")
            .map(|t| t.value.as_str())
    }
}

impl LabelTerm {
    fn matches(&self, object: &Value) -> bool {
        let label = |key: &str| object.pointer("/metadata/labels")?.get(key)?.as_str();
        match self {
            Self::In(key, values) => label(key).is_some_and(|label| values.iter().any(|v| v == label)),
            Self::NotIn(key, values) => label(key).is_none_or(|label| values.iter().all(|v| v != label)),
            Self::Exists(key) => label(key).is_some(),
            Self::Absent(key) => label(key).is_none(),
        }
    }
}

impl FieldTerm {
    fn matches(&self, object: &Value) -> bool {
        let pointer = format!("/{}", self.field.replace('.', "/"));
        let value = match object.pointer(&pointer) {
            Some(Value::Bool(set)) => set.to_string(),
            None if self.field == "spec.unschedulable" => "false".to_owned(),
            None if self.field == "source" => text(object, "/source/component").to_owned(),
            Some(Value::Object(_)) if self.field == "source" => text(object, "/source/component").to_owned(),
            _ => text(object, &pointer).to_owned(),
        };
        (value == self.value) == self.equal
    }
}

fn parse_fields(resource: Resource, selector: &str) -> Result<Vec<FieldTerm>, Failure> {
    let mut terms = Vec::new();
    for term in selector.split(',').filter(|term| !term.is_empty()) {
        let (field, value, equal) = if let Some((field, value)) = term.split_once("!=") {
            (field, value, false)
        } else if let Some((field, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
            (field, value, true)
        } else {
            return Err(Failure::bad_request(format!(
                "invalid field selector: can't understand '{term}'"
            )));
        };
        if !selectable(resource, field) {
            return Err(Failure::bad_request(format!(
                "field label not supported: {field}"
            )));
        }
        terms.push(FieldTerm {
            field: field.to_owned(),
            value: value.to_owned(),
            equal,
        });
    }
    Ok(terms)
}

/// Source: kubernetes pkg/apis/core/v1/conversion.go (AddFieldLabelConversionsFor…).
fn selectable(resource: Resource, field: &str) -> bool {
    let own: &[&str] = match resource {
        Resource::Namespaces => &["status.phase"],
        Resource::Nodes => &["spec.unschedulable"],
        Resource::Services => &["spec.clusterIP", "spec.type"],
        Resource::ConfigMaps | Resource::Leases => &[],
        Resource::Events => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
    };
    field == "metadata.name"
        || (field == "metadata.namespace" && resource.namespaced())
        || own.contains(&field)
}

fn parse_labels(selector: &str) -> Result<Vec<LabelTerm>, Failure> {
    split_terms(selector)
        .into_iter()
        .map(str::trim)
        .filter(|term| !term.is_empty())
        .map(parse_label)
        .collect()
}

fn parse_label(term: &str) -> Result<LabelTerm, Failure> {
    let (key, rest) = match term.find([' ', '=', '!', '(']) {
        Some(0) => {
            let key = term.strip_prefix('!').unwrap_or("").trim();
            return named(key, term).map(LabelTerm::Absent);
        }
        Some(at) => term.split_at(at),
        None => (term, ""),
    };
    let key = named(key, term)?;
    let rest = rest.trim();
    let set = |rest: &str| {
        let values = rest.trim().strip_prefix('(')?.strip_suffix(')')?;
        Some(values.split(',').map(|v| v.trim().to_owned()).collect())
    };
    let one = |value: &str| vec![value.trim().to_owned()];
    let understood = if rest.is_empty() {
        Some(LabelTerm::Exists(key))
    } else if let Some(value) = rest.strip_prefix("!=") {
        Some(LabelTerm::NotIn(key, one(value)))
    } else if let Some(value) = rest.strip_prefix("==").or_else(|| rest.strip_prefix('=')) {
        Some(LabelTerm::In(key, one(value)))
    } else if let Some(values) = rest.strip_prefix("notin") {
        set(values).map(|values| LabelTerm::NotIn(key, values))
    } else if let Some(values) = rest.strip_prefix("in") {
        set(values).map(|values| LabelTerm::In(key, values))
    } else {
        None
    };
    understood.ok_or_else(|| unparsable(term))
}

fn named(key: &str, term: &str) -> Result<String, Failure> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if key.is_empty() || !key.chars().all(legal) {
        return Err(unparsable(term));
    }
    Ok(key.to_owned())
}

fn unparsable(term: &str) -> Failure {
    Failure::bad_request(format!("unable to parse requirement: {term:?}"))
}

/// At commas, but for those in parentheses.
fn split_terms(selector: &str) -> Vec<&str> {
    let (mut terms, mut start, mut depth) = (Vec::new(), 0, 0);
    for (at, c) in selector.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                terms.push(&selector[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&selector[start..]);
    terms
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_selector_takes_what_it_says() {
        let object = json!({"metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web", "a.b/c": ""}},
            "spec": {"type": "LoadBalancer"}});
        for (labels, fields, want) in [
            ("", "", true),
            ("app=web", "", true),
            ("app==web,a.b/c", "", true),
            ("app!=web", "", false),
            ("other!=x", "", true),
            ("!other", "", true),
            ("!app", "", false),
            ("app in (api, web),other notin (x)", "", true),
            ("app notin (api,web)", "", false),
            ("", "metadata.name=web", true),
            ("", "metadata.name==web,metadata.namespace!=shop", false),
            ("", "spec.type=LoadBalancer", true),
            ("app=web", "metadata.name=api", false),
        ] {
            let selector = Selector::parse(Resource::Services, labels, fields).unwrap();
            assert_eq!(selector.matches(&object), want, "{labels:?} {fields:?}");
        }
    }

    #[test]
    fn events_are_selected_by_what_they_are_about() {
        let event =
            json!({"involvedObject": {"kind": "Service", "name": "web"}, "source": {"component": "ccm"}});
        for (fields, want) in [
            ("involvedObject.name=web,involvedObject.kind!=Node", true),
            ("involvedObject.name=web,involvedObject.namespace=shop", false),
            ("source=ccm", true),
        ] {
            let selector = Selector::parse(Resource::Events, "", fields).unwrap();
            assert_eq!(selector.matches(&event), want, "{fields}");
        }
    }

    #[test]
    fn what_cannot_be_selected_by_is_refused() {
        for (labels, fields, want) in [
            ("", "spec.foo=bar", "field label not supported: spec.foo"),
            (
                "",
                "nonsense",
                "invalid field selector: can't understand 'nonsense'",
            ),
            ("!!", "", "unable to parse requirement: \"!!\""),
            ("a in b", "", "unable to parse requirement: \"a in b\""),
        ] {
            let failure = Selector::parse(Resource::Services, labels, fields).unwrap_err();
            assert_eq!((failure.code, failure.message.as_str()), (400, want));
        }
    }
}
