//! What objects may hold: which fields, of which type, and how a strategic patch merges their lists.
//!
//! One table serves decoding (types are checked, unknown fields dropped, empty values left out, as a typed server
//! does), the strategic merge, and older releases, which know fewer fields.
//! Source: k8s.io/api core/v1, coordination/v1 and apimachinery meta/v1 types.go.

use std::time::UNIX_EPOCH;

use serde_json::{Map, Value};

use super::KubeVersion;
use super::object::Resource;
use super::status::Failure;

/// The type of a field. A value that equals its zero is left out, unless the field is a [`Type::Pointer`].
#[derive(Debug)]
pub(super) enum Type {
    /// Kept as it is.
    Any,
    Text,
    Integer,
    Flag,
    /// RFC 3339, kept to the second.
    Time,
    /// RFC 3339 with exactly six digits of fraction.
    MicroTime,
    IntegerOrText,
    /// Strings by name.
    Texts,
    Object(&'static [Field]),
    List(&'static Type, Merge),
    /// Absent differs from zero.
    Pointer(&'static Type),
}

pub(super) type Field = (&'static str, Type);

/// What a strategic patch does to a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merge {
    /// The patch's list takes its place.
    Replace,
    /// A set of scalars: what is new is added.
    Set,
    /// A map by the field named.
    By(&'static str),
}

use Type::{Any, Flag, Integer, IntegerOrText, List, MicroTime, Object, Pointer, Text, Texts, Time};

const METADATA: Type = Object(&[
    ("name", Text),
    ("generateName", Text),
    ("namespace", Text),
    ("selfLink", Text),
    ("uid", Text),
    ("resourceVersion", Text),
    ("generation", Integer),
    ("creationTimestamp", Time),
    ("deletionTimestamp", Time),
    ("deletionGracePeriodSeconds", Pointer(&Integer)),
    ("labels", Texts),
    ("annotations", Texts),
    ("ownerReferences", List(&Any, Merge::By("uid"))),
    ("finalizers", List(&Text, Merge::Set)),
    ("managedFields", List(&Any, Merge::Replace)),
]);

const CONDITIONS: Type = List(
    &Object(&[
        ("type", Text),
        ("status", Text),
        ("observedGeneration", Integer),
        ("lastHeartbeatTime", Time),
        ("lastTransitionTime", Time),
        ("reason", Text),
        ("message", Text),
    ]),
    Merge::By("type"),
);

const PORTS: Type = List(
    &Object(&[
        ("name", Text),
        ("protocol", Text),
        ("appProtocol", Pointer(&Text)),
        ("port", Pointer(&Integer)),
        ("targetPort", IntegerOrText),
        ("nodePort", Integer),
    ]),
    Merge::By("port"),
);

const INGRESS: Type = List(
    &Object(&[
        ("ip", Text),
        ("hostname", Text),
        ("ipMode", Pointer(&Text)),
        ("ports", List(&Any, Merge::Replace)),
    ]),
    Merge::Replace,
);

const NAMESPACE: Type = Object(&[
    ("apiVersion", Text),
    ("kind", Text),
    ("metadata", METADATA),
    ("spec", Object(&[("finalizers", List(&Text, Merge::Replace))])),
    ("status", Object(&[("phase", Text), ("conditions", CONDITIONS)])),
]);

const SERVICE: Type = Object(&[
    ("apiVersion", Text),
    ("kind", Text),
    ("metadata", METADATA),
    (
        "spec",
        Object(&[
            ("ports", PORTS),
            ("selector", Texts),
            ("clusterIP", Text),
            ("clusterIPs", List(&Text, Merge::Replace)),
            ("type", Text),
            ("externalIPs", List(&Text, Merge::Replace)),
            ("sessionAffinity", Text),
            ("loadBalancerIP", Text),
            ("loadBalancerSourceRanges", List(&Text, Merge::Replace)),
            ("externalName", Text),
            ("externalTrafficPolicy", Text),
            ("healthCheckNodePort", Integer),
            ("publishNotReadyAddresses", Flag),
            ("sessionAffinityConfig", Any),
            ("ipFamilies", List(&Text, Merge::Replace)),
            ("ipFamilyPolicy", Pointer(&Text)),
            ("allocateLoadBalancerNodePorts", Pointer(&Flag)),
            ("loadBalancerClass", Pointer(&Text)),
            ("internalTrafficPolicy", Pointer(&Text)),
            ("trafficDistribution", Pointer(&Text)),
        ]),
    ),
    (
        "status",
        Object(&[
            ("loadBalancer", Object(&[("ingress", INGRESS)])),
            ("conditions", CONDITIONS),
        ]),
    ),
]);

const TAINTS: Type = List(
    &Object(&[
        ("key", Text),
        ("value", Text),
        ("effect", Text),
        ("timeAdded", Time),
    ]),
    Merge::Replace,
);

const ADDRESSES: Type = List(&Object(&[("type", Text), ("address", Text)]), Merge::By("type"));

const NODE: Type = Object(&[
    ("apiVersion", Text),
    ("kind", Text),
    ("metadata", METADATA),
    (
        "spec",
        Object(&[
            ("podCIDR", Text),
            ("podCIDRs", List(&Text, Merge::Set)),
            ("providerID", Text),
            ("externalID", Text),
            ("unschedulable", Flag),
            ("taints", TAINTS),
            ("configSource", Any),
        ]),
    ),
    (
        "status",
        Object(&[
            ("capacity", Any),
            ("allocatable", Any),
            ("phase", Text),
            ("conditions", CONDITIONS),
            ("addresses", ADDRESSES),
            ("daemonEndpoints", Any),
            ("nodeInfo", Any),
            ("images", List(&Any, Merge::Replace)),
            ("volumesInUse", List(&Text, Merge::Replace)),
            ("volumesAttached", List(&Any, Merge::Replace)),
            ("config", Any),
            ("runtimeHandlers", List(&Any, Merge::Replace)),
            ("features", Any),
            ("declaredFeatures", List(&Text, Merge::Replace)),
        ]),
    ),
]);

const REFERENCE: Type = Object(&[
    ("kind", Text),
    ("namespace", Text),
    ("name", Text),
    ("uid", Text),
    ("apiVersion", Text),
    ("resourceVersion", Text),
    ("fieldPath", Text),
]);

const EVENT: Type = Object(&[
    ("apiVersion", Text),
    ("kind", Text),
    ("metadata", METADATA),
    ("involvedObject", REFERENCE),
    ("reason", Text),
    ("message", Text),
    ("source", Object(&[("component", Text), ("host", Text)])),
    ("firstTimestamp", Time),
    ("lastTimestamp", Time),
    ("count", Integer),
    ("type", Text),
    ("eventTime", MicroTime),
    (
        "series",
        Object(&[("count", Integer), ("lastObservedTime", MicroTime)]),
    ),
    ("action", Text),
    ("related", REFERENCE),
    ("reportingComponent", Text),
    ("reportingInstance", Text),
]);

const CONFIG_MAP: Type = Object(&[
    ("apiVersion", Text),
    ("kind", Text),
    ("metadata", METADATA),
    ("data", Texts),
    ("binaryData", Texts),
    ("immutable", Pointer(&Flag)),
]);

const LEASE: Type = Object(&[
    ("apiVersion", Text),
    ("kind", Text),
    ("metadata", METADATA),
    (
        "spec",
        Object(&[
            ("holderIdentity", Pointer(&Text)),
            ("leaseDurationSeconds", Pointer(&Integer)),
            ("acquireTime", MicroTime),
            ("renewTime", MicroTime),
            ("leaseTransitions", Pointer(&Integer)),
            ("strategy", Pointer(&Text)),
            ("preferredHolder", Pointer(&Text)),
        ]),
    ),
]);

/// The type of a whole object.
pub(super) fn type_of(resource: Resource) -> &'static Type {
    match resource {
        Resource::Namespaces => &NAMESPACE,
        Resource::Nodes => &NODE,
        Resource::Services => &SERVICE,
        Resource::Events => &EVENT,
        Resource::ConfigMaps => &CONFIG_MAP,
        Resource::Leases => &LEASE,
    }
}

impl Type {
    /// The type of the field named, when this is an object that has it.
    pub(super) fn field(&self, name: &str) -> Option<&'static Type> {
        match self {
            Object(fields) => fields.iter().find(|(f, _)| *f == name).map(|(_, t)| t),
            Pointer(inner) => inner.field(name),
            _ => None,
        }
    }
}

/// What a typed server would understand of an object.
#[derive(Debug, PartialEq)]
pub(super) struct Decoded {
    pub(super) object: Value,
    /// Fields that were dropped because nobody knows them: `spec.foo`.
    pub(super) unknown: Vec<String>,
}

/// Reads `value` as an object of `resource`, as `version` knows it.
///
/// # Errors
/// A field of the wrong type, or a time that is none: 400.
pub(super) fn decode(resource: Resource, version: KubeVersion, value: &Value) -> Result<Decoded, Failure> {
    let mut reader = Reader {
        resource,
        dropped: version.drops(resource),
        unknown: Vec::new(),
    };
    let object = reader.read(type_of(resource), value, "")?;
    Ok(Decoded {
        object: object.unwrap_or_else(|| Value::Object(Map::new())),
        unknown: reader.unknown,
    })
}

struct Reader {
    resource: Resource,
    dropped: &'static [&'static str],
    unknown: Vec<String>,
}

impl Reader {
    /// `None` when the value is left out.
    fn read(&mut self, type_: &Type, value: &Value, path: &str) -> Result<Option<Value>, Failure> {
        match (type_, value) {
            (_, Value::Null) => Ok(None),
            (Any, value) => Ok(Some(value.clone())),
            (Pointer(inner), value) => Ok(self.read(inner, value, path)?.or_else(|| Some(value.clone()))),
            (Text, Value::String(text)) => Ok((!text.is_empty()).then(|| value.clone())),
            (Flag, Value::Bool(set)) => Ok(set.then(|| value.clone())),
            (Integer, Value::Number(number)) if number.is_i64() => {
                Ok((number.as_i64() != Some(0)).then(|| value.clone()))
            }
            (IntegerOrText, Value::String(_)) => Ok(Some(value.clone())),
            (IntegerOrText, Value::Number(number)) if number.is_i64() => Ok(Some(value.clone())),
            (Time, Value::String(text)) => self.time(text).map(Some),
            (MicroTime, Value::String(text)) => self.micro_time(text, value).map(Some),
            (Texts, Value::Object(map)) => {
                if let Some(wrong) = map.values().find(|v| !v.is_string()) {
                    return Err(self.mismatch(wrong, path, "string"));
                }
                Ok((!map.is_empty()).then(|| value.clone()))
            }
            (List(inner, _), Value::Array(items)) => {
                let mut read = Vec::with_capacity(items.len());
                for item in items {
                    // an empty element stays: positions matter
                    read.push(self.read(inner, item, path)?.unwrap_or_else(|| item.clone()));
                }
                Ok((!read.is_empty()).then_some(Value::Array(read)))
            }
            (Object(fields), Value::Object(map)) => self.object(fields, map, path).map(Some),
            (type_, value) => Err(self.mismatch(value, path, type_.go_name())),
        }
    }

