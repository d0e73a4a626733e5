//! What must hold: looked at with every entry that any manager applies.
//!
//! Owns: the history of applied states and the first offence. Invariants (DESIGN sections 5 and 9): all managers have the same entry, answer
//! and state at an index; a slot has one runnable task; placements keep their filters; nothing moves back; a task is not made for a service
//! that is not there; what one write says is there as a whole. To add one: a function of two stores in `of_states`.

use crate::promises::Promises;
use crate::trace::{Trace, event, hash};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use wsw_api::entry::{Applied, Entry};
use wsw_api::spec::ServiceMode;
use wsw_planner::Store;
use wsw_planner::checks;

/// The whole state is compared at each index that this divides; a snapshot's always.
const WHOLE: u64 = 8;

/// The first manager's word on an index.
struct Seen {
    entry: Entry,
    answer: Applied,
    state: Option<u64>,
}

/// The checks of a run.
pub struct Checks {
    trace: Arc<Trace>,
    pub promises: Promises,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    seen: BTreeMap<u64, Seen>,
    /// The newest state that anybody applied.
    newest: Option<Store>,
    offence: Option<String>,
}

impl Checks {
    /// Nothing was applied yet.
    pub fn new(trace: Arc<Trace>) -> Self {
        Self { trace, promises: Promises::default(), inner: Mutex::default() }
    }

    /// The newest state that anybody applied.
    pub fn newest(&self) -> Option<Store> {
        self.inner.lock().unwrap().newest.clone()
    }

    /// What was found first, if anything was.
    pub fn offence(&self) -> Option<String> {
        self.inner.lock().unwrap().offence.clone()
    }

    /// Something is wrong.
    pub fn fail(&self, what: String) {
        let mut inner = self.inner.lock().unwrap();
        if inner.offence.is_none() {
            event!(self.trace, "OFFENCE: {what}");
            inner.offence = Some(what);
        }
    }

    /// A manager applied an entry.
    pub fn applied(&self, host: usize, index: u64, entry: &Entry, answer: &Applied, after: &Store) {
        let state = index.is_multiple_of(WHOLE).then(|| state_hash(after));
        let mut inner = self.inner.lock().unwrap();
        let found = match inner.seen.get(&index) {
            Some(seen) if seen.entry != *entry => Some(format!("another entry: {entry:?} after {:?}", seen.entry)),
            Some(seen) if seen.answer != *answer => Some(format!("another answer: {answer:?} after {:?}", seen.answer)),
            Some(seen) if seen.state != state => Some("another state".to_owned()),
            Some(_) => None,
            None => {
                let what = format!("{} changes, {} requests", entry.changes.len(), entry.requests.len());
                event!(self.trace, "host {host}: applies {index}: {what}, {answer:?}, state {:x}", state.unwrap_or(0));
                inner.seen.insert(index, Seen { entry: entry.clone(), answer: answer.clone(), state });
                let before = inner.newest.replace(after.clone());
                before.and_then(|before| caught(|| of_states(&before, after)))
            }
        };
        drop(inner);
        if let Some(found) = found {
            self.fail(format!("host {host} at index {index}: {found}"));
        }
    }

    /// A manager took a snapshot over.
    pub fn installed(&self, host: usize, index: u64, state: &Store) {
        event!(self.trace, "host {host}: installs a snapshot of {index}");
        let inner = self.inner.lock().unwrap();
        let wrong = inner.seen.get(&index).and_then(|seen| seen.state).is_some_and(|seen| seen != state_hash(state));
        drop(inner);
        if wrong {
            self.fail(format!("host {host} installs another state at index {index}"));
        }
    }
}

/// All that must hold from one state to the next.
fn of_states(before: &Store, after: &Store) {
    checks::check_slots(after);
    checks::check_places(before, after);
    checks::check_forward(before, after);
    checks::check_jobs(after);
    services_of_tasks(before, after);
    whole_writes(after);
}

/// A task is not made, nor wanted again, for a service that is not there.
fn services_of_tasks(before: &Store, after: &Store) {
    for task in after.tasks().filter(|task| before.task(&task.id).is_none()) {
        let service = before.service(&task.service).or_else(|| after.service(&task.service));
        assert!(service.is_some_and(|service| !service.pending_delete), "task {} is made for service {}, which is not there", task.id, task.service);
    }
    let mut names = BTreeMap::new();
    for service in after.services().filter(|service| !service.pending_delete) {
        let twice = names.insert(service.name().to_owned(), service.id);
        assert_eq!(twice, None, "two services are called {}", service.name());
    }
}

/// Clients write a label and the number of replicas with one another (`client`).
fn whole_writes(after: &Store) {
    for service in after.services() {
        let label = service.spec.annotations.labels.get("replicas").map(String::as_str);
        if let (ServiceMode::Replicated { replicas }, Some(label)) = (service.spec.mode, label) {
            assert_eq!(label, replicas.to_string(), "half a write is in service {}", service.name());
        }
    }
}

/// What a check that panics says.
pub fn caught(check: impl FnOnce()) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(check)).err()?;
    let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    Some(text.unwrap_or_else(|| "a check panicked".to_owned()))
}

/// The whole state in one number.
pub fn state_hash(store: &Store) -> u64 {
    hash(1, &rmp_serde::to_vec(&store.to_snapshot()).unwrap())
}
