//! Cutting a plan into pieces: steps become columns, and no piece is larger than an entry may be.
//!
//! Owns: [`Piece`], its guards and its bounds. A cut is at a slot boundary, so that a task and its successor are in one piece.

use super::generic::Claim;
use super::work::{Create, Op, Work};
use crate::control::Mint;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wsw_api::entry::{Change, Guard, MAX_ENTRY_BYTES, MAX_ROWS, NewTask, NewTasks};
use wsw_api::id::{NodeId, ServiceId, TaskId};
use wsw_api::task::{DesiredState, TaskStatus};
use wsw_api::time::Time;

/// Room for rows; the rest of an entry is for its head, its guards' names and what else travels in it.
const PIECE_BYTES: usize = MAX_ENTRY_BYTES / 4 * 3;
/// Upper bounds of what a part takes in MessagePack.
const CREATE_BYTES: usize = 64;
const ROW_BYTES: usize = 26;
/// A node is named in a guard and in the list that rows refer to.
const NODE_BYTES: usize = 56;

/// Guards and changes for one entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Piece {
    pub guards: Vec<Guard>,
    pub changes: Vec<Change>,
}

/// Turns the works into pieces.
pub(super) fn pieces(works: Vec<Work<'_>>, mint: &mut Mint<'_>) -> Vec<Piece> {
    let mut cutter = Cutter::default();
    for mut work in works {
        work.ops.sort_by_key(|(group, _)| *group);
        for group in work.ops.chunk_by(|a, b| a.0 == b.0) {
            cutter.begin(&work, group);
            for (_, op) in group {
                cutter.step(&work, op, mint);
            }
        }
        cutter.end_service(&work);
        cutter.tail(work.tail);
    }
    cutter.finish()
}

#[derive(Default)]
struct Cutter {
    done: Vec<Piece>,
    open: Piece,
    nodes: BTreeSet<NodeId>,
    rows: usize,
    bytes: usize,
    columns: Columns,
}

impl Cutter {
    /// Closes the piece when the slot does not fit any more.
    fn begin(&mut self, work: &Work<'_>, group: &[(u32, Op)]) {
        let bytes: usize = group.iter().map(|(_, op)| upper_bound(work, op)).sum();
        if self.rows + group.len() > MAX_ROWS || self.bytes + bytes > PIECE_BYTES {
            self.end_service(work);
            self.cut();
        }
    }

    fn step(&mut self, work: &Work<'_>, op: &Op, mint: &mut Mint<'_>) {
        self.rows += 1;
        self.bytes += ROW_BYTES;
        let columns = &mut self.columns;
        match op {
            Op::Judge(id, judgement) => columns.judge.entry(*judgement).or_default().push(*id),
            Op::Desired(id, desired) => columns.desired.entry(*desired).or_default().push(*id),
            Op::Reap(id) => columns.reap.push(*id),
            Op::Assign(id, node) => {
                let at = columns.assign_nodes.at(*node);
                columns.assign.push((*id, at));
                self.node(*node);
            }
            Op::Explain(id, reason) => columns.explain.entry(reason.clone()).or_default().push(*id),
            Op::Claim(id, claim) => {
                self.bytes += columns.claim(*id, claim);
            }
            Op::Create(at) => {
                if let Some(create) = work.creates.get(*at as usize) {
                    self.create(work, create, TaskId::from_bytes(mint()));
                }
            }
        }
    }

    fn create(&mut self, work: &Work<'_>, create: &Create, id: TaskId) {
        self.bytes += CREATE_BYTES;
        let (service, template) = (work.service.id, work.service.template);
        let waits = create.node.is_some() && create.reason.is_some();
        let (new, nodes) = self.columns.create.entry((waits, create.desired, create.restart_at, create.attempts)).or_insert_with(|| {
            let (desired, restart_at, attempts, job_iteration) = (create.desired, create.restart_at, create.attempts, work.job.unwrap_or_default());
            let new = NewTasks { service, template, desired, restart_at, job_iteration, nodes: Vec::new(), rows: Vec::new(), attempts };
            (new, NodeList::default())
        });
        new.rows.push(NewTask { id, slot: create.slot, node: create.node.map(|node| nodes.at(node)), replaces: create.replaces });
        if let Some(reason) = &create.reason {
            self.columns.explain.entry(reason.clone()).or_default().push(id);
            self.rows += 1;
            self.bytes += ROW_BYTES;
        }
        if let Some(claim) = &create.claim {
            self.bytes += self.columns.claim(id, claim) + ROW_BYTES;
            self.rows += 1;
        }
        if let Some(node) = create.node {
            self.node(node);
        }
    }

