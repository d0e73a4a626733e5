//! The Engine API's seam over this daemon: reads from the store, writes through the manager, tasks of this node. Its images: [`super::images`].
//!
//! Owns: the translation between the crates' types. Never: decides; refuses only what this node cannot do.

use super::host;
use super::node::Node;
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use std::collections::BTreeSet;
use std::sync::Arc;
use wsw_api::control::Write;
use wsw_api::entry::Outcome;
use wsw_api::event::{Event, Kind};
use wsw_api::network::Sandbox;
use wsw_api::spec::ClusterSpec;
use wsw_api::usage::Usage;
use wsw_api::{Error, NodeId, Result, TaskId, Time, log, log_stream};
use wsw_dockerapi::backend::{Backend, InitRequest, JoinSwarm, LocalNode, LocalTask, LogStream, LogsOf, Rotate, Until};
use wsw_manager::identity::rotation::Given;
use wsw_planner::Store;

/// The daemon behind the API.
pub struct DaemonBackend {
    pub(super) node: Arc<Node>,
}

impl DaemonBackend {
    /// Over this node.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    pub(super) fn worker(&self) -> Result<wsw_worker::Worker> {
        self.node.worker().ok_or_else(|| Error::unavailable("This node is not part of a swarm"))
    }
}

fn local_task(worker: &wsw_worker::Worker, task: wsw_worker::LocalTask) -> LocalTask {
    LocalTask {
        id: task.id,
        service: task.service,
        slot: task.slot,
        template: task.template,
        status: task.status,
        created: task.created,
        started: task.started,
        finished: task.finished,
        health: worker.health(task.id),
    }
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
            description: node.description(),
            cgroup_version: node.host.cgroup_version,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now: host::now(),
        }
    }

    async fn view(&self) -> Result<Store> {
        self.node.manager()?.read().await
    }

    async fn leader(&self) -> Option<NodeId> {
        self.node.manager().ok()?.leader()
    }

    async fn unreachable(&self) -> BTreeSet<NodeId> {
        self.node.manager().map(|manager| manager.unreachable()).unwrap_or_default()
    }

    async fn write(&self, write: Write) -> Result<Outcome> {
        self.node.manager()?.write(write).await
    }

    async fn swarm_init(&self, request: InitRequest) -> Result<NodeId> {
        self.node.init(request).await
    }

    async fn swarm_join(&self, request: JoinSwarm) -> Result<()> {
        self.node.join(request).await
    }

    async fn swarm_unlock(&self, key: &str) -> Result<()> {
        self.node.unlock(key).await
    }

    async fn swarm_leave(&self, force: bool) -> Result<()> {
        self.node.leave(force).await
    }

    async fn swarm_update(&self, version: u64, spec: ClusterSpec, rotate: Rotate) -> Result<()> {
        let manager = self.node.manager()?;
        let given = Given { certificate: rotate.root.certificate, key: rotate.root.key };
        let rotate = wsw_manager::Rotate { worker: rotate.worker_token, manager: rotate.manager_token, unlock_key: rotate.unlock_key };
        manager.update_cluster(version, spec, rotate, &given).await?;
        // Its own keys are sealed by the time its client hears of it; the task that follows the state does it where this fails.
        let _ = self.node.seal_as_stated(&manager).await;
        Ok(())
    }

    async fn events(&self, since: Option<Time>) -> BoxStream<'static, Event> {
        super::events::merged(&self.node, since)
    }

    async fn logs(&self, of: LogsOf, query: log::Query) -> Result<LogStream> {
        let of = match of {
            LogsOf::Service(id) => log_stream::LogsOf::Service(id),
            LogsOf::Task(id) => log_stream::LogsOf::Task(id),
        };
        Ok(super::logs::merged(&self.node, self.worker()?, of, query))
    }

    fn tasks(&self) -> Vec<LocalTask> {
        let Some(worker) = self.node.worker() else { return Vec::new() };
        worker.tasks().into_iter().map(|task| local_task(&worker, task)).collect()
    }

    fn task_sandbox(&self, id: TaskId) -> Option<Sandbox> {
        self.node.worker()?.sandbox(id)
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
        let worker = self.node.worker()?;
        worker.wait(id, done).await.map(|task| local_task(&worker, task))
    }

    async fn task_put_away(&self, id: TaskId) -> Result<()> {
        self.worker()?.put_away(id).await;
        Ok(())
    }

    fn process(&self, pid: u32) -> Option<(u32, u32)> {
        host::process(pid)
    }

    fn pruned(&self, kind: Kind, reclaimed: u64) {
        // Nobody listening is no error.
        let _ = self.node.local_events.send(wsw_dockerapi::prune_event(host::now(), kind, reclaimed));
    }

    fn machine_nanos(&self) -> u64 {
        host::machine_nanos()
    }
}
