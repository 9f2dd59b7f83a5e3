//! Plug-ins as shell scripts.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use super::*;
use crate::runtime::clock::ManualClock;
use crate::runtime::stop::Stop;
use crate::sim::signals;

const V1: &str = "client.authentication.k8s.io/v1";

/// A plug-in whose script is `body`. Each run adds a line to `runs`.
struct Fixture {
    folder: TempDir,
    clock: ManualClock,
    stop: Stop,
    identities: Arc<AtomicU32>,
    plugin: Plugin,
}

impl Fixture {
    fn new(body: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = format!("cd {}; echo run >> runs; {body}", folder.path().display());
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
        let (stop, identities) = (Stop::new(), Arc::new(AtomicU32::new(0)));
        let config = ExecConfig {
            api_version: V1.into(),
            command: "sh".into(),
            args: vec!["-c".into(), script],
            env: vec![("EXTRA".into(), Secret::new("extra"))],
            install_hint: None,
            cluster: None,
        };
        let seen = Arc::clone(&identities);
        let on_identity: OnIdentity = Box::new(move |_| {
            seen.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
        let plugin = Plugin::new(config, Arc::new(clock.clone()), stop.token(), on_identity);
        Self {
            folder,
            clock,
            stop,
            identities,
            plugin,
        }
    }

    /// A plug-in that prints what `status` holds.
    fn printing(status: &str) -> Self {
        let fixture = Self::new("cat printed");
        fixture.print(status);
        fixture
    }

    fn print(&self, status: &str) {
        let text = format!(r#"{{"kind":"ExecCredential","apiVersion":"{V1}","status":{status}}}"#);
        fs::write(self.folder.path().join("printed"), text).unwrap();
    }

    fn runs(&self) -> usize {
        fs::read_to_string(self.folder.path().join("runs")).map_or(0, |text| text.lines().count())
    }

    fn token(&self) -> Result<String, String> {
        match self.plugin.credential() {
            Ok(credential) => Ok(credential.authorization.unwrap().expose().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[test]
fn a_token_without_an_end_is_kept() {
    let fixture = Fixture::printing(r#"{"token":"one"}"#);
    assert_eq!(fixture.token().as_deref(), Ok("Bearer one"));
    fixture.clock.advance(Duration::from_secs(86_400));
    assert_eq!(fixture.token().as_deref(), Ok("Bearer one"));
    assert_eq!(fixture.runs(), 1);
}

#[test]
fn the_next_token_is_got_before_the_end() {
    let fixture = Fixture::printing(r#"{"token":"one","expirationTimestamp":"1970-01-01T01:00:00Z"}"#);
    assert_eq!(fixture.token().as_deref(), Ok("Bearer one"));
    fixture.print(r#"{"token":"two","expirationTimestamp":"1970-01-01T02:00:00Z"}"#);
    fixture.clock.advance(Duration::from_secs(3539));
    assert_eq!(fixture.token().as_deref(), Ok("Bearer one"));
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(fixture.token().as_deref(), Ok("Bearer two"));
    assert_eq!(fixture.runs(), 2);
}

#[test]
fn an_old_token_is_used_while_good_and_no_longer() {
    let fixture = Fixture::printing(r#"{"token":"one","expirationTimestamp":"1970-01-01T01:00:00Z"}"#);
    assert_eq!(fixture.token().as_deref(), Ok("Bearer one"));
    fs::remove_file(fixture.folder.path().join("printed")).unwrap();
    fixture.clock.advance(Duration::from_secs(3550));
    assert_eq!(fixture.token().as_deref(), Ok("Bearer one"));
    let held = fixture.plugin.running.lock().unwrap();
    assert_eq!(
        fixture.token().as_deref(),
        Ok("Bearer one"),
        "while another thread runs it"
    );
    drop(held);
    fixture.clock.advance(Duration::from_secs(50));
    let error = fixture.token().unwrap_err();
    assert!(error.contains("it failed: exit status: 1"), "{error}");
}

#[test]
fn a_plug_in_that_fails_is_left_alone_for_a_while() {
    let fixture = Fixture::new("exit 3");
    for _ in 0..3 {
        assert!(fixture.token().unwrap_err().contains("exit status: 3"));
    }
    assert_eq!(fixture.runs(), 1);
    fixture.clock.advance(PAUSE);
    fixture.token().unwrap_err();
    assert_eq!(fixture.runs(), 2);
}

#[test]
fn many_refusals_make_one_run() {
    let fixture = Fixture::printing(r#"{"token":"one"}"#);
    let refused = fixture.plugin.credential().unwrap();
    assert!(!fixture.plugin.renew(&refused), "it prints the same");
    fixture.clock.advance(PAUSE);
    fixture.print(r#"{"token":"two"}"#);
    let renewed = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| fixture.plugin.renew(&refused)))
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(renewed, [true; 8]);
    assert_eq!(fixture.runs(), 3);
    // and if the new one is refused as well, it is not run for every call
    fixture.print(r#"{"token":"three"}"#);
    let refused = fixture.plugin.credential().unwrap();
    assert!(!fixture.plugin.renew(&refused));
    assert_eq!(fixture.runs(), 3);
}

#[test]
fn certificates_are_handed_over() {
    let fixture = Fixture::printing(r#"{"clientCertificateData":"c","clientKeyData":"k"}"#);
    assert_eq!(fixture.plugin.credential().unwrap().authorization, None);
    assert_eq!(fixture.identities.load(Ordering::SeqCst), 1);
}

#[test]
fn the_program_gets_its_environment_and_no_terminal() {
    let status = r#"{\"token\":\"$(wc -c)-$EXTRA-$(echo "$KUBERNETES_EXEC_INFO" | grep -c interactive)\"}"#;
    let body =
        format!(r#"echo "{{\"kind\":\"ExecCredential\",\"apiVersion\":\"{V1}\",\"status\":{status}}}""#);
    assert_eq!(Fixture::new(&body).token().as_deref(), Ok("Bearer 0-extra-1"));
}

#[test]
fn what_hangs_or_never_ends_is_killed() {
    let mut fixture = Fixture::new("exec sleep 600");
    fixture.plugin.time_limit = Duration::from_millis(50);
    assert!(fixture.token().unwrap_err().contains("did not end within 50ms"));
    assert!(
        Fixture::new("exec cat /dev/zero")
            .token()
            .unwrap_err()
            .contains("printed more than")
    );
}

#[test]
fn a_child_of_its_own_that_keeps_the_output_open_is_not_waited_for() {
    let mut fixture = Fixture::new(r#"sleep 60 & echo $! > child; echo '{"kind":"x"}'"#);
    fixture.plugin.time_limit = Duration::from_secs(20);
    let error = fixture.token().unwrap_err();
    let child = fs::read_to_string(fixture.folder.path().join("child")).unwrap();
    signals::send(child.trim().parse().unwrap(), "TERM").unwrap();
    assert!(error.contains("instead of ExecCredential"), "{error}");
}

#[test]
fn a_stop_ends_the_run() {
    let fixture = Fixture::new("touch begun; exec sleep 600");
    std::thread::scope(|scope| {
        let run = scope.spawn(|| fixture.token());
        while !fixture.folder.path().join("begun").exists() {
            std::thread::yield_now();
        }
        fixture.stop.stop();
        assert!(run.join().unwrap().unwrap_err().contains("stopping"));
    });
}

#[test]
fn a_missing_program_comes_with_a_hint() {
    let mut fixture = Fixture::new("");
    fixture.plugin.config.command = "/no/such/plugin".into();
    fixture.plugin.config.install_hint = Some("install it from x".into());
    let error = fixture.plugin.credential().unwrap_err().to_string();
    assert!(
        error.contains("/no/such/plugin") && error.contains("install it from x"),
        "{error}"
    );
}
