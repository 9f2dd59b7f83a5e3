//! Metadata that every object has.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{Text, null_default};

/// `metadata`, without what nobody reads.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectMeta {
    /// Unique among objects of a kind in one namespace.
    #[serde(deserialize_with = "null_default")]
    pub name: Box<str>,
    /// Empty for cluster-wide objects.
    #[serde(deserialize_with = "null_default")]
    pub namespace: Box<str>,
    /// Never used twice: tells an object from a later one of the same name.
    #[serde(deserialize_with = "null_default")]
    pub uid: Box<str>,
    /// Opaque; sent back as it came.
    #[serde(deserialize_with = "null_default")]
    pub resource_version: Box<str>,
    /// When it was created; `None` when unreadable.
    pub creation_timestamp: Option<Timestamp>,
    /// Set while it is being deleted and waits for its finalizers.
    pub deletion_timestamp: Option<Timestamp>,
    /// Who must agree before it goes.
    #[serde(deserialize_with = "null_default")]
    pub finalizers: Box<[Box<str>]>,
    /// Those that are read.
    pub labels: Pairs,
    /// Those that are read.
    pub annotations: Pairs,
}

impl ObjectMeta {
    /// `namespace/name`, or the name alone for a cluster-wide object.
    pub fn key(&self) -> String {
        if self.namespace.is_empty() {
            self.name.to_string()
        } else {
            format!("{}/{}", self.namespace, self.name)
        }
    }

    /// Whether it is being deleted.
    pub fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }
}

/// Seconds since 1970, UTC. An unreadable time is kept as the epoch: "very old", and still present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let since = humantime::parse_rfc3339_weak(&text)
            .ok()
            .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        Ok(Self(since.map_or(0, |since| since.as_secs())))
    }
}

/// The labels and annotations that somebody here reads, by the beginning of their key; no others are kept.
/// `kubectl`'s last-applied configuration, often half of an object, is the reason.
const READ: &[&str] = &[
    "loadbalancer.inspur.com/",
    "service.beta.kubernetes.io/inspur-",
    "node.beta.kubernetes.io/instance-id",
    "node.inspur.com/",
    "alpha.kubernetes.io/provided-node-ip",
    "node.kubernetes.io/exclude-from-external-load-balancers",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "topology.kubernetes.io/",
    "failure-domain.beta.kubernetes.io/",
];

/// Keys that nearly every Node has: kept once for all.
const COMMON: &[&str] = &[
    "node.beta.kubernetes.io/instance-id",
    "node.inspur.com/subnet-id",
    "node.inspur.com/vpc-id",
    "alpha.kubernetes.io/provided-node-ip",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
];

type Key = Cow<'static, str>;

fn shared(key: Box<str>) -> Key {
    match COMMON.iter().find(|common| ***common == *key) {
        Some(common) => Cow::Borrowed(common),
        None => Cow::Owned(key.into()),
    }
}

/// Labels or annotations: the pairs whose key is read, in the order of their keys.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Pairs(Box<[(Key, Box<str>)]>);

impl Pairs {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
        Some(&self.0[at].1)
    }

    /// Whether a pair with that key is kept when an object is read. Of any other it is not known whether the object has it.
    pub fn keeps(key: &str) -> bool {
        READ.iter().any(|read| key.starts_with(read))
    }

    /// All pairs, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (&**k, &**v))
    }
}

impl<K: Into<Box<str>>, V: Into<Box<str>>> FromIterator<(K, V)> for Pairs {
    /// Takes every pair, read or not. Of two with one key the last counts.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut sorted: Vec<(Key, Box<str>)> = pairs
            .into_iter()
            .map(|(k, v)| (shared(k.into()), v.into()))
            .collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        sorted.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                std::mem::swap(later, kept);
            }
            same
        });
        Self(sorted.into_boxed_slice())
    }
}

impl fmt::Debug for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;
        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of text to text")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Pairs::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut kept: Vec<(Box<str>, Box<str>)> = Vec::new();
                while let Some(Text(key)) = map.next_key()? {
                    if Pairs::keeps(&key) {
                        kept.push((
                            key.into(),
                            map.next_value::<Option<Box<str>>>()?.unwrap_or_default(),
                        ));
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(kept.into_iter().collect())
            }
        }
        deserializer.deserialize_any(PairsVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pairs_that_are_read_are_kept() {
        let pairs: Pairs = serde_json::from_str(
            r#"{"loadbalancer.inspur.com/b":"2","drop":{"not":"text"},"loadbalancer.inspur.com/a":"1","loadbalancer.inspur.com/n":null}"#,
        )
        .unwrap();
        let kept = [
            ("loadbalancer.inspur.com/a", "1"),
            ("loadbalancer.inspur.com/b", "2"),
            ("loadbalancer.inspur.com/n", ""),
        ];
        assert_eq!(pairs.iter().collect::<Vec<_>>(), kept);
        assert_eq!(
            (pairs.get("loadbalancer.inspur.com/b"), pairs.get("drop")),
            (Some("2"), None)
        );
        assert!(Pairs::keeps("loadbalancer.inspur.com/b") && !Pairs::keeps("drop"));
        assert_eq!(serde_json::from_str::<Pairs>("null").unwrap(), Pairs::default());
    }

    #[test]
    fn metadata_takes_null_and_unknown_fields() {
        let meta: ObjectMeta = serde_json::from_str(
            r#"{"name":"web","namespace":null,"finalizers":null,"creationTimestamp":"2026-01-02T03:04:05Z",
                "deletionTimestamp":null,"managedFields":[{"x":1}]}"#,
        )
        .unwrap();
        assert_eq!((meta.key(), meta.is_deleting()), ("web".to_string(), false));
        assert_eq!(meta.creation_timestamp, Some(Timestamp(1_767_323_045)));
    }

    #[test]
    fn an_unreadable_deletion_time_still_counts_as_deleting() {
        let meta: ObjectMeta = serde_json::from_str(r#"{"name":"web","deletionTimestamp":"soon"}"#).unwrap();
        assert!(meta.is_deleting());
    }

    #[test]
    fn of_two_pairs_with_one_key_the_last_counts() {
        let pairs: Pairs = [("b", "1"), ("a", "2"), ("b", "3"), ("b", "4")]
            .into_iter()
            .collect();
        assert_eq!(pairs.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "4")]);
    }
}
