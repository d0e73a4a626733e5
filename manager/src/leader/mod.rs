//! The leader's loop: one task proposes, one entry at a time.
//!
//! ```text
//!   writes ──┐
//!   frames ──┼─> drain ─> Draft (workers, writes, plan) ─> entries ─> Raft ─> applied ─> answers, acknowledgements, assignments ─┐
//!   timers ──┘      ^───────────────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//! What arrives while an entry is in flight forms the next one (group commit). Owns: the order of these steps.
//! Invariants: every decision is made on applied state; nothing is answered before it is applied; a full disk refuses writes by name and
//! nothing else. Never: decides (`planner`), writes the log (`raft`).

pub mod clock;
pub mod inbox;
pub mod members;
mod propose;
#[cfg(test)]
mod wakes;
mod workers;

use crate::own_addr::OwnAddr;
use crate::raft::machine::View;
use crate::raft::node::Node;
use clock::{Clock, Ids, Outside};
use inbox::{Inbox, Queued, Reply};
use members::Members;
use openraft::async_runtime::WatchReceiver;
use openraft::type_config::async_runtime::AsyncRuntime;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use workers::Workers;
use wsw_api::Error;
use wsw_api::entry::Change;
use wsw_api::id::NodeId;
use wsw_api::object::ManagerStatus;
use wsw_planner::dispatcher::Heartbeat;
use wsw_planner::{Agenda, Store};

/// Status rows that form one round at most: two or three entries.
const MAX_ROWS: usize = 20_000;
/// Everything is looked at again this often, in case an event was missed: the same code as for events, so it finds nothing.
const SWEEP: Duration = Duration::from_secs(30);
/// Between two looks at Raft's health and at a full disk.
const LOOK: Duration = Duration::from_secs(1);
/// Between two tries to hand frames to a worker that is behind.
const BEHIND: Duration = Duration::from_millis(5);

/// What the leader must know of its own node.
#[derive(Clone)]
pub struct Settings {
    pub node: NodeId,
    pub addr: OwnAddr,
    pub outside: Arc<dyn Outside>,
}

/// Why a leadership ended.
#[derive(Debug)]
pub enum Exit {
    Stopped,
    /// Another manager leads, or none.
    Lost,
    /// Raft stopped, with the reason.
    Failed(String),
}

/// One leadership.
pub struct Leader<'a, RT: AsyncRuntime> {
    node: &'a Node<RT>,
    view: &'a Arc<View>,
    inbox: &'a mut Inbox,
    agenda: Agenda,
    workers: Workers,
    members: Members,
    clock: Clock,
    ids: Ids,
    /// For the next round.
    writes: Vec<Queued>,
    changes: Vec<Change>,
    swept: Instant,
}

impl<'a, RT: AsyncRuntime> Leader<'a, RT> {
    /// Begins: everything is dirty, every ready node unknown until its session is back.
    pub fn new(node: &'a Node<RT>, view: &'a Arc<View>, settings: &Settings, inbox: &'a mut Inbox) -> Self {
        view.collect(true);
        let store = view.store();
        let clock = Clock::start(store.time(), settings.outside.wall());
        let mut workers = Workers::new(heartbeat(&store), settings.node, settings.addr.clone());
        let mut changes = workers.lead(&store, clock.now());
        changes.extend(moved(&store, settings));
        Self {
            node,
            view,
            inbox,
            agenda: Agenda::new(),
            workers,
            members: Members::default(),
            clock,
            ids: Ids::new(settings.outside.clone()),
            writes: Vec::new(),
            changes,
            swept: Instant::now(),
        }
    }

