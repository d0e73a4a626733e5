//! The Engine API's seam over this node's volumes.

use super::backend::DaemonBackend;
use async_trait::async_trait;
use wsw_api::Result;
use wsw_dockerapi::volume_store::{NewVolume, Volume, VolumeStore};

#[async_trait]
impl VolumeStore for DaemonBackend {
    fn volumes(&self) -> Vec<Volume> {
        self.node.wasm.volumes().list()
    }

    async fn volume_size(&self, name: &str) -> Result<u64> {
        Ok(self.node.wasm.volumes().size(name).await?)
    }

    async fn volume_create(&self, new: NewVolume) -> Result<Volume> {
        Ok(self.node.wasm.volumes().create(new).await?)
    }

    async fn volume_remove(&self, name: &str, force: bool) -> Result<()> {
        Ok(self.node.wasm.volumes().remove(name, force).await?)
    }
}
