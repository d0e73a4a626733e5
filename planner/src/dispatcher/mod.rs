//! Dispatcher: the leader's sessions with its workers, as plain state.
//!
//! Owns: who has a session, what each worker was sent, when silence means that a node is down. The manager carries frames and time.
//! Invariants: the newer session of a node fences the older; a worker gets the complete set once, then differences; cost grows
//! with what changed, not with the size of the cluster.
//! Never: writes the store. What a frame or a deadline brings about is an answer of changes for the log.
//!
//! ```text
//!   Hello ──> live ──frames──> live ──deadline──> (unknown, when many are silent at once) ──> down
//!                     └──Goodbye: leaving ──> down     restarting ──> unknown for 30 s ──> down
//! ```

mod assignments;
mod deadlines;
mod endpoints;
mod rows;

#[cfg(test)]
mod tests;

use crate::control::Mint;
use crate::store::{Store, Touched};
use assignments::Sent;
use deadlines::{Deadlines, Why};
use endpoints::Tables;
use std::collections::BTreeMap;
use std::sync::Arc;
use wsw_api::entry::Change;
use wsw_api::error::{Error, Result};
use wsw_api::id::{NodeId, SessionId, TaskId};
use wsw_api::object::{NodeDescription, NodeState, NodeStatus};
use wsw_api::session::{Assignments, Goodbye, MAX_STATUSES, WorkerFrame};
use wsw_api::task::TaskStatus;
use wsw_api::time::{Nanos, SECOND, Time};

/// What the older of two sessions of one node is told.
pub const REPLACED: &str = "a newer session of this node began; if this machine did not restart, another one uses its identity";
/// What a node is told that is not part of the cluster any more.
pub const REMOVED: &str = "the node was removed from the cluster";
/// How long a node that said it restarts keeps its tasks.
const RESTART_GRACE: Nanos = 30 * SECOND;
/// Longer error texts of a status are cut: statuses live in the log and in every manager's memory.
const MAX_STATUS_TEXT: usize = 1_024;

/// When silence counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// A worker with nothing to say sends a heartbeat at least this often (ours twice as often).
    pub period: Nanos,
    /// So many periods of silence and the node is down.
    pub grace: u32,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { period: SECOND, grace: 3 }
    }
}

impl Heartbeat {
    fn timeout(&self) -> Nanos {
        self.period.saturating_mul(u64::from(self.grace))
    }
}

/// The answer to a worker's `Hello`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    pub session: SessionId,
    pub heartbeat_ns: Nanos,
    /// The session that this one replaces: close it with [`REPLACED`].
    pub replaced: Option<SessionId>,
    pub changes: Vec<Change>,
}

/// What a frame brings about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Received {
    pub changes: Vec<Change>,
    /// To be answered with `Committed` once the changes are applied.
    pub seq: Option<u64>,
    /// The session is over.
    pub ended: bool,
}

/// All sessions of a leader.
#[derive(Debug, Default)]
pub struct Sessions {
    heartbeat: Heartbeat,
    live: BTreeMap<NodeId, Session>,
    deadlines: Deadlines,
    tables: Tables,
    /// The latest moment that a caller named.
    now: Time,
    ended: Vec<(NodeId, SessionId, String)>,
}

/// One worker's session.
#[derive(Debug)]
struct Session {
    id: SessionId,
    sent: Sent,
}

impl Sessions {
    /// No sessions.
    pub fn new(heartbeat: Heartbeat) -> Self {
        Self { heartbeat, ..Self::default() }
    }

    /// The cluster's setting changed. Answers whether the workers must be told; none is blamed for having kept the old pace.
    pub fn set_heartbeat(&mut self, heartbeat: Heartbeat, now: Time) -> bool {
        if heartbeat == self.heartbeat {
            return false;
        }
        let patience = self.heartbeat.timeout().max(heartbeat.timeout());
        self.heartbeat = heartbeat;
        for node in self.live.keys() {
            self.deadlines.set(*node, now.after(patience), Why::Silent);
        }
        true
    }

    /// Begins a leadership: every ready node is unknown until its session is back.
    pub fn lead(&mut self, view: &Store, now: Time) -> Vec<Change> {
        *self = Self { now, ..Self::new(self.heartbeat) };
        for service in view.services() {
            self.tables.service(view, &service.id);
        }
        for node in view.nodes() {
            self.tables.node(view, &node.id);
        }
        let patience = self.patience();
        let mut changes = Vec::new();
        for node in view.nodes().filter(|node| node.status.state != NodeState::Down) {
            self.deadlines.set(node.id, now.after(patience), Why::NewLeader);
            if node.status.state != NodeState::Unknown {
                changes.push(status(node.id, NodeState::Unknown, "waiting for its session with the new leader", &node.status));
            }
        }
        changes
    }

