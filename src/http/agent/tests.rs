//! The agent against servers on loopback.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use std::{fs, io};

use rustls::ServerConfig;

use super::*;
use crate::http::Sent;
use crate::http::testing::{
    Ca, Leaf, answer, hang, keep_answering, listen, listen_on, listen_tls, read_request,
    self_signed_authority, server_config, spawn,
};
use crate::runtime::clock::ManualClock;
use crate::runtime::gate::{Gate, Harmless, Moment, Permit};
use crate::runtime::secret::Secret;

fn plain() -> Agent {
    Agent::new(Settings::new("test/1", Roots::Nobody)).unwrap()
}

fn text(from: &str, text: &str) -> Pem {
    Pem::Text {
        from: from.into(),
        text: Secret::new(text),
    }
}

fn trusting(certificate: &str) -> Settings {
    Settings::new("test/1", Roots::Pem(text("the test", certificate)))
}

fn outside() -> Permit {
    Permit::harmless(Harmless::Outside)
}

fn get(address: SocketAddr) -> Request {
    Request::get(format!("http://{address}/path"))
}

fn tls_get(agent: &Agent, host: &str, address: SocketAddr) -> Result<String, Error> {
    let url = format!("https://{host}:{}/", address.port());
    let answer = agent.exchange(&Request::get(url))?;
    Ok(String::from_utf8(answer.into_bytes(1000).unwrap()).unwrap())
}

fn shown(leaf: &Leaf, clients: Option<&Ca>) -> Arc<Mutex<Arc<ServerConfig>>> {
    Arc::new(Mutex::new(Arc::new(server_config(leaf, clients))))
}

#[test]
fn a_request_says_what_it_should_and_connections_are_kept() {
    let (seen, requests) = mpsc::channel();
    let seen = Mutex::new(seen);
    let address = listen(move |mut stream, number| {
        loop {
            let request = read_request(&mut stream)?;
            seen.lock().unwrap().send((number, request)).unwrap();
            stream.write_all(answer(200, "yes").as_bytes())?;
        }
    });
    let agent = plain();
    for request in [
        get(address).header("Authorization", "Bearer x"),
        Request::permitted(outside(), Method::Delete, format!("http://{address}/path"))
            .body("application/json", "{}"),
        Request::permitted(outside(), Method::Post, format!("http://{address}/path")),
    ] {
        let answer = agent.exchange(&request).unwrap();
        assert_eq!(
            (answer.status, answer.into_bytes(10).unwrap()),
            (200, b"yes".to_vec())
        );
    }
    let (number, first) = requests.recv().unwrap();
    let lower = first.to_ascii_lowercase();
    assert!(first.starts_with("GET /path HTTP/1.1\r\n"), "{first}");
    for line in [
        format!("host: {address}"),
        "user-agent: test/1".into(),
        "authorization: bearer x".into(),
    ] {
        assert!(lower.contains(&format!("\r\n{line}\r\n")), "{line} in {first}");
    }
    assert!(
        !lower.contains("accept-encoding") && !lower.contains("content-length"),
        "{first}"
    );
    let (second, delete) = requests.recv().unwrap();
    assert!(
        delete.starts_with("DELETE ") && delete.ends_with("\r\n\r\n{}"),
        "{delete}"
    );
    let (third, post) = requests.recv().unwrap();
    assert!(post.to_ascii_lowercase().contains("content-length: 0"), "{post}");
    assert_eq!([number, second, third], [0; 3], "one connection for all");
}

#[test]
fn errors_and_redirects_are_answers() {
    let address = listen(move |mut stream, _| {
        let request = read_request(&mut stream)?;
        let status = request.split(['/', ' ']).nth(2).unwrap();
        let head = format!("HTTP/1.1 {status} X\r\nLocation: http://127.0.0.1:1/\r\n");
        write!(stream, "{head}Connection: close\r\nContent-Length: 4\r\n\r\nbody")
    });
    for status in [301, 307, 404, 429, 500] {
        let request = Request::get(format!("http://{address}/{status}"));
        let answer = plain().exchange(&request).unwrap();
        assert_eq!(answer.header("location"), Some("http://127.0.0.1:1/"), "{status}");
        assert_eq!(
            (answer.status, answer.into_bytes(10).unwrap()),
            (status, b"body".to_vec())
        );
    }
}

