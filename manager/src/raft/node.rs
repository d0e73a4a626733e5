//! One running Raft: its settings, how it is opened, made leader, and closed so that it can be opened again.
//!
//! Invariants: log reversion stays forbidden and a restarted leader is elected anew (its state machine is in memory, so leadership
//! without an election could serve a state older than the log); the Raft id is the folder's.

use super::compact::Compactor;
use super::disk::Folder;
use super::log::{LogStore, Writing};
use super::machine::{Machine, View};
use super::snapshot::SnapshotFile;
use super::space::Space;
use super::types::{RaftId, Types};
use crate::files;
use openraft::error::{InitializeError, RaftError};
use openraft::impls::BasicNode;
use openraft::network::NetSnapshot;
use openraft::type_config::TypeConfigExt;
use openraft::type_config::async_runtime::AsyncRuntime;
use openraft::{Config, Raft, RaftNetworkFactory, ReadPolicy, ServerState, SnapshotPolicy};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// On a LAN: three lost heartbeats start an election (DESIGN section 4).
const HEARTBEAT_MS: u64 = 40;
const ELECTION_MS: std::ops::Range<u64> = 120..240;
/// On slow links, disks or machines everything takes so many times as long.
const SLOW: u64 = 5;
/// Entries in one message; its bytes are bounded by the log reader (4 MiB).
const MAX_MESSAGE_ENTRIES: u64 = 256;
/// Calls that wait for Raft's own loop: one leader proposes one entry at a time, the rest are reads and votes.
const MAX_CALLS: u64 = 1_024;
/// A snapshot may take this long to send; crate `net` counts lack of progress instead.
const SNAPSHOT_MS: u64 = 60_000;
/// A sole voter is leader after two syncs; this long means that the disk does not answer.
const LEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// File in `raft/` that names the Raft id; written last when the folder is made.
const ID_FILE: &str = "id.json";
const ID_FORMAT: u32 = 1;

/// How soon a leader that is not heard is replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Timing {
    /// Half a second: a LAN, disks that sync within some milliseconds.
    #[default]
    Lan,
    /// Five times that.
    Wan,
}

/// Where a Raft lives.
#[derive(Debug, Clone)]
pub struct Place {
    pub folder: Folder,
    pub id: RaftId,
    /// For openraft's messages.
    pub cluster: String,
    pub timing: Timing,
}

#[derive(Serialize, Deserialize)]
struct IdFile {
    format: u32,
    raft_id: RaftId,
}

/// Makes a `raft/` folder with a new id.
pub fn mint(folder: &Path) -> io::Result<RaftId> {
    files::create_folder(folder)?;
    // JSON readers keep integers up to 2^53 exactly, and the id shows in the API.
    let id = (u64::from_le_bytes(super::crypto::random()?) >> 11).max(1);
    let json = serde_json::to_vec(&IdFile { format: ID_FORMAT, raft_id: id }).map_err(io::Error::other)?;
    files::write_private(&folder.join(ID_FILE), &json)?;
    Ok(id)
}

/// The id of a `raft/` folder; none when there is no (whole) one.
pub fn read_id(folder: &Path) -> io::Result<Option<RaftId>> {
    let path = folder.join(ID_FILE);
    let json = match std::fs::read(&path) {
        Ok(json) => json,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(err),
    };
    let file: IdFile = serde_json::from_slice(&json).map_err(|err| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {err}", path.display())))?;
    match file.format {
        ID_FORMAT => Ok(Some(file.raft_id)),
        newer => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} has format {newer}; use a newer build", path.display()))),
    }
}

/// One running Raft.
pub struct Node<RT: AsyncRuntime> {
    pub raft: Raft<Types<RT>, Machine<RT>>,
    log: LogStore<RT>,
    pub space: Arc<Space>,
    writer: Writing<RT>,
    stop: CancellationToken,
}

impl<RT: AsyncRuntime> Node<RT> {
    /// Opens the folder and starts Raft on a network. Must be called on Raft's runtime.
    pub async fn open<N>(place: &Place, view: Arc<View>, network: N) -> io::Result<Self>
    where
        N: RaftNetworkFactory<Types<RT>>,
        N::Network: NetSnapshot<Types<RT>, SnapshotData = SnapshotFile>,
    {
        let space = Arc::new(Space::open(&place.folder));
        let (log, writer) = LogStore::<RT>::open(&place.folder, space.clone())?;
        let machine = Machine::open(place.folder.clone(), view.clone())?;
        let raft = Raft::new(place.id, Arc::new(settings(&place.cluster, place.timing)?), network, log.clone(), machine).await.map_err(io::Error::other)?;
        let stop = CancellationToken::new();
        let compactor = Compactor { raft: raft.clone(), log: log.clone(), view, space: space.clone(), sizes: place.folder.sizes };
        let _task = Types::<RT>::spawn(compactor.run(stop.clone()));
        Ok(Self { raft, log, space, writer, stop })
    }

    /// Begins a cluster of this manager alone.
    pub async fn initialize(&self, addr: &str) -> io::Result<()> {
        let members = BTreeMap::from([(*self.raft.node_id(), BasicNode { addr: addr.to_owned() })]);
        match self.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(err) => Err(io::Error::other(err)),
        }
    }

    /// A sole voter needs nobody's vote: it stands at once. Otherwise the election takes its course.
    pub async fn stand_if_alone(&self) -> io::Result<bool> {
        let id = *self.raft.node_id();
        // Raft's own state: the metrics follow a moment later.
        let alone = self.raft.with_raft_state(move |state| state.membership_state.effective().membership().voter_ids().eq([id]));
        let alone = alone.await.map_err(io::Error::other)?;
        if alone {
            self.raft.trigger().elect(false).await.map_err(io::Error::other)?;
        }
        Ok(alone)
    }

    /// Waits until this manager leads and has applied all that was committed before.
    pub async fn lead(&self) -> io::Result<()> {
        self.raft.wait(Some(LEAD_TIMEOUT)).state(ServerState::Leader, "to lead").await.map_err(io::Error::other)?;
        self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await.map_err(io::Error::other)?;
        Ok(())
    }

    /// Stops Raft, syncs the log and waits until its files are let go.
    pub async fn close(self) -> io::Result<()> {
        let Self { raft, log, writer, stop, .. } = self;
        stop.cancel();
        let stopped = raft.shutdown().await.map_err(|err| io::Error::other(err.to_string()));
        drop(raft);
        let closed = log.close().await;
        drop(log);
        writer.end().await?;
        stopped.and(closed)
    }
}

fn settings(cluster: &str, timing: Timing) -> io::Result<Config> {
    let times = if timing == Timing::Wan { SLOW } else { 1 };
    let config = Config {
        cluster_name: cluster.to_owned(),
        heartbeat_interval: times * HEARTBEAT_MS,
        election_timeout_min: times * ELECTION_MS.start,
        election_timeout_max: times * ELECTION_MS.end,
        // A leader without its quorum goes quiet after the lease and for one longest election, so that others can win.
        quorum_loss_probe_interval: Some(2 * times * ELECTION_MS.end),
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false),
        max_payload_entries: MAX_MESSAGE_ENTRIES,
        install_snapshot_timeout: SNAPSHOT_MS,
        // `compact` decides by bytes.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        api_channel_size: Some(MAX_CALLS),
        notification_channel_size: Some(MAX_CALLS),
        state_machine_channel_size: Some(MAX_CALLS),
        ..Config::default()
    };
    config.validate().map_err(io::Error::other)
}
