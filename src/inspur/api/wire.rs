//! JSON as the API answers it, decoded leniently; what is sent is in [`super::encode`].
//!
//! Knows no HTTP. A number may come as text and the other way round, a switch as `"0"`, `0` or `false`, nothing as `null`, `""`
//! or a missing field. Source: inspur-api.md 2 and 3.

use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;

use super::loose::{Loose, Odd};
use crate::inspur::model::{
    ForwardRule, HealthCheck, Listener, ListenerProtocol, LoadBalancer, Member, Probe, ProbeKind, Protocol,
    Scheme, Settings,
};
use crate::runtime::json;
use crate::runtime::secret::Secret;

/// The SLBs of a describe. `null` is none.
///
/// # Errors
/// In words, when it is no such JSON, or an SLB has no id or an address that is none.
pub(super) fn load_balancers(body: &[u8]) -> Result<Vec<LoadBalancer>, String> {
    list(body, LoadBalancerWire::parse)
}

/// The listeners of an SLB. `null` is none.
///
/// # Errors
/// In words, when it is no such JSON, or a listener has no id.
pub(super) fn listeners(body: &[u8]) -> Result<Vec<Listener>, String> {
    list(body, ListenerWire::parse)
}

/// One listener.
///
/// # Errors
/// As [`listeners`].
pub(super) fn listener(body: &[u8]) -> Result<Listener, String> {
    json::<ListenerWire>(body)?.parse()
}

/// The members of a listener. `null` is none.
///
/// # Errors
/// In words, when it is no such JSON.
pub(super) fn members(body: &[u8]) -> Result<Vec<Member>, String> {
    list(body, |wire: MemberWire| Ok(wire.parse()))
}

/// What the cloud says beside the status code; both parts may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Words {
    /// The API's own code.
    pub code: Box<str>,
    /// For people.
    pub message: Box<str>,
}

impl std::fmt::Display for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&*self.code, &*self.message) {
            ("", "") => f.write_str("no reason given"),
            (text, "") | ("", text) => f.write_str(text),
            (code, message) => write!(f, "{code}: {message}"),
        }
    }
}

/// The `{"code", "message"}` of an answer.
///
/// # Errors
/// In words, when it is no JSON object.
pub(super) fn words(body: &[u8]) -> Result<Words, String> {
    let wire: WordsWire = json(body)?;
    let text = |field: &Loose| {
        field
            .text()
            .unwrap_or_default()
            .chars()
            .take(300)
            .collect::<String>()
    };
    Ok(Words {
        code: text(&wire.code).into(),
        message: text(&wire.message).into(),
    })
}

/// A token and how long it is good for, if that was told.
///
/// # Errors
/// In words that repeat nothing of the body, when there is no token in it.
pub(super) fn token(body: &[u8]) -> Result<(Secret, Option<Duration>), String> {
    let wire: TokenWire = json::read(body).map_err(|_| "no JSON object".to_string())?;
    let token = wire.access_token.text().ok_or("no access_token in it")?;
    let seconds = wire.expires_in.number::<u32>().unwrap_or(None);
    Ok((Secret::new(token), seconds.map(|s| Duration::from_secs(s.into()))))
}

/// The `error` or `code` of a refused token request. Source: RFC 6749, 5.2. Nothing else of the answer: it may repeat what was
/// sent.
///
/// # Errors
/// In words, when it is no JSON object.
pub(super) fn token_words(body: &[u8]) -> Result<Words, String> {
    let wire: TokenErrorWire = json(body)?;
    let is_code =
        |text: &&str| text.len() <= 40 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let code = wire.error.text().or(wire.code.text()).filter(is_code);
    Ok(Words {
        code: code.unwrap_or_default().into(),
        message: "".into(),
    })
}

pub(super) fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err("it is empty".into());
    }
    json::read(body).map_err(|e| e.to_string())
}

