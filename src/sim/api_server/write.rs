//! Create, update, patch, delete: what is decoded, merged, kept, checked and stored.
//!
//! Source: kube-client.md 6; apiserver pkg/registry/generic/registry/store.go and pkg/registry/rest.

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::object::{Resource, remove, set, text, texts};
use super::request::{ListOptions, Place, body_of, dry_run, strict};
use super::rest::{key, scope};
use super::status::{Cause, Failure};
use super::store::Key;
use super::{KubeVersion, State, admission, list, patch, schema, service};
use crate::sim::server::{Incoming, Now, Reply};

const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// Whether a write is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Yes,
    /// The answer is what would have been.
    DryRun,
}

impl Keep {
    fn of(request: &Incoming) -> Self {
        if dry_run(request) { Self::DryRun } else { Self::Yes }
    }
}

impl State {
    pub(super) fn create(
        &mut self,
        resource: Resource,
        place: &Place,
        request: &Incoming,
        now: Now,
    ) -> Result<Reply, Failure> {
        let sent = body_of(resource, request)?;
        let object = self.decode(resource, &sent, strict(request), None)?;
        let namespace = scope(resource, place);
        let created = self.create_object(resource, namespace, object, Keep::of(request), now)?;
        Ok(Reply::json(201, &created))
    }

    /// Creates `object` in `namespace`, as a POST would.
    pub(super) fn insert(
        &mut self,
        resource: Resource,
        namespace: &str,
        object: &Value,
        now: Now,
    ) -> Result<Value, Failure> {
        let object = self.decode(resource, object, true, None)?;
        self.create_object(resource, namespace, object, Keep::Yes, now)
    }

