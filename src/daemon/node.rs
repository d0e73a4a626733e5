//! One node: images and the executor always, a worker and a manager while it is part of a swarm.
//!
//! Owns: how the parts start, stop and change with `swarm init` and `swarm leave`.
//! Invariants: `swarm.json` in the data root is the commit point of membership: written last on init, removed first on leave, so a
//! daemon that dies in between starts either as before or as after. The worker starts before the manager is heard: tasks are adopted
//! and ports are served although nobody leads yet.
//! Never: changes cluster state itself.

use super::host::Host;
use super::{DEFAULT_PORT, Paths, address, data_root};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};
use wsw_api::event::Event;
use wsw_api::{ClusterId, Error, NodeId};
use wsw_dockerapi::backend::{InitRequest, SwarmState};
use wsw_manager::{InitSpec, Manager};
use wsw_runtime::Wasm;
use wsw_worker::{Ring, Worker};

/// Wait before a worker asks its manager for a new session; a session ends when Raft reopens its storage.
const RECONNECT: Duration = Duration::from_millis(100);
/// A session that is not welcomed by then is asked for anew; an election takes a fraction of it.
const WELCOME_LIMIT: Duration = Duration::from_secs(10);

/// What the daemon's flags say; they win over what clients ask.
#[derive(Debug, Clone)]
pub struct Flags {
    pub listen: Option<SocketAddr>,
    pub advertise: Option<SocketAddr>,
    pub insecure_registries: Vec<String>,
    /// Docker's `certs.d`.
    pub registry_certs: PathBuf,
    /// Tasks that the node takes at most; none is what the machine holds.
    pub max_tasks: Option<std::num::NonZeroU64>,
    /// What this node has beside CPUs and memory.
    pub generic: Vec<wsw_api::generic::GenericResource>,
}

/// The membership record.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Membership {
    node: NodeId,
    cluster: ClusterId,
    listen: SocketAddr,
    advertise: SocketAddr,
}

impl Membership {
    fn path(paths: &Paths) -> PathBuf {
        paths.data_root.join("swarm.json")
    }

