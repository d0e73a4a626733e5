//! Asking a manager: whoever leads, any of them reads and writes.
//!
//! Owns: request ids and their retries, who leads, read indexes. Invariants: a write is answered once it is applied, refused for good, or its
//! outcome stayed unknown, and then the answer says so; a retry bears the same id, whoever leads by then; what was acknowledged before a read
//! began is in what it reads, unless there is no leader: then the answer may be stale. Never: decides (`leader`).

use crate::leader::clock;
use crate::leader::inbox::{Queued, Reply as Answered};
use crate::leader::members;
use crate::manager::{Manager, internal};
use crate::raft::disk::Folder;
use crate::raft::link::{Failure, Lane};
use crate::raft::types::RaftId;
use crate::raft::wire::{Ask, ReadIndex, Reply, Written};
use crate::supervisor::{NO_LEADER, RaftOf};
use openraft::async_runtime::WatchReceiver;
use openraft::type_config::async_runtime::AsyncRuntime;
use openraft::{Instant as _, ReadPolicy};
use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;
use wsw_api::control::{Request, Write};
use wsw_api::entry::Outcome;
use wsw_api::id::{NodeId, RequestId};
use wsw_api::session::{ManagerPeer, Managers};
use wsw_api::spec::NodeRole;
use wsw_api::{Error, Result};
use wsw_planner::Store;

/// A write is retried for this long while there is no leader; a user waits no longer for an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two tries of a write.
const RETRY: Duration = Duration::from_millis(20);
/// A read answers with what is known here when nobody has led for so long, or a leader has not answered for so long.
const READ_TIMEOUT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3));
/// One question for a read index: longer than a connection may be silent before it is replaced, so that a read that meets a dead one gets
/// another, and shorter than a read waits, so that the connection hears of it.
const INDEX: Duration = Duration::from_millis(900);
/// A leader that has not heard a majority for so long leads nobody: several heartbeats and a pause of a busy machine.
const QUORUM: Duration = Duration::from_secs(2);
/// A manager that has just joined waits this long for the state.
const FIRST_STATE: Duration = Duration::from_secs(5);

/// Who leads, as this manager knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leading {
    Here,
    /// Raft id and address.
    There(RaftId, String),
    Nobody,
    /// Raft is being opened again here.
    Closed,
}

impl<RT: AsyncRuntime> Manager<RT> {
    /// Who leads.
    pub fn leading(&self) -> Leading {
        let Some(raft) = self.raft() else { return Leading::Closed };
        // Before the metrics are borrowed: it borrows them itself, and Raft, which writes them, may wait in between.
        let leads = raft.is_leader();
        let metrics = raft.metrics();
        let metrics = metrics.borrow_watched();
        if leads {
            let alone = metrics.membership_config.membership().voter_ids().nth(1).is_none();
            let heard = metrics.last_quorum_acked.is_some_and(|at| at.into_inner().elapsed() < QUORUM);
            return if alone || heard { Leading::Here } else { Leading::Nobody };
        }
        let leader = metrics.current_leader.filter(|leader| *leader != self.raft_id());
        let addr = |leader| metrics.membership_config.membership().get_node(&leader).map(|node| node.addr.clone()).unwrap_or_default();
        leader.map_or(Leading::Nobody, |leader| Leading::There(leader, addr(leader)))
    }

    /// True while this manager leads.
    pub fn leads(&self) -> bool {
        self.leading() == Leading::Here
    }

    /// The node that leads.
    pub fn leader(&self) -> Option<NodeId> {
        match self.leading() {
            Leading::Here => Some(self.node_id()),
            Leading::There(leader, _) => {
                self.store().nodes().find(|node| node.manager.as_ref().is_some_and(|manager| manager.raft_id == leader)).map(|node| node.id)
            }
            Leading::Nobody | Leading::Closed => None,
        }
    }

    /// What a node is told of the managers.
    pub fn managers(&self, node: &NodeId) -> Managers {
        let store = self.store();
        Managers { peers: peers(&store), leader: self.leader(), role: role(&store, node), incarnation: self.incarnation().unwrap_or_default(), trust: None }
    }

