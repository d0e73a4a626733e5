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
    /// Running instances; a container's processes and threads.
    pub pids: u64,
    /// Bytes that came from devices and went to them.
    pub read_bytes: u64,
    pub written_bytes: u64,
    /// None for a task without a network of its own.
    pub traffic: Option<Traffic>,
}

/// What went over a container's link, as it sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    pub received: Counts,
    pub sent: Counts,
}

/// One way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub bytes: u64,
    pub packets: u64,
    pub errors: u64,
    pub dropped: u64,
}
