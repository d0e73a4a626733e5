//! One node: images and the executor always, a worker and a manager while it is part of a swarm.
//!
//! Owns: the node's stores, its membership while there is one, and what others ask of them. `resume` takes up an earlier membership,
//! `swarm` begins and ends one, `parts` makes what it consists of.
//! Invariants: the membership record (`member`) is written last and removed first.
//! Never: changes cluster state itself.

mod addresses;
mod parts;
mod resume;
mod swarm;

use super::autolock::Seal;
use super::host::Host;
use super::member::{Control, Member, Membership};
use super::{Paths, installation};
use anyhow::{Context, Result};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::watch;
use tracing::warn;
use wsw_api::Error;
use wsw_api::event::Event;
use wsw_api::object::NodeDescription;
use wsw_api::trust::Trust;
use wsw_dockerapi::backend::{LOCKED, SwarmState};
use wsw_manager::Manager;
use wsw_runtime::{Runtime, Wasm};
use wsw_worker::relay::Relay;
use wsw_worker::{Ring, Worker};

/// moby's words.
const NO_MANAGER: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.";
const WORKER: &str = "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. \
                      Please run this command on a manager node or promote the current node to a manager.";

/// What the daemon's flags say; they win over what clients ask.
#[derive(Debug, Clone)]
pub struct Flags {
    pub listen: Option<SocketAddr>,
    pub advertise: Option<SocketAddr>,
    pub insecure_registries: Vec<String>,
    /// Docker's `certs.d`.
    pub registry_certs: PathBuf,
    /// Shims of containers beside the usual one.
    pub runtimes: std::collections::BTreeMap<String, PathBuf>,
    /// Tasks that the node takes at most; none is what the machine holds.
    pub max_tasks: Option<std::num::NonZeroU64>,
    /// How soon a leader that is not heard is replaced.
    pub timing: wsw_manager::Timing,
    /// What this node has beside CPUs and memory.
    pub generic: Vec<wsw_api::generic::GenericResource>,
}

/// The node; everything is shared.
pub struct Node {
    pub paths: Paths,
    pub host: Host,
    pub installation_id: String,
    /// What runs tasks; its Wasm part keeps images and volumes.
    runtime: Arc<Runtime>,
    pub wasm: Arc<Wasm>,
    flags: Flags,
    /// Events of this node's own objects (images, volumes).
    pub local_events: Ring<Event>,
    member: RwLock<Option<Arc<Member>>>,
    /// This membership's end of connections between nodes.
    relay: Mutex<Option<Arc<Relay>>>,
    /// The worker, for what other nodes ask of it.
    pub(super) workers: watch::Sender<Option<Worker>>,
    /// The manager, while this node is one, for who follows the cluster's events.
    pub(super) managers: watch::Sender<Option<Manager>>,
    /// Whom the leader says that this node is to believe.
    pub(super) trust: watch::Sender<Option<Trust>>,
    /// One init, join, leave or change of role at a time.
    pub(super) transition: tokio::sync::Mutex<()>,
    /// What seals its keys on disk.
    pub(super) seal: Seal,
}
impl Node {
    /// Opens the stores and takes up an earlier membership.
    pub async fn start(paths: Paths, flags: Flags) -> Result<Arc<Self>> {
        let mut host = Host::read();
        host.tasks = flags.max_tasks.map_or(host.tasks, |most| most.get().min(host.tasks));
        host.generic.clone_from(&flags.generic);
        let membership = Membership::read(&paths)?;
        let runtime = Runtime::open(wsw_runtime::Config {
            data_root: paths.data_root.clone(),
            exec_root: paths.exec_root.clone(),
            exe: std::env::current_exe().context("cannot find this program's own file")?,
            engine_key: wsw_wasm_shim::engine_key(),
            node: membership.as_ref().map(|record| record.node),
            shim_capacity: super::capacity::of_shim(super::capacity::Limits::read().maps),
            insecure_registries: flags.insecure_registries.clone(),
            registry_certs: flags.registry_certs.clone(),
            runtimes: flags.runtimes.clone(),
        })
        .await?;
        let node = Arc::new(Self {
            installation_id: installation::id(&paths.data_root)?,
            paths,
            host,
            wasm: runtime.wasm().clone(),
            runtime,
            flags,
            local_events: Ring::default(),
            member: RwLock::new(None),
            relay: Mutex::new(None),
            workers: watch::Sender::default(),
            managers: watch::Sender::default(),
            trust: watch::Sender::default(),
            transition: tokio::sync::Mutex::new(()),
            seal: Seal::default(),
        });
        let watcher = Arc::downgrade(&node);
        node.wasm.volumes().watch(Arc::new(move |name, change| {
            if let Some(node) = watcher.upgrade() {
                // Nobody listening is no error.
                let _ = node.local_events.send(super::volumes::event(name, change));
            }
        }));
        match membership {
            Some(record) => node.resume(record).await?,
            None => node.clear_leftovers().await,
        }
        tokio::spawn(super::trust::keep(Arc::downgrade(&node)));
        Ok(node)
    }