    /// The managers that are not heard: as the leader said at the last read, or as this one finds while there is no leader.
    pub fn unreachable(&self) -> BTreeSet<NodeId> {
        let store = self.store();
        let silent: BTreeSet<RaftId> = match self.leading() {
            Leading::Here => self.silent().into_iter().collect(),
            Leading::There(..) => self.0.silent.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect(),
            Leading::Nobody | Leading::Closed => {
                let managers = store.nodes().filter_map(|node| node.manager.as_ref());
                managers.map(|manager| manager.raft_id).filter(|id| *id != self.raft_id() && !self.0.links.hears(*id)).collect()
            }
        };
        store.nodes().filter(|node| node.manager.as_ref().is_some_and(|manager| silent.contains(&manager.raft_id))).map(|node| node.id).collect()
    }

    /// The applied state after a read index: what was acknowledged before this call is in it. Without a leader it may be stale.
    pub async fn read(&self) -> Result<Store> {
        if !self.read_index().await {
            tracing::warn!("no leader answers; what is read here may be stale");
        }
        if self.store().cluster().is_none() {
            let mut applied = self.applied();
            let loaded = async { while self.store().cluster().is_none() && applied.changed().await.is_ok() {} };
            let _ = tokio::time::timeout(FIRST_STATE, loaded).await;
        }
        let store = self.store();
        // A full disk at the start, or nobody has sent the state to a new manager.
        store.cluster().is_some().then_some(store).ok_or_else(|| Error::unavailable("this manager's state is not loaded yet; it goes on trying"))
    }

    /// The applied state after a read index; refused without a leader.
    pub async fn read_surely(&self) -> Result<Store> {
        if self.read_index().await { Ok(self.store()) } else { Err(Error::unavailable(NO_LEADER)) }
    }

    /// True once all that was acknowledged before is applied here.
    async fn read_index(&self) -> bool {
        let begun = Instant::now();
        let mut led = begun;
        while led.elapsed() < READ_TIMEOUT.0 && begun.elapsed() < READ_TIMEOUT.1 {
            match tokio::time::timeout(READ_TIMEOUT.0, self.ask_index(self.leading())).await {
                Ok(Some(read)) => return read,
                Ok(None) | Err(_) => tokio::time::sleep(RETRY).await,
            }
            // Somebody led while it was asked: that it did not answer is another matter.
            if matches!(self.leading(), Leading::Here | Leading::There(..)) {
                led = Instant::now();
            }
        }
        false
    }

    /// One try: whether the state is as new as it must be; none when that is not known.
    async fn ask_index(&self, leading: Leading) -> Option<bool> {
        let read = match leading {
            Leading::Here => self.raft()?.ensure_linearizable(ReadPolicy::ReadIndex).await.is_ok(),
            Leading::There(leader, addr) => match self.ask(leader, &addr, Lane::Control, &Ask::ReadIndex, INDEX).await {
                Ok(Reply::Read(ReadIndex { index, silent })) => {
                    *self.0.silent.lock().unwrap_or_else(PoisonError::into_inner) = silent;
                    self.applied().wait_for(|applied| *applied >= index).await.is_ok()
                }
                _ => false,
            },
            Leading::Nobody => false,
            // Nothing will be known before it is open again.
            Leading::Closed => return Some(false),
        };
        read.then_some(true)
    }

    /// Asks the one that leads. When another leads, no answer will come from the old one that counts.
    async fn ask(&self, leader: RaftId, addr: &str, lane: Lane, ask: &Ask, limit: Duration) -> std::result::Result<Reply, Failure> {
        tokio::select! {
            biased;
            answer = self.0.links.ask(leader, addr, lane, ask, limit) => answer,
            () = self.succeeded(leader) => Err(Failure::Lost(leader, "another manager leads".into())),
        }
    }

