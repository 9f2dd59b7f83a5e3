//! The reader of an answer's body.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ureq::{BodyReader, Timeout};

/// Ends plainly only where the framing says so. Silence is [`io::ErrorKind::TimedOut`], and the next read goes on; any other
/// error is final and is repeated by every later read.
pub(super) struct Body {
    reader: BodyReader<'static>,
    silence: Duration,
    total: Option<Duration>,
    stopped: Arc<AtomicBool>,
    failed: Option<(io::ErrorKind, String)>,
}

impl Body {
    pub(super) fn new(
        reader: BodyReader<'static>,
        silence: Duration,
        total: Option<Duration>,
        stopped: Arc<AtomicBool>,
    ) -> Self {
        Self {
            reader,
            silence,
            total,
            stopped,
            failed: None,
        }
    }

    fn fail(&mut self, kind: io::ErrorKind, reason: impl Into<String>) -> io::Error {
        let reason = reason.into();
        self.failed = Some((kind, reason.clone()));
        io::Error::new(kind, reason)
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }
}

impl Read for Body {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some((kind, reason)) = &self.failed {
            return Err(io::Error::new(*kind, reason.clone()));
        }
        if buf.is_empty() {
            return Ok(0);
        }
        let read = if self.is_stopped() {
            Ok(0)
        } else {
            self.reader.read(buf)
        };
        // whatever the read says after a shutdown, an end above all, may be its doing
        if self.is_stopped() {
            return Err(self.fail(io::ErrorKind::ConnectionAborted, "stopped"));
        }
        let error = match read {
            Ok(n) => return Ok(n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Err(e),
            Err(e) => ureq::Error::from(e),
        };
        Err(match error {
            ureq::Error::Timeout(Timeout::PerRead) => {
                io::Error::new(io::ErrorKind::TimedOut, format!("nothing for {:?}", self.silence))
            }
            ureq::Error::Timeout(_) => {
                let total = self.total.unwrap_or_default();
                self.fail(io::ErrorKind::Other, format!("not complete within {total:?}"))
            }
            ureq::Error::Io(e) => self.fail(e.kind(), format!("cut short: {e}")),
            other => self.fail(io::ErrorKind::InvalidData, other.to_string()),
        })
    }
}
