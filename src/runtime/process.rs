//! What the system knows of this process, from `/proc/self`, under the names that every Prometheus client uses.

use std::fs;
use std::time::UNIX_EPOCH;

use super::clock::Clock;
use crate::metrics::{Counter, IntGauge, Metrics};

/// Ticks of `/proc/self/stat` a second: what Linux shows to programs on every architecture it has today. Source: proc(5), time(7).
const TICKS: f64 = 100.0;

/// Registers the metrics of this process; they are read at each scrape. It is said to have started now.
pub fn register(metrics: &Metrics, clock: &dyn Clock) {
    let started = metrics.float_gauge(
        "process_start_time_seconds",
        "When the process started, in seconds since 1970.",
    );
    let since = clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    started.set(since.as_secs_f64());
    let shown = Shown {
        cpu: metrics.float_counter(
            "process_cpu_seconds_total",
            "CPU time that the process has used, of user and system together, in seconds.",
        ),
        resident: metrics.gauge("process_resident_memory_bytes", "Memory in RAM, in bytes."),
        virtual_: metrics.gauge(
            "process_virtual_memory_bytes",
            "Address space, in bytes; most of it is never touched.",
        ),
        open_fds: metrics.gauge("process_open_fds", "Open files and sockets."),
        max_fds: metrics.gauge("process_max_fds", "How many files and sockets may be open."),
    };
    metrics.on_scrape(move || shown.refresh());
}

struct Shown {
    cpu: Counter,
    resident: IntGauge,
    virtual_: IntGauge,
    open_fds: IntGauge,
    max_fds: IntGauge,
}

impl Shown {
    /// What cannot be read stays as it was.
    fn refresh(&self) {
        let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        if let Some(seconds) = cpu_seconds(&read("stat")) {
            self.cpu.inc_by((seconds - self.cpu.get()).max(0.0));
        }
        let status = read("status");
        for (gauge, line) in [(&self.resident, "VmRSS:"), (&self.virtual_, "VmSize:")] {
            if let Some(bytes) = kilobytes(&status, line).map(|kilobytes| kilobytes * 1024) {
                gauge.set(bytes);
            }
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // reading the folder takes one itself
            self.open_fds.set(open.count() as i64 - 1);
        }
        if let Some(most) = most_open_files(&read("limits")) {
            self.max_fds.set(most);
        }
    }
}

/// User and system time of `/proc/self/stat`: the 14th and 15th field. The 2nd, the program's name, may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS)
}

/// The number in the line of `/proc/self/status` that begins so.
fn kilobytes(status: &str, start: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix(start))?;
    line.strip_suffix("kB")?.trim().parse().ok()
}

/// The soft limit of `/proc/self/limits`; `None` where there is none.
fn most_open_files(limits: &str) -> Option<i64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::metrics::lines;
    use crate::runtime::clock::ManualClock;

    #[test]
    fn the_files_of_the_system_are_understood() {
        let stat = "42 (a) b) (c) S 1 42 42 0 -1 4194560 500 0 0 0 150 75 0 0 20 0 8 0 12345 9000000 1200";
        for (case, text, want) in [
            ("a name with everything in it", stat, Some(2.25)),
            ("cut short", &stat[..40], None),
            ("nothing", "", None),
        ] {
            assert_eq!(cpu_seconds(text), want, "{case}");
        }
        let status = "Name:\tccm\nVmPeak:\t  9000 kB\nVmSize:\t  8000 kB\nVmRSS:\t    3000 kB\nThreads:\t8\n";
        for (line, want) in [
            ("VmRSS:", Some(3000)),
            ("VmSize:", Some(8000)),
            ("Threads:", None),
            ("VmSwap:", None),
        ] {
            assert_eq!(kilobytes(status, line), want, "{line}");
        }
        let limits = |soft: &str| {
            format!("Limit  Soft Limit  Hard Limit  Units\nMax open files  {soft}  4096  files\n")
        };
        assert_eq!(most_open_files(&limits("1024")), Some(1024));
        assert_eq!(most_open_files(&limits("unlimited")), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_scrape_shows_this_process() {
        let metrics = Metrics::new();
        register(
            &metrics,
            &ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_millis(1500)),
        );
        let number = |name: &str| -> f64 {
            let line = &lines(&metrics, &format!("{name} "))[0];
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        assert_eq!(number("process_start_time_seconds"), 1.5);
        let (resident, virtual_) = (
            number("process_resident_memory_bytes"),
            number("process_virtual_memory_bytes"),
        );
        assert!(
            resident > 2_000_000.0 && virtual_ >= resident,
            "{resident} of {virtual_}"
        );
        let (open, most) = (number("process_open_fds"), number("process_max_fds"));
        assert!(open > 2.0 && most > open, "{open} of {most}");
    }
}
