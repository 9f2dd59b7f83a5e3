//! A reflector driven step by step against a script of answers.

use std::collections::VecDeque;
use std::io;
use std::sync::Mutex;
use std::time::SystemTime;

use super::*;
use crate::http::{self, Request, Response, Transport};
use crate::informer::{Store, store};
use crate::k8s::types::Node;
use crate::runtime::clock::ManualClock;
use crate::runtime::stop::Stop;

mod measured;

/// One answer of the script.
enum Answer {
    Status(u16, String),
    Body(Vec<Chunk>),
    Refused,
}

/// One read of a body.
#[derive(Clone)]
enum Chunk {
    Bytes(Vec<u8>),
    /// Silence, until the read is given up.
    Tick,
    Reset,
}

#[derive(Clone)]
struct Script {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    requests: Arc<Mutex<Vec<String>>>,
    clock: ManualClock,
}

impl Transport for Script {
    fn exchange(&self, request: &Request) -> Result<Response, http::Error> {
        let path = request.url.strip_prefix("http://api/api/v1/").unwrap();
        self.requests.lock().unwrap().push(path.to_string());
        let refused = || http::Error::Connect {
            peer: "api".into(),
            source: io::ErrorKind::ConnectionRefused.into(),
        };
        match self.answers.lock().unwrap().pop_front() {
            None | Some(Answer::Refused) => Err(refused()),
            Some(Answer::Status(status, body)) => Ok(Response::from_bytes(status, vec![], body.into_bytes())),
            Some(Answer::Body(chunks)) => Ok(Response {
                status: 200,
                headers: vec![],
                body: Box::new(Body {
                    chunks: chunks.into(),
                    clock: self.clock.clone(),
                }),
            }),
        }
    }

    fn shutdown(&self) {}
}

struct Body {
    chunks: VecDeque<Chunk>,
    clock: ManualClock,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.chunks.pop_front() {
            None => Ok(0),
            Some(Chunk::Tick) => {
                self.clock.advance(TICK);
                Err(io::ErrorKind::TimedOut.into())
            }
            Some(Chunk::Reset) => Err(io::ErrorKind::ConnectionReset.into()),
            Some(Chunk::Bytes(bytes)) => {
                let n = bytes.len().min(buffer.len());
                buffer[..n].copy_from_slice(&bytes[..n]);
                if n < bytes.len() {
                    self.chunks.push_front(Chunk::Bytes(bytes[n..].to_vec()));
                }
                Ok(n)
            }
        }
    }
}

struct World {
    reflector: Reflector<Node>,
    store: Store<Node>,
    script: Script,
    told: Arc<Mutex<Vec<String>>>,
    stop: Stop,
}

fn world(answers: impl IntoIterator<Item = Answer>) -> World {
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
    let script = Script {
        answers: Arc::new(Mutex::new(answers.into_iter().collect())),
        requests: Arc::default(),
        clock: clock.clone(),
    };
    let (writer, store) = store();
    let stop = Stop::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&told);
    let version = |object: &Option<Arc<Node>>| {
        object
            .as_ref()
            .map_or("-".to_string(), |o| o.meta.resource_version.to_string())
    };
    let handler: Handler<Node> = Box::new(move |change| {
        let line = format!("{} {}→{}", change.key, version(&change.old), version(&change.new));
        hear.lock().unwrap().push(line);
    });
    let client = Client::new("http://api", Arc::new(script.clone()), stop.token());
    World {
        reflector: Reflector::new(
            client,
            writer,
            vec![handler],
            Arc::new(clock),
            Arc::new(Random::from_seed(1)),
        ),
        store,
        script,
        told,
        stop,
    }
}

impl World {
    /// Runs until the script is used up and the last watch has been read. Returns the requests, without the part that
    /// is left to chance, and forgets them.
    fn run(&mut self) -> Vec<String> {
        for _ in 0..100_000 {
            let is_over = self.script.answers.lock().unwrap().is_empty();
            if is_over && matches!(self.reflector.work, Work::Due(_)) {
                let requests = std::mem::take(&mut *self.script.requests.lock().unwrap());
                return requests
                    .iter()
                    .map(|r| r.split("&timeoutSeconds=").next().unwrap().to_string())
                    .collect();
            }
            if let Step::Wait(delay) = self.reflector.step(&self.stop.token()) {
                self.script.clock.advance(delay);
            }
        }
        panic!("the script does not end");
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.told.lock().unwrap())
    }

    fn versions(&self) -> Vec<String> {
        let all = self.store.list();
        all.iter()
            .map(|n| format!("{}@{}", n.meta.name, n.meta.resource_version))
            .collect()
    }

    fn then(&self, answers: impl IntoIterator<Item = Answer>) {
        self.script.answers.lock().unwrap().extend(answers);
    }
}

