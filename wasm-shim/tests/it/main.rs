//! The real shim and the real compiler as processes of their own, spoken to as the daemon does.
//!
//! The processes are this test binary again: `entry` becomes one of them when the environment says so.

// Helpers of tests are no tests themselves for clippy's exception.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod commands;
mod compile;
mod files;
mod guests;
mod harness;
mod limits;
mod servers;
mod shim;

/// Not a test by itself: becomes the shim or the compiler when `harness` starts it.
#[test]
fn entry() {
    let Ok(words) = std::env::var(harness::PROCESS) else { return };
    let mut words = words.split('\n').map(str::to_owned);
    let code = match words.next().as_deref() {
        Some("wasm-shim") => wsw_wasm_shim::shim_main(words.collect()),
        Some("wasm-compile") => wsw_wasm_shim::compile_main(words.collect()),
        other => panic!("{other:?}"),
    };
    std::process::exit(if code == std::process::ExitCode::SUCCESS { 0 } else { 1 });
}