    /// Leads until it is over.
    pub async fn run(mut self, stop: &CancellationToken) -> Exit {
        let exit = loop {
            if let Some(exit) = self.health() {
                break exit;
            }
            if let Err(exit) = self.round().await {
                break exit;
            }
            self.trust();
            self.workers.send(&self.view.store(), self.clock.now());
            if !self.is_due() {
                let wake = self.wake();
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break Exit::Stopped,
                    Some(queued) = self.inbox.writes.recv() => self.writes.push(queued),
                    Some(arrival) = self.inbox.arrivals.recv() => self.arrive(arrival),
                    () = self.members.over() => {}
                    () = tokio::time::sleep_until(wake) => {}
                }
            } else if stop.is_cancelled() {
                break Exit::Stopped;
            }
            self.drain();
            let changes = self.members.step(&self.node.raft, &self.view.store(), self.node.space.is_low());
            self.changes.extend(changes);
        };
        self.view.collect(false);
        for queued in self.writes {
            let _gone = queued.reply.send(Reply::NotYet(Error::unavailable(crate::supervisor::NO_LEADER)));
        }
        exit
    }

    /// A new root that every node has a certificate of is believed from the next entry on.
    fn trust(&mut self) {
        if !self.changes.iter().any(|change| matches!(change, Change::FinishRotation { .. })) {
            self.changes.extend(wsw_planner::trust::finish(&self.view.store()));
        }
    }

    /// Why this leadership is over, if it is.
    fn health(&self) -> Option<Exit> {
        let running = self.node.raft.metrics().borrow_watched().running_state.clone();
        match running {
            Err(fatal) => Some(Exit::Failed(crate::supervisor::describe(&fatal))),
            Ok(()) if !self.node.raft.is_leader() => Some(Exit::Lost),
            Ok(()) => None,
        }
    }

    /// Takes what waits, without waiting, within the bounds of one round; then judges silence.
    fn drain(&mut self) {
        while self.writes.len() < inbox::MAX_WRITES
            && let Ok(queued) = self.inbox.writes.try_recv()
        {
            self.writes.push(queued);
        }
        while self.rows() < MAX_ROWS
            && let Ok(arrival) = self.inbox.arrivals.try_recv()
        {
            self.arrive(arrival);
        }
        let now = self.clock.now();
        if self.inbox.arrivals.is_empty() {
            let expired = self.workers.expire(&self.view.store(), now);
            self.changes.extend(expired);
        }
        if self.swept.elapsed() >= SWEEP {
            self.swept = Instant::now();
            self.agenda.mark_all();
        }
    }

    fn arrive(&mut self, arrival: inbox::Arrival) {
        let changes = self.workers.arrive(arrival, &self.view.store(), self.clock.now(), &mut || self.ids.mint());
        self.changes.extend(changes);
    }

    fn rows(&self) -> usize {
        let rows = |change: &Change| if let Change::Statuses { rows, .. } = change { rows.len() } else { 1 };
        self.changes.iter().map(rows).sum()
    }

    /// True when there is something for the next round already.
    fn is_due(&self) -> bool {
        !self.node.space.is_low() && (!self.writes.is_empty() || !self.changes.is_empty() || self.agenda.is_due(self.clock.now()))
    }

    /// When to look again without an event.
    fn wake(&self) -> Instant {
        let behind = if self.workers.is_behind() { BEHIND } else { LOOK };
        let soonest = (self.swept + SWEEP).min(Instant::now() + behind);
        // A full disk holds the agenda up; it is looked at when there is room.
        let agenda = self.agenda.next_wake().filter(|_| !self.node.space.is_low()).map(|at| self.clock.when(at));
        let sessions = self.workers.next_wake().map(|at| self.clock.when(at));
        agenda.into_iter().chain(sessions).fold(soonest, Instant::min)
    }
}

/// The workers' heartbeat: the cluster's setting.
fn heartbeat(store: &Store) -> Heartbeat {
    let period = store.cluster().map(|cluster| cluster.spec.heartbeat_period).filter(|period| *period != 0);
    period.map_or_else(Heartbeat::default, |period| Heartbeat { period, ..Heartbeat::default() })
}

/// The change that tells the cluster that this manager has another address than before.
fn moved(store: &Store, settings: &Settings) -> Option<Change> {
    let node = store.node(&settings.node)?;
    let own = settings.addr.get();
    let manager = node.manager.as_ref().filter(|manager| manager.addr != own.to_string())?;
    let mut moved = (**node).clone();
    moved.manager = Some(ManagerStatus { raft_id: manager.raft_id, addr: own.to_string() });
    moved.status.addr = own.ip().to_string();
    Some(Change::PutNode(Box::new(moved)))
}