#[test]
fn a_cut_body_is_an_error_and_stays_one() {
    for (case, bytes) in [
        ("length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
        (
            "chunk",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhalf",
        ),
        (
            "between chunks",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        ),
    ] {
        let address = listen(move |mut stream, _| {
            read_request(&mut stream)?;
            stream.write_all(bytes.as_bytes())
        });
        let mut answer = plain().exchange(&get(address)).unwrap();
        let mut read = Vec::new();
        assert!(answer.body.read_to_end(&mut read).is_err(), "{case}");
        assert_eq!(read, b"half", "{case}");
        assert!(answer.body.read(&mut [0; 10]).is_err(), "{case}: again");
    }
}

#[test]
fn tls_that_ends_without_a_word_is_no_end() {
    let ca = Ca::new("ca");
    let config = shown(&ca.issue(&["127.0.0.1"]), None);
    for (case, says_goodbye) in [("close_notify", true), ("a cut", false)] {
        let config = Arc::clone(&config);
        let address = listen(move |socket, _| {
            let body = |stream: &mut dyn crate::http::testing::Stream| {
                read_request(stream)?;
                stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf")?;
                stream.flush()?;
                match says_goodbye {
                    true => Ok(()),
                    false => Err(io::ErrorKind::Other.into()),
                }
            };
            crate::http::testing::serve_tls(&config, socket, body)
        });
        let agent = Agent::new(trusting(&ca.certificate)).unwrap();
        let url = format!("https://{address}/");
        let answer = agent.exchange(&Request::get(url)).unwrap();
        assert_eq!(answer.into_bytes(10).is_ok(), says_goodbye, "{case}");
    }
}

#[test]
fn silence_inside_a_chunk_can_be_waited_out() {
    let (go, wait) = mpsc::channel();
    let wait = Mutex::new(wait);
    let ca = Ca::new("ca");
    let address = listen_tls(&shown(&ca.issue(&["127.0.0.1"]), None), move |stream, _| {
        read_request(stream)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhal")?;
        stream.flush()?;
        wait.lock().unwrap().recv().unwrap();
        stream.write_all(b"f a l\r\n0\r\n\r\n")?;
        stream.flush()?;
        hang(stream)
    });
    let agent = Agent::new(trusting(&ca.certificate)).unwrap();
    let mut request = Request::get(format!("https://{address}/"));
    request.limits.silence = Duration::from_millis(20);
    request.limits.body = None;
    let mut answer = agent.exchange(&request).unwrap();
    let mut read = Vec::new();
    for _ in 0..3 {
        let error = answer.body.read_to_end(&mut read).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
    go.send(()).unwrap();
    while let Err(error) = answer.body.read_to_end(&mut read) {
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
    assert_eq!(read, b"half a l");
}

#[test]
fn deadlines_bound_each_part() {
    let silent = listen(|mut stream, _| hang(&mut stream));
    let mut request = get(silent);
    // the limit on silence is not for the head
    request.limits.silence = Duration::from_millis(1);
    request.limits.head = Duration::from_millis(50);
    let begun = Instant::now();
    let error = plain().exchange(&request).unwrap_err();
    assert!(
        begun.elapsed() >= request.limits.head,
        "it gave up early: {:?}",
        begun.elapsed()
    );
    assert!(
        matches!(&error, Error::NoAnswer { source, .. } if source.kind() == io::ErrorKind::TimedOut
            && source.to_string().contains("50ms")),
        "{error:?}"
    );
    assert_eq!(error.sent(), Sent::Perhaps);

    let mut request = Request::get(format!("https://{silent}/"));
    request.limits.connect = Duration::from_millis(50);
    let agent = Agent::new(trusting(&Ca::new("ca").certificate)).unwrap();
    let error = agent.exchange(&request).unwrap_err();
    assert!(
        matches!(&error, Error::Connect { source, .. } if source.kind() == io::ErrorKind::TimedOut),
        "{error:?}"
    );

    let endless = listen(|mut stream, _| {
        read_request(&mut stream)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        loop {
            stream.write_all(b"1\r\nx\r\n")?;
        }
    });
    let mut request = get(endless);
    request.limits.body = Some(Duration::from_millis(50));
    let error = plain()
        .exchange(&request)
        .unwrap()
        .into_bytes(usize::MAX >> 1)
        .unwrap_err();
    assert_ne!(
        error.kind(),
        io::ErrorKind::TimedOut,
        "only silence may be waited out: {error}"
    );
}

#[test]
fn a_shutdown_ends_whatever_is_blocked() {
    let ca = Ca::new("ca");
    let config = shown(&ca.issue(&["127.0.0.1"]), None);
    let (reached, reach) = mpsc::channel();
    let reached = Mutex::new(reached);
    let address = listen_tls(&config, move |stream, _| {
        let request = read_request(stream)?;
        if request.contains("/body") {
            // without a length: a plain end would be believed
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf")?;
            stream.flush()?;
        }
        reached.lock().unwrap().send(()).unwrap();
        hang(stream)
    });
    for path in ["head", "body"] {
        let agent = Arc::new(Agent::new(trusting(&ca.certificate)).unwrap());
        let (done, result) = mpsc::channel();
        let worker = Arc::clone(&agent);
        spawn(move || {
            let request = Request::get(format!("https://{address}/{path}"));
            let outcome = worker.exchange(&request).map(|answer| answer.into_bytes(100));
            done.send(outcome).unwrap();
        });
        reach.recv().unwrap();
        agent.shutdown();
        let outcome = result
            .recv_timeout(Duration::from_secs(10))
            .expect("the call returns");
        match path {
            "head" => assert!(matches!(outcome, Err(Error::Stopped)), "{outcome:?}"),
            _ => assert!(matches!(outcome, Err(Error::Stopped) | Ok(Err(_))), "{outcome:?}"),
        }
        assert!(matches!(
            tls_get(&agent, "127.0.0.1", address),
            Err(Error::Stopped)
        ));
    }
}

#[test]
fn a_shutdown_ends_a_handshake_and_leaves_siblings_alone() {
    let (reached, reach) = mpsc::channel();
    let reached = Mutex::new(reached);
    let silent = listen(move |mut stream, _| {
        stream.read_exact(&mut [0; 5])?;
        reached.lock().unwrap().send(()).unwrap();
        hang(&mut stream)
    });
    let ca = Ca::new("ca");
    let agent = Arc::new(Agent::new(trusting(&ca.certificate)).unwrap());
    let (done, result) = mpsc::channel();
    let worker = Arc::clone(&agent);
    spawn(move || done.send(tls_get(&worker, "127.0.0.1", silent)).unwrap());
    reach.recv().unwrap();
    let sibling = agent.sibling();
    agent.shutdown();
    let outcome = result
        .recv_timeout(Duration::from_secs(10))
        .expect("the call returns");
    assert!(matches!(outcome, Err(Error::Stopped)), "{outcome:?}");
    let address = listen_tls(&shown(&ca.issue(&["127.0.0.1"]), None), |s, _| {
        keep_answering(s, "yes")
    });
    assert_eq!(tls_get(&sibling, "127.0.0.1", address).unwrap(), "yes");
}

#[test]
fn a_failure_says_whether_bytes_were_sent() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = plain().exchange(&get(closed)).unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
    assert_eq!(error.sent(), Sent::No);

    let garbage = listen(|mut stream, _| {
        read_request(&mut stream)?;
        stream.write_all(b"SSH-2.0-OpenSSH\r\n\r\n")
    });
    let error = plain().exchange(&get(garbage)).unwrap_err();
    assert!(matches!(error, Error::NoAnswer { .. }), "{error:?}");

    // the first exchange is answered, the second meets its end: on a connection used before
    let closing = listen(|mut stream, _| {
        read_request(&mut stream)?;
        stream.write_all(answer(200, "").as_bytes())?;
        read_request(&mut stream)?;
        Ok(())
    });
    let agent = plain();
    agent.exchange(&get(closing)).unwrap().into_bytes(1).unwrap();
    let error = agent.exchange(&get(closing)).unwrap_err();
    assert!(matches!(error, Error::NoAnswer { .. }), "{error:?}");
    assert_eq!(error.sent(), Sent::Perhaps);
}

#[test]
fn what_cannot_be_sent_is_invalid_and_secrets_are_not_quoted() {
    for request in [
        Request::get("/path"),
        Request::get("ftp://host/"),
        Request::get("http://host:port/"),
        Request::get("http://user:s3cret@host/"),
        Request::get("http://127.0.0.1/").header("Authorization", "s3cret\n"),
        Request::get("http://127.0.0.1/").header("Bad name", "s3cret"),
    ] {
        let error = plain().exchange(&request).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{request:?}: {error:?}");
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }
}

#[test]
fn certificates_are_verified() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let expired = ca.issue_with(&["127.0.0.1"], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    for (case, leaf, host, accepted) in [
        ("an address", ca.issue(&["127.0.0.1"]), "127.0.0.1", true),
        ("a name", ca.issue(&["localhost"]), "localhost", true),
        ("another name", ca.issue(&["example.com"]), "localhost", false),
        (
            "a name, and reached by address",
            ca.issue(&["localhost"]),
            "127.0.0.1",
            false,
        ),
        (
            "an unknown authority",
            other.issue(&["127.0.0.1"]),
            "127.0.0.1",
            false,
        ),
        ("expired", expired, "127.0.0.1", false),
    ] {
        let address = listen_tls(&shown(&leaf, None), |s, _| keep_answering(s, "yes"));
        let agent = Agent::new(trusting(&ca.certificate)).unwrap();
        match tls_get(&agent, host, address) {
            Ok(_) => assert!(accepted, "{case}"),
            Err(error) => {
                assert!(
                    !accepted && matches!(error, Error::Tls { .. }),
                    "{case}: {error:?}"
                );
                assert_eq!(error.sent(), Sent::No, "{case}");
            }
        }
    }
}

#[test]
fn ipv6_addresses_are_verified_too() {
    let ca = Ca::new("ca");
    let config = shown(&ca.issue(&["::1"]), None);
    let script = move |socket, _| {
        crate::http::testing::serve_tls(&config, socket, |stream| keep_answering(stream, "yes"))
    };
    // not every machine has it
    let Ok(address) = listen_on("[::1]:0", script) else {
        return;
    };
    let agent = Agent::new(trusting(&ca.certificate)).unwrap();
    assert_eq!(tls_get(&agent, "[::1]", address).unwrap(), "yes");
}

#[test]
fn a_server_name_replaces_the_host() {
    let ca = Ca::new("ca");
    let address = listen_tls(&shown(&ca.issue(&["kubernetes"]), None), |s, _| {
        keep_answering(s, "yes")
    });
    for (name, accepted) in [("kubernetes", true), ("other", false)] {
        let mut settings = trusting(&ca.certificate);
        settings.server_name = Some(name.into());
        let agent = Agent::new(settings).unwrap();
        assert_eq!(tls_get(&agent, "127.0.0.1", address).is_ok(), accepted, "{name}");
    }
    let mut settings = trusting(&ca.certificate);
    settings.server_name = Some("not a name".into());
    assert!(matches!(Agent::new(settings), Err(SetupError::ServerName { .. })));
}

#[test]
fn a_self_signed_authority_is_trusted_as_itself() {
    let (mine, other) = (self_signed_authority(|_| {}), self_signed_authority(|_| {}));
    let expired = self_signed_authority(|params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    for (case, shows, trusted, accepted) in [
        ("the same", &mine, &mine, true),
        ("another", &other, &mine, false),
        ("expired", &expired, &expired, false),
    ] {
        let address = listen_tls(&shown(shows, None), |s, _| keep_answering(s, "yes"));
        let agent = Agent::new(trusting(&trusted.certificate)).unwrap();
        assert_eq!(tls_get(&agent, "127.0.0.1", address).is_ok(), accepted, "{case}");
    }
}

#[test]
fn only_http_1_1_is_offered() {
    let ca = Ca::new("ca");
    for (protocol, works) in [("http/1.1", true), ("h2", false)] {
        let mut config = server_config(&ca.issue(&["127.0.0.1"]), None);
        config.alpn_protocols = vec![protocol.into()];
        let config = Arc::new(Mutex::new(Arc::new(config)));
        let address = listen_tls(&config, |s, _| keep_answering(s, "yes"));
        let agent = Agent::new(trusting(&ca.certificate)).unwrap();
        match tls_get(&agent, "127.0.0.1", address) {
            Ok(_) => assert!(works, "{protocol}"),
            Err(error) => assert!(!works && matches!(error, Error::Tls { .. }), "{error:?}"),
        }
    }
}

#[test]
fn bad_certificates_are_errors_with_their_place() {
    let ca = Ca::new("ca");
    let (one, two) = (ca.issue(&["a"]), ca.issue(&["b"]));
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).unwrap();
        Pem::File(folder.path().join(name))
    };
    let roots = |pem| Settings::new("test/1", Roots::Pem(pem));
    let identity = |certificate, key| Settings {
        identity: Some(Identity { certificate, key }),
        ..trusting(&ca.certificate)
    };
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (case, settings, want) in [
        ("no file", roots(Pem::File(folder.path().join("none"))), "none"),
        ("an empty CA", roots(file("empty", "")), "empty"),
        ("no PEM", roots(file("garbage", "garbage")), "garbage"),
        ("no certificate", roots(file("key.pem", &one.key)), "key.pem"),
        ("not decodable", roots(file("broken", broken)), "broken"),
        ("from memory", roots(text("field x", "")), "field x"),
        (
            "no key",
            identity(file("c1", &one.certificate), file("k1", &one.certificate)),
            "k1",
        ),
        (
            "another key",
            identity(file("c2", &one.certificate), file("k2", &two.key)),
            "k2",
        ),
        (
            "no client certificate",
            identity(file("c3", ""), file("k3", &one.key)),
            "c3",
        ),
    ] {
        let error = Agent::new(settings)
            .err()
            .unwrap_or_else(|| panic!("{case} is accepted"));
        assert!(error.to_string().contains(want), "{case}: {error}");
        assert!(!format!("{error:?}").contains("PRIVATE"), "{case}");
    }
}

#[test]
fn nobody_is_trusted_without_roots() {
    let ca = Ca::new("ca");
    let address = listen_tls(&shown(&ca.issue(&["127.0.0.1"]), None), |s, _| {
        keep_answering(s, "yes")
    });
    let error = tls_get(&plain(), "127.0.0.1", address).unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
}

#[test]
fn a_replaced_authority_is_used_from_the_next_connection_on() {
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.crt");
    fs::write(&path, &old.certificate).unwrap();
    let config = shown(&old.issue(&["127.0.0.1"]), None);
    let address = listen_tls(&config, |s, number| keep_answering(s, &number.to_string()));
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
    let settings = Settings::new("test/1", Roots::Pem(Pem::File(path.clone())));
    let agent = Agent::with_clock(settings, Arc::new(clock.clone())).unwrap();
    let get = || tls_get(&agent, "127.0.0.1", address);
    assert_eq!(get().unwrap(), "0");

    // what cannot be used changes nothing
    for bad in ["", "garbage"] {
        fs::write(&path, bad).unwrap();
        assert_eq!(agent.reload(), Reloaded::Refused, "{bad:?}");
        assert_eq!(agent.reload(), Reloaded::Unchanged, "{bad:?}: it is told once");
        assert_eq!(get().unwrap(), "0", "{bad:?}");
    }
    // both, then the server changes, then only the new one
    fs::write(&path, &old.certificate).unwrap();
    assert_eq!(agent.reload(), Reloaded::Changed, "good again");
    fs::write(&path, format!("{}{}", old.certificate, new.certificate)).unwrap();
    assert_eq!(agent.reload(), Reloaded::Changed);
    assert_eq!(
        get().unwrap(),
        "1",
        "a new connection, for the old authority still"
    );
    *config.lock().unwrap() = Arc::new(server_config(&new.issue(&["127.0.0.1"]), None));
    fs::write(&path, &new.certificate).unwrap();
    assert_eq!(
        get().unwrap(),
        "1",
        "an open connection goes on until the files are looked at"
    );
    clock.advance(CERTIFICATE_POLL);
    assert_eq!(get().unwrap(), "2");
    *config.lock().unwrap() = Arc::new(server_config(&old.issue(&["127.0.0.1"]), None));
    assert!(matches!(
        tls_get(&agent.sibling(), "127.0.0.1", address),
        Err(Error::Tls { .. })
    ));
}

#[test]
fn a_replaced_client_certificate_is_shown_and_half_of_one_is_not() {
    let (servers, old, new) = (Ca::new("servers"), Ca::new("old"), Ca::new("new"));
    let (first, second) = (old.issue(&["client"]), new.issue(&["client"]));
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let write = |path: &Path, text: &str| fs::write(path, text).unwrap();
    write(&at("crt"), &first.certificate);
    write(&at("key"), &first.key);
    let leaf = servers.issue(&["127.0.0.1"]);
    let config = shown(&leaf, Some(&old));
    let address = listen_tls(&config, |s, number| keep_answering(s, &number.to_string()));
    let mut settings = trusting(&servers.certificate);
    settings.identity = Some(Identity {
        certificate: Pem::File(at("crt")),
        key: Pem::File(at("key")),
    });
    let agent = Agent::new(settings).unwrap();
    let get = || tls_get(&agent, "127.0.0.1", address);
    assert_eq!(get().unwrap(), "0");

    write(&at("crt"), &second.certificate);
    assert_eq!(agent.reload(), Reloaded::Refused, "a certificate without its key");
    assert_eq!(get().unwrap(), "0");
    write(&at("key"), &second.key);
    assert_eq!(agent.reload(), Reloaded::Changed);
    let error = get().unwrap_err();
    assert!(
        matches!(error, Error::Tls { .. }),
        "the server does not know the new one yet: {error:?}"
    );
    *config.lock().unwrap() = Arc::new(server_config(&leaf, Some(&new)));
    assert_eq!(get().unwrap(), "2");

    *config.lock().unwrap() = Arc::new(server_config(&leaf, Some(&old)));
    let identity = Identity {
        certificate: text("exec", &first.certificate),
        key: text("exec", &first.key),
    };
    agent.set_identity(Some(identity)).unwrap();
    assert_eq!(get().unwrap(), "3", "another connection for another certificate");
}

#[test]
fn a_tunnel_leads_through_the_proxy() {
    let ca = Ca::new("ca");
    let config = shown(&ca.issue(&["api.test"]), None);
    let (seen, connects) = mpsc::channel();
    let seen = Mutex::new(seen);
    let proxy = listen(move |mut stream, _| {
        let connect = read_request(&mut stream)?;
        let refused = connect.contains("refused.test");
        seen.lock().unwrap().send(connect).unwrap();
        if refused {
            return stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        crate::http::testing::serve_tls(&config, stream, |stream| keep_answering(stream, "yes"))
    });
    let url = format!("http://user:p%40ss@{proxy}");
    let mut settings = trusting(&ca.certificate);
    settings.proxy = ProxyRules::always(ProxyUrl::parse("proxy-url", &url).unwrap());
    let agent = Agent::new(settings).unwrap();
    // the name has no address here: it is the proxy that looks it up
    let target: SocketAddr = "127.0.0.1:6443".parse().unwrap();
    assert_eq!(tls_get(&agent, "api.test", target).unwrap(), "yes");
    let connect = connects.recv().unwrap();
    assert!(
        connect.starts_with("CONNECT api.test:6443 HTTP/1.1\r\n"),
        "{connect}"
    );
    assert!(
        connect.contains("Proxy-Authorization: Basic dXNlcjpwQHNz\r\n"),
        "{connect}"
    );
    let error = tls_get(&agent, "refused.test", target).unwrap_err();
    assert!(
        matches!(&error, Error::Connect { source, .. } if source.to_string().contains("403")),
        "{error:?}"
    );
}

#[test]
fn a_permit_that_lapses_while_connecting_sends_nothing() {
    let clock = Arc::new(crate::runtime::clock::SystemClock);
    let (gate, keeper) = Gate::shut(clock.clone());
    let keeper = Arc::new(keeper);
    let (seen, heard) = mpsc::channel();
    let (seen, shuts) = (Mutex::new(seen), Arc::clone(&keeper));
    let proxy = listen(move |mut stream, _| {
        read_request(&mut stream)?;
        shuts.shut();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest)?;
        seen.lock().unwrap().send(rest.len()).unwrap();
        Ok(())
    });
    let mut settings = Settings::new("test/1", Roots::Nobody);
    settings.proxy = ProxyRules::always(ProxyUrl::parse("proxy-url", &format!("http://{proxy}")).unwrap());
    let agent = Agent::new(settings).unwrap();
    let send = |permit| {
        agent.exchange(&Request::permitted(permit, Method::Post, "http://api.test/x").body("text/plain", "x"))
    };
    keeper.open_since(Moment::of(&*clock), Duration::from_secs(60));
    let permit = gate.pass().unwrap();
    let error = send(permit.clone()).unwrap_err();
    assert!(matches!(error, Error::NotPermitted), "{error:?}");
    assert_eq!(heard.recv().unwrap(), 0, "bytes of the request");
    let error = send(permit).unwrap_err();
    assert!(matches!(error, Error::NotPermitted), "{error:?}");
}

#[test]
fn certificates_can_be_set_all_at_once_or_not_at_all() {
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let config = shown(&old.issue(&["127.0.0.1"]), None);
    let address = listen_tls(&config, |s, number| keep_answering(s, &number.to_string()));
    let agent = Agent::new(trusting(&old.certificate)).unwrap();
    let sibling = agent.sibling();
    let get = || tls_get(&sibling, "127.0.0.1", address);
    assert_eq!(get().unwrap(), "0");
    let (client, other) = (new.issue(&["client"]), new.issue(&["other"]));
    let identity = |key: &Leaf| Identity {
        certificate: text("a kubeconfig", &client.certificate),
        key: text("a kubeconfig", &key.key),
    };
    let roots = || Roots::Pem(text("a kubeconfig", &new.certificate));
    agent
        .set_certificates(roots(), Some(identity(&other)))
        .unwrap_err();
    assert_eq!(
        get().unwrap(),
        "0",
        "the old authority goes on, on the old connection"
    );
    agent.set_certificates(roots(), Some(identity(&client))).unwrap();
    assert!(
        matches!(get(), Err(Error::Tls { .. })),
        "only the new authority is trusted"
    );
    *config.lock().unwrap() = Arc::new(server_config(&new.issue(&["127.0.0.1"]), Some(&new)));
    assert_eq!(get().unwrap(), "2", "the certificate is shown");
    agent.set_roots(roots()).unwrap();
    assert_eq!(get().unwrap(), "3", "and still is");
}

#[test]
fn a_nameless_sibling_shows_no_certificate() {
    let ca = Ca::new("ca");
    let config = shown(&ca.issue(&["127.0.0.1"]), Some(&ca));
    let address = listen_tls(&config, |s, _| keep_answering(s, "yes"));
    let client = ca.issue(&["client"]);
    let mut settings = trusting(&ca.certificate);
    settings.identity = Some(Identity {
        certificate: text("c", &client.certificate),
        key: text("k", &client.key),
    });
    let agent = Agent::new(settings).unwrap();
    assert_eq!(tls_get(&agent, "127.0.0.1", address).unwrap(), "yes");
    let nameless = agent.nameless_sibling();
    for agent in [&nameless, &nameless.sibling()] {
        let error = tls_get(agent, "127.0.0.1", address).unwrap_err();
        assert!(
            matches!(&error, Error::Tls { reason, .. } if reason.contains("CertificateRequired")),
            "{error:?}"
        );
    }
}

#[test]
fn an_expired_certificate_is_named_until_it_is_replaced() {
    let ca = Ca::new("ca");
    let config = shown(&ca.issue(&["127.0.0.1"]), Some(&ca));
    let address = listen_tls(&config, |s, _| keep_answering(s, "yes"));
    let expired = ca.issue_with(&["client"], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("crt"), folder.path().join("key"));
    let write = |leaf: &Leaf| {
        fs::write(&certificate, &leaf.certificate).unwrap();
        fs::write(&key, &leaf.key).unwrap();
    };
    write(&expired);
    let mut settings = trusting(&ca.certificate);
    settings.identity = Some(Identity {
        certificate: Pem::File(certificate.clone()),
        key: Pem::File(key.clone()),
    });
    let agent = Agent::new(settings).unwrap();
    let end = agent.certificate_expiry().unwrap();
    assert_eq!(humantime::format_rfc3339(end).to_string(), "2021-01-01T00:00:00Z");
    let error = tls_get(&agent, "127.0.0.1", address).unwrap_err();
    let named = "our client certificate ended at 2021-01-01T00:00:00Z";
    assert!(
        matches!(&error, Error::Tls { reason, .. } if reason.contains(named)),
        "{error:?}"
    );
    write(&ca.issue(&["client"]));
    assert_eq!(agent.reload(), Reloaded::Changed);
    assert_eq!(tls_get(&agent, "127.0.0.1", address).unwrap(), "yes");
}
