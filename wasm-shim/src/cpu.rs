//! A task's processor time, over all its instances: what it used, and the limit on it.
//!
//! Owns: the token bucket. Used is what the thread clock says around each poll of a guest, so waiting costs nothing. The bucket holds one
//! period's quota; a poll may take it below zero by what it overran (at most an epoch for each thread), which is paid back by waiting.
//! Never: reads a clock; the caller brings the time.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// Runc's default period.
pub const DEFAULT_PERIOD: Duration = Duration::from_millis(100);

/// So much processor time in so much time (`linux.resources.cpu.quota` and `period`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuLimit {
    pub quota: Duration,
    pub period: Duration,
}

/// Nanoseconds since the process's first look at the clock.
pub fn since_start(at: Instant) -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    nanos(at.saturating_duration_since(*START))
}

/// As a number; 584 years are enough.
pub fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The processor time of one task.
#[derive(Debug, Default)]
pub struct TaskCpu {
    spent: AtomicU64,
    limit: Option<CpuLimit>,
    /// When the bucket is full again, on the scale of [`since_start`]. One number, so that no lock is needed.
    full_at: AtomicU64,
    /// Guests that exist.
    living: AtomicUsize,
    gone: Notify,
}

impl TaskCpu {
    pub fn new(limit: Option<CpuLimit>) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Nanoseconds that the task's guests ran for.
    pub fn spent(&self) -> u64 {
        self.spent.load(Ordering::Relaxed)
    }

    /// A guest ran for so many nanoseconds.
    pub fn charge(&self, spent: u64, now: u64) {
        self.spent.fetch_add(spent, Ordering::Relaxed);
        if let Some(limit) = &self.limit {
            let refill = u128::from(spent) * limit.period.as_nanos() / limit.quota.as_nanos().max(1);
            let refill = u64::try_from(refill).unwrap_or(u64::MAX);
            let later = |full_at: u64| Some(full_at.max(now).saturating_add(refill));
            let _ = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
        }
    }

    /// How long the task's guests may not run: none when there are tokens.
    pub fn pause(&self, now: u64) -> Option<Duration> {
        let limit = self.limit.as_ref()?;
        let empty_until = self.full_at.load(Ordering::Relaxed).saturating_sub(nanos(limit.period));
        (empty_until > now).then(|| Duration::from_nanos(empty_until - now))
    }

    pub const fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    pub fn born(&self) {
        self.living.fetch_add(1, Ordering::SeqCst);
    }

    pub fn died(&self) {
        if self.living.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.gone.notify_waiters();
        }
    }

    /// Ends when none of its guests exists any more.
    pub async fn all_gone(&self) {
        loop {
            let told = self.gone.notified();
            if self.living.load(Ordering::SeqCst) == 0 {
                return;
            }
            told.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn fifth() -> TaskCpu {
        TaskCpu::new(Some(CpuLimit { quota: Duration::from_millis(20), period: Duration::from_millis(100) }))
    }

    #[test]
    fn a_fifth_is_a_fifth_whatever_the_slices() {
        for slice in [MS / 10, 2 * MS, 50 * MS] {
            let (cpu, mut now) = (fifth(), 0);
            while now < 100_000 * MS {
                match cpu.pause(now) {
                    Some(pause) => now += nanos(pause),
                    None => {
                        now += slice;
                        cpu.charge(slice, now);
                    }
                }
            }
            let part = cpu.spent() * 1_000 / now;
            assert!((195..=205).contains(&part), "{slice}: {part}");
        }
    }

    #[test]
    fn what_is_not_used_is_kept_for_one_period_only() {
        let cpu = fifth();
        let now = 1_000_000 * MS;
        assert_eq!(cpu.pause(now), None);
        cpu.charge(20 * MS, now);
        assert_eq!(cpu.pause(now), None);
        cpu.charge(MS, now);
        assert_eq!(cpu.pause(now), Some(Duration::from_millis(5)));
        assert_eq!(cpu.pause(now + 5 * MS), None);
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let cpu = TaskCpu::new(None);
        cpu.charge(u64::MAX / 2, 0);
        assert_eq!((cpu.pause(0), cpu.spent()), (None, u64::MAX / 2));
    }
}
