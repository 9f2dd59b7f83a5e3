//! Signals to other processes: the demo's controller, and those that tests and benchmarks start.

use std::io;
use std::process::Command;

/// Sends the signal of that name, such as `TERM`, to a process.
///
/// # Errors
/// When there is no shell, no such process or no such signal.
pub fn send(process: u32, name: &str) -> io::Result<()> {
    // `kill` of the shell is everywhere; the program of that name is not
    let kill = format!("kill -{name} {process} 2>&1");
    let sent = Command::new("sh").args(["-c", &kill]).output()?;
    if sent.status.success() {
        return Ok(());
    }
    Err(io::Error::other(
        String::from_utf8_lossy(&sent.stdout).trim().to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    #[test]
    fn a_process_gets_its_signal_and_one_that_is_none_is_an_error() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let refused = super::send(child.id(), "NONSENSE").unwrap_err();
        super::send(child.id(), "TERM").unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(15), "after: {refused}");
        // reaped, and its number not given to another one so soon
        super::send(child.id(), "TERM").unwrap_err();
    }
}
