//! openraft's storage suite on our log and state machine.

use super::{Log, key};
use crate::raft::disk::Folder;
use crate::raft::machine::{Machine, View};
use crate::raft::types::Types;
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use openraft_rt_tokio::TokioRuntime;
use std::sync::Arc;
use tempfile::TempDir;

struct Builder;

impl StoreBuilder<Types<TokioRuntime>, Log, Machine<TokioRuntime>, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, Log, Machine<TokioRuntime>), StorageError<Types<TokioRuntime>>> {
        let folder = tempfile::tempdir().unwrap();
        let (log, _writer) = super::open(folder.path());
        let machine = Machine::open(Folder::of_machine(folder.path().to_owned(), key()), Arc::new(View::default())).unwrap();
        Ok((folder, log, machine))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_storage_keeps_openrafts_contract() {
    Suite::test_all(Builder).await.unwrap();
}
