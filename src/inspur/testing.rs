//! Doubles for the unit tests of this module.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use super::api::Retrying;
use super::model::{Probe, ProbeKind};
use crate::http::{Error, Method, Request, Response, Transport};
use crate::k8s::types::{Node, NodeAddress, Protocol, Service, ServicePort};
use crate::runtime::backoff::Backoff;

/// A health check by HTTP with every setting.
pub(super) fn http_probe() -> Probe {
    Probe {
        kind: ProbeKind::Http {
            domain: "shop.example".into(),
            path: "/healthz".into(),
        },
        port: 31000.try_into().ok(),
        period_seconds: 10,
        timeout_seconds: 5,
        tries: 3,
    }
}

/// Four attempts, no waiting.
pub(super) fn eager() -> Retrying {
    Retrying {
        attempts: 4,
        backoff: Backoff {
            initial: Duration::ZERO,
            cap: Duration::ZERO,
            jitter: 0.0,
        },
    }
}

/// What a [`Script`] does with a request.
pub(super) enum Reply {
    /// An answer.
    Answer(u16, Vec<(String, String)>, String),
    /// A 200 whose body breaks off.
    CutShort(String),
    /// No answer.
    Fail(Error),
    /// Meets the barrier when the request has come, and again before it goes on with the other reply.
    Held(Arc<Barrier>, Box<Reply>),
}

impl Reply {
    pub(super) fn json(status: u16, body: &str) -> Self {
        Self::Answer(status, Vec::new(), body.into())
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        if let Self::Answer(_, headers, _) = &mut self {
            headers.push((name.into(), value.into()));
        }
        self
    }

    /// The connection broke after the request was sent.
    pub(super) fn lost() -> Self {
        Self::Fail(Error::NoAnswer {
            peer: "x:80".into(),
            source: io::ErrorKind::ConnectionReset.into(),
        })
    }

    fn act(self) -> Result<Response, Error> {
        match self {
            Self::Answer(status, headers, body) => {
                Ok(Response::from_bytes(status, headers, body.into_bytes()))
            }
            Self::CutShort(body) => Ok(Response {
                status: 200,
                headers: Vec::new(),
                body: Box::new(io::Cursor::new(body.into_bytes()).chain(Broken)),
            }),
            Self::Fail(error) => Err(error),
            Self::Held(gate, reply) => {
                gate.wait();
                gate.wait();
                reply.act()
            }
        }
    }
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Answers request after request as told, and keeps the requests.
pub(super) struct Script {
    replies: Mutex<VecDeque<Reply>>,
    requests: Mutex<Vec<Recorded>>,
}

/// A request as it was sent.
#[derive(Clone)]
pub(super) struct Recorded {
    pub(super) method: Method,
    pub(super) url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Recorded {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Script {
    /// One reply a request; a request beyond them is a failure of the test.
    pub(super) fn new(replies: impl IntoIterator<Item = Reply>) -> Arc<Self> {
        Arc::new(Self {
            replies: Mutex::new(replies.into_iter().collect()),
            requests: Mutex::default(),
        })
    }

    /// The same reply to each of a hundred.
    pub(super) fn always(reply: impl Fn() -> Reply) -> Arc<Self> {
        Self::new((0..100).map(|_| reply()))
    }

    pub(super) fn requests(&self) -> Vec<Recorded> {
        self.requests.lock().unwrap().clone()
    }
}

impl Transport for Script {
    fn exchange(&self, request: &Request) -> Result<Response, Error> {
        self.requests.lock().unwrap().push(Recorded {
            method: request.method(),
            url: request.url.clone(),
            headers: request.headers.clone(),
            body: request.body.clone().unwrap_or_default(),
        });
        let reply = self.replies.lock().unwrap().pop_front();
        reply.expect("a request that the script knows").act()
    }

    fn shutdown(&self) {}
}

/// A Node with the instance `i-<name>` and internal addresses, separated by spaces.
pub(super) fn node(name: &str, addresses: &str) -> Arc<Node> {
    let mut node = Node {
        provider_id: format!("incloud://i-{name}").into(),
        addresses: addresses
            .split_whitespace()
            .map(|address| NodeAddress {
                type_: "InternalIP".into(),
                address: address.into(),
            })
            .collect(),
        ..Node::default()
    };
    node.meta.name = name.into();
    Arc::new(node)
}

/// Builds the Service `shop/<name>`.
pub(super) fn service(name: &str) -> ServiceBuilder {
    let mut service = Service {
        type_: "LoadBalancer".into(),
        ..Service::default()
    };
    service.meta.namespace = "shop".into();
    service.meta.name = name.into();
    ServiceBuilder {
        service,
        ports: Vec::new(),
        annotations: Vec::new(),
    }
}

pub(super) struct ServiceBuilder {
    service: Service,
    ports: Vec<ServicePort>,
    annotations: Vec<(String, String)>,
}

impl ServiceBuilder {
    pub(super) fn port(mut self, protocol: Protocol, port: u16, node_port: u16) -> Self {
        self.ports.push(ServicePort {
            protocol,
            port,
            node_port,
        });
        self
    }

    pub(super) fn tcp(self, port: u16, node_port: u16) -> Self {
        self.port(Protocol::Tcp, port, node_port)
    }

    pub(super) fn udp(self, port: u16, node_port: u16) -> Self {
        self.port(Protocol::Udp, port, node_port)
    }

    pub(super) fn local(mut self, health_check_node_port: u16) -> Self {
        self.service.local_traffic_only = true;
        self.service.health_check_node_port = health_check_node_port;
        self
    }

    pub(super) fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.push((key.into(), value.into()));
        self
    }

    pub(super) fn build(mut self) -> Service {
        self.service.ports = self.ports.into();
        self.service.meta.annotations = self.annotations.into_iter().collect();
        self.service
    }
}
