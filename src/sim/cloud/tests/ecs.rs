//! The instances API.

use super::*;

/// Two instances of the demo's user, one of somebody else.
fn fixture() -> Fixture {
    let fixture = super::fixture();
    let cloud = &fixture.cloud;
    cloud.add_instance(InstanceSeed::new("i-1", "node-1", "10.1.0.1"));
    cloud.add_instance(InstanceSeed::new("i-2", "node-2", "10.1.0.2"));
    cloud.add_instance(InstanceSeed::new("i-3", "node-3", "10.1.0.3").owned_by("user-other"));
    fixture
}

impl Fixture {
    fn ask(&self, query: &str) -> (u16, Value) {
        self.send(ask(query))
    }

    /// The ids in an answer with status 200.
    fn found(&self, query: &str) -> Vec<String> {
        let (status, answer) = self.ask(query);
        assert_eq!(status, 200, "{query}: {answer}");
        let ids = answer.as_array().unwrap().iter();
        ids.map(|instance| instance["instanceId"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn ask(query: &str) -> Incoming {
    Incoming::new("GET", &format!("{ECS_PATH}{query}"))
        .with_header("Authorization", "Bearer static-s3cret-demo")
        .with_header("Date", DATE)
}

fn by_ids(ids: &[&str]) -> String {
    format!("?instanceIds={}", percent_encode(&json!(ids).to_string()))
}

#[test]
fn instances_are_found_by_what_is_known_of_them() {
    let fixture = fixture();
    let cloud = &fixture.cloud;
    cloud.change_instance("i-2", |instance| instance.private_ips.push("10.1.0.12".into()));
    cloud.add_instance(InstanceSeed {
        vpc: "vpc-2".into(),
        ..InstanceSeed::new("i-4", "node-2", "10.1.0.1")
    });
    for (case, query, want) in [
        ("one", by_ids(&["i-1"]), &["i-1"][..]),
        (
            "more, in the order of ids",
            by_ids(&["i-4", "i-1"]),
            &["i-1", "i-4"],
        ),
        ("one twice", by_ids(&["i-1", "i-1"]), &["i-1"]),
        ("an unknown one is left out", by_ids(&["i-1", "i-9"]), &["i-1"]),
        ("only an unknown one", by_ids(&["i-9"]), &[]),
        (
            "somebody else's does not exist",
            by_ids(&["i-1", "i-3"]),
            &["i-1"],
        ),
        (
            "by a name that two have",
            "?instanceName=node-2".into(),
            &["i-2", "i-4"],
        ),
        ("by part of a name", "?instanceName=node".into(), &[]),
        ("by somebody else's name", "?instanceName=node-3".into(), &[]),
        ("by any address", "?privateIp=10.1.0.12".into(), &["i-2"]),
        (
            "by an address in two VPCs",
            "?privateIp=10.1.0.1".into(),
            &["i-1", "i-4"],
        ),
        ("by somebody else's address", "?privateIp=10.1.0.3".into(), &[]),
        ("all", String::new(), &["i-1", "i-2", "i-4"]),
        ("the first page", "?pageNo=1&pageSize=2".into(), &["i-1", "i-2"]),
        ("the second page", "?pageNo=2&pageSize=2".into(), &["i-4"]),
        ("a page behind the last", "?pageNo=3&pageSize=2".into(), &[]),
        (
            "a page of ids",
            format!("{}&pageNo=2&pageSize=1", by_ids(&["i-1", "i-2"])),
            &["i-2"],
        ),
    ] {
        assert_eq!(fixture.found(&query), want, "{case}");
    }
}

#[test]
fn a_question_is_taken_exactly_as_spelled() {
    let fixture = fixture();
    let ids = |count: usize| {
        let ids: Vec<String> = (0..count).map(|n| format!("i-{n}")).collect();
        format!("?instanceIds={}", percent_encode(&json!(ids).to_string()))
    };
    for (case, query, want) in [
        ("100 ids", ids(100), 200),
        ("101 ids", ids(101), 400),
        ("no ids", ids(0), 400),
        ("ids without encoding", r#"?instanceIds=["i-1"]"#.into(), 400),
        ("one bare id", "?instanceIds=i-1".into(), 400),
        ("ids as numbers", "?instanceIds=%5B1%5D".into(), 400),
        ("a misspelt name", "?instanceids=%5B%22i-1%22%5D".into(), 400),
        ("an empty name", "?instanceName=".into(), 400),
        ("no address", "?privateIp=node-1".into(), 400),
        (
            "two questions",
            format!("{}&instanceName=node-1", by_ids(&["i-1"])),
            400,
        ),
        (
            "two others",
            "?instanceName=node-1&privateIp=10.1.0.1".into(),
            400,
        ),
        ("pages are counted from 1", "?pageNo=0".into(), 400),
        ("the largest page", "?pageSize=100".into(), 200),
        ("too large a page", "?pageSize=101".into(), 400),
        ("an empty page", "?pageSize=0".into(), 400),
        ("a trailing slash", "/".into(), 404),
        ("a path below", "/i-1".into(), 404),
        ("a longer name", "x".into(), 404),
    ] {
        let (status, answer) = fixture.ask(&query);
        assert_eq!(status, want, "{case}: {answer}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        let request = Incoming {
            method: method.into(),
            ..ask("")
        };
        assert_eq!(fixture.send(request).0, 405, "{method}");
    }
}

#[test]
fn nothing_is_shown_without_a_good_token_and_a_date() {
    let fixture = fixture();
    for (case, header, value, want) in [
        ("no token", "Authorization", "", 401),
        ("a wrong token", "Authorization", "Bearer nobody", 401),
        ("no date", "Date", "", 400),
    ] {
        let mut request = ask("?instanceIds=wrong");
        request.headers.retain(|(name, _)| name != header);
        if !value.is_empty() {
            request = request.with_header(header, value);
        }
        assert_eq!(fixture.send(request).0, want, "{case}");
    }
    let request = Incoming::new("GET", ECS_PATH)
        .with_header("Authorization", "Bearer static-s3cret-other")
        .with_header("Date", DATE);
    let (status, answer) = fixture.send(request);
    assert_eq!((status, &answer[0]["instanceId"]), (200, &json!("i-3")));
    assert_eq!(answer.as_array().unwrap().len(), 1, "each user sees their own");
}

#[test]
fn an_instance_is_spelled_as_the_contract_says() {
    let fixture = fixture();
    fixture.cloud.add_instance(InstanceSeed {
        host_name: "host-1".into(),
        status: Status::Stopped,
        ipv6s: vec!["2001:db8::1".into()],
        eip: "203.0.113.1".into(),
        tags: [("team".to_owned(), "a".to_owned())].into(),
        ..InstanceSeed::new("i-1", "node-1", "10.1.0.1").in_zone("cn-north-3b")
    });
    let want = json!([{
        "instanceId": "i-1", "instanceName": "node-1", "hostName": "host-1", "status": "STOPPED",
        "instanceType": "ecs.c1.large", "regionId": "cn-north-3", "zoneId": "cn-north-3b", "vpcId": "vpc-1",
        "subnetId": "subnet-1", "privateIps": ["10.1.0.1"], "ipv6s": ["2001:db8::1"], "eipAddress": "203.0.113.1",
        "tags": {"team": "a"},
    }]);
    assert_eq!(fixture.ask(&by_ids(&["i-1"])), (200, want));
    let six = InstanceSeed::new("i-6", "node-6", "2001:db8::6");
    assert_eq!(
        (six.private_ips.len(), &six.ipv6s[..]),
        (0, &["2001:db8::6".to_owned()][..])
    );
}

#[test]
fn oddities_change_how_instances_look() {
    let fixture = fixture();
    let plain = Quirks::default();
    let null = Quirks {
        empty_list: EmptyList::Null,
        ..plain
    };
    let empty_text = |empty_text| Quirks { empty_text, ..plain };
    let not_found = Quirks {
        unknown_instance: UnknownInstance::NotFound,
        ..plain
    };
    let (one, none, mixed) = (by_ids(&["i-1"]), by_ids(&["i-9"]), by_ids(&["i-8", "i-9"]));
    for (case, quirks, query, pointer, want) in [
        ("an empty list", plain, &none, "", Some(json!([]))),
        ("null for it", null, &none, "", Some(Value::Null)),
        ("no addresses", plain, &one, "/0/ipv6s", Some(json!([]))),
        ("null for them", null, &one, "/0/ipv6s", Some(Value::Null)),
        ("no tags", plain, &one, "/0/tags", Some(json!({}))),
        ("null for them", null, &one, "/0/tags", Some(Value::Null)),
        ("no public address", plain, &one, "/0/eipAddress", Some(json!(""))),
        (
            "null for it",
            empty_text(EmptyText::Null),
            &one,
            "/0/eipAddress",
            Some(Value::Null),
        ),
        (
            "nothing for it",
            empty_text(EmptyText::Missing),
            &one,
            "/0/eipAddress",
            None,
        ),
        (
            "a text that is there",
            empty_text(EmptyText::Missing),
            &one,
            "/0/hostName",
            Some(json!("node-1")),
        ),
        ("404 for one", not_found, &none, "/code", Some(json!("404"))),
        ("but not for two", not_found, &mixed, "", Some(json!([]))),
        (
            "unknown fields",
            Quirks {
                extra_fields: ExtraFields::Yes,
                ..plain
            },
            &one,
            "/0/x-nested/1",
            Some(json!(true)),
        ),
        (
            "part of a name",
            Quirks {
                name_match: NameMatch::Contains,
                ..plain
            },
            &"?instanceName=de-2".to_owned(),
            "/0/instanceId",
            Some(json!("i-2")),
        ),
    ] {
        fixture.cloud.set_quirks(quirks);
        let (_, answer) = fixture.ask(query);
        assert_eq!(answer.pointer(pointer), want.as_ref(), "{case}: {answer}");
    }
}

#[test]
fn instances_come_go_and_change() {
    let fixture = fixture();
    let status = || fixture.ask(&by_ids(&["i-1"])).1[0]["status"].clone();
    for (status_of, want) in [
        (Status::Pending, "PENDING"),
        (Status::Running, "RUNNING"),
        (Status::Stopping, "STOPPING"),
        (Status::Stopped, "STOPPED"),
        (Status::Suspended, "SUSPENDED"),
        (Status::Terminated, "TERMINATED"),
        (Status::Error, "ERROR"),
        (Status::Other("REBUILDING"), "REBUILDING"),
    ] {
        fixture.cloud.set_status("i-1", status_of);
        assert_eq!(status(), want);
    }
    let removed = ["i-1", "i-1"].map(|id| fixture.cloud.remove_instance(id));
    assert_eq!(removed, [true, false]);
    assert_eq!(fixture.found(""), ["i-2"]);
    let left = fixture.cloud.instances();
    let left: Vec<&str> = left.iter().map(|instance| instance.id.as_str()).collect();
    assert_eq!(left, ["i-2", "i-3"], "everybody's");
}

#[test]
fn answers_are_distorted_as_often_as_scripted() {
    let fixture = fixture();
    let cloud = &fixture.cloud;
    let all = || fixture.found(&by_ids(&["i-1", "i-2"]));

    cloud.distort(Distortion::without(["i-1"]), Some(2));
    assert_eq!(fixture.ask("?pageSize=0").0, 400, "no answer, not counted");
    assert_eq!(all(), ["i-2"]);
    assert_eq!(fixture.found("?instanceName=node-1"), [""; 0], "in every answer");
    assert_eq!(all(), ["i-1", "i-2"]);

    let earlier = cloud.instances();
    cloud.remove_instance("i-1");
    cloud.set_status("i-2", Status::Stopped);
    cloud.add_instance(InstanceSeed::new("i-4", "node-4", "10.1.0.4"));
    cloud.distort(Distortion::AsOf(earlier), None);
    let status = || fixture.ask(&by_ids(&["i-2"])).1[0]["status"].clone();
    for _ in 0..3 {
        assert_eq!(
            (fixture.found(""), status()),
            (vec!["i-1".into(), "i-2".into()], json!("RUNNING"))
        );
    }
    cloud.clear_distortions();
    assert_eq!(
        (fixture.found(""), status()),
        (vec!["i-2".into(), "i-4".into()], json!("STOPPED"))
    );

    cloud.distort(Distortion::AtMost(1), Some(1));
    cloud.distort(Distortion::AtMost(0), Some(2));
    assert_eq!(fixture.found(""), [""; 0], "the shorter one counts");
    assert_eq!(fixture.found(""), [""; 0]);
    assert_eq!(fixture.found(""), ["i-2", "i-4"]);
    cloud.distort(Distortion::AtMost(0), Some(0));
    assert_eq!(fixture.found(""), ["i-2", "i-4"], "for no answer at all");
}

#[test]
fn distortions_add_up_and_the_first_moment_counts() {
    let fixture = fixture();
    let cloud = &fixture.cloud;
    let two = cloud.instances();
    cloud.remove_instance("i-1");
    let one = cloud.instances();
    cloud.distort(Distortion::AsOf(two), Some(2));
    cloud.distort(Distortion::AsOf(one), Some(3));
    cloud.distort(Distortion::without(["i-2"]), Some(1));
    let answers: Vec<Vec<String>> = (0..3).map(|_| fixture.found("")).collect();
    assert_eq!(answers, [vec!["i-1"], vec!["i-1", "i-2"], vec!["i-2"]]);
}

#[test]
fn a_lost_instance_that_is_asked_for_alone_is_unknown() {
    let fixture = fixture();
    fixture.cloud.set_quirks(Quirks {
        unknown_instance: UnknownInstance::NotFound,
        ..Quirks::default()
    });
    fixture.cloud.distort(Distortion::without(["i-1"]), Some(1));
    let statuses = [(); 2].map(|()| fixture.ask(&by_ids(&["i-1"])).0);
    assert_eq!(statuses, [404, 200]);
    fixture.cloud.distort(Distortion::AtMost(0), Some(1));
    assert_eq!(
        fixture.ask(&by_ids(&["i-1"])),
        (200, json!([])),
        "a page cut short is no answer about it"
    );
}

#[test]
fn calls_about_instances_are_counted_with_their_ids() {
    let fixture = fixture();
    for query in [
        &by_ids(&["i-1", "i-9"])[..],
        "?instanceName=node-1",
        "?privateIp=10.1.0.1",
        "",
        "?instanceIds=wrong",
        "/i-1",
    ] {
        fixture.ask(query);
    }
    let calls = fixture.cloud.calls();
    let calls: Vec<(Kind, usize, u16)> = calls
        .iter()
        .map(|call| (call.kind, call.ids, call.status))
        .collect();
    assert_eq!(
        calls,
        [
            (Kind::DescribeInstances, 2, 200),
            (Kind::FindInstances, 0, 200),
            (Kind::FindInstances, 0, 200),
            (Kind::ListInstances, 0, 200),
            (Kind::DescribeInstances, 0, 400),
            (Kind::Unknown, 0, 404),
        ]
    );
    assert_eq!(fixture.cloud.count(|call| call.kind.is_about_instances()), 5);
    let of_slbs = fixture
        .cloud
        .count(|call| call.kind.is_read() || call.kind.is_write());
    assert_eq!(of_slbs, 0, "none of them is about SLBs");
}

#[test]
fn a_snapshot_tells_of_instances_and_of_what_answers_hide() {
    let fixture = fixture();
    fixture.cloud.distort(Distortion::without(["i-1"]), Some(2));
    fixture.cloud.distort(Distortion::AsOf(vec![]), None);
    let text = fixture.cloud.snapshot();
    for line in [
        "i-1 (user-demo, node-1, RUNNING, cn-north-3a, 10.1.0.1, eip \"\")",
        "the next 2 answers about instances: without {\"i-1\"}",
        "all answers about instances: as of earlier, with []",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn a_cloud_config_may_have_the_instances_api() {
    let account = Account::named("demo");
    let (without, with) = (
        account.cloud_config("http://127.0.0.1:1"),
        account.cloud_config_with_ecs("http://127.0.0.1:1"),
    );
    assert_eq!(
        with.strip_prefix(&without),
        Some("ecsUrl-pre=http://127.0.0.1:1/regionsvc-cn-north/ecs/v1/instances\n")
    );
}
