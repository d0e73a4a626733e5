//! The kernel's mount calls: a tree that is cloned, changed and put in place by descriptors, so that no path is looked up twice.
//!
//! Owns: the flags that every mount of a task has (nosuid, nodev, noexec). Never: decides what is mounted.

use rustix::fs::{AtFlags, CWD};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Guests are no programs of this machine: nothing on a mount can be run, is a device, or changes who runs it.
const ALWAYS: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV).union(MountAttrFlags::MOUNT_ATTR_NOEXEC);
/// Bytes per file that a tmpfs may hold: the kernel keeps about a KiB for each, which its size does not count.
const TMPFS_BYTES_PER_FILE: u64 = 4_096;
/// A tmpfs has room for a few files however small it is.
const TMPFS_MIN_FILES: u64 = 64;

/// `struct mount_attr` of `mount_setattr(2)`.
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// A detached copy of what `source` shows.
pub(super) fn clone_tree(source: BorrowedFd<'_>, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(rustix::mount::open_tree(source, c"", flags)?)
}

/// Makes a detached tree private and safe; read-only where asked (`deep`: with what is mounted in it).
pub(super) fn restrict(tree: BorrowedFd<'_>, read_only: bool, deep: bool) -> io::Result<()> {
    let private = u64::from(MountPropagationFlags::PRIVATE.bits());
    set_attributes(tree, &MountAttr { attr_set: u64::from(ALWAYS.bits()), propagation: private, ..MountAttr::default() }, true)?;
    if !read_only {
        return Ok(());
    }
    set_attributes(tree, &MountAttr { attr_set: u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits()), ..MountAttr::default() }, deep)
}

/// Maps the owners of a detached tree by a user namespace. File systems that cannot refuse it.
pub(super) fn map_owners(tree: BorrowedFd<'_>, namespace: BorrowedFd<'_>) -> io::Result<()> {
    let userns_fd = u64::try_from(namespace.as_raw_fd()).unwrap_or_default();
    set_attributes(tree, &MountAttr { attr_set: u64::from(MountAttrFlags::MOUNT_ATTR_IDMAP.bits()), userns_fd, ..MountAttr::default() }, true)
}

#[allow(unsafe_code, reason = "rustix has no mount_setattr")]
fn set_attributes(tree: BorrowedFd<'_>, attributes: &MountAttr, deep: bool) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if deep { libc::AT_RECURSIVE } else { 0 };
    let (pointer, size) = (std::ptr::from_ref(attributes), size_of::<MountAttr>());
    // SAFETY: the kernel reads an empty string and `size` bytes of the struct, both alive for the call; the descriptor is borrowed.
    let done = unsafe { libc::syscall(libc::SYS_mount_setattr, tree.as_raw_fd(), c"".as_ptr(), flags, pointer, size) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What a tmpfs is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tmpfs {
    pub size: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Zero: by the size.
    pub files: u64,
}

/// A detached, empty tmpfs.
pub(crate) fn tmpfs(options: &Tmpfs, read_only: bool) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let files = if options.files > 0 { options.files } else { (options.size / TMPFS_BYTES_PER_FILE).max(TMPFS_MIN_FILES) };
    let mode = format!("{:o}", options.mode);
    for (key, value) in [("size", options.size.to_string()), ("mode", mode), ("uid", options.uid.to_string()), ("gid", options.gid.to_string())] {
        rustix::mount::fsconfig_set_string(context.as_fd(), key, value)?;
    }
    rustix::mount::fsconfig_set_string(context.as_fd(), "nr_inodes", files.to_string())?;
    rustix::mount::fsconfig_create(context.as_fd())?;
    let read_only = if read_only { MountAttrFlags::MOUNT_ATTR_RDONLY } else { MountAttrFlags::empty() };
    Ok(rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, ALWAYS | read_only)?)
}

/// Puts a detached tree on a folder (or file) that nobody else can move.
pub(crate) fn attach(tree: BorrowedFd<'_>, place: &Path) -> io::Result<()> {
    Ok(rustix::mount::move_mount(tree, c"", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Takes away all that is mounted on `place`. What still has files open in it keeps them; nobody else finds them.
pub(crate) fn detach(place: &Path) -> io::Result<()> {
    loop {
        match rustix::mount::unmount(place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // Nothing (more) is mounted there, or there is no such place.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Where something is mounted at or below `folder`, the innermost first.
pub(crate) fn mounted_below(folder: &Path) -> Vec<PathBuf> {
    let table = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let mut points = points(&table);
    points.retain(|point| point.starts_with(folder));
    points.sort_unstable();
    points.reverse();
    points
}

/// The mount points in a `mountinfo` table; blanks and the like are octal in it.
fn points(table: &[u8]) -> Vec<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let field = |line: &[u8]| line.split(|byte| *byte == b' ').nth(4).map(unescape);
    table.split(|byte| *byte == b'\n').filter_map(field).map(|bytes| std::ffi::OsString::from_vec(bytes).into()).collect()
}

fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| *first == b'\\').and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        out.push(code.unwrap_or(*first));
        rest = if code.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    out
}

/// A path's descriptor that grants nothing but to mount from it; `NO_MAGICLINKS`: no way through `/proc/<pid>/fd`.
pub(super) fn open_source(path: &Path) -> io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags, ResolveFlags};
    Ok(rustix::fs::openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?)
}

/// The same below a folder, whatever links it has; never out of it.
pub(super) fn open_below(folder: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags, ResolveFlags};
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat2(folder, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS)?)
}

/// A folder of a container's root, by a path as the container sees it.
pub(crate) fn open_in_root(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags, ResolveFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)?)
}

/// What a descriptor of [`open_source`] stands for.
pub(super) fn status(source: BorrowedFd<'_>) -> io::Result<rustix::fs::Stat> {
    Ok(rustix::fs::statat(source, c"", AtFlags::EMPTY_PATH)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_blanks_in_them() {
        let table = b"29 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n30 29 0:5 / /a\\040b\\134 rw - tmpfs tmpfs rw\n";
        assert_eq!(points(table), [PathBuf::from("/"), PathBuf::from("/a b\\")]);
    }
}
