//! What a plug-in is asked, and what it answers. Pure, but for the authority's file.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ExecCluster, ExecConfig};
use crate::http::agent::{Identity, Pem};
use crate::k8s::auth::parse_token;
use crate::runtime::chain;
use crate::runtime::secret::Secret;

/// What a plug-in printed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Printed {
    /// The header's value.
    pub(super) authorization: Option<Secret>,
    /// Certificate and key in PEM.
    certificate: Option<(Secret, Secret)>,
    /// Good until a 401 when it does not say.
    pub(super) expires: Option<SystemTime>,
}

impl Printed {
    pub(super) fn identity(&self, config: &ExecConfig) -> Option<Identity> {
        let (certificate, key) = self.certificate.as_ref()?;
        let pem = |field: &str, text: &Secret| Pem::Text {
            from: format!("{field} of {}", config.command.display()),
            text: text.clone(),
        };
        Some(Identity {
            certificate: pem("clientCertificateData", certificate),
            key: pem("clientKeyData", key),
        })
    }

    /// Whether it says the same, if perhaps for longer.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.authorization == other.authorization && self.certificate == other.certificate
    }
}

/// The value of `KUBERNETES_EXEC_INFO`.
pub(super) fn exec_info(config: &ExecConfig) -> Result<String, String> {
    let mut spec = json!({ "interactive": false });
    if let Some(cluster) = &config.cluster {
        spec["cluster"] = cluster_info(cluster)?;
    }
    Ok(json!({ "kind": "ExecCredential", "apiVersion": config.api_version, "spec": spec }).to_string())
}

fn cluster_info(cluster: &ExecCluster) -> Result<Value, String> {
    let mut info = json!({ "server": cluster.server });
    if let Some(name) = &cluster.server_name {
        info["tls-server-name"] = name.as_str().into();
    }
    if let Some(authority) = &cluster.authority {
        let bytes = authority.read("CA certificate").map_err(|e| chain(&e))?;
        info["certificate-authority-data"] = STANDARD.encode(bytes).into();
    }
    if let Some(url) = &cluster.proxy_url {
        info["proxy-url"] = url.expose().into();
    }
    if let Some(config) = &cluster.config {
        info["config"] = config.clone();
    }
    Ok(info)
}

