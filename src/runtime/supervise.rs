//! The one place that spawns the daemon's threads.
//!
//! A thread that ends although nobody asked it to (by return or by panic) ends the process: a daemon with half of its
//! threads looks alive and does nothing, while a restart by systemd or Kubernetes mends it.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::stop::StopToken;

/// Spawns named threads and notices when one ends unasked.
pub struct Supervisor {
    stop: StopToken,
    ended: (Sender<Ended>, Receiver<Ended>),
    finished: (Sender<String>, Receiver<String>),
    running: BTreeSet<String>,
}

/// A thread that ended before it was asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The thread's name.
    pub thread: String,
    /// Whether by panic rather than by returning.
    pub panicked: bool,
}

impl Supervisor {
    /// Threads that end after `stop` is set were asked to.
    pub fn new(stop: StopToken) -> Self {
        Self {
            stop,
            ended: unbounded(),
            finished: unbounded(),
            running: BTreeSet::new(),
        }
    }

    /// Spawns `body` on a thread called `name`, which is its alone (Linux shows 15 bytes of it).
    pub fn spawn(&mut self, name: impl Into<String>, body: impl FnOnce() + Send + 'static) {
        let name = name.into();
        debug_assert!(name.len() <= 15, "Linux cuts thread names at 15 bytes: {name}");
        self.running.insert(name.clone());
        let (stop, ended, finished) = (self.stop.clone(), self.ended.0.clone(), self.finished.0.clone());
        let thread = name.clone();
        std::thread::Builder::new()
            .name(name)
            .stack_size(STACK_SIZE)
            .spawn(move || {
                let panicked = catch_unwind(AssertUnwindSafe(body)).is_err();
                // the receivers live as long as the supervisor; without one nobody is left to tell
                if !stop.is_set() {
                    let _ = ended.send(Ended {
                        thread: thread.clone(),
                        panicked,
                    });
                }
                let _ = finished.send(thread);
            })
            .expect("the system has room for another thread");
    }

    /// Receives each thread that ends unasked.
    pub fn ended(&self) -> &Receiver<Ended> {
        &self.ended.1
    }

    /// Waits until every thread has ended, for at most `patience`; the names of those that have not. Call it after setting
    /// the stop.
    pub fn join(mut self, patience: Duration) -> BTreeSet<String> {
        let deadline = Instant::now() + patience;
        while !self.running.is_empty() {
            match self.finished.1.recv_deadline(deadline) {
                Ok(name) => self.running.remove(&name),
                Err(_) => break,
            };
        }
        self.running
    }
}

/// Spawns `body` on a thread that comes and goes with one piece of work, such as a connection. Its end is no news, and nobody
/// waits for it when the process ends; what it holds it gives back by dropping it.
///
/// # Errors
/// The system has no room for another thread; `body` is dropped.
pub fn spawn_passing(name: String, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    debug_assert!(name.len() <= 15, "Linux cuts thread names at 15 bytes: {name}");
    std::thread::Builder::new()
        .name(name)
        .stack_size(PASSING_STACK_SIZE)
        .spawn(body)
        .map(drop)
}

/// Enough for TLS on both sides and a question to the API server in between; code that is not optimised needs more.
const PASSING_STACK_SIZE: usize = if cfg!(debug_assertions) {
    1 << 20
} else {
    256 << 10
};

/// Address space, not memory: pages are used as they are touched. The deepest stack is JSON decoding inside TLS.
const STACK_SIZE: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::stop::Stop;

    #[test]
    fn a_thread_that_ends_unasked_is_reported() {
        let stop = Stop::new();
        let mut supervisor = Supervisor::new(stop.token());
        supervisor.spawn("returns", || {});
        let ended = supervisor.ended().recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(
            ended,
            Ended {
                thread: "returns".into(),
                panicked: false
            }
        );
        supervisor.spawn("panics", || panic!("on purpose"));
        let ended = supervisor.ended().recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(
            ended,
            Ended {
                thread: "panics".into(),
                panicked: true
            }
        );
    }

    #[test]
    fn a_thread_that_was_asked_to_stop_is_not() {
        let stop = Stop::new();
        let mut supervisor = Supervisor::new(stop.token());
        let token = stop.token();
        supervisor.spawn("obeys", move || {
            token.wait(Duration::from_secs(60));
        });
        stop.stop();
        let ended = supervisor.ended().clone();
        assert_eq!(supervisor.join(Duration::from_secs(60)), BTreeSet::new());
        assert!(ended.try_recv().is_err());
    }

    #[test]
    fn a_thread_that_does_not_end_is_named() {
        let (stop, never) = (Stop::new(), Stop::new());
        let mut supervisor = Supervisor::new(stop.token());
        let token = never.token();
        supervisor.spawn("stubborn", move || {
            token.wait(Duration::from_secs(60));
        });
        stop.stop();
        assert_eq!(
            supervisor.join(Duration::from_millis(1)),
            BTreeSet::from(["stubborn".to_string()])
        );
        never.stop();
    }
}
