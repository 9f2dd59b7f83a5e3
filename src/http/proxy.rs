//! Which targets are reached through a proxy. Pure: the environment is an argument.
//!
//! The rules are those of Go programs, which share the variables with us. Source: golang.org/x/net,
//! http/httpproxy/proxy.go.

use std::fmt;
use std::net::IpAddr;

use crate::runtime::secret::Secret;

/// An HTTP proxy, spoken to with CONNECT. `Debug` and `Display` leave out its credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl {
    /// A name or an address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// User and password, decoded.
    pub credentials: Option<(String, Secret)>,
}

/// A proxy that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{from}: {reason}")]
pub struct ProxyError {
    /// Which variable or field names it.
    pub from: String,
    /// What is wrong; never a credential.
    pub reason: String,
}

impl ProxyUrl {
    /// Reads `http://user:password@host:port`; the scheme may be missing. `from` names its place for errors.
    ///
    /// # Errors
    /// Another scheme than `http`, or no host.
    pub fn parse(from: &str, url: &str) -> Result<Self, ProxyError> {
        let error = |reason: &str| ProxyError {
            from: from.to_owned(),
            reason: reason.to_owned(),
        };
        let url = url.trim();
        let rest = match url.split_once("://") {
            None => url,
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme @ ("https" | "socks5" | "socks5h"), _)) => {
                return Err(error(&format!(
                    "proxies by {scheme} are not supported, only by http (with CONNECT)"
                )));
            }
            Some(_) => return Err(error("not the URL of an http proxy")),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (credentials, address) = match authority.rsplit_once('@') {
            None => (None, authority),
            Some((userinfo, address)) => {
                let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
                (Some((decode(user), Secret::new(decode(password)))), address)
            }
        };
        let (host, port) = split_port(address);
        let port = match port {
            None => 80,
            Some(port) => port.parse().map_err(|_| error("its port is not a number"))?,
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(error("it names no host"));
        }
        Ok(Self {
            host: host.to_owned(),
            port,
            credentials,
        })
    }
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "http://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "http://{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which proxy, if any, leads to a target.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxyRules {
    http: Option<ProxyUrl>,
    https: Option<ProxyUrl>,
    except: Vec<Exception>,
    loopback: bool,
}

impl ProxyRules {
    /// No proxy for anything.
    pub fn direct() -> Self {
        Self::default()
    }

    /// The same proxy for everything, loopback too: somebody said so for this very target.
    pub fn always(proxy: ProxyUrl) -> Self {
        Self {
            http: Some(proxy.clone()),
            https: Some(proxy),
            except: Vec::new(),
            loopback: true,
        }
    }

    /// What `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` say, in capitals first; `variable` reads one.
    ///
    /// # Errors
    /// A proxy that cannot be used.
    pub fn from_env(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ProxyError> {
        let read = |name: &'static str| {
            [name.to_owned(), name.to_ascii_lowercase()]
                .into_iter()
                .find_map(|name| Some((variable(&name).filter(|value| !value.trim().is_empty())?, name)))
        };
        let proxy = |name| {
            read(name)
                .map(|(value, name)| ProxyUrl::parse(&name, &value))
                .transpose()
        };
        let except = read("NO_PROXY").map(|(value, _)| value).unwrap_or_default();
        Ok(Self {
            http: proxy("HTTP_PROXY")?,
            https: proxy("HTTPS_PROXY")?,
            except: except.split(',').filter_map(Exception::parse).collect(),
            loopback: false,
        })
    }

    /// The proxy for `host` (without brackets) and `port`; `https` picks between the two.
    pub fn decide(&self, https: bool, host: &str, port: u16) -> Option<&ProxyUrl> {
        let proxy = if https { &self.https } else { &self.http }.as_ref()?;
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address: Option<IpAddr> = host.parse().ok();
        let is_local = host == "localhost" || address.is_some_and(|a| a.to_canonical().is_loopback());
        if is_local && !self.loopback {
            return None;
        }
        let excepted = self.except.iter().any(|e| e.matches(&host, address, port));
        (!excepted).then_some(proxy)
    }
}

