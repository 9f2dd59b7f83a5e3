use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::cloud::{Absence, Instance, InstanceState};
use crate::http::{self, Request, Response, Transport};
use crate::inspur::annotations::INSTANCE_ID;
use crate::inspur::api::{Credentials, Exchanges, Tokens};
use crate::inspur::testing::{eager, node};
use crate::runtime::clock::ManualClock;
use crate::runtime::gate::Gate;
use crate::runtime::secret::Secret;
use crate::runtime::secret_source::SecretSource;
use crate::runtime::stop::Stop;

const BASE: &str = "https://ecs.example/ecs/v1/instances";

/// Says instead of the API what is answered to the n-th call (from 1) with this query.
type Fault = Box<dyn Fn(usize, &str) -> Option<(u16, String)> + Send>;

/// The ECS API from memory. Its JSON is written from the contract. Source: inspur-api.md 4.
#[derive(Default)]
struct FakeEcs {
    instances: Mutex<BTreeMap<String, String>>,
    fault: Mutex<Option<Fault>>,
    log: Mutex<Vec<String>>,
    /// How many instances a page shows at most, however many it should.
    cut: Mutex<Option<usize>>,
}

impl FakeEcs {
    /// With the instances `i-n<from>`, … as [`node`] names them, each with its Node's name and `10.0.<high>.<low>`.
    fn with(numbers: impl IntoIterator<Item = usize>) -> Arc<Self> {
        let api = Arc::new(Self::default());
        for n in numbers {
            api.put(
                &format!("i-n{n}"),
                &format!(r#""instanceName":"n{n}","privateIps":["{}"]"#, ip(n)),
            );
        }
        api
    }

    fn put(&self, id: &str, fields: &str) {
        let json = format!(r#"{{"instanceId":"{id}",{fields}}}"#);
        self.instances.lock().unwrap().insert(id.into(), json);
    }

    fn remove(&self, id: &str) {
        self.instances.lock().unwrap().remove(id).unwrap();
    }

    fn fail(&self, fault: impl Fn(usize, &str) -> Option<(u16, String)> + Send + 'static) {
        *self.fault.lock().unwrap() = Some(Box::new(fault));
    }

    fn always(&self, status: u16, body: &'static str) {
        self.fail(move |_, _| Some((status, body.into())));
    }

    fn cut_to(&self, most: usize) {
        *self.cut.lock().unwrap() = Some(most);
    }

    fn mend(&self) {
        *self.fault.lock().unwrap() = None;
    }

    /// Queries since the last time, decoded.
    fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    fn act(&self, query: &str) -> String {
        let instances = self.instances.lock().unwrap();
        let asked: Vec<(&str, &str)> = query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap())
            .collect();
        let get = |key: &str| asked.iter().find(|(k, _)| *k == key).map(|(_, value)| *value);
        let number = |key: &str| get(key).map(|text| text.parse::<usize>().unwrap());
        let (page, size) = (number("pageNo").unwrap_or(1), number("pageSize").unwrap_or(100));
        let ids: Option<Vec<String>> = get("instanceIds").map(|list| serde_json::from_str(list).unwrap());
        assert!(ids.as_ref().is_none_or(|ids| ids.len() <= 100), "at most 100 ids");
        let matches = |id: &String, json: &String| {
            let holds = |part: Option<String>| part.is_none_or(|part| json.contains(&part));
            ids.as_ref().is_none_or(|ids| ids.contains(id))
                && holds(get("instanceName").map(|name| format!(r#""instanceName":"{name}""#)))
                && holds(get("privateIp").map(|ip| format!(r#""{ip}""#)))
        };
        let found = instances
            .iter()
            .filter(|(id, json)| matches(id, json))
            .map(|(_, json)| json.as_str());
        let shown = self.cut.lock().unwrap().unwrap_or(size).min(size);
        let found: Vec<_> = found.skip((page - 1) * size).take(shown).collect();
        format!("[{}]", found.join(","))
    }
}

impl Transport for FakeEcs {
    fn exchange(&self, request: &Request) -> Result<Response, http::Error> {
        let mut query = request
            .url
            .strip_prefix(BASE)
            .unwrap()
            .strip_prefix('?')
            .unwrap()
            .to_string();
        for (code, plain) in [
            ("%5B", "["),
            ("%5D", "]"),
            ("%22", "\""),
            ("%2C", ","),
            ("%3A", ":"),
        ] {
            query = query.replace(code, plain);
        }
        let number = {
            let mut log = self.log.lock().unwrap();
            log.push(query.clone());
            log.len()
        };
        let fault = self
            .fault
            .lock()
            .unwrap()
            .as_ref()
            .and_then(|fault| fault(number, &query));
        let (status, body) = fault.unwrap_or_else(|| (200, self.act(&query)));
        Ok(Response::from_bytes(status, vec![], body.into_bytes()))
    }

    fn shutdown(&self) {}
}

fn ip(n: usize) -> String {
    format!("10.0.{}.{}", n / 250, n % 250 + 1)
}

struct Rig {
    api: Arc<FakeEcs>,
    instances: EcsInstances,
    clock: ManualClock,
    stop: Stop,
}

fn rig(api: Arc<FakeEcs>) -> Rig {
    let (clock, stop) = (ManualClock::new(UNIX_EPOCH), Stop::new());
    let exchanges = || {
        let transport = Arc::clone(&api) as Arc<dyn Transport>;
        Exchanges::new(transport, Arc::new(clock.clone()), stop.token(), eager())
    };
    let credentials = Credentials::Static(SecretSource::Value(Secret::new("t0")));
    let tokens = Arc::new(Tokens::new(credentials, exchanges()));
    let ecs = Ecs::new(BASE, tokens, exchanges(), Gate::open());
    let shared = Arc::new(clock.clone());
    Rig {
        instances: EcsInstances::new(ecs, Place::default(), shared),
        api,
        clock,
        stop,
    }
}

impl Rig {
    fn now(&self, nodes: &[Arc<Node>]) -> Vec<Result<Lookup, Error>> {
        self.instances.look_up(nodes, Freshness::Now)
    }

    fn recent(&self, nodes: &[Arc<Node>]) -> Vec<Result<Lookup, Error>> {
        self.instances.look_up(nodes, Freshness::Recent)
    }

    fn calls(&self) -> usize {
        self.api.take_log().len()
    }
}

/// `n<number>` with the provider ID of `i-n<number>`.
fn known_nodes(numbers: impl IntoIterator<Item = usize>) -> Vec<Arc<Node>> {
    let node = |n| node(&format!("n{n}"), &ip(n));
    numbers.into_iter().map(node).collect()
}

/// The same without a provider ID.
fn new_nodes(numbers: impl IntoIterator<Item = usize>) -> Vec<Arc<Node>> {
    known_nodes(numbers)
        .iter()
        .map(|node| with(node, |node| node.provider_id = "".into()))
        .collect()
}

fn with(node: &Arc<Node>, change: impl FnOnce(&mut Node)) -> Arc<Node> {
    let mut node = Node::clone(node);
    change(&mut node);
    Arc::new(node)
}

fn found(result: &Result<Lookup, Error>) -> &Instance {
    match result {
        Ok(Lookup::Found(instance)) => instance,
        other => panic!("{other:?}"),
    }
}

/// Each result in a word: the provider ID, `missing/<witnesses>`, the error's reason, or `unknown`.
fn words(results: &[Result<Lookup, Error>]) -> Vec<String> {
    let word = |result: &Result<Lookup, Error>| match result {
        Ok(Lookup::Found(instance)) => instance.provider_id.to_string(),
        Ok(Lookup::Missing(Absence { witnesses })) => format!("missing/{witnesses}"),
        Err(error) => error.reason().unwrap_or("unknown").into(),
    };
    results.iter().map(word).collect()
}

#[test]
fn five_thousand_nodes_cost_fifty_calls() {
    for (case, nodes, calls) in [
        ("with ids", known_nodes(0..5000), 50),
        ("without ids", new_nodes(0..5000), 51),
        ("a few more", known_nodes(0..101), 2),
        ("one", known_nodes(0..1), 1),
    ] {
        let rig = rig(FakeEcs::with(0..5000));
        let results = rig.now(&nodes);
        assert_eq!(rig.calls(), calls, "{case}");
        for (node, result) in nodes.iter().zip(&results) {
            assert_eq!(
                *found(result).provider_id,
                format!("incloud://i-{}", node.meta.name),
                "{case}"
            );
        }
        rig.clock.advance(Duration::from_millis(9_999));
        let again = rig.recent(&nodes);
        assert_eq!(
            (rig.calls(), words(&again)),
            (0, words(&results)),
            "{case}: still known"
        );
        rig.clock.advance(Duration::from_millis(1));
        rig.recent(&nodes);
        assert_eq!(rig.calls(), calls, "{case}: too old");
        rig.now(&nodes[..1]);
        assert_eq!(rig.calls(), 1, "{case}: now is now");
    }
}

#[test]
fn a_node_is_found_by_what_names_its_instance() {
    let annotated = |node: &Arc<Node>, id: &str| {
        with(node, |node| {
            node.meta.annotations = [(INSTANCE_ID, id)].into_iter().collect()
        })
    };
    let named =
        |name: &str, addresses: &str| with(&node(name, addresses), |node| node.provider_id = "".into());
    let (known, new) = (known_nodes([1]).remove(0), new_nodes([1]).remove(0));
    let provided = |id: &str| with(&known, |node| node.provider_id = id.into());
    for (case, node, want) in [
        ("provider ID", annotated(&known, "i-n2"), "incloud://i-n1"),
        (
            "an old one",
            provided("inspur:///cn-north-3a/i-n2"),
            "incloud://i-n2",
        ),
        ("annotation", annotated(&new, "i-n2"), "incloud://i-n2"),
        ("name", named("n3", &ip(4)), "incloud://i-n3"),
        (
            "internal IP",
            named("other", &format!("192.0.2.1 {}", ip(4))),
            "incloud://i-n4",
        ),
        ("IPv6", named("other", "fd00::5"), "incloud://i-six"),
        ("nothing", named("other", "192.0.2.1"), reason::NOT_FOUND),
        ("no address at all", named("other", ""), reason::NOT_FOUND),
        ("two of one name", named("twin", &ip(1)), reason::AMBIGUOUS),
        (
            "two of one address",
            named("other", "10.9.9.9"),
            reason::AMBIGUOUS,
        ),
        (
            "addresses of two",
            named("other", &format!("{} {}", ip(1), ip(2))),
            reason::AMBIGUOUS,
        ),
        ("a name that ended", named("ended", &ip(1)), "incloud://i-n1"),
        (
            "another cloud's",
            provided("kind://docker/kind/n1"),
            reason::ID_INVALID,
        ),
        ("a sentence", annotated(&new, "ask bob"), reason::ID_INVALID),
    ] {
        // alone each is searched for, in company all are listed
        let company = new_nodes(5..11);
        for nodes in [vec![Arc::clone(&node)], [vec![node], company].concat()] {
            let api = FakeEcs::with(0..11);
            api.put("i-six", r#""ipv6s":["fd00::5"]"#);
            api.put("i-a", r#""instanceName":"twin","privateIps":["10.9.9.9"]"#);
            api.put("i-b", r#""instanceName":"twin","privateIps":["10.9.9.9"]"#);
            api.put(
                "i-e",
                &format!(
                    r#""instanceName":"ended","status":"TERMINATED","privateIps":["{}"]"#,
                    ip(1)
                ),
            );
            let results = rig(api).now(&nodes);
            assert_eq!(words(&results)[0], want, "{case}, {} Nodes", nodes.len());
            assert!(results[1..].iter().all(Result::is_ok), "{case}: {results:?}");
        }
    }
}

#[test]
fn both_candidates_are_named() {
    let api = FakeEcs::with([]);
    api.put("i-a", r#""instanceName":"n1""#);
    api.put("i-b", r#""instanceName":"n1""#);
    let results = rig(api).now(&new_nodes([1]));
    let want = "the Node could be any of the instances i-a, i-b; name the right one in the annotation node.beta.kubernetes.io/instance-id";
    assert_eq!(results[0].as_ref().unwrap_err().to_string(), want);
}

#[test]
fn two_nodes_that_are_one_instance_are_both_refused() {
    let nodes = known_nodes(0..8);
    let twin = |of: &Arc<Node>, name: &str| with(of, |node| node.meta.name = name.into());
    let nodes = [
        nodes.clone(),
        vec![twin(&nodes[3], "twin"), Arc::clone(&nodes[5])],
    ]
    .concat();
    let rig = rig(FakeEcs::with(0..8));
    for (case, results) in [("asked", rig.now(&nodes)), ("known", rig.recent(&nodes))] {
        let refused: Vec<_> = results
            .iter()
            .map(|r| r.as_ref().err().and_then(Error::reason))
            .collect();
        let shared = Some(reason::SHARED);
        let want = [None, None, None, shared, None, None, None, None, shared, None];
        assert_eq!(refused, want, "{case}");
        let message = |at: usize| results[at].as_ref().unwrap_err().to_string();
        assert!(
            message(3).contains("the Node twin is incloud://i-n3 too"),
            "{case}: {}",
            message(3)
        );
        assert!(
            message(8).contains("the Node n3 is incloud://i-n3 too"),
            "{case}: {}",
            message(8)
        );
    }
    rig.api.remove("i-n3");
    let results = words(&rig.now(&nodes));
    assert_eq!(
        (&*results[3], &*results[8]),
        ("missing/7", "missing/7"),
        "nobody is what is gone"
    );
}

#[test]
fn only_a_full_answer_says_that_an_instance_is_missing() {
    for (case, status, body, want) in [
        (
            "it is not in it",
            200,
            r#"[{"instanceId":"i-n0"},{"instanceId":"i-n2"}]"#,
            "incloud://i-n0 missing/2 incloud://i-n2",
        ),
        ("an empty page", 200, "[]", "missing/0 missing/0 missing/0"),
        ("null", 200, "null", "missing/0 missing/0 missing/0"),
        ("an empty body", 200, "", "unknown unknown unknown"),
        ("HTML", 200, "<html></html>", "unknown unknown unknown"),
        (
            "truncated",
            200,
            r#"[{"instanceId":"i-n0"},{"inst"#,
            "unknown unknown unknown",
        ),
        (
            "an error in a 200",
            200,
            r#"{"code":"Busy"}"#,
            "unknown unknown unknown",
        ),
        (
            "another one in it",
            200,
            r#"[{"instanceId":"i-n0"},{"instanceId":"i-9"}]"#,
            "unknown unknown unknown",
        ),
        ("401", 401, "[]", "unknown unknown unknown"),
        ("403", 403, "[]", "unknown unknown unknown"),
        ("404", 404, "{}", "unknown unknown unknown"),
        ("429", 429, "[]", "unknown unknown unknown"),
        ("500", 500, "[]", "unknown unknown unknown"),
        ("504", 504, "", "unknown unknown unknown"),
    ] {
        let rig = rig(FakeEcs::with([]));
        // who is missing is then asked for alone
        rig.api
            .fail(move |_, query| query.contains(',').then(|| (status, body.into())));
        assert_eq!(words(&rig.now(&known_nodes(0..3))).join(" "), want, "{case}");
    }
}

#[test]
fn an_answer_that_is_cut_short_hides_nobody() {
    for (case, most, want) in [
        ("nothing in it", 0, "missing/0 missing/0 missing/0"),
        ("one", 1, "incloud://i-n0 missing/1 incloud://i-n2"),
        ("two", 2, "incloud://i-n0 missing/2 incloud://i-n2"),
    ] {
        let rig = rig(FakeEcs::with([0, 2]));
        rig.api.cut_to(most);
        assert_eq!(words(&rig.now(&known_nodes(0..3))).join(" "), want, "{case}");
    }
    let rig = rig(FakeEcs::with(0..100));
    let count = |most: usize| {
        rig.api.cut_to(most);
        let results = words(&rig.now(&known_nodes(0..100)));
        let count = |wanted: &str| results.iter().filter(|word| word.starts_with(wanted)).count();
        (count("incloud://"), count("missing/0"), rig.calls())
    };
    assert_eq!(count(50), (100, 0, 2));
    assert_eq!(
        count(20),
        (80, 20, 4),
        "who is not seen in the end is not proven gone"
    );
}

#[test]
fn a_replica_that_lost_some_for_a_moment_is_asked_again() {
    let rig = rig(FakeEcs::with([0, 1, 2]));
    rig.api
        .fail(|number, _| (number == 1).then(|| (200, r#"[{"instanceId":"i-n0"}]"#.into())));
    let want = ["incloud://i-n0", "incloud://i-n1", "incloud://i-n2", "missing/1"];
    assert_eq!(words(&rig.now(&known_nodes(0..4))), want);
    assert_eq!(rig.calls(), 3);
    rig.api.fail(|number, _| (number > 1).then(|| (403, "{}".into())));
    let results = words(&rig.now(&known_nodes(2..4)));
    assert_eq!(results, ["incloud://i-n2", "unknown"], "not confirmed");
}

#[test]
fn that_something_is_missing_is_never_remembered() {
    let rig = rig(FakeEcs::with(0..3));
    let nodes = known_nodes(0..3);
    rig.now(&nodes);
    rig.api.remove("i-n1");
    assert_eq!(words(&rig.now(&nodes[1..2])), ["missing/2"]);
    assert_eq!(
        words(&rig.recent(&nodes[1..2])),
        ["missing/2"],
        "nor is it there from before"
    );
    assert_eq!(rig.calls(), 1 + 2 + 2);
    rig.api.put("i-n1", r#""instanceName":"n1""#);
    assert_eq!(words(&rig.recent(&nodes[1..2])), ["incloud://i-n1"]);
}

#[test]
fn a_node_alone_has_witnesses_from_before_in_the_same_call() {
    let rig = rig(FakeEcs::with(0..20));
    assert_eq!(words(&rig.now(&known_nodes([7]))), ["incloud://i-n7"]);
    rig.now(&known_nodes(0..20));
    rig.api.take_log();
    rig.api.remove("i-n7");
    assert_eq!(words(&rig.now(&known_nodes([7]))), ["missing/5"]);
    let want = [
        r#"instanceIds=["i-n7","i-n0","i-n1","i-n10","i-n11","i-n12"]&pageNo=1&pageSize=100"#,
        r#"instanceIds=["i-n7"]&pageNo=1&pageSize=100"#,
    ];
    assert_eq!(rig.api.take_log(), want, "asked for in company, and then alone");

    // the witnesses are gone too: the others step in, and whoever is gone is none any more
    for n in [0, 1, 10, 11, 12] {
        rig.api.remove(&format!("i-n{n}"));
    }
    assert_eq!(
        words(&rig.now(&known_nodes([7, 8]))),
        ["missing/1", "incloud://i-n8"]
    );
    assert_eq!(words(&rig.now(&known_nodes([7]))), ["missing/5"]);

    rig.api.always(200, "[]");
    assert_eq!(words(&rig.now(&known_nodes([7]))), ["missing/0"]);
    rig.api.mend();
    assert_eq!(
        words(&rig.now(&known_nodes([7]))),
        ["missing/5"],
        "an empty answer takes no witness away"
    );
}

#[test]
fn a_404_about_the_only_instance_ever_seen_has_no_witness() {
    let rig = rig(FakeEcs::with([]));
    rig.api
        .always(404, r#"{"code":"404","message":"no such instance"}"#);
    assert_eq!(words(&rig.now(&known_nodes([1]))), ["missing/0"]);
    rig.api.always(404, "<html></html>");
    assert_eq!(words(&rig.now(&known_nodes([1]))), ["unknown"]);
}

#[test]
fn a_hundred_that_are_gone_together_have_witnesses_as_well() {
    let rig = rig(FakeEcs::with(0..110));
    rig.now(&known_nodes(0..110));
    for n in 0..100 {
        rig.api.remove(&format!("i-n{n}"));
    }
    rig.api.take_log();
    let results = rig.now(&known_nodes(0..100));
    assert!(
        words(&results).iter().all(|word| word == "missing/5"),
        "{results:?}"
    );
    assert_eq!(rig.calls(), 1 + 2 + 1);
}

#[test]
fn a_failure_of_one_call_is_one_of_its_nodes_alone() {
    let rig = rig(FakeEcs::with(0..250));
    rig.api
        .fail(|_, query| query.contains(r#""i-n1","#).then(|| (403, "{}".into())));
    let results = words(&rig.now(&known_nodes(0..250)));
    let unknown = results.iter().filter(|word| *word == "unknown").count();
    assert_eq!((unknown, rig.calls()), (83, 3));
}

#[test]
fn an_outage_is_not_asked_for_long() {
    let rig = rig(FakeEcs::with([]));
    rig.api.always(403, "{}");
    let results = words(&rig.now(&[known_nodes(0..5000), new_nodes(5000..5003)].concat()));
    assert!(results.iter().all(|word| word == "unknown"));
    assert_eq!(rig.calls(), 2);
}

#[test]
fn an_id_that_the_cloud_refuses_is_refused_alone() {
    let rig = rig(FakeEcs::with(0..100));
    rig.api
        .fail(|_, query| query.contains(r#""i-n42""#).then(|| (400, "{}".into())));
    let results = words(&rig.now(&known_nodes(0..100)));
    let unknown: Vec<_> = (0..100).filter(|&n| results[n] == "unknown").collect();
    assert_eq!(unknown, [42]);
    let calls = rig.calls();
    assert!(calls <= 1 + 2 * 7, "{calls}");

    rig.api.always(400, "{}");
    assert!(
        words(&rig.now(&known_nodes(0..5000)))
            .iter()
            .all(|word| word == "unknown")
    );
    assert!(
        rig.calls() <= 50 + 16,
        "one that refuses everything is not asked for each"
    );
}

#[test]
fn an_address_that_is_none_is_the_trouble_of_its_node_alone() {
    let rig = rig(FakeEcs::with(0..3));
    rig.api.put("i-n1", r#""privateIps":["10.0.0.2","pending"]"#);
    let want = ["incloud://i-n0", reason::ADDRESS_INVALID, "incloud://i-n2"];
    assert_eq!(words(&rig.now(&known_nodes(0..3))), want);
    assert_eq!(words(&rig.recent(&known_nodes(0..3))), want);
}

#[test]
fn what_an_instance_is_comes_from_the_api() {
    let rig = rig(FakeEcs::with([]));
    rig.api.put(
        "i-n1",
        r#""status":"STOPPED","instanceType":"c5.large","regionId":"cn-north-3","zoneId":"cn-north-3a","vpcId":"vpc-1","privateIps":["10.0.0.2"]"#,
    );
    let results = rig.now(&known_nodes([1]));
    let instance = found(&results[0]);
    assert_eq!(instance.state, InstanceState::ShutDown);
    assert_eq!(
        [&*instance.instance_type, &*instance.region, &*instance.zone],
        ["c5.large", "cn-north-3", "cn-north-3a"]
    );
    assert_eq!(
        instance.labels,
        [("node.inspur.com/vpc-id".into(), "vpc-1".into())]
    );
}

#[test]
fn many_new_nodes_one_after_the_other_are_listed_once() {
    let rig = rig(FakeEcs::with(0..253));
    for node in new_nodes(0..253) {
        assert!(rig.recent(&[node])[0].is_ok());
    }
    let calls = rig.calls();
    assert_eq!(calls, FIRST_FEW + 3, "three pages");
    // a few that are not in the list are not worth another one
    let stranger = with(&new_nodes([0])[0], |node| {
        node.meta.name = "stranger".into();
        node.addresses = [].into();
    });
    assert_eq!(words(&rig.recent(&[stranger])), [reason::NOT_FOUND]);
    assert_eq!(rig.api.take_log(), ["instanceName=stranger"]);
}

/// What comes before many are seen to come.
const FIRST_FEW: usize = 5;

#[test]
fn a_list_that_fails_says_nothing_of_anybody() {
    let rig = rig(FakeEcs::with(0..250));
    rig.api
        .fail(|_, query| query.starts_with("pageNo=2").then(|| (403, "{}".into())));
    assert!(
        words(&rig.now(&new_nodes(0..250)))
            .iter()
            .all(|word| word == "unknown")
    );
    rig.clock.advance(Duration::from_secs(10));
    rig.api
        .fail(|_, query| query.starts_with("instanceName").then(|| (403, "{}".into())));
    assert_eq!(
        words(&rig.now(&new_nodes([1]))),
        ["unknown"],
        "no fall-back to the address either"
    );
}

#[test]
fn a_look_up_ends_when_it_is_time_to_stop() {
    let rig = rig(FakeEcs::with(0..3));
    rig.stop.stop();
    let results = rig.now(&known_nodes(0..3));
    assert!(
        results.iter().all(|result| matches!(result, Err(Error::Stopped))),
        "{results:?}"
    );
    assert_eq!(rig.calls(), 0);
}
