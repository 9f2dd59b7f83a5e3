//! Both ways in, around one small core: what a client sees of answers, streams and faults.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::http::{Error, Limits, Method, Request, Transport};
use crate::runtime::gate::{Harmless, Permit};
use crate::sim::faults::{Effect, Faults, Gate, Moment, Release, Rule};
use crate::sim::watched::Watched;

const PATIENCE: Duration = Duration::from_secs(20);

/// Answers with the body it got and counts; under `/watch` streams what is pushed.
#[derive(Default)]
struct Echo {
    acted: Watched<u32>,
    feed: Arc<Watched<Vec<Piece>>>,
}

impl Core for Echo {
    fn respond(&self, request: &Incoming, _: Now) -> Answer {
        self.acted.update(|acted| *acted += 1);
        match request.path() {
            "/watch" => Answer::Stream {
                status: 200,
                headers: vec![("Content-Type".into(), "application/json".into())],
                stream: Box::new(Feed(Arc::clone(&self.feed))),
            },
            _ => Reply {
                status: 200,
                headers: vec![],
                body: [b"echo:", &request.body[..]].concat(),
            }
            .into(),
        }
    }

    fn told(&self, call: &str, _: &Incoming) -> Option<Reply> {
        (call == "echo").then(|| Reply::json(200, &"told echo".into()))
    }
}

struct Feed(Arc<Watched<Vec<Piece>>>);

impl Stream for Feed {
    fn next(&mut self, timeout: Duration) -> Piece {
        if self
            .0
            .wait_until(timeout, |feed| (!feed.is_empty()).then_some(()))
            .is_none()
        {
            return Piece::Idle;
        }
        self.0.update(|feed| feed.remove(0))
    }
}

fn listen() -> (Arc<Echo>, Server) {
    let core = Arc::new(Echo::default());
    let server = Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), core.clone()).unwrap();
    (core, server)
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn read_until(stream: &mut impl Read, end: &str) -> String {
    let mut text = String::new();
    let mut byte = [0];
    while !text.ends_with(end) {
        match stream.read(&mut byte) {
            Ok(1) => text.push(byte[0] as char),
            other => panic!("{other:?} after {text:?}"),
        }
    }
    text
}

fn post(stream: &mut TcpStream, body: &str) {
    let request = format!("POST /x HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).unwrap();
}

/// Everything until the other side closes; what a reset connection had sent counts too.
fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8(bytes).unwrap()
}

#[test]
fn one_connection_serves_many_requests() {
    let (_, server) = listen();
    let mut stream = connect(&server);
    for body in ["one", "two", "three"] {
        post(&mut stream, body);
        read_until(&mut stream, &format!("\r\n\r\necho:{body}"));
    }
    assert_eq!(server.connections(), 1);
    let log: Vec<String> = server.log().entries().iter().map(Logged::to_string).collect();
    assert_eq!(log, ["1 POST /x → 200", "3 POST /x → 200", "5 POST /x → 200"]);
}

#[test]
fn a_stream_is_sent_as_it_comes_and_leaves_the_connection_open() {
    let (core, server) = listen();
    let mut stream = connect(&server);
    stream.write_all(b"GET /watch HTTP/1.1\r\n\r\n").unwrap();
    read_until(&mut stream, "Transfer-Encoding: chunked\r\n\r\n");
    for piece in ["first", "second"] {
        core.feed.update(|feed| feed.push(Piece::Bytes(piece.into())));
        read_until(&mut stream, &format!("{piece}\r\n"));
    }
    core.feed.update(|feed| feed.push(Piece::End));
    read_until(&mut stream, "0\r\n\r\n");
    post(&mut stream, "after");
    read_until(&mut stream, "echo:after");
}

#[test]
fn a_client_that_left_ends_its_stream() {
    let (_, server) = listen();
    let mut stream = connect(&server);
    stream.write_all(b"GET /watch HTTP/1.1\r\n\r\n").unwrap();
    read_until(&mut stream, "\r\n\r\n");
    drop(stream);
    let gone = server.wait_until_idle(PATIENCE);
    assert!(gone, "the stream's thread still runs");
}

