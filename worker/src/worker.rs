//! The handle that the daemon holds: start, connect, look, stop, leave.
//!
//! Owns: nothing but the ends of channels. Invariant: tasks and ports come up from what is on disk before any leader is heard.
//! Never: waits for a leader.

use crate::agent::{Agent, Command, Connections, described};
use crate::board::{Board, LocalTask};
use crate::disk::Disk;
use crate::events::Ring;
use crate::execs;
use crate::hands;
use crate::ingress::{self, Counters, Ingress};
use crate::logs::{Logs, Readers, Selector};
use crate::relay::Relay;
use crate::seam::{Executor, Handover};
use crate::store::{self, Store};
use crate::tasks::{Place, Tasks};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};
use wsw_api::event::{CopyStep, TaskEvent, What};
use wsw_api::exec;
use wsw_api::health::Health;
use wsw_api::log::Query;
use wsw_api::network::Sandbox;
use wsw_api::object::NodeDescription;
use wsw_api::session::{ManagerFrame, WorkerFrame};
use wsw_api::trust::Issuer;
use wsw_api::usage::Usage;
use wsw_api::{NodeId, SessionId, TaskId};
use wsw_runtime::transfer::Inside;
use wsw_runtime::{Attached, Streams};

/// Commands that may wait for the agent; more callers wait.
const MAX_COMMANDS: usize = 16;
/// Below the data root.
const TASKS: &str = "tasks";
const LOGS: &str = "logs";

/// What a worker is made of.
#[derive(Debug, Clone)]
pub struct Config {
    pub node: NodeId,
    pub hostname: String,
    pub data_root: PathBuf,
    /// Where published ports listen; none for all addresses.
    pub publish_addr: Option<IpAddr>,
    /// What is known of the node; the executor's platforms and plugins and the worker's problems are added.
    pub description: NodeDescription,
    /// This node's end of connections between nodes.
    pub relay: Arc<Relay>,
}

/// Why a worker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("the assignments could not be read: {0}")]
    Join(#[from] tokio::task::JoinError),
}

/// A running worker. Clones are the same worker; dropping the last one is a [`Self::stop`] nobody waits for: tasks keep running.
#[derive(Debug, Clone)]
pub struct Worker {
    readers: Arc<Readers>,
    board: Arc<Board>,
    counters: Arc<Counters>,
    description: watch::Receiver<Arc<NodeDescription>>,
    connected: watch::Receiver<bool>,
    connections: Arc<Connections>,
    commands: mpsc::Sender<Command>,
}

impl Worker {
    /// Reads the assignments, serves their ports, adopts and drives their tasks (in the background).
    pub async fn start(config: Config, executor: Arc<dyn Executor>, handover: Arc<dyn Handover>) -> Result<Self, Error> {
        let folder = config.data_root.join(TASKS);
        let (disk, loaded) = tokio::task::spawn_blocking(move || Store::open(&folder).map(|(store, loaded)| (Disk::new(&folder, store), loaded))).await??;
        let board = Arc::new(Board::of(config.node));
        let logs = config.data_root.join(LOGS);
        let place = Place { node: config.node, hostname: config.hostname.clone(), logs: logs.clone(), relay: config.relay.clone() };
        let tasks = Tasks::new(place, Arc::clone(&board), Arc::clone(&executor), disk, loaded);
        let shared = Arc::new(ingress::Shared::new(handover, Arc::clone(&board), config.relay));
        let counters = Arc::clone(&shared.counters);
        let ingress = Ingress::start(config.publish_addr, tasks.table(), shared);
        let (description, descriptions) = watch::channel(Arc::new(described(&config.description, &*executor, Vec::new())));
        let (connected, is_connected) = watch::channel(false);
        let connections = Arc::<Connections>::default();
        let (commands, received) = mpsc::channel(MAX_COMMANDS);
        let agent = Agent {
            node: config.node,
            boot: SessionId::from_bytes(rand::random()),
            tasks,
            board: Arc::clone(&board),
            executor,
            ingress,
            base: config.description,
            description,
            connected,
            connections: Arc::clone(&connections),
            commands: received,
        };
        tokio::spawn(agent.run());
        let readers = Arc::new(Readers::new(config.node, logs, Arc::clone(&board)));
        Ok(Self { readers, board, counters, description: descriptions, connected: is_connected, connections, commands })
    }

    /// Begins a session with a leader at the other ends of these channels; an older session ends. The agent drops both ends when
    /// the session is over, and waits for the next call.
    pub fn connect(&self, tx: mpsc::Sender<WorkerFrame>, rx: mpsc::Receiver<ManagerFrame>) {
        self.connections.put((tx, rx));
    }

    /// Whether a leader has welcomed this worker, as it changes.
    pub fn connected(&self) -> watch::Receiver<bool> {
        self.connected.clone()
    }

    /// The tasks of this node that are neither forgotten nor put away, by id.
    pub fn tasks(&self) -> Vec<LocalTask> {
        let mut tasks = self.board.tasks();
        tasks.retain(|task| !task.put_away);
        tasks
    }

