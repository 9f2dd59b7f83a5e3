//! Real clients, real members, on loopback addresses that these tests alone use.

use std::io::{Read, Write};
use std::net::Ipv4Addr;

use super::*;
use crate::sim::cloud::{Health, Member, Seed};

const PATIENCE: Duration = Duration::from_secs(20);

/// A web server that answers every request with its name until it is dropped.
struct Greeter {
    address: SocketAddr,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

fn greeter(name: &'static str) -> Greeter {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), Stop::new());
    let token = stop.token();
    let thread = spawn(name, move || {
        for stream in listener.incoming() {
            if token.is_set() {
                return;
            }
            let mut stream = stream.unwrap();
            // what is left unread would turn the end of the connection into a reset, and lose the answer
            let (mut request, mut byte) = (Vec::new(), [0]);
            while !request.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                request.push(byte[0]);
            }
            let _ = stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{name}").as_bytes());
        }
    })
    .unwrap();
    Greeter {
        address,
        stop,
        thread: Some(thread),
    }
}

impl Drop for Greeter {
    fn drop(&mut self) {
        self.stop.stop();
        let _ = TcpStream::connect(self.address);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A cloud with one SLB on `ip` that has one listener on a port that was free a moment ago.
struct Setup {
    cloud: Cloud,
    listener: String,
    frontend: Frontend,
}

fn setup(ip: Ipv4Addr, protocol: &str) -> Setup {
    let cloud = Cloud::default();
    cloud.add_slb(Seed::new("slb-1", "10.0.0.1", &ip.to_string()));
    let (transport, free) = match protocol {
        "UDP" => (
            Transport::Udp,
            UdpSocket::bind((ip, 0)).unwrap().local_addr().unwrap(),
        ),
        _ => (
            Transport::Tcp,
            TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap(),
        ),
    };
    let listener = cloud.put_listener("slb-1", "web", protocol, free.port());
    Setup {
        cloud,
        listener,
        frontend: Frontend {
            transport,
            address: free,
        },
    }
}

impl Setup {
    fn set_members(&self, targets: &[SocketAddr]) {
        self.cloud.change_listener("slb-1", &self.listener, |listener| {
            listener.members = targets.iter().map(|target| member(*target)).collect();
        });
    }

    fn check_health(&self, kind: &str) {
        self.cloud.change_listener("slb-1", &self.listener, |listener| {
            listener.health = Health {
                on: true,
                kind: kind.into(),
                period_seconds: 1,
                ..Health::default()
            };
        });
    }

    /// Waits until traffic goes to exactly `targets`.
    fn wait_for(&self, traffic: &Traffic, targets: &[SocketAddr]) {
        let found = traffic.wait_until(PATIENCE, |board| {
            let status = board.get(&self.frontend)?;
            let usable = status.members.iter().filter(|(_, usable)| *usable == Usable::Yes);
            usable.map(|(target, _)| target).eq(targets).then_some(())
        });
        assert!(found.is_some(), "{:?}", traffic.status());
    }
}

fn member(target: SocketAddr) -> Member {
    Member {
        backend_id: format!("backend-{}", target.port()),
        server_id: "i-1".into(),
        server_name: "node".into(),
        server_ip: target.ip(),
        port: target.port(),
        weight: 10,
    }
}

/// What each of `count` clients is told.
fn answers(address: SocketAddr, count: usize) -> Vec<String> {
    let ask = || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // both fail when there is nobody to forward to: no answer
        let _ = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text.rsplit('\n').next().unwrap().to_owned()
    };
    (0..count).map(|_| ask()).collect()
}

#[test]
fn clients_are_spread_over_healthy_members_and_follow_changes() {
    for (kind, ip) in [
        ("tcp", Ipv4Addr::new(127, 0, 91, 1)),
        ("http", Ipv4Addr::new(127, 0, 91, 2)),
    ] {
        let (setup, red, blue) = (setup(ip, "TCP"), greeter("red"), greeter("blue"));
        let both = [red.address, blue.address];
        setup.check_health(kind);
        setup.set_members(&both);
        let traffic = Traffic::start(setup.cloud.clone(), 0.01).unwrap();
        setup.wait_for(&traffic, &both);
        let mut heard = answers(setup.frontend.address, 4);
        heard.sort();
        assert_eq!(heard, ["blue", "blue", "red", "red"], "{kind}");

        drop(red);
        setup.wait_for(&traffic, &[blue.address]);
        assert_eq!(answers(setup.frontend.address, 2), ["blue", "blue"], "{kind}");

        let green = greeter("green");
        setup.set_members(&[green.address]);
        setup.wait_for(&traffic, &[green.address]);
        assert_eq!(answers(setup.frontend.address, 2), ["green", "green"], "{kind}");

        setup.set_members(&[]);
        setup.wait_for(&traffic, &[]);
        assert_eq!(
            answers(setup.frontend.address, 1),
            [""],
            "{kind}: nobody is left to answer"
        );
    }
}

#[test]
fn a_member_that_refuses_is_passed_over_even_unchecked() {
    let setup = setup(Ipv4Addr::new(127, 0, 91, 3), "TCP");
    let (red, blue) = (greeter("red"), greeter("blue"));
    let both = [red.address, blue.address];
    setup.set_members(&both);
    drop(red);
    let traffic = Traffic::start(setup.cloud.clone(), 0.01).unwrap();
    setup.wait_for(&traffic, &both);
    assert_eq!(answers(setup.frontend.address, 3), ["blue", "blue", "blue"]);
}

#[test]
fn bytes_go_both_ways_and_the_end_of_each_is_passed_on() {
    let setup = setup(Ipv4Addr::new(127, 0, 91, 4), "TCP");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    setup.set_members(&[listener.local_addr().unwrap()]);
    let traffic = Traffic::start(setup.cloud.clone(), 1.0).unwrap();
    setup.wait_for(&traffic, &[listener.local_addr().unwrap()]);
    let mut client = TcpStream::connect(setup.frontend.address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let sent = vec![b'x'; 100_000];
    client.write_all(&sent).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut received = Vec::new();
    server.read_to_end(&mut received).unwrap();
    assert!(received == sent, "{} bytes", received.len());
    server.write_all(b"thanks").unwrap();
    drop(server);
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "thanks");
}

#[test]
fn a_removed_listener_closes_its_port_and_its_connections() {
    let setup = setup(Ipv4Addr::new(127, 0, 91, 5), "TCP");
    let member = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    setup.set_members(&[member.local_addr().unwrap()]);
    let traffic = Traffic::start(setup.cloud.clone(), 1.0).unwrap();
    setup.wait_for(&traffic, &[member.local_addr().unwrap()]);
    let mut client = TcpStream::connect(setup.frontend.address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let _held = member.accept().unwrap();
    setup.cloud.take_listener("slb-1", &setup.listener);
    let gone = traffic.wait_until(PATIENCE, |board| board.is_empty().then_some(()));
    assert!(gone.is_some(), "{:?}", traffic.status());
    let refused = TcpStream::connect(setup.frontend.address).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(client.read(&mut [0]).unwrap_or(0), 0, "the connection is closed");
    traffic.shutdown();
}

/// A UDP server that answers every datagram with its name and the datagram, until it gets an empty one.
fn udp_echo(name: &'static str) -> (SocketAddr, JoinHandle<()>) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    let thread = spawn(name, move || {
        let mut buffer = [0; 100];
        loop {
            let (length, client) = socket.recv_from(&mut buffer).unwrap();
            if length == 0 {
                return;
            }
            let answer = [name.as_bytes(), b":", &buffer[..length]].concat();
            socket.send_to(&answer, client).unwrap();
        }
    })
    .unwrap();
    (address, thread)
}

