//! Bytes of a watch → frames → events. Pure: it reads nothing itself, and may be fed any number of bytes at a time.

mod skim;

use std::borrow::Cow;
use std::time::Duration;

use memchr::memchr2;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::error::Error;
use super::types::{Resource, null_default};
use crate::runtime::json;

/// The largest frame accepted. Source: apimachinery `streaming.decoder.maxBytes`.
const FRAME_LIMIT: usize = 16 << 20;
/// A buffer that one large frame has blown up is given back above this.
const BUFFER_KEPT: usize = 64 << 10;

/// Cuts a stream into JSON objects, by their braces: they may be split anywhere, and nothing need stand between them.
#[derive(Default)]
pub struct Frames {
    buffer: Vec<u8>,
    /// Where the frame begins that is being looked at; what is before has been handed out.
    start: usize,
    /// How far the braces are counted.
    at: usize,
    depth: u32,
    in_text: bool,
    escaped: bool,
}

/// Why a stream cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not JSON, or not an event.
    #[error("not a watch event: {0}")]
    Malformed(String),
    /// More than 16 MiB.
    #[error("a frame of more than {FRAME_LIMIT} bytes")]
    TooLarge,
}

impl Frames {
    /// Takes what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.at -= self.start;
        self.start = 0;
        if self.buffer.len() + bytes.len() <= BUFFER_KEPT {
            self.buffer.shrink_to(BUFFER_KEPT);
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame; `None` when more bytes are needed.
    ///
    /// # Errors
    /// What is there can be no frame. The stream is of no more use.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        if self.depth == 0 {
            let rest = &self.buffer[self.at..];
            let blank = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.at += blank;
            self.start = self.at;
            match self.buffer.get(self.at) {
                None => return Ok(None),
                Some(b'{') => {}
                Some(_) => return Err(FrameError::Malformed("it begins with no brace".into())),
            }
        }
        if self.count_braces() {
            let frame = self.start..self.at;
            self.start = self.at;
            return if frame.len() > FRAME_LIMIT {
                Err(FrameError::TooLarge)
            } else {
                Ok(Some(&self.buffer[frame]))
            };
        }
        if self.buffer.len() - self.start > FRAME_LIMIT {
            return Err(FrameError::TooLarge);
        }
        Ok(None)
    }

    /// Goes on to the brace that closes the frame; false when it is not there yet.
    fn count_braces(&mut self) -> bool {
        loop {
            if self.escaped {
                if self.at == self.buffer.len() {
                    return false;
                }
                self.at += 1;
                self.escaped = false;
            }
            let rest = &self.buffer[self.at..];
            if self.in_text {
                let Some(found) = memchr2(b'"', b'\\', rest) else {
                    self.at = self.buffer.len();
                    return false;
                };
                self.at += found + 1;
                self.escaped = rest[found] == b'\\';
                self.in_text = self.escaped;
                continue;
            }
            let Some(found) = rest.iter().position(|byte| matches!(byte, b'"' | b'{' | b'}')) else {
                self.at = self.buffer.len();
                return false;
            };
            self.at += found + 1;
            match rest[found] {
                b'"' => self.in_text = true,
                b'{' => self.depth += 1,
                _ => self.depth -= 1,
            }
            if self.depth == 0 {
                return true;
            }
        }
    }

    /// Whether a frame has begun and not ended. The end of the stream is then a broken connection, not a clean end.
    pub fn is_mid_frame(&self) -> bool {
        self.depth > 0 || !self.buffer[self.at..].trim_ascii().is_empty()
    }
}

/// What a watch tells.
#[derive(Debug, Clone, PartialEq)]
pub enum WatchEvent<T> {
    /// The object is there. It may have been there before.
    Added(Decoded<T>),
    /// The object is there in this form.
    Modified(Decoded<T>),
    /// The object is gone; this was its last form, with the version of its deletion.
    Deleted(Decoded<T>),
    /// Nothing happened up to this version.
    Bookmark {
        /// Continue from here.
        resource_version: Box<str>,
    },
    /// The server ends the watch.
    Error(Status),
    /// An event about an object of another kind than asked for.
    Foreign {
        /// That kind.
        kind: String,
    },
    /// An event of a type that does not exist.
    Unknown {
        /// That type.
        type_: String,
    },
}

