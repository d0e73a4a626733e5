//! The memory limit of a task, summed over its instances.
//!
//! Owns: the sum. Invariant: what a store took is given back when the store is dropped. Counted: linear memories, tables, what the host holds
//! for a guest ([`Limiter::host`]), and answers that wait to be sent after their guest is gone. Never: fails a growth that stays within the limit.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use wasmtime::ResourceLimiter;

/// A table entry is a pointer.
const TABLE_ENTRY: usize = size_of::<usize>();

/// Bytes of answers whose guests are gone and that wait for their clients, of one task: past it a guest's place is not free before its answer
/// was sent. So clients that take nothing cost a task its places in the end, and the shim no memory without bound.
const MAX_UNSENT: u64 = 64 << 20;

/// The limit was hit; the guest is stopped with this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("memory limit of {0} bytes reached")]
pub struct MemoryLimitReached(pub u64);

/// What the instances of one task hold together.
#[derive(Debug, Default)]
pub struct TaskMemory {
    limit: Option<u64>,
    used: AtomicU64,
    /// The part of it that waits to be sent.
    unsent: AtomicU64,
}

impl TaskMemory {
    pub const fn new(limit: Option<u64>) -> Self {
        Self { limit, used: AtomicU64::new(0), unsent: AtomicU64::new(0) }
    }

    /// Bytes held now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub const fn limit(&self) -> Option<u64> {
        self.limit
    }

    fn take(&self, bytes: u64) -> Result<(), MemoryLimitReached> {
        let Some(limit) = self.limit else {
            self.used.fetch_add(bytes, Ordering::Relaxed);
            return Ok(());
        };
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).map(drop).map_err(|_| MemoryLimitReached(limit))
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Room for what is left to be sent of an answer whose guest is gone.
    pub fn unsent(self: &Arc<Self>, bytes: u64) -> Option<Unsent> {
        let fits = |unsent: u64| unsent.checked_add(bytes).filter(|sum| *sum <= MAX_UNSENT);
        self.unsent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        if self.take(bytes).is_err() {
            self.unsent.fetch_sub(bytes, Ordering::Relaxed);
            return None;
        }
        Some(Unsent { task: self.clone(), bytes })
    }
}

/// Bytes that wait for a client; given back when dropped.
#[derive(Debug)]
pub struct Unsent {
    task: Arc<TaskMemory>,
    bytes: u64,
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.task.unsent.fetch_sub(self.bytes, Ordering::Relaxed);
        self.task.give_back(self.bytes);
    }
}

/// One store's part of its task's memory.
pub struct Limiter {
    task: Arc<TaskMemory>,
    held: u64,
    /// Size of the growth that was allowed last, taken back if it fails.
    last: u64,
}

impl Limiter {
    pub const fn new(task: Arc<TaskMemory>) -> Self {
        Self { task, held: 0, last: 0 }
    }

    fn grow(&mut self, by: usize, fits_type: bool) -> wasmtime::Result<bool> {
        // Beyond the memory's own maximum the growth fails by itself and takes nothing.
        self.last = if fits_type { u64::try_from(by).unwrap_or(u64::MAX) } else { 0 };
        self.task.take(self.last)?;
        self.held += self.last;
        Ok(true)
    }

    /// One more part of the same task's memory.
    pub fn another(&self) -> Self {
        Self::new(self.task.clone())
    }

    /// What the host holds for this instance: as much more, until this is dropped.
    pub fn host(&mut self, bytes: usize) -> Result<(), MemoryLimitReached> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.task.take(bytes)?;
        self.held += bytes;
        Ok(())
    }

    fn undo(&mut self) {
        let last = std::mem::take(&mut self.last);
        self.task.give_back(last);
        self.held -= last;
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.task.give_back(self.held);
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.grow(desired.saturating_sub(current), maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.undo();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.grow(desired.saturating_sub(current).saturating_mul(TABLE_ENTRY), maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.undo();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_share_the_limit_and_give_back() {
        let task = Arc::new(TaskMemory::new(Some(1_000)));
        let (mut one, mut two) = (Limiter::new(task.clone()), Limiter::new(task.clone()));
        assert!(one.memory_growing(0, 600, None).unwrap());
        assert!(two.memory_growing(0, 400, None).unwrap());
        let error = two.memory_growing(400, 401, None).unwrap_err();
        assert_eq!(error.downcast_ref::<MemoryLimitReached>(), Some(&MemoryLimitReached(1_000)));
        drop(one);
        assert!(two.memory_growing(400, 1_000, None).unwrap());
        assert_eq!(task.used(), 1_000);
        drop(two);
        assert_eq!(task.used(), 0);
    }

    #[test]
    fn answers_that_wait_are_part_of_the_sum_and_bounded() {
        let task = Arc::new(TaskMemory::new(Some(1_000)));
        let waiting = task.unsent(900).unwrap();
        assert!(task.unsent(101).is_none());
        assert!(Limiter::new(task.clone()).memory_growing(0, 101, None).is_err());
        drop(waiting);
        assert_eq!((task.used(), task.unsent.load(Ordering::Relaxed)), (0, 0));
        let free = Arc::new(TaskMemory::new(None));
        let _most = free.unsent(MAX_UNSENT).unwrap();
        assert!(free.unsent(1).is_none());
    }

    #[test]
    fn a_growth_that_fails_takes_nothing() {
        let task = Arc::new(TaskMemory::new(None));
        let mut limiter = Limiter::new(task.clone());
        assert!(limiter.memory_growing(0, 100, Some(50)).unwrap());
        limiter.memory_grow_failed(wasmtime::format_err!("beyond its maximum")).unwrap();
        assert!(limiter.table_growing(0, 10, None).unwrap());
        assert_eq!(task.used(), 10 * TABLE_ENTRY as u64);
        limiter.table_grow_failed(wasmtime::format_err!("no memory")).unwrap();
        assert_eq!(task.used(), 0);
    }
}
