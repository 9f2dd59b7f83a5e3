//! One harness, two control planes: the simulated Kubernetes API, or a real kube-apiserver and etcd.
//!
//! `CONTROL_PLANE`, the folder that `tests/e2e/control-plane/build.sh` prints, chooses the real one. Two API servers
//! run then for the whole test binary, and each test borrows one, cleaned, for itself. `AUDIT_LOGS` names the folder for their audit
//! logs, where they are to outlive the run.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Condvar, Mutex, OnceLock};

/// How many real API servers run; more tests than that wait for their turn.
const SERVERS: usize = 2;

/// The folder with the real control plane's programs, if the tests are to run on it.
pub fn programs() -> Option<PathBuf> {
    std::env::var_os("CONTROL_PLANE")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from)
}

/// The folder that keeps the audit logs of the run, if they are to be kept.
pub fn audit_logs() -> Option<PathBuf> {
    std::env::var_os("AUDIT_LOGS")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from)
}

struct Pool {
    /// Removed by the system's cleaner: a static is never dropped, and the servers stop after this process.
    dir: PathBuf,
    free: Mutex<Vec<u16>>,
    returned: Condvar,
    /// The servers stop when this pipe closes, however this process ends.
    _stdin: ChildStdin,
    _child: Child,
}

/// A real API server, borrowed.
pub struct Lease {
    pool: &'static Pool,
    /// Where it listens on loopback.
    pub port: u16,
}

impl Lease {
    /// Waits for a server that nobody else uses.
    pub fn take() -> Self {
        static POOL: OnceLock<Pool> = OnceLock::new();
        let pool = POOL.get_or_init(start);
        let mut free = pool
            .free
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        loop {
            if let Some(port) = free.pop() {
                return Self { pool, port };
            }
            free = pool
                .returned
                .wait(free)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    /// A file of the server's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.pool.dir.join(name)
    }

    /// The server's audit log.
    pub fn audit_log(&self) -> PathBuf {
        let name = format!("audit-{}.log", self.port);
        audit_logs().map_or_else(|| self.file(&name), |dir| dir.join(&name))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool
            .free
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(self.port);
        self.pool.returned.notify_one();
    }
}

fn start() -> Pool {
    let programs = programs().expect("a real control plane was asked for");
    let dir = tempfile::Builder::new()
        .prefix("control-plane-")
        .tempdir()
        .expect("a temporary folder")
        .keep();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/control-plane/run.sh");
    let ports = free_ports(SERVERS + 2);
    let mut child = Command::new(script)
        .arg(programs)
        .arg(&dir)
        .args(ports.iter().map(u16::to_string))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{script}: {error}"));
    let mut line = String::new();
    let stdout = child.stdout.take().expect("piped above");
    BufReader::new(stdout)
        .read_line(&mut line)
        .expect("run.sh writes text");
    if line.trim() != "ready" {
        let mut errors = String::new();
        child
            .stderr
            .take()
            .expect("piped above")
            .read_to_string(&mut errors)
            .expect("run.sh writes text");
        panic!("the control plane did not start: {errors}");
    }
    Pool {
        dir,
        free: Mutex::new(ports[2..].to_vec()),
        returned: Condvar::new(),
        _stdin: child.stdin.take().expect("piped above"),
        _child: child,
    }
}

/// Ports that were free a moment ago.
fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"))
        .collect();
    listeners
        .iter()
        .map(|listener| listener.local_addr().expect("it is bound").port())
        .collect()
}