#[test]
fn faults_look_on_the_wire_as_they_are_named() {
    for (case, effect, acted, want) in [
        ("an answer", Effect::status(503), 0, Some("HTTP/1.1 503")),
        ("a throttle", Effect::throttle(7), 0, Some("Retry-After: 7\r\n")),
        ("a web page", Effect::Html, 0, Some("<html>")),
        ("hang up", Effect::HangUp, 0, None),
        ("do it and hang up", Effect::ActAndHangUp, 1, None),
        (
            "half a body",
            Effect::Truncate,
            1,
            Some("Content-Length: 9\r\n\r\necho"),
        ),
        ("no body", Effect::Empty, 1, Some("Content-Length: 0\r\n\r\n")),
        ("no JSON", Effect::Malformed, 1, Some("\r\n\r\n{\"oops\": [1, ")),
        (
            "late",
            Effect::Delay(Duration::from_millis(1)),
            1,
            Some("echo:body"),
        ),
    ] {
        let (core, server) = listen();
        server.faults().add(Rule::on("POST", "/x", effect));
        let mut stream = connect(&server);
        let request = "POST /x HTTP/1.1\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody";
        stream.write_all(request.as_bytes()).unwrap();
        let answer = rest(&mut stream);
        match want {
            Some(want) => assert!(answer.contains(want), "{case}: {answer}"),
            None => assert_eq!(answer, "", "{case}"),
        }
        assert!(case != "half a body" || answer.ends_with("echo"), "{answer}");
        assert_eq!(core.acted.read(|acted| *acted), acted, "{case}: whether it acted");
        let entry = &server.log().entries()[0];
        assert_eq!((entry.acted, entry.fault.is_some()), (acted == 1, true), "{case}");
    }
}

#[test]
fn a_refusing_server_has_no_open_port_until_its_time_is_over() {
    let (_, server) = listen();
    server
        .faults()
        .add(Rule::on("POST", "/x", Effect::Refuse(Duration::from_secs(1))));
    let mut stream = connect(&server);
    post(&mut stream, "");
    assert_eq!(rest(&mut stream), "");
    let refused = TcpStream::connect(server.address()).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    assert!(server.wait_until_open(PATIENCE));
    let mut stream = connect(&server);
    post(&mut stream, "back");
    read_until(&mut stream, "echo:back");
}

/// Holds one call at a gate while `during` runs; whether it had acted by then, what the client got, whether it acted at all.
fn paused(moment: Moment, release: Release) -> (u32, String, u32) {
    let (core, server) = listen();
    let gate: Gate = server.faults().pause(moment, "POST", "/x", 1);
    let mut stream = connect(&server);
    let request = "POST /x HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    assert_eq!(gate.wait_reached(PATIENCE).as_deref(), Some("POST /x"));
    let acted = || core.acted.read(|acted| *acted);
    let before = acted();
    gate.release(release);
    (before, rest(&mut stream), acted())
}

#[test]
fn a_paused_call_acts_and_answers_as_it_is_released() {
    for (moment, release, before, answered, after) in [
        (Moment::BeforeActing, Release::Proceed, 0, true, 1),
        (Moment::BeforeActing, Release::HangUp, 0, false, 0),
        (Moment::AfterActing, Release::Proceed, 1, true, 1),
        (Moment::AfterActing, Release::HangUp, 1, false, 1),
    ] {
        let (got_before, answer, got_after) = paused(moment, release);
        assert_eq!(
            (got_before, answer.ends_with("echo:"), got_after),
            (before, answered, after),
            "{moment:?} {release:?}: {answer:?}"
        );
    }
}

#[test]
fn shutdown_ends_idle_hanging_paused_and_streaming_connections() {
    let (_, server) = listen();
    server.faults().add(Rule::on("GET", "/hang", Effect::Hang));
    let gate = server.faults().pause(Moment::BeforeActing, "GET", "/pause", 1);
    let mut streams: Vec<TcpStream> = ["/hang", "/pause", "/watch", ""]
        .iter()
        .map(|path| {
            let mut stream = connect(&server);
            if !path.is_empty() {
                stream
                    .write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes())
                    .unwrap();
            }
            stream
        })
        .collect();
    assert!(server.log().wait_until(PATIENCE, |log| log.len() == 3));
    gate.wait_reached(PATIENCE).unwrap();
    server.shutdown();
    for stream in &mut streams {
        rest(stream);
    }
    assert_eq!(server.connections(), 0);
    assert!(TcpStream::connect(server.address()).is_err());
}

