//! Chance from the seed: one sequence for the whole run, drawn from in the order of events.
//!
//! Invariant: nothing else in the simulation is random. The run's thread owns the sequence.

use std::cell::Cell;
use std::time::Duration;

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// Begins a run's sequence.
pub fn begin(seed: u64) {
    STATE.set(seed ^ 0x5bd1_e995_7b14_37d1);
    next();
}

/// The next number (SplitMix64).
pub fn next() -> u64 {
    let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(state);
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number below `end` (0 when there is none).
pub fn below(end: usize) -> usize {
    next().checked_rem(end as u64).unwrap_or(0) as usize
}

/// True so many times in a thousand.
pub fn per_mille(often: u64) -> bool {
    next() % 1_000 < often
}

/// A time between two, in milliseconds.
pub fn millis(from: u64, to: u64) -> Duration {
    Duration::from_millis(from + next() % (to - from).max(1))
}

/// One of several; none when there is none.
pub fn one<T: Clone>(of: &[T]) -> Option<T> {
    of.get(below(of.len())).cloned()
}

/// Sixteen bytes, as ids are made of.
pub fn id() -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&next().to_be_bytes());
    bytes[8..].copy_from_slice(&next().to_be_bytes());
    bytes
}
