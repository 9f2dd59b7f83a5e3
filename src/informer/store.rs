//! The objects, one writer, many readers.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use super::Change;
use super::version::{Order, compare_versions};
use crate::k8s::types::{ObjectMeta, Resource};
use crate::k8s::watch::{Decoded, Opaque};
use crate::runtime::stop::StopToken;

type Objects<T> = BTreeMap<Arc<str>, Arc<T>>;

/// An empty store, not yet synced, and its only writer.
pub fn store<T: Resource>() -> (Writer<T>, Store<T>) {
    let shared = Arc::new(Shared {
        objects: RwLock::default(),
        synced: Mutex::new(false),
        changed: Condvar::new(),
    });
    let writer = Writer {
        shared: Arc::clone(&shared),
        opaque: BTreeMap::new(),
    };
    (writer, Store(shared))
}

struct Shared<T> {
    objects: RwLock<Objects<T>>,
    synced: Mutex<bool>,
    changed: Condvar,
}

impl<T> Shared<T> {
    /// Holders only read it or swap it, so that a panic leaves it whole.
    fn objects(&self) -> std::sync::RwLockReadGuard<'_, Objects<T>> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn objects_mut(&self) -> std::sync::RwLockWriteGuard<'_, Objects<T>> {
        self.objects.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn synced(&self) -> MutexGuard<'_, bool> {
        self.synced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the objects. Clones read the same ones.
pub struct Store<T>(Arc<Shared<T>>);

impl<T> Clone for Store<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Store<T> {
    /// The object of that key. `None` means "does not exist" only once the store is synced.
    pub fn get(&self, key: &str) -> Option<Arc<T>> {
        self.0.objects().get(key).cloned()
    }

    /// All objects, in the order of their keys.
    pub fn list(&self) -> Vec<Arc<T>> {
        self.0.objects().values().cloned().collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.objects().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether one whole list has been applied and every handler has been told. Never goes back to false.
    pub fn is_synced(&self) -> bool {
        *self.0.synced()
    }
}

impl<T: Send + Sync + 'static> Store<T> {
    /// Waits until the store is synced. False when it is time to stop first.
    pub fn wait_synced(&self, stop: &StopToken) -> bool {
        let shared = Arc::clone(&self.0);
        let _hook = stop.on_stop(move || {
            // taken and let go, so that nobody is between asking and waiting
            drop(shared.synced());
            shared.changed.notify_all();
        });
        let mut synced = self.0.synced();
        while !*synced && !stop.is_set() {
            synced = self
                .0
                .changed
                .wait(synced)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *synced
    }
}

/// Changes the objects. Each change is visible to readers before it is returned.
pub struct Writer<T> {
    shared: Arc<Shared<T>>,
    /// Objects that exist and do not decode, with their UIDs. One that decoded before stays in the store as it was.
    opaque: BTreeMap<Arc<str>, Box<str>>,
}

/// A list on its way into the store.
pub(super) struct Staged<T> {
    objects: Objects<T>,
    opaque: BTreeMap<Arc<str>, Box<str>>,
}

/// How much a list would take away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) known: usize,
    pub(super) vanished: usize,
}

impl<T> Default for Staged<T> {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            opaque: BTreeMap::new(),
        }
    }
}

impl<T> Staged<T> {
    fn has(&self, key: &str) -> bool {
        self.objects.contains_key(key) || self.opaque.contains_key(key)
    }

    /// How many objects were listed, and how many of them do not decode.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.objects.len() + self.opaque.len(), self.opaque.len())
    }
}

impl<T: Resource> Writer<T> {
    /// A reader of the same store.
    pub fn store(&self) -> Store<T> {
        Store(Arc::clone(&self.shared))
    }

    /// Makes the store hold exactly `objects`. For tests and single steps; a reflector does this with its lists.
    pub fn replace(&mut self, objects: impl IntoIterator<Item = T>) -> Vec<Change<T>> {
        let mut staged = Staged::default();
        for object in objects {
            self.stage(&mut staged, Decoded::Object(object));
        }
        self.apply(staged)
    }

    /// Puts `object` into the store, unless the store holds it in this version or a newer one.
    pub fn upsert(&mut self, object: T) -> Vec<Change<T>> {
        let key = self.key(&object.meta().key());
        self.opaque.remove(&key);
        let new = Arc::new(object);
        let mut objects = self.shared.objects_mut();
        let old = objects.get(&key).cloned();
        if let Some(old) = &old {
            let (old, new) = (old.meta(), new.meta());
            if !is_news(&old.resource_version, &new.resource_version) {
                return Vec::new();
            }
        }
        objects.insert(Arc::clone(&key), Arc::clone(&new));
        drop(objects);
        changes_of(key, old, Some(new))
    }

