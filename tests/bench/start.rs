//! Sizes of the program, and how soon it is at work.

use std::path::PathBuf;
use std::time::Instant;

use crate::process::program;
use crate::report::{Mib, Millis, Report, median};
use crate::world::{PATIENCE, World};

/// What the reference is said to need.
const REFERENCE_SIZE: Mib = Mib(63.0);

const STARTS: usize = 15;

/// Both profiles, stripped.
pub(crate) fn sizes(report: &Report) {
    report.section("Binary, stripped");
    report.at_most("release (opt-level z)", size(&program()), REFERENCE_SIZE);
    let speed = program().ancestors().nth(2).map(|target| {
        target
            .join("speed")
            .join(program().file_name().expect("it is a file"))
    });
    match speed.filter(|path| path.exists()) {
        Some(path) => report.at_most("speed (opt-level 3)", size(&path), REFERENCE_SIZE),
        None => report.tell("speed (opt-level 3)", "not built"),
    }
}

fn size(path: &PathBuf) -> Mib {
    let bytes = std::fs::metadata(path).expect("the daemon was built").len();
    Mib(bytes as f64 / f64::from(1 << 20))
}

/// From the start of the process to its first request for a list. The cluster's id is asked for before.
pub(crate) fn first_list(report: &Report) {
    report.section("Start");
    let world = World::new();
    let once = || {
        let log = world.api_server.log();
        log.clear();
        let begun = Instant::now();
        let daemon = world.start(&[]);
        let asked = log.wait_until(PATIENCE, |requests| {
            requests.iter().any(|request| request.target.contains("limit="))
        });
        let taken = begun.elapsed();
        assert!(asked, "it never asked\n{}", daemon.output());
        Millis(taken)
    };
    let times: Vec<Millis> = (0..STARTS).map(|_| once()).collect();
    let what = format!("spawn → first list request, median of {STARTS}");
    report.tell(&what, median(times));
}