fn end(echo: (SocketAddr, JoinHandle<()>)) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.send_to(&[], echo.0).unwrap();
    echo.1.join().unwrap();
}

fn udp_client(setup: &Setup) -> UdpSocket {
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.connect(setup.frontend.address).unwrap();
    client
}

fn ask(client: &UdpSocket, text: &str) -> String {
    client.send(text.as_bytes()).unwrap();
    let mut buffer = [0; 100];
    let length = client.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[test]
fn udp_clients_keep_their_member_until_it_leaves() {
    let setup = setup(Ipv4Addr::new(127, 0, 91, 6), "UDP");
    let (red, blue) = (udp_echo("red"), udp_echo("blue"));
    setup.set_members(&[red.0, blue.0]);
    let traffic = Traffic::start(setup.cloud.clone(), 1.0).unwrap();
    setup.wait_for(&traffic, &[red.0, blue.0]);
    let (one, two) = (udp_client(&setup), udp_client(&setup));
    assert_eq!([ask(&one, "a"), ask(&two, "b")], ["red:a", "blue:b"]);
    assert_eq!([ask(&one, "c"), ask(&two, "d")], ["red:c", "blue:d"]);
    setup.set_members(&[blue.0]);
    setup.wait_for(&traffic, &[blue.0]);
    assert_eq!(ask(&one, "e"), "blue:e");
    traffic.shutdown();
    assert!(
        UdpSocket::bind(setup.frontend.address).is_ok(),
        "the port is free again"
    );
    end(red);
    end(blue);
}

#[test]
fn a_port_that_cannot_be_bound_is_served_elsewhere_and_said_so() {
    let setup = setup(Ipv4Addr::new(127, 0, 91, 7), "TCP");
    let _taken = TcpListener::bind(setup.frontend.address).unwrap();
    let green = greeter("green");
    setup.set_members(&[green.address]);
    let traffic = Traffic::start(setup.cloud.clone(), 1.0).unwrap();
    setup.wait_for(&traffic, &[green.address]);
    let Served::Elsewhere(address) = traffic.status()[&setup.frontend].served else {
        panic!("{:?}", traffic.status());
    };
    assert_eq!(answers(address, 1), ["green"]);
}

#[test]
fn what_cannot_be_served_is_said_so_and_what_is_not_loopback_is_not_asked_for() {
    let setup = setup(Ipv4Addr::new(127, 0, 91, 8), "HTTPS");
    setup.cloud.add_slb(Seed::new("slb-2", "10.0.0.2", "203.0.113.1"));
    setup.cloud.put_listener("slb-2", "web", "TCP", 80);
    let traffic = Traffic::start(setup.cloud.clone(), 1.0).unwrap();
    let board = traffic
        .wait_until(PATIENCE, |board| (!board.is_empty()).then(|| board.clone()))
        .unwrap();
    assert_eq!(board.len(), 1);
    assert!(
        matches!(board[&setup.frontend].served, Served::Not(_)),
        "{board:?}"
    );
}
