//! Where services failed lately: the scheduler puts such nodes last (SwarmKit's `recentFailures`).
//!
//! Owns: the record. It is part of the state, for history is short (a slot keeps a few ended tasks) and a new leader must place as the old
//! one would have. Bounds: what a service's present template did, [`KEPT`] moments a node, nothing older than [`COUNT_FOR`] once it fails again.
//! Never: counts what the planner itself says of a task, or tasks whose node is not chosen (global services).

use super::Store;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use wsw_api::id::{NodeId, ServiceId, TaskId};
use wsw_api::object::Service;
use wsw_api::spec::ServiceMode;
use wsw_api::task::TaskState;
use wsw_api::time::{Nanos, SECOND, Time};

/// SwarmKit's `monitorFailures`: a failure counts against its node for five minutes.
const COUNT_FOR: Nanos = 300 * SECOND;
/// Failures that are told apart: nodes count as failing from five on, and more of them are worse.
const KEPT: usize = 32;

/// What failed of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    template: u64,
    /// When, the oldest first.
    nodes: BTreeMap<NodeId, VecDeque<Time>>,
}

impl Failures {
    fn drop_old(&mut self, now: Time) {
        self.nodes.retain(|_, times| {
            while times.front().is_some_and(|at| now.since(*at) > COUNT_FOR) {
                times.pop_front();
            }
            !times.is_empty()
        });
    }
}

impl Store {
    /// Notes that a worker told of the task's end, if it was a failure that says something about the node.
    pub(super) fn note_failure(&mut self, id: &TaskId) {
        let Some(task) = self.tasks.get(id).filter(|task| matches!(task.status.state, TaskState::Failed | TaskState::Rejected)) else { return };
        let (now, template) = (self.time, task.template);
        let (Some(service), Some(node)) = (self.services.get(&task.service), task.node) else { return };
        let chosen = matches!(service.spec.mode, ServiceMode::Replicated { .. } | ServiceMode::ReplicatedJob { .. });
        if !chosen || service.pending_delete || service.template != template {
            return;
        }
        let record = self.failures.entry(task.service).or_default();
        if record.template != template {
            *record = Failures { template, ..Failures::default() };
        }
        record.drop_old(now);
        let times = record.nodes.entry(node).or_default();
        times.push_back(now);
        if times.len() > KEPT {
            times.pop_front();
        }
    }

    /// How often the service's present template failed within the last minutes, by node.
    pub(crate) fn recent_failures(&self, service: &Service, now: Time) -> impl Iterator<Item = (NodeId, u32)> + '_ {
        let record = self.failures.get(&service.id).filter(|record| record.template == service.template);
        let count = move |times: &VecDeque<Time>| times.iter().filter(|at| now.since(**at) <= COUNT_FOR).count();
        record.into_iter().flat_map(|record| &record.nodes).map(move |(node, times)| (*node, u32::try_from(count(times)).unwrap_or(u32::MAX)))
    }

    /// The service is gone.
    pub(super) fn forget_failures(&mut self, service: &ServiceId) {
        self.failures.remove(service);
    }

    /// The node is gone.
    pub(super) fn forget_failures_on(&mut self, node: &NodeId) {
        let touched: Vec<ServiceId> = self.failures.iter().filter(|(_, record)| record.nodes.contains_key(node)).map(|(id, _)| *id).collect();
        for id in touched {
            if let Some(record) = self.failures.get_mut(&id) {
                record.nodes.remove(node);
            }
        }
    }
}
