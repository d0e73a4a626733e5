//! The leader's agenda: what is dirty, and when something is due without an event.
//!
//! Owns: dirty marks between two plans, and one wake-up time per service (delays, time-outs). Lives as long as a leadership;
//! a new one starts with everything dirty.
//! Invariant: a mark is only ever lost to the plan that it led to.

use crate::plan::{Dirty, Plan};
use crate::store::Touched;
use std::collections::{BTreeMap, BTreeSet};
use wsw_api::id::ServiceId;
use wsw_api::time::Time;

/// What to look at next.
#[derive(Debug, Clone, Default)]
pub struct Agenda {
    dirty: Dirty,
    at: BTreeMap<ServiceId, Time>,
    queue: BTreeSet<(Time, ServiceId)>,
}

impl Agenda {
    /// Everything is dirty: the start of a leadership.
    pub fn new() -> Self {
        Self { dirty: Dirty::everything(), ..Self::default() }
    }

    /// Marks what an applied entry asks to be looked at.
    pub fn touch(&mut self, touched: &Touched) {
        self.dirty.services.extend(touched.services.iter().chain(&touched.decide));
        self.dirty.nodes.extend(&touched.nodes);
        self.dirty.capacity |= touched.capacity;
        // The history limit is the cluster's.
        self.dirty.all |= touched.cluster;
    }

    /// Marks one service.
    pub fn mark_service(&mut self, service: ServiceId) {
        self.dirty.services.insert(service);
    }

    /// Marks everything: the slow sweep, or an entry that was refused or lost.
    pub fn mark_all(&mut self) {
        self.dirty.all = true;
    }

    /// When something is due by itself.
    pub fn next_wake(&self) -> Option<Time> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// True when there is something to plan.
    pub fn is_due(&self, now: Time) -> bool {
        !self.dirty.is_empty() || self.next_wake().is_some_and(|at| at <= now)
    }

    /// Takes all marks and what is due.
    pub fn take(&mut self, now: Time) -> Dirty {
        let mut dirty = std::mem::take(&mut self.dirty);
        while let Some((at, service)) = self.queue.first().copied().filter(|(at, _)| *at <= now) {
            self.queue.remove(&(at, service));
            self.at.remove(&service);
            dirty.services.insert(service);
        }
        dirty
    }

    /// Notes when the services of a plan are due again.
    pub fn absorb(&mut self, plan: &Plan) {
        for (service, wake) in &plan.wakes {
            if let Some(old) = self.at.remove(service) {
                self.queue.remove(&(old, *service));
            }
            if let Some(at) = wake {
                self.at.insert(*service, *at);
                self.queue.insert((*at, *service));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn wakes_replace_each_other_and_come_due_in_order() {
        let (a, b) = (fixture::service_id(1), fixture::service_id(2));
        let mut agenda = Agenda::default();
        let wakes = |list: &[(ServiceId, Option<Time>)]| Plan { wakes: list.iter().copied().collect(), ..Plan::default() };
        agenda.absorb(&wakes(&[(a, Some(Time(10))), (b, Some(Time(20)))]));
        agenda.absorb(&wakes(&[(a, Some(Time(30)))]));
        assert_eq!(agenda.next_wake(), Some(Time(20)));
        assert!(!agenda.is_due(Time(19)));
        assert_eq!(agenda.take(Time(25)).services, BTreeSet::from([b]));
        agenda.absorb(&wakes(&[(a, None)]));
        assert_eq!(agenda.next_wake(), None);
        assert!(agenda.take(Time(99)).is_empty());
    }
}
