//! What the service manager hears of the process: that it works, how it is, and that it still makes progress. The protocol is
//! `sd_notify(3)`: datagrams with lines of `NAME=value` on the socket that `NOTIFY_SOCKET` names.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use log::warn;

/// A way to tell it, or none. What cannot be told is said in the log once, and keeps nobody from working.
#[derive(Debug, Default)]
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
    failed: AtomicBool,
}

/// What is told. Texts are on one line: what comes from outside is stripped of line breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News<'a> {
    /// The start, or the reading of files, is over.
    Ready,
    /// Files are being read again.
    Reloading,
    /// The end has begun.
    Stopping,
    /// How things are, for `systemctl status`.
    Status(&'a str),
    /// There was progress.
    Alive,
}

impl ServiceManager {
    /// Nobody listens.
    pub fn none() -> Self {
        Self::default()
    }

    /// As `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` say.
    pub fn from_env() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self::none();
        };
        let of = |name| env::var_os(name);
        let watchdog = watchdog(of("WATCHDOG_USEC"), of("WATCHDOG_PID"), std::process::id());
        Self::at(&name, watchdog).unwrap_or_else(|error| {
            warn!(error:% = error; "the service manager cannot be told how it goes");
            Self::none()
        })
    }

    /// On the socket `name`, a path or, behind `@`, an abstract name. `watchdog`: how often it wants to hear of progress.
    ///
    /// # Errors
    /// There is no such socket, or it is of another kind.
    pub fn at(name: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => {
                let text = format!("NOTIFY_SOCKET is neither a path nor an abstract name: {name:?}");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // a service manager that does not listen holds nobody up
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: Some(socket),
            watchdog,
            failed: AtomicBool::new(false),
        })
    }

    /// Whether somebody listens.
    pub fn listens(&self) -> bool {
        self.socket.is_some()
    }

    /// It takes the process for stuck when it has not heard of progress for so long.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Tells it.
    pub fn tell(&self, news: News<'_>) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.send(message(news).as_bytes())
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            warn!(error:% = error; "the service manager cannot be told how it goes");
        }
    }
}

fn message(news: News<'_>) -> String {
    match news {
        News::Ready => "READY=1".into(),
        News::Reloading => "RELOADING=1".into(),
        News::Stopping => "STOPPING=1\nSTATUS=stopping".into(),
        News::Status(text) => format!("STATUS={}", text.replace(char::is_control, " ")),
        News::Alive => "WATCHDOG=1".into(),
    }
}

/// Microseconds, if they are meant for the process `own`. Source: `sd_watchdog_enabled(3)`.
fn watchdog(usec: Option<OsString>, pid: Option<OsString>, own: u32) -> Option<Duration> {
    let number = |text: OsString| text.to_str()?.parse::<u64>().ok();
    let usec = usec.and_then(number).filter(|usec| *usec > 0)?;
    let is_ours = pid.is_none_or(|pid| number(pid) == Some(own.into()));
    is_ours.then_some(Duration::from_micros(usec))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn it_hears_what_it_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let abstract_name = format!("cloud-provider-inspur-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        for (listener, name) in [
            (UnixDatagram::bind(&path).unwrap(), path.clone().into_os_string()),
            (
                UnixDatagram::bind_addr(&address).unwrap(),
                format!("@{abstract_name}").into(),
            ),
        ] {
            let manager = ServiceManager::at(&name, None).unwrap();
            for (news, want) in [
                (News::Ready, "READY=1"),
                (News::Reloading, "RELOADING=1"),
                (News::Status("two\nlines=1"), "STATUS=two lines=1"),
                (News::Alive, "WATCHDOG=1"),
                (News::Stopping, "STOPPING=1\nSTATUS=stopping"),
            ] {
                manager.tell(news);
                assert_eq!(heard(&listener), want, "{name:?}");
            }
        }
    }

    #[test]
    fn nobody_who_listens_is_no_trouble() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let error = ServiceManager::at(path.as_os_str(), None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let error = ServiceManager::at(OsStr::new("vsock:2:1"), None).unwrap_err();
        assert!(error.to_string().contains("vsock:2:1"), "{error}");

        let listener = UnixDatagram::bind(&path).unwrap();
        let manager = ServiceManager::at(path.as_os_str(), None).unwrap();
        drop(listener);
        manager.tell(News::Ready);
        assert!(manager.failed.load(Ordering::Relaxed));
        ServiceManager::none().tell(News::Ready);
    }

    #[test]
    fn a_full_socket_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _listener = UnixDatagram::bind(&path).unwrap();
        let manager = ServiceManager::at(path.as_os_str(), None).unwrap();
        let told = (0..100_000).find(|_| {
            manager.tell(News::Alive);
            manager.failed.load(Ordering::Relaxed)
        });
        assert!(told.is_some(), "it was never full");
    }

    #[test]
    fn the_watchdog_is_for_the_process_that_it_names() {
        for (usec, pid, want) in [
            (Some("60000000"), None, Some(60)),
            (Some("60000000"), Some("7"), Some(60)),
            (Some("60000000"), Some("8"), None),
            (Some("60000000"), Some("x"), None),
            (Some("0"), None, None),
            (Some("soon"), None, None),
            (None, Some("7"), None),
        ] {
            let (usec_text, pid_text) = (usec.map(OsString::from), pid.map(OsString::from));
            let want = want.map(Duration::from_secs);
            assert_eq!(watchdog(usec_text, pid_text, 7), want, "{usec:?} {pid:?}");
        }
    }
}
