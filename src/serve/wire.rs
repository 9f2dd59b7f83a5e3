//! A client's socket with one deadline for all that happens on it, and a bound on what is read from it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// More than a handshake with a long chain of client certificates and the longest head take. Who sends more is not asking.
const BUDGET: usize = 128 << 10;
/// What is thrown away at most before a connection is closed, and for how long.
const LINGER: (usize, Duration) = (64 << 10, Duration::from_secs(1));

/// The socket. However small the pieces in which a client sends or takes its bytes, it is over when the deadline is.
pub(super) struct Wire<'a> {
    socket: &'a TcpStream,
    deadline: Instant,
    /// Bytes that were read to see what they are, and are to be read again.
    ahead: Vec<u8>,
    budget: usize,
}

impl<'a> Wire<'a> {
    /// `patience` is for everything from now on.
    pub(super) fn new(socket: &'a TcpStream, patience: Duration) -> Self {
        Self {
            socket,
            deadline: Instant::now() + patience,
            ahead: Vec::new(),
            budget: BUDGET,
        }
    }

    /// The first `count` bytes, which stay to be read; fewer where the client says no more.
    pub(super) fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        let mut bytes = std::mem::take(&mut self.ahead);
        while bytes.len() < count {
            let mut more = vec![0; count - bytes.len()];
            match self.read(&mut more)? {
                0 => break,
                read => bytes.extend_from_slice(&more[..read]),
            }
        }
        self.ahead = bytes;
        Ok(&self.ahead)
    }

    /// Says that nothing follows, and waits a moment for the client to hang up: closing a socket that holds unread bytes would reset the
    /// connection, and the answer might be lost on the way.
    pub(super) fn close(mut self) {
        self.deadline = self.deadline.min(Instant::now() + LINGER.1);
        if self.socket.shutdown(Shutdown::Write).is_err() {
            return;
        }
        self.ahead.clear();
        self.budget = LINGER.0;
        let mut nowhere = [0; 2048];
        while self.read(&mut nowhere).is_ok_and(|count| count > 0) {}
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(left)
    }
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.ahead.is_empty() {
            let count = buffer.len().min(self.ahead.len());
            buffer[..count].copy_from_slice(&self.ahead[..count]);
            self.ahead.drain(..count);
            return Ok(count);
        }
        if self.budget == 0 {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let most = buffer.len().min(self.budget);
        loop {
            self.socket.set_read_timeout(Some(self.left()?))?;
            match self.socket.read(&mut buffer[..most]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => {
                    let count = read.map_err(timed_out)?;
                    self.budget -= count;
                    return Ok(count);
                }
            }
        }
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        self.socket.write(bytes).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket's time-out is spelled differently by system and direction.
fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::http::testing::spawn;

    const LONG: Duration = Duration::from_secs(60);

    /// Our end, and the client's.
    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        (listener.accept().unwrap().0, client)
    }

    #[test]
    fn what_was_peeked_at_is_read_again() {
        let (ours, mut client) = pair();
        let mut wire = Wire::new(&ours, LONG);
        client.write_all(b"abcdef").unwrap();
        assert_eq!(wire.peek(4).unwrap(), b"abcd");
        assert_eq!(wire.peek(2).unwrap(), b"abcd");
        let mut read = [0; 6];
        wire.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"abcdef");
        client.write_all(b"g").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(wire.peek(4).unwrap(), b"g", "the client says no more");
    }

    #[test]
    fn when_the_time_is_over_nothing_is_read_or_written() {
        let (ours, mut client) = pair();
        client.write_all(b"abc").unwrap();
        let mut wire = Wire::new(&ours, Duration::ZERO);
        for result in [
            wire.read(&mut [0; 3]),
            wire.write(b"x"),
            wire.peek(1).map(<[u8]>::len),
        ] {
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
        let mut wire = Wire::new(&ours, Duration::from_millis(20));
        wire.read_exact(&mut [0; 3]).unwrap();
        let silent = wire.read(&mut [0]).unwrap_err();
        assert_eq!(silent.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn nobody_may_send_more_than_anybody_needs() {
        let (ours, mut client) = pair();
        // how much of it gets through depends on what the system buffers
        spawn(move || drop(client.write_all(&vec![0; 2 * BUDGET])));
        let mut wire = Wire::new(&ours, LONG);
        wire.read_exact(&mut vec![0; BUDGET]).unwrap();
        let more = wire.read(&mut [0]).unwrap_err();
        assert_eq!(more.kind(), io::ErrorKind::QuotaExceeded);
    }

    #[test]
    fn closing_lets_the_client_read_what_was_said() {
        let (ours, mut client) = pair();
        client.write_all(&[0; 10_000]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut wire = Wire::new(&ours, LONG);
        wire.peek(1).unwrap();
        wire.write_all(b"no").unwrap();
        wire.close();
        assert_eq!((&ours).read(&mut [0]).unwrap(), 0, "unread bytes would reset it");
        drop(ours);
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        assert_eq!(said, "no");
    }
}
