//! The rollout of a new template, as users see it (`UpdateStatus`).
//!
//! Owns: when an update counts as begun and as completed. In this version all slots change at once, each stop first; parallelism,
//! delay and the reaction to failures are data that the next version acts on.

use super::work::Work;
use wsw_api::entry::Change;
use wsw_api::object::{UpdateState, UpdateStatus};

/// What the slots of a service say about its rollout.
#[derive(Debug, Default)]
pub(super) struct Rollout {
    replaced: bool,
    pending: bool,
}

impl Rollout {
    /// A task of an old template is being replaced.
    pub(super) fn replaced(&mut self) {
        self.replaced = true;
    }

    /// A task of the current template is not running yet.
    pub(super) fn pending(&mut self) {
        self.pending = true;
    }

    /// Writes the change of the update status, if there is one.
    pub(super) fn conclude(&self, work: &mut Work<'_>) {
        let id = work.service.id;
        let next = match &work.service.update_status {
            None if self.replaced => {
                Some(UpdateStatus { state: UpdateState::Updating, started_at: work.now, completed_at: None, message: "update in progress".to_owned() })
            }
            Some(status) if !self.replaced && !self.pending => {
                let done = match status.state {
                    UpdateState::Updating => Some((UpdateState::Completed, "update completed")),
                    UpdateState::RollbackStarted => Some((UpdateState::RollbackCompleted, "rollback completed")),
                    UpdateState::Paused | UpdateState::Completed | UpdateState::RollbackPaused | UpdateState::RollbackCompleted => None,
                };
                done.map(|(state, message)| UpdateStatus { state, started_at: status.started_at, completed_at: Some(work.now), message: message.to_owned() })
            }
            _ => None,
        };
        if let Some(status) = next {
            work.tail.push(Change::ServiceUpdateStatus { id, status: Some(status) });
        }
    }
}
