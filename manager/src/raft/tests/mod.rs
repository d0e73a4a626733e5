//! The log on real files: openraft's own storage suite, reopening, torn ends, damage, purging.

mod anew;
mod damage;
mod log;
mod node;
mod suite;

use super::crypto::DataKey;
use super::disk::Folder;
use super::log::{LogStore, Writing};
use super::space::Space;
use super::stored::StoredId;
use super::types::{Command, LogId, Payload, RaftEntry, Types};
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft_rt_tokio::TokioRuntime;
use std::path::Path;
use std::sync::Arc;
use wsw_api::entry::{Change, Entry};

type Log = LogStore<TokioRuntime>;
type WriterThread = Writing<TokioRuntime>;

fn key() -> DataKey {
    DataKey::new(1, [9; 32])
}

fn open(folder: &Path) -> (Log, WriterThread) {
    try_open(folder, &key()).unwrap()
}

fn try_open(folder: &Path, key: &DataKey) -> std::io::Result<(Log, WriterThread)> {
    let folder = Folder::of_machine(folder.to_owned(), key.clone());
    LogStore::open(&folder, Arc::new(Space::open(&folder)))
}

fn id(term: u64, index: u64) -> LogId {
    StoredId(term, 1, index).log_id()
}

/// An entry of about `16 × size` bytes that is told from all others.
fn entry(term: u64, index: u64, size: usize) -> RaftEntry {
    let reason = format!("{index} {}", "x".repeat(16 * size)).into();
    let command = Command(Arc::new(Entry { time: wsw_api::Time(index), changes: vec![Change::Explain { reason, tasks: Vec::new() }], ..Entry::default() }));
    RaftEntry { log_id: id(term, index), payload: Payload::Normal(command) }
}

/// Appends and waits for the sync.
async fn append(log: &mut Log, entries: impl IntoIterator<Item = RaftEntry>) -> std::io::Result<()> {
    let (done, answer) = Types::<TokioRuntime>::oneshot();
    let entries: Vec<_> = entries.into_iter().collect();
    log.append(entries, IOFlushed::signal(done)).await?;
    answer.await.map_err(std::io::Error::other)?
}

/// Lets go of the log without closing it, as a crash does, and waits for the file locks to go.
async fn drop_log(log: Log, writer: WriterThread) {
    drop(log);
    writer.end().await.unwrap();
}
