//! The manager as the daemon sees it: reads, writes, events, workers' connections.
//!
//! Owns: how it begins and ends; workers' connections. How it is asked is in `asking`. Never: touches the log (`supervisor`, `leader`).

use crate::config::{Config, InitSpec};
use crate::identity::rotation::{self, Given};
use crate::identity::{self, Identity, sealed, token};
use crate::init;
use crate::leader::Settings;
use crate::leader::clock::{Here, Outside};
use crate::leader::inbox::{Arrival, ConnectionId, Link, Origin, Outbox, channels};
use crate::own_addr::OwnAddr;
use crate::raft::crypto::random;
use crate::raft::disk::Folder;
use crate::raft::link::{Links, Ports, Reach};
use crate::raft::machine::View;
use crate::raft::network::Network;
use crate::raft::node::{self, Place};
use crate::raft::types::{RaftId, Types};
use crate::supervisor::{Begun, Current, Start, Supervisor, Where};
use crate::{enroll, files, supervisor};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::async_runtime::AsyncRuntime;
use openraft_rt_tokio::TokioRuntime;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use wsw_api::control::Write;
use wsw_api::entry::Entry;
use wsw_api::event::Event;
use wsw_api::id::{ClusterId, NodeId};
use wsw_api::session::{MAX_FRAMES, ManagerFrame, WorkerFrame};
use wsw_api::spec::ClusterSpec;
use wsw_api::time::Time;
use wsw_api::trust::RootChange;
use wsw_api::{Error, Result};
use wsw_net::Endpoint;
use wsw_planner::Store;

/// What an update of the cluster makes anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rotate {
    pub worker: bool,
    pub manager: bool,
    pub unlock_key: bool,
}

/// What a manager is put together from.
pub struct Parts {
    pub node: NodeId,
    pub cluster: ClusterId,
    pub addr: OwnAddr,
    pub place: Place,
    pub view: Arc<View>,
    pub links: Arc<dyn Reach>,
    pub outside: Arc<dyn Outside>,
    /// Whom it hears before it knows a state.
    pub trusted: Vec<NodeId>,
}

/// A runtime, and the thread that it has.
type Running = (tokio::runtime::Handle, Option<std::thread::JoinHandle<()>>);

impl Parts {
    fn assemble<RT: AsyncRuntime>(self, run: impl FnOnce(Supervisor<RT>) -> io::Result<Running>) -> io::Result<Manager<RT>> {
        let Self { node, cluster, addr, place, view, links, outside, trusted } = self;
        let (outbox, inbox) = channels();
        let (current, stop) = (Current::default(), CancellationToken::new());
        let settings = Settings { node, addr: addr.clone(), outside: outside.clone() };
        let network = Network::new(links.clone(), place.folder.clone());
        let supervisor = Supervisor { place: place.clone(), settings, view: view.clone(), current: current.clone(), network, inbox, stop: stop.clone() };
        let (runtime, thread) = run(supervisor)?;
        let (silent, connections, thread) = (Mutex::default(), AtomicU64::new(0), Mutex::new(thread));
        Ok(Manager(Arc::new(Inner { node, cluster, addr, place, view, current, links, outside, outbox, trusted, silent, runtime, connections, stop, thread })))
    }
}

/// The folder of Raft in the data root.
pub(crate) const RAFT: &str = "raft";
/// One manager. Clones share it.
pub struct Manager<RT: AsyncRuntime = TokioRuntime>(pub(crate) Arc<Inner<RT>>);

impl<RT: AsyncRuntime> Clone for Manager<RT> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