fn node(name: &str, version: u32) -> String {
    format!(
        r#"{{"kind":"Node","apiVersion":"v1","metadata":{{"name":"{name}","uid":"u-{name}","resourceVersion":"{version}"}}}}"#
    )
}

fn page(version: u32, next: &str, items: &[String]) -> Answer {
    body(&format!(
        r#"{{"kind":"NodeList","apiVersion":"v1","metadata":{{"resourceVersion":"{version}","continue":"{next}"}},"items":[{}]}}"#,
        items.join(",")
    ))
}

fn list(version: u32, items: &[String]) -> Answer {
    page(version, "", items)
}

fn body(text: &str) -> Answer {
    Answer::Body(vec![Chunk::Bytes(text.as_bytes().to_vec())])
}

fn event(type_: &str, object: &str) -> Chunk {
    Chunk::Bytes(format!("{{\"type\":\"{type_}\",\"object\":{object}}}\n").into_bytes())
}

fn bookmark(version: u32) -> Chunk {
    event(
        "BOOKMARK",
        &format!(r#"{{"metadata":{{"resourceVersion":"{version}"}}}}"#),
    )
}

fn status(code: u16, reason: &str) -> String {
    format!(r#"{{"kind":"Status","code":{code},"reason":"{reason}","message":"no"}}"#)
}

fn watch(chunks: impl IntoIterator<Item = Chunk>) -> Answer {
    Answer::Body(chunks.into_iter().collect())
}

/// A watch request from that version.
fn watch_from(version: u32) -> String {
    format!("nodes?watch=1&resourceVersion={version}&allowWatchBookmarks=true")
}

const FIRST: &str = "nodes?limit=500";

fn many(count: usize, version: u32) -> Vec<String> {
    (0..count).map(|n| node(&format!("n{n:03}"), version)).collect()
}

#[test]
fn a_list_in_pages_fills_the_store_at_once_and_a_watch_follows() {
    let mut w = world([page(7, "t/1", &[node("a", 1)]), page(7, "t2", &[])]);
    w.run_pages(2);
    assert!(
        !w.store.is_synced() && w.store.is_empty(),
        "nothing shows before the last page"
    );
    w.then([
        list(7, &[node("b", 2)]),
        watch([
            event("ADDED", &node("c", 8)),
            event("MODIFIED", &node("a", 9)),
            event("DELETED", &node("b", 10)),
            bookmark(20),
        ]),
        watch([]),
    ]);
    assert_eq!(
        w.run(),
        [
            FIRST,
            "nodes?limit=500&continue=t%2F1",
            "nodes?limit=500&continue=t2",
            &watch_from(7),
            &watch_from(20),
        ]
    );
    assert!(w.store.is_synced());
    assert_eq!(w.versions(), ["a@9", "c@8"]);
    assert_eq!(w.told(), ["a -→1", "b -→2", "c -→8", "a 1→9", "b 2→-"]);
}

impl World {
    fn run_pages(&mut self, pages: usize) {
        for _ in 0..pages {
            assert_eq!(self.reflector.step(&self.stop.token()), Step::Worked);
        }
    }
}

#[test]
fn a_list_that_proves_nothing_changes_nothing() {
    let whole = r#"{"kind":"NodeList","apiVersion":"v1","metadata":{"resourceVersion":"9"},"items":[]}"#;
    for (case, answer) in [
        ("HTML", body("<html>hello</html>")),
        ("empty", body("")),
        ("{}", body("{}")),
        ("a Status", body(&status(200, ""))),
        ("cut short", body(&whole[..whole.len() - 1])),
        (
            "broken at the very end",
            watch([Chunk::Bytes(whole.as_bytes().to_vec()), Chunk::Reset]),
        ),
        ("500", Answer::Status(500, String::new())),
        ("403", Answer::Status(403, status(403, "Forbidden"))),
        ("404", Answer::Status(404, status(404, "NotFound"))),
        ("422", Answer::Status(422, status(422, "Invalid"))),
        ("no version", body(&whole.replace('9', "0"))),
        ("older than what is known", list(6, &[])),
    ] {
        // with objects known: after a 410 the list is asked for again
        let mut w = world([
            list(7, &[node("a", 1)]),
            Answer::Status(410, status(410, "Expired")),
            answer,
            list(9, &[node("a", 1)]),
        ]);
        let requests = w.run();
        assert_eq!(
            requests[..4],
            [
                FIRST,
                &watch_from(7),
                "nodes?resourceVersion=7",
                requests[3].as_str()
            ],
            "{case}"
        );
        assert_eq!(
            (w.told(), w.versions()),
            (vec!["a -→1".into()], vec!["a@1".into()]),
            "{case}"
        );
    }
    // with nothing known: the store does not pretend to be synced
    let mut w = world([
        body("<html>"),
        Answer::Refused,
        Answer::Status(503, String::new()),
    ]);
    assert_eq!(w.run(), [FIRST, FIRST, FIRST]);
    assert!(!w.store.is_synced());
}

#[test]
fn null_items_are_an_empty_list() {
    let mut w = world([
        body(r#"{"kind":"NodeList","apiVersion":"v1","metadata":{"resourceVersion":"9"},"items":null}"#),
        watch([]),
    ]);
    assert_eq!(w.run(), [FIRST, &watch_from(9)]);
    assert!(w.store.is_synced() && w.store.is_empty());
}

#[test]
fn pages_that_expire_are_read_again_as_a_whole() {
    let mut w = world([
        page(7, "t1", &[node("a", 1)]),
        Answer::Status(410, status(410, "Expired")),
        list(8, &[node("b", 2)]),
        watch([]),
    ]);
    assert_eq!(
        w.run(),
        [FIRST, "nodes?limit=500&continue=t1", "nodes", &watch_from(8)]
    );
    assert_eq!(w.told(), ["b -→2"]);
}

#[test]
fn pages_that_do_not_fit_together_start_over() {
    for (case, second) in [
        ("another version", list(8, &[node("b", 2)])),
        ("a circle", page(7, "t1", &[node("b", 2)])),
    ] {
        let mut w = world([page(7, "t1", &[node("a", 1)]), second, list(9, &[node("c", 3)])]);
        assert_eq!(w.run(), [FIRST, "nodes?limit=500&continue=t1", FIRST], "{case}");
        assert_eq!(w.versions(), ["c@3"], "{case}");
    }
}

#[test]
fn an_expired_watch_lists_from_the_known_version_and_then_the_newest() {
    let expired = || event("ERROR", &status(410, "Expired"));
    let mut w = world([
        list(7, &[node("a", 1), node("b", 2)]),
        watch([
            event("MODIFIED", &node("a", 9)),
            expired(),
            event("ADDED", &node("x", 99)),
        ]),
        Answer::Status(410, status(410, "Expired")),
        list(12, &[node("a", 9), node("c", 11)]),
        watch([]),
    ]);
    assert_eq!(
        w.run(),
        [
            FIRST,
            &watch_from(7),
            "nodes?resourceVersion=9",
            FIRST,
            &watch_from(12)
        ]
    );
    assert_eq!(w.told(), ["a -→1", "b -→2", "a 1→9", "b 2→-", "c -→11"]);
}

#[test]
fn a_version_from_the_future_lists_the_newest() {
    let too_large = r#"{"kind":"Status","code":504,"reason":"Timeout","message":"Too large resource version: 70, current: 5",
        "details":{"causes":[{"reason":"ResourceVersionTooLarge"}],"retryAfterSeconds":1}}"#;
    let mut w = world([
        list(70, &[node("a", 60), node("b", 61)]),
        watch([event("ERROR", too_large)]),
        list(5, &[node("a", 4)]),
        watch([]),
    ]);
    assert_eq!(w.run(), [FIRST, &watch_from(70), FIRST, &watch_from(5)]);
    assert_eq!(w.versions(), ["a@4"], "the server went back, and so do we");
}

#[test]
fn a_server_that_went_back_silently_is_noticed() {
    let silent = || watch(vec![Chunk::Tick; 400]);
    let mut w = world([
        list(70, &[node("a", 60)]),
        silent(),
        silent(),
        silent(),
        list(5, &[]),
        list(5, &[node("b", 4)]),
        watch([]),
    ]);
    let from_70 = watch_from(70);
    assert_eq!(
        w.run(),
        [
            FIRST,
            &from_70,
            &from_70,
            &from_70,
            "nodes?limit=1",
            FIRST,
            &watch_from(5)
        ]
    );
    assert_eq!(w.versions(), ["b@4"]);
}

#[test]
fn a_watch_ends_at_its_deadline_and_goes_on_from_its_version() {
    let mut w = world([list(7, &[]), watch(vec![Chunk::Tick; 400]), watch([])]);
    let start = w.script.clock.now();
    assert_eq!(w.run(), [FIRST, &watch_from(7), &watch_from(7)]);
    let seconds = (w.script.clock.now() - start).as_secs();
    assert!((255..=321).contains(&seconds), "{seconds} s");
}

#[test]
fn a_watch_cut_anywhere_goes_on_without_loss() {
    let stream = [event("ADDED", &node("b", 8)), event("MODIFIED", &node("a", 9))]
        .map(|chunk| match chunk {
            Chunk::Bytes(bytes) => bytes,
            _ => vec![],
        })
        .concat();
    for cut in 0..stream.len() {
        let first = Chunk::Bytes(stream[..cut].to_vec());
        let cuts = if cut % 2 == 0 {
            vec![first, Chunk::Reset]
        } else {
            vec![first]
        };
        let cuts: Vec<Chunk> = cuts
            .into_iter()
            .filter(|c| !matches!(c, Chunk::Bytes(b) if b.is_empty()))
            .collect();
        let whole = Chunk::Bytes(stream.clone());
        let mut w = world([list(7, &[node("a", 1)]), watch(cuts), watch([whole])]);
        assert_eq!(w.run().len(), 3, "no list but the first, cut at {cut}");
        assert_eq!(w.told(), ["a -→1", "b -→8", "a 1→9"], "cut at {cut}");
    }
}

#[test]
fn only_watches_that_end_at_once_without_a_word_lead_to_a_list() {
    let half = Chunk::Bytes(br#"{"type":"ADDED","#.to_vec());
    for (case, heard, want) in [
        ("nothing", vec![], "nodes?resourceVersion=7"),
        ("a word", vec![bookmark(7)], &watch_from(7)),
        ("half a word", vec![half], &watch_from(7)),
    ] {
        let end = || watch(heard.clone());
        let answers = [list(7, &[]), end(), end(), end(), watch([])];
        assert_eq!(world(answers).run().last().unwrap(), want, "{case}");
    }
}

#[test]
fn events_again_and_events_of_old_change_nothing() {
    let mut w = world([
        list(7, &[node("a", 5)]),
        watch([
            event("MODIFIED", &node("a", 9)),
            event("MODIFIED", &node("a", 8)),
            event("ADDED", &node("a", 9)),
            event("DELETED", &node("a", 6)),
            bookmark(4),
        ]),
        watch([]),
    ]);
    assert_eq!(w.run(), [FIRST, &watch_from(7), &watch_from(9)]);
    assert_eq!(w.told(), ["a -→5", "a 5→9"]);
}

#[test]
fn what_is_no_watch_lists_again() {
    let foreign = event("ADDED", &node("p", 8).replace(r#""Node""#, r#""Pod""#));
    for (case, chunks) in [
        ("broken JSON", vec![Chunk::Bytes(b"{\"type\":]}".to_vec())]),
        ("HTML", vec![Chunk::Bytes(b"<html>".to_vec())]),
        ("an unknown type", vec![event("PONDERED", &node("a", 8))]),
        (
            "no version",
            vec![event("ADDED", r#"{"metadata":{"name":"x","uid":"u"}}"#)],
        ),
        (
            "a server error",
            vec![event("ERROR", &status(500, "InternalError"))],
        ),
        ("a bad request", vec![event("ERROR", &status(400, "BadRequest"))]),
        (
            "another kind, again and again",
            vec![foreign.clone(), foreign.clone(), foreign.clone()],
        ),
        (
            "a list, since a proxy dropped the query",
            vec![Chunk::Bytes(br#"{"kind":"NodeList","items":[]}"#.to_vec())],
        ),
    ] {
        let mut w = world([list(7, &[node("a", 1)]), watch(chunks), list(9, &[node("a", 1)])]);
        assert_eq!(
            w.run(),
            [FIRST, &watch_from(7), "nodes?resourceVersion=7"],
            "{case}"
        );
        assert_eq!(w.told(), ["a -→1"], "{case}");
    }
    let mut w = world([
        list(7, &[]),
        watch([foreign.clone(), foreign, event("ADDED", &node("b", 9))]),
    ]);
    assert_eq!(w.run().len(), 2);
    assert_eq!(w.told(), ["b -→9"]);
}

#[test]
fn a_watch_that_cannot_be_opened_keeps_its_version() {
    let mut w = world([
        list(7, &[]),
        Answer::Refused,
        Answer::Status(429, "slow down".into()),
        Answer::Status(401, String::new()),
        Answer::Status(403, String::new()),
        Answer::Status(503, String::new()),
        watch([event("ADDED", &node("a", 8))]),
    ]);
    let requests = w.run();
    assert_eq!(requests[0], FIRST);
    assert!(requests[1..].iter().all(|r| *r == watch_from(7)), "{requests:?}");
    assert_eq!(w.told(), ["a -→8"]);
}

#[test]
fn a_server_that_refuses_bookmarks_is_asked_without() {
    let mut w = world([
        list(7, &[]),
        Answer::Status(400, status(400, "BadRequest")),
        list(8, &[]),
        watch([]),
    ]);
    assert_eq!(
        w.run(),
        [FIRST, &watch_from(7), FIRST, "nodes?watch=1&resourceVersion=8"]
    );
}

#[test]
fn a_list_that_takes_most_away_needs_another_to_confirm_it() {
    let expired = || Answer::Status(410, status(410, "Expired"));
    for (case, second, want) in [
        ("the second is full", list(10, &many(12, 1)), 12),
        ("the second agrees", list(10, &[]), 0),
        ("the second says less", list(10, &many(3, 1)), 3),
    ] {
        let mut w = world([list(7, &many(12, 1)), expired(), list(9, &[]), second]);
        assert_eq!(
            w.run(),
            [FIRST, &watch_from(7), "nodes?resourceVersion=7", FIRST],
            "{case}"
        );
        assert_eq!(w.store.len(), want, "{case}");
        assert_eq!(w.told().len(), 12 + 12 - want, "{case}");
    }
    for (case, before, after) in [("few are known", 10, 0), ("half is left", 12, 6)] {
        let mut w = world([list(7, &many(before, 1)), expired(), list(9, &many(after, 1))]);
        assert_eq!(w.run().len(), 3, "{case}");
        assert_eq!(w.store.len(), after, "{case}");
    }
}

#[test]
fn an_object_that_does_not_decode_is_left_alone() {
    let odd = |name: &str, version| node(name, version).replace(r#""metadata""#, r#""spec":[7],"metadata""#);
    let mut w = world([
        list(7, &[node("a", 1), odd("b", 2), node("c", 3)]),
        watch([event("MODIFIED", &odd("a", 8)), event("ADDED", &odd("d", 9))]),
        Answer::Status(410, String::new()),
        list(12, &[odd("a", 8), odd("b", 2), node("c", 3), node("d", 11)]),
    ]);
    let requests = w.run();
    assert_eq!(
        requests[2..],
        [watch_from(9), "nodes?resourceVersion=9".to_string()]
    );
    assert_eq!(w.told(), ["a -→1", "c -→3", "d -→11"]);
    assert_eq!(w.versions(), ["a@1", "c@3", "d@11"]);
}

#[test]
fn an_object_that_was_replaced_while_away_goes_before_it_comes() {
    let mut w = world([
        list(7, &[node("a", 1), node("b", 2)]),
        Answer::Status(410, String::new()),
        list(12, &[node("b", 2), node("a", 11).replace("u-a", "u-new")]),
    ]);
    w.run();
    assert_eq!(w.told(), ["a -→1", "b -→2", "a 1→-", "a -→11"]);
}

#[test]
fn a_day_of_quiet_watches_makes_no_list_and_no_change() {
    let windows = (0..330).map(|n| watch([Chunk::Tick, Chunk::Tick, bookmark(8 + n)]));
    let mut w = world([list(7, &many(3, 1))].into_iter().chain(windows));
    let requests = w.run();
    assert_eq!(requests.iter().filter(|r| !r.contains("watch=1")).count(), 1);
    assert_eq!(w.told().len(), 3);
}

#[test]
fn a_server_that_is_down_is_asked_less_and_less() {
    let mut w = world((0..30).map(|_| Answer::Refused));
    let start = w.script.clock.now();
    assert_eq!(w.run().len(), 30);
    let minutes = (w.script.clock.now() - start).as_secs() / 60;
    assert!((12..25).contains(&minutes), "{minutes} minutes for 30 tries");
}

#[test]
fn a_reflector_that_runs_stops_when_asked() {
    let w = world([list(7, &[node("a", 1)])]);
    std::thread::scope(|scope| {
        let (stop, store) = (w.stop.token(), w.store.clone());
        scope.spawn(move || w.reflector.run(&stop));
        assert!(store.wait_synced(&w.stop.token()));
        w.stop.stop();
    });
}

#[test]
fn the_end_of_a_watch_at_the_stop_is_no_news() {
    let mut w = world([list(7, &[]), watch([event("ADDED", &node("a", 8))])]);
    for _ in 0..2 {
        w.reflector.step(&w.stop.token());
    }
    w.stop.stop();
    w.reflector.step(&w.stop.token());
    assert!(w.told().is_empty() && w.store.is_empty());
}