/// One entry of `NO_PROXY`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Exception {
    /// `*`
    Everything,
    /// `10.0.0.0/8`
    Network(IpAddr, u8),
    /// `10.1.2.3` or `10.1.2.3:80`
    Address(IpAddr, Option<u16>),
    /// `example.com` with the domain itself, `.example.com` and `*.example.com` without.
    Domain {
        /// With its leading dot.
        suffix: String,
        itself: bool,
        port: Option<u16>,
    },
}

impl Exception {
    /// `None` for an entry that can match nothing.
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim().to_ascii_lowercase();
        if entry == "*" {
            return Some(Self::Everything);
        }
        if let Some((address, bits)) = entry.split_once('/') {
            let (address, bits): (IpAddr, u8) = (address.parse().ok()?, bits.parse().ok()?);
            let most = if address.is_ipv4() { 32 } else { 128 };
            return (bits <= most).then_some(Self::Network(address, bits));
        }
        if let Ok(address) = entry.parse() {
            return Some(Self::Address(address, None));
        }
        let (host, port) = split_port(&entry);
        let port = match port {
            None => None,
            Some(port) => Some(port.parse().ok()?),
        };
        if let Ok(address) = host.parse() {
            return Some(Self::Address(address, port));
        }
        let host = host
            .strip_prefix('*')
            .filter(|h| h.starts_with('.'))
            .unwrap_or(host);
        match host {
            "" | "." => None,
            _ if host.starts_with('.') => Some(Self::Domain {
                suffix: host.to_owned(),
                itself: false,
                port,
            }),
            _ => Some(Self::Domain {
                suffix: format!(".{host}"),
                itself: true,
                port,
            }),
        }
    }

    fn matches(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        let is_port = |wanted: &Option<u16>| wanted.is_none_or(|wanted| wanted == port);
        match self {
            Self::Everything => true,
            Self::Network(network, bits) => address.is_some_and(|a| in_network(a, *network, *bits)),
            Self::Address(wanted, port) => {
                address.is_some_and(|a| a.to_canonical() == wanted.to_canonical()) && is_port(port)
            }
            Self::Domain { suffix, itself, port } => {
                (host.ends_with(suffix.as_str()) || *itself && host == &suffix[1..]) && is_port(port)
            }
        }
    }
}

