//! `plan`: what must change so that the state is what its users asked for.
//!
//! Owns: the order of the work (orchestrate, then schedule, then cut into pieces) and which services a dirty mark leads to.
//! ```text
//!   Dirty ─> scope ─> orchestrate each service (Work: ops, creates, waiting) ─> schedule ─> emit (pieces)
//! ```
//! Invariants: reads state, never events; planning a settled state gives an empty plan; a slot has one runnable task outside a
//! rollout; a desired state never moves back; the same inputs give the same plan.

mod emit;
mod filter;
mod generic;
mod global;
mod history;
mod job;
mod nodes;
mod removal;
mod replicated;
mod restart;
mod schedule;
mod slot;
mod spread;
mod stale;
mod update;
mod work;

#[cfg(test)]
mod fit_tests;
#[cfg(test)]
mod generic_tests;
#[cfg(test)]
mod job_tests;
#[cfg(test)]
mod placement_tests;
#[cfg(test)]
mod restart_tests;
#[cfg(test)]
mod tests;

pub use emit::Piece;
pub use stale::is_current;

use crate::Store;
use crate::control::Mint;
use std::collections::{BTreeMap, BTreeSet};
use work::Work;
use wsw_api::entry::{Change, Guard};
use wsw_api::id::{NodeId, ServiceId};
use wsw_api::spec::ServiceMode;
use wsw_api::time::Time;

/// Where a decision may be due.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dirty {
    pub services: BTreeSet<ServiceId>,
    /// Nodes whose record changed: state, availability, labels, description.
    pub nodes: BTreeSet<NodeId>,
    /// Some node has more room than before.
    pub capacity: bool,
    /// Everything: a new leader, the slow sweep, a refused entry.
    pub all: bool,
}

impl Dirty {
    /// Everything is dirty.
    pub fn everything() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// True when there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        !self.all && !self.capacity && self.services.is_empty() && self.nodes.is_empty()
    }
}

/// What could not be done, in Swarm's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    pub service: ServiceId,
    /// How many tasks it is about.
    pub tasks: u32,
    pub text: String,
}

/// The answer of [`plan`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Each fits one entry and keeps every property by itself; none refers to a later one.
    pub pieces: Vec<Piece>,
    /// For each service that was looked at: when to look again without an event.
    pub wakes: BTreeMap<ServiceId, Option<Time>>,
    pub reasons: Vec<Reason>,
}

impl Plan {
    /// True when nothing changes.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The earliest moment at which something is due by itself.
    pub fn wake_at(&self) -> Option<Time> {
        self.wakes.values().flatten().min().copied()
    }

    /// All changes of all pieces, in order.
    pub fn changes(&self) -> impl Iterator<Item = &Change> + '_ {
        self.pieces.iter().flat_map(|piece| &piece.changes)
    }

    /// All guards of all pieces.
    pub fn guards(&self) -> impl Iterator<Item = &Guard> + '_ {
        self.pieces.iter().flat_map(|piece| &piece.guards)
    }
}

/// Decides everything that `dirty` asks for.
pub fn plan(view: &Store, dirty: &Dirty, now: Time, mint: &mut Mint<'_>) -> Plan {
    let mut works: Vec<Work<'_>> = scope(view, dirty).iter().filter_map(|id| orchestrate(view, id, now)).collect();
    let reasons = schedule::place(view, &mut works);
    let wakes = works.iter().map(|work| (work.service.id, work.wake)).collect();
    Plan { pieces: emit::pieces(works, mint), wakes, reasons }
}

/// The services that a dirty mark may concern.
fn scope(view: &Store, dirty: &Dirty) -> BTreeSet<ServiceId> {
    if dirty.all {
        return view.all_services().map(|service| service.id).collect();
    }
    let mut services = dirty.services.clone();
    for node in &dirty.nodes {
        services.extend(view.tasks_on_node(node).map(|task| task.service));
    }
    if dirty.capacity || !dirty.nodes.is_empty() {
        services.extend(view.services_waiting());
        services.extend(view.global_services());
    }
    services
}

fn orchestrate<'a>(view: &'a Store, id: &ServiceId, now: Time) -> Option<Work<'a>> {
    let service = view.service(id)?;
    let mut work = Work::new(view, service, now);
    match service.spec.mode {
        _ if service.pending_delete => removal::reconcile(&mut work),
        // Without its template nothing can be made of the service; the log always brings it first.
        _ if work.template.is_none() => {}
        ServiceMode::Replicated { replicas } => replicated::reconcile(&mut work, replicas),
        ServiceMode::ReplicatedJob { max_concurrent, total_completions } => job::reconcile(&mut work, max_concurrent, total_completions),
        ServiceMode::Global | ServiceMode::GlobalJob => global::reconcile(&mut work),
    }
    Some(work)
}
