//! The simulation: whole managers (openraft, log, leader's loop, planner, dispatcher) on one thread, with time, disks, network and chance of its own.
//!
//! ```text
//!   seed ─> faults, clients, operators ─> managers (real) ── Net ── managers, workers (models)
//!                                            │ Disk                        every applied entry ─> checks
//! ```
//! Owns: what surrounds the managers, and what must hold of them. Invariants: one seed makes one history, to the last event; nothing waits
//! for the machine's clock. Never: decides anything that ships; it is built for tests only.

#![cfg(test)]

mod chance;
mod checks;
mod client;
mod cluster;
mod disk;
mod faults;
mod golden;
mod history;
mod host;
mod net;
mod operator;
mod plant;
mod promises;
mod runtime;
mod seeds;
mod settle;
mod spoilt;
mod tasks;
mod trace;
mod versions;
mod ways;
mod worker;
