//! One method per endpoint of the SLB API. Source: inspur-api.md 2 and 3.

use std::sync::Arc;

use super::call::{Call, Caller, Written};
use super::exchange::{Exchanges, Repeat};
use super::token::Tokens;
use super::wire::{self, Words};
use super::{Error, encode};
use crate::http::{Method, percent_encode};
use crate::inspur::model::{Backend, Listener, ListenerSpec, LoadBalancer, Member};
use crate::runtime::gate::Gate;
use crate::runtime::json;

/// Speaks the SLB API, one blocking call a method.
///
/// Calls are repeated where that is safe: reads, updates and removals after any failure that may pass; creating a listener
/// and adding members only when nothing happened. After an error of those two, only a new read tells what is there.
pub struct Client {
    caller: Caller,
}

impl Client {
    /// Talks to the API below `base`, which ends in `/slbs`. Changes have to pass `gate`.
    pub fn new(base: &str, tokens: Arc<Tokens>, exchanges: Exchanges, gate: Gate) -> Self {
        let caller = Caller::new(base, tokens, exchanges, gate);
        Self { caller }
    }

    /// The SLB called `slb`.
    ///
    /// # Errors
    /// [`Error::NotFound`] also for a 200 without any SLB.
    pub fn describe(&self, slb: &str) -> Result<LoadBalancer, Error> {
        let call = Call::get("describe_slb", format!("?slbId={}", percent_encode(slb)));
        let all = self.caller.read(&call, wire::load_balancers)?;
        if all.is_empty() {
            return Err(Error::NotFound {
                call: call.name(),
                words: Words::default(),
            });
        }
        all.into_iter()
            .find(|found| *found.id == *slb)
            .ok_or_else(|| call.unintelligible("it is about other SLBs".into()))
    }

    /// All listeners of `slb`, whoever made them.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn listeners(&self, slb: &str) -> Result<Vec<Listener>, Error> {
        let call = Call::get("list_listeners", listeners(slb));
        self.caller.read(&call, wire::listeners)
    }

    /// One listener of `slb`.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn listener(&self, slb: &str, listener: &str) -> Result<Listener, Error> {
        let call = Call::get("describe_listener", one_listener(slb, listener));
        self.caller.read(&call, wire::listener)
    }

    /// Makes a listener. Not repeated when it may have been made.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn create_listener(&self, slb: &str, spec: &ListenerSpec) -> Result<Written<Listener>, Error> {
        let call = Call::with_body(
            "create_listener",
            Method::Post,
            format!("{}/", listeners(slb)),
            encode::listener_spec(slb, spec),
            Repeat::OnlyIfUndone,
        );
        self.caller.write(&call, wire::listener)
    }

    /// Sets everything of a listener but its protocol and port, which must be those it has.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn update_listener(
        &self,
        slb: &str,
        listener: &str,
        spec: &ListenerSpec,
    ) -> Result<Written<Listener>, Error> {
        let call = Call::with_body(
            "update_listener",
            Method::Put,
            one_listener(slb, listener),
            encode::listener_spec(slb, spec),
            Repeat::Safe,
        );
        self.caller.write(&call, wire::listener)
    }

    /// Removes a listener with its members. One that is gone already is a success, and a disturbed one.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn delete_listener(&self, slb: &str, listener: &str) -> Result<Written<()>, Error> {
        let call = Call::delete("delete_listener", one_listener(slb, listener));
        match self.caller.write(&call, no_content) {
            Err(Error::NotFound { .. }) => Ok(Written {
                answer: (),
                undisturbed: false,
            }),
            result => result,
        }
    }

    /// The members of a listener.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn members(&self, slb: &str, listener: &str) -> Result<Vec<Member>, Error> {
        let call = Call::get("list_members", members(slb, listener));
        self.caller.read(&call, wire::members)
    }

    /// Adds members in one call. Not repeated when they may have been added. Their backend ids are not told.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn add_members(&self, slb: &str, listener: &str, backends: &[Backend]) -> Result<Written<()>, Error> {
        let call = Call::with_body(
            "add_members",
            Method::Post,
            members(slb, listener),
            encode::member_specs(backends),
            Repeat::OnlyIfUndone,
        );
        self.caller.write(&call, all_added)
    }

    /// Removes members, by their backend ids, in one call.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn remove_members(&self, slb: &str, listener: &str, ids: &[&str]) -> Result<Written<()>, Error> {
        let list = percent_encode(&encode::id_list(ids));
        let path = format!("{}?backendIdList={list}", members(slb, listener));
        let call = Call::delete("remove_members", path);
        self.caller.write(&call, no_content)
    }
}

