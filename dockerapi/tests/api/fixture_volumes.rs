//! The fixture's volumes: in memory, as all of it; the one called `held` is always in use.

use super::Fixture;
use async_trait::async_trait;
use wsw_api::{Result, TaskId};
use wsw_dockerapi::volume_store::{NewVolume, Volume, VolumeStore};

#[async_trait]
impl VolumeStore for Fixture {
    fn volumes(&self) -> Vec<Volume> {
        self.state.lock().unwrap().volumes.values().cloned().collect()
    }

    fn own_volume(&self, _: TaskId, target: &str) -> String {
        format!("own{}", target.replace('/', "-"))
    }

    async fn volume_size(&self, _: &str) -> Result<u64> {
        Ok(1_000)
    }

    async fn volume_create(&self, new: NewVolume) -> Result<Volume> {
        let NewVolume { name, labels, options, .. } = new;
        let users = if name == "held" { vec![TaskId::from_bytes([1; 16])] } else { Vec::new() };
        let volume = Volume { created: (self.clock)(), labels, options, mountpoint: format!("/volumes/{name}/_data").into(), users, name: name.clone() };
        Ok(self.state.lock().unwrap().volumes.entry(name).or_insert(volume).clone())
    }

    async fn volume_remove(&self, name: &str, _: bool) -> Result<()> {
        self.state.lock().unwrap().volumes.remove(name);
        Ok(())
    }
}
