//! The built program, as a process.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cloud_provider_inspur::runtime::stop::StopToken;
use cloud_provider_inspur::sim::signals;

/// A running daemon. Dropped, it is killed.
pub struct Daemon {
    child: Child,
    output: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

/// How to start it.
pub struct DaemonOptions {
    /// `--kubeconfig`.
    pub kubeconfig: PathBuf,
    /// `--cloud-config`.
    pub cloud_config: PathBuf,
    /// More flags.
    pub flags: Vec<String>,
}

/// The built daemon.
pub fn program() -> &'static str {
    env!("CARGO_BIN_EXE_inspur-cloud-controller-manager")
}

impl Daemon {
    /// Starts it; it is not ready yet.
    pub fn start(options: &DaemonOptions) -> Self {
        let mut command = Command::new(program());
        command
            .arg("--kubeconfig")
            .arg(&options.kubeconfig)
            .arg("--cloud-config")
            .arg(&options.cloud_config)
            .args(&options.flags);
        Self::run(command)
    }

    /// Starts it as `command` says.
    pub fn run(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the daemon was built");
        let output = Arc::new(Mutex::new(String::new()));
        let (lines, into) = (
            BufReader::new(child.stderr.take().expect("piped above")),
            Arc::clone(&output),
        );
        let reader = std::thread::Builder::new().spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let mut output = into.lock().expect("nobody panics with the output");
                output.push_str(&line);
                output.push('\n');
            }
        });
        Self {
            child,
            output,
            reader: Some(reader.expect("room for a thread")),
        }
    }

    /// What it logged so far.
    pub fn output(&self) -> String {
        self.output.lock().expect("nobody panics with the output").clone()
    }

    /// Asks it to stop, and waits until it has.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        signals::send(self.child.id(), name).expect("it runs");
    }

    /// Ends it at once, as the kernel would for want of memory.
    pub fn kill(&mut self) {
        // it may have ended by itself; then there is nothing to kill
        let _ = self.child.kill();
        self.wait();
    }

    /// Waits until it has ended, and for its last words.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + super::PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                break status;
            }
            assert!(
                Instant::now() < deadline,
                "the daemon does not end:\n{}",
                self.output()
            );
            StopToken::never().wait(Duration::from_millis(5));
        };
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader does not panic");
        }
        status
    }
}

impl Drop for Daemon {
    /// Lets it end what it is at: a real API server that loses its client in the midst of removing a Service may keep the
    /// Service's node port for minutes, and the next test wants it.
    fn drop(&mut self) {
        let deadline = Instant::now() + PARTING;
        let mut asked = false;
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            if !std::mem::replace(&mut asked, true) {
                // should it end just now, it hears nothing
                let _ = signals::send(self.child.id(), "TERM");
            }
            StopToken::never().wait(Duration::from_millis(5));
        }
        self.kill();
    }
}

/// How long a daemon may take to end before it is killed.
const PARTING: Duration = Duration::from_secs(5);

/// Runs the program to its end; exit code, standard output and error.
pub fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(program())
        .args(args)
        .env_remove("KUBECONFIG")
        .output()
        .expect("the daemon was built");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it writes UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Writes a file into `dir` and returns its path.
pub fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("the test's folder is writable");
    path
}
