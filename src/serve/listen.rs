//! The socket on which the endpoint listens.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use super::options::Options;

/// As many may wait until they are accepted, which takes microseconds.
const BACKLOG: i32 = 1024;

/// Listens as `options` say.
pub(super) fn listen(options: &Options) -> io::Result<TcpListener> {
    let (first, instead) = addresses(options.address);
    match (bind(first, options), instead) {
        (Err(error), Some(instead)) if is_absent(&error) => bind(instead, options),
        (bound, _) => bound,
    }
}

/// Where to listen, and where if there is no such family. An unspecified address is every address of both families, as in Go.
fn addresses(address: IpAddr) -> (IpAddr, Option<IpAddr>) {
    match address.is_unspecified() {
        true => (Ipv6Addr::UNSPECIFIED.into(), Some(Ipv4Addr::UNSPECIFIED.into())),
        false => (address, None),
    }
}

/// Whether an address cannot be had whoever asks, as those of IPv6 where that is switched off.
fn is_absent(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied
    )
}

fn bind(address: IpAddr, options: &Options) -> io::Result<TcpListener> {
    let address = SocketAddr::new(address, options.port);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // connections of a process that ended a moment ago do not count
    socket.set_reuse_address(true)?;
    if options.share_port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_is_every_address_of_both_families() {
        for (address, want) in [
            ("0.0.0.0", ("::", Some("0.0.0.0"))),
            ("::", ("::", Some("0.0.0.0"))),
            ("127.0.0.1", ("127.0.0.1", None)),
            ("::1", ("::1", None)),
        ] {
            let (first, instead) = addresses(address.parse().unwrap());
            let instead = instead.map(|instead| instead.to_string());
            assert_eq!(
                (first.to_string().as_str(), instead.as_deref()),
                want,
                "{address}"
            );
        }
    }
}
