//! The history of writes: what clients were answered, and what that says of any state that is read later.
//!
//! Owns: the fate of each write. Invariants: what was acknowledged is there, what was refused is not; of an open one either.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use wsw_api::entry::Outcome;
use wsw_api::id::ServiceId;
use wsw_planner::Store;

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Done(Outcome),
    Refused(String),
    /// Nobody knows.
    Open,
}

/// What is remembered of one service.
#[derive(Debug, Default)]
pub struct Record {
    pub id: Option<ServiceId>,
    pub created: Option<Fate>,
    pub removed: Option<Fate>,
    pub labels: BTreeMap<String, Fate>,
}

/// What an acknowledged write says of all later states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    There,
    Gone,
    Label(String),
}

/// All writes of a run.
#[derive(Default)]
pub struct History {
    records: Mutex<BTreeMap<String, Record>>,
}

impl History {
    /// Also after a check that found something.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is remembered of a service.
    pub fn note(&self, name: &str, change: impl FnOnce(&mut Record)) {
        change(self.lock().entry(name.to_owned()).or_default());
    }

    /// What was acknowledged is there, what was refused is not. Panics with what it finds.
    pub fn check(&self, store: &Store) {
        for (name, record) in self.lock().iter() {
            let found = store.service_by_name(name);
            match (&record.created, &record.removed) {
                (_, Some(Fate::Done(_))) => assert!(found.is_none(), "service {name} was removed and is there"),
                (Some(Fate::Refused(why)), _) => assert!(found.is_none(), "service {name} was refused ({why}) and is there"),
                (Some(Fate::Done(_)), None) => assert!(found.is_some(), "service {name} was created and is lost"),
                _ => {}
            }
            let Some(found) = found else { continue };
            assert!(record.id.is_none_or(|id| id == found.id), "service {name} was created as {:?} and is {}", record.id, found.id);
            for (label, fate) in &record.labels {
                let has = found.spec.annotations.labels.contains_key(label);
                match fate {
                    Fate::Done(_) => assert!(has, "the update {label} of service {name} was acknowledged and is lost"),
                    Fate::Refused(why) => assert!(!has, "the update {label} of service {name} was refused ({why}) and is there"),
                    Fate::Open => {}
                }
            }
        }
    }

    /// All that is acknowledged by now.
    pub fn acknowledged(&self) -> Vec<(String, Fact)> {
        let done = |fate: &Option<Fate>| matches!(fate, Some(Fate::Done(_)));
        let mut facts = Vec::new();
        for (name, record) in self.lock().iter() {
            match &record.removed {
                Some(Fate::Done(_)) => facts.push((name.clone(), Fact::Gone)),
                Some(_) => {}
                None => {
                    facts.extend(done(&record.created).then(|| (name.clone(), Fact::There)));
                    let labels = record.labels.iter().filter(|(_, fate)| matches!(fate, Fate::Done(_)));
                    facts.extend(labels.map(|(label, _)| (name.clone(), Fact::Label(label.clone()))));
                }
            }
        }
        facts
    }

    /// The first of these facts that a later state lacks. Somebody may have begun to remove the service since.
    pub fn missing(&self, facts: &[(String, Fact)], store: &Store) -> Option<String> {
        let records = self.lock();
        let seen = |name: &String, fact: &Fact| {
            let found = store.service_by_name(name);
            match fact {
                Fact::Gone => found.is_none_or(|service| service.pending_delete),
                _ if records.get(name).is_some_and(|record| record.removed.is_some()) => true,
                Fact::There => found.is_some(),
                Fact::Label(label) => found.is_some_and(|service| service.spec.annotations.labels.contains_key(label)),
            }
        };
        facts.iter().find(|(name, fact)| !seen(name, fact)).map(|(name, fact)| format!("{fact:?} of service {name}"))
    }

    /// Acknowledged and refused writes, and those whose outcome stayed open.
    pub fn count(&self) -> (usize, usize, usize) {
        let records = self.lock();
        let fates = || records.values().flat_map(|record| record.created.iter().chain(&record.removed).chain(record.labels.values()));
        let done = fates().filter(|fate| matches!(fate, Fate::Done(_))).count();
        let open = fates().filter(|fate| **fate == Fate::Open).count();
        (done, fates().count() - done - open, open)
    }
}