/// A list of what `parse` makes of each element. `null` is an empty one, and left out where it stands for an element.
///
/// # Errors
/// In words, when it is no such JSON.
fn list<'a, W: Deserialize<'a>, T>(
    body: &'a [u8],
    parse: impl Fn(W) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let wires: Option<Vec<Option<W>>> = json(body)?;
    wires
        .unwrap_or_default()
        .into_iter()
        .flatten()
        .map(parse)
        .collect()
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct LoadBalancerWire {
    slb_id: Loose,
    scheme: Loose,
    business_ip: Loose,
    eip_address: Loose,
}

impl LoadBalancerWire {
    fn parse(self) -> Result<LoadBalancer, String> {
        let address = |field: &str, value: &Loose| {
            value
                .read(|text| text.parse::<IpAddr>().ok())
                .map_err(|Odd| format!("{field} is no address"))
        };
        let internal = self
            .scheme
            .text()
            .is_some_and(|s| s.eq_ignore_ascii_case("internal"));
        Ok(LoadBalancer {
            id: self.slb_id.text().ok_or("an SLB without slbId")?.into(),
            scheme: if internal {
                Scheme::Internal
            } else {
                Scheme::InternetFacing
            },
            business_ip: address("businessIp", &self.business_ip)?,
            eip: address("eipAddress", &self.eip_address)?,
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ListenerWire {
    listener_id: Loose,
    listener_name: Loose,
    protocol: Loose,
    port: Loose,
    forward_rule: Loose,
    is_health_check: Loose,
    type_health_check: Loose,
    port_health_check: Loose,
    period_health_check: Loose,
    timeout_health_check: Loose,
    max_health_check: Loose,
    domain_health_check: Loose,
    path_health_check: Loose,
}

impl ListenerWire {
    fn parse(self) -> Result<Listener, String> {
        Ok(Listener {
            id: self
                .listener_id
                .text()
                .ok_or("a listener without listenerId")?
                .into(),
            name: self.listener_name.text().unwrap_or_default().into(),
            protocol: match &*self.protocol.text().unwrap_or_default().to_ascii_uppercase() {
                "TCP" => ListenerProtocol::Plain(Protocol::Tcp),
                "UDP" => ListenerProtocol::Plain(Protocol::Udp),
                "HTTP" | "HTTPS" => ListenerProtocol::Http,
                _ => ListenerProtocol::Unknown,
            },
            port: self.port.number().unwrap_or(None).unwrap_or(0),
            settings: self.settings(),
        })
    }

    fn settings(&self) -> Option<Settings> {
        let rule = self.forward_rule.text()?;
        Some(Settings {
            rule: ForwardRule::ALL
                .into_iter()
                .find(|r| r.as_str().eq_ignore_ascii_case(rule))?,
            health: match self.is_health_check.switch().ok()? {
                Some(true) => HealthCheck::On(self.probe()?),
                Some(false) | None => HealthCheck::Off,
            },
        })
    }

    fn probe(&self) -> Option<Probe> {
        let kind = match &*self.type_health_check.text()?.to_ascii_lowercase() {
            "tcp" => ProbeKind::Tcp,
            "http" => ProbeKind::Http {
                domain: self.domain_health_check.text().unwrap_or_default().into(),
                path: self.path_health_check.text().unwrap_or("/").into(),
            },
            _ => return None,
        };
        let port: u16 = self.port_health_check.number().ok()?.unwrap_or(0);
        Some(Probe {
            kind,
            port: port.try_into().ok(),
            period_seconds: self.period_health_check.number().ok()??,
            timeout_seconds: self.timeout_health_check.number().ok()??,
            tries: self.max_health_check.number().ok()??,
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct MemberWire {
    backend_id: Loose,
    server_id: Loose,
    server_ip: Loose,
    port: Loose,
}

impl MemberWire {
    fn parse(self) -> Member {
        Member {
            backend_id: self.backend_id.text().map(Into::into),
            server_id: self.server_id.text().unwrap_or_default().into(),
            address: self.server_ip.text().and_then(|text| text.parse().ok()),
            port: self.port.number().unwrap_or(None).unwrap_or(0),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WordsWire {
    code: Loose,
    message: Loose,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct TokenWire {
    access_token: Loose,
    expires_in: Loose,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct TokenErrorWire {
    error: Loose,
    code: Loose,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspur::model::Frontend;
    use crate::inspur::testing::http_probe;

    #[test]
    fn a_listener_decodes_in_every_spelling() {
        let on = |p: Probe| Some(HealthCheck::On(p));
        let tcp = || Probe {
            kind: ProbeKind::Tcp,
            port: None,
            period_seconds: 10,
            timeout_seconds: 5,
            tries: 3,
        };
        for (case, fields, want) in [
            (
                "as written",
                r#""isHealthCheck":"1","typeHealthCheck":"http","portHealthCheck":31000,"periodHealthCheck":10,"timeoutHealthCheck":5,"maxHealthCheck":3,"domainHealthCheck":"shop.example","pathHealthCheck":"/healthz""#,
                on(http_probe()),
            ),
            (
                "numbers as text, a switch as a number",
                r#""isHealthCheck":1,"typeHealthCheck":"TCP","portHealthCheck":"0","periodHealthCheck":"10","timeoutHealthCheck":"5","maxHealthCheck":"3""#,
                on(tcp()),
            ),
            (
                "a switch as a boolean, numbers as floats, nulls",
                r#""isHealthCheck":true,"typeHealthCheck":"tcp","portHealthCheck":null,"periodHealthCheck":10.0,"timeoutHealthCheck":5,"maxHealthCheck":3,"domainHealthCheck":null"#,
                on(tcp()),
            ),
            (
                "off as text",
                r#""isHealthCheck":"0","typeHealthCheck":"tcp""#,
                Some(HealthCheck::Off),
            ),
            ("off as a number", r#""isHealthCheck":0"#, Some(HealthCheck::Off)),
            (
                "off as a boolean",
                r#""isHealthCheck":false"#,
                Some(HealthCheck::Off),
            ),
            ("not said", r#""isHealthCheck":null"#, Some(HealthCheck::Off)),
            (
                "a kind of the future",
                r#""isHealthCheck":"1","typeHealthCheck":"grpc""#,
                None,
            ),
            ("no switch at all", r#""isHealthCheck":{"on":1}"#, None),
            (
                "half a check",
                r#""isHealthCheck":"1","typeHealthCheck":"tcp","periodHealthCheck":"soon""#,
                None,
            ),
        ] {
            let body = format!(
                r#"[{{"slbId":"slb-1","listenerId":7,"listenerName":"x","protocol":"tcp","port":"80","forwardRule":"rr","new":[1],{fields}}}]"#
            );
            let found = listeners(body.as_bytes()).unwrap().remove(0);
            assert_eq!(
                (&*found.id, found.frontend()),
                ("7", Frontend::new(Protocol::Tcp, 80)),
                "{case}"
            );
            assert_eq!(found.settings.map(|s| s.health), want, "{case}");
        }
    }

    #[test]
    fn a_foreign_listener_decodes_whatever_it_is() {
        for (case, fields, protocol, port) in [
            (
                "HTTPS",
                r#""protocol":"HTTPS","port":443"#,
                ListenerProtocol::Http,
                443,
            ),
            (
                "a protocol of the future",
                r#""protocol":"QUIC","port":443"#,
                ListenerProtocol::Unknown,
                443,
            ),
            (
                "nothing",
                r#""protocol":null,"port":null"#,
                ListenerProtocol::Unknown,
                0,
            ),
            (
                "nonsense",
                r#""protocol":[],"port":"70000","forwardRule":{}"#,
                ListenerProtocol::Unknown,
                0,
            ),
        ] {
            let found = listener(format!(r#"{{"listenerId":"l-1",{fields}}}"#).as_bytes()).unwrap();
            assert_eq!(
                (found.protocol, found.port, found.frontend()),
                (protocol, port, None),
                "{case}"
            );
        }
    }

    #[test]
    fn an_slb_decodes_and_a_false_address_is_an_error() {
        let all = br#"[{"slbId":"slb-1","scheme":"internal","businessIp":"10.0.0.9","eipAddress":"","listenerCount":"2","state":"ACTIVE"}, null]"#;
        let want = LoadBalancer {
            id: "slb-1".into(),
            scheme: Scheme::Internal,
            business_ip: "10.0.0.9".parse().ok(),
            eip: None,
        };
        assert_eq!(load_balancers(all).unwrap(), [want]);
        assert_eq!(load_balancers(b" null ").unwrap(), []);
        assert_eq!(
            load_balancers(br#"[{"slbId":"slb-1","eipAddress":"pending"}]"#).unwrap_err(),
            "eipAddress is no address"
        );
    }

    #[test]
    fn members_decode_with_what_they_lack() {
        let found = members(
            br#"[{"backendId":11,"serverId":"i-1","serverIp":"10.0.0.5","port":"30080","weight":"10"},{"port":{}}]"#,
        )
        .unwrap();
        let want = Member {
            backend_id: Some("11".into()),
            server_id: "i-1".into(),
            address: "10.0.0.5".parse().ok(),
            port: 30080,
        };
        assert_eq!(found[0], want);
        assert_eq!(
            (&found[1].backend_id, &*found[1].server_id, found[1].port),
            (&None, "", 0)
        );
    }

    #[test]
    fn what_is_no_such_json_is_an_error() {
        for (case, body) in [
            ("empty", ""),
            ("blank", " \n"),
            ("HTML", "<html><body>502</body></html>"),
            ("truncated", r#"[{"listenerId":"l-1","po"#),
            ("an object", r#"{"code":"200","data":[]}"#),
            ("no id", r#"[{"port":80}]"#),
            ("two values", "[][]"),
        ] {
            assert!(listeners(body.as_bytes()).is_err(), "{case}");
        }
    }

    #[test]
    fn the_clouds_words_take_text_and_numbers() {
        for (case, body, want) in [
            ("text", r#"{"code":"SLB.409","message":"busy"}"#, "SLB.409: busy"),
            ("a number", r#"{"code":10409,"message":"busy"}"#, "10409: busy"),
            ("code alone", r#"{"code":409,"message":null}"#, "409"),
            ("nothing", "{}", "no reason given"),
        ] {
            assert_eq!(words(body.as_bytes()).unwrap().to_string(), want, "{case}");
        }
        assert!(words(b"<html>").is_err());
    }

    #[test]
    fn a_token_decodes_and_a_refusal_shows_its_code_alone() {
        let (secret, good_for) = token(br#"{"access_token":"t","expires_in":"300","x":1}"#).unwrap();
        assert_eq!((secret.expose(), good_for), ("t", Some(Duration::from_secs(300))));
        assert_eq!(token(br#"{"access_token":"t"}"#).unwrap().1, None);
        assert_eq!(
            token(br#"{"access_token":null}"#).unwrap_err(),
            "no access_token in it"
        );
        for (case, body, want) in [
            (
                "Keycloak",
                r#"{"error":"invalid_client","error_description":"s3cret"}"#,
                "invalid_client",
            ),
            ("IAM", r#"{"code":40101,"message":"s3cret"}"#, "40101"),
            (
                "an echo",
                r#"{"error":"client_secret=s3cret"}"#,
                "no reason given",
            ),
        ] {
            assert_eq!(token_words(body.as_bytes()).unwrap().to_string(), want, "{case}");
        }
        assert!(token_words(b"<html>").is_err());
    }
}
