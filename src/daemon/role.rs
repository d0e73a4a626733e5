//! This node's role: promoted, demoted, and leaving as a manager, all without a restart.
//!
//! Owns: the order of the steps. Promotion: certificate, Raft folder, manager, then the record. Demotion: the certificate says so too, then the
//! record, then the manager goes. Invariants: a folder of Raft is removed only for a node that the cluster's leader and a manager's read of the
//! state both call a worker; the worker and its tasks notice nothing. Never: decides a role (the state does).

use super::join;
use super::member::{Control, Member};
use super::node::Node;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};
use wsw_api::control::Write;
use wsw_api::spec::{NodeRole, NodeSpec};
use wsw_api::{Class, Error, NodeId, Result as ApiResult};
use wsw_manager::Manager;
use wsw_manager::identity::Identity;

/// moby's words.
pub const NOT_A_MEMBER: &str = "This node is not part of a swarm";
const LOCKED: &str = "Swarm is encrypted and locked. Please unlock it first or use `--force` to ignore this message.";
const LEAVES_A_MANAGER: &str = "You are attempting to leave the swarm on a node that is participating as a manager. ";
const LAST: &str = "Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message. ";
const INACTIVE: &str = "Doing so may lose the consensus of your cluster. ";
const RESTORE: &str =
    "The only way to restore a swarm that has lost consensus is to reinitialize it with `--force-new-cluster`. Use `--force` to suppress this message.";
/// Between two tries to take on a role, while the managers do not answer.
const AGAIN: Duration = Duration::from_secs(1);
/// A manager that leaves is let go by the others within this, or leaves all the same.
const RESIGN: Duration = Duration::from_secs(5);
/// How often a node that is changed meanwhile asks to be let go again.
const TRIES: u32 = 20;
/// Between two looks at whether it was.
const LOOK: Duration = Duration::from_millis(50);

/// Takes what the leader says that this node is to be; one change is under way at a time.
pub fn follow(node: &Arc<Node>) -> Box<dyn Fn(NodeRole) + Send + Sync> {
    let (node, busy) = (Arc::downgrade(node), Arc::new(AtomicBool::new(false)));
    Box::new(move |role| {
        let Some(here) = node.upgrade() else { return };
        if here.role().is_none_or(|own| own == role) || busy.swap(true, Ordering::AcqRel) {
            return;
        }
        let (node, busy) = (node.clone(), busy.clone());
        tokio::spawn(async move {
            become_role(&node, role).await;
            busy.store(false, Ordering::Release);
        });
    })
}

async fn become_role(node: &Weak<Node>, role: NodeRole) {
    while let Some(here) = node.upgrade() {
        match here.change_role(role).await {
            Ok(()) => return,
            Err(error) => warn!(?role, error = format!("{error:#}"), "this node could not take on its role; it is tried again"),
        }
        drop(here);
        tokio::time::sleep(AGAIN).await;
    }
}

impl Node {
    /// The role that this node has; none while it is in no swarm, or its part in it is broken.
    fn role(&self) -> Option<NodeRole> {
        match self.member()?.control {
            Control::Manager(_) => Some(NodeRole::Manager),
            Control::Worker => Some(NodeRole::Worker),
            Control::Broken(_) | Control::Locked => None,
        }
    }

    async fn change_role(self: &Arc<Self>, role: NodeRole) -> Result<()> {
        let _turn = self.transition.lock().await;
        let Some(member) = self.member().filter(|_| self.role().is_some_and(|own| own != role)) else { return Ok(()) };
        let record = member.record.get();
        let identity = self.identity(&record)?;
        let endpoint = member.network.bulk().context("this node has no identity")?;
        let (renewed, joined) = join::renew(&identity, endpoint, &member.record.managers()).await?;
        if joined.role != role {
            info!(?role, said = ?joined.role, "this node's role has changed again");
            return Ok(());
        }
        // A worker has nothing to seal: it could not start without its key.
        let renewed = if role == NodeRole::Worker { Identity { lock: None, ..renewed } } else { renewed };
        renewed.save(&self.paths.data_root)?;
        self.seal.set(&renewed);
        match role {
            NodeRole::Manager => self.promote(&member, &renewed, joined.manager_nodes).await,
            NodeRole::Worker => self.demote(&member, &renewed).await,
        }
    }

