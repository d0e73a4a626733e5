//! This node's membership: what is written down of it, and the parts that it runs.
//!
//! Owns: `swarm.json`. Invariant: it is the commit point of membership: written last on init and join, removed first on leave, so a daemon
//! that dies in between starts either as before or as after.

use super::network::Network;
use super::{Paths, data_root};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;
use wsw_api::session::{ManagerPeer, Managers};
use wsw_api::spec::NodeRole;
use wsw_api::{ClusterId, NodeId};
use wsw_manager::{Leading, Manager};
use wsw_worker::Worker;

/// The record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Membership {
    pub node: NodeId,
    pub cluster: ClusterId,
    pub listen: SocketAddr,
    pub advertise: SocketAddr,
    /// Nobody named the address that is advertised: it is chosen anew when this machine has it no more.
    #[serde(default)]
    pub chosen: bool,
    /// Records from before there were workers have none.
    #[serde(default = "manager")]
    pub role: NodeRole,
    /// Where the managers were last, the one that led first.
    #[serde(default)]
    pub managers: Vec<SocketAddr>,
    /// The latest incarnation of the cluster that was heard of.
    #[serde(default)]
    pub incarnation: u64,
}

fn manager() -> NodeRole {
    NodeRole::Manager
}

impl Membership {
    /// Whether there were managers beside this node.
    pub fn has_others(&self) -> bool {
        self.managers.iter().any(|addr| *addr != self.advertise)
    }

    fn path(paths: &Paths) -> PathBuf {
        paths.data_root.join("swarm.json")
    }

