//! The daemon: arguments → configuration → [`cloud_provider_inspur::manager`] → exit code.

fn main() {}
