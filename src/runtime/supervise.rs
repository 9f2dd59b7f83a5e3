//! The one place that spawns the daemon's threads.
//!
//! A thread that ends although nobody asked it to (by return or by panic) ends the process: a daemon with half of its
//! threads looks alive and does nothing, while a restart by systemd or Kubernetes mends it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::stop::StopToken;

/// Spawns named threads and notices when one ends unasked.
pub struct Supervisor {
    stop: StopToken,
    ended: (Sender<Ended>, Receiver<Ended>),
    threads: Vec<(String, JoinHandle<()>)>,
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
            threads: Vec::new(),
        }
    }

    /// Spawns `body` on a thread called `name` (Linux shows 15 bytes of it).
    pub fn spawn(&mut self, name: impl Into<String>, body: impl FnOnce() + Send + 'static) {
        let name = name.into();
        debug_assert!(name.len() <= 15, "Linux cuts thread names at 15 bytes: {name}");
        let (stop, ended, thread) = (self.stop.clone(), self.ended.0.clone(), name.clone());
        let handle = std::thread::Builder::new()
            .name(name.clone())
            .stack_size(STACK_SIZE)
            .spawn(move || {
                let panicked = catch_unwind(AssertUnwindSafe(body)).is_err();
                if !stop.is_set() {
                    // the receiver lives as long as the supervisor; without one nobody is left to tell
                    let _ = ended.send(Ended { thread, panicked });
                }
            })
            .expect("the system has room for another thread");
        self.threads.push((name, handle));
    }

    /// Receives each thread that ends unasked.
    pub fn ended(&self) -> &Receiver<Ended> {
        &self.ended.1
    }

    /// Waits for every thread, in the order they were spawned. Call it after setting the stop.
    pub fn join(self) {
        for (name, handle) in self.threads {
            if handle.join().is_err() {
                log::error!(thread = name.as_str(); "a thread panicked");
            }
        }
    }
}

/// Address space, not memory: pages are used as they are touched. The deepest stack is JSON decoding inside TLS.
const STACK_SIZE: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        supervisor.join();
        assert!(ended.try_recv().is_err());
    }
}