/// An object, as far as it can be understood.
#[derive(Debug, Clone, PartialEq)]
pub enum Decoded<T> {
    /// Understood.
    Object(T),
    /// Not understood. It exists, and that is all that may be concluded.
    Opaque(Opaque),
}

/// What is known of an object that does not decode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opaque {
    /// `namespace/name`.
    pub key: String,
    /// As in its metadata.
    pub uid: Box<str>,
    /// As in its metadata.
    pub resource_version: Box<str>,
    /// Why it does not decode.
    pub reason: String,
}

impl<T: Resource> WatchEvent<T> {
    /// Reads one frame, in two steps, so that an odd object spoils nothing but itself.
    ///
    /// # Errors
    /// The frame is no event, or its object lacks name, UID or version.
    pub fn decode(frame: &[u8]) -> Result<Self, FrameError> {
        if let Some(event) = Self::decode_usual(frame) {
            return Ok(event);
        }
        Self::decode_in_steps(frame)
    }

    fn decode_in_steps(frame: &[u8]) -> Result<Self, FrameError> {
        let malformed = |error: serde_json::Error| FrameError::Malformed(error.to_string());
        let Envelope { type_, object } = json::read(frame).map_err(malformed)?;
        let object = object.get();
        let wrap = match &*type_ {
            "ERROR" => return Ok(Self::Error(Status::decode(object))),
            "BOOKMARK" => {
                let head: Head = serde_json::from_str(object).map_err(malformed)?;
                let resource_version = head.metadata.resource_version;
                return if resource_version.is_empty() {
                    Err(FrameError::Malformed("a bookmark without a version".into()))
                } else {
                    Ok(Self::Bookmark { resource_version })
                };
            }
            "ADDED" => Self::Added,
            "MODIFIED" => Self::Modified,
            "DELETED" => Self::Deleted,
            _ => {
                let type_ = type_.into_owned();
                return Ok(Self::Unknown { type_ });
            }
        };
        let Kind { api_version, kind } = serde_json::from_str(object).unwrap_or_default();
        if !matches!(&*api_version, "" | "v1") || !(kind.is_empty() || kind == T::KIND) {
            let kind = format!("{api_version} {kind}");
            return Ok(Self::Foreign { kind });
        }
        Decoded::decode(object).map(wrap).map_err(FrameError::Malformed)
    }

