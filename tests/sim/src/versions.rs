//! A peer of one minor version more or less: what sessions tolerate, and what the log does not.
//!
//! Owns: forms as another version would have them, kept here as they were or may become. Invariants: a field that is not known is passed over
//! on sessions, one that is missing has its default; an entry that is not fully known is an error that names it.

use serde::Serialize;
use std::sync::Arc;
use wsw_api::entry::Entry;
use wsw_api::id::{NodeId, SessionId};
use wsw_api::session::{Assignments, ManagerFrame, WorkerFrame};
use wsw_manager::raft::stored::{self, StoredId};
use wsw_manager::raft::types::{Command, Payload, RaftEntry};

#[derive(Serialize)]
struct Described {
    hostname: String,
    colour: String,
    platforms: Vec<u8>,
}

/// A worker's first frame with fields that this version does not know, without most that it does.
#[derive(Serialize)]
enum OtherWorker {
    Hello { node: NodeId, boot: SessionId, description: Described, since: u64 },
}

#[derive(Serialize)]
struct OtherAssignments {
    complete: bool,
    priorities: Vec<(u64, String)>,
}

#[derive(Serialize)]
enum OtherManager {
    Assignments(OtherAssignments),
}

#[test]
fn sessions_pass_over_fields_of_other_versions() {
    let description = Described { hostname: "h".into(), colour: "red".into(), platforms: Vec::new() };
    let hello = OtherWorker::Hello { node: NodeId::from_bytes([1; 16]), boot: SessionId::from_bytes([2; 16]), description, since: 9 };
    let read: WorkerFrame = rmp_serde::from_slice(&rmp_serde::to_vec_named(&hello).unwrap()).unwrap();
    let WorkerFrame::Hello { node, description, .. } = read else { panic!("{read:?}") };
    assert_eq!((node, description.hostname.as_str()), (NodeId::from_bytes([1; 16]), "h"));

    let other = OtherManager::Assignments(OtherAssignments { complete: true, priorities: vec![(1, "x".into())] });
    let read: ManagerFrame = rmp_serde::from_slice(&rmp_serde::to_vec_named(&other).unwrap()).unwrap();
    assert_eq!(read, ManagerFrame::Assignments(Assignments { complete: true, ..Assignments::default() }));
}

#[test]
fn an_entry_that_is_not_fully_known_is_refused_by_name() {
    let entry = RaftEntry { log_id: StoredId(7, 9, 41).log_id(), payload: Payload::Normal(Command(Arc::new(Entry::default()))) };
    let mut bytes = Vec::new();
    stored::write_entry(&mut bytes, &entry).unwrap();
    assert_eq!(stored::read_entry(41, &bytes).unwrap(), entry);
    // A change of a later feature level.
    let at = bytes.len() - 1;
    assert_eq!(bytes[at], 0x90, "the entry ends with its changes");
    bytes.splice(at.., [0x91, 0x81, 0xa4, b'P', b'u', b't', b'X', 0x90]);
    let refused = stored::read_entry(41, &bytes).unwrap_err().to_string();
    assert!(refused.contains("log entry 41") && refused.contains("PutX"), "{refused}");
}