    /// Completes when this manager knows that another than this one leads.
    async fn succeeded(&self, leader: RaftId) {
        let Some(raft) = self.raft() else { return std::future::pending().await };
        let mut metrics = raft.server_metrics();
        loop {
            let current = metrics.borrow_watched().current_leader;
            if current.is_some_and(|current| current != leader) {
                return;
            }
            if metrics.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Carries out one write.
    pub async fn write(&self, write: Write) -> Result<Outcome> {
        let id = RequestId::from_bytes(clock::id(&*self.0.outside).map_err(internal)?);
        self.request(Request { id, write }).await
    }

    /// Carries out one write under its id, here or at the leader: one that was applied before is answered from memory.
    pub async fn request(&self, request: Request) -> Result<Outcome> {
        let deadline = Instant::now() + WRITE_TIMEOUT;
        let mut unknown = None;
        loop {
            let last = match self.try_once(&request, deadline).await {
                Written::Answer(answer) => return answer,
                Written::NotYet(reason) => reason,
                Written::Unknown(reason) => unknown.insert(outcome_unknown(&reason)).clone(),
            };
            if Instant::now() + RETRY > deadline || self.0.stop.is_cancelled() {
                return Err(unknown.unwrap_or(last));
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn try_once(&self, request: &Request, deadline: Instant) -> Written {
        match self.leading() {
            Leading::Nobody => Written::NotYet(Error::unavailable(NO_LEADER)),
            Leading::There(leader, addr) => {
                let limit = deadline.saturating_duration_since(Instant::now()).max(RETRY);
                match self.ask(leader, &addr, Lane::Bulk, &Ask::Write(Box::new(request.clone())), limit).await {
                    Ok(Reply::Write(written)) => written,
                    Ok(Reply::NotLeader) => Written::NotYet(Error::unavailable(NO_LEADER)),
                    Ok(Reply::Failed(reason)) => Written::Unknown(reason),
                    Ok(_) => Written::Unknown("the leader answered another question".into()),
                    Err(Failure::Away(..)) => Written::NotYet(Error::unavailable(NO_LEADER)),
                    Err(failure) => Written::Unknown(failure.to_string()),
                }
            }
            Leading::Here | Leading::Closed => {
                let (reply, answer) = oneshot::channel();
                if !self.queue(Queued { request: request.clone(), reply }).await {
                    return Written::NotYet(Error::unavailable("this manager has stopped"));
                }
                // A leader that has lost its majority does not know it at once, and answers nothing.
                match tokio::time::timeout_at(deadline, answer).await {
                    Ok(Ok(Answered::Answer(answer))) => Written::Answer(answer),
                    Ok(Ok(Answered::NotYet(reason))) => Written::NotYet(reason),
                    Ok(Ok(Answered::Unknown(reason))) => Written::Unknown(reason),
                    Ok(Err(_)) => Written::Unknown("this manager has stopped".into()),
                    Err(_) => Written::Unknown(NO_LEADER.into()),
                }
            }
        }
    }

    /// Hands a write to the leader's loop of this process; false when there is none any more.
    pub(crate) async fn queue(&self, queued: Queued) -> bool {
        self.0.outbox.writes.send(queued).await.is_ok()
    }

    /// The Raft that runs now.
    pub(crate) fn raft(&self) -> Option<RaftOf<RT>> {
        self.0.current.get()
    }

    /// Its id among the managers.
    pub fn raft_id(&self) -> RaftId {
        self.0.place.id
    }

    /// Where snapshots lie, and what they are encrypted with.
    pub(crate) fn folder(&self) -> &Folder {
        &self.0.place.folder
    }

    /// The managers that the leader, which this is, does not hear.
    pub(crate) fn silent(&self) -> Vec<RaftId> {
        self.raft().map(|raft| members::silent(&raft, &self.store())).unwrap_or_default()
    }
}

/// All managers of the state.
pub fn peers(store: &Store) -> Vec<ManagerPeer> {
    store.nodes().filter_map(|node| Some(ManagerPeer { node: node.id, addr: node.manager.as_ref()?.addr.clone() })).collect()
}

/// What a node is to be now: one that is to go stays a manager until it is out of Raft.
pub fn role(store: &Store, node: &NodeId) -> NodeRole {
    store.node(node).filter(|node| node.spec.role == NodeRole::Manager || node.manager.is_some()).map_or(NodeRole::Worker, |_| NodeRole::Manager)
}

fn outcome_unknown(reason: &str) -> Error {
    Error::unavailable(format!("the outcome of this request is unknown, it may or may not have been carried out: {reason}"))
}