#[test]
fn faults_can_be_scripted_over_http() {
    let (core, server) = listen();
    let call = |method: &str, path: &str, body: &str| {
        let mut stream = connect(&server);
        let length = body.len();
        let text = format!(
            "{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(text.as_bytes()).unwrap();
        rest(&mut stream)
    };
    for (case, method, path, body, want) in [
        (
            "add",
            "POST",
            "/_sim/faults",
            r#"{"path": "/x", "times": null, "effect": "html"}"#,
            "200 OK",
        ),
        ("obey", "GET", "/x", "", "<html>"),
        ("show", "GET", "/_sim/faults", "", "forever: html (seen 1)"),
        (
            "refuse nonsense",
            "POST",
            "/_sim/faults",
            r#"{"effect": "explode"}"#,
            "400 Bad",
        ),
        ("clear", "DELETE", "/_sim/faults", "", "204"),
        ("obey no more", "GET", "/x", "", "echo:"),
        ("set the latency", "POST", "/_sim/latency", "1ms\n", "204"),
        ("tell", "GET", "/_sim/requests", "", "GET /x → 200 (html)"),
        ("its own", "GET", "/_sim/echo?x", "", "told echo"),
        ("no such call", "GET", "/_sim/nothing", "", "404"),
    ] {
        let answer = call(method, path, body);
        assert!(answer.contains(want), "{case}: {answer}");
    }
    assert_eq!(server.faults().latency(), Duration::from_millis(1));
    assert_eq!(
        core.acted.read(|acted| *acted),
        1,
        "calls under /_sim/ are no requests"
    );
}

fn in_process() -> (Arc<Echo>, InProcess) {
    let core = Arc::new(Echo::default());
    (core.clone(), InProcess::new(core))
}

fn request() -> Request {
    let permit = Permit::harmless(Harmless::Outside);
    Request::permitted(permit, Method::Post, "https://sim/x?y").body("text/plain", "body")
}

#[test]
fn a_call_in_process_reaches_the_core() {
    let (_, transport) = in_process();
    let response = transport.exchange(&request()).unwrap();
    assert_eq!(response.into_bytes(100).unwrap(), b"echo:body");
    assert_eq!(transport.log().text(), "1 POST /x?y → 200");
}

#[test]
fn faults_in_process_are_the_errors_a_socket_would_give() {
    let script = |effect: Effect| {
        let (core, transport) = in_process();
        let faults: &Faults = transport.faults();
        faults.add(Rule::new(effect));
        let result = transport
            .exchange(&request())
            .map(|response| response.into_bytes(100).map_err(|error| error.kind()));
        (result, core.acted.read(|acted| *acted))
    };
    let no_answer = |result: &Result<_, Error>, wanted: io::ErrorKind| match result {
        Err(Error::NoAnswer { source, .. }) => source.kind() == wanted,
        _ => false,
    };
    let (result, acted) = script(Effect::Refuse(Duration::ZERO));
    assert!(
        matches!(result, Err(Error::Connect { .. })) && acted == 0,
        "{result:?}"
    );
    for (effect, wanted, want_acted) in [
        (Effect::HangUp, io::ErrorKind::UnexpectedEof, 0),
        (Effect::ActAndHangUp, io::ErrorKind::UnexpectedEof, 1),
        (Effect::Hang, io::ErrorKind::TimedOut, 0),
        (Effect::ActAndHang, io::ErrorKind::TimedOut, 1),
        (
            Effect::Delay(Limits::default().head * 2),
            io::ErrorKind::TimedOut,
            1,
        ),
    ] {
        let name = effect.name();
        let (result, acted) = script(effect);
        assert!(
            no_answer(&result, wanted) && acted == want_acted,
            "{name}: {result:?}, acted {acted}"
        );
    }
    let (result, _) = script(Effect::Truncate);
    assert_eq!(result.unwrap(), Err(io::ErrorKind::UnexpectedEof));
    let (result, _) = script(Effect::Delay(Duration::from_secs(1)));
    assert_eq!(result.unwrap().unwrap(), b"echo:body");
}

#[test]
fn a_stream_in_process_gives_what_is_there_and_then_times_out() {
    let (core, transport) = in_process();
    let watch = Request::get("http://sim/watch");
    let mut body = transport.exchange(&watch).unwrap().body;
    let mut buffer = [0; 3];
    assert_eq!(
        body.read(&mut buffer).unwrap_err().kind(),
        io::ErrorKind::TimedOut
    );
    core.feed
        .update(|feed| feed.extend([Piece::Bytes(b"four".to_vec()), Piece::End]));
    assert_eq!(body.read(&mut buffer).unwrap(), 3);
    assert_eq!(body.read(&mut buffer).unwrap(), 1);
    assert_eq!(body.read(&mut buffer).unwrap(), 0);
}

#[test]
fn a_stopped_transport_answers_nothing() {
    let (_, transport) = in_process();
    let mut body = transport
        .exchange(&Request::get("http://sim/watch"))
        .unwrap()
        .body;
    transport.shutdown();
    assert!(matches!(transport.exchange(&request()), Err(Error::Stopped)));
    let error = body.read(&mut [0; 3]).unwrap_err();
    assert_ne!(
        error.kind(),
        io::ErrorKind::TimedOut,
        "a reader must not try again"
    );
}
