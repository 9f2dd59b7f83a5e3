//! Who a candidate is: another one each time that the process starts.

use std::fmt::Write as _;
use std::fs;

use ring::rand::{SecureRandom, SystemRandom};

/// `<hostname>_<random UUID>`: people see where the leader runs, and a process that was restarted is not taken for the one before.
/// Source: kubernetes cmd/cloud-controller-manager/app, `Run`.
pub fn identity(hostname: &str) -> String {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the system gives random bytes");
    format!("{hostname}_{}", uuid(bytes))
}

/// The machine's name; in a pod, the pod's.
pub fn hostname() -> String {
    ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .map(|name| name.trim().to_owned())
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}

/// Source: RFC 9562, 5.4.
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // writing to memory does not fail
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_an_identity_of_its_own() {
        assert_eq!(uuid([0xFF; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(uuid([0; 16]), "00000000-0000-4000-8000-000000000000");
        let (one, other) = (identity("node-1"), identity("node-1"));
        assert!(
            one.starts_with("node-1_") && one.len() == "node-1_".len() + 36,
            "{one}"
        );
        assert_ne!(one, other);
        assert!(!hostname().is_empty());
    }
}
