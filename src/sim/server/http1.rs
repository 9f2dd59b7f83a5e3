//! HTTP/1.1 as a server speaks it, over any reader and writer: one request at a time, bounded.
//!
//! Source: RFC 9112 (framing), RFC 9110 10.1.1 (`Expect`).

use std::io::{self, Read, Write};

use super::{Incoming, Reply};

/// Request lines and headers beyond this are refused with 431.
const HEAD_LIMIT: usize = 64 << 10;
/// Bodies beyond this are refused with 413.
const BODY_LIMIT: usize = 16 << 20;
/// More headers than this are refused with 431.
const HEADERS: usize = 100;

/// A connection's reading side: bytes that came and are not consumed yet.
#[derive(Default)]
pub(super) struct Inbox {
    buffer: Vec<u8>,
}

/// A request and what follows for the connection.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) request: Incoming,
    /// Whether another request may follow.
    pub(super) keep_alive: bool,
}

/// Why no request could be read.
#[derive(Debug)]
pub(super) enum Broken {
    /// The connection is closed or broke.
    Closed,
    /// Not HTTP, or too large: answer with this status, then close.
    Refused(u16, &'static str),
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

struct Head {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    minor_version: u8,
    length: usize,
}

impl Inbox {
    /// Reads one request; asks for its body where the client waits to be asked.
    pub(super) fn receive<S: Read + Write>(&mut self, stream: &mut S) -> Result<Received, Broken> {
        let head = loop {
            if let Some(head) = parse_head(&self.buffer)? {
                break head;
            }
            if self.buffer.len() >= HEAD_LIMIT {
                return Err(Broken::Refused(431, "the head is too long"));
            }
            self.fill(stream)?;
        };
        self.buffer.drain(..head.length);
        let mut request = Incoming {
            method: head.method,
            target: head.target,
            headers: head.headers,
            body: Vec::new(),
        };
        let connection = request.header("Connection").unwrap_or("").to_ascii_lowercase();
        let keep_alive = if head.minor_version == 0 {
            connection.contains("keep-alive")
        } else {
            !connection.contains("close")
        };
        let waits = request
            .header("Expect")
            .is_some_and(|value| value.eq_ignore_ascii_case("100-continue"));
        if waits && self.buffer.is_empty() {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        request.body = self.body(&request, stream)?;
        Ok(Received { request, keep_alive })
    }

    fn body<S: Read>(&mut self, request: &Incoming, stream: &mut S) -> Result<Vec<u8>, Broken> {
        match (
            request.header("Transfer-Encoding"),
            request.header("Content-Length"),
        ) {
            (None, None) => Ok(Vec::new()),
            (None, Some(length)) => {
                let length = length
                    .parse()
                    .map_err(|_| Broken::Refused(400, "Content-Length is not a number"))?;
                self.take(length, stream)
            }
            (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => self.chunks(stream),
            _ => Err(Broken::Refused(400, "the body's framing is not clear")),
        }
    }

    fn chunks<S: Read>(&mut self, stream: &mut S) -> Result<Vec<u8>, Broken> {
        let mut body = Vec::new();
        loop {
            let size = loop {
                match httparse::parse_chunk_size(&self.buffer) {
                    Ok(httparse::Status::Complete((length, size))) => {
                        self.buffer.drain(..length);
                        break size;
                    }
                    Ok(httparse::Status::Partial) => self.fill(stream)?,
                    Err(_) => return Err(Broken::Refused(400, "a chunk's size is malformed")),
                }
            };
            let size = usize::try_from(size).map_err(|_| Broken::Refused(413, "the body is too long"))?;
            if size > BODY_LIMIT - body.len() {
                return Err(Broken::Refused(413, "the body is too long"));
            }
            body.extend(self.take(size, stream)?);
            // trailers are not supported: none of the clients sends any
            if self.take(2, stream)? != b"\r\n" {
                return Err(Broken::Refused(400, "a chunk does not end where it should"));
            }
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn take<S: Read>(&mut self, length: usize, stream: &mut S) -> Result<Vec<u8>, Broken> {
        if length > BODY_LIMIT {
            return Err(Broken::Refused(413, "the body is too long"));
        }
        while self.buffer.len() < length {
            self.fill(stream)?;
        }
        let rest = self.buffer.split_off(length);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    fn fill<S: Read>(&mut self, stream: &mut S) -> Result<(), Broken> {
        let mut bytes = [0; 8192];
        match stream.read(&mut bytes)? {
            0 => Err(Broken::Closed),
            count => {
                self.buffer.extend_from_slice(&bytes[..count]);
                Ok(())
            }
        }
    }
}

fn parse_head(bytes: &[u8]) -> Result<Option<Head>, Broken> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Broken::Refused(431, "too many headers")),
        Err(_) => return Err(Broken::Refused(400, "not an HTTP request")),
    };
    let target = parsed.path.unwrap_or_default();
    // a proxy's client sends the whole URL; only its path matters here
    let target = match target.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => target,
    };
    Ok(Some(Head {
        method: parsed.method.unwrap_or_default().to_owned(),
        target: target.to_owned(),
        headers: parsed
            .headers
            .iter()
            .map(|header| {
                let value = String::from_utf8_lossy(header.value).into_owned();
                (header.name.to_owned(), value)
            })
            .collect(),
        minor_version: parsed.version.unwrap_or(1),
        length,
    }))
}

/// How much of a reply is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it.
    Whole,
    /// The head, for HEAD.
    Head,
    /// The head and half of the body, which its length contradicts.
    Half,
}

/// Sends a reply in one write.
pub(super) fn send(
    stream: &mut impl Write,
    reply: &Reply,
    extent: Extent,
    keep_alive: bool,
) -> io::Result<()> {
    let mut bytes = head(reply.status, &reply.headers, keep_alive);
    let bodiless = matches!(reply.status, 100..=199 | 204 | 304);
    if !bodiless {
        bytes.extend(format!("Content-Length: {}\r\n", reply.body.len()).bytes());
    }
    bytes.extend(b"\r\n");
    match extent {
        _ if bodiless => {}
        Extent::Whole => bytes.extend(&reply.body),
        Extent::Half => bytes.extend(&reply.body[..reply.body.len() / 2]),
        Extent::Head => {}
    }
    stream.write_all(&bytes)
}

/// Sends the head of a body that comes in chunks.
pub(super) fn send_chunked_head(
    stream: &mut impl Write,
    status: u16,
    headers: &[(String, String)],
    keep_alive: bool,
) -> io::Result<()> {
    let mut bytes = head(status, headers, keep_alive);
    bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
    stream.write_all(&bytes)
}

/// Sends one chunk; an empty one ends the body.
pub(super) fn send_chunk(stream: &mut impl Write, piece: &[u8]) -> io::Result<()> {
    let mut bytes = format!("{:x}\r\n", piece.len()).into_bytes();
    bytes.extend(piece);
    bytes.extend(b"\r\n");
    stream.write_all(&bytes)
}

fn head(status: u16, headers: &[(String, String)], keep_alive: bool) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !keep_alive {
        text.push_str("Connection: close\r\n");
    }
    text.into_bytes()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a short input byte by byte, the worst way TCP may cut it, and keeps what is written.
    struct Wire {
        input: Vec<u8>,
        output: Vec<u8>,
    }

    impl Read for Wire {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.input.is_empty() {
                return Ok(0);
            }
            let count = if self.input.len() > 1000 { 1000 } else { 1 };
            buffer[..count].copy_from_slice(&self.input[..count]);
            self.input.drain(..count);
            Ok(count)
        }
    }

