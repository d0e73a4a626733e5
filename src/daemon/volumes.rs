//! The Engine API's seam over this node's volumes.

use super::backend::DaemonBackend;
use async_trait::async_trait;
use wsw_api::Result;
use wsw_dockerapi::volume_store::{NewVolume, Volume, VolumeStore};
use wsw_runtime::volumes;

fn volume(found: volumes::Volume) -> Volume {
    Volume {
        name: found.name,
        created: found.created,
        labels: found.labels,
        options: found.options,
        mountpoint: found.mountpoint.display().to_string(),
        users: found.users,
    }
}

#[async_trait]
impl VolumeStore for DaemonBackend {
    fn volumes(&self) -> Vec<Volume> {
        self.node.wasm.volumes().list().into_iter().map(volume).collect()
    }

    async fn volume_size(&self, name: &str) -> Result<u64> {
        Ok(self.node.wasm.volumes().size(name).await?)
    }

    async fn volume_create(&self, new: NewVolume) -> Result<Volume> {
        let NewVolume { name, driver, labels, options } = new;
        Ok(volume(self.node.wasm.volumes().create(volumes::NewVolume { name, driver, labels, options }).await?))
    }

    async fn volume_remove(&self, name: &str, force: bool) -> Result<()> {
        Ok(self.node.wasm.volumes().remove(name, force).await?)
    }
}
