//! Where a secret comes from: written down, or a file that may change.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use super::secret::Secret;

/// A file larger than this holds no secret of ours.
const MAX_BYTES: u64 = 64 << 10;

/// A secret, or the file that holds it, as mounted Secrets and systemd credentials do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// The secret itself.
    Value(Secret),
    /// Read anew by each [`SecretSource::read`], so that a rotated secret is seen.
    File(PathBuf),
}

/// Why a secret cannot be read. Never shows any of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is missing, is a directory, may not be read.
    #[error("cannot read {}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// What was read cannot be a secret of ours.
    #[error("{} must hold one line of text and nothing else", .path.display())]
    NotOneLine {
        /// The file.
        path: PathBuf,
    },
}

impl SecretSource {
    /// The secret as it is now; line breaks at a file's end are dropped.
    ///
    /// # Errors
    /// The file cannot be read, or does not hold one line of UTF-8 text.
    pub fn read(&self) -> Result<Secret, Error> {
        let path = match self {
            Self::Value(secret) => return Ok(secret.clone()),
            Self::File(path) => path,
        };
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes))
            .map_err(|source| Error::Unreadable {
                path: path.clone(),
                source,
            })?;
        let text = String::from_utf8(bytes).unwrap_or_default();
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() || text.contains(char::is_control) || text.len() as u64 >= MAX_BYTES {
            return Err(Error::NotOneLine { path: path.clone() });
        }
        Ok(Secret::new(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::chain;

    #[test]
    fn a_file_holds_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        for (case, bytes, want) in [
            ("as it is", &b"s3cret"[..], Some("s3cret")),
            ("a trailing newline", b"s3cret\n", Some("s3cret")),
            ("a trailing Windows newline", b"s3cret\r\n", Some("s3cret")),
            ("spaces are kept", b" s3cret ", Some(" s3cret ")),
            ("nothing", b"", None),
            ("a newline only", b"\n", None),
            ("two lines", b"s3cret\ns3cret", None),
            ("not UTF-8", b"s3cret\xff", None),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let found = SecretSource::File(path.clone()).read();
            assert_eq!(found.as_ref().ok().map(Secret::expose), want, "{case}");
            if let Err(error) = found {
                assert!(
                    !format!("{} {error:?}", chain(&error)).contains("s3cret"),
                    "{case}"
                );
            }
        }
    }

    #[test]
    fn a_changed_file_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let source = SecretSource::File(path.clone());
        assert!(chain(&source.read().unwrap_err()).contains("No such file"));
        for text in ["one", "two"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(source.read().unwrap(), Secret::new(text));
        }
    }
}
