//! From what the ECS API shows to what controllers write on a Node. Pure.

use std::net::IpAddr;

use super::Place;
use super::identity::provider_id;
use super::reason;
use crate::cloud::{Error, Instance};
use crate::inspur::model::Machine;
use crate::k8s::types::NodeAddress;

/// Label: the VPC of a Node's instance.
const VPC_LABEL: &str = "node.inspur.com/vpc-id";
/// Label: the subnet of a Node's instance.
const SUBNET_LABEL: &str = "node.inspur.com/subnet-id";

/// `machine` for controllers; `place` where the API does not tell. What could not stand in a label is left out: the API server
/// would refuse the whole Node for it.
///
/// # Errors
/// [`Error::Rejected`] when one of its addresses is none.
pub(super) fn instance(machine: &Machine, place: &Place) -> Result<Instance, Error> {
    let labels = [(VPC_LABEL, &machine.vpc), (SUBNET_LABEL, &machine.subnet)];
    let or = |text: &str, else_: &Option<Box<str>>| match label_value(text) {
        "" => else_.clone().unwrap_or_default(),
        text => text.into(),
    };
    Ok(Instance {
        provider_id: provider_id(&machine.id),
        addresses: addresses(machine)?,
        instance_type: label_value(&machine.instance_type).into(),
        zone: or(&machine.zone, &place.zone),
        region: or(&machine.region, &place.region),
        labels: labels
            .into_iter()
            .filter(|(_, value)| !label_value(value).is_empty())
            .map(|(key, value)| (key.into(), value.clone()))
            .collect(),
        state: machine.state,
    })
}

fn addresses(machine: &Machine) -> Result<Vec<NodeAddress>, Error> {
    let internal = machine.private_ips.iter().chain(&machine.ipv6s);
    let internal = internal.map(|ip| ("InternalIP", ip));
    let external = Some(&machine.eip).filter(|ip| !ip.is_empty());
    let mut all: Vec<NodeAddress> = Vec::new();
    for (type_, address) in internal.chain(external.map(|ip| ("ExternalIP", ip))) {
        if address.parse::<IpAddr>().is_err() {
            return Err(Error::Rejected {
                reason: reason::ADDRESS_INVALID,
                message: format!(
                    "instance {} has {address:?} for an address, which is none",
                    machine.id
                ),
            });
        }
        let address = NodeAddress {
            type_: type_.into(),
            address: address.clone(),
        };
        if !all.contains(&address) {
            all.push(address);
        }
    }
    let host_name = Some(&machine.host_name).filter(|name| !name.is_empty());
    all.extend(host_name.map(|name| NodeAddress {
        type_: "Hostname".into(),
        address: name.clone(),
    }));
    Ok(all)
}

/// `text`, or nothing where a label cannot hold it. Source: kubernetes/apimachinery, pkg/util/validation, IsValidLabelValue.
fn label_value(text: &str) -> &str {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    let inside = bytes
        .iter()
        .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b));
    let fits = bytes.len() <= 63 && inside && edge(bytes.first()) && edge(bytes.last());
    if fits { text } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(instance: &Instance) -> Vec<String> {
        let all = instance.addresses.iter();
        all.map(|a| format!("{} {}", a.type_, a.address)).collect()
    }

    #[test]
    fn addresses_come_in_the_order_of_the_cloud() {
        let machine = Machine {
            id: "i-1".into(),
            host_name: "n1.local".into(),
            private_ips: vec!["10.0.0.2".into(), "10.0.0.1".into(), "10.0.0.2".into()],
            ipv6s: vec!["FD00::1".into()],
            eip: "203.0.113.1".into(),
            ..Machine::default()
        };
        let found = instance(&machine, &Place::default()).unwrap();
        let want = [
            "InternalIP 10.0.0.2",
            "InternalIP 10.0.0.1",
            "InternalIP FD00::1",
            "ExternalIP 203.0.113.1",
            "Hostname n1.local",
        ];
        assert_eq!(shown(&found), want);
        assert_eq!(&*found.provider_id, "incloud://i-1");

        let bare = Machine {
            id: "i-1".into(),
            ..Machine::default()
        };
        assert_eq!(instance(&bare, &Place::default()).unwrap().addresses, []);
    }

    #[test]
    fn an_address_that_is_none_is_named() {
        let machine = |private: &str, v6: &str, eip: &str| Machine {
            id: "i-1".into(),
            private_ips: vec![private.into()],
            ipv6s: vec![v6.into()],
            eip: eip.into(),
            ..Machine::default()
        };
        for (bad, machine) in [
            ("10.0.0.256", machine("10.0.0.256", "fd00::1", "")),
            ("fd00::1/64", machine("10.0.0.1", "fd00::1/64", "")),
            ("pending", machine("10.0.0.1", "fd00::1", "pending")),
        ] {
            let error = instance(&machine, &Place::default()).unwrap_err();
            assert_eq!(error.reason(), Some(reason::ADDRESS_INVALID), "{bad}");
            assert_eq!(
                error.to_string(),
                format!("instance i-1 has {bad:?} for an address, which is none")
            );
        }
    }

    #[test]
    fn what_the_api_server_would_refuse_in_a_label_is_left_out() {
        let long = "a".repeat(64);
        for (case, told, want) in [
            ("good", "cn-north-3a", "cn-north-3a"),
            ("signs", "a_B.1", "a_B.1"),
            ("not told", "", ""),
            ("too long", &long, ""),
            ("a space", "a b", ""),
            ("a dash at the end", "a-", ""),
            ("Chinese", "华北", ""),
        ] {
            let machine = Machine {
                id: "i-1".into(),
                instance_type: told.into(),
                zone: told.into(),
                region: told.into(),
                vpc: told.into(),
                subnet: told.into(),
                ..Machine::default()
            };
            let found = instance(&machine, &Place::default()).unwrap();
            assert_eq!(
                [&*found.instance_type, &*found.zone, &*found.region],
                [want; 3],
                "{case}"
            );
            let labels = [VPC_LABEL, SUBNET_LABEL].map(|key| (key.into(), want.into()));
            let labels = if want.is_empty() { vec![] } else { labels.to_vec() };
            assert_eq!(found.labels, labels, "{case}");

            let place = Place {
                region: Some("r".into()),
                zone: Some("z".into()),
            };
            let found = instance(&machine, &place).unwrap();
            let want = if want.is_empty() { ["z", "r"] } else { [want; 2] };
            assert_eq!(
                [&*found.zone, &*found.region],
                want,
                "{case}, with a place configured"
            );
        }
    }
}