    /// Shows an ended task no more; it stays its service's history.
    pub async fn put_away(&self, task: TaskId) {
        let (done, over) = oneshot::channel();
        if self.commands.send(Command::PutAway(task, done)).await.is_ok() {
            // An agent that ended meanwhile keeps it.
            let _ = over.await;
        }
    }

    /// The node has another certificate, or believes another root: the leader is told.
    pub async fn trust(&self, root: String, issuer: Issuer) {
        // An agent that has ended tells nobody anything.
        let _ = self.commands.send(Command::Trust(root, issuer)).await;
    }

    /// The node as the leader is told.
    pub fn description(&self) -> NodeDescription {
        NodeDescription::clone(&self.description.borrow())
    }

    /// The images that tasks of this node run, as their services name them, each with one of the tasks.
    pub fn images_in_use(&self) -> Vec<(String, TaskId)> {
        self.board.images().into_iter().map(|(image, task)| (image.to_string(), task)).collect()
    }

    /// The last events of tasks, and those to come.
    pub fn events(&self) -> &Ring<TaskEvent> {
        &self.board.events
    }

    /// The others reach this node at this address from now on.
    pub async fn announce(&self, addr: String) {
        // An agent that ended has nobody to tell.
        let _ = self.commands.send(Command::Announce(addr)).await;
    }

    /// Sends a signal to a task of this node; a task that ends by it has ended by itself.
    pub async fn signal(&self, task: TaskId, signal: u32) -> wsw_api::Result<()> {
        hands::signal(&self.board, task, signal).await
    }

    /// Makes a command in a task of this node; its id.
    pub fn exec_create(&self, task: TaskId, command: exec::Command) -> wsw_api::Result<String> {
        execs::create(&self.board, task, command)
    }

    /// Runs it.
    pub async fn exec_start(&self, id: &str, size: Option<exec::Size>) -> wsw_api::Result<Streams> {
        execs::start(&self.board, id, size).await
    }

    /// Tells its terminal its size.
    pub async fn exec_resize(&self, id: &str, size: exec::Size) -> wsw_api::Result<()> {
        execs::resize(&self.board, id, size).await
    }

    /// Where it is.
    pub fn exec_status(&self, id: &str) -> wsw_api::Result<exec::Status> {
        self.board.execs.status(id)
    }

    /// Commands of a task that run.
    pub fn execs_of(&self, task: TaskId) -> Vec<String> {
        self.board.execs.of(task)
    }

    /// Its client left it by the keys of the terminal.
    pub fn exec_detached(&self, id: &str) {
        execs::detached(&self.board, id);
    }

    /// Processes of a task on this node; none for a Wasm task.
    pub async fn pids(&self, task: TaskId) -> wsw_api::Result<Option<Vec<u32>>> {
        hands::pids(&self.board, task).await
    }

    /// A task's place in the node's network; none when it does not run or has no address.
    pub fn sandbox(&self, task: TaskId) -> Option<Sandbox> {
        hands::sandbox(&self.board, task)
    }

    /// The streams of a task that runs; none for a Wasm task.
    pub async fn attach(&self, task: TaskId, input: bool) -> wsw_api::Result<Option<Attached>> {
        hands::attach(&self.board, task, input).await
    }

    /// A client left a task by the keys of its terminal.
    pub fn detached(&self, task: TaskId) {
        self.board.tell(task, What::Detached);
    }

    /// Tells a task's terminal its size.
    pub async fn resize(&self, task: TaskId, size: exec::Size) -> wsw_api::Result<()> {
        hands::resize(&self.board, task, size).await
    }

    /// The files of a task that runs.
    pub async fn inside(&self, task: TaskId) -> wsw_api::Result<Arc<Inside>> {
        hands::inside(&self.board, task).await
    }

    /// Files were copied out of a task, or into it.
    pub fn copied(&self, task: TaskId, step: CopyStep) {
        self.board.tell(task, What::Copied(step));
    }

    /// What its health check found of a task.
    pub fn health(&self, task: TaskId) -> Option<Health> {
        self.board.wards.of(task)
    }

    /// What a task of this node uses.
    pub async fn usage(&self, task: TaskId) -> wsw_api::Result<Usage> {
        hands::usage(&self.board, task).await
    }

    /// Waits until `done` holds for the task or nothing is left of it; answers what was last known of it.
    pub async fn wait(&self, task: TaskId, done: impl Fn(&LocalTask) -> bool) -> Option<LocalTask> {
        hands::wait(&self.board, task, done).await
    }

    /// What became of connections to published ports.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Log lines of one task or of a service's tasks on this node.
    pub fn logs(&self, selector: Selector, query: Query) -> Logs {
        self.readers.read(selector, query)
    }

    /// Says goodbye and ends; the tasks keep running.
    pub async fn stop(self) {
        self.end(Command::Stop).await;
    }

    /// Ends all tasks, removes assignments and logs, then ends.
    pub async fn leave(self) {
        self.end(Command::Leave).await;
    }

    async fn end(self, command: impl FnOnce(oneshot::Sender<()>) -> Command) {
        let (done, ended) = oneshot::channel();
        if self.commands.send(command(done)).await.is_ok() {
            // An error is an agent that ended on its own: it is over either way.
            let _ = ended.await;
        }
    }
}
