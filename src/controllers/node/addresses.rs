//! Which addresses a Node should have.

use std::net::{IpAddr, Ipv4Addr};

use crate::k8s::types::{Node, NodeAddress};

/// Kubelet's annotation with what it was told by `--node-ip`. Source: ccm-behaviour.md 3.5.
const PROVIDED_NODE_IP: &str = "alpha.kubernetes.io/provided-node-ip";

const HOSTNAME: &str = "Hostname";

/// Why a Node cannot have the addresses that the cloud gives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The cloud gives something else where an address should be.
    #[error("the cloud gives {address:?} as {type_}, which is no IP address")]
    NoAddress {
        /// `InternalIP` or `ExternalIP`.
        type_: Box<str>,
        /// What it gives.
        address: Box<str>,
    },
    /// The annotation cannot be read.
    #[error(
        "the annotation {PROVIDED_NODE_IP} is {value:?}: {fault}; give kubelet another --node-ip, which sets it"
    )]
    NodeIp {
        /// The annotation's.
        value: Box<str>,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// The annotation asks for an address that the instance does not have, or not yet.
    #[error(
        "the annotation {PROVIDED_NODE_IP} asks for {ip}, but the cloud gives the instance no such address"
    )]
    NotOfInstance {
        /// The address.
        ip: IpAddr,
    },
}

/// The whole list to write for `node` if its instance has the addresses `cloud`; `None` when it should stay as it is.
///
/// The Node keeps its host names where the cloud gives none. Source: ccm-behaviour.md 3.5, 3.8.
///
/// # Errors
/// The list makes no sense, or the annotation of the provided node IP does not fit it.
pub(super) fn wanted(node: &Node, cloud: &[NodeAddress]) -> Result<Option<Vec<NodeAddress>>, AddressError> {
    check(cloud)?;
    let provided = node
        .meta
        .annotations
        .get(PROVIDED_NODE_IP)
        .map(node_ips)
        .transpose()?;
    let mut wanted = cloud.to_vec();
    if let Some(ips) = &provided {
        wanted = with_node_ips(ips, wanted)?;
    }
    if cloud.is_empty() {
        return Ok(None);
    }
    if !cloud.iter().any(|address| &*address.type_ == HOSTNAME) {
        let kept = node
            .addresses
            .iter()
            .filter(|address| &*address.type_ == HOSTNAME);
        wanted.extend(kept.cloned());
    }
    let mut unique: Vec<NodeAddress> = Vec::with_capacity(wanted.len());
    for address in wanted {
        // the server refuses to have one twice
        if !unique.contains(&address) {
            unique.push(address);
        }
    }
    Ok((!is_same(&node.addresses, &unique)).then_some(unique))
}

fn check(cloud: &[NodeAddress]) -> Result<(), AddressError> {
    let is_ip = |address: &NodeAddress| matches!(&*address.type_, "InternalIP" | "ExternalIP");
    match cloud
        .iter()
        .find(|address| is_ip(address) && parse(&address.address).is_none())
    {
        None => Ok(()),
        Some(NodeAddress { type_, address }) => Err(AddressError::NoAddress {
            type_: type_.clone(),
            address: address.clone(),
        }),
    }
}

/// Whether both hold the same addresses of each type in the same order. The order across types means nothing.
fn is_same(a: &[NodeAddress], b: &[NodeAddress]) -> bool {
    let by_type = |addresses: &[NodeAddress]| {
        let mut sorted = addresses.to_vec();
        sorted.sort_by(|a, b| a.type_.cmp(&b.type_));
        sorted
    };
    by_type(a) == by_type(b)
}

/// What the annotation asks for: one address, or one of each family.
fn node_ips(value: &str) -> Result<Vec<IpAddr>, AddressError> {
    let fault = |fault| AddressError::NodeIp {
        value: value.into(),
        fault,
    };
    let ips: Option<Vec<IpAddr>> = value.split(',').map(parse).collect();
    let ips = ips.ok_or_else(|| fault("not IP addresses separated by commas alone"))?;
    match &*ips {
        [_] => Ok(ips),
        [a, b] if a.is_ipv4() == b.is_ipv4() => Err(fault("two addresses of one family")),
        [a, b] if a.is_unspecified() || b.is_unspecified() => {
            Err(fault("a pair with an unspecified address"))
        }
        [_, _] => Ok(ips),
        _ => Err(fault("more than two addresses")),
    }
}

