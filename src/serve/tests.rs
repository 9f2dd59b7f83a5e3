//! The endpoint as its clients see it, on real sockets.

pub(super) mod world;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::version::{TLS12, TLS13};

use super::*;
use crate::http::testing::Ca;
use crate::runtime::chain;
use world::{
    LONG, Porter, Reply, World, client, client_of, client_with, client_with_stolen, clock, connect, der,
    files, options, pages,
};

#[test]
fn a_probe_gets_its_answer() {
    let world = World::new();
    let reply = world.get("/healthz");
    assert_eq!((reply.status, reply.body.as_str()), (200, "ok"));
    for (name, want) in [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", "2"),
        ("Cache-Control", "no-cache, private"),
        ("X-Content-Type-Options", "nosniff"),
        ("Connection", "close"),
    ] {
        assert_eq!(reply.header(name), Some(want), "{name}");
    }
    let reply = world.ask("HEAD /healthz HTTP/1.1\r\n\r\n");
    assert_eq!((reply.status, reply.body.as_str()), (200, ""));
    assert_eq!(reply.header("Content-Length"), Some("2"));
}

#[test]
fn a_guard_decides_before_there_is_a_page() {
    let world = World::new();
    let reply = world.get("/configz?a=b");
    assert_eq!((reply.status, reply.header("X-Why")), (403, Some("test")));
    assert!(reply.body.contains("not for you"), "{}", reply.body);
    assert_eq!(world.get("/nowhere").body, "404 page not found\n");
    let seen = world.porter.0.lock().unwrap().clone();
    let requests: Vec<_> = seen.iter().map(|seen| seen.request.as_str()).collect();
    assert_eq!(requests, ["GET /configz a=b", "GET /nowhere "]);
    assert_eq!(seen[0].host.as_deref(), Some(&b"test"[..]));
    assert_eq!(seen[0].peer.ip(), Ipv4Addr::LOCALHOST);
    for (metric, want) in [
        (r#"endpoint_requests_total{code="403",page="configz"}"#, 1),
        (r#"endpoint_requests_total{code="404",page="other"}"#, 1),
        ("endpoint_connections_total", 2),
    ] {
        assert_eq!(world.metric(metric), want, "{metric}");
    }
}

#[test]
fn a_client_s_certificate_reaches_the_guard_as_it_was_shown() {
    let world = World::new();
    let leaf = Ca::new("nobody knows this one").issue(&["someone"]);
    for version in [&TLS12, &TLS13] {
        for (config, want) in [
            (client_with(&[version], &leaf), vec![der(&leaf)]),
            (client_of(&[version], |_| {}), vec![]),
        ] {
            let mut stream = connect(world.address, config, "localhost");
            stream.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
            assert_eq!(Reply::read(&mut stream).unwrap().status, 200);
            let seen = world.porter.0.lock().unwrap().pop().unwrap();
            assert_eq!(seen.certificates, want, "{version:?}");
        }
    }
}

#[test]
fn a_client_s_certificate_without_its_key_ends_the_handshake() {
    let world = World::new();
    let ca = Ca::new("ca");
    let config = client_with_stolen(&ca.issue(&["admin"]), &ca.issue(&["thief"]));
    let mut stream = connect(world.address, config, "localhost");
    let sent = stream.write_all(b"GET /healthz HTTP/1.1\r\n\r\n");
    assert!(sent.is_err() || Reply::read(&mut stream).is_err());
    world.wait_for_metric("endpoint_tls_errors_total", 1);
    assert!(world.porter.0.lock().unwrap().is_empty());
}

#[test]
fn what_is_no_good_request_is_told_so() {
    let world = World::new();
    let endless = format!("GET /healthz HTTP/1.1\r\nX: {}", "x".repeat(20_000));
    let long = format!(
        "PUT /debug/flags/v HTTP/1.1\r\nContent-Length: 30000\r\n\r\n{}",
        "4".repeat(30_000)
    );
    for (case, request, status, body) in [
        (
            "an endless header",
            endless.as_str(),
            431,
            "the head is too long\n",
        ),
        (
            "no HTTP",
            "\0\0\0\0\0\0\r\n\r\n",
            400,
            "this is not an HTTP request\n",
        ),
        (
            "a body where there is nothing to say",
            "GET /healthz HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            413,
            "no body is accepted here\n",
        ),
        (
            "a body of unknown length",
            "GET /healthz HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            413,
            "no body is accepted here\n",
        ),
        (
            "another method",
            "POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            405,
            "Method Not Allowed\n",
        ),
        ("a long verbosity", long.as_str(), 413, "the body is too long\n"),
    ] {
        let reply = world.ask(request);
        assert_eq!((reply.status, reply.body.as_str()), (status, body), "{case}");
    }
}

#[test]
fn the_verbosity_is_set_by_a_body_of_a_few_bytes() {
    let world = World::new();
    for (case, request, status, body) in [
        (
            "good",
            "PUT /debug/flags/v HTTP/1.1\r\nContent-Length: 1\r\n\r\n4",
            200,
            "successfully set klog.logging.verbosity to 4\n",
        ),
        (
            "bad",
            "PUT /debug/flags/v HTTP/1.1\r\nContent-Length: 1\r\n\r\n5",
            400,
            "failed set klog.logging.verbosity 5: not 4\n",
        ),
        (
            "read",
            "GET /debug/flags/v HTTP/1.1\r\n\r\n",
            406,
            "unsupported http method\n",
        ),
        (
            "chunks",
            "PUT /debug/flags/v HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n4\r\n0\r\n\r\n",
            411,
            "a body must say its length\n",
        ),
    ] {
        let reply = world.ask(request);
        assert_eq!((reply.status, reply.body.as_str()), (status, body), "{case}");
    }
}

#[test]
fn a_client_that_speaks_plain_http_is_told_so() {
    let world = World::new();
    let mut socket = TcpStream::connect(world.address).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    // more than is read, so that a hasty close would lose the answer
    let request = format!("GET /healthz HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert_eq!(
        answer,
        "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
    );
    assert_eq!(world.metric("endpoint_plain_http_total"), 1);
    assert_eq!(world.metric("endpoint_tls_errors_total"), 0);
}

#[test]
fn a_client_that_speaks_neither_is_counted() {
    let world = World::new();
    let mut socket = TcpStream::connect(world.address).unwrap();
    socket.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").unwrap();
    world.wait_for_metric("endpoint_tls_errors_total", 1);
    assert_eq!(world.get("/healthz").status, 200);
}

#[test]
fn half_open_connections_delay_nobody() {
    let world = World::new();
    let mut held = VecDeque::new();
    for count in 0..1000 {
        let mut socket = TcpStream::connect(world.address).unwrap();
        // some say nothing at all, others stop within a record
        socket.write_all(&[0x16, 0x03][..count % 3]).unwrap();
        held.push_back(socket);
        // as many as the process may well have open, and far more than there are places
        if held.len() > 200 {
            held.pop_front();
        }
    }
    assert_eq!(world.get("/healthz").status, 200);
    assert!(world.metric("endpoint_connections_total") >= 1000);
    let cut = r#"endpoint_connections_cut_total{reason="oldest"}"#;
    assert!(world.metric(cut) >= 200 - 32, "{}", world.metrics.text());
}

#[test]
fn the_oldest_goes_when_there_are_too_many() {
    let world = World::new();
    let silent: Vec<TcpStream> = (0..PLACES)
        .map(|_| TcpStream::connect(world.address).unwrap())
        .collect();
    world.wait_for_metric("endpoint_connections_total", PLACES as u64);
    let cut = r#"endpoint_connections_cut_total{reason="oldest"}"#;
    assert_eq!(world.metric(cut), 0);
    assert_eq!(world.get("/healthz").status, 200);
    assert_eq!(world.metric(cut), 1);
    let (mut first, second) = (&silent[0], &silent[1]);
    first.set_read_timeout(Some(LONG)).unwrap();
    assert_eq!(first.read(&mut [0]).unwrap(), 0, "the oldest is closed");
    second.set_nonblocking(true).unwrap();
    let open = second.peek(&mut [0]).unwrap_err();
    assert_eq!(open.kind(), io::ErrorKind::WouldBlock, "the next is not");
}

#[test]
fn who_takes_too_long_is_cut() {
    let world = World::within(Duration::from_millis(200), &options(), |pages| {
        pages.status = Box::new(|| "x".repeat(32 << 20));
    });
    let slow = r#"endpoint_connections_cut_total{reason="slow"}"#;
    let says_nothing = TcpStream::connect(world.address).unwrap();
    world.wait_for_metric(slow, 1);
    let mut stops_halfway = connect(world.address, client(), "localhost");
    stops_halfway.write_all(b"GET /statusz HTTP/1.1\r\n").unwrap();
    world.wait_for_metric(slow, 2);
    let mut never_reads = connect(world.address, client(), "localhost");
    never_reads.write_all(b"GET /statusz HTTP/1.1\r\n\r\n").unwrap();
    world.wait_for_metric(slow, 3);
    drop((says_nothing, stops_halfway, never_reads));
}

#[test]
fn a_handshake_without_end_is_ended() {
    let world = World::new();
    let mut socket = TcpStream::connect(world.address).unwrap();
    // handshake records of one byte each, of a message that never ends
    let record = [0x16, 0x03, 0x01, 0x00, 0x01, 0x01];
    let start = [0x16, 0x03, 0x01, 0x00, 0x04, 0x01, 0x00, 0xff, 0xff];
    socket.write_all(&start).unwrap();
    // it may be cut at any time
    while socket.write_all(&record.repeat(1000)).is_ok() {}
    world.wait_for_metric("endpoint_tls_errors_total", 1);
    assert_eq!(world.get("/healthz").status, 200);
}

#[test]
fn an_endpoint_counts_what_it_is_registered_to_count() {
    let families = |metrics: &Metrics| {
        let text = metrics.text();
        let lines = text.lines().filter(|line| line.starts_with("# TYPE"));
        Vec::from_iter(lines.map(str::to_owned))
    };
    let world = World::new();
    let described = Metrics::new();
    register(&described);
    // one without any labels yet is not shown
    world.get("/healthz");
    let (shown, described) = (families(&world.metrics), families(&described));
    let missing: Vec<_> = shown.iter().filter(|line| !described.contains(line)).collect();
    assert_eq!(missing, ["# TYPE endpoint_requests_total counter"]);
    assert!(described.iter().all(|line| shown.contains(line)), "{described:?}");
}

fn bind(options: &Options) -> Result<Server, Error> {
    let metrics = Metrics::new();
    let guard = Arc::new(Porter::default());
    Server::bind(options, pages(&metrics), guard, &metrics, Arc::new(clock()))
}

#[test]
fn a_port_that_is_taken_is_named() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let error = bind(&Options {
        port: taken.port(),
        ..options()
    });
    let want = format!("cannot serve HTTPS on {taken}: the port is taken");
    let error = chain(&error.err().unwrap());
    assert!(error.starts_with(&want), "{error}");
}

#[test]
fn a_port_can_be_shared() {
    let sharing = Options {
        share_port: true,
        ..options()
    };
    let first = bind(&sharing).unwrap();
    let second = bind(&Options {
        port: first.local_addr().port(),
        ..sharing
    });
    assert_eq!(second.unwrap().local_addr(), first.local_addr());
}

/// Whether a handshake with such a client succeeds.
fn welcomes(world: &World, config: rustls::ClientConfig) -> bool {
    let mut stream = connect(world.address, config, "localhost");
    stream.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").is_ok() && Reply::read(&mut stream).is_ok()
}

#[test]
fn only_what_was_chosen_of_tls_is_spoken() {
    const AES_128: u16 = 0xc02b;
    const AES_256: u16 = 0xc02c;
    const AES_128_OF_13: u16 = 0x1301;
    const AES_256_OF_13: u16 = 0x1302;
    const P_256: u16 = 23;
    const X25519: u16 = 29;
    let suite = |version, number: u16| {
        client_of(&[version], move |provider| {
            provider
                .cipher_suites
                .retain(|suite| u16::from(suite.suite()) == number);
        })
    };
    let group = |number: u16| {
        client_of(&[&TLS13, &TLS12], move |provider| {
            provider
                .kx_groups
                .retain(|group| u16::from(group.name()) == number);
        })
    };
    let world = World::with(&Options {
        min_version: TlsVersion::V13,
        ..options()
    });
    assert!(welcomes(&world, client_of(&[&TLS13], |_| {})));
    assert!(!welcomes(&world, client_of(&[&TLS12], |_| {})), "an old version");
    let world = World::with(&Options {
        cipher_suites: vec![CipherSuite(AES_256)],
        curves: vec![Curve(P_256)],
        ..options()
    });
    assert!(welcomes(&world, suite(&TLS12, AES_256)));
    assert!(
        !welcomes(&world, suite(&TLS12, AES_128)),
        "a suite that was not chosen"
    );
    assert!(
        welcomes(&world, client_of(&[&TLS13], |_| {})),
        "nothing was chosen of TLS 1.3"
    );
    assert!(welcomes(&world, group(P_256)));
    assert!(!welcomes(&world, group(X25519)), "a group that was not chosen");
    world.wait_for_metric("endpoint_tls_errors_total", 2);
    let world = World::with(&Options {
        cipher_suites: vec![CipherSuite(AES_256_OF_13)],
        ..options()
    });
    assert!(welcomes(&world, suite(&TLS13, AES_256_OF_13)));
    assert!(
        !welcomes(&world, suite(&TLS13, AES_128_OF_13)),
        "a newer suite that was not chosen"
    );
    assert!(
        !welcomes(&world, client_of(&[&TLS12], |_| {})),
        "nothing was chosen of TLS 1.2"
    );
}

#[test]
fn a_choice_that_leaves_nothing_is_an_error() {
    let error = bind(&Options {
        curves: vec![Curve(0)],
        ..options()
    });
    assert!(matches!(error, Err(Error::Tls(_))));
}

#[test]
fn a_name_has_its_certificate() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
    let (default, other) = (ca.issue(&["localhost"]), ca.issue(&["other.test"]));
    std::fs::create_dir(folder.path().join("other")).unwrap();
    let Certificate::Files { certificate, key } = files(&folder.path().join("other"), &other) else {
        unreachable!("files are files")
    };
    let world = World::with(&Options {
        certificate: files(folder.path(), &default),
        sni: vec![SniPair {
            certificate,
            key,
            names: vec!["other.test".to_owned()],
        }],
        ..options()
    });
    for (name, want) in [
        ("localhost", &default),
        ("other.test", &other),
        ("third.test", &default),
        ("127.0.0.1", &default),
    ] {
        assert_eq!(world.shown(name), der(want), "{name}");
    }
}

