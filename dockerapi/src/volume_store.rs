//! What the Engine API needs of this node's volumes: a seam of its own beside [`crate::backend::Backend`].
//!
//! Owns: the trait. Never: Docker's spellings.

use async_trait::async_trait;
pub use wsw_api::volume::{ANONYMOUS, NewVolume, Volume};
use wsw_api::{Result, TaskId};

/// The volumes as the API sees them.
#[async_trait]
pub trait VolumeStore: Send + Sync + 'static {
    /// By name.
    fn volumes(&self) -> Vec<Volume>;
    /// The name of the volume that a task's mount without a source has at `target`.
    fn own_volume(&self, task: TaskId, target: &str) -> String;
    /// Bytes on disk.
    async fn volume_size(&self, name: &str) -> Result<u64>;
    /// Makes it; one that is there already is answered as it is.
    async fn volume_create(&self, new: NewVolume) -> Result<Volume>;
    /// Removes one that no task has. With `force` a missing one is no error.
    async fn volume_remove(&self, name: &str, force: bool) -> Result<()>;
}
