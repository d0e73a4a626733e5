//! `swarm init --force-new-cluster`, and its other side: a manager that meets a later incarnation of its cluster.
//!
//! Owns: the order of the steps. Invariants: the old manager is stopped before its log is touched; worker, tasks and port stay; an error leaves the
//! manager as it was. A manager that is superseded decides no more, on this start or a later one, and says what to do; its tasks go on until it
//! leaves. Never: decides what the new cluster consists of (`wsw_manager`).

use super::member::{Control, Member};
use super::node::Node;
use anyhow::Result;
use std::sync::Arc;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info};
use wsw_api::{Error, NodeId, Result as ApiResult};
use wsw_manager::{Manager, refusal};

/// Ends the manager as soon as it is superseded, for as long as the handle is there.
pub fn follow(node: &Arc<Node>, manager: &Manager) -> AbortOnDropHandle<()> {
    let (node, manager) = (Arc::downgrade(node), manager.clone());
    AbortOnDropHandle::new(tokio::spawn(async move {
        let Some(later) = manager.superseded().await else { return };
        if let Some(node) = node.upgrade() {
            // The handle goes with what is replaced.
            tokio::spawn(async move { node.retire(&manager, later).await });
        }
    }))
}

impl Node {
    /// A manager of an earlier incarnation stops; the node stays what it is until somebody makes it leave.
    async fn retire(self: &Arc<Self>, manager: &Manager, later: u64) {
        let _turn = self.transition.lock().await;
        let Some(member) = self.member().filter(|member| member.manager().is_some_and(|own| own.raft_id() == manager.raft_id())) else { return };
        let message = refusal(later, manager.incarnation().unwrap_or_default());
        error!(message, "this manager is superseded; tasks go on");
        member.record.learn_incarnation(later);
        self.replace(&member, Control::Broken(message)).await;
        manager.clone().shutdown().await;
    }

    /// Makes a cluster of this manager alone, out of all that it knows.
    pub(super) async fn anew(self: &Arc<Self>, member: &Arc<Member>, advertise: &str) -> ApiResult<NodeId> {
        let manager = self.manager()?;
        let node = manager.node_id();
        let before = member.record.get();
        let asked = self.advertised(advertise, before.listen.port()).map_err(|error| Error::invalid(format!("{error:#}")))?;
        member.let_go();
        manager.shutdown().await;
        let written = member.record.begin_anew(asked.unwrap_or(before.advertise)).map_err(|error| Error::internal(format!("{error:#}")));
        let made = match written {
            Ok(()) => Manager::anew(self.manager_config(&member.record.get())).await,
            Err(error) => Err(error),
        };
        let (control, outcome) = match made {
            Ok(manager) => (Control::Manager(manager), Ok(node)),
            Err(error) => (self.resume_manager(&before).await, Err(Error::internal(format!("the swarm could not be made anew: {error}")))),
        };
        self.replace(member, control).await;
        if outcome.is_ok() {
            info!(%node, "a new cluster of this manager alone");
        }
        outcome
    }

    /// The same node and network with another manager.
    async fn replace(self: &Arc<Self>, member: &Arc<Member>, control: Control) {
        let changed: Result<()> = self.identity(&member.record.get()).and_then(|identity| self.change(member, &identity, control));
        if let Err(error) = changed {
            let message = format!("{error:#}");
            error!(message, "this node's part in the cluster cannot start; tasks go on");
            member.let_go();
            self.install(member.record.clone(), member.worker.clone(), Control::Broken(message), member.network.clone());
        }
    }
}
