//! The workers' connections: carries `Sessions`' answers to the right link, and acknowledges what is committed.
//!
//! Owns: which connection belongs to which session, frames that wait for a slow worker. Invariants: a status is acknowledged after its
//! entry is applied, never before; new assignments are made only for a worker that has taken the last ones.
//! Never: decides what a worker is sent (`planner::dispatcher`).

use super::inbox::{Arrival, ConnectionId, Link};
use crate::asking;
use crate::own_addr::OwnAddr;
use std::collections::{BTreeMap, VecDeque};
use tokio::sync::mpsc::error::TrySendError;
use tracing::{debug, info};
use wsw_api::entry::Change;
use wsw_api::id::{NodeId, SessionId};
use wsw_api::session::{ManagerFrame, Managers, WorkerFrame};
use wsw_api::time::Time;
use wsw_planner::control::Mint;
use wsw_planner::dispatcher::{Heartbeat, REPLACED, Sessions};
use wsw_planner::{Store, Touched};

struct Connection {
    link: Link,
    session: Option<(NodeId, SessionId)>,
    /// What it was last told of the managers.
    told: Option<Managers>,
    /// Frames that the worker has not taken yet.
    waiting: VecDeque<ManagerFrame>,
}

/// All connections of a leader.
pub struct Workers {
    sessions: Sessions,
    connections: BTreeMap<ConnectionId, Connection>,
    by_node: BTreeMap<NodeId, ConnectionId>,
    /// Status frames whose changes are in the next entries.
    unacknowledged: Vec<(ConnectionId, u64)>,
    /// This node, which leads, and where workers of this process are seen.
    own: NodeId,
    addr: OwnAddr,
}

impl Workers {
    /// No connections.
    pub fn new(heartbeat: Heartbeat, own: NodeId, addr: OwnAddr) -> Self {
        let (connections, by_node) = (BTreeMap::new(), BTreeMap::new());
        Self { sessions: Sessions::new(heartbeat), connections, by_node, unacknowledged: Vec::new(), own, addr }
    }

    /// A leadership begins.
    pub fn lead(&mut self, view: &Store, now: Time) -> Vec<Change> {
        self.sessions.lead(view, now)
    }

    /// Takes in what a connection brings; the changes are for the log.
    pub fn arrive(&mut self, arrival: Arrival, view: &Store, now: Time, mint: &mut Mint<'_>) -> Vec<Change> {
        match arrival {
            Arrival::Opened(id, link) => {
                self.connections.insert(id, Connection { link, session: None, told: None, waiting: VecDeque::new() });
                Vec::new()
            }
            Arrival::Closed(id) => {
                self.close(id);
                Vec::new()
            }
            Arrival::Frame(id, frame) => self.frame(id, frame, view, now, mint),
        }
    }

    fn frame(&mut self, id: ConnectionId, frame: WorkerFrame, view: &Store, now: Time, mint: &mut Mint<'_>) -> Vec<Change> {
        let Some(connection) = self.connections.get(&id) else { return Vec::new() };
        let answer = match (connection.session, frame) {
            (None, WorkerFrame::Hello { node, .. }) if connection.link.from.as_ref().is_some_and(|from| from.node != node) => {
                Err(wsw_api::Error::forbidden(format!("this certificate is not node {node}'s")))
            }
            (None, WorkerFrame::Hello { node, boot, description }) => {
                let addr = seen_at(connection, &self.addr);
                self.sessions.hello(view, node, boot, &description, &addr, now, mint).map(|welcome| {
                    if let Some(replaced) = welcome.replaced {
                        self.end(node, replaced, REPLACED);
                    }
                    self.by_node.insert(node, id);
                    if let Some(connection) = self.connections.get_mut(&id) {
                        connection.session = Some((node, welcome.session));
                        connection.waiting.push_back(ManagerFrame::Welcome { session: welcome.session, heartbeat_ns: welcome.heartbeat_ns });
                    }
                    self.tell(view);
                    info!(%node, "a worker's session begins");
                    welcome.changes
                })
            }
            (None, _) => Err(wsw_api::Error::invalid("the first frame of a session is a hello")),
            (Some((node, session)), frame) => {
                let moved = matches!(frame, WorkerFrame::Describe(_)).then(|| seen_at(connection, &self.addr));
                self.sessions.receive(view, node, session, frame, now).map(|mut received| {
                    if let Some(addr) = moved {
                        received.changes.extend(self.sessions.seen_at(view, &node, &addr));
                    }
                    if let Some(seq) = received.seq {
                        self.unacknowledged.push((id, seq));
                    }
                    if received.ended {
                        self.close(id);
                    }
                    received.changes
                })
            }
        };
        answer.unwrap_or_else(|err| {
            self.refuse(id, &err.message);
            Vec::new()
        })
    }

