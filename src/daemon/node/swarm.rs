//! `swarm init`, `join` and `leave`.
//!
//! Owns: how a membership begins and ends.
//! Invariants: the membership record is written last and removed first: what is cut off between leaves no member.
//! Never: changes cluster state itself.

use super::super::join::{self, Asked};
use super::super::member::{Control, Membership, Record};
use super::super::network::Network;
use super::super::{address, role};
use super::Node;
use super::addresses::{free, invalid};
use anyhow::Result;
use std::sync::{Arc, PoisonError};
use tracing::info;
use wsw_api::spec::NodeRole;
use wsw_api::{ClusterId, Error, NodeId};
use wsw_dockerapi::backend::{InitRequest, JoinSwarm};
use wsw_manager::{InitSpec, Manager};

/// moby's words.
const ALREADY: &str = "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and join another one.";

impl Node {
    /// Makes a swarm of this one node, or by force out of what is left of one.
    pub async fn init(self: &Arc<Self>, request: InitRequest) -> wsw_api::Result<NodeId> {
        let _turn = self.transition.lock().await;
        if let Some(member) = self.member() {
            return if request.force_new_cluster { self.anew(&member, &request.advertise_addr).await } else { Err(Error::unavailable(ALREADY)) };
        }
        let (listen, advertise, chosen) = self.addresses(&request.listen_addr, &request.advertise_addr, address::choose).map_err(invalid)?;
        let placeholder = Membership {
            node: NodeId::default(),
            cluster: ClusterId::default(),
            listen,
            advertise,
            chosen,
            role: NodeRole::Manager,
            managers: Vec::new(),
            incarnation: 0,
        };
        free(listen)?;
        let manager = Manager::bootstrap(self.manager_config(&placeholder), InitSpec { spec: request.spec, availability: request.availability }).await?;
        // A swarm that begins with autolock has sealed keys from the first moment.
        self.seal.begin(manager.store().cluster().and_then(|cluster| cluster.unlock_key.clone()));
        let record = Membership { node: manager.node_id(), cluster: manager.cluster_id(), ..placeholder };
        let node = record.node;
        match self.begin(record, Control::Manager(manager.clone())).await {
            Ok(()) => {
                info!(%node, "a swarm of one");
                Ok(node)
            }
            Err(error) => {
                manager.shutdown().await;
                self.clear_leftovers().await;
                Err(Error::internal(format!("swarm init: {error:#}")))
            }
        }
    }

    /// Makes this node part of a cluster that exists, in the role of its token.
    pub async fn join(self: &Arc<Self>, request: JoinSwarm) -> wsw_api::Result<()> {
        let _turn = self.transition.lock().await;
        if self.member().is_some() {
            return Err(Error::unavailable(ALREADY));
        }
        let asked = Asked::read(&request).await?;
        let towards = |listen| asked.first().map_or_else(|| address::choose(listen), |remote| address::towards(listen, remote));
        let (listen, advertise, chosen) = self.addresses(&request.listen_addr, &request.advertise_addr, towards).map_err(invalid)?;
        free(listen)?;
        let (identity, joined, managers) = asked.ask(&request, &self.host, advertise).await?;
        self.seal.begin(None);
        join::save(&identity, &self.paths.data_root)?;
        let record = Membership { node: joined.node, cluster: joined.cluster, listen, advertise, chosen, role: joined.role, managers, incarnation: 0 };
        let control = match joined.role {
            NodeRole::Worker => Control::Worker,
            NodeRole::Manager => Control::Manager(Manager::join(self.manager_config(&record), joined.manager_nodes.clone()).await?),
        };
        let manager = if let Control::Manager(manager) = &control { Some(manager.clone()) } else { None };
        match self.begin(record, control).await {
            Ok(()) => {
                info!(node = %joined.node, cluster = %joined.cluster, role = ?joined.role, "joined a swarm");
                if let Some(manager) = manager {
                    // A manager can be asked as soon as it has joined; the leader sends it the state in a moment.
                    let _ = manager.read().await;
                }
                Ok(())
            }
            Err(error) => {
                if let Some(manager) = manager {
                    manager.shutdown().await;
                }
                self.clear_leftovers().await;
                Err(Error::internal(format!("swarm join: {error:#}")))
            }
        }
    }

    /// A membership begins: the worker, the port, then the record.
    pub(super) async fn begin(self: &Arc<Self>, record: Membership, control: Control) -> Result<()> {
        let identity = self.identity(&record)?;
        let network = Network::open(self.listen(&record, &identity, &control)?)?;
        let kept = Arc::new(Record::new(&self.paths, record.clone()));
        let network = self.with_peers(&kept, network);
        let started = async {
            let worker = self.start_worker(&record, Some(&identity)).await?;
            record.write(&self.paths).map(|()| worker)
        };
        match started.await {
            Ok(worker) => {
                self.install(kept, worker, control, network);
                Ok(())
            }
            Err(error) => {
                self.wasm.images().set_peers(None);
                network.close().await;
                Err(error)
            }
        }
    }

    /// Ends this node's tasks and forgets the swarm.
    pub async fn leave(self: &Arc<Self>, force: bool) -> wsw_api::Result<()> {
        let member = self.member().ok_or_else(|| Error::unavailable(role::NOT_A_MEMBER))?;
        if force {
            // The other managers let it go first, so that they keep their quorum.
            self.resign(&member).await;
        } else if let Some(words) = role::hinders_leaving(&member) {
            return Err(Error::unavailable(words));
        }
        let _turn = self.transition.lock().await;
        let member = self.member().ok_or_else(|| Error::unavailable(role::NOT_A_MEMBER))?;
        Membership::remove(&self.paths).map_err(|error| Error::internal(format!("cannot remove the membership record: {error}")))?;
        *self.member.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.workers.send_replace(None);
        self.managers.send_replace(None);
        self.trust.send_replace(None);
        member.unlink();
        member.worker.clone().leave().await;
        member.said_goodbye().await;
        self.runtime.close().await;
        if let Some(manager) = member.manager() {
            manager.clone().shutdown().await;
        }
        self.wasm.images().set_peers(None);
        member.network.close().await;
        self.clear_leftovers().await;
        info!("left the swarm");
        Ok(())
    }
}
