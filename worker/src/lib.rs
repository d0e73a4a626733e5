//! The worker: runs the tasks that the leader assigns to this node, serves its published ports, reads its logs.
//!
//! ```text
//!             frames                                    calls
//! leader ◄────────────► agent ──► tasks ──► driver ×n ────────► runtime (Executor, Controller)
//!                         │         └─► disk (assignments)
//!                         └─► ingress ──► listener ×ports ────► runtime (Handover)
//! other nodes ◄──────────── relay ◄──┘        (streams)
//! ```
//! Invariants:
//! - Tasks and ports do not depend on a leader: they come up from the disk and stay up without a session.
//! - A task's state only moves forward, and its status is kept until the leader has it in its log.
//! - No thread per task, no queue without a bound.
//!
//! Never: decides where a task runs or whether it is replaced (the planner), knows what a shim is (the runtime).

mod agent;
mod board;
mod clock;
mod disk;
mod driver;
mod events;
mod execs;
mod hands;
mod health;
mod ingress;
pub mod logs;
pub mod relay;
mod routes;
mod seam;
mod session;
mod set;
mod step;
mod store;
mod tasks;
#[cfg(test)]
mod tests;
mod worker;

pub use agent::described;
pub use board::LocalTask;
pub use events::Ring;
pub use ingress::Counters;
pub use logs::Selector;
pub use logs::place::log_path;
pub use routes::Routes;
pub use seam::Handover;
pub use worker::{Config, Error, Worker};