    fn create_object(
        &mut self,
        resource: Resource,
        namespace: &str,
        mut object: Value,
        keep: Keep,
        now: Now,
    ) -> Result<Value, Failure> {
        let version = self.settings.version;
        set_namespace(resource, namespace, &mut object)?;
        if !text(&object, "/metadata/resourceVersion").is_empty() {
            return Err(Failure::internal(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        if text(&object, "/metadata/name").is_empty() && !text(&object, "/metadata/generateName").is_empty() {
            let name = format!("{}{}", text(&object, "/metadata/generateName"), self.suffix());
            set(&mut object, "/metadata/name", name);
        }
        let name = text(&object, "/metadata/name").to_owned();
        self.check_namespace(resource, namespace, &name)?;
        for field in [
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "managedFields",
            "selfLink",
        ] {
            remove(&mut object, &format!("/metadata/{field}"));
        }
        if resource == Resource::Leases {
            admission::drop_coordination(&mut object, None);
        }
        set(&mut object, "/metadata/uid", self.uid());
        set(&mut object, "/metadata/creationTimestamp", timestamp(now.wall));
        set(&mut object, "/kind", resource.kind());
        set(&mut object, "/apiVersion", resource.api_version());
        let mut causes = admission::check_metadata(resource, &object, None);
        if resource == Resource::Services {
            remove(&mut object, "/status");
            service::default(version, &mut object);
            causes.extend(service::check(version, &object, None));
        } else {
            admission::default(resource, &mut object);
            causes.extend(admission::check(resource, &object, None));
        }
        let key = Key::new(resource, namespace, &name);
        if causes.is_empty() && resource == Resource::Services {
            causes = self
                .allocations
                .fill(&key, version, &mut object, || self.random.next_u64());
        }
        if !causes.is_empty() {
            return Err(Failure::invalid(resource, &name, &causes));
        }
        if self.store.get(&key).is_some() {
            return Err(Failure::already_exists(resource, &name));
        }
        Ok(self.store_object(key, object, keep))
    }

    pub(super) fn update(
        &mut self,
        resource: Resource,
        place: &Place,
        request: &Incoming,
        now: Now,
    ) -> Result<Reply, Failure> {
        let sent = body_of(resource, request)?;
        let mut object = self.decode(resource, &sent, strict(request), None)?;
        set_namespace(resource, scope(resource, place), &mut object)?;
        check_name(place, &object)?;
        let before = match self.stored(resource, place) {
            Err(_) if resource.create_on_update() => {
                return self.create_by_update(resource, place, object, request, now);
            }
            stored => stored?,
        };
        if text(&object, "/metadata/resourceVersion").is_empty() && !resource.unconditional_update() {
            let cause = Cause::invalid("metadata.resourceVersion", 0, "must be specified for an update");
            return Err(Failure::invalid_kind(
                resource.group(),
                resource.plural(),
                &place.name,
                &[cause],
            ));
        }
        let (sent_uid, uid) = (text(&object, "/metadata/uid"), text(&before, "/metadata/uid"));
        if !sent_uid.is_empty() && sent_uid != uid {
            let why =
                format!("Precondition failed: UID in precondition: {sent_uid}, UID in object meta: {uid}");
            return Err(Failure::conflict(resource, &place.name, &why));
        }
        let stored = self.write(resource, place, &before, object, Keep::of(request))?;
        Ok(Reply::json(200, &stored))
    }

    /// A PUT for an object that does not exist: it is made, unless an object is meant that did.
    /// Source: apiserver pkg/registry/generic/registry/store.go, `Update`; pkg/storage/interfaces.go, `Preconditions.Check`.
    fn create_by_update(
        &mut self,
        resource: Resource,
        place: &Place,
        mut object: Value,
        request: &Incoming,
        now: Now,
    ) -> Result<Reply, Failure> {
        let uid = text(&object, "/metadata/uid");
        if !uid.is_empty() {
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: ");
            return Err(Failure::conflict(resource, &place.name, &why));
        }
        remove(&mut object, "/metadata/resourceVersion");
        let namespace = scope(resource, place);
        let created = self.create_object(resource, namespace, object, Keep::of(request), now)?;
        Ok(Reply::json(201, &created))
    }

    pub(super) fn patch(
        &mut self,
        resource: Resource,
        place: &Place,
        request: &Incoming,
    ) -> Result<Reply, Failure> {
        let before = self.stored(resource, place)?;
        let mut object = before.clone();
        let media = request.header("Content-Type").unwrap_or("");
        let media = media.split(';').next().unwrap_or("").trim();
        let known = [
            "application/merge-patch+json",
            "application/strategic-merge-patch+json",
            "application/json-patch+json",
        ];
        if !known.contains(&media) {
            return Err(Failure::unsupported_media_type("415: Unsupported Media Type"));
        }
        let sent: Value =
            serde_json::from_slice(&request.body).map_err(|_| Failure::bad_request("invalid JSON patch"))?;
        match (media, &sent) {
            ("application/json-patch+json", operations) => patch::json(&mut object, operations)?,
            ("application/merge-patch+json", Value::Object(_)) => patch::merge(&mut object, &sent),
            (_, Value::Object(fields)) if media != known[0] => {
                let target = object.as_object_mut().expect("a stored object is an object");
                patch::strategic(target, fields, Some(schema::type_of(resource)))?;
            }
            _ => {
                let prefix = if media == known[0] {
                    "error decoding patch: "
                } else {
                    ""
                };
                return Err(Failure::bad_request(format!(
                    "{prefix}json: cannot unmarshal array into Go value of type map[string]interface {{}}"
                )));
            }
        }
        let mut object = self.decode(resource, &object, strict(request), Some(&sent))?;
        check_name(place, &object)?;
        set_namespace(resource, scope(resource, place), &mut object)?;
        let stored = self.write(resource, place, &before, object, Keep::of(request))?;
        Ok(Reply::json(200, &stored))
    }

    /// Stores `object` over `before`, at the endpoint that `place` names. What changes nothing writes nothing.
    fn write(
        &mut self,
        resource: Resource,
        place: &Place,
        before: &Value,
        mut object: Value,
        keep: Keep,
    ) -> Result<Value, Failure> {
        let version = self.settings.version;
        let current = text(before, "/metadata/resourceVersion");
        let sent = text(&object, "/metadata/resourceVersion");
        if !sent.is_empty() && sent != current {
            return Err(Failure::conflict(resource, &place.name, MODIFIED));
        }
        set(&mut object, "/metadata/resourceVersion", current);
        if text(&object, "/metadata/uid").is_empty() {
            set(&mut object, "/metadata/uid", text(before, "/metadata/uid"));
        }
        let status = place.subresource == "status";
        let mut causes = admission::check_metadata(resource, &object, Some(before));
        admission::keep(resource, &mut object, before, status);
        let key = key(resource, place);
        if resource == Resource::Services {
            if !status {
                service::keep_allocated(&mut object, before);
            }
            service::default(version, &mut object);
            if !status {
                service::drop_dependent(&mut object, before);
            }
            causes.extend(service::check(version, &object, Some(before)));
            if causes.is_empty() && !status {
                causes = self
                    .allocations
                    .fill(&key, version, &mut object, || self.random.next_u64());
            }
        } else {
            admission::default(resource, &mut object);
            causes.extend(admission::check(resource, &object, Some(before)));
        }
        if !causes.is_empty() {
            return Err(Failure::invalid(resource, &place.name, &causes));
        }
        if object == *before {
            return Ok(object);
        }
        let deleting = object.pointer("/metadata/deletionTimestamp").is_some();
        if deleting && texts(&object, "/metadata/finalizers").is_empty() && resource != Resource::Namespaces {
            // the answer is the object as it went, under its old version
            if keep == Keep::Yes {
                self.remove_object(&key);
            }
            return Ok(object);
        }
        Ok(self.store_object(key, object, keep))
    }

    pub(super) fn delete(
        &mut self,
        resource: Resource,
        place: &Place,
        request: &Incoming,
        now: Now,
    ) -> Result<Reply, Failure> {
        let options: Value = match request.body.is_empty() {
            true => json!({}),
            false => serde_json::from_slice(&request.body)
                .map_err(|error| Failure::bad_request(format!("the body is no DeleteOptions: {error}")))?,
        };
        let before = self.stored(resource, place)?;
        for (field, what) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
            let wanted = text(&options, &format!("/preconditions/{field}"));
            let found = text(&before, &format!("/metadata/{field}"));
            if !wanted.is_empty() && wanted != found {
                let hint = match field {
                    "uid" => "The object might have been deleted and then recreated",
                    _ => "The object might have been modified",
                };
                let why = format!(
                    "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). {hint}"
                );
                return Err(Failure::conflict_of_kind(resource, &place.name, &why));
            }
        }
        let dry = dry_run(request) || options["dryRun"] == json!(["All"]);
        let keep = if dry { Keep::DryRun } else { Keep::Yes };
        let (last, gone) = self.delete_object(resource, &key(resource, place), before, keep, now)?;
        let whole = match self.settings.version {
            KubeVersion::V1_14 => false,
            KubeVersion::Current => !gone || resource == Resource::Services,
        };
        Ok(Reply::json(
            200,
            &if whole { last } else { success(resource, &last) },
        ))
    }

    pub(super) fn delete_collection(
        &mut self,
        resource: Resource,
        place: &Place,
        options: &ListOptions,
        now: Now,
    ) -> Result<Reply, Failure> {
        let page = list::page(
            &self.store,
            self.settings.version,
            resource,
            scope(resource, place),
            options,
        )?;
        for object in &page.objects {
            let key = Key::of(resource, object);
            self.delete_object(resource, &key, Value::clone(object), Keep::Yes, now)?;
        }
        Ok(Reply::json(200, &page.to_value(resource)))
    }

    /// Deletes an object, or marks it as being deleted where finalizers hold it. Its last state, and whether it is gone.
    fn delete_object(
        &mut self,
        resource: Resource,
        key: &Key,
        mut object: Value,
        keep: Keep,
        now: Now,
    ) -> Result<(Value, bool), Failure> {
        let name = text(&object, "/metadata/name").to_owned();
        if resource == Resource::Namespaces
            && ["default", "kube-system", "kube-public"].contains(&name.as_str())
        {
            let why = "this namespace may not be deleted";
            return Err(Failure::forbidden("", resource.plural(), &name, why));
        }
        // nobody here empties a namespace, so it terminates for ever
        let held = resource == Resource::Namespaces || !texts(&object, "/metadata/finalizers").is_empty();
        if !held {
            if keep == Keep::Yes {
                object = self.remove_object(key).unwrap_or(object);
            }
            return Ok((object, true));
        }
        if object.pointer("/metadata/deletionTimestamp").is_some() {
            return Ok((object, false));
        }
        set(&mut object, "/metadata/deletionTimestamp", timestamp(now.wall));
        if resource == Resource::Namespaces {
            set(&mut object, "/status/phase", "Terminating");
        } else {
            set(&mut object, "/metadata/deletionGracePeriodSeconds", 0);
        }
        Ok((self.store_object(key.clone(), object, keep), false))
    }

    fn stored(&self, resource: Resource, place: &Place) -> Result<Value, Failure> {
        let object = self.store.get(&key(resource, place));
        object
            .map(|object| Value::clone(object))
            .ok_or_else(|| Failure::not_found(resource, &place.name))
    }

    /// `patch` is what was sent, when `value` is the result of patching: then what is wrong is the patch.
    fn decode(
        &self,
        resource: Resource,
        value: &Value,
        strict: bool,
        patch: Option<&Value>,
    ) -> Result<Value, Failure> {
        let in_patch = |why: &str, sent: &Value| {
            let shown = sent.to_string();
            Failure::invalid_kind("", "", "", &[Cause::invalid("patch", shown, why)])
        };
        let decoded = match (schema::decode(resource, self.settings.version, value), patch) {
            (Err(failure), Some(sent)) => return Err(in_patch(&failure.message, sent)),
            (decoded, _) => decoded?,
        };
        let kind = resource.kind();
        let sent_kind = text(value, "/kind");
        if let (Some(sent), false) = (patch, sent_kind == kind) {
            return Err(in_patch(&format!("no kind {sent_kind:?} is registered"), sent));
        }
        if !strict || decoded.unknown.is_empty() {
            return Ok(decoded.object);
        }
        let unknown: Vec<String> = decoded
            .unknown
            .iter()
            .map(|f| format!("unknown field {f:?}"))
            .collect();
        let why = format!("strict decoding error: {}", unknown.join(", "));
        Err(match patch {
            None => Failure::bad_request(format!(
                "{kind} in version \"v1\" cannot be handled as a {kind}: {why}"
            )),
            Some(sent) => in_patch(&why, sent),
        })
    }

    fn check_namespace(&self, resource: Resource, namespace: &str, name: &str) -> Result<(), Failure> {
        if !resource.namespaced() {
            return Ok(());
        }
        match self.store.get(&Key::new(Resource::Namespaces, "", namespace)) {
            None => Err(Failure::not_found(Resource::Namespaces, namespace)),
            Some(found) if text(found, "/status/phase") == "Terminating" => {
                Err(Failure::namespace_terminating(resource, name, namespace))
            }
            Some(_) => Ok(()),
        }
    }

    fn store_object(&mut self, key: Key, object: Value, keep: Keep) -> Value {
        if keep == Keep::DryRun {
            return object;
        }
        let before = self.store.get(&key).cloned();
        let after = self.store.put(key.clone(), object);
        if key.resource == Resource::Services {
            self.allocations.follow(&key, before.as_deref(), Some(&after));
        }
        Value::clone(&after)
    }

    /// Removes an object, whatever holds it.
    pub(super) fn remove_object(&mut self, key: &Key) -> Option<Value> {
        let last = self.store.remove(key)?;
        if key.resource == Resource::Services {
            self.allocations.follow(key, Some(&last), None);
        }
        Some(last)
    }

    /// A random UUID. Source: RFC 9562, 5.4.
    fn uid(&self) -> String {
        let (high, low) = (self.random.next_u64(), self.random.next_u64());
        let high = (high & !0xF000) | 0x4000;
        let low = (low & (u64::MAX >> 2)) | (1 << 63);
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xFFFF,
            high & 0xFFFF,
            low >> 48,
            low & 0xFFFF_FFFF_FFFF
        )
    }

    /// Five letters and digits that spell nothing. Source: apimachinery pkg/util/rand.
    fn suffix(&self) -> String {
        const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
        let letter = || char::from(LETTERS[usize::try_from(self.random.next_u64() % 27).unwrap_or(0)]);
        (0..5).map(|_| letter()).collect()
    }
}

fn timestamp(wall: SystemTime) -> String {
    humantime::format_rfc3339_seconds(wall).to_string()
}

fn set_namespace(resource: Resource, namespace: &str, object: &mut Value) -> Result<(), Failure> {
    if !resource.namespaced() {
        remove(object, "/metadata/namespace");
        return Ok(());
    }
    let sent = text(object, "/metadata/namespace");
    if !sent.is_empty() && sent != namespace {
        return Err(Failure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    set(object, "/metadata/namespace", namespace);
    Ok(())
}

fn check_name(place: &Place, object: &Value) -> Result<(), Failure> {
    let sent = text(object, "/metadata/name");
    if sent == place.name {
        return Ok(());
    }
    Err(Failure::bad_request(match sent {
        "" => format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            place.name
        ),
        sent => format!(
            "the name of the object ({sent}) does not match the name on the URL ({})",
            place.name
        ),
    }))
}

fn success(resource: Resource, last: &Value) -> Value {
    let mut details = Map::new();
    details.insert("name".into(), last["metadata"]["name"].clone());
    if !resource.group().is_empty() {
        details.insert("group".into(), resource.group().into());
    }
    details.insert("kind".into(), resource.plural().into());
    details.insert("uid".into(), last["metadata"]["uid"].clone());
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

#[cfg(test)]
mod tests;
