//! Cluster time, and where ids come from.
//!
//! Invariant: cluster time starts at the later of the last entry's time and the wall clock, then follows the monotonic clock: a stepped
//! wall clock moves nothing (DESIGN section 5).

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;
use wsw_api::time::Time;

/// Random bytes fetched from the kernel at once: 256 ids.
const POOL_BYTES: usize = 4_096;

/// Where the time of day and chance come from: the machine, or a simulation's seed.
pub trait Outside: Send + Sync {
    /// The wall clock.
    fn wall(&self) -> Time;
    /// Random bytes; a failure of the kernel's generator is told.
    fn random(&self, bytes: &mut [u8]) -> std::io::Result<()>;
}

/// This machine's.
pub struct Here;

impl Outside for Here {
    fn wall(&self) -> Time {
        wall()
    }
    fn random(&self, bytes: &mut [u8]) -> std::io::Result<()> {
        crate::raft::crypto::fill(bytes)
    }
}

/// A random id's bytes.
pub fn id(outside: &dyn Outside) -> std::io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    outside.random(&mut bytes).map(|()| bytes)
}

/// The wall clock.
pub fn wall() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// The leader's clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    base: Time,
    at: Instant,
}

impl Clock {
    /// Starts at an election.
    pub fn start(last: Time, wall: Time) -> Self {
        Self { base: last.max(wall), at: Instant::now() }
    }

    /// Cluster time now.
    pub fn now(&self) -> Time {
        self.base.after(nanos(self.at.elapsed()))
    }

    /// When a moment of cluster time comes.
    pub fn when(&self, time: Time) -> Instant {
        self.at + Duration::from_nanos(time.since(self.base))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Mints ids.
pub struct Ids {
    outside: Arc<dyn Outside>,
    pool: Vec<u8>,
}

impl Ids {
    /// With an empty pool.
    pub fn new(outside: Arc<dyn Outside>) -> Self {
        Self { outside, pool: Vec::new() }
    }

    /// 16 random bytes.
    pub fn mint(&mut self) -> [u8; 16] {
        loop {
            if let Some(id) = self.pool.len().checked_sub(16).and_then(|at| self.pool.split_off(at).try_into().ok()) {
                return id;
            }
            // The kernel's generator cannot fail once the machine is up; a failure is tried again.
            let mut pool = vec![0; POOL_BYTES];
            self.pool = self.outside.random(&mut pool).map(|()| pool).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn cluster_time_never_starts_before_the_last_entry_and_never_goes_back() {
        for (last, wall, start) in [(Time(100), Time(50), Time(100)), (Time(100), Time(200), Time(200))] {
            let clock = Clock::start(last, wall);
            let (first, second) = (clock.now(), clock.now());
            assert!(start <= first && first <= second);
            assert_eq!(clock.when(start.after(9)), clock.at + Duration::from_nanos(9));
            assert_eq!(clock.when(Time(0)), clock.at, "what is past is due");
        }
    }

    #[test]
    fn ids_do_not_repeat() {
        let mut ids = Ids::new(Arc::new(Here));
        let minted: BTreeSet<_> = (0..1_000).map(|_| ids.mint()).collect();
        assert_eq!(minted.len(), 1_000);
    }
}