    fn node(&mut self, node: NodeId) {
        if self.nodes.insert(node) {
            self.bytes += NODE_BYTES;
        }
    }

    /// Writes the columns of the service.
    fn end_service(&mut self, work: &Work<'_>) {
        let columns = std::mem::take(&mut self.columns);
        if !columns.create.is_empty() {
            let (service, template) = (work.service.id, work.service.template);
            self.open.guards.extend([Guard::ServiceExists(service), Guard::TemplateExists(service, template)]);
        }
        columns.write(work.now, &mut self.open.changes);
    }

    fn tail(&mut self, tail: Vec<Change>) {
        self.bytes += tail.iter().map(crate::size::encoded).sum::<usize>();
        self.open.changes.extend(tail);
    }

    fn cut(&mut self) {
        let mut piece = std::mem::take(&mut self.open);
        piece.guards.extend(std::mem::take(&mut self.nodes).into_iter().map(Guard::NodeExists));
        (self.rows, self.bytes) = (0, 0);
        if !piece.changes.is_empty() {
            self.done.push(piece);
        }
    }

    fn finish(mut self) -> Vec<Piece> {
        self.cut();
        self.done
    }
}

/// What all new tasks of a change share: whether they wait on their node, the desired state, when they may start, attempts so far.
type Alike = (bool, DesiredState, Option<Time>, u32);

/// The steps of one service in the open piece, by kind.
#[derive(Default)]
struct Columns {
    judge: BTreeMap<super::work::Judgement, Vec<TaskId>>,
    desired: BTreeMap<DesiredState, Vec<TaskId>>,
    reap: Vec<TaskId>,
    create: BTreeMap<Alike, (NewTasks, NodeList)>,
    assign_nodes: NodeList,
    assign: Vec<(TaskId, u32)>,
    explain: BTreeMap<Arc<str>, Vec<TaskId>>,
    /// Counted resources are alike for many tasks, named ones are each a task's.
    claims: BTreeMap<Claim, Vec<TaskId>>,
}

/// What a step takes at most.
fn upper_bound(work: &Work<'_>, op: &Op) -> usize {
    let claim = |claim: &Claim| crate::size::encoded(claim) + ROW_BYTES;
    match op {
        Op::Create(at) => {
            let given = work.creates.get(*at as usize).and_then(|create| create.claim.as_ref());
            CREATE_BYTES + NODE_BYTES + given.map_or(0, claim)
        }
        Op::Claim(_, given) => claim(given),
        _ => ROW_BYTES,
    }
}

impl Columns {
    /// Adds the claim; answers the bytes that it takes beside its row.
    fn claim(&mut self, id: TaskId, claim: &Claim) -> usize {
        let known = self.claims.contains_key(claim);
        self.claims.entry(claim.clone()).or_default().push(id);
        if known { 0 } else { crate::size::encoded(claim) }
    }

    fn write(self, now: Time, changes: &mut Vec<Change>) {
        for (judgement, tasks) in self.judge {
            let (message, err) = judgement.texts();
            let status = TaskStatus { err: err.into(), ..TaskStatus::new(judgement.state(), now, message) };
            changes.push(Change::Judge { status, tasks });
        }
        changes.extend(self.desired.into_iter().map(|(desired, tasks)| Change::SetDesired { desired, tasks }));
        if !self.reap.is_empty() {
            changes.push(Change::RemoveTasks(self.reap));
        }
        changes.extend(self.create.into_iter().map(|((waits, ..), (new, nodes))| {
            let new = NewTasks { nodes: nodes.nodes, ..new };
            if waits { Change::CreateWaiting(new) } else { Change::CreateTasks(new) }
        }));
        if !self.assign.is_empty() {
            changes.push(Change::AssignTasks { nodes: self.assign_nodes.nodes, rows: self.assign });
        }
        changes.extend(self.claims.into_iter().map(|(resources, tasks)| Change::Claim { resources, tasks }));
        changes.extend(self.explain.into_iter().map(|(reason, tasks)| Change::Explain { reason, tasks }));
    }
}

/// Nodes that rows refer to by number.
#[derive(Default)]
struct NodeList {
    nodes: Vec<NodeId>,
    places: BTreeMap<NodeId, u32>,
}

impl NodeList {
    fn at(&mut self, node: NodeId) -> u32 {
        *self.places.entry(node).or_insert_with(|| {
            self.nodes.push(node);
            u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX)
        })
    }
}

/// Services that a piece makes tasks of; for tests and logs.
impl Piece {
    pub fn services(&self) -> impl Iterator<Item = ServiceId> + '_ {
        self.changes.iter().filter_map(|change| if let Change::CreateTasks(new) | Change::CreateWaiting(new) = change { Some(new.service) } else { None })
    }
}