pub(crate) struct Inner<RT: AsyncRuntime> {
    pub node: NodeId,
    pub cluster: ClusterId,
    pub addr: OwnAddr,
    pub place: Place,
    pub view: Arc<View>,
    pub current: Current<RT>,
    pub links: Arc<dyn Reach>,
    pub outside: Arc<dyn Outside>,
    pub outbox: Outbox,
    /// Whom a manager hears that knows no state yet: those that it was told of when it joined.
    pub trusted: Vec<NodeId>,
    /// What the leader last said of the other managers.
    pub silent: Mutex<Vec<RaftId>>,
    /// The manager thread's runtime: carries the workers' frames.
    pub runtime: tokio::runtime::Handle,
    connections: AtomicU64,
    pub stop: CancellationToken,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl<RT: AsyncRuntime> Drop for Inner<RT> {
    /// A manager that nobody holds any more stops; [`Manager::shutdown`] waits for it.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Manager {
    /// `swarm init`: makes the identity, the Raft folder and the first entry; answers when that is committed.
    pub async fn bootstrap(config: Config, init: InitSpec) -> Result<Self> {
        wsw_planner::control::check_cluster(&init.spec)?;
        let root = config.data_root.clone();
        files::remove_leftovers(&root).map_err(internal)?;
        if node::read_id(&root.join(RAFT)).map_err(internal)?.is_some() {
            return Err(Error::unavailable("this node is already part of a swarm"));
        }
        wipe(&root).map_err(internal)?;
        let begun = Self::begin(&config, init).await;
        if begun.is_err()
            && let Err(err) = wipe(&root)
        {
            tracing::warn!(%err, "what the failed init left could not be removed; the next start does it");
        }
        begun.map_err(|err| Error::unavailable(format!("no swarm could be made in {}: {err}", root.display())))
    }

    async fn begin(config: &Config, init: InitSpec) -> io::Result<Self> {
        let (identity, root) = init::identity(&init)?;
        files::create_folder(&config.data_root)?;
        identity.save(&config.data_root)?;
        let raft_id = node::mint(&config.data_root.join(RAFT))?;
        let entry: Entry = init::entry(config, init, &identity, &root, raft_id, Here.wall())?;
        let start = Start::New { addr: config.advertise_addr.to_string(), entry: Box::new(entry) };
        Self::start(config, &identity, raft_id, start, Vec::new()).await.map(|(manager, _)| manager)
    }

    /// Becomes one of a cluster's managers, with a Raft id of its own: it hears the `trusted` ones until the state says who manages, and
    /// asks to be a member of Raft wherever managers are known. The identity is there already.
    pub async fn join(config: Config, trusted: Vec<NodeId>) -> Result<Self> {
        let root = &config.data_root;
        files::remove_leftovers(root).and_then(|()| files::remove_folder(&root.join(RAFT))).map_err(internal)?;
        let identity = Identity::load(root, config.unlock.as_ref()).map_err(internal)?.ok_or_else(|| Error::internal("this node has no identity"))?;
        let raft_id = node::mint(&root.join(RAFT)).map_err(internal)?;
        let (manager, _) = Self::start(&config, &identity, raft_id, Start::Again, trusted).await.map_err(internal)?;
        Ok(manager)
    }

    /// Takes up an earlier membership; none when there is no `raft/` folder (or only what an init that was never answered left).
    pub async fn restart(config: Config) -> Result<Option<Self>> {
        let root = &config.data_root;
        files::remove_leftovers(root).map_err(internal)?;
        let Some(raft_id) = node::read_id(&root.join(RAFT)).map_err(internal)? else { return Ok(None) };
        let Some(identity) = Identity::load(root, config.unlock.as_ref()).map_err(internal)? else {
            return Err(Error::internal(format!(
                "{} holds the state of a manager but no identity that opens it; restore the folder {}",
                root.display(),
                identity::FOLDER
            )));
        };
        let (manager, begun) = Self::start(&config, &identity, raft_id, Start::Again, Vec::new()).await.map_err(internal)?;
        if begun == Begun::Alone && manager.store().cluster().is_none() {
            manager.shutdown().await;
            wipe(root).map_err(internal)?;
            return Ok(None);
        }
        Ok(Some(manager))
    }

    async fn start(config: &Config, identity: &Identity, raft_id: RaftId, start: Start, trusted: Vec<NodeId>) -> io::Result<(Self, Begun)> {
        let view = Arc::new(View::default());
        let place = Place {
            folder: Folder::of_machine(config.data_root.join(RAFT), identity.data_key.clone()),
            id: raft_id,
            cluster: identity.cluster.to_string(),
            timing: config.timing,
        };
        let links = Arc::new(Links::new(view.clone()));
        let (node, cluster, addr, outside) = (identity.node, identity.cluster, OwnAddr::new(config.advertise_addr), Arc::new(Here));
        let (ready, started) = oneshot::channel();
        let parts = Parts { node, cluster, addr, place, view, links, outside, trusted };
        let manager = parts.assemble(|supervisor| supervisor.spawn(start, ready).map(|(runtime, thread)| (runtime, Some(thread))))?;
        match started.await.unwrap_or_else(|_| Err(io::Error::other("the manager's thread ended"))) {
            Ok(begun) => {
                manager.0.runtime.spawn(enroll::keep(Arc::downgrade(&manager.0), config.managers.clone()));
                Ok((manager, begun))
            }
            Err(err) => {
                manager.shutdown().await;
                Err(err)
            }
        }
    }
}

impl<RT: AsyncRuntime> Manager<RT> {
    /// Puts a manager together and runs it on the runtime of the caller: for a simulation. The answer comes when it leads, or cannot.
    pub fn run_here(parts: Parts, start: Start, managers: Vec<SocketAddr>) -> io::Result<(Self, oneshot::Receiver<io::Result<Begun>>)> {
        let (ready, started) = oneshot::channel();
        let manager = parts.assemble(|supervisor| {
            let _task = Types::<RT>::spawn(async move { supervisor.run(&Where::Here, start, ready).await });
            Ok((tokio::runtime::Handle::current(), None))
        })?;
        let _task = Types::<RT>::spawn(enroll::keep(Arc::downgrade(&manager.0), managers));
        Ok((manager, started))
    }