#[test]
fn a_new_certificate_is_shown_without_a_restart() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
    let [first, second, third] = [(); 3].map(|()| ca.issue(&["localhost"]));
    let world = World::with(&Options {
        certificate: files(folder.path(), &first),
        ..options()
    });
    assert_eq!(world.shown("localhost"), der(&first));
    files(folder.path(), &second);
    assert_eq!(world.shown("localhost"), der(&first), "looked at a moment ago");
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.shown("localhost"), der(&second));
    files(folder.path(), &third);
    world.reloader.reload();
    assert_eq!(world.shown("localhost"), der(&third));
    std::fs::write(folder.path().join("tls.key"), "garbage").unwrap();
    world.reloader.reload();
    assert_eq!(world.shown("localhost"), der(&third));
    for (result, want) in [("success", 2), ("error", 1)] {
        let metric = format!("endpoint_certificate_reloads_total{{result=\"{result}\"}}");
        assert_eq!(world.metric(&metric), want, "{result}");
    }
}

#[test]
fn stopping_ends_the_thread_and_every_connection() {
    let world = World::within(10 * LONG, &options(), |_| {});
    let mut silent = TcpStream::connect(world.address).unwrap();
    silent.set_read_timeout(Some(LONG)).unwrap();
    // when this is answered, the other is being waited for, and so is the next to come
    assert_eq!(world.get("/healthz").status, 200);
    world.stop.stop();
    world.wait_until_ended();
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
}

#[test]
fn stopping_before_it_runs_ends_it_at_once() {
    let stop = crate::runtime::stop::Stop::new();
    stop.stop();
    bind(&options()).unwrap().run(&stop.token());
}

#[test]
fn clients_from_ipv6_are_served() {
    // a machine may have no IPv6; there is nothing to test then
    if TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let world = World::with(&Options {
        address: "::1".parse().unwrap(),
        ..options()
    });
    assert!(matches!(world.address, SocketAddr::V6(_)));
    assert_eq!(world.get("/healthz").status, 200);
}
