//! The systemd unit: its own line starts a daemon that does the main job, and tells systemd how it goes.

use std::fs::{self, File, Metadata};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use crate::support::daemon::{Daemon, program};
use crate::support::fixtures::{SERVICES, service};
use crate::support::{World, free_port, kubeconfig, unit};

const UNIT: &str = include_str!("../../deploy/systemd/inspur-cloud-controller-manager.service");

/// What the unit would start, with credentials in `folder`, and with `ARGS` as the environment file may set it.
fn exec_start(folder: &Path, args: &str) -> Command {
    let installed = |path: &str| {
        assert_eq!(path, "/usr/bin/inspur-cloud-controller-manager");
        program().to_owned()
    };
    unit::exec_start(UNIT, &installed, folder, args)
}

/// The folder of the unit's credentials, with a cloud config and this kubeconfig in it.
fn credentials(world: &World, kubeconfig: &str) -> PathBuf {
    let config = world.cloud_config_file("cluster-id=test\n");
    world.file("kubeconfig", kubeconfig);
    config.parent().expect("it is in a folder").to_owned()
}

fn of_daemon(world: &World) -> String {
    world.api.kubeconfig_with(&world.api.daemon_token)
}

/// The other end of `NOTIFY_SOCKET`, in the folder of the credentials.
struct Systemd {
    folder: PathBuf,
    socket: UnixDatagram,
    heard: Mutex<Vec<String>>,
}

impl Systemd {
    fn in_folder(folder: &Path) -> Self {
        let socket = UnixDatagram::bind(folder.join("notify")).expect("a free path");
        socket.set_nonblocking(true).expect("a socket may be so");
        Self {
            folder: folder.to_owned(),
            socket,
            heard: Mutex::default(),
        }
    }

    /// What the unit would start, which can tell it how it goes.
    fn exec_start(&self, args: &str) -> Command {
        let mut command = exec_start(&self.folder, args);
        command.env("NOTIFY_SOCKET", self.folder.join("notify"));
        command
    }

    /// All that was heard so far.
    fn heard(&self) -> Vec<String> {
        let mut heard = self.heard.lock().expect("nobody panics with it");
        let mut buffer = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        heard.clone()
    }

    fn count(&self, message: &str) -> usize {
        self.heard().iter().filter(|heard| *heard == message).count()
    }
}

#[test]
fn the_units_own_line_does_the_main_job_and_tells_systemd() {
    assert_eq!(unit::value(UNIT, "Type"), "notify");
    let world = World::small();
    let folder = credentials(&world, &of_daemon(&world));
    let systemd = Systemd::in_folder(&folder);
    let mut command = systemd.exec_start("--leader-elect=false --secure-port=0 -v=4");
    command.env("WATCHDOG_USEC", "200000");
    let mut daemon = Daemon::run(command);
    let until = |what: &str, daemon: &Daemon, message: &str, times| {
        world.until(what, daemon, || systemd.count(message) >= times);
    };
    until("it is ready", &daemon, "READY=1", 1);
    let slb = service("web").slb("slb-1").port(80, 30080).json();
    world.api.create(SERVICES, &slb);
    world.until("it is served", &daemon, || {
        world.ingress("web") == ["203.0.113.1"]
    });
    world.until("it says so", &daemon, || {
        let heard = systemd.heard();
        heard
            .iter()
            .any(|heard| heard.starts_with("STATUS=working; ") && heard.ends_with("; 1 listeners"))
    });
    until("it makes progress", &daemon, "WATCHDOG=1", 3);
    assert_eq!(
        unit::value(UNIT, "ExecReload"),
        "/bin/sh -c 'kill -HUP ${MAINPID}'"
    );
    daemon.signal("HUP");
    until("it reads files", &daemon, "RELOADING=1", 1);
    until("and has read them", &daemon, "READY=1", 2);
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.output());
    assert_eq!(
        systemd.count("STOPPING=1\nSTATUS=stopping"),
        1,
        "{:?}",
        systemd.heard()
    );
}

