//! Log lines between nodes: the frames of a `logs` stream.
//!
//! ```text
//!   manager -> node   LogRequest
//!   node -> manager   LogFrame … until the stream's finish: then these were all
//! ```
//! Invariants: only a manager may ask, and a node answers with the lines of its own tasks.

use crate::id::{ServiceId, TaskId};
use crate::log::{Line, Query};
use serde::{Deserialize, Serialize};

/// One request: an id and a query.
pub const MAX_LOG_REQUEST: usize = 512;
/// Text in one frame, unless a single line is longer; bytes may take two in the encoding.
pub const MAX_LOG_TEXT: usize = 256 << 10;
/// Lines in one frame: their ids and times take about 200 bytes each.
pub const MAX_LOG_LINES: usize = 512;
/// One frame: the longest line (1 MiB), or as much of text and lines as fits.
pub const MAX_LOG_FRAME: usize = 3 << 20;

/// Whose lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogsOf {
    Service(ServiceId),
    Task(TaskId),
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRequest {
    pub of: LogsOf,
    pub query: Query,
}

/// What comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogFrame {
    Lines(Vec<Line>),
    /// Some lines could not be read; the text says why.
    Trouble(String),
}
