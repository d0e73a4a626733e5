//! Raft: openraft over our own log, snapshots and state machine.
//!
//! Owns: the `raft/` folder. `types` (configuration), `node` (one running Raft), `log` / `index` / `segment` / `record` / `writer` (the log
//! on disk), `snapshot`, `machine` (applied state), `network` over `link` and `wire` (the other managers), `compact` (snapshots and purging by bytes), `space` (the disk's reserve), all over `disk`.
//! Invariants: nothing is acknowledged before it is synced; everything on disk is encrypted; generic over openraft's `AsyncRuntime`.

pub mod anew;
pub mod compact;
pub mod crypto;
pub mod disk;
pub mod file_header;
pub mod index;
pub mod link;
pub mod log;
pub mod machine;
pub mod network;
pub mod node;
mod record;
mod segment;
pub mod snapshot;
pub mod space;
pub mod stored;
pub mod types;
pub mod wire;
mod writer;

#[cfg(test)]
mod tests;
