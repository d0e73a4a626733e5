//! Keeps the log short: snapshots and purges by bytes, not by entries (an entry may be 60 bytes or a mebibyte).
//!
//! Owns: when. Invariant: the log after the last snapshot stays near [`limit`], so a restart has a bounded amount to apply.

use super::disk::Sizes;
use super::log::LogStore;
use super::machine::{Machine, View};
use super::space::Space;
use super::types::Types;
use openraft::Raft;
use openraft::type_config::TypeConfigExt;
use openraft::type_config::async_runtime::{AsyncRuntime, Select2};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A log shorter than this is applied faster than a snapshot is worth (about 0.1 s).
pub const MIN_LOG_BYTES: u64 = 8 * 1024 * 1024;
/// A log longer than this takes too long to apply at a start, unless the snapshot itself is larger.
const MAX_LOG_BYTES: u64 = 64 * 1024 * 1024;
/// The log may grow to so many snapshots before the next one: snapshots then are a fifth of what is written.
const SNAPSHOTS_OF_LOG: u64 = 4;
/// Kept behind the snapshot, for managers that are a little behind: sending it is cheaper than a whole snapshot.
pub const KEPT_BYTES: u64 = 16 * 1024 * 1024;
/// Between two looks: a log grows by some mebibytes in that time at most.
const PERIOD: Duration = Duration::from_millis(250);

/// Bytes of log after which a snapshot of about `snapshot` bytes is due.
pub fn limit(snapshot: u64, least: u64) -> u64 {
    (snapshot * SNAPSHOTS_OF_LOG).clamp(least, MAX_LOG_BYTES).max(snapshot)
}

/// What the loop looks at.
pub struct Compactor<RT: AsyncRuntime> {
    pub raft: Raft<Types<RT>, Machine<RT>>,
    pub log: LogStore<RT>,
    pub view: Arc<View>,
    pub space: Arc<Space>,
    pub sizes: Sizes,
}

impl<RT: AsyncRuntime> Compactor<RT> {
    /// Runs until it is stopped or Raft ends.
    pub async fn run(self, stop: CancellationToken) {
        let applied = self.view.applied();
        let (mut tried, mut seen) = (None, None);
        loop {
            let waits = Types::<RT>::select2(stop.cancelled(), Types::<RT>::sleep(PERIOD));
            if matches!(waits.await, Select2::First(())) {
                return;
            }
            let now = *applied.borrow();
            // A snapshot that has become whole lets the log be purged, also when nothing is written any more.
            let look = Some((now, self.view.snapshot()));
            if look == seen && !self.space.is_low() {
                continue;
            }
            seen = look;
            if self.step(Some(now), &mut tried).await.is_err() {
                return;
            }
        }
    }

    async fn step(&self, applied: Option<u64>, tried: &mut Option<u64>) -> Result<(), openraft::errors::Fatal<Types<RT>>> {
        let snapshot = self.view.snapshot();
        let (last, bytes) = snapshot.unwrap_or((None, 0));
        let low = self.space.is_low();
        let grown = self.log.bytes_after(last);
        if last < applied && (grown > limit(bytes, self.sizes.log) || (low && grown > bytes)) && *tried != applied {
            *tried = applied;
            return self.raft.trigger().snapshot().await;
        }
        let kept = if low { 0 } else { self.sizes.kept };
        match self.log.before_newest(kept).min(last) {
            Some(upto) if self.log.purge_is_worth(upto) => self.raft.trigger().purge_log(upto).await,
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_due_after_a_bounded_log() {
        let limit = |snapshot| limit(snapshot, MIN_LOG_BYTES);
        assert_eq!(limit(0), MIN_LOG_BYTES);
        assert_eq!(limit(10 << 20), 40 << 20);
        assert_eq!(limit(30 << 20), MAX_LOG_BYTES);
        assert_eq!(limit(200 << 20), 200 << 20);
    }
}
