//! The state machine: openraft's `RaftStateMachine` around `planner::Store`.
//!
//! Owns: the applied state that everybody reads, the current snapshot. Invariants: readers see the state before or after an entry,
//! never between; an entry that this version does not know stops Raft with a clear error instead of being skipped.
//! Never: decides what an entry does (`Store::apply`).

use super::disk::Folder;
use super::snapshot::{self, Reader, SnapshotFile};
use super::types::{LogId, Payload, SnapshotMeta, StoredMembership, Types};
use crate::events::{Events, Seen};
use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine, Snapshot};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::async_runtime::AsyncRuntime;
use openraft::{OptionalSend, RaftSnapshotBuilder};
use std::io;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::watch;
use tracing::{info, warn};
use wsw_api::entry::{Applied, Entry};
use wsw_planner::{Store, Touched};

/// A snapshot needs at least this much room besides its estimated size.
const SNAPSHOT_MARGIN_BYTES: u64 = 1024 * 1024;

/// The state after the last applied entry.
#[derive(Clone, Default)]
struct State {
    store: Store,
    last: Option<LogId>,
    membership: StoredMembership,
}

/// What readers share with the state machine.
pub struct View {
    /// Index of the last entry in it, and the state; nothing before the first entry.
    shown: RwLock<(Option<u64>, Store)>,
    applied: watch::Sender<u64>,
    current: RwLock<Option<(SnapshotMeta, SnapshotFile)>>,
    /// What applied entries changed since the leader last looked; none while nobody leads here.
    touched: Mutex<Option<Touched>>,
    /// A later incarnation of the cluster than that of the state, as another manager says; 0 when there is none.
    later: watch::Sender<u64>,
    pub events: Events,
    /// Sees each state that an entry or a snapshot makes (the checks of a simulation).
    observer: Option<Box<dyn Observer>>,
}

/// Looks on while entries are applied.
pub trait Observer: Send + Sync {
    /// An entry was applied, with this answer.
    fn applied(&self, index: u64, entry: &Entry, answer: &Applied, after: &Store);
    /// A snapshot replaced the state.
    fn installed(&self, index: u64, state: &Store);
}

impl Default for View {
    fn default() -> Self {
        Self {
            shown: RwLock::default(),
            applied: watch::Sender::new(0),
            current: RwLock::default(),
            touched: Mutex::default(),
            later: watch::Sender::new(0),
            events: Events::default(),
            observer: None,
        }
    }
}

impl View {
    /// One that somebody looks on at.
    pub fn observed(observer: Box<dyn Observer>) -> Self {
        Self { observer: Some(observer), ..Self::default() }
    }

    /// The applied state.
    pub fn store(&self) -> Store {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// The cluster's incarnation, once there is a state.
    pub fn incarnation(&self) -> Option<u64> {
        self.store().cluster().map(|cluster| cluster.incarnation)
    }

    /// Another manager says of which incarnation it is: another one is refused, a later one is remembered.
    pub fn meet(&self, theirs: Option<u64>) -> Result<(), String> {
        let Some((theirs, ours)) = theirs.zip(self.incarnation()).filter(|(theirs, ours)| theirs != ours) else { return Ok(()) };
        if theirs > ours {
            self.later.send_if_modified(|later| std::mem::replace(later, theirs.max(*later)) < theirs);
        }
        Err(crate::anew::refusal(theirs.max(ours), theirs.min(ours)))
    }

    /// See `later`.
    pub fn later(&self) -> watch::Receiver<u64> {
        self.later.subscribe()
    }

    /// Index of the last applied entry, as it changes.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// From now on what is changed is kept for the leader, or not any more.
    pub fn collect(&self, collect: bool) {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = collect.then(Touched::default);
    }

    /// What was changed since the last call.
    pub fn take_touched(&self) -> Touched {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Last entry of the current snapshot, and its size.
    pub fn snapshot(&self) -> Option<(Option<u64>, u64)> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().map(|(meta, file)| (meta.last_log_id.as_ref().map(|id| id.index), file.bytes))
    }

    /// Shows a state to readers. While a log that was opened again catches up, they keep the one they know.
    fn publish(&self, store: &Store, last: Option<&LogId>) {
        let Some(last) = last else { return };
        let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        if shown.0.is_some_and(|index| index > last.index) {
            return;
        }
        *shown = (Some(last.index), store.clone());
        drop(shown);
        self.applied.send_replace(last.index);
    }

    fn set_current(&self, meta: SnapshotMeta, file: SnapshotFile) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some((meta, file));
    }
}

/// The state machine.
pub struct Machine<RT> {
    folder: Folder,
    view: Arc<View>,
    state: State,
    runtime: PhantomData<fn() -> RT>,
}