    /// A worker's first frame. Refuses a node that is not in the cluster.
    #[allow(clippy::too_many_arguments)] // Each is a part of the one event; a struct would only name it twice.
    pub fn hello(
        &mut self,
        view: &Store,
        node: NodeId,
        boot: SessionId,
        description: &Arc<NodeDescription>,
        addr: &str,
        now: Time,
        mint: &mut Mint<'_>,
    ) -> Result<Welcome> {
        let Some(known) = view.node(&node) else {
            return Err(Error::not_found(format!("node {node} is not part of this cluster")));
        };
        let session = SessionId::from_bytes(mint());
        let replaced = self.live.insert(node, Session { id: session, sent: Sent::new(boot) }).map(|old| old.id);
        self.deadlines.set(node, now.after(self.heartbeat.timeout()), Why::Silent);
        let mut changes = vec![Change::NodeSession { id: node, session }];
        if known.description != *description {
            changes.push(Change::NodeDescription { id: node, description: description.clone() });
        }
        let ready = NodeStatus { state: NodeState::Ready, message: String::new(), addr: addr.to_owned() };
        if known.status != ready {
            changes.push(Change::NodeStatus { id: node, status: ready });
        }
        Ok(Welcome { session, heartbeat_ns: self.heartbeat.period, replaced, changes })
    }

    /// A live session's packets come from this address: the change, if it is another than before.
    pub fn seen_at(&self, view: &Store, node: &NodeId, addr: &str) -> Option<Change> {
        let known = view.node(node).filter(|known| known.status.addr != addr && self.live.contains_key(node))?;
        let status = NodeStatus { state: NodeState::Ready, message: String::new(), addr: addr.to_owned() };
        Some(Change::NodeStatus { id: known.id, status })
    }

    /// Any later frame; each counts as a heartbeat. An error means that the session is over: tell the worker and close.
    pub fn receive(&mut self, view: &Store, node: NodeId, session: SessionId, frame: WorkerFrame, now: Time) -> Result<Received> {
        if self.live.get(&node).is_none_or(|live| live.id != session) {
            return Err(Error::conflict(format!("session {session} of node {node} is over; begin a new one")));
        }
        self.deadlines.set(node, now.after(self.heartbeat.timeout()), Why::Silent);
        let mut received = Received::default();
        let known = view.node(&node);
        if let Some(known) = known.filter(|known| known.status.state == NodeState::Unknown) {
            received.changes.push(status(node, NodeState::Ready, "", &known.status));
        }
        match frame {
            WorkerFrame::Hello { .. } | WorkerFrame::Incarnation { .. } => return Err(Error::invalid("a second hello in one session")),
            WorkerFrame::Heartbeat => {}
            WorkerFrame::Describe(description) => {
                if known.is_some_and(|known| known.description != description) {
                    received.changes.push(Change::NodeDescription { id: node, description });
                }
            }
            WorkerFrame::Statuses { seq, rows } => {
                if rows.len() > MAX_STATUSES {
                    return Err(Error::invalid(format!("a frame of {} statuses; use at most {MAX_STATUSES}", rows.len())));
                }
                received.seq = Some(seq);
                let rows: Vec<(TaskId, TaskStatus)> = rows.into_iter().map(|(id, status)| (id, bounded(status))).collect();
                if !rows.is_empty() {
                    received.changes.push(Change::Statuses { node, session, rows });
                }
            }
            WorkerFrame::Goodbye(why) => {
                received.ended = true;
                received.changes = self.goodbye(view, node, why, now);
            }
        }
        Ok(received)
    }

    fn goodbye(&mut self, view: &Store, node: NodeId, why: Goodbye, now: Time) -> Vec<Change> {
        self.live.remove(&node);
        let (state, message) = match why {
            Goodbye::Leaving => {
                self.deadlines.clear(&node);
                (NodeState::Down, "node is leaving")
            }
            Goodbye::Restarting => {
                self.deadlines.set(node, now.after(RESTART_GRACE), Why::Restarting);
                (NodeState::Unknown, "node is restarting")
            }
        };
        view.node(&node).map(|known| status(node, state, message, &known.status)).into_iter().collect()
    }

