//! Running a plug-in: no terminal, a limit on time and on what it prints, killed when the daemon stops.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::ExecConfig;
use crate::runtime::stop::StopToken;

/// What `config`'s program printed, when it ended well. Its stderr is ours. The error says why not, and quotes nothing.
///
/// Its stdout is a socket and not a pipe, for a socket can be read with a time-out.
pub(super) fn run(
    config: &ExecConfig,
    info: &str,
    stop: &StopToken,
    time_limit: Duration,
) -> Result<Vec<u8>, String> {
    let deadline = Instant::now() + time_limit;
    let (mut child, mut output) = spawn(config, info)?;
    let result = read(&mut child, &mut output, stop, deadline)
        .and_then(|printed| Ok((printed, wait(&mut child, stop, deadline)?)));
    match result {
        Ok((printed, status)) if status.success() => Ok(printed),
        Ok((_, status)) => Err(format!("it failed: {status}")),
        Err(end) => {
            // it may be gone already
            let _ = child.kill();
            let _ = child.wait();
            Err(match end {
                End::Stopped => "the daemon is stopping".to_owned(),
                End::TooLong => format!("it did not end within {time_limit:?}"),
                End::TooMuch => format!("it printed more than {OUTPUT_LIMIT} bytes"),
                End::Io(error) => format!("cannot read from it: {error}"),
            })
        }
    }
}

enum End {
    Stopped,
    TooLong,
    TooMuch,
    Io(io::Error),
}

fn spawn(config: &ExecConfig, info: &str) -> Result<(Child, UnixStream), String> {
    let cannot = |e: io::Error| {
        let hint = match &config.install_hint {
            Some(hint) if e.kind() == io::ErrorKind::NotFound => format!("; {hint}"),
            _ => String::new(),
        };
        format!("cannot run it: {e}{hint}")
    };
    let (ours, theirs) = UnixStream::pair().map_err(cannot)?;
    ours.set_read_timeout(Some(SLICE)).map_err(cannot)?;
    let mut command = Command::new(&config.command);
    command
        .args(&config.args)
        .envs(config.env.iter().map(|(name, value)| (name, value.expose())))
        .env("KUBERNETES_EXEC_INFO", info)
        .stdin(Stdio::null())
        .stdout(Stdio::from(OwnedFd::from(theirs)));
    let child = command.spawn().map_err(cannot)?;
    // with `command` goes our copy of its end, so that reading ends when the program closes its own
    Ok((child, ours))
}

/// Everything it prints, until it closes its output; or until it has ended and is silent, for a child of its own may
/// keep the output open.
fn read(
    child: &mut Child,
    output: &mut UnixStream,
    stop: &StopToken,
    deadline: Instant,
) -> Result<Vec<u8>, End> {
    let mut printed = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match output.read(&mut buffer) {
            Ok(0) => return Ok(printed),
            Ok(n) => printed.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                if child.try_wait().map_err(End::Io)?.is_some() {
                    return Ok(printed);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(printed),
            Err(e) => return Err(End::Io(e)),
        }
        if printed.len() > OUTPUT_LIMIT {
            return Err(End::TooMuch);
        }
        check(stop, deadline)?;
    }
}

fn wait(child: &mut Child, stop: &StopToken, deadline: Instant) -> Result<ExitStatus, End> {
    loop {
        if let Some(status) = child.try_wait().map_err(End::Io)? {
            return Ok(status);
        }
        check(stop, deadline)?;
        stop.wait(SLICE / 10);
    }
}

fn check(stop: &StopToken, deadline: Instant) -> Result<(), End> {
    if stop.is_set() {
        Err(End::Stopped)
    } else if Instant::now() >= deadline {
        Err(End::TooLong)
    } else {
        Ok(())
    }
}

/// How long the stop token may go unseen.
const SLICE: Duration = Duration::from_millis(100);
/// A token and two certificates are a tenth of it.
const OUTPUT_LIMIT: usize = 256 << 10;
