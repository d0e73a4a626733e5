//! One group commit: API writes, what workers said, and the plan that follows from both, on one copy of the applied state.
//!
//! Owns: the order (workers, writes, plan), which guards travel, and the cutting into entries.
//! Invariants: an entry is at most [`MAX_ENTRY_BYTES`]; a guard that only this draft's earlier changes make true travels in a later
//! entry than they or not at all; a refused write leaves no trace.

use crate::agenda::Agenda;
use crate::control::{self, Mint};
use crate::plan::{Piece, Plan, plan};
use crate::store::{Store, Touched};
use wsw_api::control::Request;
use wsw_api::entry::{Change, Entry, Guard, MAX_ENTRY_BYTES, Outcome};
use wsw_api::error::Result;
use wsw_api::id::{NodeId, RequestId, SessionId, TaskId};
use wsw_api::task::TaskStatus;
use wsw_api::time::Time;

/// Room that an entry keeps for its head and the names of its fields.
const MARGIN: usize = 4 * 1024;

/// What goes into the log next.
#[derive(Debug, Clone)]
pub struct Draft {
    base: Store,
    copy: Store,
    now: Time,
    done: Vec<Entry>,
    open: Entry,
    bytes: usize,
    touched: Touched,
}

impl Draft {
    /// A draft on the applied state.
    pub fn new(applied: &Store, now: Time) -> Self {
        let now = now.max(applied.time());
        let open = Entry { time: now, ..Entry::default() };
        Self { base: applied.clone(), copy: applied.clone(), now, done: Vec::new(), open, bytes: 0, touched: Touched::default() }
    }

    /// The working copy: the applied state with everything that is in the draft. The plan is not in it.
    pub fn view(&self) -> &Store {
        &self.copy
    }

    /// The cluster time of the draft.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Adds one API write. What it answers holds once the entry that names the request is applied.
    pub fn write(&mut self, request: &Request, mint: &mut Mint<'_>) -> Result<Outcome> {
        if let Some(outcome) = self.copy.outcome(&request.id) {
            return Ok(outcome);
        }
        let decision = control::handle(&self.copy, &request.write, self.now, mint)?;
        let mut guards = vec![Guard::RequestNew(request.id)];
        guards.extend(decision.guards);
        self.stage(Some((request.id, decision.outcome.clone())), guards, decision.changes);
        Ok(decision.outcome)
    }

    /// Adds changes that need no guard: statuses, sessions, the state of nodes.
    pub fn change(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Statuses { node, session, rows } => self.statuses(node, session, rows),
                change => self.stage(None, Vec::new(), vec![change]),
            }
        }
    }

    /// Plans everything that is dirty on the copy, and notes when the agenda is due again.
    pub fn plan(&mut self, agenda: &mut Agenda, mint: &mut Mint<'_>) -> Plan {
        agenda.touch(&self.touched);
        let plan = plan(&self.copy, &agenda.take(self.now), self.now, mint);
        agenda.absorb(&plan);
        for piece in &plan.pieces {
            self.piece(piece);
        }
        plan
    }

    /// The entries, to be proposed one after the other. When one is refused or lost the rest must not be proposed.
    pub fn finish(mut self) -> Vec<Entry> {
        self.cut();
        self.done
    }

    /// A frame's statuses may be more than an entry holds.
    fn statuses(&mut self, node: NodeId, session: SessionId, rows: Vec<(TaskId, TaskStatus)>) {
        let mut part = Vec::new();
        let mut bytes = 0;
        for row in rows {
            let size = crate::size::encoded(&row);
            if bytes + size > MAX_ENTRY_BYTES / 2 {
                let rows = std::mem::take(&mut part);
                self.stage(None, Vec::new(), vec![Change::Statuses { node, session, rows }]);
                bytes = 0;
            }
            bytes += size;
            part.push(row);
        }
        if !part.is_empty() {
            self.stage(None, Vec::new(), vec![Change::Statuses { node, session, rows: part }]);
        }
    }

    /// Adds to the open entry and to the copy.
    fn stage(&mut self, request: Option<(RequestId, Outcome)>, guards: Vec<Guard>, changes: Vec<Change>) {
        self.room_for(crate::size::encoded(&guards) + crate::size::encoded(&changes) + crate::size::encoded(&request));
        self.guard(&guards);
        let requests: Vec<(RequestId, Outcome)> = request.into_iter().collect();
        let entry = Entry { time: self.now, requests: requests.clone(), guards: Vec::new(), changes: changes.clone() };
        // One index for all: the copy never runs ahead of the log, and a client cannot know the version of what is not applied.
        self.copy.apply_touching(self.base.index() + 1, &entry, &mut self.touched);
        self.open.requests.extend(requests);
        self.open.changes.extend(changes);
    }

    /// Adds a piece of the plan. It was made on the copy; nothing is decided after it, so the copy stays as it is.
    fn piece(&mut self, piece: &Piece) {
        self.room_for(crate::size::encoded(&piece.guards) + crate::size::encoded(&piece.changes));
        self.guard(&piece.guards);
        self.open.changes.extend(piece.changes.iter().cloned());
    }

    /// In the first entry a guard must hold on the applied state already: what this very entry makes true needs no guard.
    fn guard(&mut self, guards: &[Guard]) {
        let first = self.done.is_empty();
        for guard in guards {
            if !first || self.base.check(guard).is_ok() {
                self.open.guards.push(guard.clone());
            }
        }
    }

    fn room_for(&mut self, bytes: usize) {
        if self.bytes + bytes > MAX_ENTRY_BYTES - MARGIN {
            self.cut();
        }
        self.bytes += bytes;
    }

    fn cut(&mut self) {
        let entry = std::mem::replace(&mut self.open, Entry { time: self.now, ..Entry::default() });
        self.bytes = 0;
        if !entry.changes.is_empty() || !entry.requests.is_empty() {
            self.done.push(entry);
        }
    }
}
