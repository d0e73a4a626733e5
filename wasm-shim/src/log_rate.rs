//! How much one task may write into its log: a token bucket on bytes.
//!
//! Owns: the decision and the count of what was dropped. Invariants: below the rate nothing is dropped; what is dropped is counted, and told
//! in one line when the task may write again or ends. Never: waits; a guest is not slowed by it.

use crate::cri;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes a second, records with their stamps: what Swarm's executor sends on at most.
pub const BYTES_A_SECOND: u64 = 10_000_000;
/// A burst of one second's worth is taken at once.
const BURST: u64 = 1_000_000_000;

/// The bucket of one task. Times are of `cpu::since_start`.
#[derive(Debug, Default)]
pub struct LogRate {
    /// When the bucket is full again.
    full_at: AtomicU64,
    dropped: AtomicU64,
}

impl LogRate {
    /// Whether these records are written; those that are not are counted here.
    pub fn admit(&self, records: &[u8], now: u64) -> bool {
        let bytes = u64::try_from(records.len()).unwrap_or(u64::MAX);
        let cost = bytes.saturating_mul(1_000_000_000) / BYTES_A_SECOND;
        let next = |full_at: u64| (full_at <= now.saturating_add(BURST)).then(|| full_at.max(now).saturating_add(cost));
        let taken = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok();
        if !taken {
            self.dropped.fetch_add(cri::lines(records), Ordering::Relaxed);
        }
        taken
    }

    /// The line that tells what was dropped since it was asked last.
    pub fn news(&self) -> Option<String> {
        if self.dropped.load(Ordering::Relaxed) == 0 {
            return None;
        }
        match self.dropped.swap(0, Ordering::Relaxed) {
            0 => None,
            1 => Some("wsw: 1 line dropped (log rate)".to_owned()),
            lines => Some(format!("wsw: {lines} lines dropped (log rate)")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn what_stays_below_the_rate_is_never_dropped() {
        let rate = LogRate::default();
        let line = [b'\n'; 100];
        for n in 0..300_000 {
            assert!(rate.admit(&line, n * SECOND / 100_000), "{n}");
        }
        assert_eq!(rate.news(), None);
    }

    #[test]
    fn a_flood_is_cut_to_the_rate_and_counted() {
        let (rate, mut taken) = (LogRate::default(), 0);
        let line = [&b"2026-01-01T00:00:00.000000000Z stdout F "[..], &[b'x'; 359], b"\n"].concat();
        for n in 0..1_000_000_u64 {
            taken += u64::from(rate.admit(&line, n * 10 * SECOND / 1_000_000));
        }
        // Ten seconds' worth and the burst.
        assert!((11 * BYTES_A_SECOND..11 * BYTES_A_SECOND + 1_000).contains(&(400 * taken)), "{taken}");
        let dropped = 1_000_000 - taken;
        assert_eq!(rate.news(), Some(format!("wsw: {dropped} lines dropped (log rate)")));
        assert_eq!(rate.news(), None);
    }
}