    /// Judges deadlines. Call it after the inbound queue was drained: a frame that waits there is not silence.
    pub fn expire(&mut self, view: &Store, now: Time) -> Vec<Change> {
        self.now = self.now.max(now);
        let judged = self.deadlines.judge(now, &self.heartbeat, view.node_count());
        let mut changes = Vec::new();
        for (id, state, message) in judged {
            if state == NodeState::Down
                && let Some(session) = self.live.remove(&id)
            {
                self.ended.push((id, session.id, "no heartbeat came in time; begin a new session".to_owned()));
            }
            if let Some(node) = view.node(&id).filter(|node| node.status.state != state) {
                changes.push(status(id, state, message, &node.status));
            }
        }
        changes
    }

    /// Notes what an applied entry changed.
    pub fn touched(&mut self, view: &Store, touched: &Touched) {
        for (node, tasks) in &touched.tasks_by_node {
            if let Some(session) = self.live.get_mut(node) {
                session.sent.mark(tasks);
            }
        }
        for service in touched.services.union(&touched.endpoints) {
            self.tables.service(view, service);
        }
        for node in &touched.nodes {
            self.tables.node(view, node);
            self.look_at(view, node);
        }
        self.tables.prune(self.live.values().map(|session| session.sent.seen()));
    }

    /// A removed node's session ends; one that has joined and never begins a session goes down like one that a new leader does not hear.
    fn look_at(&mut self, view: &Store, node: &NodeId) {
        match view.node(node) {
            None => {
                self.deadlines.clear(node);
                if let Some(session) = self.live.remove(node) {
                    self.ended.push((*node, session.id, REMOVED.to_owned()));
                }
            }
            Some(known) => {
                if known.status.state == NodeState::Unknown && !self.live.contains_key(node) && !self.deadlines.has(node) {
                    self.deadlines.set(*node, self.now.after(self.patience()), Why::NewLeader);
                }
            }
        }
    }

    /// How long a node whose session is awaited gets.
    fn patience(&self) -> Nanos {
        self.heartbeat.timeout().saturating_mul(2).saturating_add(2 * SECOND)
    }

    /// Sessions that ended on this side, with the reason for their workers.
    pub fn take_ended(&mut self) -> Vec<(NodeId, SessionId, String)> {
        std::mem::take(&mut self.ended)
    }

    /// Nodes with something to be sent now.
    pub fn pending(&self, now: Time) -> Vec<NodeId> {
        let waits = self.live.iter().filter(|(_, session)| session.sent.is_pending(&self.tables, now));
        waits.map(|(node, _)| *node).collect()
    }

    /// The frames for a node: its complete set at first, then what changed.
    pub fn frames(&mut self, view: &Store, node: NodeId, now: Time) -> Vec<Assignments> {
        self.now = self.now.max(now);
        match self.live.get_mut(&node) {
            Some(session) => session.sent.frames(view, node, &self.tables, now),
            None => Vec::new(),
        }
    }

    /// The node's live session.
    pub fn session(&self, node: &NodeId) -> Option<SessionId> {
        self.live.get(node).map(|session| session.id)
    }

    /// The boot nonce that the node's live session began with.
    pub fn boot(&self, node: &NodeId) -> Option<SessionId> {
        self.live.get(node).map(|session| session.sent.boot())
    }

    /// When [`Sessions::expire`] or [`Sessions::pending`] has something next. What is pending already (its worker is slow, or its
    /// connection broke) is no reason to wake.
    pub fn next_wake(&self) -> Option<Time> {
        let flush = self.live.values().filter_map(|session| session.sent.flush_at(&self.tables)).filter(|at| *at > self.now).min();
        self.deadlines.first().into_iter().chain(flush).min()
    }
}

fn status(id: NodeId, state: NodeState, message: &str, old: &NodeStatus) -> Change {
    Change::NodeStatus { id, status: NodeStatus { state, message: message.to_owned(), addr: old.addr.clone() } }
}

/// Cuts texts that are too long, at a character boundary.
fn bounded(mut status: TaskStatus) -> TaskStatus {
    for text in [&mut status.message, &mut status.err] {
        if text.len() > MAX_STATUS_TEXT {
            let end = (0..=MAX_STATUS_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            *text = text.get(..end).unwrap_or_default().into();
        }
    }
    status
}