#[test]
fn it_is_ready_while_the_api_server_is_not_there_and_says_what_it_waits_for() {
    let world = World::new();
    let folder = credentials(&world, &kubeconfig("http://127.0.0.1:9", "none"));
    let systemd = Systemd::in_folder(&folder);
    // with the endpoint, which wants to know the cluster's authorities
    let port = free_port();
    let flags = format!("--leader-elect=false --secure-port={port}");
    let mut daemon = Daemon::run(systemd.exec_start(&flags));
    for message in [
        "READY=1",
        "STATUS=waiting for the API server to list services, nodes; 0 listeners",
    ] {
        world.until(message, &daemon, || systemd.count(message) == 1);
    }
    assert_eq!(systemd.count("WATCHDOG=1"), 0, "nobody asked for it");
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.output());
}

#[test]
fn the_first_leader_of_all_says_that_it_is_about_to_lead() {
    let world = World::small();
    let folder = credentials(&world, &of_daemon(&world));
    let systemd = Systemd::in_folder(&folder);
    let mut daemon = Daemon::run(systemd.exec_start("--secure-port=0"));
    let want = "STATUS=about to lead, when any earlier leader must have given up; ";
    world.until(want, &daemon, || {
        systemd.heard().iter().any(|heard| heard.starts_with(want))
    });
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.output());
}

#[test]
fn without_credentials_it_fails_at_once_and_says_which_file() {
    let world = World::new();
    let folder = world.file("unused", "");
    let folder = folder.parent().expect("it is in a folder");
    let mut daemon = Daemon::run(exec_start(folder, ""));
    assert_eq!(daemon.wait().code(), Some(1));
    let output = daemon.output();
    let missing = folder.join("cloud-config").display().to_string();
    assert!(
        output
            .lines()
            .any(|line| line.starts_with("error: ") && line.contains(&missing)),
        "{output}"
    );
}

/// Runs it to its end as systemd would with its journal, and says what is written there.
fn journal_of(mut command: Command, folder: &Path, stream: &dyn Fn(&Metadata) -> String) -> String {
    let path = folder.join("journal");
    let journal = File::create(&path).expect("the folder can be written to");
    let stream = stream(&journal.metadata().expect("it is open"));
    let status = command
        .env("JOURNAL_STREAM", stream)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(journal)
        .status();
    assert_eq!(status.expect("it was built").code(), Some(1));
    fs::read_to_string(&path).expect("it writes UTF-8")
}

#[test]
fn the_journal_hears_how_bad_each_line_is() {
    let world = World::new();
    let folder = &*credentials(&world, &kubeconfig("http://127.0.0.1:9", "none"));
    let taken = TcpListener::bind("127.0.0.1:0").expect("some port is free");
    let port = taken.local_addr().expect("it is bound").port();
    let flags = format!(
        "--bind-address=127.0.0.1 --secure-port={port} --authentication-skip-lookup --configure-cloud-routes"
    );
    let ours = |about: &Metadata| format!("{}:{}", about.dev(), about.ino());

    let said = journal_of(exec_start(folder, &flags), folder, &ours);
    let levels = [("<3>", "ERROR"), ("<4>", "WARN")];
    for line in said.lines() {
        let (priority, rest) = line.split_at(3);
        let (_, level) = rest.split_once(' ').expect("a time, then a level");
        assert!(
            levels
                .iter()
                .any(|(want, name)| *want == priority && level.starts_with(name)),
            "{said}"
        );
    }
    for (priority, _) in levels {
        assert!(said.contains(&format!("{priority}20")), "{priority}: {said}");
    }

    // what is wrong before there is a log
    let said = journal_of(exec_start(folder, "--nonsense"), folder, &ours);
    assert!(said.starts_with("<3>error: unknown flag --nonsense"), "{said}");

    // a terminal, or a file that somebody else's JOURNAL_STREAM does not name
    let said = journal_of(exec_start(folder, "--nonsense"), folder, &|about| {
        format!("{}:{}", about.dev(), about.ino() + 1)
    });
    assert!(said.starts_with("error: unknown flag --nonsense"), "{said}");
}
