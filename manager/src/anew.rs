//! `swarm init --force-new-cluster`: a manager that has lost the others for good begins again with all that it knows.
//!
//! Owns: what the first entry of the new cluster changes: the incarnation is raised, the others are out of Raft. Invariants: services, tasks, nodes,
//! networks, tokens and the root stay as they are; the other managers stay nodes in their role, without a place in Raft, until they are removed
//! or join again. Also owns what a manager does that meets a later incarnation than its own: it says so once, and decides no more.

use crate::config::Config;
use crate::identity::Identity;
use crate::manager::{Manager, RAFT, internal};
use crate::raft::anew;
use openraft::type_config::async_runtime::AsyncRuntime;
use std::io;
use wsw_api::entry::{Change, Entry};
use wsw_api::id::NodeId;
use wsw_api::object::ManagerStatus;
use wsw_api::spec::NodeRole;
use wsw_api::{Error, Result};
use wsw_planner::Store;

/// Why a manager of an earlier incarnation is not heard.
pub fn refusal(now: u64, before: u64) -> String {
    format!("this swarm was made anew without this manager (incarnation {now}, not {before}): leave it with \"swarm leave --force\" and join it again")
}

impl<RT: AsyncRuntime> Manager<RT> {
    /// Of which incarnation of the cluster this manager's state is, once it has one.
    pub fn incarnation(&self) -> Option<u64> {
        self.0.view.incarnation()
    }
}

impl Manager {
    /// Waits until another manager is of a later incarnation: this one must decide no more.
    pub async fn superseded(&self) -> Option<u64> {
        self.0.view.later().wait_for(|later| *later > 0).await.ok().map(|later| *later)
    }

    /// Makes a cluster of this manager alone out of its log, and starts it. The manager must not be running; an error changes nothing.
    pub async fn anew(config: Config) -> Result<Self> {
        let root = config.data_root.clone();
        let identity = Identity::load(&root, config.unlock.as_ref()).map_err(internal)?.ok_or_else(|| Error::internal("this node has no identity"))?;
        let (node, addr) = (identity.node, config.advertise_addr.to_string());
        let make = move || {
            let first = |store: &Store, raft_id| first_entry(store, node, ManagerStatus { raft_id, addr: addr.clone() });
            anew::make(&root.join(RAFT), &identity.data_key, &addr, first)
        };
        tokio::task::spawn_blocking(make).await.map_err(|err| Error::internal(err.to_string()))?.map_err(internal)?;
        Self::restart(config).await?.ok_or_else(|| Error::internal("the new cluster's state is gone"))
    }
}

fn first_entry(store: &Store, own: NodeId, status: ManagerStatus) -> io::Result<Entry> {
    let mut cluster = store.cluster().map(|cluster| (**cluster).clone()).ok_or_else(|| io::Error::other("this manager has not heard of its cluster"))?;
    cluster.incarnation += 1;
    let mut changes = vec![Change::PutCluster(Box::new(cluster))];
    for node in store.nodes().filter(|node| node.manager.is_some() || node.id == own) {
        let mut node = (**node).clone();
        node.manager = (node.id == own).then(|| status.clone());
        if node.id == own {
            node.spec.role = NodeRole::Manager;
        }
        changes.push(Change::PutNode(Box::new(node)));
    }
    Ok(Entry { time: store.time(), changes, ..Entry::default() })
}
