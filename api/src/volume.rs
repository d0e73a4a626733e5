//! Volumes of a node, as its store and the Engine API speak of them.
//!
//! Owns: the shapes.

use crate::{TaskId, Time};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Marks a volume whose user gave it no name: `volume prune` takes these only, unless it is told otherwise. Docker's.
pub const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// A volume of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    pub name: String,
    pub created: Time,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
    /// Where its content is, for those who may look there.
    pub mountpoint: PathBuf,
    /// Tasks that have it.
    pub users: Vec<TaskId>,
}

/// What a new volume is to be like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewVolume {
    /// Empty: a name is made up.
    pub name: String,
    /// Empty: `local`.
    pub driver: String,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
}