    /// The cluster's heartbeat period may have changed: tells the workers when it has.
    pub fn set_heartbeat(&mut self, heartbeat: Heartbeat, now: Time) {
        if self.sessions.set_heartbeat(heartbeat, now) {
            for connection in self.connections.values_mut().filter(|connection| connection.session.is_some()) {
                connection.waiting.push_back(ManagerFrame::Heartbeat { heartbeat_ns: heartbeat.period });
            }
        }
    }

    /// Judges silence. Call it after the arrivals were drained.
    pub fn expire(&mut self, view: &Store, now: Time) -> Vec<Change> {
        self.sessions.expire(view, now)
    }

    /// The entries with all changes handed out so far are applied.
    pub fn committed(&mut self) {
        let mut last = BTreeMap::new();
        for (id, seq) in self.unacknowledged.drain(..) {
            last.insert(id, seq);
        }
        for (id, seq) in last {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.waiting.push_back(ManagerFrame::Committed { seq });
            }
        }
    }

    /// Notes what applied entries changed.
    pub fn touched(&mut self, view: &Store, touched: &Touched) {
        self.sessions.touched(view, touched);
        if !touched.nodes.is_empty() || touched.cluster {
            self.tell(view);
        }
    }

    /// Tells each worker of the managers, of its own role and whom to believe, where it does not know that yet.
    fn tell(&mut self, view: &Store) {
        let (peers, trust) = (asking::peers(view), wsw_planner::trust::wanted(view));
        let incarnation = view.cluster().map_or(0, |cluster| cluster.incarnation);
        for connection in self.connections.values_mut() {
            let Some((node, _)) = connection.session else { continue };
            let managers = Managers { peers: peers.clone(), leader: Some(self.own), role: asking::role(view, &node), incarnation, trust: trust.clone() };
            if connection.told.as_ref() != Some(&managers) {
                connection.told = Some(managers.clone());
                connection.waiting.push_back(ManagerFrame::Managers(managers));
            }
        }
    }

    /// Sends what there is to send, as far as the workers take it.
    pub fn send(&mut self, view: &Store, now: Time) {
        for (node, session, reason) in self.sessions.take_ended() {
            self.end(node, session, &reason);
        }
        for node in self.sessions.pending(now) {
            let Some(connection) = self.by_node.get(&node).and_then(|id| self.connections.get_mut(id)) else { continue };
            connection.flush();
            if connection.waiting.is_empty() {
                connection.waiting.extend(self.sessions.frames(view, node, now).into_iter().map(ManagerFrame::Assignments));
            }
        }
        let gone: Vec<ConnectionId> = self.connections.iter_mut().filter_map(|(id, connection)| (!connection.flush()).then_some(*id)).collect();
        gone.into_iter().for_each(|id| self.close(id));
    }

    /// True when a worker has not taken all of its frames.
    pub fn is_behind(&self) -> bool {
        self.connections.values().any(|connection| !connection.waiting.is_empty())
    }

    /// When something is due by itself.
    pub fn next_wake(&self) -> Option<Time> {
        self.sessions.next_wake()
    }

    fn end(&mut self, node: NodeId, session: SessionId, reason: &str) {
        let id = self.by_node.get(&node).copied();
        if let Some(id) = id.filter(|id| self.connections.get(id).is_some_and(|connection| connection.session == Some((node, session)))) {
            self.refuse(id, reason);
        }
    }

    fn refuse(&mut self, id: ConnectionId, reason: &str) {
        debug!(reason, "a worker's session ends");
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.waiting.push_back(ManagerFrame::Refused { reason: reason.to_owned() });
            // A worker that does not even take this finds its connection closed.
            connection.flush();
        }
        self.close(id);
    }

    fn close(&mut self, id: ConnectionId) {
        if let Some((node, _)) = self.connections.remove(&id).and_then(|connection| connection.session)
            && self.by_node.get(&node) == Some(&id)
        {
            self.by_node.remove(&node);
        }
    }
}

/// Where a worker's packets come from now: a connection goes on when its machine gets another address.
fn seen_at(connection: &Connection, own: &OwnAddr) -> String {
    connection.link.from.as_ref().map_or_else(|| own.get().ip(), |from| (from.addr)()).to_string()
}

impl Connection {
    /// Hands over as many frames as the link takes. False when the worker is gone.
    fn flush(&mut self) -> bool {
        while let Some(frame) = self.waiting.pop_front() {
            match self.link.frames.try_send(frame) {
                Ok(()) => {}
                Err(TrySendError::Full(frame)) => {
                    self.waiting.push_front(frame);
                    return true;
                }
                Err(TrySendError::Closed(_)) => return false,
            }
        }
        true
    }
}
