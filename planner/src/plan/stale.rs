//! What sets two templates of a service apart, as far as its tasks care (SwarmKit's `IsTaskDirty`).
//!
//! Owns: the comparison, for the planner and for readers (`_up-to-date` of Docker's API).
//! Invariant: a change of the placement alone replaces no task whose node satisfies the new constraints.

use crate::Store;
use crate::constraint::Constraint;
use std::sync::Arc;
use wsw_api::object::{Service, Template};
use wsw_api::spec::TaskSpec;
use wsw_api::task::Task;

/// How the template of a task differs from the one that its service asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Difference {
    /// In where tasks may run, and in nothing else.
    Placement,
    /// In what they run.
    Content,
}

impl Difference {
    /// Between two templates that are not of one version.
    pub(super) fn of(old: Option<&Arc<Template>>, new: Option<&Arc<Template>>) -> Self {
        let (Some(old), Some(new)) = (old, new) else { return Self::Content };
        // Taken apart by name: a field that comes later must be thought of here.
        let TaskSpec { container, resources, restart, placement: _, force_update, networks, log_driver } = &*old.spec;
        let same = *container == new.spec.container
            && *resources == new.spec.resources
            && *restart == new.spec.restart
            && *force_update == new.spec.force_update
            && *networks == new.spec.networks
            && *log_driver == new.spec.log_driver
            && old.endpoint == new.endpoint;
        if same { Self::Placement } else { Self::Content }
    }
}

/// True when the task runs what its service asks for now, where it may.
pub fn is_current(view: &Store, service: &Service, task: &Task) -> bool {
    if task.template == service.template {
        return true;
    }
    let new = view.template(&service.id, service.template);
    if Difference::of(view.template(&task.service, task.template), new) == Difference::Content {
        return false;
    }
    let constraints = new.and_then(|new| Constraint::parse_all(&new.spec.placement.constraints).ok());
    let node = task.node.filter(|_| task.is_placed()).and_then(|id| view.node(&id));
    node.zip(constraints).is_some_and(|(node, constraints)| constraints.iter().all(|constraint| constraint.matches(node)))
}
