//! Debug builds only: makes attempts in the place of a guest that took the shim over, and says what became of each.
//!
//! Owns: the attempts, one a line of the probe's file (`read /etc/shadow`, `socket unix`), answered one a line on stdout (`ok` or an error
//! number). They are made in the sandbox of a real shim, entered by the same function; with `--bare` without it, to show that
//! the same attempts succeed there. Harmful ones are made with arguments that cannot succeed: what counts is who refuses them.

#![allow(unsafe_code)]

use super::enter_shim;
use crate::args::ShimArgs;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::FromRawFd;
use std::path::Path;

/// Reads the file, enters the sandbox unless told not to, makes the attempts.
pub fn run(args: &ShimArgs, probe: &Path) -> io::Result<()> {
    let attempts = std::fs::read_to_string(probe)?;
    if !args.bare {
        enter_shim(args).map_err(io::Error::other)?;
    }
    let mut out = io::stdout().lock();
    for line in attempts.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let outcome = match attempt(word, rest) {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.raw_os_error().map_or_else(|| error.to_string(), |code| code.to_string()),
        };
        writeln!(out, "{outcome}")?;
    }
    Ok(())
}

fn attempt(word: &str, rest: &str) -> io::Result<()> {
    let path = Path::new(rest);
    match word {
        "read" => File::open(path).map(drop),
        "list" => std::fs::read_dir(path).map(drop),
        "write" => OpenOptions::new().write(true).open(path).map(drop),
        "create" => OpenOptions::new().write(true).create_new(true).open(path).and_then(|_| std::fs::remove_file(path)),
        "link" => std::os::unix::fs::symlink("/", path).and_then(|()| std::fs::remove_file(path)),
        "folder" => std::fs::create_dir(path).and_then(|()| std::fs::remove_dir(path)),
        "connect" => std::os::unix::net::UnixStream::connect(path).map(drop),
        "memory" => OpenOptions::new().read(true).write(true).open(format!("/proc/{rest}/mem")).map(drop),
        "thread" => std::thread::Builder::new().spawn(|| ()).map(|thread| drop(thread.join())),
        "code" => map_code(path),
        "socket" => socket(rest),
        "process" | "kernel" => {
            let (call, pid) = rest.split_once(' ').unwrap_or((rest, "0"));
            raw(call, pid.parse().unwrap_or(0))
        }
        other => Err(io::Error::other(format!("{other}: no such attempt"))),
    }
}

fn socket(kind: &str) -> io::Result<()> {
    let (family, kind, protocol) = match kind {
        "unix" => (libc::AF_UNIX, libc::SOCK_STREAM, 0),
        "tcp" => (libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0),
        "tcp6" => (libc::AF_INET6, libc::SOCK_STREAM, 0),
        "udp" => (libc::AF_INET, libc::SOCK_DGRAM, 0),
        "raw" => (libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP),
        "packet" => (libc::AF_PACKET, libc::SOCK_RAW, 0),
        "netlink" => (libc::AF_NETLINK, libc::SOCK_RAW, 0),
        other => return Err(io::Error::other(format!("{other}: no such socket"))),
    };
    // SAFETY: plain numbers go in; the descriptor that comes out is owned at once.
    unsafe {
        let fd = libc::socket(family, kind, protocol);
        answer(fd.into()).map(|()| drop(File::from_raw_fd(fd)))
    }
}

