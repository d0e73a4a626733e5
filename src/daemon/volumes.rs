//! The Engine API's seam over this node's volumes, and what is told of them.

use super::backend::DaemonBackend;
use super::host;
use async_trait::async_trait;
use wsw_api::event::{Action, Event};
use wsw_api::{Result, TaskId};
use wsw_dockerapi::volume_store::{NewVolume, Volume, VolumeStore};
use wsw_dockerapi::{container_id, volume_event};
use wsw_runtime::volumes::{self, Change};

/// What is told of a volume, in moby's words.
pub fn event(name: &str, change: Change<'_>) -> Event {
    let container = |task| ("container", container_id(task));
    match change {
        Change::Created => volume_event(host::now(), Action::Create, name, &[]),
        Change::Removed => volume_event(host::now(), Action::Destroy, name, &[]),
        Change::Unmounted { task } => volume_event(host::now(), Action::Unmount, name, &[container(task)]),
        Change::Mounted { task, target, read_only } => {
            let details = [container(task), ("destination", target.to_owned()), ("propagation", String::new()), ("read/write", (!read_only).to_string())];
            volume_event(host::now(), Action::Mount, name, &details)
        }
    }
}

#[async_trait]
impl VolumeStore for DaemonBackend {
    fn volumes(&self) -> Vec<Volume> {
        self.node.wasm.volumes().list()
    }

    fn own_volume(&self, task: TaskId, target: &str) -> String {
        volumes::own_name(task, target)
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
