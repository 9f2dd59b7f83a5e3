//! From a request to an answer: who asks, may they, for what; then reading. Writing: `write.rs`.

use serde_json::Value;

use super::access::{Ask, Who};
use super::object::Resource;
use super::request::{Form, ListOptions, Place, Target, form, target, verb};
use super::review::Review;
use super::status::Failure;
use super::store::Key;
use super::watch::Watch;
use super::{State, discovery, list, table};
use crate::sim::server::{Incoming, Now, Reply};

/// What a request gets.
pub(super) enum Outcome {
    /// All at once.
    Full(Reply),
    /// Events, as they come.
    Watch(Box<Watch>),
}

/// A request that has been understood and allowed.
pub(super) enum Routed {
    /// It only reads: here is the answer.
    Done(Outcome),
    /// It writes.
    Write(Box<Write>),
}

/// What to write, and where.
pub(super) struct Write {
    verb: &'static str,
    resource: Resource,
    place: Place,
    options: ListOptions,
}

impl State {
    /// Serves what only reads; what writes is left for [`State::act`].
    pub(super) fn route(&self, request: &Incoming, now: Now) -> Routed {
        self.understand(request, now)
            .unwrap_or_else(|failure| Routed::Done(Outcome::Full(refusal(&failure))))
    }

    /// Writes.
    pub(super) fn act(&mut self, write: &Write, request: &Incoming, now: Now) -> Reply {
        let Write {
            verb,
            resource,
            place,
            options,
        } = write;
        let done = match *verb {
            "create" => self.create(*resource, place, request, now),
            "update" => self.update(*resource, place, request, now),
            "patch" => self.patch(*resource, place, request),
            "delete" => self.delete(*resource, place, request, now),
            _ => self.delete_collection(*resource, place, options, now),
        };
        done.unwrap_or_else(|failure| refusal(&failure))
    }

    fn understand(&self, request: &Incoming, now: Now) -> Result<Routed, Failure> {
        let (target, watch) = target(&request.segments());
        let place = match target {
            Target::Path(path) => {
                let reply = self.serve_path(&path, request)?;
                return Ok(Routed::Done(Outcome::Full(reply)));
            }
            Target::Resource(place) => place,
        };
        let who = self.access.authenticate(request.header("Authorization"))?;
        let watch = watch || request.query("watch").is_some_and(|v| v == "1" || v == "true");
        let verb = verb(&request.method, !place.name.is_empty(), watch);
        let options = place
            .resource()
            .filter(|_| ["list", "watch", "deletecollection"].contains(&verb))
            .map(|resource| ListOptions::parse(resource, request));
        // a collection narrowed to one name is judged as that name
        let selected = match &options {
            Some(Ok(options)) => options.selector.name().unwrap_or(""),
            _ => "",
        };
        let ask = Ask {
            verb,
            group: &place.group,
            resource: &place.plural,
            subresource: &place.subresource,
            namespace: &place.namespace,
            name: if place.name.is_empty() {
                selected
            } else {
                &place.name
            },
        };
        let review = Review::at(&place);
        // everybody may ask about themselves. Source: kubernetes bootstrappolicy/policy.go (system:basic-user)
        if review != Some(Review::SelfSubjectAccess) {
            self.access.authorize(&who, &ask)?;
        }
        if let Some(review) = review {
            let reply = self.review(review, &place, &who, request)?;
            return Ok(Routed::Done(Outcome::Full(reply)));
        }
        let Some(resource) = place.resource() else {
            return match (place.group.as_str(), place.version.as_str()) {
                ("", _) | ("coordination.k8s.io", "v1") => Err(Failure::no_resource()),
                _ => Ok(Routed::Done(Outcome::Full(not_found_page()))),
            };
        };
        check_place(resource, &place, verb)?;
        let options = options.transpose()?.unwrap_or_default();
        Ok(Routed::Done(match verb {
            "get" => Outcome::Full(self.get(resource, &place, request, now)?),
            "list" => Outcome::Full(self.list(resource, &place, &options, form(request)?, now)?),
            "watch" => self.watch(resource, &place, options, form(request)?, now)?,
            _ => {
                return Ok(Routed::Write(Box::new(Write {
                    verb,
                    resource,
                    place,
                    options,
                })));
            }
        }))
    }

    /// Health and version are everybody's; the rest is for whoever is known, once it exists.
    fn serve_path(&self, path: &str, request: &Incoming) -> Result<Reply, Failure> {
        if let "/healthz" | "/livez" | "/readyz" = path {
            return Ok(plain(200, "ok"));
        }
        let who = match request.header("Authorization") {
            None if path == "/version" => Who::Admin,
            header => self.access.authenticate(header)?,
        };
        match discovery::document(path, self.settings.version) {
            Some(_) if request.method != "GET" => Err(Failure::method_not_allowed()),
            Some(document) => {
                form(request)?;
                Ok(Reply::json(200, &document))
            }
            None => match who {
                Who::Admin => Ok(not_found_page()),
                Who::User(_) if path.starts_with("/api") || path.starts_with("/openapi") => {
                    Ok(not_found_page())
                }
                Who::User(user) => Err(Failure::forbidden_path(
                    &user,
                    &request.method.to_lowercase(),
                    path,
                )),
            },
        }
    }

