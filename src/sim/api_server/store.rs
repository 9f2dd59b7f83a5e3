//! What is stored: objects, the one counter of versions, and enough history to go back.
//!
//! Knows nothing of what objects mean. Source of the semantics: kube-client.md 3.1, apiserver pkg/storage/etcd3.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use serde_json::Value;

use super::object::{Resource, set, text};

/// Where an object is; collections sort as etcd sorts them. The namespace is empty for what lies in none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) resource: Resource,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Key {
    pub(super) fn new(resource: Resource, namespace: &str, name: &str) -> Self {
        Self {
            resource,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The key of an object that names itself.
    pub(super) fn of(resource: Resource, object: &Value) -> Self {
        Self::new(
            resource,
            text(object, "/metadata/namespace"),
            text(object, "/metadata/name"),
        )
    }
}

/// One write. Of `before` and `after` at least one is there.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) key: Key,
    pub(super) before: Option<Arc<Value>>,
    pub(super) after: Option<Arc<Value>>,
}

/// Objects by key, and how they came to be so.
#[derive(Debug)]
pub(super) struct Store {
    version: u64,
    /// What was at this version or later can still be told.
    oldest: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    history: VecDeque<Change>,
    /// How many changes are remembered.
    window: usize,
    /// Changes forgotten so far: the number of the first one remembered.
    forgotten: u64,
}

impl Store {
    pub(super) fn new(window: usize) -> Self {
        Self {
            version: 0,
            oldest: 0,
            objects: BTreeMap::new(),
            history: VecDeque::new(),
            window,
            forgotten: 0,
        }
    }

    /// That of the last change.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The oldest version that can be read or watched from.
    pub(super) fn oldest(&self) -> u64 {
        self.oldest
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// A collection, sorted; `namespace` empty for all of them.
    pub(super) fn list(&self, resource: Resource, namespace: &str) -> Vec<Arc<Value>> {
        range(&self.objects, resource, namespace)
            .map(|(_, o)| Arc::clone(o))
            .collect()
    }

    /// A collection as it was at `version`, or `None` when that is forgotten or of the future.
    pub(super) fn list_at(
        &self,
        version: u64,
        resource: Resource,
        namespace: &str,
    ) -> Option<Vec<Arc<Value>>> {
        if version < self.oldest || version > self.version {
            return None;
        }
        let mut objects: BTreeMap<&Key, &Arc<Value>> = range(&self.objects, resource, namespace).collect();
        for change in self.history.iter().rev().take_while(|c| c.version > version) {
            let key = &change.key;
            if key.resource == resource && (namespace.is_empty() || key.namespace == namespace) {
                match &change.before {
                    Some(before) => objects.insert(key, before),
                    None => objects.remove(key),
                };
            }
        }
        Some(objects.into_values().map(Arc::clone).collect())
    }

    /// Writes `object`, stamped with a new version, and returns it as stored.
    pub(super) fn put(&mut self, key: Key, mut object: Value) -> Arc<Value> {
        self.version += 1;
        set(&mut object, "/metadata/resourceVersion", self.version.to_string());
        let after = Arc::new(object);
        let before = self.objects.insert(key.clone(), Arc::clone(&after));
        self.remember(key, before, Some(Arc::clone(&after)));
        after
    }

    /// Removes an object and returns its last state, stamped with the version of its removal.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Value> {
        let before = self.objects.remove(key)?;
        self.version += 1;
        let mut last = Value::clone(&before);
        set(&mut last, "/metadata/resourceVersion", self.version.to_string());
        self.remember(key.clone(), Some(before), None);
        Some(last)
    }

    /// Changes in order, from the one with that number on; `None` when it is forgotten. Numbers count all changes from 0.
    pub(super) fn changes_from(&self, number: u64) -> Option<impl Iterator<Item = &Change>> {
        let skip = usize::try_from(number.checked_sub(self.forgotten)?).ok()?;
        Some(self.history.iter().skip(skip))
    }

