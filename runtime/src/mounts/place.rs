//! Where found mounts are shown: a folder each, below the bundle.
//!
//! Owns: the layout `m/<i>`. A file is shown in a folder of its own, since a guest is given folders only; files with the same parent share it.

use super::{Found, What, kernel};
use crate::error::{Error, Result};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// A folder that the guest is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ready {
    pub target: String,
    pub source: PathBuf,
    pub read_only: bool,
}

/// A path without empty parts and dots.
fn clean(path: &str) -> PathBuf {
    Path::new(path).components().collect()
}

/// The folder (by index) and the file's name in it.
fn file_place<'a>(found: &'a [Found], target: &'a str) -> Result<(usize, PathBuf, std::ffi::OsString)> {
    let path = clean(target);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::Invalid(format!("invalid mount config for type \"bind\": {target}: a file needs a name")));
    };
    let is_here = |other: &Found| matches!(other.what, What::Tree { is_file: true, .. }) && clean(&other.target).parent() == Some(parent);
    let index = found.iter().position(is_here).unwrap_or_default();
    Ok((index, parent.to_owned(), name.to_owned()))
}

pub(super) fn plan(found: &[Found], folder: &Path) -> Result<Vec<Ready>> {
    let mut ready: Vec<Ready> = Vec::new();
    for (index, one) in found.iter().enumerate() {
        match &one.what {
            What::Path(path) => ready.push(Ready { target: one.target.clone(), source: path.clone(), read_only: one.read_only }),
            What::Tree { is_file: false, .. } => {
                ready.push(Ready { target: one.target.clone(), source: folder.join(index.to_string()), read_only: one.read_only })
            }
            What::Tree { is_file: true, .. } => {
                let (first, parent, _) = file_place(found, &one.target)?;
                let taken = |other: &Found| !matches!(other.what, What::Tree { is_file: true, .. }) && clean(&other.target) == parent;
                if found.iter().any(taken) {
                    let (target, parent) = (&one.target, parent.display());
                    return Err(Error::Unsupported(format!(
                        "invalid mount config for type \"bind\": {target}: a file cannot be mounted into {parent}, which is a mount itself; put it elsewhere"
                    )));
                }
                let (target, source) = (parent.to_string_lossy().into_owned(), folder.join(first.to_string()));
                match ready.iter_mut().find(|ready| ready.source == source) {
                    // One that may be written opens the folder; the others are read-only by their own mounts.
                    Some(ready) => ready.read_only &= one.read_only,
                    None => ready.push(Ready { target, source, read_only: one.read_only }),
                }
            }
        }
    }
    Ok(ready)
}

/// Makes the folders and mounts on them. They are root's, so that the guest's user can neither move nor fill them.
pub(super) fn put(found: &[Found], folder: &Path) -> Result<()> {
    let doing = |place: &Path| format!("mount on {}", place.display());
    if found.iter().any(|one| matches!(one.what, What::Tree { .. })) {
        make(folder).map_err(|e| Error::io(doing(folder), &e))?;
    }
    for (index, one) in found.iter().enumerate() {
        let What::Tree { tree, is_file } = &one.what else { continue };
        let mut place = folder.join(index.to_string());
        if *is_file {
            let (first, _, name) = file_place(found, &one.target)?;
            place = folder.join(first.to_string());
            make(&place).map_err(|e| Error::io(doing(&place), &e))?;
            place.push(name);
            fs::File::create_new(&place).map_err(|e| Error::io(doing(&place), &e))?;
        } else {
            make(&place).map_err(|e| Error::io(doing(&place), &e))?;
        }
        kernel::attach(tree.as_fd(), &place).map_err(|e| Error::io(doing(&place), &e))?;
    }
    Ok(())
}

fn make(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Unmounts all below a bundle's `m`; none there is fine.
pub(super) fn clear(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries.collect::<io::Result<Vec<_>>>()? {
        kernel::detach(&entry.path())?;
        // What is left is our own folder: empty, or with the places of files.
        for file in fs::read_dir(entry.path())?.collect::<io::Result<Vec<_>>>()? {
            kernel::detach(&file.path())?;
        }
    }
    Ok(())
}