fn in_network(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let drop = |width: u8| u32::from(width - bits);
    match (address.to_canonical(), network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => (a.to_bits() ^ n.to_bits()).checked_shr(drop(32)).unwrap_or(0) == 0,
        (IpAddr::V6(a), IpAddr::V6(n)) => {
            (a.to_bits() ^ n.to_bits()).checked_shr(drop(128)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

/// `host:port` or `[v6]:port` as host without brackets, and port. A bare IPv6 address has no port.
pub(crate) fn split_port(address: &str) -> (&str, Option<&str>) {
    if let Some(rest) = address.strip_prefix('[') {
        let (host, tail) = rest.split_once(']').unwrap_or((rest, ""));
        return (host, tail.strip_prefix(':'));
    }
    match address.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, Some(port)),
        Some(_) | None => (address, None),
    }
}

/// Undoes percent-encoding; what is not valid stays as it is.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let byte = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(no_proxy: &str) -> ProxyRules {
        ProxyRules::from_env(|name| match name {
            "HTTPS_PROXY" => Some("http://secure:3128".into()),
            "http_proxy" => Some("plain:8080".into()),
            "NO_PROXY" => Some(no_proxy.into()),
            _ => None,
        })
        .unwrap()
    }

    #[test]
    fn exceptions_match_as_in_go() {
        for (case, no_proxy, host, port, proxied) in [
            ("none", "", "api.example.com", 443, true),
            ("everything", "*", "api.example.com", 443, false),
            ("the domain itself", "example.com", "example.com", 443, false),
            (
                "a bare domain implies subdomains",
                "example.com",
                "api.example.com",
                443,
                false,
            ),
            (
                "not every suffix is a subdomain",
                "example.com",
                "badexample.com",
                443,
                true,
            ),
            (
                "a leading dot leaves the domain out",
                ".example.com",
                "example.com",
                443,
                true,
            ),
            (
                "a leading dot takes subdomains",
                ".example.com",
                "a.example.com",
                443,
                false,
            ),
            (
                "a star is a leading dot",
                "*.example.com",
                "a.example.com",
                443,
                false,
            ),
            (
                "letter case and spaces",
                " Example.COM , x",
                "API.example.com",
                443,
                false,
            ),
            ("a trailing dot", "example.com", "api.example.com.", 443, false),
            ("the port given", "example.com:8443", "example.com", 8443, false),
            ("another port", "example.com:8443", "example.com", 443, true),
            ("an address", "10.1.2.3", "10.1.2.3", 443, false),
            ("an address and port", "10.1.2.3:6443", "10.1.2.3", 443, true),
            ("a network", "10.96.0.0/12", "10.96.0.1", 443, false),
            ("outside the network", "10.96.0.0/12", "10.112.0.1", 443, true),
            ("every address", "0.0.0.0/0", "8.8.8.8", 443, false),
            ("a name is in no network", "0.0.0.0/0", "example.com", 443, true),
            ("an IPv6 network", "fd00::/8", "fd00::1", 443, false),
            ("an IPv6 address and port", "[fd00::1]:443", "fd00::1", 443, false),
            (
                "a bad network matches nothing",
                "10.0.0.0/99",
                "10.0.0.1",
                443,
                true,
            ),
            ("localhost", "", "localhost", 443, false),
            ("loopback", "", "127.8.0.1", 443, false),
            ("IPv6 loopback", "", "::1", 443, false),
        ] {
            let found = rules(no_proxy).decide(true, host, port).is_some();
            assert_eq!(found, proxied, "{case}: {no_proxy:?} {host}:{port}");
        }
    }

    #[test]
    fn the_scheme_picks_the_proxy() {
        let rules = rules("");
        assert_eq!(
            rules.decide(true, "a.b", 443).unwrap().to_string(),
            "http://secure:3128"
        );
        assert_eq!(
            rules.decide(false, "a.b", 80).unwrap().to_string(),
            "http://plain:8080"
        );
        assert_eq!(
            ProxyRules::from_env(|_| None).unwrap().decide(true, "a.b", 443),
            None
        );
    }

    #[test]
    fn capitals_win_and_empty_counts_as_unset() {
        let read = |pairs: &'static [(&str, &str)]| {
            let rules = ProxyRules::from_env(|name| {
                pairs
                    .iter()
                    .find(|(n, _)| *n == name)
                    .map(|(_, v)| (*v).to_owned())
            });
            rules.unwrap().decide(true, "a.b", 443).map(ToString::to_string)
        };
        assert_eq!(
            read(&[("https_proxy", "low:1"), ("HTTPS_PROXY", "high:2")]).as_deref(),
            Some("http://high:2")
        );
        assert_eq!(
            read(&[("https_proxy", "low:1"), ("HTTPS_PROXY", " ")]).as_deref(),
            Some("http://low:1")
        );
    }

    #[test]
    fn urls_are_read_or_refused() {
        let parse = |url| ProxyUrl::parse("HTTPS_PROXY", url);
        let full = parse("http://us%40er:p%3Ass@[fd00::1]:3128/").unwrap();
        assert_eq!((full.host.as_str(), full.port), ("fd00::1", 3128));
        assert_eq!(full.credentials, Some(("us@er".into(), Secret::new("p:ss"))));
        assert_eq!(parse("proxy").unwrap().port, 80);
        for (case, url) in [
            ("TLS to the proxy", "https://proxy:443"),
            ("SOCKS", "socks5://proxy:1080"),
            ("another scheme", "ftp://proxy"),
            ("no host", "http://:3128"),
            ("a bad port", "http://proxy:port"),
        ] {
            assert!(parse(url).is_err(), "{case}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let proxy = ProxyUrl::parse("x", "http://user:hunter2@proxy:1").unwrap();
        let rules = ProxyRules::always(proxy.clone());
        let error = ProxyUrl::parse("x", "socks5://user:hunter2@proxy:1").unwrap_err();
        for text in [
            format!("{proxy:?} {proxy}"),
            format!("{rules:?}"),
            format!("{error} {error:?}"),
        ] {
            assert!(!text.contains("hunter2") && !text.contains("user"), "{text}");
        }
    }

    #[test]
    fn an_explicit_proxy_takes_everything() {
        let rules = ProxyRules::always(ProxyUrl::parse("x", "proxy").unwrap());
        assert!(rules.decide(true, "127.0.0.1", 6443).is_some());
    }
}