    /// The number of the first change after `version`, for [`Store::changes_from`].
    pub(super) fn number_after(&self, version: u64) -> u64 {
        self.forgotten + self.history.partition_point(|change| change.version <= version) as u64
    }

    /// Forgets what was before now, for whoever asks from now on; open watches still get what they have not had.
    pub(super) fn compact(&mut self) {
        self.oldest = self.version;
    }

    fn remember(&mut self, key: Key, before: Option<Arc<Value>>, after: Option<Arc<Value>>) {
        let version = self.version;
        self.history.push_back(Change {
            version,
            key,
            before,
            after,
        });
        if self.history.len() > self.window
            && let Some(lost) = self.history.pop_front()
        {
            self.forgotten += 1;
            self.oldest = self.oldest.max(lost.version);
        }
    }
}

fn range<'a>(
    objects: &'a BTreeMap<Key, Arc<Value>>,
    resource: Resource,
    namespace: &'a str,
) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> {
    let first = Key::new(resource, namespace, "");
    objects
        .range((Bound::Included(first), Bound::Unbounded))
        .take_while(move |(key, _)| {
            key.resource == resource && (namespace.is_empty() || key.namespace == namespace)
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn put(store: &mut Store, namespace: &str, name: &str, note: u64) {
        let object = json!({"metadata": {"name": name, "namespace": namespace}, "note": note});
        store.put(Key::of(Resource::Services, &object), object);
    }

    fn notes(list: &[Arc<Value>]) -> Vec<(&str, u64)> {
        list.iter()
            .map(|o| (text(o, "/metadata/name"), o["note"].as_u64().unwrap()))
            .collect()
    }

    #[test]
    fn any_version_that_is_remembered_can_be_listed() {
        let mut store = Store::new(100);
        put(&mut store, "a", "x", 1);
        put(&mut store, "b", "y", 1);
        put(&mut store, "a", "x", 2);
        store.remove(&Key::new(Resource::Services, "b", "y"));
        put(&mut store, "a", "z", 1);
        for (version, namespace, want) in [
            (0, "", Some(vec![])),
            (1, "", Some(vec![("x", 1)])),
            (2, "", Some(vec![("x", 1), ("y", 1)])),
            (3, "", Some(vec![("x", 2), ("y", 1)])),
            (3, "b", Some(vec![("y", 1)])),
            (4, "", Some(vec![("x", 2)])),
            (5, "a", Some(vec![("x", 2), ("z", 1)])),
            (6, "", None),
        ] {
            let list = store.list_at(version, Resource::Services, namespace);
            assert_eq!(
                list.as_deref().map(notes),
                want,
                "version {version}, namespace {namespace:?}"
            );
        }
    }

    #[test]
    fn what_is_compacted_or_out_of_the_window_is_forgotten() {
        let mut store = Store::new(2);
        for note in 1..=3 {
            put(&mut store, "a", "x", note);
        }
        assert_eq!(
            store.oldest(),
            1,
            "the first change fell out of the window of two"
        );
        assert!(store.list_at(0, Resource::Services, "").is_none());
        assert!(store.list_at(1, Resource::Services, "").is_some());
        assert!(store.changes_from(0).is_none());
        assert_eq!(store.changes_from(store.number_after(2)).unwrap().count(), 1);
        store.compact();
        assert!(store.list_at(2, Resource::Services, "").is_none());
        assert_eq!(
            store.changes_from(1).unwrap().count(),
            2,
            "open watches still get what was not sent"
        );
    }

    #[test]
    fn a_removed_object_bears_the_version_of_its_removal() {
        let mut store = Store::new(10);
        put(&mut store, "a", "x", 1);
        let last = store.remove(&Key::new(Resource::Services, "a", "x")).unwrap();
        assert_eq!(last["metadata"]["resourceVersion"], "2");
        assert_eq!(store.remove(&Key::new(Resource::Services, "a", "x")), None);
        assert_eq!(store.version(), 2);
    }
}
