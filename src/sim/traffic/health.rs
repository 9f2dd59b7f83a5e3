//! Checking members as a listener's settings say.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::Usable;
use super::pool::{Outcome, Pool};
use crate::sim::cloud::Health;
use crate::sim::watched::Watched;

/// No check gives up earlier, however fast time is told to pass: the machine does not get faster by it.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(500);

/// Checks the members of `pool` round after round until it is stopped, and tells `publish` of every outcome.
pub(super) fn run(pool: &Watched<Pool>, time_scale: f64, publish: impl Fn(Vec<(SocketAddr, Usable)>)) {
    while !pool.read(Pool::is_stopped) {
        let round = pool.read(Pool::round);
        for (target, address) in &round.checks {
            let outcome = match check(&round.health, *address, time_scale) {
                Ok(()) => Outcome::Passed,
                Err(error) => {
                    log::debug!(member:% = target, error:% = error; "a health check failed");
                    Outcome::Failed
                }
            };
            if pool.read(Pool::is_stopped) {
                return;
            }
            publish(pool.update(|pool| {
                pool.report(*target, outcome);
                pool.members()
            }));
        }
        pool.wait_until(round.period(time_scale), |pool| {
            pool.is_stale(&round).then_some(())
        });
    }
}

/// One check. Assumed: for HTTP, 2xx and 3xx are good.
fn check(health: &Health, address: SocketAddr, time_scale: f64) -> io::Result<()> {
    let timeout = Duration::from_secs(health.timeout_seconds.into())
        .mul_f64(time_scale)
        .max(SHORTEST_TIMEOUT);
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    if health.kind != "http" {
        return Ok(());
    }
    stream.set_read_timeout(Some(timeout))?;
    let host = if health.domain.is_empty() {
        address.to_string()
    } else {
        health.domain.clone()
    };
    let path = &health.path;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut line = [0; 12];
    stream.read_exact(&mut line)?;
    match line {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', _, b' ', b'2' | b'3', ..] => Ok(()),
        _ => Err(io::Error::other(format!(
            "not healthy: {}",
            String::from_utf8_lossy(&line)
        ))),
    }
}
