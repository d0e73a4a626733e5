//! A shim's process, known for certain: by its number and when it began.
//!
//! Owns: finding it and ending it. Invariants: a process that took the number meanwhile is never signalled, nor is one that does not work in the shim's own folder, whatever
//! the shim says; ending takes no longer than [`LAST_BREATH`]. Never: asks the shim anything.

use crate::shim::register;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;
use tokio::io::Interest;

/// A killed process ends at once unless the kernel holds it.
const LAST_BREATH: Duration = Duration::from_secs(5);
/// Where `/proc/<pid>/stat` has the time of its beginning, behind the program's name.
const BEGAN: usize = 19;

/// See the module's page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pid: u32,
    /// In ticks since the machine's start.
    began: u64,
}

impl Process {
    /// The process of this number, if it works in `folder` as a shim does.
    pub(super) fn of(pid: u32, folder: &Path) -> Option<Self> {
        let works = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
        let ours = std::fs::canonicalize(folder).ok()? == works;
        Some(Self { pid, began: began(pid)? }).filter(|_| ours)
    }

    /// Kills it; true once it is gone.
    pub(super) async fn end(self) -> bool {
        let opened = i32::try_from(self.pid).ok().and_then(Pid::from_raw).map(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK));
        let Some(Ok(fd)) = opened else { return began(self.pid) != Some(self.began) };
        // Looked at after it was opened: the descriptor stays with the process that had the number then.
        if began(self.pid) != Some(self.began) {
            return true;
        }
        let _ = pidfd_send_signal(&fd, Signal::KILL);
        let Ok(fd) = register(fd, Interest::READABLE) else { return false };
        tokio::time::timeout(LAST_BREATH, fd.readable()).await.is_ok()
    }
}

fn began(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(BEGAN)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[tokio::test]
    async fn only_the_process_that_was_meant_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new("sleep").arg("600").current_dir(dir.path()).stdin(Stdio::null()).spawn().unwrap();
        let process = Process::of(child.id(), dir.path()).unwrap();
        assert_eq!(Process::of(child.id(), Path::new("/")), None, "it works elsewhere");
        assert_eq!(Process::of(1 << 30, dir.path()), None);
        // Another that has the number now.
        assert!(Process { began: process.began + 1, ..process }.end().await);
        assert!(child.try_wait().unwrap().is_none(), "it was not meant");
        assert!(process.end().await);
        child.wait().unwrap();
        assert!(process.end().await, "it is gone already");
    }
}
