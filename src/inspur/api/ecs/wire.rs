//! Instances as the API answers them, decoded as leniently as the rest. Source: inspur-api.md 4.
//!
//! One difference: an element that cannot be told spoils the whole list, since what a list does not hold is a proof here.

use serde::Deserialize;

use crate::cloud::InstanceState;
use crate::inspur::api::loose::Loose;
use crate::inspur::api::wire::json;
use crate::inspur::model::Machine;

/// The instances of a page. `null` is none.
///
/// # Errors
/// In words, when it is no such JSON, or an element has no id.
pub(super) fn machines(body: &[u8]) -> Result<Vec<Machine>, String> {
    let wires: Option<Vec<InstanceWire>> = json(body)?;
    wires
        .unwrap_or_default()
        .into_iter()
        .map(InstanceWire::parse)
        .collect()
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct InstanceWire {
    instance_id: Loose,
    instance_name: Loose,
    host_name: Loose,
    status: Loose,
    instance_type: Loose,
    region_id: Loose,
    zone_id: Loose,
    vpc_id: Loose,
    subnet_id: Loose,
    private_ips: Texts,
    ipv6s: Texts,
    eip_address: Loose,
}

/// A list, or the one that it would hold.
#[derive(Deserialize)]
#[serde(untagged)]
enum Texts {
    Many(Vec<Loose>),
    One(Loose),
}

impl Default for Texts {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl InstanceWire {
    fn parse(self) -> Result<Machine, String> {
        let id = self.instance_id.text().ok_or("an instance without instanceId")?;
        Ok(Machine {
            id: id.into(),
            name: text(&self.instance_name),
            host_name: text(&self.host_name),
            state: state(self.status.text().unwrap_or_default()),
            instance_type: text(&self.instance_type),
            region: text(&self.region_id),
            zone: text(&self.zone_id),
            vpc: text(&self.vpc_id),
            subnet: text(&self.subnet_id),
            private_ips: self.private_ips.read(),
            ipv6s: self.ipv6s.read(),
            eip: text(&self.eip_address),
        })
    }
}

impl Texts {
    /// What says nothing is left out.
    fn read(&self) -> Vec<Box<str>> {
        let all = match self {
            Self::Many(all) => all.as_slice(),
            Self::One(one) => std::slice::from_ref(one),
        };
        all.iter().map(text).filter(|text| !text.is_empty()).collect()
    }
}

/// A list or an object where a text belongs is kept as one that is no address and no label, for whoever checks that.
fn text(value: &Loose) -> Box<str> {
    match value {
        Loose::Missing => "".into(),
        Loose::Text(text) => text.clone(),
        Loose::Odd => "(not a text)".into(),
    }
}

fn state(status: &str) -> InstanceState {
    match &*status.to_ascii_uppercase() {
        "STOPPED" | "SUSPENDED" => InstanceState::ShutDown,
        "TERMINATED" => InstanceState::Ended,
        _ => InstanceState::Up,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_decodes_in_every_spelling() {
        let full = Machine {
            id: "i-1".into(),
            name: "n1".into(),
            host_name: "n1.local".into(),
            state: InstanceState::ShutDown,
            instance_type: "c5.large".into(),
            region: "cn-north-3".into(),
            zone: "cn-north-3a".into(),
            vpc: "vpc-1".into(),
            subnet: "7".into(),
            private_ips: vec!["10.0.0.1".into(), "10.0.0.2".into()],
            ipv6s: vec!["fd00::1".into()],
            eip: "203.0.113.1".into(),
        };
        let bare = |id: &str| Machine {
            id: id.into(),
            ..Machine::default()
        };
        for (case, json, want) in [
            (
                "as written",
                r#"{"instanceId":"i-1","instanceName":"n1","hostName":"n1.local","status":"STOPPED","instanceType":"c5.large",
                "regionId":"cn-north-3","zoneId":"cn-north-3a","vpcId":"vpc-1","subnetId":7,"privateIps":["10.0.0.1","10.0.0.2"],
                "ipv6s":["fd00::1"],"eipAddress":"203.0.113.1","tags":{"a":"b"},"new":[{}]}"#,
                full,
            ),
            (
                "an id as a number, nulls",
                r#"{"instanceId":17,"instanceName":null,"status":null,"privateIps":null,"ipv6s":[null,""],"eipAddress":""}"#,
                bare("17"),
            ),
            ("the id alone", r#"{"instanceId":"i-1"}"#, bare("i-1")),
            (
                "one address without a list",
                r#"{"instanceId":"i-1","privateIps":"10.0.0.1"}"#,
                Machine {
                    private_ips: vec!["10.0.0.1".into()],
                    ..bare("i-1")
                },
            ),
            (
                "an address that is no text",
                r#"{"instanceId":"i-1","privateIps":[{"ip":"10.0.0.1"}]}"#,
                Machine {
                    private_ips: vec!["(not a text)".into()],
                    ..bare("i-1")
                },
            ),
        ] {
            assert_eq!(
                machines(format!("[{json}]").as_bytes()).unwrap(),
                [want],
                "{case}"
            );
        }
        assert_eq!(machines(b" null ").unwrap(), []);
    }

    #[test]
    fn a_status_says_shut_down_or_ended_or_nothing() {
        for (status, want) in [
            ("PENDING", InstanceState::Up),
            ("RUNNING", InstanceState::Up),
            ("STOPPING", InstanceState::Up),
            ("STOPPED", InstanceState::ShutDown),
            ("suspended", InstanceState::ShutDown),
            ("TERMINATED", InstanceState::Ended),
            ("ERROR", InstanceState::Up),
            ("MIGRATING", InstanceState::Up),
            ("", InstanceState::Up),
        ] {
            assert_eq!(state(status), want, "{status}");
        }
    }

    #[test]
    fn what_is_no_list_of_instances_is_an_error() {
        for (case, body) in [
            ("empty", ""),
            ("blank", " \n"),
            ("HTML", "<html><body>502</body></html>"),
            ("truncated", r#"[{"instanceId":"i-1"},{"instan"#),
            ("truncated between two", r#"[{"instanceId":"i-1"},"#),
            ("an object", r#"{"code":"200","data":[]}"#),
            (
                "one without an id",
                r#"[{"instanceId":"i-1"},{"status":"RUNNING"}]"#,
            ),
            ("a hole", r#"[{"instanceId":"i-1"},null]"#),
            ("two values", "[][]"),
        ] {
            assert!(machines(body.as_bytes()).is_err(), "{case}");
        }
    }
}
