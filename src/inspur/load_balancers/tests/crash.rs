use super::*;

/// Kills the daemon at every call of `change`, and lets a new one finish: the end is always the same.
fn dies_at_every_call(before: impl Fn(&Arc<FakeApi>), change: impl Fn(&Daemon) -> Result<(), Error>) {
    let run = |fault: Option<Fault>| {
        let api = FakeApi::new(&["slb-1"]);
        api.put_listener("slb-1", "by-hand", "TCP", 9);
        before(&api);
        api.take_log();
        if let Some(fault) = fault {
            api.break_with(fault);
        }
        let outcome = change(&Daemon::new(&api));
        let calls = api.take_log().len();
        api.mend();
        change(&Daemon::new(&api)).unwrap();
        (api.shown("slb-1"), calls, outcome)
    };
    let (want, calls, outcome) = run(None);
    outcome.unwrap();
    assert!(calls > 3, "{calls} calls are no test");
    for n in 0..calls {
        for fault in [Fault::DeadBefore(n), Fault::DeadAfter(n)] {
            let (got, _, outcome) = run(Some(fault.clone()));
            assert!(outcome.is_err(), "{fault:?}");
            assert_eq!(got, want, "{fault:?}");
        }
    }
}

#[test]
fn a_daemon_that_dies_while_it_creates_is_followed_by_one_that_finishes() {
    let service = on_slb_1("web").tcp(80, 30080).udp(80, 30081).build();
    dies_at_every_call(|_| {}, |daemon| daemon.ensure(&service, &nodes(2)).map(drop));
}

#[test]
fn a_daemon_that_dies_while_it_updates_is_followed_by_one_that_finishes() {
    let old = on_slb_1("web").tcp(80, 30080).tcp(81, 30081).build();
    let new = on_slb_1("web")
        .annotation("loadbalancer.inspur.com/forward-rule", "WRR")
        .tcp(80, 31080)
        .tcp(82, 30082)
        .build();
    dies_at_every_call(
        |api| drop(Daemon::new(api).ensure(&old, &nodes(3)).unwrap()),
        |daemon| daemon.ensure(&new, &nodes(2)).map(drop),
    );
}

#[test]
fn a_daemon_that_dies_while_it_deletes_is_followed_by_one_that_finishes() {
    let service = on_slb_1("web").tcp(80, 30080).udp(80, 30081).build();
    dies_at_every_call(
        |api| drop(Daemon::new(api).ensure(&service, &nodes(2)).unwrap()),
        |daemon| daemon.delete(&service).map(drop),
    );
}
