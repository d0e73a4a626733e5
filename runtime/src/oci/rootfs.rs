//! A container's root: its image's layers, and what it writes above them.
//!
//! Owns: the overlay mounts. Invariants: what a container writes is `containers/<task id>/` of the data root and goes with the task; a mount is
//! gone before its folders are. Never: changes a layer.

use crate::error::{Error, Result};
use crate::files;
use crate::mounts::kernel;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags};
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// `mount(2)` takes one page of options.
const MAX_OPTIONS: usize = 4_000;

/// Mounts the layers (the lowest first) with a writable one above them.
pub(super) fn mount(layers: &[PathBuf], writable: &Path, root: &Path) -> Result<()> {
    let (upper, work) = (writable.join("upper"), writable.join("work"));
    files::folder(writable, 0o700)?;
    for folder in [&upper, &work, &root.to_path_buf()] {
        files::folder(folder, 0o755)?;
    }
    let mounted = match layers {
        // An image of no layers: nothing but what the container writes.
        [] => rustix::mount::mount_bind(&upper, root).map_err(io::Error::from),
        layers => overlay(layers, &upper, &work, root),
    };
    mounted.map_err(|error| Error::Temporary(format!("cannot mount the root file system: {error}")))
}

fn overlay(layers: &[PathBuf], upper: &Path, work: &Path, root: &Path) -> io::Result<()> {
    let text = |path: &Path| {
        let text = path.to_str().filter(|text| !text.contains([',', ':', '\\']));
        text.map(str::to_owned).ok_or_else(|| io::Error::other(format!("{}: an overlay takes no path with ',', ':' or '\\'", path.display())))
    };
    // The topmost comes first.
    let lower = layers.iter().rev().map(|layer| text(layer)).collect::<io::Result<Vec<_>>>()?;
    let (upper, work) = (text(upper)?, text(work)?);
    let options = format!("lowerdir={},upperdir={upper},workdir={work}", lower.join(":"));
    if options.len() <= MAX_OPTIONS {
        let options = CString::new(options).map_err(io::Error::other)?;
        return Ok(rustix::mount::mount("overlay", root, "overlay", MountFlags::empty(), options.as_c_str())?);
    }
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for layer in &lower {
        rustix::mount::fsconfig_set_string(context.as_fd(), "lowerdir+", layer)?;
    }
    rustix::mount::fsconfig_set_string(context.as_fd(), "upperdir", upper)?;
    rustix::mount::fsconfig_set_string(context.as_fd(), "workdir", work)?;
    rustix::mount::fsconfig_create(context.as_fd())?;
    let tree = rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    kernel::attach(tree.as_fd(), root)
}

/// Takes the root away, and what was written.
pub(super) fn remove(root: &Path, writable: &Path) -> Result<()> {
    for point in kernel::mounted_below(root) {
        kernel::detach(&point).map_err(|e| Error::io(format_args!("unmount {}", point.display()), &e))?;
    }
    files::remove_tree(writable).map_err(|e| Error::io(format_args!("remove {}", writable.display()), &e))
}

/// Whether overlays can be made of folders there; why not.
pub(super) fn probe(folder: &Path) -> Result<()> {
    let trial = folder.join(".probe");
    files::remove_tree(&trial).and_then(|()| fs::create_dir_all(trial.join("lower"))).map_err(|e| Error::io("try overlayfs", &e))?;
    let done = mount(&[trial.join("lower")], &trial.join("w"), &trial.join("root"));
    let gone = kernel::detach(&trial.join("root")).and_then(|()| files::remove_tree(&trial));
    done.and(gone.map_err(|e| Error::io("try overlayfs", &e)))
}