    /// The applied state, at once.
    pub fn store(&self) -> Store {
        self.0.view.store()
    }

    /// `swarm update` and `swarm ca`, with new join tokens, a new unlock key and a new root where they are asked for.
    pub async fn update_cluster(&self, version: u64, spec: ClusterSpec, rotate: Rotate, given: &Given) -> Result<()> {
        let store = self.read().await?;
        let cluster = store.cluster().ok_or_else(|| Error::unavailable("this node is not part of a swarm"))?;
        let token = |rotate: bool| rotate.then(|| random().map(|secret| token::make(&cluster.root_ca, secret)).map_err(internal)).transpose();
        let forced = spec.force_rotate != cluster.spec.force_rotate;
        // A root that is made for another version of the cluster would be signed by the wrong one; such a write is refused in any case.
        let root = if cluster.meta.version == version { rotation::change(cluster, given, forced)? } else { RootChange::Keep };
        if cluster.meta.version != version && (forced || *given != Given::default()) {
            return Err(Error::conflict("rpc error: code = Unknown desc = update out of sequence"));
        }
        let unlock_key = spec.autolock.then(|| sealed::generate().map_err(internal)).transpose()?;
        let (worker_token, manager_token) = (token(rotate.worker)?, token(rotate.manager)?);
        let rotate_unlock_key = rotate.unlock_key;
        self.write(Write::UpdateCluster { version, spec: Box::new(spec), worker_token, manager_token, unlock_key, rotate_unlock_key, root }).await.map(drop)
    }

    /// `swarm join-token --rotate`.
    pub async fn rotate_tokens(&self, worker: bool, manager: bool) -> Result<()> {
        let store = self.read().await?;
        let cluster = store.cluster().ok_or_else(|| Error::unavailable("this node is not part of a swarm"))?;
        self.update_cluster(cluster.meta.version, cluster.spec.clone(), Rotate { worker, manager, unlock_key: false }, &Given::default()).await
    }

