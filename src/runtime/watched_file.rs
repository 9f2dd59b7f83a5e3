//! A file that people or other programs replace while this one runs.
//!
//! The path is opened anew at each look, so that it does not matter how it is replaced: written over, renamed onto, or by a symbolic link
//! higher up, as kubelet does with mounted Secrets and ConfigMaps. A bad version is told once, and looked at again each time: what it
//! names may come later.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::fingerprint;

/// One file, and what was said of it.
pub struct WatchedFile {
    path: PathBuf,
    /// A larger file is an error.
    limit: u64,
    /// The version that nothing more is to be said of.
    settled: Option<u64>,
    /// Why what is there now is of no use.
    refused: Option<u64>,
}

/// What a look finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    /// The settled version.
    Same,
    /// The settled version, after another one was refused.
    Back,
    /// Anything else, also what was refused before.
    Other(Vec<u8>),
}

impl WatchedFile {
    /// No version is settled yet: the first look finds another one.
    pub fn new(path: impl Into<PathBuf>, limit: u64) -> Self {
        Self {
            path: path.into(),
            limit,
            settled: None,
            refused: None,
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it.
    ///
    /// # Errors
    /// It is missing, too large, no file, or may not be read. Then [`WatchedFile::refuse`] is due.
    pub fn look(&mut self) -> io::Result<Seen> {
        let bytes = self.read()?;
        if self.settled != Some(fingerprint(&bytes)) {
            return Ok(Seen::Other(bytes));
        }
        Ok(match self.refused.take() {
            None => Seen::Same,
            Some(_) => Seen::Back,
        })
    }

    /// Nothing more is to be said of this version. Whether it takes the place of another one, settled or refused.
    pub fn settle(&mut self, bytes: &[u8]) -> bool {
        let refused = self.refused.take();
        let settled = self.settled.replace(fingerprint(&bytes));
        refused.is_some() || settled.is_some()
    }

    /// What is there now is of no use. Whether that was not said before, in these words.
    pub fn refuse(&mut self, reason: &str) -> bool {
        let reason = Some(fingerprint(&reason));
        std::mem::replace(&mut self.refused, reason) != reason
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        // to open a pipe could take for ever
        let kind = fs::metadata(&self.path)?.file_type();
        if kind.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !kind.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let mut bytes = Vec::new();
        File::open(&self.path)?
            .take(self.limit + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > self.limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it has more than {} bytes", self.limit),
            ));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(text: &str) -> Seen {
        Seen::Other(text.into())
    }

    #[test]
    fn a_version_is_another_one_until_it_is_settled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let mut file = WatchedFile::new(&path, 10);
        fs::write(&path, "one").unwrap();
        assert_eq!(file.look().unwrap(), other("one"));
        assert!(!file.settle(b"one"), "it is the first");
        assert_eq!(file.look().unwrap(), Seen::Same);
        fs::write(&path, "two").unwrap();
        assert_eq!(file.look().unwrap(), other("two"));
        assert!(file.refuse("bad") && !file.refuse("bad") && file.refuse("worse"));
        assert_eq!(file.look().unwrap(), other("two"), "what it names may come later");
        fs::write(&path, "one").unwrap();
        assert_eq!(file.look().unwrap(), Seen::Back);
        assert_eq!(file.look().unwrap(), Seen::Same);
        assert!(file.refuse("worse"), "it was good in between");
        assert!(
            file.settle(b"three") && file.settle(b"four"),
            "in place of others"
        );
    }

    #[test]
    fn a_link_higher_up_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, text) in [("v1", "one"), ("v2", "two")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("config"), text).unwrap();
        }
        let point_to = |version: &str| {
            std::os::unix::fs::symlink(version, at("..data_tmp")).unwrap();
            fs::rename(at("..data_tmp"), at("..data")).unwrap();
        };
        point_to("v1");
        std::os::unix::fs::symlink("..data/config", at("config")).unwrap();
        let mut file = WatchedFile::new(at("config"), 10);
        assert_eq!(file.look().unwrap(), other("one"));
        file.settle(b"one");
        point_to("v2");
        assert_eq!(file.look().unwrap(), other("two"));
    }

    #[test]
    fn what_is_no_file_of_ours_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("large"), "12345678901").unwrap();
        for (case, name, want) in [
            ("missing", "none", "No such file"),
            ("a directory", "", "directory"),
            ("too large", "large", "more than 10 bytes"),
        ] {
            let mut file = WatchedFile::new(folder.path().join(name), 10);
            let error = file.look().unwrap_err().to_string();
            assert!(error.contains(want), "{case}: {error}");
        }
        let mut device = WatchedFile::new("/dev/zero", 10);
        assert!(device.look().unwrap_err().to_string().contains("regular"));
    }
}
