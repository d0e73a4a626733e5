//! Commands in this node's tasks, for the API.
//!
//! Owns: the translation between the crates' types. Never: keeps any (the worker does).

use super::backend::DaemonBackend;
use async_trait::async_trait;
use wsw_api::exec::{Command, Size, Status};
use wsw_api::{Error, Result, TaskId};
use wsw_dockerapi::backend::{ExecStore, ExecStreams};

/// `ps` answers within a fraction of a second.
const PS_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

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

    async fn pids_of(&self, task: TaskId) -> Result<Option<Vec<u32>>> {
        self.worker()?.pids(task).await
    }

    async fn ps(&self, words: &[String]) -> Result<String> {
        let mut command = tokio::process::Command::new("ps");
        command.args(words).stdin(std::process::Stdio::null()).kill_on_drop(true);
        let failed = |why: String| Error::internal(format!("error running ps: {why}"));
        let output = tokio::time::timeout(PS_LIMIT, command.output()).await;
        let output = output.map_err(|_| failed(format!("no answer within {} s", PS_LIMIT.as_secs())))?.map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn execs_of(&self, id: TaskId) -> Vec<String> {
        self.node.worker().map(|worker| worker.execs_of(id)).unwrap_or_default()
    }

    async fn attach(&self, task: TaskId, input: bool) -> Result<Option<ExecStreams>> {
        let attached = self.worker()?.attach(task, input).await?;
        Ok(attached.map(|attached| ExecStreams { input: attached.input, output: attached.output }))
    }

    fn detached(&self, task: TaskId) {
        if let Some(worker) = self.node.worker() {
            worker.detached(task);
        }
    }

    async fn resize(&self, task: TaskId, size: Size) -> Result<()> {
        self.worker()?.resize(task, size).await
    }

    fn exec_detached(&self, exec: &str) {
        if let Some(worker) = self.node.worker() {
            worker.exec_detached(exec);
        }
    }
}
