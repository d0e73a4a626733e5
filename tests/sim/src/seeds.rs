//! The seeds that are played: those that found something once, always; and a range.
//!
//! `WSW_SIM_SEED=7 cargo test -p wsw-sim -- --nocapture replay` plays one and prints its events.
//! `WSW_SIM_SEEDS=1000 WSW_SIM_FIRST=1 cargo test -p wsw-sim -- many_seeds` plays a range.

use crate::cluster::{Shape, run};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds that found something.
///
/// 4: a leader that had handed over asked in a circle, without a pause, whether it leads (`supervisor::elected`).
/// 452: a manager that was away while a worker became one, which then led, shut it out for good (`admission`).
const FOUND: &[u64] = &[4, 452];
/// Seeds of a plain `cargo test`.
const SEEDS: u64 = 300;
/// As many runs at once.
const THREADS: u64 = 2;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Plays all of them; each failure is told with the command that plays it again.
fn play(seeds: &[u64]) {
    let (next, failures) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    if let Err(offence) = run(*seed, None, false) {
                        let last = offence.lines().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
                        println!("seed {seed} fails; WSW_SIM_SEED={seed} cargo test -p wsw-sim -- --nocapture replay\n{last}");
                        failures.lock().unwrap().push(*seed);
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort_unstable();
    assert!(failures.is_empty(), "these seeds fail: {failures:?}");
}

#[test]
fn the_smallest_cluster_settles_and_its_history_repeats() {
    let one = run(1, Some(Shape::smallest()), false).unwrap();
    let other = run(1, Some(Shape::smallest()), false).unwrap();
    assert_eq!(one, other);
    assert!(one.writes.0 > 0, "clients write: {one:?}");
    assert_ne!(one.trace, run(2, Some(Shape::smallest()), false).unwrap().trace);
}

#[test]
fn a_seed_makes_the_same_history_each_time() {
    for seed in 1..=6 {
        assert_eq!(run(seed, None, false), run(seed, None, false), "seed {seed}");
    }
}

#[test]
fn seeds_that_found_something_are_played_again() {
    play(FOUND);
}

#[test]
fn many_seeds() {
    let first = number("WSW_SIM_FIRST").unwrap_or(1);
    let seeds: Vec<u64> = (first..first + number("WSW_SIM_SEEDS").unwrap_or(SEEDS)).collect();
    play(&seeds);
}

/// Plays the seed in the environment and prints all of it; without one, the first.
#[test]
fn replay() {
    let seed = number("WSW_SIM_SEED");
    if std::env::var("WSW_SIM_LOG").is_ok() {
        let _twice = tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::INFO).try_init();
    }
    let played = run(seed.unwrap_or(1), None, seed.is_some());
    assert!(played.is_ok(), "{}", played.unwrap_err().lines().last().unwrap_or_default());
}
