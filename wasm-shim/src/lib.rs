//! The Wasm shim and the module compiler: the only crate that knows wasmtime.
//!
//! Two processes, both started from the `wsw` binary by hidden subcommands:
//! ```text
//! wsw wasm-shim     many tasks in one process, behind containerd's Task API v3 (ttrpc)   [`shim_main`]
//!     control runtime (1 thread)   Task API, hand-over socket, life of the process
//!     guest runtime (1 per core)   guests, HTTP connections                              <- nothing of control runs here
//!     log writer (1 thread)        CRI log files, exit reports                           <- all disk writes
//!     ticker (1 thread)            epochs; parked while no guest runs
//!     background (1 per core + 1)  guests that compute for long, with the processor time that nobody else wants
//! wsw wasm-compile  one module from stdin to an artefact on stdout                       [`compile_main`]
//! ```
//! The contract with the daemon (annotations, log format, hand-over messages, reports) is `wsw_api::shim`.
//!
//! Invariants:
//! - The control runtime never runs guest code and never waits for a disk that guests write to.
//! - Guest code runs only inside a [`metered::Metered`] future, so that it can be interrupted.
//! - Only artefacts that the daemon names in an annotation are loaded; it got them from `compile_main`.
//! - What a shim serves, the compiler has linked: both use [`linker`].

mod answer;
mod args;
mod background;
mod bundle;
mod command;
mod compile;
mod compile_sandbox;
mod connection;
mod connections;
mod cpu;
mod cri;
mod engine;
mod files;
mod forwarded;
mod guest;
mod handover;
mod limits;
mod linker;
mod log_files;
mod log_rate;
mod logs;
mod metered;
mod modules;
mod net;
mod preopens;
mod process;
mod queue;
mod quota;
mod replica;
mod request;
mod sandbox;
mod stats;
mod stdio;
mod task;
mod task_api;
mod tasks;
mod ticker;
mod vetting;
mod watch;

pub use compile::compile_main;
pub use engine::engine_key;
pub use process::shim_main;
