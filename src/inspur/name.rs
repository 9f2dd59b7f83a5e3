//! Who made a listener is written in its name.
//!
//! `k8s_<cluster-id>_<namespace>_<service>_<protocol><port>`, such as `k8s_0a1b2c3d_shop_web_tcp80`. Where that is too long,
//! namespace and service give way to a hash of both. None of the parts can hold an underscore, so a name reads in one way only.

use std::fmt;

use super::model::{Frontend, Listener, Protocol};
use crate::k8s::types::Service;

/// The longest name, in bytes. `Assumed:`
const LONGEST: usize = 64;

/// Hex digits of the hash: 128 bits.
const HASH_DIGITS: usize = 32;

/// Which cluster this is, in names in the cloud: `[a-z0-9]([-a-z0-9]{0,14}[a-z0-9])?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterId(Box<str>);

impl ClusterId {
    /// The id, if `text` is one.
    pub fn parse(text: &str) -> Option<Self> {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let fits = (1..=16).contains(&text.len()) && text.bytes().all(inner);
        let ends = text.starts_with('-') || text.ends_with('-');
        (fits && !ends).then(|| Self(text.into()))
    }

    /// The id where no config gives one: the first eight hex digits of the UID of the namespace `kube-system`.
    pub fn of_uid(uid: &str) -> Option<Self> {
        let digits = uid
            .get(..8)
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        Self::parse(&digits?.to_ascii_lowercase())
    }

    /// As it stands in names.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A Service of a cluster, as the maker of listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    cluster: ClusterId,
    namespace: Box<str>,
    service: Box<str>,
}

impl Owner {
    /// `service` of the cluster called `cluster`.
    pub fn new(cluster: &ClusterId, service: &Service) -> Self {
        Self {
            cluster: cluster.clone(),
            namespace: service.meta.namespace.clone(),
            service: service.meta.name.clone(),
        }
    }

    /// The name of its listener on `frontend`.
    pub fn listener_name(&self, frontend: Frontend) -> Box<str> {
        let name = |middle: &str| {
            let protocol = frontend.protocol.as_str().to_ascii_lowercase();
            format!("k8s_{}_{middle}_{protocol}{}", self.cluster, frontend.port)
        };
        let middle = format!("{}_{}", self.namespace, self.service);
        let plain = name(&middle);
        if plain.len() <= LONGEST {
            plain.into()
        } else {
            name(&hash(&middle)).into()
        }
    }

    /// Whether it made `listener`: the name is the one that it gives a listener there.
    pub fn owns(&self, listener: &Listener) -> bool {
        listener
            .frontend()
            .is_some_and(|frontend| self.listener_name(frontend) == listener.name)
    }

    /// Who made `listener`, in words.
    pub fn describe_maker(&self, listener: &Listener) -> String {
        match Maker::of(&listener.name) {
            Maker::Service { cluster, service } if cluster == self.cluster => {
                let service = service.unwrap_or("another Service".into());
                format!("that of {service}")
            }
            Maker::Service { cluster, .. } => format!("made by cluster {cluster}"),
            Maker::Somebody => "not made by this controller".into(),
        }
    }
}

/// Who a name says made a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Maker {
    /// A controller like this one.
    Service {
        cluster: ClusterId,
        /// `None` where the name holds its hash.
        service: Option<Box<str>>,
    },
    /// Anybody else.
    Somebody,
}

impl Maker {
    fn of(name: &str) -> Self {
        let parts: Vec<&str> = name.split('_').collect();
        let (cluster, service, frontend) = match *parts {
            ["k8s", cluster, namespace, service, frontend] => (
                cluster,
                Some(format!("Service {namespace}/{service}").into()),
                frontend,
            ),
            ["k8s", cluster, hash, frontend] if hash.len() == HASH_DIGITS => (cluster, None, frontend),
            _ => return Self::Somebody,
        };
        match ClusterId::parse(cluster) {
            Some(cluster) if parse_frontend(frontend).is_some() => Self::Service { cluster, service },
            _ => Self::Somebody,
        }
    }
}

fn parse_frontend(text: &str) -> Option<Frontend> {
    let (protocol, port) = match text.strip_prefix("tcp") {
        Some(port) => (Protocol::Tcp, port),
        None => (Protocol::Udp, text.strip_prefix("udp")?),
    };
    Frontend::new(protocol, port.parse().ok()?)
}

