//! The files of a release.

use std::process::Command;

use super::reader::Reader;
use crate::support::daemon::{program, write};

/// The files of a release, laid out by its own script around the program under test.
pub struct Release(tempfile::TempDir);

impl Release {
    /// As `make release` does.
    pub fn lay_out() -> Self {
        let dist = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(dist.path().join("image")).expect("the folder is ours");
        // a few bytes instead of all that a build with debug information has
        let script = format!("#!/bin/sh\nexec '{}' \"$@\"\n", program());
        for (file, text) in [
            ("program", &*script),
            ("NOTICES", "none"),
            ("sbom.cdx.json", "{}"),
            ("x_amd64.deb", "no package"),
        ] {
            write(dist.path(), file, text);
        }
        let laid = Command::new("sh")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/release/build.sh"))
            .args([env!("CARGO_PKG_VERSION"), &dist.path().display().to_string()])
            .arg(format!("amd64={}/program", dist.path().display()))
            .output()
            .expect("sh exists");
        assert!(laid.status.success(), "{}", String::from_utf8_lossy(&laid.stderr));
        Self(dist)
    }

    /// Puts the file whose name ends so where the reader types.
    pub fn hand_over(&self, ending: &str, reader: &Reader) {
        let mut files = std::fs::read_dir(self.0.path().join("release")).expect("it was laid out");
        let file = files.find_map(|file| {
            let path = file.expect("the folder is ours").path();
            path.display().to_string().ends_with(ending).then_some(path)
        });
        let file = file.unwrap_or_else(|| panic!("no release has a file that ends in {ending}"));
        let name = file.file_name().expect("it is a file");
        std::fs::copy(&file, reader.at("work").join(name)).expect("the folder is ours");
    }
}