fn answer(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Maps a file as code, as wasmtime does.
fn map_code(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    let (read, code) = (rustix::mm::ProtFlags::READ, rustix::mm::MprotectFlags::READ | rustix::mm::MprotectFlags::EXEC);
    // SAFETY: a fresh mapping that nobody else knows of and nobody runs.
    unsafe {
        let at = rustix::mm::mmap(std::ptr::null_mut(), 4_096, read, rustix::mm::MapFlags::PRIVATE, &file, 0)?;
        rustix::mm::mprotect(at, 4_096, code)?;
        rustix::mm::munmap(at, 4_096)?;
    }
    Ok(())
}

/// Calls with no wrapper. `pid` is whom they are aimed at, where they are aimed at somebody.
fn raw(call: &str, pid: i64) -> io::Result<()> {
    let nowhere = c"/nonexistent".as_ptr();
    let (none, bad) = (std::ptr::null::<libc::c_void>(), -1_i64);
    // SAFETY: every pointer is null or to a constant text; the kernel checks the rest, and most of it is wrong on purpose.
    let result = unsafe {
        match call {
            "signal" => libc::syscall(libc::SYS_kill, pid, 0),
            "thread-signal" => libc::syscall(libc::SYS_tgkill, pid, pid, 0),
            "pidfd" => libc::syscall(libc::SYS_pidfd_open, pid, 0),
            "seize" => libc::syscall(libc::SYS_ptrace, 0x4206, pid, 0, 0),
            "read-memory" => return read_memory(pid),
            "limits" => libc::syscall(libc::SYS_prlimit64, pid, libc::RLIMIT_NOFILE, none, none),
            "own-descriptor-signal" => libc::syscall(libc::SYS_fcntl, 0, libc::F_SETOWN, pid),
            "execve" => libc::syscall(libc::SYS_execve, nowhere, none, none),
            "execveat" => libc::syscall(libc::SYS_execveat, bad, nowhere, none, none, 0),
            "fork" => return fork(),
            "clone3" => libc::syscall(libc::SYS_clone3, none, 0),
            "mount" => libc::syscall(libc::SYS_mount, nowhere, nowhere, nowhere, 0, none),
            "umount" => libc::syscall(libc::SYS_umount2, nowhere, 0),
            "unshare" => libc::syscall(libc::SYS_unshare, libc::CLONE_FS),
            "setns" => libc::syscall(libc::SYS_setns, bad, 0),
            "chroot" => libc::syscall(libc::SYS_chroot, nowhere),
            "bpf" => libc::syscall(libc::SYS_bpf, 0, none, 0),
            "keyctl" => libc::syscall(libc::SYS_keyctl, 0, bad, 0),
            "io_uring" => libc::syscall(libc::SYS_io_uring_setup, 0, none),
            "userfaultfd" => libc::syscall(libc::SYS_userfaultfd, bad),
            "perf" => libc::syscall(libc::SYS_perf_event_open, none, 0, bad, bad, 0),
            "handle" => libc::syscall(libc::SYS_open_by_handle_at, bad, none, 0),
            "socketpair" => libc::syscall(libc::SYS_socketpair, libc::AF_UNIX, 0, 0, none),
            "seccomp" => libc::syscall(libc::SYS_seccomp, bad, 0, none),
            "dumpable" => libc::syscall(libc::SYS_prctl, libc::PR_SET_DUMPABLE, 1, 0, 0, 0),
            "memfd" => libc::syscall(libc::SYS_memfd_create, c"probe".as_ptr(), 0),
            other => return Err(io::Error::other(format!("{other}: no such call"))),
        }
    };
    answer(result)
}

fn read_memory(pid: i64) -> io::Result<()> {
    let mut byte = [0_u8; 1];
    let local = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    // Nobody maps the first page: who may look gets EFAULT.
    let remote = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 1 };
    // SAFETY: both point to one valid entry, and the local buffer has that one byte.
    answer(unsafe { libc::syscall(libc::SYS_process_vm_readv, pid, &raw const local, 1, &raw const remote, 1, 0) })
}

fn fork() -> io::Result<()> {
    // SAFETY: the child does nothing but end.
    unsafe {
        let child = libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0);
        if child == 0 {
            libc::_exit(0);
        }
        answer(child)?;
        libc::waitpid(i32::try_from(child).unwrap_or(-1), std::ptr::null_mut(), 0);
    }
    Ok(())
}
