//! What is copied out of and into a running task (`docker cp`).
//!
//! Owns: the shapes between the API, the worker and the runtime. Never stored in the cluster's state; pure.

use crate::time::Time;

/// Why nothing is copied out of a Wasm task.
pub const NO_FILES: &str = "a Wasm task has no file system of its own; docker inspect shows where its volumes are on the node";

/// What a path of a container is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathStat {
    /// The last part of the path as it was asked for.
    pub name: String,
    pub size: u64,
    /// The kernel's (`st_mode`).
    pub mode: u32,
    pub modified: Time,
    /// Where a symbolic link leads in the container, as far as that goes; empty for anything else.
    pub link_target: String,
}

/// How an archive is unpacked in a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extract {
    /// A folder never replaces another kind of file, nor the other way round.
    pub keeps_kinds: bool,
    /// All that is made belongs to the container's user, where it has one.
    pub for_user: bool,
}
