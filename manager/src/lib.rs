//! A manager: keeps the cluster's state with Raft and runs the leader's loop.
//!
//! Owns: `identity/` and `raft/` in the data root; the thread that proposes; the workers' sessions; events.
//! Invariants: a write is acknowledged after it is synced and applied; one task proposes, one entry at a time, so every decision is made
//! on applied state; a storage error never needs a restart. Never: decides what to run (`planner`), runs it (`worker`), speaks HTTP.
//!
//! ```text
//!   daemon ──> Manager ──inbox──> Leader ──entries──> Raft ──> log (writer thread, fsync) ──> Machine (Store, events)
//!                 ^                  │                              segments, snapshots               │
//!                 └── answers, frames ◄──────────────────────── applied state ◄───────────────────────┘
//! ```
//! Threads: `manager` (supervisor and leader), `raft` (two, openraft and the state machine), `raft-log` (the only writer of the log).

mod admission;
mod anew;
mod asking;
mod config;
mod enroll;
mod events;
mod files;
pub mod identity;
mod init;
mod join;
mod leader;
mod manager;
mod own_addr;
mod peers;
pub mod raft;
mod serve;
mod supervisor;

pub use admission::Asks;
pub use anew::refusal;
pub use asking::Leading;
pub use config::{Config, InitSpec};
pub use leader::clock::Outside;
pub use leader::inbox::Origin;
pub use manager::{Manager, Parts, Rotate, forget, wipe};
pub use own_addr::OwnAddr;
pub use raft::node::Timing;
pub use supervisor::{Begun, Start};
