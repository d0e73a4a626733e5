//! What containers need of the machine: found and tried once, at the daemon's start.
//!
//! Owns: where the shim is, what is missing and the words for it. Never: installs or changes anything.

use super::beneath::Beneath;
use super::rootfs;
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The shim of Linux containers, and its name.
pub(crate) use wsw_api::shim::CONTAINER_RUNTIME as RUNTIME;
/// Where programs of a machine are, also when the daemon was started without them in its path.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Short for [`RUNTIME`].
const RUNC: &str = "runc";

/// What a shim is started with.
#[derive(Debug, Clone)]
pub(super) struct Tools {
    pub shim: PathBuf,
    pub exe: PathBuf,
    pub events: PathBuf,
    /// containerd's namespace: runc's ids and the shims' sockets of two daemons do not meet.
    pub namespace: String,
    pub path: String,
    /// What a shim for runc runs containers with.
    pub beneath: Beneath,
    /// Shims that the daemon was told of, by name.
    pub added: BTreeMap<String, PathBuf>,
    /// Parent of all control groups of this daemon's containers.
    pub cgroups: String,
    /// The unified hierarchy has the controllers.
    pub cgroup2: bool,
    /// AppArmor's profile, where the kernel has it; why not, where it could.
    pub apparmor: Result<Option<String>, String>,
    /// Capabilities that the daemon can give, by number.
    pub capabilities: u64,
}

impl Tools {
    /// The program of a runtime that a task asks for by name or path.
    pub(super) fn runtime(&self, asked: &str) -> Result<PathBuf> {
        match self.added.get(asked) {
            Some(file) if is_program(file) => Ok(file.clone()),
            Some(file) => Err(Error::Unsupported(format!("label {}: runtime {asked}: {} is no program", wsw_api::labels::RUNTIME, file.display()))),
            None if asked == RUNTIME => Ok(self.shim.clone()),
            None => program(&self.path, asked),
        }
    }

    /// What a shim is told of its work: only those for runc know it.
    pub(super) fn options(&self, shim: &Path) -> Option<(String, Vec<u8>)> {
        if shim.file_name() == self.shim.file_name() { self.beneath.options() } else { None }
    }
}

/// `NAME=PATH` of `--add-runtime`, with dockerd's words for what is wrong.
pub fn added(given: &[String]) -> wsw_api::Result<BTreeMap<String, PathBuf>> {
    let mut added = BTreeMap::new();
    for text in given {
        let wrong = |why: String| wsw_api::Error::invalid(format!("--add-runtime: {why}"));
        let (name, path) = text.split_once('=').map(|(name, path)| (name.trim(), path.trim())).unwrap_or_default();
        if name.is_empty() || !path.starts_with('/') {
            return Err(wrong(format!("invalid runtime argument: {text}; use NAME=PATH, the path of a containerd shim")));
        }
        if [RUNC, RUNTIME, wsw_api::shim::RUNTIME_NAME].contains(&name) {
            return Err(wrong(format!("runtime name '{name}' is reserved")));
        }
        wsw_api::labels::parse(&BTreeMap::from([(wsw_api::labels::RUNTIME.to_owned(), name.to_owned())])).map_err(|error| wrong(error.message))?;
        if added.insert(name.to_owned(), PathBuf::from(path)).is_some() {
            return Err(wrong(format!("runtime '{name}' was already defined")));
        }
    }
    Ok(added)
}

/// Where programs are looked for.
pub(super) fn path() -> String {
    match std::env::var("PATH") {
        Ok(own) if !own.is_empty() => format!("{own}:{PATH}"),
        _ => PATH.to_owned(),
    }
}

/// A program by its name.
pub(super) fn find(path: &str, name: &str) -> Option<PathBuf> {
    path.split(':').filter(|folder| folder.starts_with('/')).map(|folder| Path::new(folder).join(name)).find(|file| is_program(file))
}

pub(super) fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The program of a runtime: `io.containerd.runc.v2` is `containerd-shim-runc-v2`; `runc` is short for it; a path is itself.
pub(super) fn program(path: &str, runtime: &str) -> Result<PathBuf> {
    let missing = || Error::Unsupported(format!("label {}: runtime {runtime} is not on this node", wsw_api::labels::RUNTIME));
    if runtime.starts_with('/') {
        return Some(PathBuf::from(runtime)).filter(|file| is_program(file)).ok_or_else(missing);
    }
    let name = match runtime {
        RUNC => "containerd-shim-runc-v2".to_owned(),
        name => match name.split('.').collect::<Vec<_>>().as_slice() {
            [.., kind, version] if name.contains("containerd") => format!("containerd-shim-{kind}-{version}"),
            _ => return Err(missing()),
        },
    };
    find(path, &name).ok_or_else(missing)
}

/// Whether this node can run containers; why not otherwise.
pub(super) fn probe(writable: &Path, path: &str) -> Result<PathBuf, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("the daemon does not run as root".into());
    }
    let shim = program(path, RUNTIME).map_err(|_| "containerd-shim-runc-v2 is not installed (Debian: package containerd)".to_owned())?;
    if cgroup_folder().is_none() {
        return Err("no control groups are mounted at /sys/fs/cgroup".into());
    }
    rootfs::probe(writable).map_err(|error| format!("overlayfs does not work at {}: {error}", writable.display()))?;
    Ok(shim)
}

/// True for the unified hierarchy alone (then it has the controllers), false for version 1, with or without version 2 beside it.
fn cgroup_folder() -> Option<bool> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").is_file() {
        return Some(true);
    }
    root.join("memory").is_dir().then_some(false)
}

/// A container in which wsw runs may have fewer than the kernel knows; none is read: none are given.
pub(super) fn own_capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    bounding.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or_default()
}

pub(super) fn is_cgroup2() -> bool {
    cgroup_folder() == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_runtimes_have_names_of_their_own() {
        let added = |given: &[&str]| added(&given.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).map_err(|error| error.message);
        assert_eq!(added(&["kata=/opt/kata"]).unwrap(), BTreeMap::from([("kata".into(), "/opt/kata".into())]));
        for (given, words) in [
            (&["kata"][..], "invalid runtime argument: kata; use NAME=PATH"),
            (&["=/x"], "invalid runtime argument"),
            (&["a=x"], "invalid runtime argument"),
            (&["runc=/x"], "runtime name 'runc' is reserved"),
            (&["a=/x", "a=/y"], "runtime 'a' was already defined"),
            (&["a b=/x"], "a shim's name"),
        ] {
            let said = added(given).unwrap_err();
            assert!(said.contains(words), "{given:?}: {said}");
        }
    }

    #[test]
    fn runtimes_are_programs_by_containerds_rule() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("containerd-shim-kata-v2");
        std::fs::write(&file, "").unwrap();
        let path = format!("relative:{}", dir.path().display());
        assert!(program(&path, "io.containerd.kata.v2").is_err(), "not executable");
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(program(&path, "io.containerd.kata.v2").unwrap(), file);
        assert_eq!(program(&path, file.to_str().unwrap()).unwrap(), file);
        for missing in ["io.containerd.runc.v9", "io.wsw.wasm.v1", "/nowhere/shim", "crun"] {
            assert!(program(&path, missing).unwrap_err().to_string().contains(&format!("runtime {missing} is not on this node")), "{missing}");
        }
    }
}