/// Takes the words of a success. `Assumed:` a code from 400 on would be a refusal, as in HTTP.
fn all_added(body: &[u8]) -> Result<(), String> {
    let words = wire::words(body)?;
    match words.code.parse::<u32>() {
        Ok(400..) => Err(format!("it is a success that says {words}")),
        _ => Ok(()),
    }
}

/// Takes no body, or any JSON: a page of something in between is not the API's word that it is done.
fn no_content(body: &[u8]) -> Result<(), String> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    json::read::<serde::de::IgnoredAny>(body)
        .map(drop)
        .map_err(|e| e.to_string())
}

fn listeners(slb: &str) -> String {
    format!("/{}/listeners", percent_encode(slb))
}

fn one_listener(slb: &str, listener: &str) -> String {
    format!("{}/{}", listeners(slb), percent_encode(listener))
}

fn members(slb: &str, listener: &str) -> String {
    format!("{}/members", one_listener(slb, listener))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::http::Transport;
    use crate::inspur::api::{CloudMetrics, Credentials};
    use crate::inspur::model::{ForwardRule, Frontend, HealthCheck, Protocol, Settings};
    use crate::inspur::testing::{Reply, Script, eager};
    use crate::metrics::{Metrics, lines};
    use crate::runtime::clock::ManualClock;
    use crate::runtime::secret::Secret;
    use crate::runtime::secret_source::SecretSource;
    use crate::runtime::stop::StopToken;

    fn secret(text: &str) -> SecretSource {
        SecretSource::Value(Secret::new(text))
    }

    fn client(script: &Arc<Script>) -> Client {
        with(Credentials::Static(secret("t0")), script)
    }

    fn with(credentials: Credentials, script: &Arc<Script>) -> Client {
        let clock = ManualClock::new(UNIX_EPOCH + Duration::from_secs(784_111_777));
        let exchanges = || {
            let transport = Arc::clone(script) as Arc<dyn Transport>;
            Exchanges::new(transport, Arc::new(clock.clone()), StopToken::never(), eager())
        };
        let tokens = Arc::new(Tokens::new(credentials, exchanges()));
        Client::new(
            "https://slb.example/slb/v1/slbs/",
            tokens,
            exchanges(),
            Gate::open(),
        )
    }

    fn spec() -> ListenerSpec {
        ListenerSpec {
            name: "k8s_c_shop_web_udp53".into(),
            frontend: Frontend::new(Protocol::Udp, 53).unwrap(),
            settings: Settings {
                rule: ForwardRule::RoundRobin,
                health: HealthCheck::Off,
            },
        }
    }

    const LISTENER: &str = r#"{"listenerId":"l/1","protocol":"UDP","port":53}"#;
    const SENT_SPEC: &str = r#"{"slbId":"slb 1","listenerName":"k8s_c_shop_web_udp53","protocol":"UDP","port":53,"forwardRule":"RR","isHealthCheck":"0","typeHealthCheck":"tcp","portHealthCheck":0,"periodHealthCheck":30,"timeoutHealthCheck":1,"maxHealthCheck":1,"domainHealthCheck":"","pathHealthCheck":"/"}"#;

    #[test]
    fn each_endpoint_is_called_as_the_api_has_it() {
        type Do = fn(&Client) -> Result<(), Error>;
        let cases: [(&str, Reply, Do, &str, &str); 9] = [
            (
                "describe",
                Reply::json(200, r#"[{"slbId":"slb 1"}]"#),
                |c| c.describe("slb 1").map(drop),
                "GET ?slbId=slb%201",
                "",
            ),
            (
                "list listeners",
                Reply::json(200, "[]"),
                |c| c.listeners("slb 1").map(drop),
                "GET /slb%201/listeners",
                "",
            ),
            (
                "get a listener",
                Reply::json(200, LISTENER),
                |c| c.listener("slb 1", "l/1").map(drop),
                "GET /slb%201/listeners/l%2F1",
                "",
            ),
            (
                "create a listener",
                Reply::json(200, LISTENER),
                |c| c.create_listener("slb 1", &spec()).map(drop),
                "POST /slb%201/listeners/",
                SENT_SPEC,
            ),
            (
                "update a listener",
                Reply::json(202, LISTENER),
                |c| c.update_listener("slb 1", "l/1", &spec()).map(drop),
                "PUT /slb%201/listeners/l%2F1",
                SENT_SPEC,
            ),
            (
                "delete a listener",
                Reply::json(204, ""),
                |c| c.delete_listener("slb 1", "l/1").map(drop),
                "DELETE /slb%201/listeners/l%2F1",
                "",
            ),
            (
                "list members",
                Reply::json(200, "null"),
                |c| c.members("slb 1", "l/1").map(drop),
                "GET /slb%201/listeners/l%2F1/members",
                "",
            ),
            (
                "add members",
                Reply::json(200, r#"{"code":"200","message":"ok","data":[]}"#),
                |c| c.add_members("slb 1", "l/1", &[]).map(drop),
                "POST /slb%201/listeners/l%2F1/members",
                "[]",
            ),
            (
                "remove members",
                Reply::json(200, ""),
                |c| c.remove_members("slb 1", "l/1", &["b1", "b2"]).map(drop),
                "DELETE /slb%201/listeners/l%2F1/members?backendIdList=%5B%22b1%22%2C%22b2%22%5D",
                "",
            ),
        ];
        for (case, reply, call, line, body) in cases {
            let script = Script::new([reply]);
            call(&client(&script)).unwrap_or_else(|e| panic!("{case}: {e}"));
            let request = &script.requests()[0];
            let path = request
                .url
                .strip_prefix("https://slb.example/slb/v1/slbs")
                .unwrap();
            assert_eq!(format!("{} {path}", request.method), line, "{case}");
            assert_eq!(request.text(), body, "{case}");
            let headers = ["Authorization", "Date", "Content-Type"].map(|name| request.header(name));
            let content_type = (!body.is_empty()).then_some("application/json");
            let date = "Sun, 06 Nov 1994 08:49:37 GMT";
            assert_eq!(headers, [Some("Bearer t0"), Some(date), content_type], "{case}");
        }
    }

    #[test]
    fn every_operation_is_measured_by_its_name() {
        let script = Script::always(|| Reply::json(400, "{}"));
        let metrics = Metrics::new();
        let exchanges = || {
            let transport = Arc::clone(&script) as Arc<dyn Transport>;
            let clock = Arc::new(ManualClock::new(UNIX_EPOCH));
            let exchanges = Exchanges::new(transport, clock, StopToken::never(), eager());
            exchanges.measured(CloudMetrics::new(&metrics))
        };
        let tokens = Arc::new(Tokens::new(Credentials::Static(secret("t0")), exchanges()));
        let client = Client::new("https://slb.example", tokens, exchanges(), Gate::open());
        client.describe("s").unwrap_err();
        client.listeners("s").unwrap_err();
        client.listener("s", "l").unwrap_err();
        client.create_listener("s", &spec()).unwrap_err();
        client.update_listener("s", "l", &spec()).unwrap_err();
        client.delete_listener("s", "l").unwrap_err();
        client.members("s", "l").unwrap_err();
        client.add_members("s", "l", &[]).unwrap_err();
        client.remove_members("s", "l", &["b"]).unwrap_err();
        let errors = lines(&metrics, "cloudprovider_inspur_api_request_errors_total");
        let names: Vec<&str> = errors
            .iter()
            .map(|line| line.split('"').nth(1).unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "add_members",
                "create_listener",
                "delete_listener",
                "describe_listener",
                "describe_slb",
                "list_listeners",
                "list_members",
                "remove_members",
                "update_listener",
            ]
        );
        assert!(errors.iter().all(|line| line.ends_with(" 1")), "{errors:?}");
    }

    #[test]
    fn only_the_api_itself_can_say_that_an_slb_does_not_exist() {
        for (case, status, body, gone) in [
            ("none in it", 200, "[]", true),
            ("null", 200, "null", true),
            ("404", 404, r#"{"code":"404","message":"no such slb"}"#, true),
            ("another one in it", 200, r#"[{"slbId":"slb-2"}]"#, false),
            ("empty", 200, "", false),
            ("HTML", 200, "<html></html>", false),
            ("404 in HTML", 404, "<html></html>", false),
            ("truncated", 200, r#"[{"slbId":"slb-"#, false),
            ("an error", 500, "[]", false),
        ] {
            let script = Script::always(|| Reply::json(status, body));
            let error = client(&script).describe("slb-1").unwrap_err();
            assert_eq!(matches!(error, Error::NotFound { .. }), gone, "{case}: {error}");
        }
    }

    #[test]
    fn a_token_that_is_refused_is_renewed_and_the_call_repeated_once() {
        let credentials = || Credentials::Iam {
            url: "https://iam.example/".into(),
            username: "u".into(),
            password: secret("p"),
        };
        let issued = |t: &str| Reply::json(200, &format!(r#"{{"access_token":"{t}","expires_in":300}}"#));
        let refused = || Reply::json(401, "{}");

        let script = Script::new([issued("t1"), refused(), issued("t2"), Reply::json(200, "[]")]);
        with(credentials(), &script).listeners("slb-1").unwrap();
        let requests = script.requests();
        let sent: Vec<_> = requests.iter().map(|r| r.header("Authorization")).collect();
        assert_eq!(sent, [None, Some("Bearer t1"), None, Some("Bearer t2")]);

        let script = Script::new([issued("t1"), refused(), issued("t2"), refused()]);
        let error = with(credentials(), &script).listeners("slb-1").unwrap_err();
        assert!(matches!(error, Error::Unauthorized { .. }), "{error}");

        let script = Script::new([refused()]);
        let error = client(&script).listeners("slb-1").unwrap_err();
        assert!(
            matches!(error, Error::Unauthorized { .. }),
            "a ready token cannot be renewed: {error}"
        );
    }

    #[test]
    fn creating_and_adding_are_not_repeated_when_they_may_have_happened() {
        let failed: fn() -> Reply = || Reply::json(500, "{}");
        for (case, reply) in [("no answer", Reply::lost as fn() -> Reply), ("500", failed)] {
            let script = Script::always(reply);
            client(&script).create_listener("slb-1", &spec()).unwrap_err();
            client(&script).add_members("slb-1", "l-1", &[]).unwrap_err();
            assert_eq!(script.requests().len(), 2, "{case}");
        }
        let script = Script::new([
            Reply::json(409, "{}"),
            Reply::json(429, "{}"),
            Reply::json(200, LISTENER),
        ]);
        let written = client(&script).create_listener("slb-1", &spec()).unwrap();
        assert!(!written.undisturbed);
    }

    #[test]
    fn deleting_what_is_gone_is_a_success_unless_a_page_says_so() {
        for (case, status, body, want) in [
            ("done", 204, "", Some(true)),
            ("gone already", 404, r#"{"code":404}"#, Some(false)),
            ("404 in HTML", 404, "<html>", None),
            ("200 in HTML", 200, "<html>", None),
        ] {
            let script = Script::always(|| Reply::json(status, body));
            let written = client(&script).delete_listener("slb-1", "l-1");
            assert_eq!(written.ok().map(|w| w.undisturbed), want, "{case}");
        }
    }

    #[test]
    fn a_success_that_says_otherwise_is_none() {
        for (case, body, ok) in [
            ("200", r#"{"code":"200","message":"ok"}"#, true),
            ("no code", "{}", true),
            ("a refusal", r#"{"code":400,"message":"quota"}"#, false),
            ("a page", "<html>", false),
            ("empty", "", false),
        ] {
            let script = Script::always(|| Reply::json(200, body));
            let added = client(&script).add_members("slb-1", "l-1", &[]);
            assert_eq!(added.is_ok(), ok, "{case}");
        }
    }
}
