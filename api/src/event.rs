//! Events for `GET /events`: what changed, in Docker's words.
//!
//! Owns: the shape. The manager derives them from applied entries; nothing decides on them.

use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Events a slow reader may be behind before it is told that it lost some.
pub const MAX_BACKLOG: usize = 1_024;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub time: Time,
    pub kind: Kind,
    pub action: Action,
    /// Id of the object.
    pub id: String,
    /// `name`, `replicas.old`, `replicas.new`, …
    pub attributes: BTreeMap<String, String>,
}

/// What kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    Service,
    Node,
    Network,
    Secret,
    Config,
    Image,
    Container,
}

/// What happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Action {
    Create,
    Update,
    Remove,
    Load,
    Delete,
    Start,
    Die,
}