    /// Takes the object of `key` out of the store, unless the store holds a version newer than its deletion.
    pub fn remove(&mut self, key: &str, version: &str) -> Vec<Change<T>> {
        let mut objects = self.shared.objects_mut();
        let Some((key, old)) = objects.get_key_value(key) else {
            self.opaque.remove(key);
            return Vec::new();
        };
        if compare_versions(&old.meta().resource_version, version) == Order::Newer {
            return Vec::new();
        }
        let (key, old) = (Arc::clone(key), Arc::clone(old));
        objects.remove(&key);
        drop(objects);
        self.opaque.remove(&key);
        changes_of(key, Some(old), None)
    }

    /// Notes that an object exists and does not decode: what the store holds of it stays, unless that was another
    /// object of the same name, which is gone for sure.
    pub(super) fn set_opaque(&mut self, opaque: Opaque) -> Vec<Change<T>> {
        let key = self.key(&opaque.key);
        let old = self.shared.objects().get(&key).cloned();
        let changes = match old {
            Some(old) if old.meta().uid != opaque.uid => self.remove(&key, &opaque.resource_version),
            _ => Vec::new(),
        };
        self.opaque.insert(key, opaque.uid);
        changes
    }

    /// Adds one listed object to `staged`. One that is as the store holds it costs no memory twice.
    pub(super) fn stage(&self, staged: &mut Staged<T>, decoded: Decoded<T>) {
        match decoded {
            Decoded::Object(object) => {
                let key = object.meta().key();
                let stored = self
                    .shared
                    .objects()
                    .get_key_value(&*key)
                    .map(|(k, o)| (k.clone(), o.clone()));
                let (key, object) = match stored {
                    Some((key, old)) if is_same(old.meta(), object.meta()) => (key, old),
                    Some((key, _)) => (key, Arc::new(object)),
                    None => (key.into(), Arc::new(object)),
                };
                staged.objects.insert(key, object);
            }
            Decoded::Opaque(opaque) => {
                staged.opaque.insert(self.key(&opaque.key), opaque.uid);
            }
        }
    }

    /// What applying `staged` would take away.
    pub(super) fn loss(&self, staged: &Staged<T>) -> Loss {
        let objects = self.shared.objects();
        Loss {
            known: objects.len(),
            vanished: objects.keys().filter(|key| !staged.has(key)).count(),
        }
    }

    /// Makes the store hold what was listed, at once: readers see the old objects or the new ones. The changes are in
    /// the order to tell them, deletions first.
    pub(super) fn apply(&mut self, mut staged: Staged<T>) -> Vec<Change<T>> {
        let mut objects = self.shared.objects_mut();
        for (key, uid) in &staged.opaque {
            if let Some(old) = objects.get(key).filter(|old| old.meta().uid == *uid) {
                staged.objects.insert(Arc::clone(key), Arc::clone(old));
            }
        }
        let old = std::mem::replace(&mut *objects, staged.objects);
        drop(objects);
        self.opaque = staged.opaque;
        let new = self.shared.objects();
        let (mut changes, mut later) = (Vec::new(), Vec::new());
        for (key, old) in &old {
            if !new.contains_key(key) {
                changes.extend(changes_of(Arc::clone(key), Some(Arc::clone(old)), None));
            }
        }
        for (key, new) in new.iter() {
            let old = old.get(key);
            if !old.is_some_and(|old| is_same(old.meta(), new.meta())) {
                later.extend(changes_of(Arc::clone(key), old.cloned(), Some(Arc::clone(new))));
            }
        }
        changes.append(&mut later);
        changes
    }

    /// Whether it is known already that the object of `key` does not decode.
    pub(super) fn is_opaque(&self, key: &str) -> bool {
        self.opaque.contains_key(key)
    }

    /// How many objects exist and do not decode.
    pub(super) fn opaque_len(&self) -> usize {
        self.opaque.len()
    }

    /// The store is complete and every handler has been told.
    pub fn set_synced(&mut self) {
        *self.shared.synced() = true;
        self.shared.changed.notify_all();
    }

    fn key(&self, key: &str) -> Arc<str> {
        let objects = self.shared.objects();
        objects
            .get_key_value(key)
            .map_or_else(|| key.into(), |(key, _)| Arc::clone(key))
    }
}

fn is_same(old: &ObjectMeta, new: &ObjectMeta) -> bool {
    old.uid == new.uid && old.resource_version == new.resource_version
}

/// Whether `new` tells anything after `old`. Versions that cannot be compared are taken as they come.
fn is_news(old: &str, new: &str) -> bool {
    !matches!(compare_versions(new, old), Order::Same | Order::Older)
}

