//! Room on the disk: a reserve that is given up when the disk is full, so that the manager can still end what it began.
//!
//! Invariant: while the reserve is gone `is_low` is true and new writes are refused by name; it is false again once the reserve is
//! back. Never: decides what is refused (`leader`).

use super::disk::{Disk, Folder};
use crate::files;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::warn;

/// Enough for the entry in flight (1 MiB), a vote, a new leader's first entry and the small snapshot that lets the log shrink.
pub const RESERVE_BYTES: usize = 4 * 1024 * 1024;

/// The reserve of one `raft/` folder.
pub struct Space {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    low: AtomicBool,
}

impl Space {
    /// Takes the reserve if there is room for it.
    pub fn open(folder: &Folder) -> Self {
        let space = Self { disk: folder.disk.clone(), path: folder.path.join("reserve"), low: AtomicBool::new(true) };
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
        let released = self.disk.remove(&self.path).is_ok();
        if released {
            warn!(path = %self.path.display(), "no space left on device: gave up the reserve");
        }
        released
    }

    /// Takes the reserve again. False when there is no room.
    pub fn restore(&self) -> bool {
        let restored = self.is_whole() || self.fill().is_ok();
        if !restored {
            let _ = self.disk.remove(&self.path);
        }
        self.low.store(!restored, Ordering::Release);
        restored
    }

    fn is_whole(&self) -> bool {
        self.disk.open(&self.path).and_then(|file| file.length()).is_ok_and(|length| length >= RESERVE_BYTES as u64)
    }

    /// Allocates the blocks; where the file system cannot, real bytes are written.
    fn fill(&self) -> io::Result<()> {
        let temporary = files::temporary(&self.path);
        let file = self.disk.create(&temporary)?;
        match file.allocate(RESERVE_BYTES as u64) {
            Ok(()) => {}
            Err(err) if err.raw_os_error() == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error()) => file.write_at(&vec![0x57; RESERVE_BYTES], 0)?,
            Err(err) => {
                let _ = self.disk.remove(&temporary);
                return Err(err);
            }
        }
        self.disk.rename(&temporary, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_given_up_once_and_taken_again() {
        let folder = tempfile::tempdir().unwrap();
        let key = super::super::crypto::DataKey::new(1, [9; 32]);
        let space = Space::open(&Folder::of_machine(folder.path().to_owned(), key));
        assert!(!space.is_low());
        assert!(space.release());
        assert!(space.is_low());
        assert!(!space.release());
        assert!(space.restore());
        assert!(!space.is_low() && space.is_whole());
    }
}
