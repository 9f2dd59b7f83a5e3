//! What a candidate asks of the API server, and what the answers mean to it.

use std::time::Duration;

use serde_json::Value;

use super::Options;
use super::decide::{Answer, Ask, What};
use crate::http::Limits;
use crate::k8s::types::Lease;
use crate::k8s::types::lease::API;
use crate::k8s::{Call, Client, Error, path};
use crate::runtime::json;

/// Asks about one lease. Nothing is tried twice.
pub(super) struct Api {
    client: Client,
    name: String,
    object: String,
    collection: String,
}

impl Api {
    /// # Errors
    /// A namespace or a name that is none.
    pub(super) fn new(client: Client, options: &Options) -> Result<Self, Error> {
        let (namespace, name) = (&options.namespace, &options.name);
        Ok(Self {
            client,
            name: name.clone(),
            object: path::named(API, PLURAL, namespace, name, None)?,
            collection: path::in_namespace(API, PLURAL, namespace)?,
        })
    }

    /// Makes one request. The error is for people: whatever it is, the answer says what follows from it.
    pub(super) fn ask(&self, ask: &Ask) -> (Answer, Option<Error>) {
        match self.exchange(&self.call(ask)) {
            Ok(lease) => (Answer::Lease(lease), None),
            Err(Error::NotFound { .. }) if ask.what == What::Read => (Answer::Absent, None),
            Err(Error::Conflict { .. } | Error::AlreadyExists { .. }) => (Answer::Conflict, None),
            Err(error) => (Answer::Failed, Some(error)),
        }
    }

    /// The lease as it is.
    pub(super) fn read(&self, within: Duration) -> Result<Lease, Error> {
        let what = What::Read;
        self.exchange(&self.call(&Ask { what, within }))
    }

    /// Replaces the version of it that is in `body`.
    pub(super) fn replace(&self, body: Value, within: Duration) -> Result<Lease, Error> {
        let what = What::Replace(body);
        self.exchange(&self.call(&Ask { what, within }))
    }

    pub(super) fn call(&self, ask: &Ask) -> Call {
        // the server gives up, too: what it does later than that nobody waits for
        let timeout = format!("?timeout={}ms", ask.within.as_millis().max(1));
        let call = match &ask.what {
            What::Read => Call::get(format!("{}{timeout}", self.object)),
            What::Create(body) => Call::create(format!("{}{timeout}", self.collection), body),
            What::Replace(body) => Call::replace(format!("{}{timeout}", self.object), body),
        };
        call.of_lease().limits(limits(ask.within))
    }

    fn exchange(&self, call: &Call) -> Result<Lease, Error> {
        let unintelligible = |reason: String| Error::Unintelligible {
            call: call.describe(),
            reason,
        };
        let bytes = self
            .client
            .open_once(call)?
            .into_bytes(OBJECT_LIMIT)
            .map_err(|error| unintelligible(error.to_string()))?;
        let object = json::read(&bytes).map_err(|error| unintelligible(error.to_string()))?;
        let lease = Lease::parse(object).map_err(|error| unintelligible(error.to_string()))?;
        if lease.name() == self.name {
            Ok(lease)
        } else {
            Err(unintelligible(format!("the Lease {:?}", lease.name())))
        }
    }
}

/// A connection is mostly there already, and a slow answer is worth more than none; so the parts are not cut so that they never exceed the
/// whole. Who must not wait longer than that has a deadline of its own: [`super::Leadership::overdue_at`].
pub(super) fn limits(within: Duration) -> Limits {
    Limits {
        connect: within / 2,
        head: within,
        silence: within,
        body: Some(within),
    }
}

pub(super) const PLURAL: &str = "leases";
/// A Lease is small, but anybody may put annotations on it.
const OBJECT_LIMIT: usize = 2 << 20;
