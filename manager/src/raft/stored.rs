//! The stored form of what openraft keeps in the log: ours, so that a change of its types changes no file.
//!
//! Owns: the mapping both ways. Stored as MessagePack arrays; an unknown form is refused with the entry's index.

use super::types::{Command, Leader, LogId, Membership, Payload, RaftEntry, RaftId, StoredMembership, Vote};
use openraft::impls::BasicNode;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// (term, proposer, index).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredId(pub u64, pub RaftId, pub u64);

impl StoredId {
    /// From openraft's.
    pub fn of(id: &LogId) -> Self {
        Self(id.leader_id.term, id.leader_id.node_id, id.index)
    }
    /// To openraft's.
    pub fn log_id(self) -> LogId {
        LogId { leader_id: Leader { term: self.0, node_id: self.1 }, index: self.2 }
    }
    /// The index alone.
    pub fn index(self) -> u64 {
        self.2
    }
}

/// (term, node, granted by a quorum).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredVote(pub u64, pub RaftId, pub bool);

impl StoredVote {
    /// From openraft's.
    pub fn of(vote: &Vote) -> Self {
        Self(vote.leader_id.term, vote.leader_id.node_id, vote.committed)
    }
    /// To openraft's.
    pub fn vote(self) -> Vote {
        Vote { leader_id: Leader { term: self.0, node_id: self.1 }, committed: self.2 }
    }
}

/// Everything of the log but its entries; a record of it replaces all earlier ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub vote: Option<StoredVote>,
    pub committed: Option<StoredId>,
    pub purged: Option<StoredId>,
}

/// Voters (two sets while they change) and addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    configs: Vec<BTreeSet<RaftId>>,
    nodes: BTreeMap<RaftId, String>,
}

impl Members {
    /// From openraft's.
    pub fn of(membership: &Membership) -> Self {
        Self { configs: membership.get_joint_config().clone(), nodes: membership.nodes().map(|(id, node)| (*id, node.addr.clone())).collect() }
    }
    /// To openraft's.
    pub fn membership(self) -> io::Result<Membership> {
        if self.configs.iter().all(BTreeSet::is_empty) && self.nodes.is_empty() {
            return Ok(Membership::default());
        }
        let nodes: BTreeMap<RaftId, BasicNode> = self.nodes.into_iter().map(|(id, addr)| (id, BasicNode { addr })).collect();
        Membership::new(self.configs, nodes).map_err(|err| io::Error::new(io::ErrorKind::InvalidData, format!("stored membership: {err}")))
    }
    /// To openraft's, with the entry that set it.
    pub fn stored(self, at: Option<StoredId>) -> io::Result<StoredMembership> {
        Ok(StoredMembership::new(at.map(StoredId::log_id), self.membership()?))
    }
}

/// Borrowed form of an entry, for writing.
#[derive(Serialize)]
struct EntryRef<'a>(u64, RaftId, PayloadRef<'a>);

#[derive(Serialize)]
enum PayloadRef<'a> {
    Blank,
    Normal(&'a Command),
    Membership(Members),
}

/// Owned form of an entry, for reading.
#[derive(Deserialize)]
struct EntryOwned(u64, RaftId, PayloadOwned);

#[derive(Deserialize)]
enum PayloadOwned {
    Blank,
    Normal(Command),
    Membership(Members),
}

/// Appends an entry's stored form to `out` (its index is in the record's header).
pub fn write_entry(out: &mut Vec<u8>, entry: &RaftEntry) -> io::Result<()> {
    let payload = match &entry.payload {
        Payload::Blank => PayloadRef::Blank,
        Payload::Normal(command) => PayloadRef::Normal(command),
        Payload::Membership(membership) => PayloadRef::Membership(Members::of(membership)),
    };
    write(out, &EntryRef(entry.log_id.leader_id.term, entry.log_id.leader_id.node_id, payload))
}

/// Reads an entry's stored form.
pub fn read_entry(index: u64, bytes: &[u8]) -> io::Result<RaftEntry> {
    let EntryOwned(term, node_id, payload) = read(bytes).map_err(|err| io::Error::new(err.kind(), format!("log entry {index}: {err}")))?;
    let payload = match payload {
        PayloadOwned::Blank => Payload::Blank,
        PayloadOwned::Normal(command) => Payload::Normal(command),
        PayloadOwned::Membership(members) => Payload::Membership(members.membership()?),
    };
    Ok(RaftEntry { log_id: LogId { leader_id: Leader { term, node_id }, index }, payload })
}

/// Appends a value's stored form to `out`.
pub fn write<T: Serialize>(out: &mut Vec<u8>, value: &T) -> io::Result<()> {
    rmp_serde::encode::write(out, value).map_err(|err| io::Error::new(io::ErrorKind::InvalidInput, err))
}

/// Reads a value's stored form.
pub fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> io::Result<T> {
    rmp_serde::from_slice(bytes).map_err(|err| io::Error::new(io::ErrorKind::InvalidData, format!("not a form that this version knows: {err}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use wsw_api::Time;
    use wsw_api::entry::Entry;

    #[test]
    fn entries_round_trip() {
        let members = Membership::new(
            vec![[1, 2].into(), [2, 3].into()],
            (1..=4).map(|id| (id, BasicNode { addr: format!("10.0.0.{id}:2377") })).collect::<BTreeMap<_, _>>(),
        );
        let command = Command(Arc::new(Entry { time: Time(5), ..Entry::default() }));
        for payload in [Payload::Blank, Payload::Normal(command), Payload::Membership(members.unwrap())] {
            let entry = RaftEntry { log_id: StoredId(3, 9, 41).log_id(), payload };
            let mut bytes = Vec::new();
            write_entry(&mut bytes, &entry).unwrap();
            assert_eq!(read_entry(41, &bytes).unwrap(), entry);
            assert!(read_entry(41, &bytes[..bytes.len() - 1]).unwrap_err().to_string().contains("log entry 41"));
        }
    }
}