    fn get(&self, resource: Resource, place: &Place, request: &Incoming, now: Now) -> Result<Reply, Failure> {
        let version = request.query("resourceVersion").unwrap_or_default();
        if let Some(asked) = list::parse_version(&version).filter(|v| *v > self.store.version()) {
            return Err(Failure::version_too_large(asked, self.store.version()));
        }
        let object = self
            .store
            .get(&key(resource, place))
            .ok_or_else(|| Failure::not_found(resource, &place.name))?;
        Ok(show(resource, 200, object, form(request)?, now))
    }

    fn list(
        &self,
        resource: Resource,
        place: &Place,
        options: &ListOptions,
        form: Form,
        now: Now,
    ) -> Result<Reply, Failure> {
        let page = list::page(
            &self.store,
            self.settings.version,
            resource,
            scope(resource, place),
            options,
        )?;
        Ok(match form {
            Form::Plain => Reply::json(200, &page.to_value(resource)),
            Form::Table { whole } => {
                let objects = page.objects.iter().map(|o| &**o);
                Reply::json(
                    200,
                    &table::table(resource, objects, &page.metadata, whole, now.wall),
                )
            }
        })
    }

    fn watch(
        &self,
        resource: Resource,
        place: &Place,
        mut options: ListOptions,
        form: Form,
        now: Now,
    ) -> Result<Outcome, Failure> {
        if !place.name.is_empty() {
            let fields = format!("metadata.name={}", place.name);
            options.selector = super::selector::Selector::parse(resource, "", &fields)?;
        }
        let scope = (resource, scope(resource, place));
        let watch = Watch::open(
            &self.store,
            &self.settings,
            &self.signals,
            scope,
            options,
            form,
            now,
        )?;
        Ok(Outcome::Watch(Box::new(watch)))
    }
}

fn refusal(failure: &Failure) -> Reply {
    let reply = Reply::json(failure.code, &failure.to_value());
    match failure.retry_after_seconds() {
        Some(seconds) => reply.with_header("Retry-After", &seconds.to_string()),
        None => reply,
    }
}

/// Whether such a verb can be applied to such a place.
fn check_place(resource: Resource, place: &Place, verb: &str) -> Result<(), Failure> {
    match place.subresource.as_str() {
        "" => {}
        "status" if resource.has_status() => {
            return match verb {
                "get" | "update" | "patch" => Ok(()),
                _ => Err(Failure::method_not_allowed()),
            };
        }
        _ => return Err(Failure::no_resource()),
    }
    let named = !place.name.is_empty();
    let everywhere = resource.namespaced() && place.namespace.is_empty();
    if everywhere && named {
        return Err(Failure::no_resource());
    }
    let fits = match verb {
        "get" | "watch" | "list" => true,
        "create" => !named && !everywhere,
        "deletecollection" => !named && !everywhere && resource != Resource::Namespaces,
        "update" | "patch" | "delete" => named,
        _ => false,
    };
    if fits {
        Ok(())
    } else {
        Err(Failure::method_not_allowed())
    }
}

/// The namespace that narrows a collection.
pub(super) fn scope(resource: Resource, place: &Place) -> &str {
    if resource.namespaced() {
        &place.namespace
    } else {
        ""
    }
}

/// Where the object that `place` names is stored.
pub(super) fn key(resource: Resource, place: &Place) -> Key {
    Key::new(resource, scope(resource, place), &place.name)
}

/// One object, in the form asked for.
pub(super) fn show(resource: Resource, status: u16, object: &Value, form: Form, now: Now) -> Reply {
    match form {
        Form::Plain => Reply::json(status, object),
        Form::Table { whole } => {
            let metadata = serde_json::json!({"resourceVersion": object["metadata"]["resourceVersion"]});
            Reply::json(
                status,
                &table::table(resource, [object], &metadata, whole, now.wall),
            )
        }
    }
}

fn plain(status: u16, text: &str) -> Reply {
    Reply {
        status,
        headers: vec![("Content-Type".into(), "text/plain; charset=utf-8".into())],
        body: text.as_bytes().to_vec(),
    }
}

/// What a server says to a path nobody serves, a missing API group among them.
fn not_found_page() -> Reply {
    plain(404, "404 page not found\n")
}

#[cfg(test)]
pub(super) mod tests;
