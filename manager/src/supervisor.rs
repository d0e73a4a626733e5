//! The manager's life: opens Raft, leads while it is elected, and opens it again after a storage error.
//!
//! Owns: the manager's thread and Raft's runtime. Invariants: a storage error never ends the manager; while it cannot lead, writes are
//! answered with the reason; at the end everything is synced. Never: decides (`leader`).

use crate::files;
use crate::leader::inbox::Inbox;
use crate::leader::{Exit, Leader, Settings, members};
use crate::raft::machine::{Machine, View};
use crate::raft::network::Network;
use crate::raft::node::{Node, Place};
use crate::raft::types::{Command, Types};
use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use openraft::type_config::async_runtime::AsyncRuntime;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use wsw_api::Error;
use wsw_api::entry::Entry;

/// The Raft of a manager.
pub type RaftOf<RT> = Raft<Types<RT>, Machine<RT>>;

/// Threads of Raft's runtime: applying a large entry on one must not hold up votes and heartbeats on the other.
const RAFT_THREADS: usize = 2;
/// Between two tries to open Raft after a storage error: long enough not to load a sick disk, short enough for a user who frees space.
const REOPEN: Duration = Duration::from_secs(1);
/// An election takes less than this on a LAN when there is a majority: until then writes and workers wait instead of being turned away.
const ELECTION: Duration = Duration::from_millis(500);
/// Between two tries of a new leader to learn that it leads.
const AGAIN: Duration = Duration::from_millis(5);
/// moby's words for a swarm without a leader.
pub const NO_LEADER: &str =
    "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online.";

/// The Raft that runs now, for reads.
pub struct Current<RT: AsyncRuntime>(Arc<RwLock<Option<RaftOf<RT>>>>);

impl<RT: AsyncRuntime> Clone for Current<RT> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<RT: AsyncRuntime> Default for Current<RT> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<RT: AsyncRuntime> Current<RT> {
    /// The running Raft; none while it is being opened again.
    pub fn get(&self) -> Option<RaftOf<RT>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, raft: Option<RaftOf<RT>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = raft;
    }
}

/// How the first start goes.
pub enum Start {
    /// A new cluster; its first entry.
    New { addr: String, entry: Box<Entry> },
    /// One that was running before, or has yet to hear of a cluster that is.
    Again,
}

/// How the first start went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// It is the only one, leads and knows all that was committed.
    Alone,
    /// There are others; an election takes its course.
    Among,
    /// The disk is full or does not answer; the manager goes on trying.
    Later,
}

/// Where Raft runs: on threads of its own, or (in a simulation) where the manager does.
pub enum Where {
    There(Runtime),
    Here,
}

impl Where {
    async fn on<T: Send + 'static>(&self, future: impl Future<Output = io::Result<T>> + Send + 'static) -> io::Result<T> {
        match self {
            Self::There(runtime) => runtime.spawn(future).await.map_err(io::Error::other)?,
            Self::Here => future.await,
        }
    }
}

/// What the manager's thread works with.
pub struct Supervisor<RT: AsyncRuntime> {
    pub place: Place,
    pub settings: Settings,
    pub view: Arc<View>,
    pub current: Current<RT>,
    pub network: Network,
    pub inbox: Inbox,
    pub stop: CancellationToken,
}

impl<RT: AsyncRuntime> Supervisor<RT> {
    /// Starts the thread. `ready` is answered when the manager leads for the first time, or cannot.
    pub fn spawn(self, start: Start, ready: oneshot::Sender<io::Result<Begun>>) -> io::Result<(tokio::runtime::Handle, std::thread::JoinHandle<()>)> {
        let raft = Builder::new_multi_thread().worker_threads(RAFT_THREADS).thread_name("raft").enable_all().build()?;
        let raft = Where::There(raft);
        let own = Builder::new_current_thread().enable_all().build()?;
        let handle = own.handle().clone();
        let thread = std::thread::Builder::new().name("manager".into()).spawn(move || {
            own.block_on(self.run(&raft, start, ready));
            // Nothing of Raft runs any more; what is left are timers.
            if let Where::There(raft) = raft {
                raft.shutdown_background();
            }
        })?;
        Ok((handle, thread))
    }

    /// Runs where it is called, until it is stopped.
    pub async fn run(mut self, raft: &Where, start: Start, ready: oneshot::Sender<io::Result<Begun>>) {
        let again = matches!(start, Start::Again);
        let node = match self.open(raft).await {
            Ok(node) => node,
            // Damage or a wrong key is for the user to mend; a full disk is outlived.
            Err(err) if again && is_full(&err) => {
                let _gone = ready.send(Ok(Begun::Later));
                if let Some(node) = self.open_again(raft, err.to_string()).await {
                    self.serve(raft, node).await;
                }
                return;
            }
            Err(err) => return drop(ready.send(Err(err))),
        };
        let begun = match begin(&node, &start).await {
            Ok(begun) => begun,
            Err(err) if again => {
                error!(%err, "Raft could not be started; it is opened again");
                Begun::Later
            }
            Err(err) => {
                close(raft, node).await;
                return drop(ready.send(Err(err)));
            }
        };
        self.current.set(Some(node.raft.clone()));
        let _gone = ready.send(Ok(begun));
        self.serve(raft, node).await;
    }

