//! A small file system of a test's own, to be filled. Needs root.

use super::leftovers::unmount_below;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Large enough for a node with a guest or two, small enough to fill at once.
const SIZE: &str = "size=48m";

/// A tmpfs that is unmounted with the test.
pub struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// None where that takes rights that this run lacks.
    pub fn mount() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: mounting a small file system needs root");
            return None;
        }
        let folder = tempfile::Builder::new().prefix("w").tempdir().expect("there is a temporary folder");
        let options = std::ffi::CString::new(SIZE).expect("no zero byte in it");
        let flags = rustix::mount::MountFlags::empty();
        if let Err(error) = rustix::mount::mount("tmpfs", folder.path(), "tmpfs", flags, Some(options.as_c_str())) {
            println!("skipped: no tmpfs can be mounted here: {error}");
            return None;
        }
        Some(Self { folder })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes all the space that is left; remove the file to give it back.
    pub fn fill(&self) -> PathBuf {
        let path = self.folder.path().join("filler");
        let mut file = std::fs::File::create(&path).expect("it is ours");
        // Large pieces first, then to the last byte.
        for size in [1 << 20, 4096, 1] {
            let piece = vec![0x55; size];
            while file.write_all(&piece).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount_below(self.folder.path());
    }
}
