//! One node: images and the executor always, a worker and a manager while it is part of a swarm.
//!
//! Owns: how the parts start, stop and change with `swarm init`, `join` and `leave`.
//! Invariants: the membership record (`member`) is written last and removed first. The worker starts before the manager is heard: tasks
//! are adopted and ports are served although nobody leads yet.
//! Never: changes cluster state itself.

use super::host::Host;
use super::join::{self, Asked};
use super::link::Link;
use super::member::{Control, Member, Membership, Record, Trouble};
use super::network::{self, Listen, Network};
use super::{DEFAULT_PORT, Paths, address, blobs, data_root, logs, role};
use anyhow::{Context, Result};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info, warn};
use wsw_api::event::Event;
use wsw_api::object::NodeDescription;
use wsw_api::spec::NodeRole;
use wsw_api::{ClusterId, Error, NodeId};
use wsw_dockerapi::backend::{InitRequest, JoinSwarm, SwarmState};
use wsw_manager::identity::Identity;
use wsw_manager::{InitSpec, Manager};
use wsw_net::Protocol;
use wsw_runtime::{Runtime, Wasm};
use wsw_worker::relay::{self, Relay, Shims};
use wsw_worker::{Ring, Worker};

/// moby's words.
const ALREADY: &str = "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and join another one.";
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
    workers: watch::Sender<Option<Worker>>,
    /// One init, join, leave or change of role at a time.
    pub(super) transition: tokio::sync::Mutex<()>,
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
        })
        .await?;
        let node = Arc::new(Self {
            installation_id: installation_id(&paths.data_root)?,
            paths,
            host,
            wasm: runtime.wasm().clone(),
            runtime,
            flags,
            local_events: Ring::default(),
            member: RwLock::new(None),
            relay: Mutex::new(None),
            workers: watch::Sender::default(),
            transition: tokio::sync::Mutex::new(()),
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
        Ok(node)
    }

    /// An init that was never acknowledged, or a leave that was cut off: neither left a membership record.
    async fn clear_leftovers(&self) {
        if let Err(error) = wsw_manager::wipe(&self.paths.data_root) {
            warn!(%error, "cannot remove the state of an earlier swarm");
        }
        let _ = fs::remove_dir_all(self.paths.data_root.join("tasks"));
    }

    async fn resume(self: &Arc<Self>, mut record: Membership) -> Result<()> {
        record.listen = self.flags.listen.unwrap_or(record.listen);
        record.advertise = self.flags.advertise.unwrap_or(record.advertise);
        let identity = self.identity(&record);
        let trust_root = identity.as_ref().map(|identity| identity.root.clone()).unwrap_or_default();
        if record.role == NodeRole::Worker {
            // Tasks that are taken up may need a part of an image at once.
            let kept = Arc::new(Record::new(&self.paths, record.clone()));
            let (network, control) = self.reach(&kept, &identity, Control::Worker);
            let worker = self.start_worker(&record, trust_root).await?;
            self.install(kept, worker, control, network);
            return Ok(());
        }
        let (worker, control) = tokio::join!(self.start_worker(&record, trust_root), self.resume_manager(&record));
        let kept = Arc::new(Record::new(&self.paths, record));
        let (network, control) = self.reach(&kept, &identity, control);
        self.install(kept, worker?, control, network);
        Ok(())
    }

    pub(super) fn identity(&self, record: &Membership) -> Result<Identity> {
        let found = Identity::load(&self.paths.data_root)?.filter(|identity| identity.node == record.node);
        found.with_context(|| format!("the identity of node {} is gone: restore the folder identity of the data root, or leave the swarm", record.node))
    }

    /// Goes on the network; what hinders that hinders the node's part in the cluster, and nothing else.
    fn reach(&self, record: &Arc<Record>, identity: &Result<Identity>, control: Control) -> (Arc<Network>, Control) {
        let opened = match identity {
            Ok(identity) => self.listen(&record.get(), identity, &control).and_then(|listen| Ok(Network::resume(listen)?)),
            Err(error) => Err(anyhow::anyhow!("{error:#}")),
        };
        let (network, control) = match (opened, control) {
            (Ok(network), control) => (network, control),
            // Its own reason says more.
            (Err(_), Control::Broken(message)) => (Network::none(), Control::Broken(message)),
            (Err(error), _) => (Network::none(), Control::Broken(format!("{error:#}"))),
        };
        if let Control::Broken(message) = &control {
            error!(%message, "this node's part in the cluster cannot start; tasks go on");
        }
        (self.with_peers(record, network), control)
    }

    /// A node asks the managers for images.
    fn with_peers(&self, record: &Arc<Record>, network: Network) -> Arc<Network> {
        let network = Arc::new(network);
        self.relay(record.get().node).dial_from(network.bulk().cloned());
        self.wasm.images().set_peers(Some(Arc::new(blobs::Managers { network: network.clone(), record: record.clone() })));
        network
    }

    /// Made when it is first needed: before the worker, before the port.
    fn relay(&self, node: NodeId) -> Arc<Relay> {
        let mut relay = self.relay.lock().unwrap_or_else(PoisonError::into_inner);
        match &*relay {
            Some(relay) if relay.node() == node => relay.clone(),
            _ => relay.insert(Relay::new(node, self.host.memory_bytes, Box::new(Shims(self.runtime.clone())))).clone(),
        }
    }

    async fn resume_manager(&self, record: &Membership) -> Control {
        match Manager::restart(self.manager_config(record)).await {
            Ok(Some(manager)) => Control::Manager(manager),
            // Its part of the state is lost: as a new one of the managers it gets all of it back from the others.
            Ok(None) if record.has_others() => match Manager::join(self.manager_config(record), Vec::new()).await {
                Ok(manager) => Control::Manager(manager),
                Err(error) => Control::Broken(error.message),
            },
            Ok(None) => Control::Broken("the raft folder of this manager is gone: restore it, or leave the swarm by force and make a new one".to_owned()),
            Err(error) => Control::Broken(error.message),
        }
    }

    pub(super) fn listen(&self, record: &Membership, identity: &Identity, control: &Control) -> Result<Listen> {
        let manager = if let Control::Manager(manager) = control { Some(manager.clone()) } else { None };
        let mut handlers = manager.as_ref().map(Manager::handlers).unwrap_or_default();
        handlers.insert(Protocol::Blob, Arc::new(blobs::Giver(self.wasm.clone())));
        let relay = self.relay(record.node);
        handlers.insert(Protocol::Logs, Arc::new(logs::Giver(self.workers.subscribe())));
        handlers.insert(Protocol::Relay, Arc::new(relay::Server(relay.clone())));
        Ok(Listen { addr: record.listen, credentials: network::credentials(identity)?, handlers, manager, relay })
    }

    pub(super) fn manager_config(&self, record: &Membership) -> wsw_manager::Config {
        wsw_manager::Config {
            data_root: self.paths.data_root.clone(),
            advertise_addr: record.advertise,
            hostname: self.host.hostname.clone(),
            description: self.host.description(),
            managers: record.managers.clone(),
            timing: self.flags.timing,
        }
    }

    async fn start_worker(&self, record: &Membership, trust_root: String) -> Result<Worker> {
        let description = NodeDescription { addr: record.advertise.to_string(), trust_root, ..self.host.description() };
        let config = wsw_worker::Config {
            node: record.node,
            hostname: self.host.hostname.clone(),
            data_root: self.paths.data_root.clone(),
            // All addresses, but a node that is only for this machine publishes only to this machine.
            publish_addr: Some(record.advertise.ip()).filter(|ip| ip.is_loopback()),
            description,
            relay: self.relay(record.node),
        };
        Worker::start(config, self.runtime.clone(), self.runtime.clone()).await.map_err(anyhow::Error::from)
    }

    pub(super) fn install(self: &Arc<Self>, record: Arc<Record>, worker: Worker, control: Control, network: Arc<Network>) {
        let trouble = Arc::new(Trouble::default());
        let manager = if let Control::Manager(manager) = &control { Some(manager.clone()) } else { None };
        if let Some(manager) = manager.clone() {
            let network = network.clone();
            tokio::spawn(async move {
                if let (Some(control), Some(bulk)) = (network.control().await, network.bulk()) {
                    manager.open(control, bulk.clone());
                }
            });
        }
        let link = Link {
            node: record.get().node,
            worker: worker.clone(),
            manager,
            network: network.clone(),
            record: record.clone(),
            trouble: trouble.clone(),
            role: role::follow(self),
        };
        self.workers.send_replace(Some(worker.clone()));
        let link = (!matches!(control, Control::Broken(_))).then(|| AbortOnDropHandle::new(tokio::spawn(link.keep())));
        let member = Arc::new(Member { record, worker, control, network, trouble, link: Mutex::new(link) });
        *self.member.write().unwrap_or_else(PoisonError::into_inner) = Some(member);
    }

    pub(super) fn member(&self) -> Option<Arc<Member>> {
        self.member.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether and how this node is part of a swarm.
    pub fn swarm_state(&self) -> SwarmState {
        let Some(member) = self.member() else { return SwarmState::Inactive };
        let Membership { node, cluster, advertise: addr, .. } = member.record.get();
        match (&member.control, member.trouble.get()) {
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
            Some(Control::Worker) => Err(Error::unavailable(WORKER)),
            Some(Control::Broken(message)) => Err(Error::unavailable(message.clone())),
            Some(Control::Manager(manager)) => Ok(manager.clone()),
        }
    }

    /// Where other nodes are dialled from for what is not urgent.
    pub fn bulk(&self) -> Option<wsw_net::Endpoint> {
        self.member().and_then(|member| member.network.bulk().cloned())
    }

    /// The worker part, while the node is part of a swarm.
    pub fn worker(&self) -> Option<Worker> {
        self.member().map(|member| member.worker.clone())
    }

    /// Makes a swarm of this one node.
    pub async fn init(self: &Arc<Self>, request: InitRequest) -> wsw_api::Result<NodeId> {
        let _turn = self.transition.lock().await;
        if self.member().is_some() {
            return Err(Error::unavailable(ALREADY));
        }
        let (listen, advertise) = self.addresses(&request.listen_addr, &request.advertise_addr, address::choose).map_err(invalid)?;
        let placeholder =
            Membership { node: NodeId::default(), cluster: ClusterId::default(), listen, advertise, role: NodeRole::Manager, managers: Vec::new() };
        free(listen)?;
        let manager = Manager::bootstrap(self.manager_config(&placeholder), InitSpec { spec: request.spec, availability: request.availability }).await?;
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
        let (listen, advertise) = self.addresses(&request.listen_addr, &request.advertise_addr, towards).map_err(invalid)?;
        free(listen)?;
        let (identity, joined, managers) = asked.ask(&request, &self.host, advertise).await?;
        join::save(&identity, &self.paths.data_root)?;
        let record = Membership { node: joined.node, cluster: joined.cluster, listen, advertise, role: joined.role, managers };
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
    async fn begin(self: &Arc<Self>, record: Membership, control: Control) -> Result<()> {
        let identity = self.identity(&record)?;
        let network = Network::open(self.listen(&record, &identity, &control)?)?;
        let kept = Arc::new(Record::new(&self.paths, record.clone()));
        let network = self.with_peers(&kept, network);
        let started = async {
            let worker = self.start_worker(&record, identity.root).await?;
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

    fn addresses(&self, listen: &str, advertise: &str, choose: impl FnOnce(SocketAddr) -> SocketAddr) -> Result<(SocketAddr, SocketAddr)> {
        let listen = self.listen_addr(listen)?;
        let advertise = match (self.flags.advertise, advertise) {
            (Some(own), _) => own,
            (None, "") => choose(listen),
            (None, text) => address::advertise("AdvertiseAddr", text, listen.port())?,
        };
        Ok((listen, advertise))
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

    /// Stops the parts; tasks go on, shims without any end.
    pub async fn stop(&self) {
        let member = self.member.write().unwrap_or_else(PoisonError::into_inner).take();
        self.workers.send_replace(None);
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

fn invalid(error: anyhow::Error) -> Error {
    Error::invalid(format!("{error:#}"))
}

/// A port that another program has is said before anything is made.
fn free(listen: SocketAddr) -> wsw_api::Result<()> {
    let probe = std::net::UdpSocket::bind(listen);
    probe.map(drop).map_err(|error| Error::unavailable(format!("ListenAddr: cannot listen on {listen}: {error}; choose another address with --listen-addr")))
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
