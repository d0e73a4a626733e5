//! The worker's clock: wall time that never stands still and never goes back within one life of the process.
//!
//! Owns: the moments in statuses. Invariant: two calls never give the same moment, so a newer status is always newer in the merge.
//! Never: decides anything; deadlines use tokio's monotonic clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use wsw_api::Time;

static LAST: AtomicU64 = AtomicU64::new(0);

/// This moment, later than every moment handed out before.
pub fn now() -> Time {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
    let mut chosen = wall;
    // The closure always returns a value, so both arms carry the previous one.
    let _ = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
        chosen = wall.max(last.saturating_add(1));
        Some(chosen)
    });
    Time(chosen)
}

/// Wall time as it is, for comparing with times that others wrote.
pub fn wall() -> Time {
    Time(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    #[test]
    fn moments_are_strictly_increasing() {
        let moments: Vec<_> = (0..1_000).map(|_| super::now()).collect();
        assert!(moments.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
