//! What a task uses of its node, as its shim counts it.
//!
//! Owns: the shape, on its way from a shim to `docker stats`. Never stored, never decided on.

/// One reading.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Nanoseconds of processor time since the task was started.
    pub cpu_nanos: u64,
    pub memory_bytes: u64,
    /// None: bounded by the shim only.
    pub memory_limit: Option<u64>,
    /// Running instances.
    pub pids: u64,
}
