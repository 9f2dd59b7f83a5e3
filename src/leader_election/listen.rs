//! Listening to a lease, so that a release is heard of at once. Only a help: who is deaf reads the lease now and then.

use std::io::{ErrorKind, Read};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::Options;
use super::api::{PLURAL, limits};
use crate::http::{Limits, percent_encode};
use crate::k8s::types::Lease;
use crate::k8s::types::lease::API;
use crate::k8s::watch::Frames;
use crate::k8s::{Call, Client, Error, path};
use crate::runtime::json;
use crate::runtime::random::Random;

/// An open watch of one lease.
pub(super) struct Listener {
    body: Box<dyn Read + Send>,
    frames: Frames,
}

/// What a listener has to say.
#[derive(Debug, PartialEq)]
pub(super) enum Heard {
    /// Nothing, for a while.
    Silence,
    /// The lease as it is now; `None` when it was deleted.
    Lease(Option<Lease>),
    /// Nothing will come any more.
    End(String),
}

impl Listener {
    /// Listens to what comes after `version`. A read takes `silence` at most.
    pub(super) fn open(
        client: &Client,
        options: &Options,
        version: &str,
        silence: Duration,
        random: &Random,
    ) -> Result<Self, Error> {
        let collection = path::in_namespace(API, PLURAL, &options.namespace)?;
        let selector = percent_encode(&format!("metadata.name={}", options.name));
        let version = percent_encode(version);
        let seconds = random.between(WINDOW.0, WINDOW.1).as_secs();
        let path = format!(
            "{collection}?watch=true&fieldSelector={selector}&resourceVersion={version}&timeoutSeconds={seconds}"
        );
        let call = Call::get(path).limits(Limits {
            silence,
            body: None,
            ..limits(options.request_limit())
        });
        Ok(Self {
            body: client.open_watch(&call)?.body,
            frames: Frames::default(),
        })
    }

    /// Waits for the next change, a little.
    pub(super) fn next(&mut self) -> Heard {
        let mut buffer = [0; 4096];
        loop {
            match self.frames.next_frame() {
                Ok(Some(frame)) => return decode(frame),
                Ok(None) => {}
                Err(error) => return Heard::End(error.to_string()),
            }
            match self.body.read(&mut buffer) {
                Ok(0) => return Heard::End("it is over".to_owned()),
                Ok(count) => self.frames.push(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::TimedOut => return Heard::Silence,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Heard::End(error.to_string()),
            }
        }
    }
}

fn decode(frame: &[u8]) -> Heard {
    #[derive(Deserialize)]
    struct Event {
        #[serde(rename = "type")]
        type_: String,
        object: Value,
    }
    let event: Event = match json::read(frame) {
        Ok(event) => event,
        Err(error) => return Heard::End(error.to_string()),
    };
    match (event.type_.as_str(), Lease::parse(event.object)) {
        ("DELETED", _) => Heard::Lease(None),
        ("ADDED" | "MODIFIED", Ok(lease)) => Heard::Lease(Some(lease)),
        (_, Err(error)) => Heard::End(format!("{}: {error}", event.type_)),
        (other, Ok(_)) => Heard::End(format!("an event of type {other:?}")),
    }
}

/// How long a watch is asked to last: short of the five minutes at which proxies cut.
const WINDOW: (Duration, Duration) = (Duration::from_secs(240), Duration::from_secs(290));

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn listener(bytes: &str) -> Listener {
        Listener {
            body: Box::new(std::io::Cursor::new(bytes.as_bytes().to_vec())),
            frames: Frames::default(),
        }
    }

    #[test]
    fn changes_are_heard_and_what_is_none_ends_it() {
        let lease = |version: &str| json!({"kind": "Lease", "metadata": {"name": "ccm", "uid": "u", "resourceVersion": version}, "spec": {"holderIdentity": "a"}});
        let event = |type_: &str, object: &Value| json!({"type": type_, "object": object}).to_string();
        let heard = |version| Heard::Lease(Some(Lease::parse(lease(version)).unwrap()));
        let mut both = listener(&(event("ADDED", &lease("1")) + "\n" + &event("MODIFIED", &lease("2"))));
        assert_eq!([both.next(), both.next()], [heard("1"), heard("2")]);
        assert_eq!(both.next(), Heard::End("it is over".into()));
        assert_eq!(
            listener(&event("DELETED", &lease("1"))).next(),
            Heard::Lease(None)
        );
        let status = json!({"kind": "Status", "code": 410});
        for (case, bytes) in [
            ("an error", event("ERROR", &status)),
            ("another kind", event("MODIFIED", &status)),
            ("a new type", event("MOVED", &lease("1"))),
            ("no event", "{}".to_owned()),
            ("HTML", "<html>".to_owned()),
        ] {
            let heard = listener(&bytes).next();
            assert!(matches!(heard, Heard::End(_)), "{case}: {heard:?}");
        }
    }
}
