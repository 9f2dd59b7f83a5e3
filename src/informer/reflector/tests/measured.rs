//! What is shown of a reflector.

use super::*;
use crate::metrics::lines;

/// What is shown of the reflector of Nodes, by name and what follows the resource.
fn shown(metrics: &Metrics) -> Vec<String> {
    let lines = lines(metrics, "informer_").into_iter();
    lines
        .map(|line| {
            line.replace("reason=", "")
                .replace("end=", "")
                .replace("type=", "")
                .replace("resource=\"nodes\"", "")
                .replace("informer_", "")
                .replace(['{', '}', ',', '"'], " ")
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

#[test]
fn a_scrape_shows_what_became_of_lists_and_watches() {
    let odd = node("o", 11).replace(r#""metadata""#, r#""spec":[7],"metadata""#);
    let mut w = world([
        Answer::Refused,
        list(7, &[node("a", 1), node("b", 2)]),
        watch([
            event("ADDED", &node("c", 8)),
            event("MODIFIED", &node("a", 9)),
            event("DELETED", &node("b", 10)),
            event("ADDED", &odd),
            bookmark(12),
            event("ERROR", &status(410, "Expired")),
        ]),
        list(12, &[node("a", 9), node("c", 8)]),
        Answer::Status(503, String::new()),
        watch([bookmark(13), Chunk::Tick]),
        watch([Chunk::Bytes(b"<html>".to_vec())]),
        list(13, &[node("a", 9), node("c", 8)]),
        watch([Chunk::Tick, Chunk::Tick, Chunk::Reset]),
    ]);
    let metrics = Metrics::new();
    w.reflector = w.reflector.measured(&metrics);
    let pulse = w.reflector.pulse();
    assert_eq!(
        shown(&metrics)[..3],
        ["last_event_seconds 0", "objects 0", "opaque_objects 0"]
    );
    assert_eq!((pulse.synced_since(), pulse.objects()), (None, 0));
    w.run();
    assert_eq!(
        shown(&metrics),
        [
            "events_total added 2",
            "events_total bookmark 2",
            "events_total deleted 1",
            "events_total error 1",
            "events_total modified 1",
            "last_event_seconds 30",
            "lists_total expired 1",
            "lists_total garbled 1",
            "lists_total retry 1",
            "lists_total start 1",
            "objects 2",
            "opaque_objects 0",
            "synced 1",
            "watches_total broken 1",
            "watches_total clean 1",
            "watches_total denied 0",
            "watches_total expired 1",
            "watches_total failed 1",
            "watches_total garbled 1",
            "watches_total throttled 0",
            "watches_total unauthorized 0",
        ]
    );
    assert!(pulse.synced_since().is_some());
    assert_eq!(pulse.objects(), 2);
}

#[test]
fn each_list_is_counted_by_why_it_is_asked_for() {
    use End::{Broken, Clean, Failed, Garbled};
    let watched = Watched {
        lasted: Duration::ZERO,
        heard: false,
        window: WINDOW.0,
    };
    for (input, want) in [
        (Input::Doubtful, "confirm"),
        (Input::PagesExpired, "retry"),
        (Input::ListFailed(Failure::Expired), "retry"),
        (Input::Probed("5".into()), "rewound"),
        (
            Input::WatchEnded(watched, Failed(Failure::FromTheFuture(None))),
            "rewound",
        ),
        (Input::WatchEnded(watched, Failed(Failure::Expired)), "expired"),
        (
            Input::WatchEnded(watched, Failed(Failure::Unintelligible)),
            "garbled",
        ),
        (Input::WatchEnded(watched, Garbled), "garbled"),
        (Input::WatchEnded(watched, Clean), "failed"),
        (Input::WatchEnded(watched, Broken), "failed"),
        (Input::WatchEnded(watched, Failed(Failure::Rejected)), "failed"),
    ] {
        assert_eq!(reason_of(&input), want, "{input:?}");
    }
}

#[test]
fn only_what_the_server_says_is_contact() {
    let tick = || vec![Chunk::Tick; 4];
    for (case, answers, want) in [
        ("a list", vec![list(7, &[])], true),
        ("a page", vec![page(7, "t", &[])], true),
        ("a list that makes no sense", vec![body("<html>")], false),
        (
            "a refusal",
            vec![Answer::Status(403, status(403, "Forbidden"))],
            false,
        ),
        ("no answer", vec![Answer::Refused], false),
    ] {
        let mut w = world(answers);
        w.script.clock.advance(TICK);
        let pulse = w.reflector.pulse();
        w.reflector.step(&w.stop.token());
        assert_eq!(pulse.last_contact() == w.script.clock.now(), want, "{case}");
    }
    let half = Chunk::Bytes(br#"{"type":"#.to_vec());
    for (case, chunks, want) in [
        ("silence", tick(), 0),
        ("a word", [tick(), vec![bookmark(8)], tick()].concat(), 4),
        ("half a word", [tick(), vec![half], tick()].concat(), 4),
    ] {
        let mut w = world([list(7, &[]), watch(chunks)]);
        let pulse = w.reflector.pulse();
        w.reflector.step(&w.stop.token());
        w.reflector.step(&w.stop.token());
        let opened = w.script.clock.now();
        w.run();
        assert_eq!(pulse.last_contact() - opened, TICK * want, "{case}");
        assert!(w.script.clock.now() > pulse.last_contact(), "{case}");
    }
}
