//! What a process of ours gives up before it touches what a guest brought: the shim before its first guest, the compiler before its module.
//!
//! ```text
//! privileges   no new ones, no capabilities, not dumpable, no core      every kernel
//! files        Landlock: a few folders, no abstract sockets, no signals  where the kernel has it; each newer kernel adds to it
//! calls        seccomp: a list of what is needed, and of what never is   where seccompiler knows the processor
//! ```
//! Owns: the order, and the truth about what was had. Invariants: it is entered on the process's only thread, so that all later ones are
//! in it too (Landlock reaches no other thread before its ABI 8; with another thread it does not count); what the kernel lacks is told,
//! what it refuses is an error.
//! Never: widened afterwards. Engines, listening sockets and tokio's signal pipe are made before.

mod calls;
mod files;
#[cfg(debug_assertions)]
pub mod probe;

pub use calls::deny_compiler;
pub use files::Reach;

use crate::args::ShimArgs;
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::io;
use wsw_api::shim::{Confinement, Network};

/// Why a process could not be confined.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("privileges: {0}")]
    Privileges(io::Error),
    #[error("{path}: {source}")]
    Path { path: String, source: io::Error },
    #[error("Landlock: {0}")]
    Landlock(#[from] landlock::RulesetError),
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
    #[error("system calls: {0}")]
    Calls(String),
}

/// Confines the shim for the rest of its life; answers what of it this machine has.
pub fn enter_shim(args: &ShimArgs) -> Result<Confinement, Error> {
    let alone = threads() == 1;
    drop_privileges()?;
    let names = if args.network == Network::Inet { files::names() } else { Vec::new() };
    let mut reach = Reach { write: vec![&args.tasks], keep: vec![&args.logs], read: vec![&args.code], names, network: args.network };
    // Without root a shim of one task opens that task's folders where they are.
    for (path, writes) in &args.folders {
        if *writes { reach.write.push(path) } else { reach.read.push(path) }
    }
    let landlock = files::restrict(&reach)? && alone;
    let seccomp = calls::restrict_shim(args.network)?;
    Ok(Confinement { seccomp, landlock })
}

/// Closes the file system and the network to a process that has all its files open.
pub fn close_files() -> Result<bool, Error> {
    files::restrict(&Reach::default())
}

/// Nobody of the same user can look into the process afterwards, and it can gain nothing by executing a file.
pub fn drop_privileges() -> Result<(), Error> {
    let all = || -> rustix::io::Result<()> {
        rustix::thread::set_no_new_privs(true)?;
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
        let none = CapabilitySet::empty();
        rustix::thread::clear_ambient_capability_set()?;
        rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
    };
    all().map_err(|error| Error::Privileges(error.into()))
}

fn threads() -> usize {
    // Without procfs nobody can tell; then the order in `process` has to do.
    std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}
