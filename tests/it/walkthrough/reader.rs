//! A reader of a page, who types its commands into one shell, on a machine of their own: a folder.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::blocks::Block;
use crate::support::daemon::write;

/// A shell, and the folder that stands in for the machine: what a page has in `/etc` and `/usr/bin` is in there.
pub struct Reader {
    machine: tempfile::TempDir,
    shell: Child,
    typed: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// What a page has as an example, and what the reader writes instead.
    own: Vec<(&'static str, String)>,
    replaced: RefCell<BTreeSet<&'static str>>,
}

/// How long a whole page may take.
const PATIENCE: &str = "150";

impl Reader {
    /// A reader whose work tree is a copy of `deploy/`.
    pub fn new() -> Self {
        let machine = tempfile::tempdir().expect("a temporary folder");
        let root = machine.path();
        for folder in ["etc/kubernetes/pki", "usr/bin", "bin", "home", "work"] {
            std::fs::create_dir_all(root.join(folder)).expect("the folder is ours");
        }
        let copied = Command::new("cp")
            .arg("-RL")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy"))
            .arg(root.join("work"))
            .status();
        assert!(copied.expect("cp exists").success());
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("timeout")
            .args([PATIENCE, "sh", "-eu"])
            .current_dir(root.join("work"))
            .env("HOME", root.join("home"))
            .env("KUBECONFIG", root.join("etc/kubernetes/admin.conf"))
            .env("PATH", format!("{0}/bin:{0}/usr/bin:{path}", root.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("timeout and sh exist");
        Self {
            typed: shell.stdin.take().expect("piped above"),
            answers: BufReader::new(shell.stdout.take().expect("piped above")),
            shell,
            machine,
            own: Vec::new(),
            replaced: RefCell::default(),
        }
    }

    /// A place on the machine.
    pub fn at(&self, path: &str) -> PathBuf {
        self.machine.path().join(path.trim_start_matches('/'))
    }

    /// A file in the folder where the commands are typed.
    pub fn work_file(&self, name: &str, text: &str) {
        write(&self.at("work"), name, text);
    }

    /// A program that the machine has.
    pub fn program(&self, name: &str, script: &str) {
        let path = write(&self.at("bin"), name, &format!("#!/bin/sh\n{script}\n"));
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("the file is ours");
    }

    /// One that is somewhere else on this machine.
    pub fn program_at(&self, name: &str, path: &Path, more: &str) {
        self.program(name, &format!("exec '{}' \"$@\" {more}", path.display()));
    }

    /// What the reader writes where the page has `example`.
    pub fn writes(&mut self, example: &'static str, own: &str) {
        self.own.push((example, own.to_owned()));
    }

    /// Types the commands of a block, and waits until they are done.
    ///
    /// # Errors
    /// What was said, when one of them failed or the page takes too long.
    pub fn types(&mut self, block: &Block) -> Result<(), String> {
        let script = write(&self.at("work"), ".block", &self.script(&block.text));
        let said = self.at("said");
        writeln!(
            self.typed,
            ". '{}' < /dev/null > '{said}' 2>&1; echo done",
            script.display(),
            said = said.display(),
        )
        .expect("the shell reads on until it has failed, and is not asked again then");
        let mut answer = String::new();
        self.answers
            .read_line(&mut answer)
            .expect("the shell writes text");
        let said = std::fs::read_to_string(said).unwrap_or_default();
        if answer.trim() == "done" {
            Ok(())
        } else {
            Err(said)
        }
    }

    fn script(&self, text: &str) -> String {
        let mut text = format!("set -x\n{text}\n{{ set +x; }} 2> /dev/null\n");
        for (example, own) in &self.own {
            if text.contains(example) {
                self.replaced.borrow_mut().insert(example);
                text = text.replace(example, own);
            }
        }
        for folder in ["/etc/", "/usr/bin/"] {
            let inside = self.at(folder);
            text = text.replace(
                folder,
                &format!("{}/", inside.display().to_string().trim_end_matches('/')),
            );
        }
        text
    }

    /// The examples that no block had, though the reader had something to write in their place.
    pub fn not_asked_for(&self) -> Vec<&'static str> {
        let examples = self.own.iter().map(|(example, _)| *example);
        examples
            .filter(|example| !self.replaced.borrow().contains(example))
            .collect()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // it may have ended by itself
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