    async fn open(&self, raft: &Where) -> io::Result<Node<RT>> {
        let (place, view, network) = (self.place.clone(), self.view.clone(), self.network.clone());
        raft.on(async move { Node::open(&place, view, network).await }).await
    }

    async fn serve(&mut self, raft: &Where, mut node: Node<RT>) {
        loop {
            self.current.set(Some(node.raft.clone()));
            let ended = self.lead(&node).await;
            self.current.set(None);
            close(raft, node).await;
            let Err(reason) = ended else { return };
            error!(%reason, "Raft stopped; it is opened again");
            match self.open_again(raft, reason).await {
                Some(opened) => node = opened,
                None => return,
            }
            info!("Raft is open again");
        }
    }

    /// Opens Raft as soon as that is possible; none when the manager is stopped before.
    async fn open_again(&mut self, raft: &Where, mut reason: String) -> Option<Node<RT>> {
        loop {
            let refusal = Error::unavailable(format!("this manager's state cannot be written: {reason}; it goes on by itself once that is over"));
            let stop = self.stop.clone();
            let pause = async {
                tokio::select! { biased; () = stop.cancelled() => true, () = tokio::time::sleep(REOPEN) => false }
            };
            if self.inbox.refuse(&refusal, pause).await {
                return None;
            }
            let err = match self.open(raft).await {
                Ok(node) => match node.stand_if_alone().await {
                    Ok(_) => return Some(node),
                    Err(err) => {
                        close(raft, node).await;
                        err
                    }
                },
                Err(err) => err,
            };
            reason = describe(&err);
            warn!(%reason, "Raft could not be opened again");
        }
    }

    /// Leads whenever this manager is elected. Ends well when it is stopped, else with the reason.
    async fn lead(&mut self, node: &Node<RT>) -> Result<(), String> {
        loop {
            let (raft, stop) = (node.raft.clone(), self.stop.clone());
            let mut wait = Box::pin(async move {
                tokio::select! { biased; () = stop.cancelled() => None, elected = elected(&raft) => Some(elected) }
            });
            let patience = async {
                tokio::select! { biased; () = tokio::time::sleep(ELECTION) => {}, () = follows(&node.raft) => {} }
            };
            let waited = tokio::select! {
                biased;
                waited = &mut wait => Some(waited),
                () = patience => None,
            };
            let waited = match waited {
                Some(waited) => waited,
                None => self.inbox.refuse(&Error::unavailable(NO_LEADER), wait).await,
            };
            match waited {
                None => return Ok(()),
                Some(Err(reason)) => return Err(reason),
                Some(Ok(())) => {}
            }
            let leader = Leader::new(node, &self.view, &self.settings, &mut self.inbox);
            match leader.run(&self.stop).await {
                Exit::Stopped => {
                    members::hand_over(&node.raft).await;
                    return Ok(());
                }
                Exit::Lost => info!("no longer the leader"),
                Exit::Failed(reason) => return Err(reason),
            }
        }
    }
}

/// Waits until this manager leads and knows all that was committed before; an error when Raft stopped.
async fn elected<RT: AsyncRuntime>(raft: &RaftOf<RT>) -> Result<(), String> {
    let mut metrics = raft.metrics();
    loop {
        let running = metrics.borrow_watched().running_state.clone();
        if let Err(fatal) = running {
            return Err(describe(&fatal));
        }
        if raft.is_leader() {
            if raft.ensure_linearizable(openraft::ReadPolicy::ReadIndex).await.is_ok() {
                return Ok(());
            }
            // One that hands over refuses at once, and that it was asked counts as a change.
            tokio::time::sleep(AGAIN).await;
            continue;
        }
        if metrics.changed().await.is_err() {
            return Err("Raft stopped".into());
        }
    }
}

/// Waits until another manager leads.
async fn follows<RT: AsyncRuntime>(raft: &RaftOf<RT>) {
    let mut metrics = raft.metrics();
    loop {
        let leader = metrics.borrow_watched().current_leader;
        if leader.is_some_and(|leader| leader != *raft.node_id()) || metrics.changed().await.is_err() {
            return;
        }
    }
}

async fn begin<RT: AsyncRuntime>(node: &Node<RT>, start: &Start) -> io::Result<Begun> {
    if let Start::New { addr, .. } = start {
        node.initialize(addr).await?;
    }
    if !node.stand_if_alone().await? {
        return Ok(Begun::Among);
    }
    node.lead().await?;
    if let Start::New { entry, .. } = start {
        node.raft.client_write(Command(Arc::new((**entry).clone()))).await.map_err(io::Error::other)?;
    }
    Ok(Begun::Alone)
}

/// True for a full disk, also where openraft has wrapped the error into a text.
fn is_full(err: &io::Error) -> bool {
    files::is_full(err) || describe(err).contains(&io::Error::from(rustix::io::Errno::NOSPC).to_string())
}

async fn close<RT: AsyncRuntime>(raft: &Where, node: Node<RT>) {
    let closed = raft.on(node.close()).await;
    if let Err(err) = closed {
        warn!(%err, "the log was not closed cleanly; the next start repairs it");
    }
}

/// Why Raft stopped, with the cause at its bottom (openraft wraps the disk's error several times).
pub fn describe(fatal: &(dyn std::error::Error + 'static)) -> String {
    let mut text = fatal.to_string();
    let mut cause = fatal.source();
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = next.source();
    }
    text
}
