//! How many files and sockets the guests of one task hold, and all guests of a shim together.
//!
//! Owns: the counts. Invariants: a count goes up before a descriptor is made and down when its [`Permit`] is dropped; no task takes more
//! than its own bound, all tasks together never more than the shim has descriptors for. Never: waits; who is refused tells its guest.
//!
//! To use it: ask the task (`task.quota.socket()?`) *before* the socket is made, and keep the permit in the same struct as the descriptor,
//! declared after it, so that the descriptor is closed first. The error's text names the bound; its guest gets `new-socket-limit`
//! (wasi:sockets), `insufficient-memory` (wasi:filesystem) or `EMFILE`/`ENFILE` (wasip1). The last one is remembered: it may be why a guest ends.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU32, Ordering},
};

/// Files that the instances of one task may have open: what Linux gives a process by default.
pub const MAX_FILES: u32 = 1_024;
/// Sockets of one task, those that listen and those that it accepted included: a server's worth, and 20 such tasks still fit a shim.
pub const MAX_SOCKETS: u32 = 512;

/// The bound that was hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    #[error("limit of {MAX_FILES} open files of a task reached")]
    Files,
    #[error("limit of {MAX_SOCKETS} sockets of a task reached")]
    Sockets,
    #[error("the shim has no descriptors left for its guests")]
    Shim,
}

/// A bound and how much of it is used.
#[derive(Debug)]
struct Count {
    used: AtomicU32,
    limit: u32,
}

impl Count {
    const fn new(limit: u32) -> Self {
        Self { used: AtomicU32::new(0), limit }
    }

    fn take(&self) -> bool {
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| (used < self.limit).then_some(used + 1)).is_ok()
    }

    fn give_back(&self) {
        self.used.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The descriptors that a shim has for its guests. Clones share it.
#[derive(Debug, Clone)]
pub struct Descriptors(Arc<Count>);

impl Descriptors {
    pub fn new(limit: u32) -> Self {
        Self(Arc::new(Count::new(limit)))
    }
}

/// What one task may hold. Clones share it.
#[derive(Debug, Clone)]
pub struct TaskQuota(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    files: Count,
    sockets: Count,
    shim: Descriptors,
    hit: Mutex<Option<Full>>,
}

impl TaskQuota {
    pub fn new(shim: &Descriptors) -> Self {
        Self(Arc::new(Counts { files: Count::new(MAX_FILES), sockets: Count::new(MAX_SOCKETS), shim: shim.clone(), hit: Mutex::default() }))
    }

    /// Room for one open file or folder.
    pub fn file(&self) -> Result<Permit, Full> {
        self.take(Of::Files)
    }

    /// Room for one socket.
    pub fn socket(&self) -> Result<Permit, Full> {
        self.take(Of::Sockets)
    }

    /// The bound that was hit last.
    pub fn hit(&self) -> Option<Full> {
        *self.0.hit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, of: Of) -> Result<Permit, Full> {
        self.try_take(of).inspect_err(|full| *self.0.hit.lock().unwrap_or_else(PoisonError::into_inner) = Some(*full))
    }

    fn try_take(&self, of: Of) -> Result<Permit, Full> {
        let (own, full) = match of {
            Of::Files => (&self.0.files, Full::Files),
            Of::Sockets => (&self.0.sockets, Full::Sockets),
        };
        if !own.take() {
            return Err(full);
        }
        if !self.0.shim.0.take() {
            own.give_back();
            return Err(Full::Shim);
        }
        Ok(Permit { quota: self.clone(), of })
    }
}

#[derive(Debug, Clone, Copy)]
enum Of {
    Files,
    Sockets,
}

/// The right to one descriptor; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    quota: TaskQuota,
    of: Of,
}

impl Drop for Permit {
    fn drop(&mut self) {
        match self.of {
            Of::Files => self.quota.0.files.give_back(),
            Of::Sockets => self.quota.0.sockets.give_back(),
        }
        self.quota.0.shim.0.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_held_to_its_bound_and_others_are_not() {
        let shim = Descriptors::new(MAX_SOCKETS + 2);
        let (one, two) = (TaskQuota::new(&shim), TaskQuota::new(&shim));
        let mut held: Vec<Permit> = (0..MAX_SOCKETS).map(|_| one.socket().unwrap()).collect();
        assert_eq!((one.hit(), one.socket().unwrap_err(), one.hit()), (None, Full::Sockets, Some(Full::Sockets)));
        let file = one.file().unwrap();
        let other = two.socket().unwrap();
        // The shim's own bound, and what was refused took nothing.
        assert_eq!(two.file().unwrap_err(), Full::Shim);
        drop(file);
        drop(two.file().unwrap());
        held.pop();
        drop(one.socket().unwrap());
        drop((held, other));
        assert_eq!(shim.0.used.load(Ordering::Relaxed), 0);
    }
}
