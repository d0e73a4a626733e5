//! Landlock: which files a process can reach, and that it reaches no abstract socket and no other process's signals.
//!
//! Owns: the rules. Invariants: what is not listed is refused, also the folders above and links out of the listed ones; rules belong to
//! inodes, so what is mounted below a listed folder afterwards is reached and what replaces a listed file is not.

use super::Error;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
    make_bitflags,
};
use std::io;
use std::path::{Path, PathBuf};
use wsw_api::shim::Network;

/// The newest that the crate knows: an older kernel does what it can of it.
const NEWEST: ABI = ABI::V10;

/// What the C library reads to resolve a name.
const NAME_FILES: [&str; 7] = ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/host.conf", "/etc/services", "/etc/protocols"];

/// What a process keeps of the file system; nothing by default.
#[derive(Debug, Default)]
pub struct Reach<'a> {
    /// Folders for everything but devices, sockets and programs.
    pub write: Vec<&'a Path>,
    /// Folders for plain files directly in them.
    pub keep: Vec<&'a Path>,
    /// Folders to read.
    pub read: Vec<&'a Path>,
    /// Files (or folders that they lie in) to read, as far as they are there.
    pub names: Vec<PathBuf>,
    pub network: Network,
}

/// The files of name resolution. A `resolv.conf` that some service keeps elsewhere is renewed there by renaming: its folder is meant.
pub fn names() -> Vec<PathBuf> {
    let real = |path: &&str| {
        let real = Path::new(path).canonicalize().ok()?;
        let elsewhere = !real.starts_with("/etc");
        if elsewhere { real.parent().map(Path::to_owned) } else { Some(real) }
    };
    NAME_FILES.iter().filter_map(real).collect()
}

/// Restricts the calling thread and those that it starts; false where the kernel has no Landlock.
pub fn restrict(reach: &Reach<'_>) -> Result<bool, Error> {
    let write = make_bitflags!(AccessFs::{
        ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeDir | MakeSym | RemoveFile | RemoveDir | Refer
    });
    let keep = make_bitflags!(AccessFs::{ ReadFile | ReadDir | WriteFile | Truncate | MakeReg | RemoveFile });
    let read = make_bitflags!(AccessFs::{ ReadFile | ReadDir });
    let mut ruleset =
        Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(AccessFs::from_all(NEWEST))?.scope(Scope::from_all(NEWEST))?;
    if reach.network == Network::None {
        ruleset = ruleset.handle_access(AccessNet::from_all(NEWEST))?;
    }
    let mut created = ruleset.create()?;
    let folders = [(&reach.write, write), (&reach.keep, keep), (&reach.read, read)];
    for (path, access) in folders.iter().flat_map(|(paths, access)| paths.iter().map(move |path| (*path, *access))) {
        let opened = PathFd::new(path).map_err(|error| Error::Path { path: path.display().to_string(), source: io::Error::other(error) })?;
        created = created.add_rule(PathBeneath::new(opened, access))?;
    }
    for path in &reach.names {
        let access: BitFlags<AccessFs> = if path.is_dir() { read } else { AccessFs::ReadFile.into() };
        if let Ok(opened) = PathFd::new(path) {
            created = created.add_rule(PathBeneath::new(opened, access))?;
        }
    }
    Ok(created.restrict_self()?.ruleset != RulesetStatus::NotEnforced)
}
