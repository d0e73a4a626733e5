//! Files of this node's tasks, for the API.
//!
//! Owns: the translation between the crates' types. Never: opens one (the runtime does).

use super::backend::DaemonBackend;
use async_trait::async_trait;
use futures_util::StreamExt;
use wsw_api::event::CopyStep;
use wsw_api::files::{Extract, PathStat};
use wsw_api::{Result, TaskId};
use wsw_dockerapi::backend::{ArchiveStream, FileStore};

#[async_trait]
impl FileStore for DaemonBackend {
    async fn path_stat(&self, task: TaskId, path: &str) -> Result<PathStat> {
        self.worker()?.inside(task).await?.stat(path).await
    }

    async fn path_archive(&self, task: TaskId, path: &str) -> Result<(PathStat, ArchiveStream)> {
        let worker = self.worker()?;
        let (stat, mut pieces) = worker.inside(task).await?.archive(path).await?;
        worker.copied(task, CopyStep::Out);
        Ok((stat, futures_util::stream::poll_fn(move |context| pieces.poll_recv(context)).boxed()))
    }

    async fn path_extract(&self, task: TaskId, path: &str, how: Extract, body: ArchiveStream) -> Result<()> {
        let worker = self.worker()?;
        worker.inside(task).await?.extract(path, how, tokio_util::io::StreamReader::new(body)).await?;
        worker.copied(task, CopyStep::In);
        Ok(())
    }
}
