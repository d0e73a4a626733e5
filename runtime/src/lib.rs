//! Runs one task, through a shim: images, compiled code, bundles, shim processes and the connections handed to them.
//!
//! ```text
//! worker ── Executor/Controller ── wasm::Wasm ─┬─ images    content-addressed store, `load`, `resolve`
//!                                              ├─ compiler  one short-lived process per module
//!                                              ├─ bundle    one folder per task: the record of what runs
//!                                              └─ shim      processes that hold the tasks: Task API v3, hand-over of connections
//! ```
//!
//! Invariants:
//! - Tasks outlive the daemon: nothing here ends a task because the daemon ends; what runs is read back from the bundles.
//! - A file that another process may read is complete: written under a temporary name, then renamed.
//! - Guests and the compiler run as other users when the daemon is root, with an empty environment.
//! - Only code that our own compiler made is handed to a shim.
//!
//! Never: decides whether a task should run (the worker), reads cluster state, speaks HTTP.

mod batch;
mod bundle;
mod compiler;
mod copy;
mod error;
mod executor;
mod files;
pub mod heap;
mod mounts;
mod oci;
mod program;
mod runtime;
mod sparse;
mod spec;
mod tarball;
pub mod transfer;
mod users;

pub mod images;
pub mod shim;
pub mod volumes;
pub mod wasm;

pub use error::{Error, Result};
pub use executor::{Adopted, AdoptedState, Attached, Capabilities, Controller, Executor, Exit, Started, TaskRequest};
pub use oci::added_runtimes;
pub use oci::exec::{Exec, Streams};
pub use oci::trial;
pub use runtime::Runtime;
pub use wasm::{Config, Wasm};
pub use wsw_api::shim::HandoverOutcome;