    /// An init that was never acknowledged, or a leave that was cut off: neither left a membership record.
    async fn clear_leftovers(&self) {
        if let Err(error) = wsw_manager::wipe(&self.paths.data_root) {
            warn!(%error, "cannot remove the state of an earlier swarm");
        }
        let _ = fs::remove_dir_all(self.paths.data_root.join("tasks"));
    }

    pub(super) fn member(&self) -> Option<Arc<Member>> {
        self.member.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether and how this node is part of a swarm.
    pub fn swarm_state(&self) -> SwarmState {
        let Some(member) = self.member() else { return SwarmState::Inactive };
        let Membership { node, cluster, advertise: addr, .. } = member.record.get();
        match (&member.control, member.trouble.get()) {
            (Control::Locked, _) => SwarmState::Locked,
            (Control::Broken(message), _) => SwarmState::Error { message: message.clone() },
            (Control::Manager(_), _) => SwarmState::Manager { node, cluster, addr },
            (Control::Worker, None) => SwarmState::Worker { node, cluster, addr },
            (Control::Worker, Some(message)) => SwarmState::Error { message },
        }
    }

    /// The manager part, or moby's words for why there is none.
    pub fn manager(&self) -> wsw_api::Result<Manager> {
        match self.member().as_deref().map(|member| &member.control) {
            None => Err(Error::unavailable(NO_MANAGER)),
            Some(Control::Locked) => Err(Error::unavailable(LOCKED)),
            Some(Control::Worker) => Err(Error::unavailable(WORKER)),
            Some(Control::Broken(message)) => Err(Error::unavailable(message.clone())),
            Some(Control::Manager(manager)) => Ok(manager.clone()),
        }
    }

    /// Where other nodes are dialled from for what is not urgent.
    pub fn bulk(&self) -> Option<wsw_net::Endpoint> {
        self.member().and_then(|member| member.network.bulk().cloned())
    }

    /// What it can run, and what hinders it; in no swarm too.
    pub fn description(&self) -> NodeDescription {
        let alone = || wsw_worker::described(&self.host.description(), &*self.runtime, Vec::new());
        self.worker().map_or_else(alone, |worker| worker.description())
    }

    /// The worker part, while the node is part of a swarm.
    pub fn worker(&self) -> Option<Worker> {
        self.member().map(|member| member.worker.clone())
    }

    /// Stops the parts; tasks go on, shims without any end.
    pub async fn stop(&self) {
        let member = self.member.write().unwrap_or_else(PoisonError::into_inner).take();
        self.workers.send_replace(None);
        self.managers.send_replace(None);
        if let Some(member) = member {
            member.unlink();
            member.worker.clone().stop().await;
            member.said_goodbye().await;
            if let Some(manager) = member.manager() {
                manager.clone().shutdown().await;
            }
            member.network.close().await;
        }
        self.runtime.close().await;
    }
}
