//! What the Engine API needs of this node's volumes: a seam of its own beside [`crate::backend::Backend`].
//!
//! Owns: the trait and our own types in it. Never: Docker's spellings.

use async_trait::async_trait;
use std::collections::BTreeMap;
use wsw_api::{Result, TaskId, Time};

/// Marks a volume whose user gave it no name.
pub const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// A volume of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    pub name: String,
    pub created: Time,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
    pub mountpoint: String,
    /// Tasks that have it.
    pub users: Vec<TaskId>,
}

/// What a new one is to be like; an empty name is made up, an empty driver is `local`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewVolume {
    pub name: String,
    pub driver: String,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
}

/// The volumes as the API sees them.
#[async_trait]
pub trait VolumeStore: Send + Sync + 'static {
    /// By name.
    fn volumes(&self) -> Vec<Volume>;
    /// Bytes on disk.
    async fn volume_size(&self, name: &str) -> Result<u64>;
    /// Makes it; one that is there already is answered as it is.
    async fn volume_create(&self, new: NewVolume) -> Result<Volume>;
    /// Removes one that no task has. With `force` a missing one is no error.
    async fn volume_remove(&self, name: &str, force: bool) -> Result<()>;
}
