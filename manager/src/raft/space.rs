//! Room on the disk: a reserve that is given up when the disk is full, so that the manager can still end what it began.
//!
//! Invariant: while the reserve is gone `is_low` is true and new writes are refused by name; it is false again once the reserve is
//! back. Never: decides what is refused (`leader`).

use crate::files;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::warn;

/// Enough for the entry in flight (1 MiB), a vote, a new leader's first entry and the small snapshot that lets the log shrink.
pub const RESERVE_BYTES: usize = 4 * 1024 * 1024;

/// The reserve of one `raft/` folder.
pub struct Space {
    path: PathBuf,
    low: AtomicBool,
}

impl Space {
    /// Takes the reserve if there is room for it.
    pub fn open(folder: &Path) -> Self {
        let space = Self { path: folder.join("reserve"), low: AtomicBool::new(true) };
        space.restore();
        space
    }

    /// True when the disk was full and has no room for the reserve yet.
    pub fn is_low(&self) -> bool {
        self.low.load(Ordering::Acquire)
    }

    /// Gives the reserve up. False when it is gone already.
    pub fn release(&self) -> bool {
        self.low.store(true, Ordering::Release);
        let released = std::fs::remove_file(&self.path).is_ok();
        if released {
            warn!(path = %self.path.display(), "no space left on device: gave up the reserve");
        }
        released
    }

    /// Takes the reserve again. False when there is no room.
    pub fn restore(&self) -> bool {
        let restored = self.is_whole() || self.fill().is_ok();
        if !restored {
            let _ = std::fs::remove_file(&self.path);
        }
        self.low.store(!restored, Ordering::Release);
        restored
    }

    fn is_whole(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|meta| meta.len() >= RESERVE_BYTES as u64)
    }

    /// Allocates the blocks; where the file system cannot, real bytes are written.
    fn fill(&self) -> io::Result<()> {
        let temporary = files::temporary(&self.path);
        let file = files::create_private(&temporary)?;
        match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, RESERVE_BYTES as u64) {
            Ok(()) => {}
            Err(rustix::io::Errno::OPNOTSUPP) => file.write_all_at(&vec![0x57; RESERVE_BYTES], 0)?,
            Err(err) => {
                let _ = std::fs::remove_file(&temporary);
                return Err(err.into());
            }
        }
        std::fs::rename(&temporary, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_given_up_once_and_taken_again() {
        let folder = tempfile::tempdir().unwrap();
        let space = Space::open(folder.path());
        assert!(!space.is_low());
        assert!(space.release());
        assert!(space.is_low());
        assert!(!space.release());
        assert!(space.restore());
        assert!(!space.is_low() && space.is_whole());
    }
}
