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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, World, node_id, session, spec};
    use wsw_api::control::Write;
    use wsw_api::entry::Applied;
    use wsw_api::task::TaskState;

    fn request(number: u64, name: &str) -> Request {
        let write = Write::CreateService { spec: Box::new(spec(name, 2)) };
        Request { id: RequestId::from_bytes(fixture::bytes(8, number)), write }
    }

    #[test]
    fn a_write_and_its_plan_are_one_entry_and_a_retry_answers_from_memory() {
        let mut world = World::new(2);
        let mut mint = fixture::counter(5);
        let mut draft = Draft::new(&world.store, Time(5));
        let first = draft.write(&request(1, "web"), &mut mint).unwrap();
        assert_eq!(draft.write(&request(1, "web"), &mut mint).unwrap(), first);
        assert!(draft.write(&request(2, "web"), &mut mint).is_err(), "the name is taken within the draft");
        draft.plan(&mut world.agenda, &mut mint);
        let entries = draft.finish();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].requests, [(request(1, "web").id, first.clone())]);
        assert_eq!(world.commit(&entries[0]), Applied::Done);
        assert_eq!(world.store.task_count(), 2);
        assert!(matches!(world.commit(&entries[0]), Applied::Refused(_)), "once only");
        let mut again = Draft::new(&world.store, Time(6));
        assert_eq!(again.write(&request(1, "web"), &mut mint).unwrap(), first);
        assert!(again.finish().is_empty());
    }

    #[test]
    fn an_entry_worked_out_on_an_older_state_is_refused() {
        let mut world = World::new(1);
        let mut mint = fixture::counter(5);
        let mut entries = Vec::new();
        for number in 1..=2 {
            let mut draft = Draft::new(&world.store, Time(5));
            draft.write(&request(number, "web"), &mut mint).unwrap();
            entries.extend(draft.finish());
        }
        assert_eq!(world.commit(&entries[0]), Applied::Done);
        let Applied::Refused(error) = world.commit(&entries[1]) else { panic!("two services of one name") };
        assert_eq!(error.message, "service web already exists");
    }

    #[test]
    fn many_statuses_are_cut_into_entries() {
        let mut world = World::new(1);
        world.create(spec("web", 2_000));
        let long: std::sync::Arc<str> = "x".repeat(1_000).into();
        let row = |id: TaskId| (id, TaskStatus { err: long.clone(), ..TaskStatus::new(TaskState::Failed, Time(9), "") });
        let rows: Vec<_> = world.store.tasks().map(|task| row(task.id)).collect();
        let mut draft = Draft::new(&world.store, Time(9));
        draft.change(vec![Change::Statuses { node: node_id(1), session: session(1), rows }]);
        let entries = draft.finish();
        assert!(entries.len() > 1);
        for entry in &entries {
            assert!(crate::size::encoded(entry) <= MAX_ENTRY_BYTES);
            assert_eq!(world.commit(entry), Applied::Done);
        }
        assert!(world.store.tasks().all(|task| task.status.state == TaskState::Failed));
    }
}
