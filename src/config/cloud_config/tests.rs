use super::*;
use crate::inspur::annotations::Switch;
use crate::inspur::model::ForwardRule;
use crate::runtime::chain;

const OLD: &str = "# INSPUR Cloud
slbUrl-pre=https://service.cloud.inspur.com/regionsvc-cn-north/slb/v1/slbs
keycloakUrl=https://iam.example/auth/realms/picp/protocol/openid-connect/token
token-client-id=console
client-secret=s3=cr3t==
requested-subject=main.sub
subnet-id=subnet-1
";

fn read(text: &str) -> Loaded {
    parse(Path::new("/etc/cloud-config"), text)
}

fn accepted(text: &str) -> CloudConfig {
    read(text).config.unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// One line an error.
fn errors(text: &str) -> Vec<String> {
    let errors = read(text).config.err().unwrap_or_default();
    errors.iter().map(|error| chain(error)).collect()
}

#[test]
fn the_old_file_works_as_it_is() {
    let config = accepted(OLD);
    assert_eq!(
        config,
        CloudConfig {
            path: "/etc/cloud-config".into(),
            slb_url: "https://service.cloud.inspur.com/regionsvc-cn-north/slb/v1/slbs".into(),
            ecs_url: None,
            credentials: Credentials::Keycloak {
                url: "https://iam.example/auth/realms/picp/protocol/openid-connect/token".into(),
                client_id: "console".into(),
                client_secret: SecretSource::Value(Secret::new("s3=cr3t==")),
                requested_subject: "main.sub".into(),
            },
            ca_file: None,
            cluster_id: None,
            region: None,
            zone: None,
            subnet_id: Some("subnet-1".into()),
            api_qps: 0.0,
            api_burst: 50,
            defaults: Defaults::default(),
        }
    );
}

#[test]
fn the_same_keys_work_in_yaml() {
    let yaml: String = OLD.replace("=", ": ").replace("s3: cr3t: : ", "s3=cr3t==");
    assert_eq!(accepted(&yaml), accepted(OLD));
}

#[test]
fn every_key_is_read() {
    let config = accepted(
        "slburl-pre=https://x/slbs/\necsUrl-pre=https://x/instances\niam-url=https://iam/auth\niam-username=main.sub\niam-password= p \n\
         cluster-id=prod-1\nregion=cn-north-3\nzone=a\nhealth-check=off\napi-qps=2.5\napi-burst=7\n\
         healthcheck-max=5\nforward-rule=WRR\n",
    );
    let slb_and_ecs = (&*config.slb_url, config.ecs_url.as_deref());
    assert_eq!(slb_and_ecs, ("https://x/slbs", Some("https://x/instances")));
    assert_eq!(
        config.credentials,
        Credentials::Iam {
            url: "https://iam/auth".into(),
            username: "main.sub".into(),
            password: SecretSource::Value(Secret::new("p")),
        }
    );
    let names = (
        config.cluster_id.as_ref().map(ClusterId::as_str),
        config.region.as_deref(),
        config.zone.as_deref(),
    );
    assert_eq!(names, (Some("prod-1"), Some("cn-north-3"), Some("a")));
    assert_eq!((config.api_qps, config.api_burst), (2.5, 7));
    assert_eq!(
        config.defaults,
        Defaults {
            rule: Some(ForwardRule::WeightedRoundRobin),
            check: Some(Switch::Off),
            check_tries: Some(5),
            ..Defaults::default()
        }
    );
}

#[test]
fn defaults_of_annotations_are_checked_as_annotations_are() {
    let name = |key: &Key| {
        key.kind == Kind::Annotation
            && annotations::set_default(&mut Defaults::default(), key.name, "\n") == Ok(false)
    };
    assert!(
        !KEYS.iter().any(name),
        "every such key is known to the module that reads annotations"
    );
    let found = errors(
        "slbUrl-pre=https://x/slbs\nkktoken=t\nforward-rule=fast\nhealthcheck-port=-1\nis-healthcheck=1\nhealth-check=maybe\n",
    );
    for (error, want) in found.iter().zip([
        "/etc/cloud-config:3: forward-rule: \"fast\" is not allowed",
        "/etc/cloud-config:4: healthcheck-port: \"-1\" is not allowed",
        "/etc/cloud-config:5: health-check and is-healthcheck exclude each other",
        "/etc/cloud-config:6: health-check: \"maybe\" is not allowed; on and off are",
    ]) {
        assert!(error.starts_with(want), "{found:?}");
    }
    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn every_key_of_the_table_is_known_by_one_spelling_only() {
    let mut spellings: Vec<_> = keys::spellings().collect();
    let all = spellings.len();
    spellings.sort_unstable();
    spellings.dedup();
    assert_eq!(spellings.len(), all);
    for way in [KEYCLOAK, STATIC, IAM_PASSWORD] {
        assert!(
            way.all_keys().all(|key| keys::find(key).is_some()),
            "{}",
            way.name
        );
    }
}

#[test]
fn all_errors_come_at_once_with_their_lines() {
    assert_eq!(
        errors(
            "slbUrl-pre=http://slb.example/slbs\n\nkktoken=t\u{1}\ncluster-id=Prod\nhealth-check=yes\napi-qps=-1\napi-burst=0\n\
             zone=a b\niam-url=\n"
        ),
        [
            r#"/etc/cloud-config:1: slbUrl-pre is "http://slb.example/slbs": it must begin with https:// (http:// only for this machine: 127.0.0.1, ::1, localhost)"#,
            "/etc/cloud-config:3: kktoken: it must be one line of ASCII",
            r#"/etc/cloud-config:4: cluster-id is "Prod": it must be 1 to 16 lower-case letters, digits and hyphens, with no hyphen first or last"#,
            r#"/etc/cloud-config:5: health-check: "yes" is not allowed; on and off are"#,
            r#"/etc/cloud-config:6: api-qps is "-1": it must be a number from 0 to 100000"#,
            r#"/etc/cloud-config:7: api-burst is "0": it must be a whole number from 1 to 100000"#,
            r#"/etc/cloud-config:8: zone is "a b": it must be 1 to 63 letters, digits, -, _ and ., with a letter or digit first and last"#,
        ]
    );
}

#[test]
fn yaml_errors_have_lines_too() {
    assert_eq!(
        errors("slbUrl-pre: https://x/slbs\nkktoken: [t]\nzone: a\nzone: b\nregion: {a: b}\n")[..3],
        [
            "/etc/cloud-config:2: kktoken must have a plain value",
            "/etc/cloud-config:4: zone is already given in line 3",
            "/etc/cloud-config:5: region must have a plain value",
        ]
    );
    assert_eq!(
        errors("slbUrl-pre: https://x/slbs\nkktoken: t\nslburl-pre: https://x/slbs\n"),
        ["/etc/cloud-config:3: slbUrl-pre is already given in line 1"]
    );
    assert_eq!(
        errors("slbUrl-pre: https://x/slbs\nkktoken: \"t\n"),
        [
            "/etc/cloud-config:2: not valid YAML: column 10: while scanning a quoted scalar, found unexpected end of stream"
        ]
    );
}

#[test]
fn exactly_one_way_to_a_token() {
    for (case, text, want) in [
        (
            "none",
            "slbUrl-pre=https://x/slbs",
            "no way to a token is configured: add keycloakUrl, token-client-id, requested-subject, client-secret or client-secret-file; or kktoken or kktoken-file; or iam-url, iam-username, iam-password or iam-password-file",
        ),
        (
            "two",
            "slbUrl-pre=https://x/slbs\nkktoken=t\niam-username=u\niam-password=p",
            "there are the static token (kktoken) and the password login (iam-username, iam-password): remove all but one",
        ),
        (
            "half of one",
            "slbUrl-pre=https://x/slbs\nkeycloakUrl=https://x\ntoken-client-id=c\nclient-secret=s",
            "requested-subject is missing",
        ),
        (
            "no secret",
            "slbUrl-pre=https://x/slbs\niam-url=https://x\niam-username=c",
            "iam-password or iam-password-file is missing",
        ),
        (
            "a secret and its file",
            "slbUrl-pre=https://x/slbs\nkktoken=t\nkktoken-file=/t",
            "3: kktoken and kktoken-file exclude each other",
        ),
    ] {
        let errors = errors(text);
        assert_eq!(errors.len(), 1, "{case}: {errors:?}");
        assert!(errors[0].contains(want), "{case}: {errors:?}");
    }
}

#[test]
fn a_token_left_over_in_an_old_file_has_no_effect_and_is_warned_of() {
    for token in ["hunter2", "not a token: é"] {
        let loaded = read(&format!("{OLD}kktoken={token}\n"));
        assert_eq!(loaded.config.unwrap(), accepted(OLD));
        let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            [
                "/etc/cloud-config:8: kktoken has no effect beside keycloakUrl: the token exchange counts, as it did in the 2020 controller; remove kktoken"
            ]
        );
    }
    let loaded = read(&format!("{OLD}kktoken=\n"));
    assert!(
        loaded.config.is_ok() && loaded.warnings.is_empty(),
        "an empty one is none"
    );
}

#[test]
fn a_token_beside_anything_but_the_complete_old_keys_is_an_error() {
    for (case, text) in [
        ("incomplete", OLD.replace("requested-subject=main.sub\n", "")),
        (
            "a file for the secret",
            OLD.replace("client-secret=s3=cr3t==", "client-secret-file=/s"),
        ),
        (
            "a third way",
            format!("{OLD}iam-url=https://x\niam-username=u\niam-password=p\n"),
        ),
        ("a file for the token, too", format!("{OLD}kktoken-file=/t\n")),
    ] {
        let loaded = read(&format!("{text}kktoken=t\n"));
        let errors: Vec<_> = loaded.config.unwrap_err().iter().map(|e| chain(e)).collect();
        assert_eq!(errors.len(), 1, "{case}: {errors:?}");
        assert!(
            errors[0].contains("exactly one way to a token may be configured")
                && errors[0].contains("kktoken"),
            "{case}: {errors:?}"
        );
        assert!(loaded.warnings.is_empty(), "{case}: {:?}", loaded.warnings);
    }
    let two = format!("{OLD}iam-url=https://x\niam-username=u\niam-password=p\n");
    assert!(errors(&two)[0].contains("exactly one way"), "{:?}", errors(&two));
}

fn warnings(text: &str) -> Vec<String> {
    read(text).warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn of_a_key_given_again_in_lines_the_last_value_counts_and_is_warned_of() {
    let last = |text: &str| {
        let config = accepted(text);
        match config.credentials {
            Credentials::Keycloak { client_secret, .. } => (config.slb_url, client_secret),
            other => panic!("{other:?}"),
        }
    };
    let text = format!(
        "{OLD}slburl-pre=https://second/slbs\nclient-secret=a\nslbUrl-pre=https://third/slbs\nclient-secret=s3=cr3t==\n"
    );
    let (slb_url, secret) = last(&text);
    assert_eq!(slb_url, "https://third/slbs");
    assert_eq!(secret, SecretSource::Value(Secret::new("s3=cr3t==")));
    assert_eq!(
        warnings(&text),
        [
            "/etc/cloud-config:8: slbUrl-pre is given again: line 2 has no effect; remove one of them",
            "/etc/cloud-config:9: client-secret is given again: line 5 has no effect; remove one of them",
            "/etc/cloud-config:10: slbUrl-pre is given again: line 8 has no effect; remove one of them",
            "/etc/cloud-config:11: client-secret is given again: line 9 has no effect; remove one of them",
        ]
    );
}

#[test]
fn of_a_key_given_again_only_the_last_value_is_checked() {
    assert_eq!(
        errors("slbUrl-pre=http://x/slbs\nslburl-pre=https://x/slbs\nkktoken=t"),
        [] as [&str; 0]
    );
    let wrong = errors("slbUrl-pre=https://x/slbs\nslburl-pre=http://x/slbs\nkktoken=t");
    assert!(
        wrong[0].starts_with("/etc/cloud-config:2: slbUrl-pre is"),
        "{wrong:?}"
    );
    let emptied = "slbUrl-pre=https://x/slbs\nkktoken=t\nslbUrl-pre=\n";
    assert_eq!(
        errors(emptied),
        ["/etc/cloud-config: slbUrl-pre is missing: it is where the SLB API is"]
    );
    assert_eq!(
        warnings(emptied),
        ["/etc/cloud-config:3: slbUrl-pre is given again: line 1 has no effect; remove one of them"]
    );
}

#[test]
fn a_line_that_means_nothing_is_skipped_and_warned_of_without_its_text() {
    let text = format!("cluster: prod\n{OLD}[Global]\nhunter2\n=hunter2\nzoen=a\nhunter2 2=a\n;hunter2\n");
    assert_eq!(accepted(&text), accepted(OLD));
    assert_eq!(
        warnings(&text),
        [
            "/etc/cloud-config:1: this line is not key=value and has no effect",
            "/etc/cloud-config:10: this line is not key=value and has no effect",
            "/etc/cloud-config:11: this line is not key=value and has no effect",
            "/etc/cloud-config:12: unknown key zoen: did you mean zone?",
            "/etc/cloud-config:13: this line is not key=value and has no effect",
        ]
    );
    assert_eq!(
        errors("hunter2\n").len(),
        2,
        "nothing else is in it: all is missing"
    );
}

#[test]
fn yaml_is_as_strict_as_ever() {
    for (case, text, want) in [
        (
            "twice",
            "slbUrl-pre: https://x/slbs\nkktoken: t\nkktoken: t\n",
            "/etc/cloud-config:3: kktoken is already given in line 2",
        ),
        (
            "a stray line",
            "slbUrl-pre: https://x/slbs\nkktoken: t\nhunter2\n",
            "not valid YAML",
        ),
    ] {
        let loaded = read(text);
        assert!(loaded.warnings.is_empty(), "{case}: {:?}", loaded.warnings);
        let errors = errors(text);
        assert!(
            errors.len() == 1 && errors[0].contains(want),
            "{case}: {errors:?}"
        );
    }
}

#[test]
fn comments_in_another_encoding_are_comments_and_values_are_not_guessed() {
    let dir = tempfile::tempdir().unwrap();
    let load = |before: &[u8], after: &[u8]| {
        let path = dir.path().join("cloud-config");
        std::fs::write(&path, [before, OLD.as_bytes(), after].concat()).unwrap();
        load(&path)
    };
    // GBK
    let config = load(b"# \xc5\xe4\xd6\xc3\n", b"").config.unwrap();
    let path = config.path.clone();
    assert_eq!(
        config,
        CloudConfig {
            path,
            ..accepted(OLD)
        }
    );
    for (key, value) in [("client-secret", "s3cr3t"), ("token-client-id", "console")] {
        let line = [key.as_bytes(), b"=", value.as_bytes(), b"\xc5\xe4\n"].concat();
        let loaded = load(b"", &line);
        let errors: Vec<_> = loaded.config.unwrap_err().iter().map(|e| chain(e)).collect();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(
            errors[0].contains(&format!("cloud-config:8: {key}")) && errors[0].ends_with("it must be UTF-8"),
            "{errors:?}"
        );
        assert!(!errors[0].contains("s3cr3t"), "{errors:?}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let errors = errors("zone=a");
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert_eq!(
        errors[0],
        "/etc/cloud-config: slbUrl-pre is missing: it is where the SLB API is"
    );
}

#[test]
fn an_unknown_key_is_a_warning_that_suggests_the_nearest() {
    let text = format!("{OLD}slbId=slb-1\nhealthcheck=off\nZone=a\nczNjcjN0=\n");
    let loaded = read(&text);
    assert!(loaded.config.is_ok());
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "/etc/cloud-config:8: unknown key slbId",
            "/etc/cloud-config:9: unknown key healthcheck: did you mean health-check?",
            "/etc/cloud-config:10: unknown key Zone: did you mean zone?",
            "/etc/cloud-config:11: unknown key",
        ]
    );
}

#[test]
fn files_are_found_beside_the_config_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("token", "s3cr3t\n");
    write("two-lines", "s3cr3t\ns3cr3t\n");
    write("not-ascii", "s3cr3té");
    let ca = rcgen::generate_simple_self_signed(vec!["x".to_owned()])
        .unwrap()
        .cert
        .pem();
    write("ca.pem", &ca);
    write(
        "broken.pem",
        "-----BEGIN CERTIFICATE-----\n@@@\n-----END CERTIFICATE-----\n",
    );
    write("empty.pem", "");
    let load = |text: &str| {
        write("cloud-config", &format!("slbUrl-pre=https://x/slbs\n{text}"));
        load(&dir.path().join("cloud-config"))
    };

    let config = load("kktoken-file=token\nca-file=ca.pem\n").config.unwrap();
    let Credentials::Static(token) = config.credentials else {
        panic!("{config:?}")
    };
    assert_eq!(token.read().unwrap(), Secret::new("s3cr3t"));
    assert_eq!(config.ca_file, Some(dir.path().join("ca.pem")));

    for (case, text, want) in [
        (
            "a missing secret",
            "kktoken-file=nowhere",
            "2: kktoken-file: the secret cannot be used: cannot read",
        ),
        ("a directory", "kktoken-file=.", "Is a directory"),
        ("two lines", "kktoken-file=two-lines", "must hold one line"),
        ("not ASCII", "kktoken-file=not-ascii", "one line of ASCII"),
        (
            "a missing CA",
            "kktoken=t\nca-file=nowhere",
            "3: ca-file is \"nowhere\": it must be a file that can be read: No such file",
        ),
        ("a broken CA", "kktoken=t\nca-file=broken.pem", "PEM certificates"),
        ("an empty CA", "kktoken=t\nca-file=empty.pem", "PEM certificates"),
    ] {
        let errors = load(text).config.unwrap_err();
        let text = errors
            .iter()
            .map(|error| chain(error))
            .collect::<Vec<_>>()
            .join("\n");
        assert_eq!(errors.len(), 1, "{case}: {text}");
        assert!(text.contains(want), "{case}: {text}");
        assert!(!format!("{text}{errors:?}").contains("s3cr3t"), "{case}: {text}");
    }
}

#[test]
fn a_file_that_is_no_cloud_config_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cloud-config");
    let failure = |path: &Path| {
        let errors = load(path).config.unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(
            errors[0].to_string().starts_with(&path.display().to_string()),
            "{errors:?}"
        );
        chain(&errors[0])
    };
    assert!(failure(&path).ends_with("cannot read the cloud config: No such file or directory (os error 2)"));
    assert!(failure(dir.path()).ends_with("cannot read the cloud config: Is a directory (os error 21)"));
    for (bytes, want) in [
        (&b"\n# nothing\n"[..], "is empty"),
        (b"", "is empty"),
        (b"zone: a\nregion: \xff", "no cloud config"),
        (b"\xff\xfez\0o\0n\0e\0=\0a\0", "no cloud config"),
        (&vec![b'#'; 2 << 20], "no cloud config"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        assert!(failure(&path).contains(want), "{want}");
    }
}

#[test]
fn no_secret_shows_in_debug_errors_or_warnings() {
    const SECRET: &str = "hunter2";
    for text in [
        "slbUrl-pre=https://x/slbs\nkktoken=hunter2",
        "slbUrl-pre=https://x/slbs\nkktoken=hunter2\u{7f}",
        "slbUrl-pre=https://x/slbs\nkktoken=hunter2\nkktoken=hunter2",
        "slbUrl-pre=https://x/slbs\nkktoken=hunter2\nclient-secret=hunter2\niam-password=hunter2",
        "slbUrl-pre=https://x/slbs\nkktoken=hunter2\nkktoken-file=/x",
        "slbUrl-pre=https://x/slbs\nkktoken=hunter2\nkeycloakUrl=https://x\ntoken-client-id=x\nrequested-subject=x\nclient-secret=hunter2",
        "slbUrl-pre=https://u:hunter2@x/slbs\nkktoken=t",
        "slbUrl-pre=https://x/slbs?token=hunter2\nkktoken=t",
        "slbUrl-pre=https://x/slbs\nkktoken=abc\nhunter2",
        "slbUrl-pre=https://x/slbs\nkktoken=hunter2\nkktoken=abc",
        "slbUrl-pre=https://x/slbs\nkktoken=abc\nhunter2 2=a\nhunter2: a\n hunter2\n",
        "hunter2: a\nslbUrl-pre=https://x/slbs\nkktoken=abc",
        "slbUrl-pre=https://x/slbs\nkktoken=abc\nhunter2==",
        "slbUrl-pre=https://x/slbs\nkktoken=abc\nhunter2/+=",
        "slbUrl-pre: https://x/slbs\nkktoken: \"hunter2\\u0001\"",
        "slbUrl-pre: https://x/slbs\nkktoken: [hunter2]",
        "slbUrl-pre: https://x/slbs\nkktoken: \"hunter2",
        "slbUrl-pre: https://x/slbs\nkktoken: @hunter2",
        "slbUrl-pre: https://x/slbs\nclient-secret: |\n  hunter2\n  hunter2\nkeycloakUrl: https://x\ntoken-client-id: x\nrequested-subject: x",
    ] {
        let loaded = read(text);
        let mut shown = format!("{loaded:?}");
        for error in loaded.config.err().iter().flatten() {
            shown += &chain(error);
        }
        for warning in &loaded.warnings {
            shown += &warning.to_string();
        }
        assert!(!shown.contains(SECRET), "{text:?}: {shown}");
    }
}
