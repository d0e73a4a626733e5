//! The Engine API's seam over this daemon: reads from the store, writes through the manager, images and tasks of this node.
//!
//! Owns: the translation between the crates' types. Never: decides; refuses only what this node cannot do.

use super::host;
use super::node::Node;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use std::collections::BTreeMap;
use std::sync::Arc;
use wsw_api::control::Write;
use wsw_api::entry::Outcome;
use wsw_api::event::{Action, Event, Kind};
use wsw_api::spec::ClusterSpec;
use wsw_api::usage::Usage;
use wsw_api::{Error, NodeId, Result, TaskId, Time, log};
use wsw_dockerapi::backend::{Backend, Image, InitRequest, LocalNode, LocalTask, LogStream, LogsOf, Removed, Rotate, Until};
use wsw_planner::Store;

/// The daemon behind the API.
pub struct DaemonBackend {
    node: Arc<Node>,
}

impl DaemonBackend {
    /// Over this node.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    fn worker(&self) -> Result<wsw_worker::Worker> {
        self.node.worker().ok_or_else(|| Error::unavailable("This node is not part of a swarm"))
    }

    fn image_event(&self, action: Action, name: &str) {
        let attributes = BTreeMap::from([("name".to_owned(), name.to_owned())]);
        // Nobody listening is no error.
        let _ = self.node.local_events.send(Event { time: host::now(), kind: Kind::Image, action, id: name.to_owned(), attributes });
    }

    /// Digests of images that tasks of this node run. A service may name its image without one.
    fn images_in_use(&self) -> Vec<String> {
        let named = self.node.worker().map(|worker| worker.images_in_use()).unwrap_or_default();
        let digest = |name: String| match self.node.wasm.images().resolve(&name) {
            Ok(image) => image.digest,
            Err(_) => name,
        };
        named.into_iter().map(digest).collect()
    }
}

fn image(found: wsw_runtime::images::Image) -> Image {
    Image {
        digest: found.digest,
        tags: found.tags,
        platform: found.platform,
        size: found.size,
        created: found.created,
        labels: found.labels,
        wasm_kind: found.wasm_kind.map(|kind| kind.as_str().to_owned()),
        entrypoint: found.entrypoint,
        cmd: found.cmd,
        env: found.env,
        working_dir: found.working_dir,
        manifest_media_type: found.manifest_media_type,
        manifest_size: found.manifest_size,
        layers: found.layers,
    }
}

fn local_task(task: wsw_worker::LocalTask) -> LocalTask {
    LocalTask { id: task.id, service: task.service, status: task.status, created: task.created, started: task.started, finished: task.finished }
}

#[async_trait]
impl Backend for DaemonBackend {
    fn local(&self) -> LocalNode {
        let node = &self.node;
        let tasks = self.tasks();
        let running = tasks.iter().filter(|task| task.status.state == wsw_api::TaskState::Running).count() as u64;
        LocalNode {
            installation_id: node.installation_id.clone(),
            hostname: node.host.hostname.clone(),
            swarm: node.swarm_state(),
            data_root: node.paths.data_root.display().to_string(),
            operating_system: node.host.operating_system.clone(),
            kernel_version: node.host.kernel_version.clone(),
            platform: node.host.platform.clone(),
            cpus: node.host.cpus,
            memory_bytes: node.host.memory_bytes,
            running,
            stopped: tasks.len() as u64 - running,
            images: node.wasm.images().count(),
            warnings: node.worker().map(|worker| worker.description().problems).unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now: host::now(),
        }
    }

    async fn view(&self) -> Result<Store> {
        self.node.manager()?.read().await
    }

    async fn write(&self, write: Write) -> Result<Outcome> {
        self.node.manager()?.write(write).await
    }

    async fn swarm_init(&self, request: InitRequest) -> Result<NodeId> {
        self.node.init(request).await
    }

    async fn swarm_leave(&self, force: bool) -> Result<()> {
        self.node.leave(force).await
    }

    async fn swarm_update(&self, version: u64, spec: ClusterSpec, rotate: Rotate) -> Result<()> {
        self.node.manager()?.update_cluster(version, spec, rotate.worker_token, rotate.manager_token).await
    }

    async fn events(&self, since: Option<Time>) -> BoxStream<'static, Event> {
        super::events::merged(&self.node, since)
    }

    async fn logs(&self, of: LogsOf, query: log::Query) -> Result<LogStream> {
        let worker = self.worker()?;
        let selector = match of {
            LogsOf::Service(id) => wsw_worker::logs::Selector::Service(id),
            LogsOf::Task(id) => wsw_worker::logs::Selector::Task(id),
        };
        Ok(worker.logs(selector, query).boxed())
    }

    fn tasks(&self) -> Vec<LocalTask> {
        let tasks = self.node.worker().map(|worker| worker.tasks()).unwrap_or_default();
        tasks.into_iter().map(local_task).collect()
    }

    async fn task_kill(&self, id: TaskId, signal: u32) -> Result<()> {
        self.worker()?.signal(id, signal).await
    }

    async fn task_usage(&self, id: TaskId) -> Result<Usage> {
        self.worker()?.usage(id).await
    }

    async fn task_wait(&self, id: TaskId, until: Until) -> Option<LocalTask> {
        let done = |task: &wsw_worker::LocalTask| {
            until == Until::NotRunning && !matches!(task.status.state, wsw_api::TaskState::Starting | wsw_api::TaskState::Running)
        };
        self.node.worker()?.wait(id, done).await.map(local_task)
    }

    fn machine_nanos(&self) -> u64 {
        host::machine_nanos()
    }

    async fn images(&self) -> Result<Vec<Image>> {
        Ok(self.node.wasm.images().list().into_iter().map(image).collect())
    }

    async fn image(&self, reference: &str) -> Result<Image> {
        self.node.wasm.images().resolve(reference).map(image)
    }

    async fn image_load(&self, body: BoxStream<'static, std::io::Result<Bytes>>) -> Result<Vec<String>> {
        let reader = tokio_util::io::StreamReader::new(body.into_stream());
        let names = self.node.wasm.images().load(reader).await?;
        for name in &names {
            self.image_event(Action::Load, name);
        }
        Ok(names)
    }

    async fn image_remove(&self, reference: &str, force: bool) -> Result<Vec<Removed>> {
        let removed = self.node.wasm.images().remove(reference, force, &self.images_in_use()).await?;
        let convert = |step: wsw_runtime::images::Removed| match step {
            wsw_runtime::images::Removed::Untagged(name) => Removed::Untagged(name),
            wsw_runtime::images::Removed::Deleted(digest) => {
                self.image_event(Action::Delete, &digest);
                Removed::Deleted(digest)
            }
        };
        Ok(removed.into_iter().map(convert).collect())
    }
}
