//! The Raft type configuration, generic over openraft's runtime so that a simulation can run it on its own.
//!
//! Owns: which types stand for a node id, a command, an answer. Never: what a command does (`planner::Store`).

use openraft::impls::{BasicNode, InlineBatch, ProgressResponder, leader_id_adv::LeaderId};
use openraft::type_config::async_runtime::AsyncRuntime;
use openraft::{OptionalSend, RaftTypeConfig};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use wsw_api::entry::{Applied, Entry};

/// A Raft id: minted with the `raft/` folder, never used again (an id that comes back with an empty log can split the cluster).
pub type RaftId = u64;
/// Who proposed an entry: several candidates of one term are ordered by id, so a split vote costs no round.
pub type Leader = LeaderId<u64, RaftId>;
/// The place of an entry in the log.
pub type LogId = openraft::LogId<Leader>;
/// A vote.
pub type Vote = openraft::Vote<Leader>;
/// Who votes.
pub type Membership = openraft::Membership<RaftId, BasicNode>;
/// Who votes, and since which entry.
pub type StoredMembership = openraft::StoredMembership<Leader, RaftId, BasicNode>;
/// What an entry carries.
pub type Payload = openraft::EntryPayload<Command, RaftId, BasicNode>;
/// An entry as openraft handles it.
pub type RaftEntry = openraft::Entry<Leader, Payload>;
/// What a snapshot says of itself.
pub type SnapshotMeta = openraft::SnapshotMeta<Leader, RaftId, BasicNode>;

/// The type configuration.
pub struct Types<RT>(PhantomData<fn() -> RT>);

/// One proposal. Cheap to clone: log, cache and state machine share it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command(pub Arc<Entry>);

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests, {} guards, {} changes", self.0.requests.len(), self.0.guards.len(), self.0.changes.len())
    }
}

impl<RT> fmt::Debug for Types<RT> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Types")
    }
}
impl<RT> Clone for Types<RT> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<RT> Copy for Types<RT> {}
impl<RT> Default for Types<RT> {
    fn default() -> Self {
        Self(PhantomData)
    }
}
impl<RT> PartialEq for Types<RT> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl<RT> Eq for Types<RT> {}
impl<RT> PartialOrd for Types<RT> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<RT> Ord for Types<RT> {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

impl<RT: AsyncRuntime> RaftTypeConfig for Types<RT> {
    type D = Command;
    type R = Applied;
    type NodeId = RaftId;
    type Node = BasicNode;
    type Term = u64;
    type LeaderId = Leader;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = RaftEntry;
    type AsyncRuntime = RT;
    type Responder<T>
        = ProgressResponder<Self, T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = openraft::AnyError;
}
