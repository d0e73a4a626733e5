//! The vocabulary of wsw: typed ids, specs, objects, task states, errors, log entries and wire messages.
//!
//! Owns: what things are called, what shape they have in the Raft log, on sessions and between the daemon and its shims.
//! Invariants: PURE (no tokio, clock, rng, I/O, `HashMap`); every stored number is fixed-width, never `usize`.
//! Never: decides anything (crate `planner`), knows a Docker spelling (crate `dockerapi`) or a file path on disk.

pub mod confine;
pub mod control;
pub mod entry;
pub mod error;
pub mod event;
pub mod exec;
pub mod files;
pub mod generic;
pub mod health;
pub mod id;
pub mod image;
pub mod join;
pub mod labels;
pub mod log;
pub mod log_stream;
pub mod mount;
pub mod network;
pub mod object;
pub mod outbound;
pub mod placeholders;
pub mod registry;
pub mod relay;
pub mod session;
pub mod shim;
pub mod spec;
pub mod task;
pub mod time;
pub mod trust;
pub mod unlock;
pub mod usage;
pub mod volume;

pub use error::{Class, Error, Result};
pub use id::{ClusterId, NetworkId, NodeId, RequestId, ServiceId, SessionId, TaskId};
pub use object::{Cluster, Node, Service, Template};
pub use task::{DesiredState, Task, TaskState, TaskStatus};
pub use time::Time;
