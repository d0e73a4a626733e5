//! The Raft network: openraft's calls as questions to the other managers.
//!
//! Owns: which lane and how long each call has. A manager that is not connected is unreachable, which openraft retries and never counts as a
//! vote (a pre-vote that is not answered is not granted). Generic over openraft's runtime; a simulation brings a factory of its own.

use super::link::{Failure, Lane, Links, Reach};
use super::machine::View;
use super::snapshot::{Meta, Reader, SnapshotFile};
use super::stored::StoredVote;
use super::types::{Leader, RaftId, Types, Vote};
use super::wire::{Append, Ask, Ballot, Reply};
use crate::raft::disk::Folder;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse};
use openraft::type_config::async_runtime::AsyncRuntime;
use openraft::{AnyError, BasicNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2, Snapshot};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// Entries may take as long as a slow disk and a slow link need for one message; the connection's own silence ends it earlier.
const APPEND: Duration = Duration::from_secs(5);
/// Between two tries to send entries to a manager that is not there; heartbeats go on by themselves.
const BACKOFF: Duration = Duration::from_millis(50);

/// Makes one [`Peer`] for each other manager.
#[derive(Clone)]
pub struct Network {
    links: Arc<dyn Reach>,
    /// Where snapshots lie.
    folder: Folder,
}

/// The way to one other manager.
#[derive(Clone)]
pub struct Peer {
    network: Network,
    id: RaftId,
    addr: String,
}

impl Network {
    /// Over these connections.
    pub fn new(links: Arc<dyn Reach>, folder: Folder) -> Self {
        Self { links, folder }
    }

    /// One that reaches nobody.
    pub fn alone(folder: Folder) -> Self {
        Self::new(Arc::new(Links::new(Arc::new(View::default()))), folder)
    }
}

impl<RT: AsyncRuntime> RaftNetworkFactory<Types<RT>> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: RaftId, node: &BasicNode) -> Peer {
        Peer { network: self.clone(), id: target, addr: node.addr.clone() }
    }
}

impl Peer {
    async fn ask<RT: AsyncRuntime>(&self, lane: Lane, ask: &Ask, limit: Duration) -> Result<Reply, RPCError<Types<RT>>> {
        self.network.links.ask(self.id, &self.addr, lane, ask, limit).await.map_err(of_failure)
    }

    fn wrong<RT: AsyncRuntime>(&self, reply: &Reply) -> RPCError<Types<RT>> {
        let said = if let Reply::Failed(reason) = reply { reason.clone() } else { "it answered another question".into() };
        Unreachable::new(&AnyError::error(format!("manager {}: {said}", self.id))).into()
    }

    async fn ballot<RT: AsyncRuntime>(&self, ask: &Ask, limit: Duration) -> Result<VoteResponse<Types<RT>>, RPCError<Types<RT>>> {
        match self.ask(Lane::Control, ask, limit).await? {
            Reply::Vote { vote, granted, last } => Ok(VoteResponse::new(vote.vote(), last.map(super::stored::StoredId::log_id), granted)),
            other => Err(self.wrong(&other)),
        }
    }
}

fn of_failure<RT: AsyncRuntime>(failure: Failure) -> RPCError<Types<RT>> {
    match &failure {
        Failure::Away(..) => Unreachable::new(&failure).into(),
        Failure::Lost(..) => NetworkError::new(&failure).into(),
    }
}

impl<RT: AsyncRuntime> RaftNetworkV2<Types<RT>> for Peer {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types<RT>>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types<RT>>, RPCError<Types<RT>>> {
        let (append, cut) = Append::of(&rpc).map_err(|err| RPCError::Network(NetworkError::new(&err)))?;
        let (lane, limit) = if append.entries.is_empty() { (Lane::Control, option.soft_ttl()) } else { (Lane::Bulk, APPEND) };
        match self.ask(lane, &Ask::Append(append), limit).await? {
            Reply::Append(appended) => Ok(appended.response(cut)),
            other => Err(self.wrong(&other)),
        }
    }

    async fn vote(&mut self, rpc: VoteRequest<Types<RT>>, option: RPCOption) -> Result<VoteResponse<Types<RT>>, RPCError<Types<RT>>> {
        self.ballot(&Ask::Vote(Ballot::of(&rpc)), option.soft_ttl()).await
    }

    async fn pre_vote(&mut self, rpc: VoteRequest<Types<RT>>, option: RPCOption) -> Result<VoteResponse<Types<RT>>, RPCError<Types<RT>>> {
        self.ballot(&Ask::PreVote(Ballot::of(&rpc)), option.soft_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<Leader, RaftId, BasicNode, SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types<RT>>, StreamingError<Types<RT>>> {
        let unread = |err: std::io::Error| StreamingError::Unreachable(Unreachable::new(&AnyError::error(format!("the snapshot cannot be read: {err}"))));
        let reader = Reader::open(&self.network.folder, &snapshot.snapshot.path).map_err(unread)?;
        let ask = Ask::Snapshot { vote: StoredVote::of(&vote), meta: Meta::of(&snapshot.meta) };
        let sent = pin!(self.network.links.send_snapshot(self.id, &self.addr, &ask, reader));
        let cancelled = pin!(cancel);
        let reply = match futures_util::future::select(sent, cancelled).await {
            futures_util::future::Either::Left((sent, _)) => sent.map_err(|failure| StreamingError::from(of_failure::<RT>(failure)))?,
            futures_util::future::Either::Right((closed, _)) => return Err(closed.into()),
        };
        match reply {
            Reply::Snapshot { vote } => Ok(SnapshotResponse::new(vote.vote())),
            other => Err(self.wrong::<RT>(&other).into()),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types<RT>>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types<RT>>, RPCError<Types<RT>>> {
        let ask = Ask::Transfer { from: StoredVote::of(req.from_leader()), to: *req.to_node_id(), last: req.last_log_id().map(super::stored::StoredId::of) };
        match self.ask::<RT>(Lane::Control, &ask, option.soft_ttl()).await? {
            // Why not is for the target's own log; here it only counts that it was told.
            Reply::Transfer(_) => Ok(Ok(())),
            other => Err(self.wrong(&other)),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(BACKOFF)))
    }
}
