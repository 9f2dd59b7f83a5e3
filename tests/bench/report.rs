//! What is printed: what, how much, how much is wanted, and whether it holds.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

/// Prints lines and counts the targets that are missed.
#[derive(Default)]
pub(crate) struct Report {
    bounded: Cell<u32>,
    missed: Cell<u32>,
}

impl Report {
    /// A heading.
    pub(crate) fn section(&self, title: &str) {
        println!("\n{title}");
    }

    /// A figure without a target.
    pub(crate) fn tell(&self, what: &str, figure: impl fmt::Display) {
        println!("  {what:<66} {:>14}", figure.to_string());
    }

    /// A figure with the most that it may be.
    pub(crate) fn at_most<T: fmt::Display + PartialOrd>(&self, what: &str, figure: T, target: T) {
        self.bounded.set(self.bounded.get() + 1);
        let verdict = if figure <= target {
            "ok"
        } else {
            self.missed.set(self.missed.get() + 1);
            "MISSED"
        };
        let target = format!("≤ {target}");
        println!("  {what:<66} {:>14}   {target:<14} {verdict}", figure.to_string());
    }

    /// The last line.
    pub(crate) fn close(&self) {
        println!("\n{} targets, {} missed", self.bounded.get(), self.missed.get());
    }
}

/// Bytes of memory.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub(crate) struct Mib(pub(crate) f64);

impl Mib {
    pub(crate) fn of_kib(kib: u64) -> Self {
        Self(kib as f64 / 1024.0)
    }
}

impl fmt::Display for Mib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} MiB", self.0)
    }
}

/// A time.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub(crate) struct Millis(pub(crate) Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} ms", self.0.as_secs_f64() * 1000.0)
    }
}

/// How often.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub(crate) struct PerSecond(pub(crate) f64);

impl fmt::Display for PerSecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} /s", self.0)
    }
}

/// How many times as much.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub(crate) struct Times(pub(crate) f64);

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} x", self.0)
    }
}

/// The one in the middle.
pub(crate) fn median<T: Copy + PartialOrd>(mut of: Vec<T>) -> T {
    of.sort_by(|a, b| a.partial_cmp(b).expect("figures are numbers"));
    of[of.len() / 2]
}
