//! The executor for Wasm tasks: puts images, compiled code, bundles and shims together.
//!
//! ```text
//! prepare   image → compiled code → place in a shim → bundle (record) → Create
//! start     Start → the service's connections may come
//! wait      Wait → exit report → Delete → the place is free; the bundle stays and tells the end
//! remove    Kill and Delete if needed → the bundle goes
//! ```
//!
//! Folders: `<data root>/{images,logs}`, `<exec root>/wasm/{s,x}`. Never: keeps a task's log from or for anyone (the shim writes it,
//! the worker reads and removes it).

mod adopt;
mod controller;
mod network;
mod open;
pub(crate) mod pull;
mod services;
#[cfg(test)]
mod tests;

pub use open::Config;

use crate::bundle::Bundles;
use crate::error::Result;
use crate::executor::{Adopted, Capabilities, Controller, Executor, TaskRequest};
use crate::images::{Image, Images};
use crate::mounts::Mounts;
use crate::shim::Pool;
use crate::volumes::Volumes;
use async_trait::async_trait;
use controller::TaskController;
use services::Services;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use tokio::sync::Semaphore;
use wsw_api::shim::HandoverOutcome;
use wsw_api::spec::{Platform, Protocol};
use wsw_api::{ServiceId, TaskId};

/// Tasks in preparation at a time: enough to keep the shims and the disk busy, few enough to keep memory flat when 10,000 come at once.
const PREPARING: usize = 128;
/// The platforms that image configurations name; images are all listed as the first.
const PLATFORMS: [(&str, &str); 4] = [("wasi", "wasm"), ("wasi", "wasm32"), ("wasip1", "wasm"), ("wasip2", "wasm")];

/// What all controllers share.
pub struct Wasm {
    images: Images,
    bundles: Bundles,
    pool: Arc<Pool>,
    services: Services,
    volumes: Volumes,
    mounts: Mounts,
    preparing: Semaphore,
    logs: PathBuf,
    /// What separates a shim from the node: `user, seccomp, landlock, cgroup`, as far as this machine has it.
    isolation: String,
    boot: String,
    me: Weak<Wasm>,
}

impl Wasm {
    /// Makes the folders, takes up the shims of an earlier daemon.
    pub async fn open(config: Config) -> wsw_api::Result<Arc<Self>> {
        Ok(open::open(config).await?)
    }

    /// A task whose image is here.
    pub(crate) fn controller_of(&self, task: TaskRequest, image: Image) -> Arc<dyn Controller> {
        Arc::new(TaskController::of_image(self.me.clone(), task, image))
    }

    /// The images of this node.
    pub fn images(&self) -> &Images {
        &self.images
    }

    /// The volumes of this node.
    pub fn volumes(&self) -> &Volumes {
        &self.volumes
    }

    /// Where a shim writes a task's log, in the format of `wsw_api::log`: in a folder of its own, since it can reach all that is in there.
    fn log_path(&self, shim: u32, task: TaskId) -> PathBuf {
        self.logs.join(shim.to_string()).join(format!("{task}.log"))
    }

    /// Offers a connection to the service's tasks on this node. The caller keeps its copy until the answer; after an error it has to give
    /// the connection up, since a shim may have it.
    pub async fn handover(&self, service: ServiceId, port: u16, client: SocketAddr, conn: BorrowedFd<'_>) -> Result<HandoverOutcome> {
        self.services.handover(&self.pool, service, (Protocol::Tcp, port), client, conn).await
    }

    /// Has a datagram socket connected to the port of one of the service's tasks on this node: a flow. The caller keeps using it.
    pub async fn flow(&self, service: ServiceId, port: u16, client: SocketAddr, socket: BorrowedFd<'_>) -> Result<HandoverOutcome> {
        self.services.handover(&self.pool, service, (Protocol::Udp, port), client, socket).await
    }

    /// True when tasks of the service take connections here.
    pub fn serves(&self, service: ServiceId) -> bool {
        self.services.has(service)
    }

    /// Shims of an older build that still have tasks.
    pub fn outdated_shims(&self) -> Vec<u32> {
        self.pool.outdated()
    }

    /// True for a folder that the control groups of its shims lie in.
    pub(crate) fn is_cgroup(&self, folder: &Path) -> bool {
        self.pool.is_cgroup(folder)
    }

    /// At the daemon's end: shims without tasks are ended, the others go on.
    pub async fn close(&self) {
        self.pool.end_idle(true).await;
    }
}

#[async_trait]
impl Executor for Wasm {
    fn describe(&self) -> Capabilities {
        let platform = |(os, architecture): &(&str, &str)| Platform { os: (*os).into(), architecture: (*architecture).into() };
        let isolation = self.isolation.clone();
        let plugins = vec![("Runtime".into(), wsw_api::shim::RUNTIME_NAME.into())];
        Capabilities { platforms: PLATFORMS.iter().map(platform).collect(), plugins, isolation, containers: String::new() }
    }

    fn controller(&self, task: TaskRequest) -> Arc<dyn Controller> {
        Arc::new(TaskController::new(self.me.clone(), task))
    }

    async fn adopt(&self) -> Vec<Adopted> {
        adopt::adopt(self).await
    }
}
