//! `--force-new-cluster`: what this manager knows becomes a log of its own, in which it is the only voter.
//!
//! Owns: the old folder read to its end, the new one, and their exchange. Invariants: every durable entry counts, committed or not (whoever
//! could say which were is gone); the new folder takes the old one's place in one step and whole, so a crash or an error leaves one or
//! the other; it has a new Raft id, and its log begins above all that the old managers may have written. Never: runs Raft.

use super::crypto::DataKey;
use super::disk::Folder;
use super::log::{LogStore, MAX_READ_BYTES};
use super::node;
use super::segment::Segment;
use super::snapshot::{self, Reader};
use super::space::Space;
use super::stored::{State, StoredId, StoredVote};
use super::types::{Membership, Payload, RaftId, SnapshotMeta, StoredMembership};
use crate::files;
use openraft::impls::BasicNode;
use openraft_rt_tokio::TokioRuntime;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use wsw_api::entry::{Applied, Entry};
use wsw_planner::Store;

/// Beside `raft/` while it is made.
const NEW: &str = "raft.new";

/// All that a folder holds.
struct Known {
    store: Store,
    last: Option<StoredId>,
    term: u64,
}

/// Replaces the folder. `first` makes the entry that begins the new cluster, of the state and the new Raft id. Blocks.
pub fn make(folder: &Path, key: &DataKey, addr: &str, first: impl FnOnce(&Store, RaftId) -> io::Result<Entry>) -> io::Result<RaftId> {
    let place = |path: &Path| Folder::of_machine(path.to_owned(), key.clone());
    let known = read(&place(folder))?;
    let new = folder.with_file_name(NEW);
    files::remove_folder(&new)?;
    let id = node::mint(&new)?;
    write(&place(&new), known, id, addr, first)?;
    renameat_with(CWD, folder, CWD, &new, RenameFlags::EXCHANGE)?;
    files::sync_parent(folder)?;
    files::remove_folder(&new)?;
    Ok(id)
}

fn read(folder: &Folder) -> io::Result<Known> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let (mut store, mut last) = (Store::default(), None);
    if let Some(file) = snapshot::newest(folder)? {
        let reader = Reader::open(folder, &file.path)?;
        last = reader.meta.last_log_id.as_ref().map(StoredId::of);
        store = Store::from_snapshot(reader.state()?).map_err(|err| invalid(format!("snapshot {}: {err}", file.path.display())))?;
    }
    let (log, writer) = LogStore::<TokioRuntime>::open(folder, Arc::new(Space::open(folder)))?;
    let state = log.state();
    let read = loop {
        let from = last.map_or(0, |last| last.index() + 1);
        let entries = match log.read(from, u64::MAX, MAX_READ_BYTES) {
            Ok(entries) if entries.is_empty() => break Ok(()),
            Ok(entries) => entries,
            Err(err) => break Err(err),
        };
        if let Some(first) = entries.first().filter(|first| first.log_id.index != from) {
            break Err(invalid(format!("the log lacks the entries {from} to {}", first.log_id.index - 1)));
        }
        for entry in entries {
            last = Some(StoredId::of(&entry.log_id));
            if let Payload::Normal(command) = entry.payload {
                store.apply(entry.log_id.index, &command.0);
            }
        }
    };
    drop(log);
    writer.join();
    read?;
    let term = last.map_or(0, |last| last.0).max(state.vote.map_or(0, |vote| vote.0));
    Ok(Known { store, last, term })
}

fn write(folder: &Folder, known: Known, id: RaftId, addr: &str, first: impl FnOnce(&Store, RaftId) -> io::Result<Entry>) -> io::Result<()> {
    let Known { mut store, last, term } = known;
    let last = StoredId(term + 1, id, last.map_or(0, |last| last.index() + 1));
    let entry = first(&store, id)?;
    if let Applied::Refused(reason) = store.apply(last.index(), &entry) {
        return Err(io::Error::other(reason));
    }
    let nodes = BTreeMap::from([(id, BasicNode { addr: addr.to_owned() })]);
    let membership = Membership::new(vec![BTreeSet::from([id])], nodes).map_err(io::Error::other)?;
    let meta = SnapshotMeta { last_log_id: Some(last.log_id()), last_membership: StoredMembership::new(Some(last.log_id()), membership) };
    snapshot::write(folder, &meta, &store.to_snapshot())?;
    let state = State { vote: Some(StoredVote(term + 1, id, true)), committed: Some(last), purged: Some(last) };
    Segment::create(folder, 0, &state).map(drop)
}