    /// A frame spelled as the API server spells those about objects, in one pass. Anything else, and anything odd, is for the two steps.
    fn decode_usual(frame: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(frame).ok()?;
        let (type_, rest) = text.strip_prefix(r#"{"type":""#)?.split_once(r#"","object":"#)?;
        let wrap = match type_ {
            "ADDED" => Self::Added,
            "MODIFIED" => Self::Modified,
            "DELETED" => Self::Deleted,
            _ => return None,
        };
        let object = rest.strip_suffix('}')?;
        let is_its_kind = object
            .strip_prefix(r#"{"kind":""#)
            .and_then(|rest| {
                rest.strip_prefix(T::KIND)?
                    .strip_prefix(r#"","apiVersion":"v1","#)
            })
            .or_else(|| {
                let kind = object.strip_prefix(r#"{"apiVersion":"v1","kind":""#)?;
                kind.strip_prefix(T::KIND)?.strip_prefix(r#"","#)
            })
            .is_some();
        if !is_its_kind {
            return None;
        }
        let object: T = serde_json::from_str(&skim::skim(object)?).ok()?;
        let meta = object.meta();
        let is_known = !(meta.name.is_empty() || meta.uid.is_empty() || meta.resource_version.is_empty());
        is_known.then(|| wrap(Decoded::Object(object)))
    }
}

impl<T: Resource> Decoded<T> {
    /// Reads an object of a list or a watch.
    ///
    /// # Errors
    /// Not even name, UID and version can be read, so that nobody knows which object this is.
    pub fn decode(json: &str) -> Result<Self, String> {
        let decoded = match serde_json::from_str(json) {
            Ok(object) => Self::Object(object),
            Err(_) => Self::decode_leniently(json)?,
        };
        let (name, uid, version) = match &decoded {
            Self::Object(object) => {
                let meta = object.meta();
                (&*meta.name, &meta.uid, &meta.resource_version)
            }
            Self::Opaque(opaque) => (&*opaque.key, &opaque.uid, &opaque.resource_version),
        };
        for (what, value) in [("name", name), ("uid", uid), ("resourceVersion", version)] {
            if value.is_empty() {
                return Err(format!("a {} without {what}", T::KIND));
            }
        }
        Ok(decoded)
    }

    /// The second attempt: by a tree, in which of two equal keys the last counts, then by the metadata alone.
    fn decode_leniently(json: &str) -> Result<Self, String> {
        let tree: Value = serde_json::from_str(json).map_err(|e| e.to_string())?;
        let text = |field: &str| tree["metadata"][field].as_str().unwrap_or_default();
        let key = match (text("namespace"), text("name")) {
            ("", name) => name.to_string(),
            (_, "") => String::new(),
            (namespace, name) => format!("{namespace}/{name}"),
        };
        let mut opaque = Opaque {
            key,
            uid: text("uid").into(),
            resource_version: text("resourceVersion").into(),
            reason: String::new(),
        };
        match json::read_tree(&tree) {
            Ok(object) => Ok(Self::Object(object)),
            Err(error) => {
                let reason = error.to_string();
                // where in the text says nothing of a text that nobody sent
                let reason = reason.rsplit_once(" at line ").map_or(&*reason, |(what, _)| what);
                opaque.reason = reason.to_owned();
                Ok(Self::Opaque(opaque))
            }
        }
    }
}

/// A `Status` that ends a watch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    /// As an HTTP status code.
    #[serde(deserialize_with = "null_default")]
    pub code: u16,
    /// `Expired`, `Timeout`, …
    #[serde(deserialize_with = "null_default")]
    pub reason: String,
    /// For people.
    #[serde(deserialize_with = "null_default")]
    pub message: String,
    #[serde(deserialize_with = "null_default")]
    details: Details,
}

impl Status {
    fn decode(json: &str) -> Self {
        serde_json::from_str(json).unwrap_or_else(|error| Self {
            code: 500,
            message: format!("an ERROR event that cannot be understood: {error}"),
            ..Self::default()
        })
    }

    /// The error that the same answer to `call` would be. The reason counts before the code.
    pub fn into_error(self, call: String) -> Error {
        let Self {
            code,
            reason,
            message,
            details,
        } = self;
        let retry_after = (details.retry_after_seconds > 0)
            .then(|| Duration::from_secs(details.retry_after_seconds.unsigned_abs()));
        match (&*reason, code) {
            ("Expired" | "Gone", _) | ("" | "Unknown", 410) => Error::Expired { call, message },
            ("Unauthorized", _) | ("" | "Unknown", 401) => Error::Unauthorized { call, message },
            ("Forbidden", _) | ("" | "Unknown", 403) => Error::Forbidden { call, message },
            ("NotFound", _) | ("" | "Unknown", 404) => Error::NotServed { call },
            (_, 400..=499) if code != 429 => Error::Rejected {
                call,
                status: code,
                message,
            },
            _ => Error::Unavailable {
                call,
                status: code,
                message,
                retry_after,
            },
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Details {
    #[serde(deserialize_with = "null_default")]
    retry_after_seconds: i64,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    type_: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Kind<'a> {
    #[serde(borrow)]
    api_version: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Head {
    #[serde(deserialize_with = "null_default")]
    metadata: HeadMeta,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct HeadMeta {
    #[serde(deserialize_with = "null_default")]
    resource_version: Box<str>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::types::Service;

    type Event = WatchEvent<Service>;

    /// Everything a stream holds, fed `chunk` bytes at a time.
    fn read(stream: &[u8], chunk: usize) -> Result<Vec<Event>, FrameError> {
        let (mut frames, mut events) = (Frames::default(), Vec::new());
        for bytes in stream.chunks(chunk) {
            frames.push(bytes);
            while let Some(frame) = frames.next_frame()? {
                events.push(Event::decode(frame)?);
            }
        }
        assert!(!frames.is_mid_frame());
        Ok(events)
    }

    fn service(name: &str, version: &str) -> String {
        format!(
            r#"{{"kind":"Service","apiVersion":"v1","metadata":{{"name":"{name}","namespace":"shop","uid":"u-{name}","resourceVersion":"{version}"}}}}"#
        )
    }

    fn event(type_: &str, object: &str) -> String {
        format!(r#"{{"type":"{type_}","object":{object}}}"#)
    }

    #[test]
    fn a_stream_reads_the_same_however_it_is_split_and_separated() {
        let tricky =
            service("wéb", "2").replace(r#""metadata""#, r#""status":{"x":"}{\"\\","y":[]},"metadata""#);
        let parts = [
            event("ADDED", &service("a", "1")),
            event("MODIFIED", &tricky),
            event(
                "BOOKMARK",
                r#"{"kind":"Service","apiVersion":"v1","metadata":{"resourceVersion":"7","creationTimestamp":null},"spec":{}}"#,
            ),
            event("DELETED", &service("a", "8")),
        ];
        let want = read(parts.join("\n").as_bytes(), usize::MAX).unwrap();
        assert_eq!(want.len(), 4);
        for separator in ["", "\n", "\r\n", " \n\n\t "] {
            let stream = format!("{separator}{}{separator}", parts.join(separator));
            for chunk in 1..stream.len() {
                assert_eq!(
                    read(stream.as_bytes(), chunk).unwrap(),
                    want,
                    "{separator:?}, {chunk}"
                );
            }
        }
    }

    #[test]
    fn the_short_way_says_what_the_long_way_says() {
        let usual = r#"{"kind":"Service","apiVersion":"v1","metadata":{"name":"a","namespace":"b","uid":"u","resourceVersion":"1"}}"#;
        let sorted = usual.replace(
            r#""kind":"Service","apiVersion":"v1""#,
            r#""apiVersion":"v1","kind":"Service""#,
        );
        for (case, frame, is_short) in [
            ("usual", event("ADDED", usual), true),
            ("sorted", event("MODIFIED", &sorted), true),
            ("gone", event("DELETED", usual), true),
            ("an unknown type", event("MOVED", usual), false),
            (
                "another kind",
                event("ADDED", &usual.replace("Service", "Services")),
                false,
            ),
            (
                "another version",
                event("ADDED", &usual.replace("v1", "v2")),
                false,
            ),
            (
                "more after the object",
                event("ADDED", &format!(r#"{usual},"x":{{}}"#)),
                false,
            ),
            (
                "without a version",
                event("ADDED", &usual.replace(r#","resourceVersion":"1""#, "")),
                false,
            ),
            (
                "does not decode",
                event("ADDED", &usual.replace(r#""b""#, "7")),
                false,
            ),
        ] {
            let short = WatchEvent::<Service>::decode_usual(frame.as_bytes());
            assert_eq!(short.is_some(), is_short, "{case}");
            if let Some(short) = short {
                assert_eq!(Ok(short), WatchEvent::decode_in_steps(frame.as_bytes()), "{case}");
            }
        }
    }

    #[test]
    fn each_type_of_event_is_told_apart() {
        let Event::Added(Decoded::Object(added)) =
            Event::decode(event("ADDED", &service("a", "1")).as_bytes()).unwrap()
        else {
            panic!("not added")
        };
        assert_eq!(added.meta.key(), "shop/a");
        for (case, frame, want) in [
            (
                "bookmark",
                event("BOOKMARK", r#"{"metadata":{"resourceVersion":"7"}}"#),
                Event::Bookmark {
                    resource_version: "7".into(),
                },
            ),
            (
                "an unknown type",
                event("PONDERED", "{}"),
                Event::Unknown {
                    type_: "PONDERED".into(),
                },
            ),
            (
                "another kind",
                event("ADDED", &service("a", "1").replace("Service", "Table")),
                Event::Foreign {
                    kind: "v1 Table".into(),
                },
            ),
            (
                "another group",
                event(
                    "ADDED",
                    &service("a", "1").replace(r#""v1""#, r#""serving.knative.dev/v1""#),
                ),
                Event::Foreign {
                    kind: "serving.knative.dev/v1 Service".into(),
                },
            ),
        ] {
            assert_eq!(Event::decode(frame.as_bytes()).unwrap(), want, "{case}");
        }
    }

    #[test]
    fn what_is_no_event_is_an_error() {
        for (case, stream) in [
            ("HTML", "<html></html>".to_string()),
            ("text", "\"ADDED\"".to_string()),
            ("broken JSON", r#"{"type":"ADDED","object":{]}}"#.to_string()),
            ("a raw control character", event("ADDED", &service("\u{1}", "1"))),
            ("a list", r#"{"kind":"ServiceList","items":[]}"#.to_string()),
            ("no version", event("MODIFIED", &service("a", ""))),
            ("a bookmark without a version", event("BOOKMARK", "{}")),
            ("more braces than were opened", "}".to_string()),
        ] {
            let error = read(stream.as_bytes(), 5).unwrap_err();
            assert!(matches!(error, FrameError::Malformed(_)), "{case}: {error}");
        }
    }

    #[test]
    fn a_frame_beyond_the_limit_is_refused_before_it_ends() {
        let mut frames = Frames::default();
        frames.push(br#"{"type":""#);
        let chunk = vec![b'x'; 1 << 20];
        let error = (0..17).find_map(|_| {
            frames.push(&chunk);
            frames.next_frame().err()
        });
        assert_eq!(error, Some(FrameError::TooLarge));
    }

    #[test]
    fn a_cut_frame_is_noticed() {
        let mut frames = Frames::default();
        for (bytes, want) in [("\n", false), (r#"{"type":"#, true), ("1}", false), ("x", true)] {
            frames.push(bytes.as_bytes());
            let _ = frames.next_frame();
            assert_eq!(frames.is_mid_frame(), want, "{bytes}");
        }
    }

    #[test]
    fn a_large_frame_leaves_no_large_buffer() {
        let mut frames = Frames::default();
        frames.push(format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20)).as_bytes());
        assert!(frames.next_frame().unwrap().is_some());
        frames.push(b"{");
        assert!(frames.buffer.capacity() <= BUFFER_KEPT);
    }

    #[test]
    fn an_object_that_does_not_decode_keeps_its_name() {
        let odd = service("a", "9").replace(r#""metadata""#, r#""spec":{"ports":"many"},"metadata""#);
        let Decoded::Opaque(opaque) = Decoded::<Service>::decode(&odd).unwrap() else {
            panic!("it decoded")
        };
        assert_eq!(
            (&*opaque.key, &*opaque.uid, &*opaque.resource_version),
            ("shop/a", "u-a", "9")
        );
        assert!(
            Decoded::<Service>::decode(r#"{"spec":{"ports":"many"}}"#).is_err(),
            "nobody knows which it is"
        );
    }

    #[test]
    fn odd_but_legal_json_decodes() {
        for (case, spec) in [
            (
                "null lists and maps",
                r#"{"ports":null,"selector":null,"ipFamilies":null}"#,
            ),
            (
                "unknown words",
                r#"{"type":"Quantum","externalTrafficPolicy":"Sideways"}"#,
            ),
            (
                "huge numbers in what is not read",
                r#"{"x":123456789012345678901234567890}"#,
            ),
            ("a key twice", r#"{"type":"ClusterIP","type":"LoadBalancer"}"#),
        ] {
            let json = service("a", "9").replace(r#""metadata""#, &format!(r#""spec":{spec},"metadata""#));
            let decoded = Decoded::<Service>::decode(&json).unwrap();
            assert!(matches!(decoded, Decoded::Object(_)), "{case}");
        }
    }

    #[test]
    fn a_status_becomes_the_error_it_stands_for() {
        for (status, want) in [
            (
                r#"{"code":410,"reason":"Expired"}"#,
                "the version is no longer available",
            ),
            (
                r#"{"code":500,"reason":"Gone"}"#,
                "the version is no longer available",
            ),
            (r#"{"code":410}"#, "the version is no longer available"),
            (
                r#"{"code":429,"reason":"TooManyRequests","details":{"retryAfterSeconds":3}}"#,
                "not available for GET /x: 429",
            ),
            (
                r#"{"code":504,"reason":"Timeout","message":"Too large resource version: 9, current: 3"}"#,
                "504: Too large",
            ),
            (r#"{"code":403,"reason":"Forbidden"}"#, "not allowed"),
            (r#"{"code":400,"reason":"BadRequest"}"#, "rejects GET /x with 400"),
            (r#""nonsense""#, "500: an ERROR event that cannot be understood"),
        ] {
            let Event::Error(status) = Event::decode(event("ERROR", status).as_bytes()).unwrap() else {
                panic!("{status}: no error")
            };
            let error = status.into_error("GET /x".into()).to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
