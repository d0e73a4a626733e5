//! Every decision of wsw: state and time in, plan and reasons out.
//!
//! Owns: the store (tables, indexes, `apply`), API writes, orchestrators, scheduler, dispatcher sessions.
//! Invariants: PURE (no tokio, clock, rng, I/O, `HashMap`); the same inputs give the same answer; nothing here panics on any input.
//! Never: reads a clock, mints an id but through the caller's function, sleeps, writes anything but the store it is handed.
//!
//! ```text
//!   API writes ──> control::handle ─┐
//!   frames ──────> Sessions ────────┼─> Draft ──> Entry ──(Raft)──> Store::apply ──> Touched
//!   dirty marks ─> plan ────────────┘                                                  │
//!        ^── Agenda <──────────────────────────────────────────────────────────────────┤
//!        Sessions::touched <───────────────────────────────────────────────────────────┘
//! ```

mod agenda;
#[cfg(any(test, feature = "checks"))]
pub mod checks;
pub mod constraint;
pub mod control;
pub mod dispatcher;
mod draft;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod garbage;
pub mod membership;
pub mod plan;
#[cfg(test)]
mod properties;
mod size;
pub mod store;
pub mod trust;

pub use agenda::Agenda;
pub use dispatcher::{Heartbeat, Sessions};
pub use draft::Draft;
pub use plan::{Dirty, Plan, plan};
pub use store::{Store, Touched};