    async fn promote(self: &Arc<Self>, member: &Member, identity: &Identity, trusted: Vec<NodeId>) -> Result<()> {
        let record = member.record.get();
        let manager = Manager::join(self.manager_config(&record), trusted).await?;
        let control = Control::Manager(manager.clone());
        let changed = member.record.set_role(NodeRole::Manager).and_then(|()| self.change(member, identity, control));
        if let Err(error) = changed {
            member.record.set_role(NodeRole::Worker)?;
            manager.shutdown().await;
            return Err(error);
        }
        info!("this node is a manager now");
        Ok(())
    }

    async fn demote(self: &Arc<Self>, member: &Member, identity: &Identity) -> Result<()> {
        member.record.set_role(NodeRole::Worker)?;
        self.change(member, identity, Control::Worker)?;
        if let Some(manager) = member.manager() {
            manager.clone().shutdown().await;
        }
        wsw_manager::forget(&self.paths.data_root)?;
        info!("this node is a worker now");
        Ok(())
    }

    /// The same node with another part in the cluster: worker and network stay.
    pub(super) fn change(self: &Arc<Self>, member: &Member, identity: &Identity, control: Control) -> Result<()> {
        let listen = self.listen(&member.record.get(), identity, &control)?;
        member.network.change(&listen).context("the network")?;
        member.let_go();
        self.install(member.record.clone(), member.worker.clone(), control, member.network.clone());
        Ok(())
    }

    /// A manager among others that is about to leave asks to be let go, and waits until it is.
    pub(super) async fn resign(&self, member: &Member) {
        let Some(manager) = member.manager() else { return };
        let until = Instant::now() + RESIGN;
        let told = tokio::time::timeout_at(until, demote_self(manager)).await;
        match told.unwrap_or_else(|_| Err(Error::unavailable("no leader answers"))) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                warn!(%error, "the other managers could not be told; they go on without this one");
                return;
            }
        }
        while self.role() == Some(NodeRole::Manager) && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        }
        // The leader is to hear its goodbye, so that its tasks are replaced at once.
        if let Some(worker) = self.worker() {
            let _ = tokio::time::timeout_at(until, worker.connected().wait_for(|up| *up)).await;
        }
    }
}

/// False when there is nobody else to lead. A node that has just joined changes meanwhile: it becomes a voter, is ready, says where it is.
async fn demote_self(manager: &Manager) -> ApiResult<bool> {
    let own = manager.node_id();
    let mut left = TRIES;
    loop {
        // Not what is known here: one that has just joined may know nobody yet.
        let store = manager.read().await?;
        if !store.nodes().any(|node| node.manager.is_some() && node.id != own) {
            return Ok(false);
        }
        let node = store.node(&own).ok_or_else(|| Error::not_found("this node is not in the state"))?;
        let spec = NodeSpec { role: NodeRole::Worker, ..node.spec.clone() };
        match manager.write(Write::UpdateNode { id: own, version: node.meta.version, spec: Box::new(spec) }).await {
            Err(error) if error.class == Class::Conflict && left > 0 => left -= 1,
            done => return done.map(|_| true),
        }
    }
}

/// Why a node should not leave without `--force`, in moby's words; none for a worker.
pub fn hinders_leaving(member: &Member) -> Option<String> {
    let manager = match &member.control {
        Control::Worker => return None,
        Control::Locked => return Some(LOCKED.to_owned()),
        // One whose certificate has expired, say.
        Control::Broken(_) if member.record.get().role == NodeRole::Worker => return None,
        Control::Broken(_) => return Some(format!("{LEAVES_A_MANAGER}{INACTIVE}{RESTORE}")),
        Control::Manager(manager) => manager,
    };
    let managers: BTreeSet<NodeId> = manager.store().nodes().filter(|node| node.manager.is_some()).map(|node| node.id).collect();
    let silent = manager.unreachable().len();
    let reachable = managers.len() - silent.min(managers.len());
    if manager.leader().is_none() {
        return Some(format!("{LEAVES_A_MANAGER}{INACTIVE}{RESTORE}"));
    }
    if reachable == 1 && silent == 0 {
        return Some(format!("{LEAVES_A_MANAGER}{LAST}"));
    }
    // moby's own reckoning: with one of them gone, one more failure would be too many.
    let loses = reachable as i64 - 2 <= silent as i64;
    let quorum =
        format!("Removing this node leaves {} managers out of {}. Without a Raft quorum your swarm will be inaccessible. ", reachable - 1, managers.len());
    Some(format!("{LEAVES_A_MANAGER}{}{RESTORE}", if loses { quorum.as_str() } else { "" }))
}