    fn object(
        &mut self,
        fields: &'static [Field],
        map: &Map<String, Value>,
        path: &str,
    ) -> Result<Value, Failure> {
        let mut read = Map::new();
        for (name, value) in map {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            match fields.iter().find(|(field, _)| field == name) {
                _ if self.dropped.contains(&path.as_str()) => {}
                None => self.unknown.push(path),
                Some((_, type_)) => {
                    if let Some(value) = self.read(type_, value, &path)? {
                        read.insert(name.clone(), value);
                    }
                }
            }
        }
        Ok(Value::Object(read))
    }

    /// Offsets other than `Z` are refused, unlike on a real server: nothing here sends them.
    fn time(&self, text: &str) -> Result<Value, Failure> {
        let time = humantime::parse_rfc3339(text).map_err(|_| {
            self.undecodable(&format!("parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\""))
        })?;
        let seconds = time
            .duration_since(UNIX_EPOCH)
            .map_err(|_| self.undecodable(&format!("parsing time {text:?}: before 1970")))?
            .as_secs();
        let whole = UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        Ok(humantime::format_rfc3339_seconds(whole).to_string().into())
    }

    fn micro_time(&self, text: &str, value: &Value) -> Result<Value, Failure> {
        // "2026-01-02T03:04:05" is 19 bytes, then a point, six digits, and the zone
        let six_digits = text.len() > 26
            && text.as_bytes()[19] == b'.'
            && text.as_bytes()[20..26].iter().all(u8::is_ascii_digit)
            && !text.as_bytes()[26].is_ascii_digit();
        if six_digits && humantime::parse_rfc3339(text).is_ok() {
            Ok(value.clone())
        } else {
            Err(self.undecodable(&format!(
                "parsing time {text:?} as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse it"
            )))
        }
    }

