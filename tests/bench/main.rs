//! The figures: sizes, the start, memory, calls to the cloud and the time they take. `make bench` prints them.
//!
//! The daemon is the release binary, or the one that `DAEMON` names; cloud and cluster are the simulators, in this process, on real
//! sockets. Nothing is asserted: a missed target is printed as such. Words after `--` choose figures by their names.

mod load;
mod memory;
mod nodes;
mod process;
mod report;
mod start;
mod whole;
mod world;

use report::Report;

type Figure = fn(&Report);

/// Each by its name, in the order they are printed.
const FIGURES: [(&str, Figure); 13] = [
    ("size", start::sizes),
    ("start", start::first_list),
    ("small", memory::small_cluster),
    ("large", memory::large_cluster),
    ("reference", load::reference),
    ("load", load::full),
    ("slow", load::slow),
    ("nodes", nodes::joining),
    ("passes", nodes::passes),
    ("health", whole::health),
    ("whole", whole::small),
    ("crowd", whole::large),
    ("failover", whole::failover),
];

fn main() {
    // cargo itself adds `--bench`
    let asked: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let report = Report::default();
    println!("{}", process::program().display());
    for (name, print) in FIGURES {
        if asked.is_empty() || asked.iter().any(|word| word == name) {
            print(&report);
        }
    }
    report.close();
}
