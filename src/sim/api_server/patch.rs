//! The three kinds of patch, as functions of the object and the patch.
//!
//! Source: RFC 7386; RFC 6902; for the strategic merge apimachinery pkg/util/strategicpatch, compared with
//! kube-apiserver 1.37.2.

use serde_json::{Map, Value};

use super::schema::{Merge, Type};
use super::status::Failure;

const DIRECTIVE: &str = "$patch";
const ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// Applies a JSON merge patch: objects merge, `null` deletes, all else replaces.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let target = target.as_object_mut().expect("made an object above");
    for (field, value) in patch {
        if value.is_null() {
            target.remove(field);
        } else {
            merge(target.entry(field).or_insert(Value::Null), value);
        }
    }
}

/// Applies a strategic merge patch to an object of `type_`: like [`merge`], but lists follow the type.
///
/// # Errors
/// An unknown directive, an element without its merge key, elements in another order than `$setElementOrder` gives: all
/// 500, as the real server answers.
pub(super) fn strategic(
    target: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    type_: Option<&'static Type>,
) -> Result<(), Failure> {
    match patch.get(DIRECTIVE).and_then(Value::as_str) {
        Some("replace") => {
            *target = patch.clone();
            target.remove(DIRECTIVE);
            return Ok(());
        }
        Some("delete") => {
            target.clear();
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => return Err(Failure::internal(format!("unknown patch type: {other}"))),
    }
    if let Some(Value::Array(keys)) = patch.get("$retainKeys") {
        target.retain(|field, _| keys.iter().any(|k| k.as_str() == Some(field)));
    }
    for (field, value) in patch {
        if let Some(list) = field.strip_prefix(DELETE_FROM) {
            delete_from(target, list, value);
        } else if field.starts_with('$') {
            // an order is read with its list, below; `$patch` and `$retainKeys` above
        } else if value.is_null() {
            target.remove(field);
        } else {
            let type_ = type_.and_then(|t| t.field(field));
            let order = patch.get(&format!("{ORDER}{field}")).and_then(Value::as_array);
            set_field(target, field, value, type_, order)?;
        }
    }
    for (field, order) in patch {
        let Some(list) = field.strip_prefix(ORDER) else {
            continue;
        };
        let type_ = type_.and_then(|t| t.field(list));
        if let (Some(order), false) = (order.as_array(), patch.contains_key(list)) {
            set_field(target, list, &Value::Array(Vec::new()), type_, Some(order))?;
        }
    }
    Ok(())
}

fn set_field(
    target: &mut Map<String, Value>,
    field: &str,
    value: &Value,
    type_: Option<&'static Type>,
    order: Option<&Vec<Value>>,
) -> Result<(), Failure> {
    match (value, type_) {
        (Value::Object(patch), type_) => {
            let entry = target.entry(field).or_insert_with(|| Value::Object(Map::new()));
            if !entry.is_object() {
                *entry = Value::Object(Map::new());
            }
            strategic(entry.as_object_mut().expect("made an object above"), patch, type_)
        }
        (Value::Array(patch), Some(Type::List(inner, how))) if *how != Merge::Replace => {
            let current = match target.get(field) {
                Some(Value::Array(items)) => items.clone(),
                _ => Vec::new(),
            };
            let merged = merge_list(current, patch, inner, *how, order)?;
            target.insert(field.to_owned(), Value::Array(merged));
            Ok(())
        }
        (value, _) => {
            target.insert(field.to_owned(), value.clone());
            Ok(())
        }
    }
}

fn delete_from(target: &mut Map<String, Value>, list: &str, gone: &Value) {
    let gone = gone.as_array().map_or(&[][..], Vec::as_slice);
    if let Some(Value::Array(items)) = target.get_mut(list) {
        items.retain(|item| !gone.contains(item));
    }
}

fn merge_list(
    mut list: Vec<Value>,
    patch: &[Value],
    inner: &'static Type,
    how: Merge,
    order: Option<&Vec<Value>>,
) -> Result<Vec<Value>, Failure> {
    let original: Vec<Value> = list.iter().map(|item| identity(item, how)).collect();
    let directive = |item: &Value| item.get(DIRECTIVE).and_then(Value::as_str).map(str::to_owned);
    if patch
        .iter()
        .any(|item| directive(item).as_deref() == Some("replace"))
    {
        return Ok(patch
            .iter()
            .filter(|item| directive(item).is_none())
            .cloned()
            .collect());
    }
    let mut patched = Vec::new();
    for item in patch {
        let id = identity(item, how);
        if let (Merge::By(key), true) = (how, id.is_null()) {
            return Err(Failure::internal(format!(
                "map: {item} does not contain declared merge key: {key}"
            )));
        }
        let found = list.iter().position(|other| identity(other, how) == id);
        match directive(item).as_deref() {
            Some("delete") => list.retain(|other| identity(other, how) != id),
            Some(other) => return Err(Failure::internal(format!("unknown patch type: {other}"))),
            None => {
                match found.map(|at| &mut list[at]) {
                    Some(Value::Object(old)) if item.is_object() => {
                        strategic(old, item.as_object().expect("tested above"), Some(inner))?;
                    }
                    Some(old) => *old = item.clone(),
                    None => list.push(item.clone()),
                }
                patched.push(id);
            }
        }
    }
    let order = match order {
        None => patched,
        Some(order) => {
            let order: Vec<Value> = order.iter().map(|item| identity(item, how)).collect();
            let places: Vec<_> = patched
                .iter()
                .map(|id| order.iter().position(|o| o == id))
                .collect();
            if places.iter().any(Option::is_none) || !places.is_sorted() {
                return Err(Failure::internal(format!(
                    "The order in patch list:\n{patched:?}\n doesn't match $setElementOrder list:\n{order:?}\n"
                )));
            }
            order
        }
    };
    Ok(arrange(list, &order, &original, how))
}

/// What makes two elements the same: the merge key's value, or the scalar itself.
fn identity(item: &Value, how: Merge) -> Value {
    match how {
        Merge::By(key) => item.get(key).cloned().unwrap_or(Value::Null),
        Merge::Set | Merge::Replace => item.clone(),
    }
}

/// Puts the elements the patch names in its order, and weaves the others in where the original had them, the
/// patch's first where nothing says otherwise.
fn arrange(list: Vec<Value>, order: &[Value], original: &[Value], how: Merge) -> Vec<Value> {
    let place = |places: &[Value], item: &Value| places.iter().position(|id| *id == identity(item, how));
    let (mut ordered, others): (Vec<Value>, Vec<Value>) =
        list.into_iter().partition(|item| place(order, item).is_some());
    ordered.sort_by_key(|item| place(order, item));
    let (mut ordered, mut others) = (ordered.into_iter().peekable(), others.into_iter().peekable());
    let mut arranged = Vec::new();
    loop {
        let next = match (ordered.peek(), others.peek()) {
            (None, None) => return arranged,
            (Some(_), None) => ordered.next(),
            (None, Some(_)) => others.next(),
            (Some(ours), Some(other)) => match (place(original, ours), place(original, other)) {
                (Some(ours), Some(other)) if other < ours => others.next(),
                _ => ordered.next(),
            },
        };
        arranged.extend(next);
    }
}

/// Applies a JSON patch.
///
/// # Errors
/// An operation that is none: 400. A path that does not exist or a test that fails: 422.
pub(super) fn json(target: &mut Value, operations: &Value) -> Result<(), Failure> {
    let Some(operations) = operations.as_array() else {
        return Err(Failure::bad_request("error decoding patch: not an array"));
    };
    for operation in operations {
        let part = |name: &str| operation.get(name).and_then(Value::as_str);
        let path = part("path").ok_or_else(unmet)?;
        match part("op") {
            Some("test") => {
                let want = operation.get("value").unwrap_or(&Value::Null);
                if target.pointer(path).unwrap_or(&Value::Null) != want {
                    return Err(unmet());
                }
            }
            Some("add") => add(target, path, operation.get("value").cloned().unwrap_or_default())?,
            Some("remove") => drop(take(target, path)?),
            Some("replace") => {
                *target.pointer_mut(path).ok_or_else(unmet)? =
                    operation.get("value").cloned().unwrap_or_default();
            }
            Some("move") => {
                let value = take(target, part("from").ok_or_else(unmet)?)?;
                add(target, path, value)?;
            }
            Some("copy") => {
                let from = part("from").ok_or_else(unmet)?;
                let value = target.pointer(from).cloned().ok_or_else(unmet)?;
                add(target, path, value)?;
            }
            _ => return Err(Failure::bad_request("error decoding patch: unknown operation")),
        }
    }
    Ok(())
}

fn add(target: &mut Value, path: &str, value: Value) -> Result<(), Failure> {
    let (parent, field) = path.rsplit_once('/').ok_or_else(unmet)?;
    match target.pointer_mut(parent) {
        Some(Value::Object(map)) => {
            map.insert(unescape(field), value);
            Ok(())
        }
        Some(Value::Array(list)) => {
            let at = match field {
                "-" => list.len(),
                index => index.parse().map_err(|_| unmet())?,
            };
            if at > list.len() {
                return Err(unmet());
            }
            list.insert(at, value);
            Ok(())
        }
        _ => Err(unmet()),
    }
}

fn take(target: &mut Value, path: &str) -> Result<Value, Failure> {
    let (parent, field) = path.rsplit_once('/').ok_or_else(unmet)?;
    match target.pointer_mut(parent) {
        Some(Value::Object(map)) => map.remove(&unescape(field)).ok_or_else(unmet),
        Some(Value::Array(list)) => match field.parse::<usize>() {
            Ok(at) if at < list.len() => Ok(list.remove(at)),
            _ => Err(unmet()),
        },
        _ => Err(unmet()),
    }
}

fn unescape(field: &str) -> String {
    field.replace("~1", "/").replace("~0", "~")
}

fn unmet() -> Failure {
    Failure::unprocessable_patch()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::object::Resource;
    use super::super::schema::type_of;
    use super::*;

    fn applied(resource: Resource, mut object: Value, patch: &Value) -> Result<Value, Failure> {
        strategic(
            object.as_object_mut().unwrap(),
            patch.as_object().unwrap(),
            Some(type_of(resource)),
        )?;
        Ok(object)
    }

    #[test]
    fn a_merge_patch_merges_objects_and_replaces_the_rest() {
        for (case, object, patch, want) in [
            (
                "add and change",
                json!({"a": 1}),
                json!({"a": 2, "b": {"c": 3}}),
                json!({"a": 2, "b": {"c": 3}}),
            ),
            (
                "null deletes",
                json!({"a": 1, "b": 2}),
                json!({"a": null, "c": null}),
                json!({"b": 2}),
            ),
            (
                "a list is one value",
                json!({"a": [1, 2]}),
                json!({"a": [3]}),
                json!({"a": [3]}),
            ),
            (
                "no null is left in what is new",
                json!({}),
                json!({"a": {"b": null, "c": 1}}),
                json!({"a": {"c": 1}}),
            ),
            (
                "an object in place of a scalar",
                json!({"a": 1}),
                json!({"a": {"b": 2}}),
                json!({"a": {"b": 2}}),
            ),
        ] {
            let mut target = object;
            merge(&mut target, &patch);
            assert_eq!(target, want, "{case}");
        }
    }

    #[test]
    fn a_strategic_patch_follows_the_type_of_each_list() {
        use Resource::{Nodes, Services};
        for (case, resource, object, patch, want) in [
            (
                "finalizers are a set",
                Services,
                json!({"metadata": {"finalizers": ["a/x"]}}),
                json!({"metadata": {"finalizers": ["a/y"]}}),
                json!({"metadata": {"finalizers": ["a/y", "a/x"]}}),
            ),
            (
                "one that is there stays where it is",
                Services,
                json!({"metadata": {"finalizers": ["a/x", "a/y"]}}),
                json!({"metadata": {"finalizers": ["a/y"]}}),
                json!({"metadata": {"finalizers": ["a/x", "a/y"]}}),
            ),
            (
                "one is taken away",
                Services,
                json!({"metadata": {"finalizers": ["a/x", "a/y"]}}),
                json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a/x"], "$setElementOrder/finalizers": ["a/y"]}}),
                json!({"metadata": {"finalizers": ["a/y"]}}),
            ),
            (
                "an order puts them so",
                Services,
                json!({"metadata": {"finalizers": ["a/x"]}}),
                json!({"metadata": {"finalizers": ["a/y"], "$setElementOrder/finalizers": ["a/y", "a/x"]}}),
                json!({"metadata": {"finalizers": ["a/y", "a/x"]}}),
            ),
            (
                "ports merge by number, as kubectl apply sends them",
                Services,
                json!({"spec": {"ports": [{"name": "a", "port": 80, "nodePort": 30080}, {"name": "b", "port": 444}]}}),
                json!({"spec": {"$setElementOrder/ports": [{"port": 80}, {"port": 445}],
                    "ports": [{"name": "b", "port": 445}, {"$patch": "delete", "port": 444}]}}),
                json!({"spec": {"ports": [{"name": "a", "port": 80, "nodePort": 30080}, {"name": "b", "port": 445}]}}),
            ),
            (
                "the first of two ports of one number",
                Services,
                json!({"spec": {"ports": [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}}),
                json!({"spec": {"ports": [{"port": 53, "name": "dns"}]}}),
                json!({"spec": {"ports": [{"port": 53, "protocol": "TCP", "name": "dns"}, {"port": 53, "protocol": "UDP"}]}}),
            ),
            (
                "taints are one value",
                Nodes,
                json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}, {"key": "b", "effect": "NoExecute"}]}}),
                json!({"spec": {"taints": [{"key": "b", "effect": "NoExecute"}]}}),
                json!({"spec": {"taints": [{"key": "b", "effect": "NoExecute"}]}}),
            ),
            (
                "conditions merge by type",
                Nodes,
                json!({"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "r"}, {"type": "Other"}]}}),
                json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}),
                json!({"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "r"}, {"type": "Other"}]}}),
            ),
            (
                "a new condition comes first",
                Nodes,
                json!({"status": {"conditions": [{"type": "Ready"}]}}),
                json!({"status": {"conditions": [{"type": "NetworkUnavailable"}]}}),
                json!({"status": {"conditions": [{"type": "NetworkUnavailable"}, {"type": "Ready"}]}}),
            ),
            (
                "addresses merge by type, wrongly: the first of the type changes",
                Nodes,
                json!({"status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.2"}, {"type": "InternalIP", "address": "10.0.0.3"}]}}),
                json!({"status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.4"}]}}),
                json!({"status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.4"}, {"type": "InternalIP", "address": "10.0.0.3"}]}}),
            ),
            (
                "addresses replaced",
                Nodes,
                json!({"status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.2"}, {"type": "Hostname", "address": "n1"}]}}),
                json!({"status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.4"}, {"$patch": "replace"}]}}),
                json!({"status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.4"}]}}),
            ),
            (
                "an object replaced, and a null",
                Services,
                json!({"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d", "e": "f"}}}),
                json!({"metadata": {"labels": {"$patch": "replace", "x": "y"}, "annotations": {"c": null}}}),
                json!({"metadata": {"labels": {"x": "y"}, "annotations": {"e": "f"}}}),
            ),
        ] {
            assert_eq!(applied(resource, object, &patch).unwrap(), want, "{case}");
        }
    }

    #[test]
    fn a_strategic_patch_that_makes_no_sense_is_refused() {
        for (case, patch, want) in [
            ("no merge key", json!({"spec": {"ports": [{"name": "zz"}]}}), 500),
            (
                "another order",
                json!({"metadata": {"finalizers": ["b/b", "a/a"], "$setElementOrder/finalizers": ["a/a", "b/b"]}}),
                500,
            ),
            (
                "an unknown directive",
                json!({"metadata": {"$patch": "explode"}}),
                500,
            ),
        ] {
            let failure = applied(Resource::Services, json!({}), &patch).unwrap_err();
            assert_eq!(failure.code, want, "{case}: {}", failure.message);
        }
    }

    #[test]
    fn a_json_patch_does_as_it_says_or_nothing_counts() {
        let object =
            json!({"metadata": {"labels": {"a/b": "c"}}, "spec": {"taints": [{"key": "a"}, {"key": "b"}]}});
        for (case, operations, want) in [
            (
                "test and remove",
                json!([{"op": "test", "path": "/spec/taints/0", "value": {"key": "a"}}, {"op": "remove", "path": "/spec/taints/0"}]),
                Ok(json!({"metadata": {"labels": {"a/b": "c"}}, "spec": {"taints": [{"key": "b"}]}})),
            ),
            (
                "add at the end, replace an escaped name",
                json!([{"op": "add", "path": "/spec/taints/-", "value": 1}, {"op": "replace", "path": "/metadata/labels/a~1b", "value": "d"}]),
                Ok(
                    json!({"metadata": {"labels": {"a/b": "d"}}, "spec": {"taints": [{"key": "a"}, {"key": "b"}, 1]}}),
                ),
            ),
            (
                "move",
                json!([{"op": "move", "from": "/spec/taints", "path": "/metadata/taints"}]),
                Ok(
                    json!({"metadata": {"labels": {"a/b": "c"}, "taints": [{"key": "a"}, {"key": "b"}]}, "spec": {}}),
                ),
            ),
            (
                "a test that fails",
                json!([{"op": "test", "path": "/spec/taints/0/key", "value": "z"}]),
                Err(422),
            ),
            (
                "a path that is not there",
                json!([{"op": "remove", "path": "/spec/nothing"}]),
                Err(422),
            ),
            (
                "no such operation",
                json!([{"op": "explode", "path": "/spec"}]),
                Err(400),
            ),
            ("no list", json!({}), Err(400)),
        ] {
            let mut target = object.clone();
            let got = json(&mut target, &operations)
                .map(|()| target)
                .map_err(|f| f.code);
            assert_eq!(got, want, "{case}");
        }
    }
}
