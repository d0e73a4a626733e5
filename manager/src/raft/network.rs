//! The Raft network: who carries votes and entries to the other managers.
//!
//! Without another manager nobody is asked. A peer that is not connected is unreachable, which openraft retries and never counts as a
//! vote (a pre-vote that is not answered must not be granted). Connections over QUIC come with crate `net`.

use super::snapshot::SnapshotFile;
use super::types::{Leader, RaftId, Types, Vote};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::type_config::async_runtime::AsyncRuntime;
use openraft::{AnyError, BasicNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2, Snapshot};
use std::future::Future;

/// Makes one [`Peer`] for each other manager.
#[derive(Debug, Clone, Default)]
pub struct Network;

/// The way to one other manager.
#[derive(Debug, Clone)]
pub struct Peer {
    id: RaftId,
    addr: String,
}

impl Peer {
    fn unreachable<RT: AsyncRuntime>(&self) -> Unreachable<Types<RT>> {
        Unreachable::new(&AnyError::error(format!("manager {} at {} is not connected", self.id, self.addr)))
    }
}

impl<RT: AsyncRuntime> RaftNetworkFactory<Types<RT>> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: RaftId, node: &BasicNode) -> Peer {
        Peer { id: target, addr: node.addr.clone() }
    }
}

impl<RT: AsyncRuntime> RaftNetworkV2<Types<RT>> for Peer {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        _rpc: AppendEntriesRequest<Types<RT>>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types<RT>>, RPCError<Types<RT>>> {
        Err(self.unreachable().into())
    }

    async fn vote(&mut self, _rpc: VoteRequest<Types<RT>>, _option: RPCOption) -> Result<VoteResponse<Types<RT>>, RPCError<Types<RT>>> {
        Err(self.unreachable().into())
    }

    async fn pre_vote(&mut self, _rpc: VoteRequest<Types<RT>>, _option: RPCOption) -> Result<VoteResponse<Types<RT>>, RPCError<Types<RT>>> {
        Err(self.unreachable().into())
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: Snapshot<Leader, RaftId, BasicNode, SnapshotFile>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types<RT>>, StreamingError<Types<RT>>> {
        Err(self.unreachable().into())
    }
}