fn hash(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    hex[..HASH_DIGITS].into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::inspur::model::ListenerProtocol;

    fn owner(cluster: &str, namespace: &str, service: &str) -> Owner {
        let mut object = Service::default();
        object.meta.namespace = namespace.into();
        object.meta.name = service.into();
        Owner::new(&ClusterId::parse(cluster).unwrap(), &object)
    }

    fn tcp(port: u16) -> Frontend {
        Frontend::new(Protocol::Tcp, port).unwrap()
    }

    fn listener(name: &str, protocol: Protocol, port: u16) -> Listener {
        Listener {
            id: "l-1".into(),
            name: name.into(),
            protocol: ListenerProtocol::Plain(protocol),
            port,
            settings: None,
        }
    }

    #[test]
    fn a_cluster_id_is_short_and_plain() {
        for (text, ok) in [
            ("0a1b2c3d", true),
            ("a", true),
            ("prod-1", true),
            ("0123456789abcdef", true),
            ("0123456789abcdefg", false),
            ("", false),
            ("-a", false),
            ("a-", false),
            ("A", false),
            ("a_b", false),
            ("ä", false),
        ] {
            assert_eq!(ClusterId::parse(text).is_some(), ok, "{text:?}");
        }
    }

    #[test]
    fn a_name_says_who_made_the_listener() {
        let owner = owner("0a1b2c3d", "shop", "web");
        assert_eq!(&*owner.listener_name(tcp(80)), "k8s_0a1b2c3d_shop_web_tcp80");
        let udp = Frontend::new(Protocol::Udp, 53).unwrap();
        assert_eq!(&*owner.listener_name(udp), "k8s_0a1b2c3d_shop_web_udp53");
    }

    #[test]
    fn a_long_name_holds_a_hash_that_does_not_change() {
        let owner = owner(
            "0a1b2c3d",
            "a-namespace-of-some-length",
            "a-service-of-some-length",
        );
        // printf %s a-namespace-of-some-length_a-service-of-some-length | sha256sum | cut -c1-32
        assert_eq!(
            &*owner.listener_name(tcp(80)),
            "k8s_0a1b2c3d_f5cc0dfc2b05ce45f64206e5b0aa28b5_tcp80"
        );
    }

    #[test]
    fn only_the_listener_with_the_expected_name_is_owned() {
        let owner = owner("c1", "shop", "web");
        for (case, listener, ours, maker) in [
            (
                "ours",
                listener("k8s_c1_shop_web_tcp80", Protocol::Tcp, 80),
                true,
                "that of Service shop/web",
            ),
            (
                "ours, renumbered",
                listener("k8s_c1_shop_web_tcp80", Protocol::Tcp, 81),
                false,
                "that of Service shop/web",
            ),
            (
                "ours on UDP",
                listener("k8s_c1_shop_web_tcp80", Protocol::Udp, 80),
                false,
                "that of Service shop/web",
            ),
            (
                "a sibling",
                listener("k8s_c1_shop_web2_tcp80", Protocol::Tcp, 80),
                false,
                "that of Service shop/web2",
            ),
            (
                "a sibling with a long name",
                listener("k8s_c1_0123456789abcdef0123456789abcdef_tcp80", Protocol::Tcp, 80),
                false,
                "that of another Service",
            ),
            (
                "another cluster's",
                listener("k8s_c2_shop_web_tcp80", Protocol::Tcp, 80),
                false,
                "made by cluster c2",
            ),
            (
                "the old controller's",
                listener("listener_30080_0", Protocol::Tcp, 80),
                false,
                "not made by this controller",
            ),
            (
                "nameless",
                listener("", Protocol::Tcp, 80),
                false,
                "not made by this controller",
            ),
            (
                "half a name",
                listener("k8s_c1_shop_tcp80", Protocol::Tcp, 80),
                false,
                "not made by this controller",
            ),
            (
                "no port",
                listener("k8s_c1_shop_web_tcp0", Protocol::Tcp, 80),
                false,
                "not made by this controller",
            ),
            (
                "no cluster id",
                listener("k8s_C1_shop_web_tcp80", Protocol::Tcp, 80),
                false,
                "not made by this controller",
            ),
        ] {
            assert_eq!(owner.owns(&listener), ours, "{case}");
            assert_eq!(owner.describe_maker(&listener), maker, "{case}");
        }
    }

    proptest! {
        #[test]
        fn names_fit_and_no_two_services_share_one(
            cluster in "[a-z0-9]([-a-z0-9]{0,14}[a-z0-9])?",
            one in ("[a-z0-9]{1,63}", "[a-z]([-a-z0-9]{0,61}[a-z0-9])?"),
            two in ("[a-z0-9]{1,63}", "[a-z]([-a-z0-9]{0,61}[a-z0-9])?"),
            port in 1u16..,
        ) {
            let name = |(ns, service): &(String, String)| owner(&cluster, ns, service).listener_name(tcp(port));
            prop_assert!(name(&one).len() <= LONGEST, "{}", name(&one));
            prop_assert_eq!(one == two, name(&one) == name(&two));
            let made_in_this_cluster = matches!(
                Maker::of(&name(&one)),
                Maker::Service { cluster: c, .. } if c.as_str() == cluster
            );
            prop_assert!(made_in_this_cluster);
        }
    }
}
