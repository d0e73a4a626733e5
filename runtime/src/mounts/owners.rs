//! Whose files are whose on an id-mapped mount: user namespaces that swap the service's user with the shims' own.
//!
//! Owns: the maps, the short-lived process whose namespace carries one, the namespaces that were made. A namespace is the kernel's only way
//! to hand it a map; nothing runs in it. Invariant: the swap is one to one, so that no two owners on disk look the same through the mount.

use crate::users::User;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

/// Different users that services of one node ask for; after that a namespace is made for each mount.
const MAX_KEPT: usize = 64;
/// The kernel's highest id that means something.
const LAST_ID: u32 = u32::MAX - 1;

/// Namespaces by the user on disk.
#[derive(Default)]
pub(super) struct Owners {
    kept: Mutex<BTreeMap<(u32, u32), Arc<OwnedFd>>>,
}

impl Owners {
    /// A namespace through which files of `disk` look like the shims', and new files of the shims belong to `disk`.
    pub(super) fn swapped(&self, disk: User, shim: User) -> io::Result<Arc<OwnedFd>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(namespace) = kept.get(&(disk.uid, disk.gid)) {
            return Ok(namespace.clone());
        }
        let made = Arc::new(namespace(&swap(disk.uid, shim.uid), &swap(disk.gid, shim.gid))?);
        if kept.len() < MAX_KEPT {
            kept.insert((disk.uid, disk.gid), made.clone());
        }
        Ok(made)
    }
}

/// The map in the kernel's words: all ids as they are but for two, which change places. `first second count` a line.
fn swap(a: u32, b: u32) -> String {
    let (low, high) = (a.min(b), a.max(b));
    if low == high {
        return format!("0 0 {LAST_ID}\n");
    }
    let ranges = [(0, 0, low), (low, high, 1), (low + 1, low + 1, high - low - 1), (high, low, 1), (high + 1, high + 1, LAST_ID - high - 1)];
    ranges.iter().filter(|(_, _, count)| *count > 0).map(|(first, second, count)| format!("{first} {second} {count}\n")).collect()
}

/// Makes a user namespace with these maps.
#[allow(unsafe_code, reason = "fork, and what a fork of one thread may do")]
fn namespace(users: &str, groups: &str) -> io::Result<OwnedFd> {
    let (told_read, told) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let (hold_read, hold) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // SAFETY: the child calls nothing but system calls before it ends, as a copy of one thread of many must.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    if pid == 0 {
        // SAFETY: system calls on numbers only; the descriptors are the child's own copies, and `_exit` runs no destructors. Its copy of
        // `hold` is closed, so that the end of the parent ends it too.
        unsafe {
            libc::close(hold.as_raw_fd());
            let code = u8::from(libc::unshare(libc::CLONE_NEWUSER) != 0);
            let mut byte = [code];
            libc::write(told.as_raw_fd(), byte.as_ptr().cast(), 1);
            libc::read(hold_read.as_raw_fd(), byte.as_mut_ptr().cast(), 1);
            libc::_exit(0);
        }
    }
    drop(told);
    let made = fill(pid, File::from(told_read), users, groups);
    drop(hold);
    let mut status = 0;
    // SAFETY: waits for our own child, which ends since `hold` is closed.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } < 0 && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted {}
    made
}

fn fill(pid: libc::pid_t, mut told: File, users: &str, groups: &str) -> io::Result<OwnedFd> {
    let mut code = [1_u8];
    io::Read::read_exact(&mut told, &mut code)?;
    if code != [0] {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "user namespaces cannot be made here"));
    }
    fs::write(format!("/proc/{pid}/uid_map"), users)?;
    fs::write(format!("/proc/{pid}/gid_map"), groups)?;
    File::open(format!("/proc/{pid}/ns/user")).map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ids_change_places_and_all_others_stay() {
        assert_eq!(swap(0, 64_000), "0 64000 1\n1 1 63999\n64000 0 1\n64001 64001 4294903293\n");
        assert_eq!(swap(64_000, 1_000), "0 0 1000\n1000 64000 1\n1001 1001 62999\n64000 1000 1\n64001 64001 4294903293\n");
        assert_eq!(swap(5, 5), "0 0 4294967294\n");
        assert_eq!(swap(0, 1), "0 1 1\n1 0 1\n2 2 4294967292\n");
    }

    #[test]
    fn a_namespace_is_made_once_for_a_user() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        let owners = Owners::default();
        let (disk, shim) = (User { uid: 0, gid: 0 }, User { uid: 64_000, gid: 64_001 });
        let first = owners.swapped(disk, shim).unwrap();
        assert!(Arc::ptr_eq(&first, &owners.swapped(disk, shim).unwrap()));
    }
}
