//! The simulators by hand.

fn main() {}
