//! JSON as the API takes it: exactly so, with every field.
//!
//! Knows no HTTP. Source: inspur-api.md 3.

use std::net::IpAddr;

use serde::Serialize;

use crate::inspur::model::{Backend, HealthCheck, ListenerSpec, Probe, ProbeKind};
use crate::runtime::secret::Secret;

/// Weight of a member we add. Source: inspur-api.md 3, MemberSpec.
const WEIGHT: u16 = 10;

/// What to send to create or update a listener: always every field.
pub(super) fn listener_spec(slb: &str, spec: &ListenerSpec) -> Vec<u8> {
    let off = Probe {
        kind: ProbeKind::Tcp,
        port: None,
        // the API wants them although nothing is probed. Source: inspur-api.md 3, old defaults
        period_seconds: 30,
        timeout_seconds: 1,
        tries: 1,
    };
    let (switch, probe) = match &spec.settings.health {
        HealthCheck::Off => ("0", &off),
        HealthCheck::On(probe) => ("1", probe),
    };
    let (kind, domain, path) = match &probe.kind {
        ProbeKind::Tcp => ("tcp", "", "/"),
        ProbeKind::Http { domain, path } => ("http", &**domain, &**path),
    };
    encode(&ListenerSpecWire {
        slb_id: slb,
        listener_name: &spec.name,
        protocol: spec.frontend.protocol.as_str(),
        port: spec.frontend.port.get(),
        forward_rule: spec.settings.rule.as_str(),
        is_health_check: switch,
        type_health_check: kind,
        port_health_check: probe.port.map_or(0, |port| port.get()),
        period_health_check: probe.period_seconds,
        timeout_health_check: probe.timeout_seconds,
        max_health_check: probe.tries,
        domain_health_check: domain,
        path_health_check: path,
    })
}

/// What to send to add members.
pub(super) fn member_specs(backends: &[Backend]) -> Vec<u8> {
    let specs: Vec<_> = backends
        .iter()
        .map(|backend| MemberSpecWire {
            server_id: &backend.server_id,
            server_name: &backend.server_name,
            server_ip: backend.address,
            port: backend.port.get(),
            type_: "ECS",
            weight: WEIGHT,
        })
        .collect();
    encode(&specs)
}

/// The value of `backendIdList` or `instanceIds`, not yet percent-encoded: a JSON array.
pub(super) fn id_list(ids: &[&str]) -> String {
    String::from_utf8(encode(&ids)).expect("JSON is UTF-8")
}

/// What to send for an IAM login.
pub(super) fn login(username: &str, password: &Secret) -> Vec<u8> {
    encode(&LoginWire {
        username,
        password: password.expose(),
    })
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain structs of text and numbers are JSON")
}

#[derive(Serialize)]
struct LoginWire<'a> {
    username: &'a str,
    password: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListenerSpecWire<'a> {
    slb_id: &'a str,
    listener_name: &'a str,
    protocol: &'a str,
    port: u16,
    forward_rule: &'a str,
    is_health_check: &'a str,
    type_health_check: &'a str,
    port_health_check: u16,
    period_health_check: u16,
    timeout_health_check: u16,
    max_health_check: u16,
    domain_health_check: &'a str,
    path_health_check: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberSpecWire<'a> {
    server_id: &'a str,
    server_name: &'a str,
    server_ip: IpAddr,
    port: u16,
    #[serde(rename = "type")]
    type_: &'a str,
    weight: u16,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspur::api::wire;
    use crate::inspur::model::{ForwardRule, Frontend, Protocol, Settings};
    use crate::inspur::testing::http_probe;

    fn spec(health: HealthCheck) -> ListenerSpec {
        ListenerSpec {
            name: "k8s_0a1b2c3d_shop_web_tcp80".into(),
            frontend: Frontend::new(Protocol::Tcp, 80).unwrap(),
            settings: Settings {
                rule: ForwardRule::WeightedRoundRobin,
                health,
            },
        }
    }

    #[test]
    fn a_listener_is_encoded_with_every_field() {
        for (case, health, want) in [
            (
                "checked",
                HealthCheck::On(http_probe()),
                r#"{"slbId":"slb-1","listenerName":"k8s_0a1b2c3d_shop_web_tcp80","protocol":"TCP","port":80,"forwardRule":"WRR","isHealthCheck":"1","typeHealthCheck":"http","portHealthCheck":31000,"periodHealthCheck":10,"timeoutHealthCheck":5,"maxHealthCheck":3,"domainHealthCheck":"shop.example","pathHealthCheck":"/healthz"}"#,
            ),
            (
                "unchecked",
                HealthCheck::Off,
                r#"{"slbId":"slb-1","listenerName":"k8s_0a1b2c3d_shop_web_tcp80","protocol":"TCP","port":80,"forwardRule":"WRR","isHealthCheck":"0","typeHealthCheck":"tcp","portHealthCheck":0,"periodHealthCheck":30,"timeoutHealthCheck":1,"maxHealthCheck":1,"domainHealthCheck":"","pathHealthCheck":"/"}"#,
            ),
        ] {
            let sent = String::from_utf8(listener_spec("slb-1", &spec(health))).unwrap();
            assert_eq!(sent, want, "{case}");
        }
    }

    #[test]
    fn members_are_encoded_as_an_array() {
        let backend = Backend {
            server_id: "i-1".into(),
            server_name: "n1".into(),
            address: "10.0.0.5".parse().unwrap(),
            port: 30080.try_into().unwrap(),
        };
        assert_eq!(
            String::from_utf8(member_specs(&[backend])).unwrap(),
            r#"[{"serverId":"i-1","serverName":"n1","serverIp":"10.0.0.5","port":30080,"type":"ECS","weight":10}]"#
        );
        assert_eq!(id_list(&["b-1", "b\"2"]), r#"["b-1","b\"2"]"#);
    }

    #[test]
    fn what_we_encode_decodes_to_the_same() {
        for health in [HealthCheck::Off, HealthCheck::On(http_probe())] {
            let spec = spec(health);
            let mut value: serde_json::Value =
                serde_json::from_slice(&listener_spec("slb-1", &spec)).unwrap();
            value["listenerId"] = "l-1".into();
            let found = wire::listener(value.to_string().as_bytes()).unwrap();
            assert_eq!(
                (found.name.clone(), found.frontend(), found.settings),
                (spec.name, Some(spec.frontend), Some(spec.settings))
            );
        }
    }
}
