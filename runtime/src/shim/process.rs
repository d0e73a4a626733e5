//! Starting a shim process, and finding out how it ended.
//!
//! Owns: its sockets' place, its folder, its log, its process. The process is not tied to the daemon's life: it has its own session, and nobody kills
//! it when a handle is dropped.

use super::cgroup::Cgroup;
use super::register::register;
use crate::error::{Error, Result};
use crate::files;
use crate::program::Program;
use crate::users::User;
use rustix::process::{Pid, PidfdFlags, Signal};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Child;
use wsw_api::shim::{HANDOVER_SUFFIX, Network};

/// After its connection is closed a shim is given this long to be gone by itself; then it is killed.
const LAST_BREATH: Duration = Duration::from_millis(500);
/// Below `<exec root>/wasm`: the sockets, and the shims' own folders.
pub(crate) const SOCKETS: &str = "s";
pub(crate) const HOMES: &str = "x";
/// What is quoted of its log when it does not come up.
const LOG_TAIL: u64 = 2_048;

/// The files of one shim.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub socket: PathBuf,
    pub log: PathBuf,
    /// All that its tasks may touch is in here or mounted below it.
    pub home: PathBuf,
    /// Logs of its tasks; kept after its end while they are wanted.
    pub logs: PathBuf,
    /// Empty without root.
    pub cgroup: Cgroup,
}

impl Place {
    /// `folder` is `<exec root>/wasm`, `logs` the folder of all tasks' logs.
    pub(crate) fn new(folder: &Path, logs: &Path, number: u32) -> Self {
        let file = |ending| folder.join(SOCKETS).join(format!("{number}.{ending}"));
        Self {
            socket: file("sock"),
            log: file("log"),
            home: folder.join(HOMES).join(number.to_string()),
            logs: logs.join(number.to_string()),
            cgroup: Cgroup::default(),
        }
    }

    /// Makes the folders. The shim makes files in that of its logs; its own folder it may pass and read.
    pub(crate) fn make(&self, user: Option<User>) -> Result<()> {
        files::folder(&self.home, if user.is_some() { 0o750 } else { 0o700 })?;
        files::folder(&self.logs, 0o700)?;
        let Some(user) = user else { return Ok(()) };
        let own = |path: &Path, uid| std::os::unix::fs::chown(path, uid, Some(user.gid)).map_err(|e| Error::io(format_args!("chown {}", path.display()), &e));
        own(&self.home, None)?;
        own(&self.logs, Some(user.uid))
    }

    /// The shim is gone: its folders go once nothing is in them any more.
    pub(crate) fn remove_empty(&self) {
        for path in [&self.home, &self.logs] {
            let _ = std::fs::remove_dir(path);
        }
        self.cgroup.remove();
    }

    pub(crate) fn handover(&self) -> PathBuf {
        let mut path = self.socket.clone().into_os_string();
        path.push(HANDOVER_SUFFIX);
        path.into()
    }

    /// Removes the sockets; the log stays until the number is used again or the exec root goes.
    pub(crate) fn remove_sockets(&self) {
        for path in [&self.socket, &self.handover()] {
            let _ = files::remove(path);
        }
    }

    /// The last lines of the log, for an error.
    pub(crate) fn log_tail(&self) -> String {
        let read = || -> std::io::Result<String> {
            let mut file = open_log(&self.log, false)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
            let mut bytes = Vec::new();
            file.take(LOG_TAIL).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).trim().lines().rev().take(3).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("; "))
        };
        read().unwrap_or_default()
    }
}

/// The folder belongs to the shims' user, so no link is followed.
fn open_log(path: &Path, create: bool) -> std::io::Result<File> {
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
    OpenOptions::new().read(true).append(create).create(create).mode(0o600).custom_flags(flags as i32).open(path)
}

/// What a new shim is told beside its place.
pub(crate) struct Orders<'a> {
    /// Folder of compiled code.
    pub code: &'a Path,
    pub network: Network,
    pub capacity: u32,
    pub folders: &'a [Opened],
}

/// A folder outside of its own that a shim may open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opened {
    pub path: PathBuf,
    pub read_only: bool,
}

/// How to reach the process.
pub(crate) enum Process {
    /// Started by this daemon.
    Child(Box<Child>),
    /// Started by an earlier one.
    Adopted(AsyncFd<OwnedFd>),
    /// No process to be killed: tests, and kernels without pidfds.
    None,
}

impl Process {
    /// Starts a shim that will listen on `place`.
    pub(crate) fn start(program: &Program, user: Option<User>, place: &Place, orders: &Orders<'_>) -> Result<Self> {
        place.remove_sockets();
        place.make(user)?;
        let _ = files::remove(&place.log);
        let log = open_log(&place.log, true).map_err(|e| Error::io(format_args!("write {}", place.log.display()), &e))?;
        let second = log.try_clone().map_err(|e| Error::io("duplicate a descriptor", &e))?;
        let mut command = program.command("wasm-shim", user, None);
        command.arg("--socket").arg(&place.socket).arg("--tasks").arg(&place.home).arg("--logs").arg(&place.logs).arg("--code").arg(orders.code);
        command.arg("--network").arg(orders.network.as_str()).arg("--capacity").arg(orders.capacity.to_string());
        for Opened { path, read_only } in orders.folders {
            command.arg(if *read_only { "--read" } else { "--write" }).arg(path);
        }
        command.stdout(second).stderr(log);
        let child = tokio::process::Command::from(command).spawn().map_err(|e| Error::io("start a Wasm shim", &e))?;
        // It runs no guest before it is asked to: nothing of theirs is counted elsewhere.
        child.id().into_iter().for_each(|pid| place.cgroup.enter(pid));
        Ok(Self::Child(Box::new(child)))
    }

    /// A process that is not our child, by the number that the kernel gave for its socket.
    pub(crate) fn adopt(pid: u32) -> Self {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let fd = pid.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK).ok());
        fd.and_then(|fd| register(fd, Interest::READABLE).ok()).map_or(Self::None, Self::Adopted)
    }

    /// Answers when the process has ended, and how.
    pub(crate) async fn ended(&mut self) -> String {
        match self {
            Self::Child(child) => match child.wait().await {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            },
            Self::Adopted(pidfd) => {
                let _ = pidfd.readable().await;
                "it is gone".into()
            }
            Self::None => "its connection was closed".into(),
        }
    }

    /// Sees to it that the process is gone; answers how it ended. A shim that nobody can reach must not go on running tasks.
    pub(crate) async fn bury(mut self) -> String {
        if let Ok(how) = tokio::time::timeout(LAST_BREATH, self.ended()).await {
            return how;
        }
        self.kill();
        match tokio::time::timeout(LAST_BREATH, self.ended()).await {
            Ok(_) => "its connection was closed; it was killed".into(),
            Err(_) => "its connection was closed; it cannot be killed".into(),
        }
    }

    fn kill(&mut self) {
        match self {
            Self::Child(child) => drop(child.start_kill()),
            Self::Adopted(pidfd) => drop(rustix::process::pidfd_send_signal(pidfd.get_ref(), Signal::KILL)),
            Self::None => {}
        }
    }
}
