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
use wsw_api::spec::NodeRole;
use wsw_api::{ClusterId, NodeId};
use wsw_manager::Manager;
use wsw_worker::Worker;

/// The record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Membership {
    pub node: NodeId,
    pub cluster: ClusterId,
    pub listen: SocketAddr,
    pub advertise: SocketAddr,
    /// Records from before there were workers have none.
    #[serde(default = "manager")]
    pub role: NodeRole,
    /// For a worker: where its managers were last.
    #[serde(default)]
    pub managers: Vec<SocketAddr>,
}

fn manager() -> NodeRole {
    NodeRole::Manager
}

impl Membership {
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

/// The part of a member that decides.
pub enum Control {
    Manager(Manager),
    /// It should be a manager; the text says why it is none.
    Broken(String),
    Worker,
}

/// The parts of a member.
pub struct Member {
    pub record: Membership,
    pub worker: Worker,
    pub control: Control,
    pub network: Arc<Network>,
    pub trouble: Arc<Trouble>,
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
            Control::Broken(_) | Control::Worker => None,
        }
    }

    /// Ends the session with a manager of this process, before the worker says goodbye: the manager goes with it.
    pub fn unlink(&self) {
        if let Control::Manager(_) = self.control {
            drop(self.take_link());
        }
    }

    /// The worker is gone: waits until a manager elsewhere has heard its goodbye.
    pub async fn said_goodbye(&self) {
        if let Some(link) = self.take_link() {
            let _ = tokio::time::timeout(LAST_WORD, link).await;
        }
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
