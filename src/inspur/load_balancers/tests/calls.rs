use super::*;

#[test]
fn no_more_calls_are_made_than_needed() {
    let api = FakeApi::new(&["slb-1"]);
    let daemon = Daemon::new(&api);
    let services = ten_services();
    let ensure_all = |daemon: &Daemon, nodes: &[Arc<Node>]| {
        let change = |s: &Service| daemon.ensure(s, nodes).unwrap().change;
        services.iter().map(change).filter(|c| *c == Change::Made).count()
    };
    for service in &services {
        assert_eq!(daemon.balancers().locate(service).unwrap(), "slb-1");
    }
    assert_eq!(ensure_all(&daemon, &nodes(2)), 10);
    assert_eq!(
        api.take_counts(),
        (2, 0, 20),
        "2 an SLB and 2 a listener to converge"
    );

    assert_eq!(ensure_all(&Daemon::new(&api), &nodes(2)), 0);
    assert_eq!(api.take_counts(), (2, 10, 0), "reads only, of an unchanged world");

    daemon.clock.advance(Duration::from_secs(5));
    assert_eq!(ensure_all(&daemon, &nodes(3)), 10);
    assert_eq!(api.take_counts(), (2, 10, 10), "a node joins");

    daemon.clock.advance(Duration::from_secs(5));
    assert_eq!(ensure_all(&daemon, &nodes(2)), 10);
    assert_eq!(api.take_counts(), (2, 10, 10), "a node leaves");

    assert_eq!(ensure_all(&daemon, &nodes(2)), 0);
    assert_eq!(
        api.take_counts(),
        (0, 0, 0),
        "what was just seen and done is known"
    );
}

#[test]
fn a_member_that_was_just_added_is_read_again_before_it_is_removed() {
    let api = FakeApi::new(&["slb-1"]);
    let daemon = Daemon::new(&api);
    daemon.ensure(&web(), &nodes(2)).unwrap();
    api.take_log();
    daemon.ensure(&web(), &nodes(1)).unwrap();
    assert_eq!(api.take_counts(), (0, 1, 1));
    assert_eq!(
        api.shown("slb-1"),
        ["k8s_c1_shop_web_tcp80 TCP/80 RR i-n1@10.0.0.1:30080"]
    );
}

#[test]
fn knowledge_ends_with_time_with_errors_and_with_surprises() {
    let listener = r#"{"listenerId":"l-9","listenerName":"other","protocol":"TCP","port":80}"#;
    for (case, fault, fails, reads) in [
        ("nothing", None, false, 0),
        (
            "409, then success",
            Some(Fault::Once("POST", 409, "{}")),
            false,
            2,
        ),
        ("an error", Some(Fault::Once("POST", 500, "{}")), true, 2),
        (
            "another listener",
            Some(Fault::Once("POST", 200, listener)),
            true,
            2,
        ),
        ("a page", Some(Fault::Once("POST", 200, "<html>")), true, 2),
    ] {
        let api = FakeApi::new(&["slb-1"]);
        let daemon = Daemon::new(&api);
        if let Some(fault) = fault {
            api.break_with(fault);
        }
        assert_eq!(daemon.ensure(&web(), &nodes(1)).is_err(), fails, "{case}");
        api.take_log();
        daemon.ensure(&web(), &nodes(1)).unwrap();
        assert_eq!(api.take_counts().0, reads, "{case}");
        assert_eq!(
            api.shown("slb-1"),
            ["k8s_c1_shop_web_tcp80 TCP/80 RR i-n1@10.0.0.1:30080"],
            "{case}"
        );
    }
    let api = FakeApi::new(&["slb-1"]);
    let daemon = Daemon::new(&api);
    for _ in 0..20 {
        daemon.ensure(&web(), &nodes(1)).unwrap();
        daemon.clock.advance(Duration::from_secs(4));
    }
    assert_eq!(
        api.take_counts().0,
        4,
        "at most a minute, however often it is used"
    );
}

#[test]
fn one_slb_is_in_the_hands_of_one_thread() {
    let api = FakeApi::new(&["slb-1"]);
    let daemon = Daemon::new(&api);
    let services = ten_services();
    std::thread::scope(|scope| {
        for service in &services {
            scope.spawn(|| daemon.ensure(service, &nodes(2)).unwrap());
        }
    });
    assert_eq!(api.most_at_once(), 1);
    assert_eq!(api.take_counts(), (2, 0, 20));
}
