//! What systemd does with the unit, as far as a page needs it: conditions, credentials, environment, the command line.

use std::path::{Path, PathBuf};

use super::reader::Reader;
use crate::support::daemon::Daemon;
use crate::support::unit::{exec_start, values};

const NAME: &str = "inspur-cloud-controller-manager";

/// The machine's service manager. `systemctl` and `journalctl` on it speak to this one.
pub struct Systemd {
    root: PathBuf,
    obeyed: usize,
    /// Flags behind those of the unit: the tests' own port and times.
    flags: Vec<String>,
    service: Option<Daemon>,
}

impl Systemd {
    /// Puts its programs on the reader's machine.
    pub fn of(reader: &Reader, flags: &[String]) -> Self {
        let root = reader.at("");
        reader.program(
            "systemctl",
            &format!("echo \"$*\" >> '{}/systemctl'", root.display()),
        );
        reader.program("journalctl", &format!("cat '{}/journal'", root.display()));
        Self {
            root,
            obeyed: 0,
            flags: flags.to_vec(),
            service: None,
        }
    }

    /// The service, while it runs.
    pub fn service(&self) -> Option<&Daemon> {
        self.service.as_ref()
    }

    /// Does what `systemctl` was called for since the last time, and brings the journal up to date.
    pub fn obey(&mut self) {
        let orders = std::fs::read_to_string(self.root.join("systemctl")).unwrap_or_default();
        for order in orders.lines().skip(self.obeyed) {
            match order.strip_suffix(NAME).unwrap_or(order).trim() {
                "daemon-reload" | "status --no-pager" => {}
                "enable --now" => self.service = Some(self.start()),
                "restart" => {
                    self.stop();
                    self.service = Some(self.start());
                }
                "disable --now" => self.stop(),
                other => panic!("systemctl {other}: the tests do not know how"),
            }
        }
        self.obeyed = orders.lines().count();
        let journal = self.service.as_ref().map(Daemon::output).unwrap_or_default();
        std::fs::write(self.root.join("journal"), journal).expect("the folder is ours");
    }

    fn stop(&mut self) {
        let mut service = self.service.take().expect("what is stopped was started");
        let status = service.terminate();
        assert!(status.success(), "{status}: {}", service.output());
    }

    fn start(&self) -> Daemon {
        let unit = self.read(&format!("/etc/systemd/system/{NAME}.service"));
        for needed in values(&unit, "AssertPathExists") {
            assert!(self.on_machine(needed).exists(), "{needed}: assertion failed");
        }
        let credentials = self.load_credentials(&unit);
        let environment =
            values(&unit, "EnvironmentFile").map(|file| self.read(file.trim_start_matches('-')));
        let environment: String = environment.collect();
        let variable = |name: &str| {
            let mut lines = environment.lines().filter_map(|line| line.split_once('='));
            let found = lines.find(|(key, _)| *key == name).map(|(_, value)| value);
            found.unwrap_or_default().trim_matches('"').to_owned()
        };
        let program = |path: &str| self.on_machine(path).display().to_string();
        let mut command = exec_start(&unit, &program, &credentials, &variable("ARGS"));
        command.args(&self.flags);
        Daemon::run(command)
    }

    fn load_credentials(&self, unit: &str) -> PathBuf {
        let folder = self.root.join("credentials");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).expect("the folder is ours");
        for credential in values(unit, "LoadCredential") {
            let (name, source) = credential.split_once(':').expect("a name and a path");
            let instead = values(unit, "SetCredential").find_map(|set| set.strip_prefix(&format!("{name}:")));
            let content = match (std::fs::read_to_string(self.on_machine(source)), instead) {
                (Ok(content), _) => content,
                (Err(_), Some(text)) => text.replace("\\n", "\n"),
                (Err(error), None) => panic!("{source}: {error}"),
            };
            std::fs::write(folder.join(name), content).expect("the folder is ours");
        }
        folder
    }

    fn on_machine(&self, path: &str) -> PathBuf {
        self.root.join(
            Path::new(path)
                .strip_prefix("/")
                .expect("paths of a unit are absolute"),
        )
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.on_machine(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}
