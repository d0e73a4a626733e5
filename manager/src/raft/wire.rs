//! What managers say to each other, as frames: Raft's own messages, and what a manager asks of the leader.
//!
//! Owns: the forms on the wire and their bounds; entries travel in the form in which they are stored, so both follow the feature level.
//! Never: a connection (`link`, `crate::peers`).

use super::snapshot::Meta;
use super::stored::{self, StoredId, StoredVote};
use super::types::{LogId, RaftEntry, RaftId, Types};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse};
use openraft::type_config::async_runtime::AsyncRuntime;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::io;
use wsw_api::control::{Answer, Request};

/// Entries of one message, in bytes (the log reader's bound); what is beyond goes with the next.
pub const MAX_APPEND_BYTES: usize = 4 << 20;
/// One question: a full message of entries and one entry more, with its frame; a write is smaller.
pub const MAX_ASK: usize = 8 << 20;
/// One answer: the outcome of a write with its warnings.
pub const MAX_REPLY: usize = 1 << 20;

/// Begins a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Of the cluster, as far as this side knows it; another one is refused.
    pub incarnation: Option<u64>,
    /// Whom this is for; none for whoever is there (a manager that is not yet one of Raft's members asks to be).
    pub to: Option<RaftId>,
}

/// A question. Each has a stream of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Ask {
    Vote(Ballot),
    PreVote(Ballot),
    Append(Append),
    /// The state's bytes follow until the stream's end.
    Snapshot {
        vote: StoredVote,
        meta: Meta,
    },
    Transfer {
        from: StoredVote,
        to: RaftId,
        last: Option<StoredId>,
    },
    /// Up to which entry must a read have seen the log? And who is there?
    ReadIndex,
    /// To be carried out by the leader.
    Write(Box<Request>),
}

/// What a candidate asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ballot {
    pub vote: StoredVote,
    pub last: Option<StoredId>,
    pub transfer: bool,
}

/// Entries for a follower; none is a heartbeat.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Append {
    pub vote: StoredVote,
    pub prev: Option<StoredId>,
    pub commit: Option<StoredId>,
    pub entries: Vec<(u64, Stored)>,
}

/// An entry's stored form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored(pub Vec<u8>);

/// An answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Reply {
    Vote {
        vote: StoredVote,
        granted: bool,
        last: Option<StoredId>,
    },
    Append(Appended),
    /// The snapshot is installed, or the vote is newer.
    Snapshot {
        vote: StoredVote,
    },
    /// True when the target stands for election.
    Transfer(bool),
    Read(ReadIndex),
    Write(Written),
    /// Ask another.
    NotLeader,
    /// Raft does not run there at this moment.
    Failed(String),
}

/// What became of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Appended {
    Success,
    Partial(Option<StoredId>),
    Conflict,
    HigherVote(StoredVote),
}

/// The leader's answer to who reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadIndex {
    pub index: u64,
    /// The managers that it does not hear.
    pub silent: Vec<RaftId>,
}

/// What became of a write.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Written {
    Answer(Answer),
    NotYet(wsw_api::Error),
    Unknown(String),
}