    fn read(paths: &Paths) -> Result<Option<Self>> {
        let path = Self::path(paths);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).with_context(|| format!("{} cannot be read: restore it from a backup", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    fn write(&self, paths: &Paths) -> Result<()> {
        data_root::write_synced(&Self::path(paths), &serde_json::to_vec_pretty(self)?)
    }
}

/// The parts of a member.
struct Member {
    record: Membership,
    worker: Worker,
    /// None when its state cannot be used; the text says why.
    manager: std::result::Result<Manager, String>,
    link: Option<JoinHandle<()>>,
}

/// The node; everything is shared.
pub struct Node {
    pub paths: Paths,
    pub host: Host,
    pub installation_id: String,
    pub wasm: Arc<Wasm>,
    flags: Flags,
    /// Events of this node's own objects (images).
    pub local_events: Ring<Event>,
    member: RwLock<Option<Arc<Member>>>,
    /// One init or leave at a time.
    transition: tokio::sync::Mutex<()>,
}

impl Node {
    /// Opens the stores and takes up an earlier membership.
    pub async fn start(paths: Paths, flags: Flags) -> Result<Arc<Self>> {
        let mut host = Host::read();
        host.tasks = flags.max_tasks.map_or(host.tasks, |most| most.get().min(host.tasks));
        host.generic.clone_from(&flags.generic);
        let membership = Membership::read(&paths)?;
        let wasm = Wasm::open(wsw_runtime::Config {
            data_root: paths.data_root.clone(),
            exec_root: paths.exec_root.clone(),
            exe: std::env::current_exe().context("cannot find this program's own file")?,
            engine_key: wsw_wasm_shim::engine_key(),
            node: membership.as_ref().map(|record| record.node),
            shim_capacity: super::capacity::of_shim(super::capacity::Limits::read().maps),
            insecure_registries: flags.insecure_registries.clone(),
            registry_certs: flags.registry_certs.clone(),
        })
        .await?;
        let node = Arc::new(Self {
            installation_id: installation_id(&paths.data_root)?,
            paths,
            host,
            wasm,
            flags,
            local_events: Ring::default(),
            member: RwLock::new(None),
            transition: tokio::sync::Mutex::new(()),
        });
        match membership {
            Some(record) => node.resume(record).await?,
            None => node.clear_leftovers().await,
        }
        Ok(node)
    }

    /// An init that was never acknowledged, or a leave that was cut off: neither left a membership record.
    async fn clear_leftovers(&self) {
        if let Err(error) = wsw_manager::wipe(&self.paths.data_root) {
            warn!(%error, "cannot remove the state of an earlier swarm");
        }
        let _ = fs::remove_dir_all(self.paths.data_root.join("tasks"));
    }

    async fn resume(&self, mut record: Membership) -> Result<()> {
        record.listen = self.flags.listen.unwrap_or(record.listen);
        record.advertise = self.flags.advertise.unwrap_or(record.advertise);
        let config = self.manager_config(&record);
        let (worker, manager) = tokio::join!(self.start_worker(&record), Manager::restart(config));
        let manager = match manager {
            Ok(Some(manager)) => Ok(manager),
            Ok(None) => Err("the raft folder of this manager is gone: restore it, or leave the swarm by force and make a new one".to_owned()),
            Err(error) => Err(error.message),
        };
        if let Err(message) = &manager {
            error!(%message, "the manager part cannot start; tasks go on");
        }
        self.install(record, worker?, manager);
        Ok(())
    }

    fn manager_config(&self, record: &Membership) -> wsw_manager::Config {
        wsw_manager::Config {
            data_root: self.paths.data_root.clone(),
            advertise_addr: record.advertise,
            hostname: self.host.hostname.clone(),
            description: self.host.description(),
        }
    }

    async fn start_worker(&self, record: &Membership) -> Result<Worker> {
        let config = wsw_worker::Config {
            node: record.node,
            hostname: self.host.hostname.clone(),
            data_root: self.paths.data_root.clone(),
            // All addresses, but a node that is only for this machine publishes only to this machine.
            publish_addr: Some(record.advertise.ip()).filter(|ip| ip.is_loopback()),
            description: self.host.description(),
        };
        Worker::start(config, self.wasm.clone(), self.wasm.clone()).await.map_err(anyhow::Error::from)
    }

    fn install(&self, record: Membership, worker: Worker, manager: std::result::Result<Manager, String>) {
        let link = manager.as_ref().ok().map(|manager| tokio::spawn(link(worker.clone(), manager.clone())));
        let member = Arc::new(Member { record, worker, manager, link });
        *self.member.write().unwrap_or_else(PoisonError::into_inner) = Some(member);
    }

    fn member(&self) -> Option<Arc<Member>> {
        self.member.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether and how this node is part of a swarm.
    pub fn swarm_state(&self) -> SwarmState {
        match self.member().as_deref() {
            None => SwarmState::Inactive,
            Some(Member { manager: Err(message), .. }) => SwarmState::Error { message: message.clone() },
            Some(Member { record, .. }) => SwarmState::Manager { node: record.node, cluster: record.cluster, addr: record.advertise },
        }
    }

    /// The manager part, or moby's words for why there is none.
    pub fn manager(&self) -> wsw_api::Result<Manager> {
        match self.member().as_deref() {
            None => Err(Error::unavailable(
                "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.",
            )),
            Some(Member { manager: Err(message), .. }) => Err(Error::unavailable(message.clone())),
            Some(Member { manager: Ok(manager), .. }) => Ok(manager.clone()),
        }
    }

    /// The worker part, while the node is part of a swarm.
    pub fn worker(&self) -> Option<Worker> {
        self.member().map(|member| member.worker.clone())
    }

    /// Makes a swarm of this one node.
    pub async fn init(&self, request: InitRequest) -> wsw_api::Result<NodeId> {
        let _turn = self.transition.lock().await;
        if self.member().is_some() {
            return Err(Error::unavailable("This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and join another one."));
        }
        let invalid = |error: anyhow::Error| Error::invalid(format!("{error:#}"));
        let listen = self.listen_addr(&request.listen_addr).map_err(invalid)?;
        let advertise = self.advertise_addr(&request.advertise_addr, listen).map_err(invalid)?;
        let placeholder = Membership { node: NodeId::default(), cluster: ClusterId::default(), listen, advertise };
        let config = self.manager_config(&placeholder);
        let manager = Manager::bootstrap(config, InitSpec { spec: request.spec, availability: request.availability }).await?;
        let record = Membership { node: manager.node_id(), cluster: manager.cluster_id(), ..placeholder };
        match self.join_up(&record).await {
            Ok(worker) => {
                info!(node = %record.node, cluster = %record.cluster, "a swarm of one");
                let node = record.node;
                self.install(record, worker, Ok(manager));
                Ok(node)
            }
            Err(error) => {
                manager.shutdown().await;
                self.clear_leftovers().await;
                Err(Error::internal(format!("swarm init: {error:#}")))
            }
        }
    }

    async fn join_up(&self, record: &Membership) -> Result<Worker> {
        let worker = self.start_worker(record).await?;
        record.write(&self.paths)?;
        Ok(worker)
    }

    /// Docker's client always sends `0.0.0.0:2377`; the daemon's own flag wins.
    fn listen_addr(&self, asked: &str) -> Result<SocketAddr> {
        if let Some(listen) = self.flags.listen {
            return Ok(listen);
        }
        if asked.is_empty() {
            return Ok(SocketAddr::from(([0, 0, 0, 0], DEFAULT_PORT)));
        }
        match asked.parse::<std::net::IpAddr>() {
            Ok(ip) => Ok(SocketAddr::new(ip, DEFAULT_PORT)),
            Err(_) => address::listen("ListenAddr", asked),
        }
    }

    fn advertise_addr(&self, asked: &str, listen: SocketAddr) -> Result<SocketAddr> {
        match (self.flags.advertise, asked) {
            (Some(own), _) => Ok(own),
            (None, "") => Ok(address::choose(listen)),
            (None, text) => address::advertise("AdvertiseAddr", text, listen.port()),
        }
    }

    /// Ends this node's tasks and forgets the swarm.
    pub async fn leave(&self, force: bool) -> wsw_api::Result<()> {
        let _turn = self.transition.lock().await;
        let Some(member) = self.member() else {
            return Err(Error::unavailable("This node is not part of a swarm"));
        };
        if !force {
            return Err(Error::unavailable(
                "You are attempting to leave the swarm on a node that is participating as a manager. \
                 Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message. ",
            ));
        }
        fs::remove_file(Membership::path(&self.paths)).map_err(|error| Error::internal(format!("cannot remove the membership record: {error}")))?;
        *self.member.write().unwrap_or_else(PoisonError::into_inner) = None;
        if let Some(link) = &member.link {
            link.abort();
        }
        member.worker.clone().leave().await;
        self.wasm.close().await;
        if let Ok(manager) = &member.manager {
            manager.clone().shutdown().await;
        }
        self.clear_leftovers().await;
        info!("left the swarm");
        Ok(())
    }

    /// Stops the parts; tasks go on, shims without any end.
    pub async fn stop(&self) {
        let member = self.member.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(member) = member {
            if let Some(link) = &member.link {
                link.abort();
            }
            member.worker.clone().stop().await;
            if let Ok(manager) = &member.manager {
                manager.clone().shutdown().await;
            }
        }
        self.wasm.close().await;
    }
}

/// Keeps the worker's session with its own manager, over the in-process transport.
///
/// Our own copy of the sender lives only until the welcome: afterwards the manager must see when the worker lets go of the session.
async fn link(worker: Worker, manager: Manager) {
    loop {
        let (to_manager, from_manager) = manager.connect();
        let refused = to_manager.clone();
        let mut connected = worker.connected();
        worker.connect(to_manager, from_manager);
        let welcomed = tokio::select! {
            up = connected.wait_for(|up| *up) => up.is_ok(),
            () = refused.closed() => false,
            () = tokio::time::sleep(WELCOME_LIMIT) => false,
        };
        drop(refused);
        // An error means that the worker is gone, and this task with it.
        if welcomed && connected.wait_for(|up| !*up).await.is_err() {
            return;
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

/// A random name of this installation, kept for good.
fn installation_id(root: &Path) -> Result<String> {
    let path = root.join("installation-id");
    if let Ok(text) = fs::read_to_string(&path) {
        return Ok(text.trim().to_owned());
    }
    let mut bytes = [0_u8; 16];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes).map_err(|_| anyhow::anyhow!("no randomness"))?;
    let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let parts = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)].map(|(from, to)| hex.get(from..to).unwrap_or_default());
    let id = parts.join("-");
    data_root::write_synced(&path, format!("{id}\n").as_bytes())?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_installation_keeps_its_id() {
        let dir = tempfile::tempdir().unwrap();
        let first = installation_id(dir.path()).unwrap();
        assert_eq!(first.len(), 36);
        assert_eq!(installation_id(dir.path()).unwrap(), first);
    }
}
