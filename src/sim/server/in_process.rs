//! A core called without sockets, in the caller's own thread.

use std::cell::Cell;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use super::front::{Front, Log, Outcome};
use super::{Answer, Core, Incoming, Piece, Reply, Stream};
use crate::http::{Error, Request, Response, Transport};
use crate::runtime::clock::{Clock, SystemClock};
use crate::runtime::stop::{Stop, StopToken};
use crate::sim::faults::Faults;

/// A [`Transport`] straight into a core, whatever the URL's host.
///
/// Time is not spent: latency and delays that exceed the request's deadline for the head are time-outs at once, after the
/// core has acted if it would have; shorter ones are nothing. Only a paused call really blocks.
pub struct InProcess {
    front: Front,
    stop: Stop,
    patience: Duration,
}

impl InProcess {
    /// Around `core`, by the system's clock.
    pub fn new(core: Arc<dyn Core>) -> Self {
        Self::with_clock(core, Arc::new(SystemClock))
    }

    /// Around `core`, by another clock.
    pub fn with_clock(core: Arc<dyn Core>, clock: Arc<dyn Clock>) -> Self {
        Self {
            front: Front::new(core, clock),
            stop: Stop::new(),
            patience: Duration::ZERO,
        }
    }

    /// Lets reads of a stream wait that long for more; without it they do not wait at all.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The script it obeys.
    pub fn faults(&self) -> &Faults {
        &self.front.faults
    }

    /// The requests so far.
    pub fn log(&self) -> &Log {
        &self.front.log
    }
}

impl Transport for InProcess {
    fn exchange(&self, request: &Request) -> Result<Response, Error> {
        if self.stop.token().is_set() {
            return Err(Error::Stopped);
        }
        let (peer, incoming) = take_apart(request)?;
        let spent = Cell::new(Duration::ZERO);
        let outcome = self
            .front
            .handle(&incoming, &|time| spent.set(spent.get().saturating_add(time)));
        let no_answer = |kind: io::ErrorKind| Error::NoAnswer {
            peer: peer.clone(),
            source: kind.into(),
        };
        if self.stop.token().is_set() {
            return Err(Error::Stopped);
        }
        if spent.get() > request.limits.head {
            return Err(no_answer(io::ErrorKind::TimedOut));
        }
        match outcome {
            Outcome::Answer(answer) => Ok(self.response(answer, Cut::No)),
            Outcome::Truncated(answer) => Ok(self.response(answer, Cut::Half)),
            Outcome::HangUp => Err(no_answer(io::ErrorKind::UnexpectedEof)),
            Outcome::Refuse(_) => Err(Error::Connect {
                peer,
                source: io::ErrorKind::ConnectionRefused.into(),
            }),
        }
    }

    fn shutdown(&self) {
        self.stop.stop();
        self.front.faults.hang_up_paused();
    }
}

impl InProcess {
    fn response(&self, answer: Answer, cut: Cut) -> Response {
        match answer {
            Answer::Full(Reply {
                status,
                headers,
                mut body,
            }) => {
                let missing = match cut {
                    Cut::No => 0,
                    Cut::Half => body.len() - body.len() / 2,
                };
                body.truncate(body.len() - missing);
                let end = if missing > 0 { Some(Piece::Broken) } else { None };
                Response {
                    status,
                    headers,
                    body: Box::new(Body::new(Box::new(Whole(Some(body), end)), self)),
                }
            }
            Answer::Stream {
                status,
                headers,
                stream,
            } => {
                let stream: Box<dyn Stream> = match cut {
                    Cut::No => stream,
                    Cut::Half => Box::new(Halved(Some(stream))),
                };
                Response {
                    status,
                    headers,
                    body: Box::new(Body::new(stream, self)),
                }
            }
        }
    }
}

/// Whether the body is cut short.
enum Cut {
    No,
    Half,
}

/// A body in one piece, and how it ends.
struct Whole(Option<Vec<u8>>, Option<Piece>);

impl Stream for Whole {
    fn next(&mut self, _: Duration) -> Piece {
        match self.0.take() {
            Some(body) if !body.is_empty() => Piece::Bytes(body),
            _ => self.1.clone().unwrap_or(Piece::End),
        }
    }
}

/// Half of a stream's first piece, then a broken connection.
pub(super) struct Halved(pub(super) Option<Box<dyn Stream>>);

impl Stream for Halved {
    fn next(&mut self, timeout: Duration) -> Piece {
        let Some(stream) = &mut self.0 else {
            return Piece::Broken;
        };
        match stream.next(timeout) {
            Piece::Idle => Piece::Idle,
            Piece::Bytes(mut bytes) if bytes.len() > 1 => {
                bytes.truncate(bytes.len() / 2);
                self.0 = None;
                Piece::Bytes(bytes)
            }
            Piece::Bytes(_) | Piece::End | Piece::Broken => Piece::Broken,
        }
    }
}

struct Body {
    stream: Box<dyn Stream>,
    pending: io::Cursor<Vec<u8>>,
    stop: StopToken,
    patience: Duration,
}

impl Body {
    fn new(stream: Box<dyn Stream>, transport: &InProcess) -> Self {
        Self {
            stream,
            pending: io::Cursor::default(),
            stop: transport.stop.token(),
            patience: transport.patience,
        }
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.pending.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        if self.stop.is_set() {
            return Err(io::Error::other("stopped"));
        }
        match self.stream.next(self.patience) {
            Piece::Bytes(bytes) => {
                self.pending = io::Cursor::new(bytes);
                self.pending.read(buffer)
            }
            Piece::Idle => Err(io::ErrorKind::TimedOut.into()),
            Piece::End => Ok(0),
            Piece::Broken => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn take_apart(request: &Request) -> Result<(String, Incoming), Error> {
    if !request.is_permitted() {
        return Err(Error::NotPermitted);
    }
    let (_, rest) = request.url.split_once("://").ok_or_else(|| Error::Invalid {
        reason: "the URL has no scheme".into(),
    })?;
    let (peer, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let target = if target.starts_with('/') {
        target.to_owned()
    } else {
        format!("/{target}")
    };
    let incoming = Incoming {
        method: request.method().as_str().to_owned(),
        target,
        headers: request.headers.clone(),
        body: request.body.clone().unwrap_or_default(),
    };
    Ok((peer.to_owned(), incoming))
}
