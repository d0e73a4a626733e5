//! Commands in this node's tasks, as the API sees them.
//!
//! Owns: that part of the seam to the daemon. What is written here is a node whose tasks are all Wasm.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use wsw_api::exec::{Command, NO_SHELL, NO_TERMINAL, Size, Status};
use wsw_api::{Error, Result, TaskId, log};

/// The streams of a command that runs.
pub struct ExecStreams {
    /// Dropped: the command reads an end.
    pub input: Option<mpsc::Sender<Bytes>>,
    /// Ends after the command's code is known; when it is dropped, the output goes nowhere.
    pub output: mpsc::Receiver<(log::Stream, Bytes)>,
}

/// Commands by their ids.
#[async_trait]
pub trait ExecStore: Send + Sync + 'static {
    /// Makes a command in a running task; its id.
    fn exec_create(&self, _task: TaskId, _command: Command) -> Result<String> {
        Err(Error::unimplemented(NO_SHELL))
    }
    /// Runs it.
    async fn exec_start(&self, exec: &str, _size: Option<Size>) -> Result<ExecStreams> {
        Err(no_such(exec))
    }
    async fn exec_resize(&self, exec: &str, _size: Size) -> Result<()> {
        Err(no_such(exec))
    }
    fn exec_status(&self, exec: &str) -> Result<Status> {
        Err(no_such(exec))
    }
    /// Commands of a task that run.
    fn execs_of(&self, _task: TaskId) -> Vec<String> {
        Vec::new()
    }
    /// Processes of a running task on this node; none for a Wasm task.
    async fn pids_of(&self, _task: TaskId) -> Result<Option<Vec<u32>>> {
        Ok(None)
    }
    /// What this node's `ps` prints, with these words.
    async fn ps(&self, _words: &[String]) -> Result<String> {
        Err(Error::unimplemented("top with the processes of a container: this node has none"))
    }
    /// The streams of a running task, with its input where it has one and it is asked for; none for a Wasm task, whose log is all there is.
    async fn attach(&self, _task: TaskId, _input: bool) -> Result<Option<ExecStreams>> {
        Ok(None)
    }
    /// A client left a task by the keys of its terminal.
    fn detached(&self, _task: TaskId) {}
    /// Tells a task's terminal its size.
    async fn resize(&self, _task: TaskId, _size: Size) -> Result<()> {
        Err(Error::unimplemented(NO_TERMINAL))
    }
    /// Its client left it by the keys of the terminal.
    fn exec_detached(&self, _exec: &str) {}
}

/// moby's words.
fn no_such(exec: &str) -> Error {
    Error::not_found(format!("No such exec instance: {exec}"))
}
