//! What the compiler process gives up before it looks at a module: files, sockets, memory and time without end.
//!
//! Owns: its limits; what it shares with the shim is in `sandbox`. Invariant: every way to end early (no memory, no time, a crash of the
//! compiler) still leaves a report for the user as the last line of stderr.

#![allow(unsafe_code)]

use crate::sandbox::{self, Error};
use rustix::process::{Resource, Rlimit};
use std::{io, sync::OnceLock};
use wsw_api::shim::CompileReport;

/// Seconds of processor time, all threads together: a 40 MB guest takes about 20.
const MAX_CPU_SECONDS: u64 = 300;

/// Confines the process for the rest of its life. `memory` is the limit of its data in bytes.
pub fn enter(memory: u64) -> Result<(), Error> {
    report_early_ends(memory).map_err(Error::Privileges)?;
    sandbox::drop_privileges()?;
    let limit = |resource, current, maximum| {
        let limit = Rlimit { current: Some(current), maximum: Some(maximum) };
        rustix::process::setrlimit(resource, limit).map_err(|error| Error::Privileges(error.into()))
    };
    // Data and not address space: allocators and thread stacks reserve much that they never use.
    limit(Resource::Data, memory, memory)?;
    // One second between the signal that leaves a report and the one that cannot be caught.
    limit(Resource::Cpu, MAX_CPU_SECONDS, MAX_CPU_SECONDS + 1)?;
    sandbox::deny_compiler()
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
