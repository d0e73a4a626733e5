//! The line format of task logs on disk: CRI's (`<RFC 3339 with nanoseconds> <stdout|stderr> <F|P> <text>\n`).
//!
//! Owns: the tags and the bounds. Who writes: the Wasm shim for its tasks, the worker for containers. Who reads: the worker.
//! `P` marks a piece of a line longer than [`MAX_LINE`]; the line ends with the next `F`.

use crate::id::{NodeId, ServiceId, TaskId};
use crate::time::Time;
use serde::{Deserialize, Serialize};

/// Longest piece of a line in one record: 16 KiB, as Docker's json-file driver cuts.
pub const MAX_LINE: usize = 16 * 1024;

/// Which of the guest's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    /// The word in the record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One line (or piece of one) with where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub time: Time,
    pub stream: Stream,
    pub node: NodeId,
    pub service: ServiceId,
    pub task: TaskId,
    /// The text with its newline when the line is complete.
    pub text: Vec<u8>,
}

/// What a reader asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    pub follow: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// Only the last so many lines of each task; none for all.
    pub tail: Option<u64>,
    pub since: Option<Time>,
    pub until: Option<Time>,
}
