//! `curl`, as far as the story needs it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Nobody is waited for longer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The body of `GET /` at `address`.
///
/// # Errors
/// When nobody is there, or what is there does not answer 200.
pub(super) fn curl(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    body(&answer).map(str::to_owned)
}

/// The URL to type for `address`.
pub(super) fn url(address: SocketAddr) -> String {
    match address.port() {
        80 => format!("http://{}/", address.ip()),
        _ => format!("http://{address}/"),
    }
}

fn body(answer: &str) -> io::Result<&str> {
    if answer.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "empty reply"));
    }
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.trim_end()),
        _ => Err(io::Error::other(format!(
            "answered {:?}",
            answer.lines().next().unwrap_or_default()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_200_is_an_answer() {
        for (case, answer, want) in [
            ("200", "HTTP/1.1 200 OK\r\nA: b\r\n\r\nhello\n", Ok("hello")),
            ("closed at once", "", Err("empty reply")),
            (
                "an error",
                "HTTP/1.1 502 Bad Gateway\r\n\r\n",
                Err("answered \"HTTP/1.1 502 Bad Gateway\""),
            ),
            (
                "cut short",
                "HTTP/1.1 200 OK\r\n",
                Err("answered \"HTTP/1.1 200 OK\""),
            ),
        ] {
            let found = body(answer).map_err(|error| error.to_string());
            assert_eq!(found, want.map_err(str::to_owned), "{case}");
        }
    }

    #[test]
    fn port_80_is_not_typed() {
        for (address, want) in [
            ("127.0.10.1:80", "http://127.0.10.1/"),
            ("127.0.10.1:8080", "http://127.0.10.1:8080/"),
        ] {
            assert_eq!(url(address.parse().unwrap()), want);
        }
    }
}
