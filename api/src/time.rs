//! Cluster time: nanoseconds since the Unix epoch, as the leader says it.
//!
//! Owns: the type and its arithmetic (saturating). Never: reads a clock.

use serde::{Deserialize, Serialize};

/// A moment of cluster time. It never goes back within a cluster; wall time is for display only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Time(pub u64);

/// A length of time in nanoseconds (the Engine API's unit).
pub type Nanos = u64;

/// One second in nanoseconds.
pub const SECOND: Nanos = 1_000_000_000;
/// One millisecond in nanoseconds.
pub const MILLISECOND: Nanos = 1_000_000;

impl Time {
    /// The moment `nanos` later.
    #[must_use]
    pub const fn after(self, nanos: Nanos) -> Self {
        Self(self.0.saturating_add(nanos))
    }
    /// Nanoseconds from `earlier` to this moment, zero when it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Nanos {
        self.0.saturating_sub(earlier.0)
    }
}
