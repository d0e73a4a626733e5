//! Commands in this node's tasks, for the API.
//!
//! Owns: the translation between the crates' types. Never: keeps any (the worker does).

use super::backend::DaemonBackend;
use async_trait::async_trait;
use wsw_api::exec::{Command, Size, Status};
use wsw_api::{Result, TaskId};
use wsw_dockerapi::backend::{ExecStore, ExecStreams};

#[async_trait]
impl ExecStore for DaemonBackend {
    fn exec_create(&self, id: TaskId, command: Command) -> Result<String> {
        self.worker()?.exec_create(id, command)
    }

    async fn exec_start(&self, exec: &str, size: Option<Size>) -> Result<ExecStreams> {
        let streams = self.worker()?.exec_start(exec, size).await?;
        Ok(ExecStreams { input: streams.input, output: streams.output })
    }

    async fn exec_resize(&self, exec: &str, size: Size) -> Result<()> {
        self.worker()?.exec_resize(exec, size).await
    }

    fn exec_status(&self, exec: &str) -> Result<Status> {
        self.worker()?.exec_status(exec)
    }

    fn execs_of(&self, id: TaskId) -> Vec<String> {
        self.node.worker().map(|worker| worker.execs_of(id)).unwrap_or_default()
    }

    fn exec_detached(&self, exec: &str) {
        if let Some(worker) = self.node.worker() {
            worker.exec_detached(exec);
        }
    }
}
