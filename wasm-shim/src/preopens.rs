//! The folders that a guest is given: the bundle's mounts, opened once for a task and shared by all its instances.
//!
//! Owns: descriptors of the mounts' roots. An instance gets a copy of the list, which is a counter each: a request costs no system call for
//! them. That nothing outside of a folder is reached (`..`, links, renames) is wasmtime-wasi's (cap-std's) doing, tested in the program's `tests/it/volumes.rs`.
//! Never: mounts, or follows what the guest says.

use std::{fmt, io, path::PathBuf};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiView, filesystem::WasiFilesystemCtx, p1::WasiP1Ctx};

/// A folder of the bundle's `mounts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Where it is on this machine.
    pub source: PathBuf,
    /// Where the guest finds it.
    pub target: String,
    pub read_only: bool,
}

/// All folders of a task, open.
#[derive(Clone, Default)]
pub struct Preopens {
    files: WasiFilesystemCtx,
    folders: Vec<Folder>,
}

/// Why a task's folders could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("mount {target}: cannot open {folder}: {source}")]
pub struct Error {
    target: String,
    folder: String,
    source: io::Error,
}

impl Preopens {
    /// Opens all folders.
    pub fn open(folders: Vec<Folder>) -> Result<Self, Error> {
        if folders.is_empty() {
            return Ok(Self::default());
        }
        let mut builder = WasiCtx::builder();
        for folder in &folders {
            let permissions = if folder.read_only { FsPerms::ReadOnly } else { FsPerms::ReadWrite };
            let opened = builder.preopened_dir(&folder.source, &folder.target, permissions);
            opened.map_err(|error| Error { target: folder.target.clone(), folder: folder.source.display().to_string(), source: io_error(error) })?;
        }
        Ok(Self { files: builder.build().filesystem().clone(), folders })
    }

    /// Gives the folders to a component's instance.
    pub fn give(&self, context: &mut WasiCtx) {
        if !self.folders.is_empty() {
            *context.filesystem() = self.files.clone();
        }
    }

    /// Gives them to a module's.
    pub fn give_module(&self, context: &mut WasiP1Ctx) {
        self.give(context.ctx().ctx);
    }
}

fn io_error(error: wasmtime::Error) -> io::Error {
    match error.downcast::<io::Error>() {
        Ok(error) => error,
        Err(other) => io::Error::other(other.to_string()),
    }
}

impl fmt::Debug for Preopens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Preopens").field(&self.folders).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_gone_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let folder = |source: PathBuf| Folder { source, target: "/data".to_owned(), read_only: true };
        assert!(Preopens::open(vec![folder(dir.path().to_owned())]).is_ok());
        let missing = dir.path().join("no");
        let error = Preopens::open(vec![folder(missing.clone())]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("mount /data: cannot open {}: ", missing.display())) && error.contains("No such file"), "{error}");
        std::fs::write(&missing, "x").unwrap();
        assert!(Preopens::open(vec![folder(missing)]).unwrap_err().to_string().contains("Not a directory"));
    }
}
