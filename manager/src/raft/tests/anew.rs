//! A folder of Raft that begins anew: all that is durable counts, in a log of one voter.

use super::node::{open, put, write};
use super::{append, drop_log, id, key};
use crate::raft::anew::make;
use crate::raft::node::{mint, read_id};
use crate::raft::types::{Command, Payload, RaftEntry};
use std::sync::Arc;
use wsw_api::entry::Applied;

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_committed_counts_and_an_error_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("raft");
    mint(&folder).unwrap();
    let (node, view) = open(&folder).await;
    for n in 0..10 {
        assert_eq!(write(&node, put(n, 10)).await, Applied::Done);
    }
    let last = *view.applied().borrow();
    node.close().await.unwrap();
    // What another leader sent, which died before it could say that a majority has it.
    let (mut log, writer) = super::open(&folder);
    let sent = (0..3_u8).map(|n| RaftEntry { log_id: id(40, last + 1 + u64::from(n)), payload: Payload::Normal(Command(Arc::new(put(20 + n, 10)))) });
    append(&mut log, sent).await.unwrap();
    drop_log(log, writer).await;

    let old = read_id(&folder).unwrap().unwrap();
    let (at, data_key) = (folder.clone(), key());
    let failed = tokio::task::spawn_blocking(move || make(&at, &data_key, "127.0.0.1:9", |_, _| Err(std::io::Error::other("no")))).await.unwrap();
    assert_eq!((failed.unwrap_err().to_string().as_str(), read_id(&folder).unwrap()), ("no", Some(old)));
    let (at, data_key) = (folder.clone(), key());
    let first = move |store: &wsw_planner::Store, _| {
        assert_eq!(store.nodes().count(), 13);
        Ok(put(50, 10))
    };
    let new = tokio::task::spawn_blocking(move || make(&at, &data_key, "127.0.0.1:9", first)).await.unwrap().unwrap();
    assert!(new != old && read_id(&folder).unwrap() == Some(new));
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1, "nothing of the old one is left");
    for n in [60, 61] {
        let (node, view) = open(&folder).await;
        assert_eq!(write(&node, put(n, 10)).await, Applied::Done);
        assert_eq!(view.store().nodes().count(), usize::from(n) - 45);
        let voters = node.raft.with_raft_state(|state| state.membership_state.effective().membership().voter_ids().collect::<Vec<_>>()).await.unwrap();
        assert_eq!(voters, [new]);
        node.close().await.unwrap();
    }
}
