//! What the compiler process gives up before it looks at a module: files, sockets, memory and time without end.
//!
//! Owns: its limits and the system calls that are denied. Invariant: every way to end early (no memory, no time, a crash of the
//! compiler) still leaves a report for the user as the last line of stderr.

#![allow(unsafe_code)]

use rustix::process::{Resource, Rlimit};
use std::{io, sync::OnceLock};
use wsw_api::shim::CompileReport;

/// Seconds of processor time, all threads together: a 40 MB guest takes about 20.
const MAX_CPU_SECONDS: u64 = 300;

/// Why the process could not be confined.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("limits: {0}")]
    Limits(io::Error),
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
    #[error("system calls: {0}")]
    Calls(String),
}

/// Confines the process for the rest of its life. `memory` is the limit of its data in bytes.
pub fn enter(memory: u64) -> Result<(), Error> {
    let limits = || {
        rustix::thread::set_no_new_privs(true)?;
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
        let limit = |resource, value| rustix::process::setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) });
        limit(Resource::Core, 0)?;
        // Data and not address space: allocators and thread stacks reserve much that they never use.
        limit(Resource::Data, memory)
    };
    report_early_ends(memory).map_err(Error::Limits)?;
    limits().map_err(|error| Error::Limits(error.into()))?;
    // One second between the signal that leaves a report and the one that cannot be caught.
    let cpu = Rlimit { current: Some(MAX_CPU_SECONDS), maximum: Some(MAX_CPU_SECONDS + 1) };
    rustix::process::setrlimit(Resource::Cpu, cpu).map_err(|error| Error::Limits(error.into()))?;
    deny_calls()
}

static NO_MEMORY: OnceLock<Vec<u8>> = OnceLock::new();
static NO_TIME: OnceLock<Vec<u8>> = OnceLock::new();

/// A failed allocation and an overflow of the stack abort the process; the time limit sends SIGXCPU.
fn report_early_ends(memory: u64) -> io::Result<()> {
    let line = |message: String| {
        let mut line = serde_json::to_vec(&CompileReport::Err { message }).unwrap_or_default();
        line.insert(0, b'\n');
        line.push(b'\n');
        line
    };
    NO_MEMORY.get_or_init(|| line(format!("compiling it takes more than {memory} bytes of memory, or it nests too deeply")));
    NO_TIME.get_or_init(|| line(format!("compiling it takes more than {MAX_CPU_SECONDS} seconds")));
    for signal in [libc::SIGABRT, libc::SIGXCPU] {
        // SAFETY: a zeroed `sigaction` is valid; the handler only reads what was written before it was installed, writes and exits.
        let installed = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = report_and_exit as extern "C" fn(libc::c_int) as libc::sighandler_t;
            action.sa_flags = libc::SA_ONSTACK;
            libc::sigaction(signal, &action, std::ptr::null_mut())
        };
        if installed != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

extern "C" fn report_and_exit(signal: libc::c_int) {
    let line = if signal == libc::SIGXCPU { NO_TIME.get() } else { NO_MEMORY.get() };
    // SAFETY: `write` and `_exit` may be called in a signal handler; the pointer is valid for the length.
    unsafe {
        if let Some(line) = line {
            libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len());
        }
        libc::_exit(1);
    }
}

/// What a compiler never needs: they answer EPERM. A deny list, because threads and memory need many calls and the C library picks them.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
fn deny_calls() -> Result<(), Error> {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
    use std::collections::BTreeMap;

    let calls = [
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_accept4,
        libc::SYS_sendmsg,
        libc::SYS_openat,
        libc::SYS_openat2,
        libc::SYS_open_by_handle_at,
        libc::SYS_unlinkat,
        libc::SYS_renameat2,
        libc::SYS_linkat,
        libc::SYS_symlinkat,
        libc::SYS_mkdirat,
        libc::SYS_mknodat,
        libc::SYS_fchmodat,
        libc::SYS_fchownat,
        libc::SYS_truncate,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_pidfd_getfd,
        libc::SYS_kill,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_move_mount,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_chroot,
        libc::SYS_pivot_root,
        libc::SYS_bpf,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_io_uring_setup,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_kexec_load,
        libc::SYS_reboot,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_creat,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_unlink,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_rename,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_accept,
    ];
    let wrong = |error: &dyn std::fmt::Display| Error::Calls(error.to_string());
    let rules = calls.into_iter().map(|call| (call, Vec::new())).collect::<BTreeMap<_, _>>();
    let deny = SeccompAction::Errno(u32::try_from(libc::EPERM).unwrap_or(1));
    let arch = std::env::consts::ARCH.try_into().map_err(|error| wrong(&error))?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, deny, arch).map_err(|error| wrong(&error))?;
    let program: BpfProgram = filter.try_into().map_err(|error| wrong(&error))?;
    seccompiler::apply_filter_all_threads(&program).map_err(|error| wrong(&error))
}

/// seccompiler knows no other processor; the limits stand alone there.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
fn deny_calls() -> Result<(), Error> {
    Ok(())
}
