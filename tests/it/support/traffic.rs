//! Back ends that say who they are, and clients that ask.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A running back end. Dropped, it stops.
pub struct BackEnd {
    address: String,
    stopped: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Answers every connection on `address` with `name`.
pub fn back_end(address: &str, name: &'static str) -> BackEnd {
    let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    let stopped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stopped);
    let thread = std::thread::Builder::new().spawn(move || {
        for mut client in listener.incoming().flatten() {
            if flag.load(Ordering::SeqCst) {
                break;
            }
            // a health check connects and leaves
            let _ = client.write_all(name.as_bytes());
        }
    });
    BackEnd {
        address: address.into(),
        stopped,
        thread: Some(thread.expect("room for a thread")),
    }
}

impl BackEnd {
    /// Stops listening.
    pub fn stop(self) {}
}

impl Drop for BackEnd {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // wakes the thread that waits for a connection
        let _ = TcpStream::connect(&self.address);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("a back end does not panic");
        }
    }
}

/// Connects `times` times and collects who answered.
pub fn ask(address: &str, times: usize) -> Vec<String> {
    let once = || {
        let address = address.parse().expect("an address");
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        (!answer.is_empty()).then_some(answer)
    };
    (0..times)
        .filter_map(|_| once())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}
