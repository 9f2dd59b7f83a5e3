//! Names to addresses: literals answered at once, names remembered for a while. ureq asks before every exchange, even
//! when it then uses an open connection.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use super::connector::ConnectFailure;

/// Clones share what they remember.
#[derive(Clone, Default)]
pub(super) struct CachingResolver(Arc<Mutex<HashMap<String, Known>>>);

struct Known {
    at: Instant,
    addresses: Vec<IpAddr>,
}

impl CachingResolver {
    /// Forgets `host`, so that the next exchange asks anew: nobody answered at its addresses.
    pub(super) fn forget(&self, host: &str) {
        self.lock().remove(host);
    }

    fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let now = Instant::now();
        if let Some(known) = self.lock().get(host)
            && now.saturating_duration_since(known.at) < REMEMBERED
        {
            return Ok(known.addresses.clone());
        }
        let addresses: Vec<IpAddr> = (host, 0).to_socket_addrs()?.map(|a| a.ip()).collect();
        let known = Known {
            at: now,
            addresses: addresses.clone(),
        };
        self.lock().insert(host.to_owned(), known);
        Ok(addresses)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.0.lock().expect("no holder of the resolver's memory panics")
    }
}

impl Resolver for CachingResolver {
    fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let (host, port) = host_and_port(uri);
        let addresses = self.lookup(host).map_err(ConnectFailure::socket)?;
        let mut resolved = self.empty();
        for address in addresses.into_iter().take(MOST_ADDRESSES) {
            resolved.push(SocketAddr::new(address, port));
        }
        if resolved.is_empty() {
            return Err(ConnectFailure::socket(io::Error::new(
                io::ErrorKind::NotFound,
                "the name has no address",
            )));
        }
        Ok(resolved)
    }
}

impl fmt::Debug for CachingResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CachingResolver")
    }
}

/// Host without brackets, and port or the scheme's own.
pub(super) fn host_and_port(uri: &Uri) -> (&str, u16) {
    let host = uri.host().unwrap_or_default();
    let bare = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    let own = if uri.scheme_str() == Some("http") { 80 } else { 443 };
    (bare, uri.port_u16().unwrap_or(own))
}

const REMEMBERED: Duration = Duration::from_secs(30);
/// ureq has room for so many.
const MOST_ADDRESSES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_need_no_lookup_and_ports_follow_the_scheme() {
        for (url, want) in [
            ("http://127.0.0.1/x", "127.0.0.1:80"),
            ("https://127.0.0.1/x", "127.0.0.1:443"),
            ("https://[::1]:6443/x", "[::1]:6443"),
        ] {
            let resolver = CachingResolver::default();
            let uri: Uri = url.parse().unwrap();
            let found = resolver
                .resolve(&uri, &Config::default(), NextTimeout::default())
                .unwrap();
            assert_eq!(
                found.iter().map(ToString::to_string).collect::<Vec<_>>(),
                [want],
                "{url}"
            );
            assert!(resolver.lock().is_empty(), "{url}: literals are not remembered");
        }
    }

    #[test]
    fn a_name_is_remembered_until_it_is_forgotten() {
        let resolver = CachingResolver::default();
        let remembered = vec![IpAddr::from([127, 9, 9, 9])];
        let known = Known {
            at: Instant::now(),
            addresses: remembered.clone(),
        };
        resolver.lock().insert("localhost".into(), known);
        assert_eq!(resolver.lookup("localhost").unwrap(), remembered);
        resolver.forget("localhost");
        assert_ne!(resolver.lookup("localhost").unwrap(), remembered);
    }
}