impl Serialize for Stored {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Stored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Stored;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Stored, E> {
                Ok(Stored(bytes.to_vec()))
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Stored, E> {
                Ok(Stored(bytes))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Stored, A::Error> {
                Err(serde::de::Error::custom("a list in place of bytes"))
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

impl Ballot {
    /// From openraft's.
    pub fn of<RT: AsyncRuntime>(request: &VoteRequest<Types<RT>>) -> Self {
        Self { vote: StoredVote::of(&request.vote), last: request.last_log_id.as_ref().map(StoredId::of), transfer: request.leadership_transfer }
    }

    /// To openraft's.
    pub fn request<RT: AsyncRuntime>(self) -> VoteRequest<Types<RT>> {
        let mut request = VoteRequest::new(self.vote.vote(), self.last.map(StoredId::log_id));
        request.leadership_transfer = self.transfer;
        request
    }
}

impl Reply {
    /// From openraft's.
    pub fn of_vote<RT: AsyncRuntime>(response: &VoteResponse<Types<RT>>) -> Self {
        Self::Vote { vote: StoredVote::of(&response.vote), granted: response.vote_granted, last: response.last_log_id.as_ref().map(StoredId::of) }
    }
}

impl Append {
    /// From openraft's, as much as one message holds. Answers the last entry when there was more.
    pub fn of<RT: AsyncRuntime>(request: &AppendEntriesRequest<Types<RT>>) -> io::Result<(Self, Option<LogId>)> {
        let mut entries = Vec::with_capacity(request.entries.len());
        let (mut bytes, mut cut) = (0, None);
        for (place, entry) in request.entries.iter().enumerate() {
            let mut stored = Vec::new();
            stored::write_entry(&mut stored, entry)?;
            bytes += stored.len();
            entries.push((entry.log_id.index, Stored(stored)));
            if bytes >= MAX_APPEND_BYTES && place + 1 < request.entries.len() {
                cut = Some(entry.log_id);
                break;
            }
        }
        let id = |id: &Option<LogId>| id.as_ref().map(StoredId::of);
        Ok((Self { vote: StoredVote::of(&request.vote), prev: id(&request.prev_log_id), commit: id(&request.leader_commit), entries }, cut))
    }

    /// To openraft's; an entry that this version does not know is an error.
    pub fn request<RT: AsyncRuntime>(self) -> io::Result<AppendEntriesRequest<Types<RT>>> {
        let entries = self.entries.iter().map(|(index, stored)| stored::read_entry(*index, &stored.0)).collect::<io::Result<Vec<RaftEntry>>>()?;
        Ok(AppendEntriesRequest {
            vote: self.vote.vote(),
            prev_log_id: self.prev.map(StoredId::log_id),
            entries,
            leader_commit: self.commit.map(StoredId::log_id),
        })
    }
}

impl Appended {
    /// From openraft's.
    pub fn of<RT: AsyncRuntime>(response: &AppendEntriesResponse<Types<RT>>) -> Self {
        match response {
            AppendEntriesResponse::Success => Self::Success,
            AppendEntriesResponse::PartialSuccess(upto) => Self::Partial(upto.as_ref().map(StoredId::of)),
            AppendEntriesResponse::Conflict => Self::Conflict,
            AppendEntriesResponse::HigherVote(vote) => Self::HigherVote(StoredVote::of(vote)),
        }
    }

    /// To openraft's; `cut` is the last entry that was sent when not all were.
    pub fn response<RT: AsyncRuntime>(self, cut: Option<LogId>) -> AppendEntriesResponse<Types<RT>> {
        match (self, cut) {
            (Self::Success, None) => AppendEntriesResponse::Success,
            (Self::Success, Some(cut)) => AppendEntriesResponse::PartialSuccess(Some(cut)),
            (Self::Partial(upto), _) => AppendEntriesResponse::PartialSuccess(upto.map(StoredId::log_id)),
            (Self::Conflict, _) => AppendEntriesResponse::Conflict,
            (Self::HigherVote(vote), _) => AppendEntriesResponse::HigherVote(vote.vote()),
        }
    }
}

/// openraft's request to stand for election.
pub fn transfer<RT: AsyncRuntime>(from: StoredVote, to: RaftId, last: Option<StoredId>) -> TransferLeaderRequest<Types<RT>> {
    TransferLeaderRequest::new(from.vote(), to, last.map(StoredId::log_id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::{Command, Payload};
    use openraft_rt_tokio::TokioRuntime;
    use std::sync::Arc;
    use wsw_api::entry::{Change, Entry};

    fn entry(index: u64, bytes: usize) -> RaftEntry {
        let reason: Arc<str> = "x".repeat(bytes).into();
        let entry = Entry { changes: vec![Change::Explain { reason, tasks: Vec::new() }], ..Entry::default() };
        RaftEntry { log_id: StoredId(3, 9, index).log_id(), payload: Payload::Normal(Command(Arc::new(entry))) }
    }

    #[test]
    fn entries_arrive_as_they_were_and_are_cut_by_bytes() {
        let few = vec![entry(5, 10), entry(6, 2_000)];
        let request = |entries: Vec<RaftEntry>| AppendEntriesRequest::<Types<TokioRuntime>> {
            vote: StoredVote(3, 9, true).vote(),
            prev_log_id: Some(StoredId(2, 1, 4).log_id()),
            entries,
            leader_commit: None,
        };
        let (sent, cut) = Append::of(&request(few.clone())).unwrap();
        assert_eq!(cut, None);
        let bytes = rmp_serde::to_vec_named(&Ask::Append(sent)).unwrap();
        let Ask::Append(read) = rmp_serde::from_slice(&bytes).unwrap() else { panic!("something else") };
        let read = read.request::<TokioRuntime>().unwrap();
        assert_eq!((read.entries, read.prev_log_id, read.vote), (few, Some(StoredId(2, 1, 4).log_id()), StoredVote(3, 9, true).vote()));

        let (sent, cut) = Append::of(&request((5..15).map(|index| entry(index, 1 << 20)).collect())).unwrap();
        assert_eq!((sent.entries.len(), cut.map(|id| id.index)), (4, Some(8)));
        assert!(rmp_serde::to_vec_named(&Ask::Append(sent)).unwrap().len() < MAX_ASK);
        let partial = Appended::Success.response::<TokioRuntime>(cut);
        assert!(matches!(partial, AppendEntriesResponse::PartialSuccess(Some(id)) if id.index == 8));
    }

    #[test]
    fn spoilt_questions_are_refused_without_a_panic() {
        let (sent, _) = Append::of(&AppendEntriesRequest::<Types<TokioRuntime>> {
            vote: StoredVote(3, 9, true).vote(),
            prev_log_id: None,
            entries: vec![entry(5, 10)],
            leader_commit: None,
        })
        .unwrap();
        let whole = rmp_serde::to_vec_named(&Ask::Append(sent.clone())).unwrap();
        assert!((0..whole.len()).all(|end| rmp_serde::from_slice::<Ask>(&whole[..end]).is_err()));
        let mut wrong = sent;
        wrong.entries[0].1.0.push(0xc1);
        wrong.entries[0].1.0[0] = 0x91;
        assert!(wrong.request::<TokioRuntime>().unwrap_err().to_string().contains("log entry 5"));
    }
}