    impl Write for Wire {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.output.extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn wire(input: &str) -> Wire {
        Wire {
            input: input.into(),
            output: Vec::new(),
        }
    }

    #[test]
    fn requests_follow_each_other_on_one_connection() {
        let mut wire = wire(
            "POST /a?b HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /c HTTP/1.1\r\nConnection: close\r\n\r\n\
             POST http://host/d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxy\r\n1\r\nz\r\n0\r\n\r\n",
        );
        let mut inbox = Inbox::default();
        let got: Vec<(String, String, bool)> = std::iter::from_fn(|| inbox.receive(&mut wire).ok())
            .map(|received| {
                let body = String::from_utf8(received.request.body.clone()).unwrap();
                (format!("{:?}", received.request), body, received.keep_alive)
            })
            .collect();
        let want = [
            ("POST /a?b", "abc", true),
            ("GET /c", "", false),
            ("POST /d", "xyz", true),
        ];
        assert_eq!(
            got,
            want.map(|(request, body, keep)| (request.to_owned(), body.to_owned(), keep))
        );
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(HEAD_LIMIT));
        for (case, input, want) in [
            ("no HTTP", "\0\0\0\0\r\n\r\n", 400),
            ("a head without end", long.as_str(), 431),
            (
                "a length that is none",
                "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
                400,
            ),
            (
                "a body without end",
                "POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
                413,
            ),
            (
                "two framings",
                "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                400,
            ),
        ] {
            match Inbox::default().receive(&mut wire(input)) {
                Err(Broken::Refused(status, _)) => assert_eq!(status, want, "{case}"),
                other => panic!("{case}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_client_that_waits_is_told_to_go_on() {
        let mut wire = wire("POST / HTTP/1.1\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\nx");
        Inbox::default().receive(&mut wire).unwrap();
        assert_eq!(wire.output, b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    #[test]
    fn replies_carry_their_length() {
        let reply = |status| Reply {
            status,
            headers: vec![("A".into(), "b".into())],
            body: b"body".to_vec(),
        };
        for (case, status, extent, keep_alive, want) in [
            (
                "whole",
                200,
                Extent::Whole,
                true,
                "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 4\r\n\r\nbody",
            ),
            (
                "half",
                200,
                Extent::Half,
                false,
                "HTTP/1.1 200 OK\r\nA: b\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbo",
            ),
            (
                "head",
                404,
                Extent::Head,
                true,
                "HTTP/1.1 404 Not Found\r\nA: b\r\nContent-Length: 4\r\n\r\n",
            ),
            (
                "none allowed",
                204,
                Extent::Whole,
                true,
                "HTTP/1.1 204 No Content\r\nA: b\r\n\r\n",
            ),
        ] {
            let mut bytes = Vec::new();
            send(&mut bytes, &reply(status), extent, keep_alive).unwrap();
            assert_eq!(String::from_utf8(bytes).unwrap(), want, "{case}");
        }
    }
}