fn changes_of<T: Resource>(key: Arc<str>, old: Option<Arc<T>>, new: Option<Arc<T>>) -> Vec<Change<T>> {
    match (old, new) {
        (Some(old), Some(new)) if old.meta().uid != new.meta().uid => vec![
            Change {
                key: Arc::clone(&key),
                old: Some(old),
                new: None,
            },
            Change {
                key,
                old: None,
                new: Some(new),
            },
        ],
        (old, new) => vec![Change { key, old, new }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::types::Node;
    use crate::runtime::stop::Stop;

    fn node(name: &str, uid: &str, version: &str) -> Node {
        Node {
            meta: ObjectMeta {
                name: name.into(),
                uid: uid.into(),
                resource_version: version.into(),
                ..ObjectMeta::default()
            },
            ..Node::default()
        }
    }

    fn opaque(name: &str, uid: &str, version: &str) -> Opaque {
        Opaque {
            key: name.into(),
            uid: uid.into(),
            resource_version: version.into(),
            reason: "odd".into(),
        }
    }

    /// `key old→new`, by version.
    fn told(changes: &[Change<Node>]) -> Vec<String> {
        let version = |object: &Option<Arc<Node>>| {
            object
                .as_ref()
                .map_or("-".to_string(), |o| o.meta.resource_version.to_string())
        };
        changes
            .iter()
            .map(|c| format!("{} {}→{}", c.key, version(&c.old), version(&c.new)))
            .collect()
    }

    fn versions(store: &Store<Node>) -> Vec<String> {
        let all = store.list();
        all.iter()
            .map(|n| format!("{}@{}", n.meta.name, n.meta.resource_version))
            .collect()
    }

    #[test]
    fn a_replacement_tells_deletions_first_and_nothing_of_what_is_the_same() {
        let (mut writer, store) = store();
        writer.replace([
            node("a", "1", "1"),
            node("c", "3", "3"),
            node("d", "4", "4"),
            node("e", "5", "5"),
        ]);
        let kept = store.get("a").unwrap();
        let changes = writer.replace([
            node("a", "1", "1"),
            node("b", "2", "9"),
            node("c", "3", "8"),
            node("d", "44", "7"),
        ]);
        assert_eq!(told(&changes), ["e 5→-", "b -→9", "c 3→8", "d 4→-", "d -→7"]);
        assert_eq!(versions(&store), ["a@1", "b@9", "c@8", "d@7"]);
        assert!(
            Arc::ptr_eq(&kept, &store.get("a").unwrap()),
            "the same is not kept twice"
        );
    }

    #[test]
    fn events_apply_only_when_they_are_news() {
        let (mut writer, store) = store();
        writer.replace([node("a", "1", "10")]);
        type Act = fn(&mut Writer<Node>) -> Vec<Change<Node>>;
        let cases: [(&str, Act, &[&str]); 9] = [
            ("the same again", |w| w.upsert(node("a", "1", "10")), &[]),
            ("an old one", |w| w.upsert(node("a", "1", "9")), &[]),
            ("a newer one", |w| w.upsert(node("a", "1", "11")), &["a 10→11"]),
            ("an old deletion", |w| w.remove("a", "9"), &[]),
            (
                "another of the same name",
                |w| w.upsert(node("a", "2", "12")),
                &["a 11→-", "a -→12"],
            ),
            ("a deletion", |w| w.remove("a", "13"), &["a 12→-"]),
            ("a deletion twice", |w| w.remove("a", "13"), &[]),
            (
                "versions of another making",
                |w| w.upsert(node("a", "3", "x")),
                &["a -→x"],
            ),
            (
                "an incomparable one",
                |w| w.upsert(node("a", "3", "y")),
                &["a x→y"],
            ),
        ];
        for (case, act, want) in cases {
            assert_eq!(told(&act(&mut writer)), want, "{case}");
        }
        assert_eq!(versions(&store), ["a@y"]);
    }

    #[test]
    fn an_opaque_object_is_neither_changed_nor_gone() {
        let (mut writer, store) = store();
        writer.replace([node("a", "1", "1"), node("b", "2", "2")]);
        assert_eq!(told(&writer.set_opaque(opaque("a", "1", "5"))), [""; 0]);
        assert_eq!(
            told(&writer.set_opaque(opaque("b", "22", "6"))),
            ["b 2→-"],
            "the old one is gone"
        );
        let mut staged = Staged::default();
        writer.stage(&mut staged, Decoded::Opaque(opaque("a", "1", "7")));
        writer.stage(&mut staged, Decoded::Opaque(opaque("new", "3", "8")));
        assert_eq!(
            writer.loss(&staged),
            Loss {
                known: 1,
                vanished: 0
            }
        );
        assert_eq!(told(&writer.apply(staged)), [""; 0]);
        assert_eq!(
            (versions(&store), writer.opaque_len()),
            (vec!["a@1".to_string()], 2)
        );
        assert_eq!(
            told(&writer.upsert(node("new", "3", "9"))),
            ["new -→9"],
            "readable again"
        );
        assert_eq!(told(&writer.remove("a", "10")), ["a 1→-"]);
        assert_eq!(writer.opaque_len(), 0);
    }

    #[test]
    fn whoever_waits_is_woken_by_the_first_sync_or_by_the_stop() {
        for stops in [false, true] {
            let (mut writer, store) = store::<Node>();
            let stop = Stop::new();
            let (token, waiting) = (stop.token(), store.clone());
            std::thread::scope(|scope| {
                let waiter = scope.spawn(move || waiting.wait_synced(&token));
                if stops {
                    stop.stop();
                } else {
                    writer.set_synced();
                }
                assert_eq!(waiter.join().unwrap(), !stops);
            });
            assert_eq!(store.is_synced(), !stops);
        }
    }
}
