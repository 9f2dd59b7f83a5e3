//! HTTP/1.1 as this server speaks it, over any reader and writer: one request, one answer, closed. Source: RFC 9112.

use std::io::{self, Read, Write};

use super::exchange::Answer;

/// Heads beyond this are refused with 431.
const HEAD_LIMIT: usize = 8 << 10;
/// More headers than this are refused with 431.
const HEADERS: usize = 100;

/// A request's head, and where its body begins.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) headers: Vec<(&'a str, &'a [u8])>,
    pub(super) body: Framing,
    /// What came of the body together with the head.
    pub(super) rest: &'a [u8],
}

/// How long a request's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    Empty,
    /// So many bytes; at least one.
    Length(u64),
    /// It says so itself as it comes.
    Chunked,
}

/// Why there is no request.
#[derive(Debug)]
pub(super) enum Broken {
    /// The client went, was too slow, or does not speak TLS well.
    Lost(io::Error),
    /// To be answered with this status.
    Refused(u16, &'static str),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

/// Reads until there is a whole head, which [`parse`] then understands; maybe the beginning of a body, too.
pub(super) fn read_head(stream: &mut impl Read) -> Result<Vec<u8>, Broken> {
    let mut bytes = vec![0; HEAD_LIMIT];
    let mut length = 0;
    while length < HEAD_LIMIT {
        let read = stream.read(&mut bytes[length..])?;
        if read == 0 {
            return Err(Broken::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
        // looking back, so that a head which comes byte by byte is not parsed again at each
        let from = length.saturating_sub(3);
        length += read;
        let news = &bytes[from..length];
        let ends =
            news.windows(2).any(|pair| pair == b"\n\n") || news.windows(3).any(|three| three == b"\n\r\n");
        if ends && parse(&bytes[..length])?.is_some() {
            bytes.truncate(length);
            return Ok(bytes);
        }
    }
    // distinguishes what is no HTTP at all from what is too much of it
    parse(&bytes)?;
    Err(Broken::Refused(431, "the head is too long"))
}

/// The head at the beginning of `bytes`; `None` while it is not whole.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Head<'_>>, Broken> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Broken::Refused(431, "there are too many headers"));
        }
        Err(_) => return Err(Broken::Refused(400, "this is not an HTTP request")),
    };
    let headers = parsed.headers.iter().map(|header| (header.name, header.value));
    let headers: Vec<_> = headers.collect();
    let target = origin_form(parsed.path.unwrap_or_default())?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Ok(Some(Head {
        method: parsed.method.unwrap_or_default(),
        path,
        query,
        body: framing(&headers)?,
        headers,
        rest: &bytes[length..],
    }))
}

/// Path and query of a target; one in full is as good.
fn origin_form(target: &str) -> Result<&str, Broken> {
    let path = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => rest.find('/').map_or("/", |at| &rest[at..]),
        _ => target,
    };
    if path.starts_with('/') {
        Ok(path)
    } else {
        Err(Broken::Refused(400, "the target is not a path"))
    }
}

fn framing(headers: &[(&str, &[u8])]) -> Result<Framing, Broken> {
    let unclear = Broken::Refused(400, "the body's framing is not clear");
    let all = |name: &'static str| {
        let named = headers
            .iter()
            .filter(move |(found, _)| found.eq_ignore_ascii_case(name));
        named.map(|(_, value)| *value)
    };
    let mut lengths = all("Content-Length");
    match (lengths.next(), all("Transfer-Encoding").next()) {
        (None, None) => Ok(Framing::Empty),
        (None, Some(_)) => Ok(Framing::Chunked),
        (Some(_), Some(_)) => Err(unclear),
        (Some(length), None) => {
            let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
            let number = std::str::from_utf8(length)
                .ok()
                .and_then(|text| text.parse().ok());
            match number {
                Some(number) if digits && lengths.all(|other| other == length) => Ok(match number {
                    0 => Framing::Empty,
                    _ => Framing::Length(number),
                }),
                _ => Err(unclear),
            }
        }
    }
}

