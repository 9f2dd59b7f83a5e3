//! The server as a [`Core`]: streams that wait, and what tests and the demo do to it.

use std::sync::mpsc;
use std::time::UNIX_EPOCH;

use serde_json::json;

use super::*;
use crate::runtime::clock::ManualClock;

const PATIENCE: Duration = Duration::from_secs(20);

fn node(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

fn watch(api: &ApiServer, target: &str) -> Box<dyn Stream> {
    let now = now(&*api.clock);
    match api.respond(&Incoming::new("GET", target), now) {
        Answer::Stream { stream, .. } => stream,
        Answer::Full(reply) => panic!("{}", String::from_utf8_lossy(&reply.body)),
    }
}

fn next(stream: &mut dyn Stream, timeout: Duration) -> Option<(String, String)> {
    let Piece::Bytes(bytes) = stream.next(timeout) else {
        return None;
    };
    let event: Value = serde_json::from_slice(&bytes).unwrap();
    Some((
        text(&event, "/type").to_owned(),
        text(&event, "/object/metadata/name").to_owned(),
    ))
}

fn open() -> ApiServer {
    let api = ApiServer::new(1);
    api.open(true);
    api
}

#[test]
fn two_seeds_are_two_clusters_and_one_seed_is_one() {
    let uid = |seed| {
        ApiServer::new(seed)
            .object(Resource::Namespaces, "", "kube-system")
            .unwrap()["metadata"]["uid"]
            .clone()
    };
    assert_eq!(uid(1), uid(1));
    assert_ne!(uid(1), uid(2));
}

#[test]
fn a_stream_wakes_up_for_a_write() {
    let api = open();
    let mut stream = watch(
        &api,
        &format!("/api/v1/nodes?watch=1&resourceVersion={}", api.version()),
    );
    assert_eq!(stream.next(Duration::ZERO), Piece::Idle);
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || sender.send(next(&mut *stream, PATIENCE)).unwrap());
        api.create(Resource::Nodes, &node("n1")).unwrap();
    });
    assert_eq!(receiver.recv().unwrap(), Some(("ADDED".into(), "n1".into())));
}

#[test]
fn a_stream_goes_by_the_servers_clock() {
    let clock = ManualClock::new(UNIX_EPOCH);
    let api = ApiServer::with_clock(1, Arc::new(clock.clone()));
    api.open(true);
    let mut stream = watch(
        &api,
        "/api/v1/nodes?watch=1&resourceVersion=1&allowWatchBookmarks=1&timeoutSeconds=90",
    );
    assert_eq!(stream.next(Duration::ZERO), Piece::Idle);
    clock.advance(Duration::from_secs(60));
    assert_eq!(
        next(&mut *stream, Duration::ZERO),
        Some(("BOOKMARK".into(), String::new()))
    );
    clock.advance(Duration::from_secs(30));
    assert_eq!(stream.next(Duration::ZERO), Piece::End);
}

#[test]
fn open_watches_can_be_marked_expired_and_ended() {
    let api = open();
    let target = format!(
        "/api/v1/nodes?watch=1&allowWatchBookmarks=1&resourceVersion={}",
        api.version()
    );
    let mut marked = watch(&api, &target);
    let object = json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}});
    api.create(Resource::Services, &object).unwrap();
    api.send_bookmarks();
    assert_eq!(
        next(&mut *marked, Duration::ZERO),
        Some(("BOOKMARK".into(), String::new()))
    );
    let mut expired = watch(&api, &target);
    api.expire_watches();
    assert_eq!(
        next(&mut *expired, Duration::ZERO),
        Some(("ERROR".into(), String::new()))
    );
    assert_eq!(expired.next(Duration::ZERO), Piece::End);
    let mut ended = watch(&api, &target);
    api.end_watches();
    assert_eq!(ended.next(Duration::ZERO), Piece::End);
}

#[test]
fn compacting_forgets_for_newcomers_only() {
    let api = open();
    let target = format!("/api/v1/nodes?watch=1&resourceVersion={}", api.version());
    let mut early = watch(&api, &target);
    api.create(Resource::Nodes, &node("n1")).unwrap();
    api.compact();
    assert_eq!(
        next(&mut *early, Duration::ZERO),
        Some(("ADDED".into(), "n1".into()))
    );
    assert_eq!(
        next(&mut *watch(&api, &target), Duration::ZERO),
        Some(("ERROR".into(), String::new()))
    );
}

#[test]
fn tests_write_read_and_wait_without_a_client() {
    let api = open();
    let created = api.create(Resource::Nodes, &node("n1")).unwrap();
    assert!(
        api.create(Resource::Nodes, &node("n1"))
            .unwrap_err()
            .contains("already exists")
    );
    assert!(
        api.create(Resource::Nodes, &json!({"metadata": {"name": "n2"}, "spex": {}}))
            .unwrap_err()
            .contains("spex")
    );
    let patched = api
        .patch(
            Resource::Nodes,
            "",
            "n1",
            &json!({"metadata": {"labels": {"a": "b"}, "finalizers": ["a.b/c"]}}),
        )
        .unwrap();
    assert_eq!(patched["metadata"]["uid"], created["metadata"]["uid"]);
    api.patch_status(Resource::Nodes, "", "n1", &json!({"status": {"phase": "x"}}))
        .unwrap();
    assert_eq!(
        api.object(Resource::Nodes, "", "n1").unwrap()["status"]["phase"],
        "x"
    );
    assert!(api.delete(Resource::Nodes, "", "n1"));
    assert!(
        api.objects(Resource::Nodes).contains_key("n1"),
        "a finalizer holds it"
    );
    assert!(api.remove(Resource::Nodes, "", "n1"));
    assert!(!api.delete(Resource::Nodes, "", "n1"));
    api.put_unchecked(
        Resource::Services,
        json!({"metadata": {"name": "odd", "namespace": "default"}, "spec": 7}),
    );
    let waited = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            api.wait_until(Resource::Nodes, PATIENCE, |nodes| {
                nodes.contains_key("n3").then_some(nodes.len())
            })
        });
        api.create(Resource::Nodes, &node("n3")).unwrap();
        waiter.join().unwrap()
    });
    assert_eq!(waited, Some(1));
    assert_eq!(api.objects(Resource::Services)["default/odd"]["spec"], 7);
}