    /// Events since a moment as far as they are kept, and all that follow.
    pub fn events(&self, since: Option<Time>) -> (Vec<Event>, broadcast::Receiver<Event>) {
        self.0.view.events.subscribe(since)
    }

    /// Index of the last applied entry, as it changes.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.0.view.applied()
    }

    /// Opens a worker's connection, that of this process (no origin) or another node's; closed ends say that it is over and must be opened again.
    pub fn connect(&self, from: Option<Origin>) -> (mpsc::Sender<WorkerFrame>, mpsc::Receiver<ManagerFrame>) {
        let (from_worker, frames) = mpsc::channel(MAX_FRAMES);
        let (to_worker, answers) = mpsc::channel(MAX_FRAMES);
        let id = self.0.connections.fetch_add(1, Ordering::Relaxed);
        let closed = CancellationToken::new();
        let link = Link { frames: to_worker, from, _open: closed.clone().drop_guard() };
        self.0.runtime.spawn(carry(id, frames, link, closed, self.0.outbox.arrivals.clone()));
        (from_worker, answers)
    }

    /// Whom it was told of when it joined: see [`crate::admission`].
    pub(crate) fn trusted(&self) -> &[NodeId] {
        &self.0.trusted
    }

    /// This node is on the network: from now on it reaches the other managers.
    pub fn open(&self, control: Endpoint, bulk: Endpoint) {
        self.0.links.open(Ports { control, bulk });
    }

    /// This node.
    pub fn node_id(&self) -> NodeId {
        self.0.node
    }

    /// Its cluster.
    pub fn cluster_id(&self) -> ClusterId {
        self.0.cluster
    }

    /// The others reach this node elsewhere from now on; they are told as a new manager tells them (`enroll`).
    pub fn moved(&self, addr: SocketAddr) {
        self.0.addr.set(addr);
    }

    /// Stops; when this returns everything is synced and the files are let go.
    pub async fn shutdown(self) {
        self.0.stop.cancel();
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        if tokio::task::spawn_blocking(move || thread.join()).await.is_err() {
            tracing::warn!("the manager's thread could not be waited for");
        }
    }
}

/// Carries one worker's frames to the leader. When the leader lets go of the link, or turns it away, both ends close.
async fn carry(id: ConnectionId, mut frames: mpsc::Receiver<WorkerFrame>, link: Link, closed: CancellationToken, arrivals: mpsc::Sender<Arrival>) {
    if arrivals.send(Arrival::Opened(id, link)).await.is_err() {
        return;
    }
    loop {
        let frame = tokio::select! {
            biased;
            () = closed.cancelled() => return,
            frame = frames.recv() => frame,
        };
        let ended = frame.is_none();
        let arrival = frame.map_or(Arrival::Closed(id), |frame| Arrival::Frame(id, frame));
        if arrivals.send(arrival).await.is_err() || ended {
            return;
        }
    }
}

pub(crate) fn internal(err: io::Error) -> Error {
    if files::is_full(&err) { Error::unavailable(err.to_string()) } else { Error::internal(supervisor::describe(&err)) }
}

/// `swarm leave --force`: removes what a manager keeps in the data root.
pub fn wipe(data_root: &Path) -> io::Result<()> {
    // Raft first: without it the identity is nothing, the other way round the log could not be opened.
    files::remove_folder(&data_root.join(RAFT))?;
    files::remove_folder(&data_root.join(identity::FOLDER))?;
    files::remove_leftovers(data_root)
}

/// A manager that is one no more: removes what it kept of the cluster's state.
pub fn forget(data_root: &Path) -> io::Result<()> {
    files::remove_folder(&data_root.join(RAFT))?;
    files::remove_leftovers(data_root)
}