/// Reads a body of at most `limit` bytes, and asks for it where the client waits to be asked.
pub(super) fn read_body<S: Read + Write>(
    stream: &mut S,
    head: &Head<'_>,
    limit: usize,
) -> Result<Vec<u8>, Broken> {
    let length = match head.body {
        Framing::Empty => 0,
        Framing::Chunked => return Err(Broken::Refused(411, "a body must say its length")),
        Framing::Length(length) => match usize::try_from(length) {
            Ok(length) if length <= limit => length,
            _ => return Err(Broken::Refused(413, "the body is too long")),
        },
    };
    let mut body = head.rest[..length.min(head.rest.len())].to_vec();
    let waits = head.headers.iter().any(|(name, value)| {
        name.eq_ignore_ascii_case("Expect") && value.eq_ignore_ascii_case(b"100-continue")
    });
    if waits && body.len() < length {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let had = body.len();
    body.resize(length, 0);
    stream.read_exact(&mut body[had..])?;
    Ok(body)
}

/// How much of an answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it.
    Whole,
    /// Without the body, for HEAD.
    Head,
}

/// Sends `answer`, the last thing on its connection.
pub(super) fn send(stream: &mut impl Write, answer: &Answer, extent: Extent) -> io::Result<()> {
    let mut head = format!(
        "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-cache, private\r\n\
         X-Content-Type-Options: nosniff\r\nConnection: close\r\n",
        answer.status,
        reason(answer.status),
        answer.content_type,
        answer.body.len(),
    );
    for (name, value) in &answer.headers {
        // what could end the line comes from nowhere; should it ever, it must not
        let value = value.replace(|c: char| c.is_control(), " ");
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    match extent {
        Extent::Whole => stream.write_all(&answer.body),
        Extent::Head => Ok(()),
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        411 => "Length Required",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Other",
    }
}

/// Whether a client that should have begun with TLS speaks plain HTTP. Source: Go, net/http/server.go, `tlsRecordHeaderLooksLikeHTTP`.
pub(super) fn looks_like_http(first: &[u8]) -> bool {
    [b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO"]
        .contains(&<&[u8; 5]>::try_from(first).unwrap_or(&[0; 5]))
}

/// What such a client is told. Source: Go, net/http/server.go.
pub(super) const PLAIN_HTTP: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its input byte by byte, the worst way it may come, and keeps what is written.
    struct Trickle {
        input: Vec<u8>,
        output: Vec<u8>,
    }

    impl Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.input.len().min(1).min(buffer.len());
            buffer[..count].copy_from_slice(&self.input[..count]);
            self.input.drain(..count);
            Ok(count)
        }
    }

    impl Write for Trickle {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.output.extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn trickle(input: &str) -> Trickle {
        Trickle {
            input: input.into(),
            output: Vec::new(),
        }
    }

    #[test]
    fn a_head_is_understood_however_it_comes() {
        for (case, input, want) in [
            (
                "a usual one",
                "GET /healthz?verbose&a=b HTTP/1.1\r\nHost: x\r\n\r\n",
                ("GET", "/healthz", "verbose&a=b", Framing::Empty),
            ),
            (
                "bare line feeds",
                "GET / HTTP/1.0\nA: b\n\n",
                ("GET", "/", "", Framing::Empty),
            ),
            (
                "empty lines before",
                "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
                ("GET", "/", "", Framing::Empty),
            ),
            (
                "a target in full",
                "GET https://host:1/a?b HTTP/1.1\r\n\r\n",
                ("GET", "/a", "b", Framing::Empty),
            ),
            (
                "a URL in the query",
                "GET /a?b=x://y HTTP/1.1\r\n\r\n",
                ("GET", "/a", "b=x://y", Framing::Empty),
            ),
            (
                "a body",
                "PUT /v HTTP/1.1\r\ncontent-length: 1\r\n\r\n",
                ("PUT", "/v", "", Framing::Length(1)),
            ),
            (
                "chunks",
                "PUT /v HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
                ("PUT", "/v", "", Framing::Chunked),
            ),
            (
                "an empty body",
                "PUT /v HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
                ("PUT", "/v", "", Framing::Empty),
            ),
        ] {
            let bytes = read_head(&mut trickle(input)).unwrap();
            let head = parse(&bytes).unwrap().unwrap();
            assert_eq!((head.method, head.path, head.query, head.body), want, "{case}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let endless = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(HEAD_LIMIT));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS + 1));
        let (garbage, nothing) = ("x".repeat(HEAD_LIMIT), "\0".repeat(HEAD_LIMIT));
        for (case, input, want) in [
            ("an endless header", endless.as_str(), 431),
            ("too many headers", many.as_str(), 431),
            ("an endless method", garbage.as_str(), 431),
            ("no HTTP", nothing.as_str(), 400),
            ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
            ("no path", "OPTIONS * HTTP/1.1\r\n\r\n", 400),
            ("a host", "CONNECT a:443 HTTP/1.1\r\n\r\n", 400),
            (
                "a length that is none",
                "GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
                400,
            ),
            (
                "a length beyond counting",
                "GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
                400,
            ),
            (
                "two lengths",
                "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                400,
            ),
            (
                "two framings",
                "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                400,
            ),
        ] {
            match read_head(&mut trickle(input)) {
                Err(Broken::Refused(status, _)) => assert_eq!(status, want, "{case}"),
                other => panic!("{case}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_client_that_goes_is_lost() {
        let lost = read_head(&mut trickle("GET / HTTP/1.1\r\n"));
        assert!(matches!(lost, Err(Broken::Lost(_))), "{lost:?}");
    }

    fn body(input: &str, limit: usize) -> (Result<Vec<u8>, Broken>, Vec<u8>) {
        let mut stream = trickle(input);
        let bytes = read_head(&mut stream).unwrap();
        let body = read_body(&mut stream, &parse(&bytes).unwrap().unwrap(), limit);
        (body, stream.output)
    }

    #[test]
    fn a_body_is_read_up_to_a_limit() {
        let (read, said) = body("PUT / HTTP/1.1\r\nContent-Length: 2\r\n\r\n42garbage", 2);
        assert_eq!((read.unwrap(), said), (b"42".to_vec(), vec![]));
        for (case, input, want) in [
            ("too long", "PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\n123", 413),
            (
                "of unknown length",
                "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                411,
            ),
        ] {
            match body(input, 2).0 {
                Err(Broken::Refused(status, _)) => assert_eq!(status, want, "{case}"),
                other => panic!("{case}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_client_that_waits_is_told_to_go_on() {
        let (read, said) = body(
            "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n4",
            2,
        );
        assert_eq!(read.unwrap(), b"4");
        assert_eq!(said, b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    #[test]
    fn an_answer_carries_its_length_and_forges_nothing() {
        let answer = Answer::text(405, "no\n").with("Allow", "GET\r\nX: y");
        for (extent, end) in [(Extent::Whole, "no\n"), (Extent::Head, "")] {
            let mut sent = Vec::new();
            send(&mut sent, &answer, extent).unwrap();
            let want = "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\n\
                        Cache-Control: no-cache, private\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\
                        Allow: GET  X: y\r\n\r\n";
            assert_eq!(String::from_utf8(sent).unwrap(), format!("{want}{end}"));
        }
    }

    #[test]
    fn plain_http_is_told_from_tls() {
        for (first, want) in [
            (&b"GET /"[..], true),
            (b"PUT /", true),
            (b"OPTIO", true),
            (b"\x16\x03\x01\x02\x00", false),
            (b"GET", false),
            (b"", false),
        ] {
            assert_eq!(looks_like_http(first), want, "{first:?}");
        }
    }
}