    /// None when this node is in no swarm.
    pub fn read(paths: &Paths) -> Result<Option<Self>> {
        let path = Self::path(paths);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).with_context(|| format!("{} cannot be read: restore it from a backup", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    pub fn write(&self, paths: &Paths) -> Result<()> {
        data_root::write_synced(&Self::path(paths), &serde_json::to_vec_pretty(self)?)
    }

    pub fn remove(paths: &Paths) -> std::io::Result<()> {
        fs::remove_file(Self::path(paths))
    }
}

/// Addresses of managers that are kept: more than a cluster has managers, so that one that moved is still found.
const MAX_MANAGERS: usize = 16;

/// The record as it is now, on disk and in memory, and who leads as far as somebody said.
pub struct Record {
    paths: Paths,
    membership: Mutex<Membership>,
    leader: Mutex<Option<SocketAddr>>,
}

impl Record {
    pub fn new(paths: &Paths, membership: Membership) -> Self {
        Self { paths: paths.clone(), membership: Mutex::new(membership), leader: Mutex::default() }
    }

    pub fn get(&self) -> Membership {
        self.membership.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn managers(&self) -> Vec<SocketAddr> {
        let record = self.get();
        record.managers.into_iter().filter(|addr| *addr != record.advertise).collect()
    }

    /// The role changes; it is written down before anything else of it.
    pub fn set_role(&self, role: NodeRole) -> Result<()> {
        let changed = Membership { role, ..self.get() };
        changed.write(&self.paths)?;
        *self.membership.lock().unwrap_or_else(PoisonError::into_inner) = changed;
        Ok(())
    }

    /// Where the other nodes reach this one.
    pub fn set_advertise(&self, advertise: SocketAddr) -> Result<()> {
        let changed = Membership { advertise, ..self.get() };
        let written = changed.write(&self.paths);
        *self.membership.lock().unwrap_or_else(PoisonError::into_inner) = changed;
        written
    }

    /// A later incarnation of the cluster counts from now on, for the next start too.
    pub fn learn_incarnation(&self, incarnation: u64) {
        if incarnation > self.get().incarnation {
            self.change(|membership| membership.incarnation = incarnation);
        }
    }

    /// This node is the only manager, at this address.
    pub fn begin_anew(&self, advertise: SocketAddr) -> Result<()> {
        let old = self.get();
        let changed = Membership { managers: Vec::new(), advertise, chosen: old.chosen && advertise == old.advertise, ..old };
        changed.write(&self.paths)?;
        *self.membership.lock().unwrap_or_else(PoisonError::into_inner) = changed;
        Ok(())
    }

    fn change(&self, change: impl FnOnce(&mut Membership)) {
        let mut changed = self.get();
        change(&mut changed);
        if let Err(error) = changed.write(&self.paths) {
            tracing::warn!(error = format!("{error:#}"), "what was heard of the managers could not be written down");
        }
        *self.membership.lock().unwrap_or_else(PoisonError::into_inner) = changed;
    }

    /// Keeps where the managers are, for the next start too.
    pub fn learn(&self, managers: &Managers) {
        let leads = |peer: &&ManagerPeer| Some(peer.node) == managers.leader;
        let (first, others): (Vec<&ManagerPeer>, Vec<&ManagerPeer>) = managers.peers.iter().partition(leads);
        let mut known: Vec<SocketAddr> = first.into_iter().chain(others).filter_map(|peer| peer.addr.parse().ok()).collect();
        let old = self.get();
        // An address that once reached a manager from here may still be the only one that does.
        let kept: Vec<SocketAddr> = old.managers.iter().filter(|addr| !known.contains(addr)).copied().collect();
        known.extend(kept);
        known.truncate(MAX_MANAGERS);
        if known.is_empty() || known == old.managers {
            return;
        }
        self.change(|membership| membership.managers = known);
    }

    pub fn leader(&self) -> Option<SocketAddr> {
        *self.leader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn lead(&self, leader: Option<SocketAddr>) {
        *self.leader.lock().unwrap_or_else(PoisonError::into_inner) = leader;
    }

    pub fn forget_leader(&self) {
        self.lead(None);
    }
}

/// The part of a member that decides.
pub enum Control {
    Manager(Manager),
    /// It should be a manager; the text says why it is none.
    Broken(String),
    /// A manager whose keys are sealed.
    Locked,
    Worker,
}

/// The parts of a member.
pub struct Member {
    pub record: Arc<Record>,
    pub worker: Worker,
    pub control: Control,
    pub network: Arc<Network>,
    pub trouble: Arc<Trouble>,
    /// A manager's keys are sealed as the swarm says; one that is superseded ends.
    pub _following: Vec<AbortOnDropHandle<()>>,
    /// The worker's session with its manager.
    pub link: Mutex<Option<AbortOnDropHandle<()>>>,
}

/// How long a worker's last word may take to its manager.
const LAST_WORD: Duration = Duration::from_secs(2);

impl Member {
    /// The manager part, where there is one.
    pub fn manager(&self) -> Option<&Manager> {
        match &self.control {
            Control::Manager(manager) => Some(manager),
            Control::Broken(_) | Control::Locked | Control::Worker => None,
        }
    }

    /// Ends the session with a manager of this process, before the worker says goodbye: the manager goes with it.
    pub fn unlink(&self) {
        if let Control::Manager(manager) = &self.control
            && !matches!(manager.leading(), Leading::There(..))
        {
            drop(self.take_link());
        }
    }

    /// The worker is gone: waits until a manager elsewhere has heard its goodbye.
    pub async fn said_goodbye(&self) {
        if let Some(link) = self.take_link() {
            let _ = tokio::time::timeout(LAST_WORD, link).await;
        }
    }

    /// Its session goes over to another member of the same worker.
    pub fn let_go(&self) {
        drop(self.take_link());
    }

    fn take_link(&self) -> Option<AbortOnDropHandle<()>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Why the managers do not take this node, while that is so.
#[derive(Debug, Default)]
pub struct Trouble(Mutex<Option<String>>);

impl Trouble {
    pub fn set(&self, reason: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the first builds left it, as this one does, and with what is not known yet.
    #[test]
    fn a_stored_membership_is_read_as_it_was_meant() {
        let (node, cluster) = (NodeId::from_bytes([1; 16]), ClusterId::from_bytes([2; 16]));
        let first = format!(r#"{{"node":"{node}","cluster":"{cluster}","listen":"0.0.0.0:2377","advertise":"10.0.0.1:2377""#);
        let later = r#","chosen":true,"role":"Worker","managers":["10.0.0.2:2377"],"incarnation":3"#;
        let read = |more: &str| serde_json::from_str::<Membership>(&format!("{first}{more}}}")).unwrap();
        let old = read("");
        assert_eq!((old.node, old.cluster, old.advertise.port()), (node, cluster, 2377));
        assert_eq!((old.chosen, old.role, old.managers.len(), old.incarnation), (false, NodeRole::Manager, 0, 0));
        for text in [later.to_owned(), format!(r#"{later},"colour":"red""#)] {
            let today = read(&text);
            assert_eq!((today.chosen, today.role, today.managers.len(), today.incarnation), (true, NodeRole::Worker, 1, 3));
        }
    }
}