impl<RT: AsyncRuntime> Machine<RT> {
    /// Begins empty: openraft installs the snapshot and applies the log after it.
    pub fn open(folder: Folder, view: Arc<View>) -> io::Result<Self> {
        if let Some(file) = snapshot::newest(&folder)? {
            let meta = Reader::open(&folder, &file.path)?.meta;
            view.set_current(meta, file);
        }
        Ok(Self { folder, view, state: State::default(), runtime: PhantomData })
    }

    fn apply_one(&mut self, id: LogId, payload: Payload) -> Applied {
        self.state.last = Some(id);
        match payload {
            Payload::Blank => Applied::Done,
            Payload::Membership(membership) => {
                self.state.membership = StoredMembership::new(Some(id), membership);
                Applied::Done
            }
            Payload::Normal(command) => {
                let seen = Seen::before(&self.state.store, &command.0);
                let mut touched = Touched::default();
                let applied = self.state.store.apply_touching(id.index, &command.0, &mut touched);
                if let Some(kept) = self.view.touched.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                    kept.merge(touched);
                }
                if let Some(observer) = &self.view.observer {
                    observer.applied(id.index, &command.0, &applied, &self.state.store);
                }
                if applied == Applied::Done {
                    self.view.events.add(id.index, seen.events(&self.state.store, &command.0));
                }
                applied
            }
        }
    }

    /// Room for a snapshot: about the last one's size and what was logged since.
    fn has_room(&self) -> bool {
        let needed = self.view.snapshot().map_or(0, |(_, bytes)| bytes) + SNAPSHOT_MARGIN_BYTES;
        self.folder.disk.free(&self.folder.path).is_ok_and(|free| free >= needed)
    }
}

impl<RT: AsyncRuntime> RaftStateMachine<Types<RT>> for Machine<RT> {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder<RT>;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.state.last, self.state.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<Types<RT>>>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let applied = self.apply_one(entry.log_id, entry.payload);
            // A waiter may read at once: the state is published before it is answered.
            if let Some(responder) = responder {
                self.view.publish(&self.state.store, self.state.last.as_ref());
                responder.send(applied);
            }
        }
        self.view.publish(&self.state.store, self.state.last.as_ref());
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder<RT>> {
        if force || self.has_room() {
            return Some(self.get_snapshot_builder().await);
        }
        warn!("no room for a snapshot of the cluster's state; the log goes on growing");
        None
    }

    async fn get_snapshot_builder(&mut self) -> Builder<RT> {
        Builder { folder: self.folder.clone(), view: self.view.clone(), state: self.state.clone(), runtime: PhantomData }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotFile) -> io::Result<()> {
        let (path, folder) = (snapshot.path.clone(), self.folder.clone());
        let read = move || Reader::open(&folder, &path)?.state();
        let tables = Types::<RT>::spawn_blocking(read).await??;
        let store =
            Store::from_snapshot(tables).map_err(|err| io::Error::new(io::ErrorKind::InvalidData, format!("snapshot {}: {err}", snapshot.path.display())))?;
        let snapshot = snapshot::adopt(&self.folder, meta, snapshot)?;
        snapshot::keep_only(&self.folder, &snapshot.path)?;
        self.view.set_current(meta.clone(), snapshot);
        self.state = State { store, last: meta.last_log_id, membership: meta.last_membership.clone() };
        self.view.publish(&self.state.store, self.state.last.as_ref());
        if let (Some(observer), Some(last)) = (&self.view.observer, &self.state.last) {
            observer.installed(last.index, &self.state.store);
        }
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot<super::types::Leader, u64, openraft::BasicNode, SnapshotFile>>> {
        let current = self.view.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(current.map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

/// Writes a snapshot of the state it was made with, while the state machine goes on.
pub struct Builder<RT> {
    folder: Folder,
    view: Arc<View>,
    state: State,
    runtime: PhantomData<fn() -> RT>,
}

impl<RT: AsyncRuntime> RaftSnapshotBuilder<Types<RT>> for Builder<RT> {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot<super::types::Leader, u64, openraft::BasicNode, SnapshotFile>> {
        let meta = SnapshotMeta { last_log_id: self.state.last, last_membership: self.state.membership.clone() };
        let (folder, written, store) = (self.folder.clone(), meta.clone(), self.state.store.clone());
        let write = move || snapshot::write(&folder, &written, &store.to_snapshot());
        let snapshot = Types::<RT>::spawn_blocking(write).await??;
        info!(bytes = snapshot.bytes, last = meta.last_log_id.as_ref().map(|id| id.index), "wrote a snapshot");
        self.view.set_current(meta.clone(), snapshot.clone());
        Ok(Snapshot { meta, snapshot })
    }
}