    fn mismatch(&self, value: &Value, path: &str, want: &str) -> Failure {
        let got = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let kind = self.resource.kind();
        self.undecodable(&format!(
            "json: cannot unmarshal {got} into Go struct field {kind}.{path} of type {want}"
        ))
    }

    fn undecodable(&self, why: &str) -> Failure {
        let kind = self.resource.kind();
        Failure::bad_request(format!(
            "{kind} in version \"v1\" cannot be handled as a {kind}: {why}"
        ))
    }
}

impl Type {
    fn go_name(&self) -> &'static str {
        match self {
            Any => "interface {}",
            Text => "string",
            Integer => "int32",
            Flag => "bool",
            Time => "v1.Time",
            MicroTime => "v1.MicroTime",
            IntegerOrText => "intstr.IntOrString",
            Texts => "map[string]string",
            Object(_) => "struct",
            List(..) => "[]interface {}",
            Pointer(inner) => inner.go_name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_empty_or_unknown_is_left_out() {
        for (case, resource, object, want, unknown) in [
            (
                "zeros and nulls",
                Resource::Services,
                json!({"metadata": {"name": "web", "finalizers": [], "labels": null, "creationTimestamp": null},
                    "spec": {"type": "", "ports": [{"port": 80, "nodePort": 0, "name": ""}]}}),
                json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}),
                vec![],
            ),
            (
                "zeros that mean something",
                Resource::Services,
                json!({"spec": {"allocateLoadBalancerNodePorts": false, "loadBalancerClass": "", "ports": [{"port": 0}]}}),
                json!({"spec": {"allocateLoadBalancerNodePorts": false, "loadBalancerClass": "", "ports": [{"port": 0}]}}),
                vec![],
            ),
            (
                "a released lease",
                Resource::Leases,
                json!({"spec": {"holderIdentity": "", "leaseTransitions": 0}}),
                json!({"spec": {"holderIdentity": "", "leaseTransitions": 0}}),
                vec![],
            ),
            (
                "misspelt fields",
                Resource::Nodes,
                json!({"spec": {"providerId": "x", "taints": [{"keyy": "a", "effect": "NoSchedule"}]}}),
                json!({"spec": {"taints": [{"effect": "NoSchedule"}]}}),
                vec!["spec.providerId", "spec.taints.keyy"],
            ),
            (
                "times to the second",
                Resource::Nodes,
                json!({"spec": {"taints": [{"timeAdded": "2026-01-02T03:04:05.678Z"}]}}),
                json!({"spec": {"taints": [{"timeAdded": "2026-01-02T03:04:05Z"}]}}),
                vec![],
            ),
        ] {
            let decoded = decode(resource, KubeVersion::Current, &object).unwrap();
            assert_eq!(decoded.object, want, "{case}");
            assert_eq!(decoded.unknown, unknown, "{case}");
        }
    }

