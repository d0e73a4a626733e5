//! The data root: one daemon, one format.
//!
//! Owns: the folder itself, its lock, its format version, the pid file.
//! Invariants: a data root of a newer format is refused and left as it is; a second daemon on it is refused.
//! The folder can be traversed by the shims' user (compiled code and logs lie below); what is inside guards itself.

use super::Paths;
use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Version of the folder's layout that this build writes and the newest that it reads.
const FORMAT: u32 = 1;

/// Held as long as the daemon lives; the kernel drops it with the process.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "held for its lock")] File);

/// Creates the roots, takes the lock and checks the format.
pub fn prepare(paths: &Paths) -> Result<Lock> {
    for (flag, dir) in [("--data-root", &paths.data_root), ("--exec-root", &paths.exec_root)] {
        fs::create_dir_all(dir).with_context(|| format!("{flag} {}: cannot create it", dir.display()))?;
        fs::set_permissions(dir, Permissions::from_mode(0o711)).with_context(|| format!("{flag} {}: cannot set its mode", dir.display()))?;
    }
    let lock = lock(&paths.data_root)?;
    check_format(&paths.data_root)?;
    Ok(lock)
}

fn lock(root: &Path) -> Result<Lock> {
    let path = root.join("lock");
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut holder = String::new();
        let _ = file.read_to_string(&mut holder);
        bail!("data root {} is in use by another wsw daemon (pid {}): stop it, or use another --data-root", root.display(), holder.trim());
    }
    file.set_len(0)?;
    file.write_all(std::process::id().to_string().as_bytes())?;
    Ok(Lock(file))
}

fn check_format(root: &Path) -> Result<()> {
    let path = root.join("format");
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse::<u32>() {
            Ok(found) if found <= FORMAT => Ok(()),
            Ok(found) => bail!("data root {} has format {found}, this wsw reads up to {FORMAT}: run a newer wsw, nothing was changed", root.display()),
            Err(_) => bail!("data root {}: the file `format` does not hold a number; restore it, nothing was changed", root.display()),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => write_synced(&path, format!("{FORMAT}\n").as_bytes()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Temporary name, sync, rename: a file is there whole or not at all.
pub fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// The pid file; removed when the daemon ends by itself. The lock, not this file, keeps a second daemon out.
#[derive(Debug)]
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes this process's id.
    pub fn write(path: &Path) -> Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("--pidfile {}: cannot create its folder", path.display()))?;
        }
        fs::write(path, std::process::id().to_string()).with_context(|| format!("--pidfile {}: cannot write it", path.display()))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_format_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        check_format(dir.path()).unwrap();
        check_format(dir.path()).unwrap();
        fs::write(dir.path().join("format"), "99\n").unwrap();
        assert!(check_format(dir.path()).unwrap_err().to_string().contains("format 99"));
        assert_eq!(fs::read_to_string(dir.path().join("format")).unwrap(), "99\n");
    }

    #[test]
    fn the_second_lock_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        assert!(lock(dir.path()).unwrap_err().to_string().contains("in use"));
        drop(held);
        lock(dir.path()).unwrap();
    }
}
