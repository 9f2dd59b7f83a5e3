//! One connection's whole life: a handshake, a request, an answer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection};
use rustls_pki_types::CertificateDer;

use super::counters::{Counters, Cut};
use super::exchange::{Answer, Guard, Incoming};
use super::http1::{self, Broken, Extent, Framing, Head};
use super::pages::{Pages, Place, VERBOSITY_LIMIT};
use super::wire::Wire;
use crate::runtime::clock::Clock;

/// What connections are served with.
pub(super) struct Host {
    pub(super) tls: Arc<ServerConfig>,
    pub(super) pages: Pages,
    pub(super) guard: Arc<dyn Guard>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) counters: Counters,
    /// For all of a connection: handshake, request, answer.
    pub(super) patience: Duration,
}

/// Who is at the other end, as far as a connection tells.
struct Caller {
    /// As shown in the handshake.
    certificates: Vec<CertificateDer<'static>>,
    peer: SocketAddr,
}

/// A record of TLS says in its first bytes what it is.
const RECORD_HEADER: usize = 5;

impl Host {
    /// Serves whoever is at the other end of `socket`.
    pub(super) fn serve(&self, socket: &TcpStream, peer: SocketAddr) {
        let mut wire = Wire::new(socket, self.patience);
        if let Err(error) = self.converse(&mut wire, peer) {
            self.count(&error);
        }
        wire.close();
    }

    fn count(&self, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::TimedOut => self.counters.cut(Cut::Slow).inc(),
            io::ErrorKind::QuotaExceeded => self.counters.cut(Cut::Flood).inc(),
            // rustls has no other kind for what it finds wrong
            io::ErrorKind::InvalidData => self.counters.tls_error(),
            // whoever hangs up loses nothing by it; a probe of the port does nothing else
            _ => {}
        }
    }

    fn converse(&self, wire: &mut Wire<'_>, peer: SocketAddr) -> io::Result<()> {
        let first = wire.peek(RECORD_HEADER)?;
        if first.is_empty() {
            return Ok(());
        }
        if http1::looks_like_http(first) {
            self.counters.plain_http();
            return wire.write_all(http1::PLAIN_HTTP);
        }
        let mut session = ServerConnection::new(Arc::clone(&self.tls)).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(wire)?;
        }
        let caller = Caller {
            certificates: session.peer_certificates().unwrap_or_default().to_vec(),
            peer,
        };
        self.exchange(&mut rustls::Stream::new(&mut session, wire), &caller)?;
        session.send_close_notify();
        while session.wants_write() {
            session.write_tls(wire)?;
        }
        Ok(())
    }

    /// Reads a request and answers it.
    fn exchange(&self, stream: &mut (impl Read + Write), caller: &Caller) -> io::Result<()> {
        let (answer, page, extent) = match self.request(stream, caller) {
            Ok(answered) => answered,
            Err(Broken::Lost(error)) => return Err(error),
            Err(Broken::Refused(status, why)) => {
                let answer = Answer::text(status, format!("{why}\n"));
                (answer, Place::Nowhere.label(), Extent::Whole)
            }
        };
        self.counters.request(answer.status, page);
        http1::send(stream, &answer, extent)?;
        stream.flush()
    }

    fn request(
        &self,
        stream: &mut (impl Read + Write),
        caller: &Caller,
    ) -> Result<(Answer, &'static str, Extent), Broken> {
        let bytes = http1::read_head(stream)?;
        let head = http1::parse(&bytes)?.expect("a head was read until it was whole");
        let place = Place::of(head.path);
        let request = Incoming {
            method: head.method,
            path: head.path,
            query: head.query,
            headers: &head.headers,
            client_certificates: &caller.certificates,
            peer: caller.peer,
        };
        let extent = match head.method {
            "HEAD" => Extent::Head,
            _ => Extent::Whole,
        };
        let answer = match self.guard.admit(&request, self.clock.now()) {
            Err(refusal) => refusal,
            Ok(()) => self.page(stream, place, &head, &request)?,
        };
        Ok((answer, place.label(), extent))
    }

    fn page(
        &self,
        stream: &mut (impl Read + Write),
        place: Place<'_>,
        head: &Head<'_>,
        request: &Incoming<'_>,
    ) -> Result<Answer, Broken> {
        if matches!(head.method, "GET" | "HEAD") && head.body != Framing::Empty {
            return Ok(Answer::text(413, "no body is accepted here\n"));
        }
        let body = match place.takes_body(head.method) {
            true => match http1::read_body(stream, head, VERBOSITY_LIMIT) {
                Err(Broken::Refused(status, why)) => return Ok(Answer::text(status, format!("{why}\n"))),
                body => body?,
            },
            false => Vec::new(),
        };
        Ok(self.pages.answer(place, request, &body))
    }
}
