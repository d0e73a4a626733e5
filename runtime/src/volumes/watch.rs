//! What happens to volumes, for those who watch: `docker events`.
//!
//! Owns: the shapes. A watcher is called below the store's lock: it keeps what it is told and returns.

use std::sync::Arc;
use wsw_api::TaskId;

/// What happened to a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    Created,
    /// A task has it from now on.
    Mounted {
        task: TaskId,
        target: &'a str,
        read_only: bool,
    },
    /// The task has it no longer.
    Unmounted {
        task: TaskId,
    },
    Removed,
}

/// Is told the volume's name and what happened to it.
pub type Watch = Arc<dyn Fn(&str, Change<'_>) + Send + Sync>;