/// Those addresses of the cloud that are one of `ips`, in the order of `ips`, then those of types that none of them has.
fn with_node_ips(ips: &[IpAddr], cloud: Vec<NodeAddress>) -> Result<Vec<NodeAddress>, AddressError> {
    let mut kept: Vec<NodeAddress> = Vec::new();
    for ip in ips {
        let before = kept.len();
        kept.extend(
            cloud
                .iter()
                .filter(|address| parse(&address.address) == Some(*ip))
                .cloned(),
        );
        if kept.len() == before {
            return Err(AddressError::NotOfInstance { ip: *ip });
        }
    }
    let is_claimed = |type_: &str| kept.iter().any(|address| &*address.type_ == type_);
    let others: Vec<NodeAddress> = cloud
        .iter()
        .filter(|address| !is_claimed(&address.type_))
        .cloned()
        .collect();
    kept.extend(others);
    Ok(kept)
}

/// An address, its octets perhaps with leading zeros; one of IPv4 in the clothes of IPv6 is one of IPv4.
/// Source: ccm-behaviour.md 3.5; Kubernetes, k8s.io/utils/net `ParseIPSloppy`.
fn parse(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text.parse().ok().map(|ip: IpAddr| ip.to_canonical());
    }
    let octet = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| match part.trim_start_matches('0') {
            "" => Some(0),
            number => number.parse::<u8>().ok(),
        })?
    };
    let octets: Vec<u8> = text.split('.').map(octet).collect::<Option<_>>()?;
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `I 10.0.0.1, E 1.2.3.4, H n1` as a list.
    fn addresses(text: &str) -> Vec<NodeAddress> {
        let one = |word: &str| {
            let (type_, address) = word.split_once(' ').unwrap();
            let type_ = match type_ {
                "I" => "InternalIP",
                "E" => "ExternalIP",
                "H" => "Hostname",
                other => other,
            };
            NodeAddress {
                type_: type_.into(),
                address: address.into(),
            }
        };
        text.split(", ")
            .filter(|word| !word.is_empty())
            .map(one)
            .collect()
    }

    fn node(has: &str, node_ip: Option<&str>) -> Node {
        let mut node = Node {
            addresses: addresses(has).into(),
            ..Node::default()
        };
        node.meta.annotations = node_ip.map(|ip| (PROVIDED_NODE_IP, ip)).into_iter().collect();
        node
    }

    #[test]
    fn a_node_gets_what_differs_and_nothing_else() {
        for (case, has, cloud, want) in [
            ("nothing known", "I 10.0.0.1", "", None),
            ("the same", "I 10.0.0.1, H n1", "I 10.0.0.1, H n1", None),
            (
                "another order of types",
                "H n1, I 10.0.0.1",
                "I 10.0.0.1, H n1",
                None,
            ),
            (
                "the same, dual stack",
                "I 10.0.0.1, I fd00::1",
                "I 10.0.0.1, I fd00::1",
                None,
            ),
            ("the host name stays", "H n1, I 10.0.0.1", "I 10.0.0.1", None),
            (
                "another order within a type",
                "I fd00::1, I 10.0.0.1",
                "I 10.0.0.1, I fd00::1",
                Some("I 10.0.0.1, I fd00::1"),
            ),
            (
                "one more, and the host names stay",
                "H n1, H n1.local, I 10.0.0.1",
                "I 10.0.0.1, E 1.2.3.4",
                Some("I 10.0.0.1, E 1.2.3.4, H n1, H n1.local"),
            ),
            (
                "one less",
                "I 10.0.0.1, E 1.2.3.4",
                "I 10.0.0.1",
                Some("I 10.0.0.1"),
            ),
            ("a host name of the cloud", "H n1", "H n2", Some("H n2")),
            ("the first", "", "I 10.0.0.1", Some("I 10.0.0.1")),
            ("twice the same", "", "I 10.0.0.1, I 10.0.0.1", Some("I 10.0.0.1")),
            ("another type", "I 10.0.0.1", "E 10.0.0.1", Some("E 10.0.0.1")),
        ] {
            let want = want.map(addresses);
            assert_eq!(wanted(&node(has, None), &addresses(cloud)), Ok(want), "{case}");
        }
    }

    #[test]
    fn the_provided_node_ip_chooses_among_the_clouds_addresses() {
        let cloud = "I 10.0.0.1, I 10.0.0.2, I fd00::1, E 1.2.3.4, H n1";
        for (case, ip, cloud, want) in [
            ("one", "10.0.0.2", cloud, "I 10.0.0.2, E 1.2.3.4, H n1"),
            (
                "both families, in its order",
                "fd00::1,10.0.0.2",
                cloud,
                "I fd00::1, I 10.0.0.2, E 1.2.3.4, H n1",
            ),
            (
                "of another type",
                "1.2.3.4",
                cloud,
                "E 1.2.3.4, I 10.0.0.1, I 10.0.0.2, I fd00::1, H n1",
            ),
            (
                "of two types",
                "10.0.0.1",
                "I 10.0.0.1, E 10.0.0.1, E 1.2.3.4",
                "I 10.0.0.1, E 10.0.0.1",
            ),
            (
                "leading zeros",
                "010.0.00.001",
                cloud,
                "I 10.0.0.1, E 1.2.3.4, H n1",
            ),
            (
                "the cloud's spelling stays",
                "fd00::1",
                "I FD00:0::1, I 10.0.0.1",
                "I FD00:0::1",
            ),
            (
                "IPv4 in IPv6",
                "::ffff:10.0.0.2",
                cloud,
                "I 10.0.0.2, E 1.2.3.4, H n1",
            ),
            (
                "a host name that is an address",
                "10.0.0.9",
                "I 10.0.0.1, H 10.0.0.9",
                "H 10.0.0.9, I 10.0.0.1",
            ),
        ] {
            let want = Some(addresses(want));
            assert_eq!(wanted(&node("", Some(ip)), &addresses(cloud)), Ok(want), "{case}");
        }
    }

    #[test]
    fn a_provided_node_ip_that_makes_no_sense_is_told() {
        let bad = |value: &str, fault| {
            Err(AddressError::NodeIp {
                value: value.into(),
                fault,
            })
        };
        let missing = |ip: &str| {
            Err(AddressError::NotOfInstance {
                ip: ip.parse().unwrap(),
            })
        };
        let (text, family) = (
            "not IP addresses separated by commas alone",
            "two addresses of one family",
        );
        for (value, cloud, want) in [
            ("", "I 10.0.0.1", bad("", text)),
            (
                "10.0.0.1, fd00::1",
                "I 10.0.0.1, I fd00::1",
                bad("10.0.0.1, fd00::1", text),
            ),
            ("10.0.0.256", "I 10.0.0.1", bad("10.0.0.256", text)),
            ("10.0.0", "I 10.0.0.1", bad("10.0.0", text)),
            ("fe80::1%eth0", "I fe80::1", bad("fe80::1%eth0", text)),
            (
                "10.0.0.1,10.0.0.2",
                "I 10.0.0.1, I 10.0.0.2",
                bad("10.0.0.1,10.0.0.2", family),
            ),
            (
                "10.0.0.1,::ffff:10.0.0.2",
                "I 10.0.0.1",
                bad("10.0.0.1,::ffff:10.0.0.2", family),
            ),
            (
                "10.0.0.1,::",
                "I 10.0.0.1",
                bad("10.0.0.1,::", "a pair with an unspecified address"),
            ),
            (
                "10.0.0.1,fd00::1,fd00::2",
                "I 10.0.0.1",
                bad("10.0.0.1,fd00::1,fd00::2", "more than two addresses"),
            ),
            ("10.0.0.2", "I 10.0.0.1", missing("10.0.0.2")),
            ("10.0.0.1,fd00::1", "I 10.0.0.1", missing("fd00::1")),
            ("10.0.0.1", "", missing("10.0.0.1")),
        ] {
            assert_eq!(
                wanted(&node("", Some(value)), &addresses(cloud)),
                want,
                "{value:?}"
            );
        }
        // what kubelet has written is no proof
        let has = node("H 10.0.0.9", Some("10.0.0.9"));
        assert_eq!(wanted(&has, &addresses("I 10.0.0.1")), missing("10.0.0.9"));
    }

    #[test]
    fn an_address_that_is_none_is_told() {
        for (cloud, ok) in [
            ("I 10.0.0.1, E ", false),
            ("I eth0", false),
            ("I 10.0.0.1/24", false),
            ("I 10.0.0.1, H n1, X anything", true),
        ] {
            assert_eq!(
                wanted(&node("", None), &addresses(cloud)).is_ok(),
                ok,
                "{cloud:?}"
            );
        }
    }
}