/// Reads what was printed; it must be of the version that was asked for. Errors quote nothing of it.
pub(super) fn parse_printed(api_version: &str, bytes: &[u8]) -> Result<Printed, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct ExecCredential {
        #[serde(default)]
        kind: String,
        #[serde(default)]
        api_version: String,
        status: Option<Status>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    #[derive(Default)]
    struct Status {
        expiration_timestamp: Option<String>,
        token: Option<String>,
        client_certificate_data: Option<String>,
        client_key_data: Option<String>,
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it did not print text".to_owned())?;
    let found: ExecCredential = serde_json::from_str(text).map_err(|e| {
        format!(
            "it did not print an ExecCredential: line {}, column {}",
            e.line(),
            e.column()
        )
    })?;
    if found.kind != "ExecCredential" || found.api_version != api_version {
        return Err(format!(
            "it printed {:?} of {:?} instead of ExecCredential of {api_version:?}",
            found.kind, found.api_version
        ));
    }
    let status = found.status.ok_or("what it printed has no status")?;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let authorization = match given(status.token) {
        Some(token) => Some(parse_token("what it printed", &token).map_err(|e| e.to_string())?),
        None => None,
    };
    let certificate = match (
        given(status.client_certificate_data),
        given(status.client_key_data),
    ) {
        (Some(certificate), Some(key)) => Some((Secret::new(certificate), Secret::new(key))),
        (None, None) => None,
        _ => return Err("it printed only one of clientCertificateData and clientKeyData".to_owned()),
    };
    if authorization.is_none() && certificate.is_none() {
        return Err("it printed neither a token nor a client certificate".to_owned());
    }
    let expires = match given(status.expiration_timestamp) {
        Some(time) => {
            let parsed = humantime::parse_rfc3339_weak(&time);
            Some(parsed.map_err(|_| "the expirationTimestamp it printed is no time".to_owned())?)
        }
        None => None,
    };
    Ok(Printed {
        authorization,
        certificate,
        expires,
    })
}

/// When to get the next one: a minute before the end, but not in the first tenth of its life.
pub(super) fn renewal(now: SystemTime, expires: SystemTime) -> SystemTime {
    let life = expires.duration_since(now).unwrap_or_default();
    now + life.saturating_sub(EARLY).max(life / 10)
}

const EARLY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "client.authentication.k8s.io/v1";

    fn parse(status: Value) -> Result<Printed, String> {
        let text = json!({ "kind": "ExecCredential", "apiVersion": V1, "status": status }).to_string();
        parse_printed(V1, text.as_bytes())
    }

    #[test]
    fn tokens_certificates_and_ends_are_read() {
        let printed = parse(json!({
            "token": "t", "clientCertificateData": "c", "clientKeyData": "k",
            "expirationTimestamp": "1970-01-01T00:01:40Z", "more": 1,
        }));
        let want = Printed {
            authorization: Some(Secret::new("Bearer t")),
            certificate: Some((Secret::new("c"), Secret::new("k"))),
            expires: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(100)),
        };
        assert_eq!(printed, Ok(want));
        assert!(parse(json!({"clientCertificateData": "c", "clientKeyData": "k"})).is_ok());
    }

    #[test]
    fn anything_else_is_refused_and_not_quoted() {
        for (case, status) in [
            ("no status", Value::Null),
            ("nothing", json!({})),
            ("an empty token", json!({"token": ""})),
            (
                "half a certificate",
                json!({"token": "s3cret", "clientKeyData": "s3cret"}),
            ),
            ("a token of two lines", json!({"token": "s3cret\nx"})),
            (
                "a bad end",
                json!({"token": "s3cret", "expirationTimestamp": "s3cret"}),
            ),
            ("a token that is none", json!({"token": {"s3cret": 1}})),
        ] {
            let error = parse(status).unwrap_err();
            assert!(!error.contains("s3cret"), "{case}: {error}");
        }
        for (case, text) in [
            ("no JSON", "s3cret"),
            (
                "another version",
                r#"{"kind":"ExecCredential","apiVersion":"x","status":{"token":"s3cret"}}"#,
            ),
            (
                "another kind",
                r#"{"kind":"Pod","apiVersion":"client.authentication.k8s.io/v1","status":{"token":"s3cret"}}"#,
            ),
            ("empty", ""),
        ] {
            let error = parse_printed(V1, text.as_bytes()).unwrap_err();
            assert!(!error.contains("s3cret"), "{case}: {error}");
        }
    }

    #[test]
    fn the_next_one_is_wanted_a_minute_early_but_not_at_once() {
        let (now, after) = (SystemTime::UNIX_EPOCH, |s| {
            SystemTime::UNIX_EPOCH + Duration::from_secs(s)
        });
        for (life, want) in [(3600, 3540), (100, 40), (60, 6), (10, 1), (0, 0)] {
            assert_eq!(renewal(now, after(life)), after(want), "{life}");
        }
    }

    #[test]
    fn the_question_says_what_the_plug_in_may_know() {
        let mut config = ExecConfig {
            api_version: V1.into(),
            command: "plugin".into(),
            args: vec![],
            env: vec![],
            install_hint: None,
            cluster: None,
        };
        let ask =
            |config: &ExecConfig| -> Value { serde_json::from_str(&exec_info(config).unwrap()).unwrap() };
        let bare = json!({"kind": "ExecCredential", "apiVersion": V1, "spec": {"interactive": false}});
        assert_eq!(ask(&config), bare);
        config.cluster = Some(ExecCluster {
            server: "https://api".into(),
            server_name: Some("k".into()),
            authority: Some(Pem::Text {
                from: "x".into(),
                text: Secret::new("PEM!"),
            }),
            proxy_url: Some(Secret::new("http://p")),
            config: Some(json!({"a": 1})),
        });
        let cluster = json!({
            "server": "https://api", "tls-server-name": "k", "certificate-authority-data": "UEVNIQ==",
            "proxy-url": "http://p", "config": {"a": 1},
        });
        assert_eq!(ask(&config)["spec"]["cluster"], cluster);
    }
}
