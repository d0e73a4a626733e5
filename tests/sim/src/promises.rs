//! What managers have promised each other: a vote that was given is not taken back, by no restart either.
//!
//! Owns: the latest vote that each Raft id has answered with. Invariants of Raft: after a vote for one leader no earlier one is voted for,
//! nor are its entries acknowledged. What was asked before the promise was made may still be answered after it. Ids are never used again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use wsw_manager::raft::stored::StoredVote;
use wsw_manager::raft::types::RaftId;
use wsw_manager::raft::wire::{Appended, Ask, Reply};

/// All promises of a run.
#[derive(Debug, Default)]
pub struct Promises(Mutex<BTreeMap<RaftId, StoredVote>>);

/// The leader (term, Raft id) that a question wants a promise for.
pub fn wanted(ask: &Ask) -> Option<StoredVote> {
    match ask {
        Ask::Vote(ballot) => Some(ballot.vote),
        Ask::Append(append) => Some(append.vote),
        _ => None,
    }
}

fn order(vote: &StoredVote) -> (u64, RaftId) {
    (vote.0, vote.1)
}

impl Promises {
    /// What a manager has promised so far: to be looked at when a question reaches it.
    pub fn of(&self, id: RaftId) -> Option<StoredVote> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied()
    }

    /// A manager answers what it was asked when it had promised `before`. The error is what it takes back.
    pub fn answered(&self, id: RaftId, before: Option<StoredVote>, wanted: Option<StoredVote>, reply: &Reply) -> Result<(), String> {
        let agreed = matches!(reply, Reply::Vote { granted: true, .. } | Reply::Append(Appended::Success | Appended::Partial(_)));
        let Some(wanted) = wanted.filter(|_| agreed) else { return Ok(()) };
        if let Some(before) = before.filter(|before| order(before) > order(&wanted)) {
            return Err(format!("manager {id:x} takes back its vote for {before:x?}: it agrees to {wanted:x?} ({reply:x?})"));
        }
        let mut promises = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let promise = promises.entry(id).or_insert(wanted);
        if order(&wanted) > order(promise) {
            *promise = wanted;
        }
        Ok(())
    }
}