    #[test]
    fn a_field_of_another_type_is_refused() {
        for (case, resource, object, want) in [
            (
                "a port in quotes",
                Resource::Services,
                json!({"spec": {"ports": [{"port": "80"}]}}),
                "Service in version \"v1\" cannot be handled as a Service: json: cannot unmarshal string into Go struct \
                 field Service.spec.ports.port of type int32",
            ),
            (
                "a label that is a number",
                Resource::Nodes,
                json!({"metadata": {"labels": {"a": 1}}}),
                "Node in version \"v1\" cannot be handled as a Node: json: cannot unmarshal number into Go struct \
                 field Node.metadata.labels of type string",
            ),
            (
                "a fraction of three digits",
                Resource::Leases,
                json!({"spec": {"renewTime": "2026-01-02T03:04:05.000Z"}}),
                "Lease in version \"v1\" cannot be handled as a Lease: parsing time \"2026-01-02T03:04:05.000Z\" as \
                 \"2006-01-02T15:04:05.000000Z07:00\": cannot parse it",
            ),
        ] {
            let failure = decode(resource, KubeVersion::Current, &object).unwrap_err();
            assert_eq!((failure.code, failure.message.as_str()), (400, want), "{case}");
        }
    }

    #[test]
    fn an_old_release_drops_what_it_does_not_know() {
        let object = json!({"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "loadBalancerClass": "x",
                "ports": [{"port": 80, "appProtocol": "http"}]},
            "status": {"conditions": [{"type": "A"}], "loadBalancer": {"ingress": [{"ip": "1.2.3.4", "ipMode": "VIP"}]}}});
        let decoded = decode(Resource::Services, KubeVersion::V1_14, &object).unwrap();
        let want = json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}});
        assert_eq!((decoded.object, decoded.unknown), (want, vec![]));
    }
}
