//! Files of this node's tasks, as the API sees them (`docker cp`).
//!
//! Owns: that part of the seam to the daemon. What is written here is a node whose tasks are all Wasm.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use std::io;
use wsw_api::files::{Extract, NO_FILES, PathStat};
use wsw_api::{Error, Result, TaskId};

/// Bytes of an archive; an error is the last item.
pub type ArchiveStream = BoxStream<'static, io::Result<Bytes>>;

/// Files by task and path.
#[async_trait]
pub trait FileStore: Send + Sync + 'static {
    /// What a path is; class `NotFound` where nothing stands there.
    async fn path_stat(&self, _task: TaskId, _path: &str) -> Result<PathStat> {
        Err(Error::unimplemented(NO_FILES))
    }
    /// The same, and a tar of it.
    async fn path_archive(&self, _task: TaskId, _path: &str) -> Result<(PathStat, ArchiveStream)> {
        Err(Error::unimplemented(NO_FILES))
    }
    /// Unpacks an archive in a folder.
    async fn path_extract(&self, _task: TaskId, _path: &str, _how: Extract, _body: ArchiveStream) -> Result<()> {
        Err(Error::unimplemented(NO_FILES))
    }
}
