//! Shim processes: starting them, talking to them, choosing one for a task, handing connections to them.
//!
//! ```text
//! Pool ── entry per shim ── Shim ── connection (ttrpc, Task API v3)      <n>.sock
//!   │                        └───── handover   (SEQPACKET, descriptors)  <n>.sock.fd
//!   └── Lease: one task's place in a shim
//! ```
//!
//! Invariants: a closed connection is a dead shim: all calls end with "shim died", its process is killed, its sockets are removed.
//! A shim of another engine or contract gets no new task. Never: ends a shim that has tasks.

mod cgroup;
mod check;
mod client;
mod connection;
mod handover;
mod pool;
mod process;
mod record;
mod register;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use cgroup::Cgroups;
pub(crate) use check::check;
pub(crate) use client::{Refusal, Shim, TaskState, now, timestamp};
pub(crate) use connection::Watched;
pub(crate) use pool::{Group, Lease, Pool, Settings, Wish};
pub(crate) use process::{HOMES, Opened};
pub(crate) use register::register;
