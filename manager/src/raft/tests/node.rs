//! A whole Raft of one: what was applied is there after snapshots, purges and restarts.

use super::key;
use super::log::segments;
use crate::raft::disk::{Folder, Sizes};
use crate::raft::machine::View;
use crate::raft::network::Network;
use crate::raft::node::{Node, Place, Timing, mint, read_id};
use crate::raft::types::Command;
use openraft_rt_tokio::TokioRuntime;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use wsw_api::Time;
use wsw_api::entry::{Applied, Change, Entry, Guard, Outcome};
use wsw_api::id::{NodeId, RequestId};
use wsw_api::object::{Meta, Node as NodeRecord, NodeDescription, NodeState, NodeStatus};
use wsw_api::spec::{Annotations, Availability, NodeRole, NodeSpec};

/// How long an answer is waited for before the question is repeated.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// A purge that has not come by then does not come: the test fails and does not hang.
const PURGE_BOUND: Duration = Duration::from_secs(60);

pub(super) type TokioNode = Node<TokioRuntime>;

fn place(folder: &Path) -> Place {
    Place { folder: Folder::of_machine(folder.to_owned(), key()), id: read_id(folder).unwrap().unwrap(), cluster: "test".into(), timing: Timing::Lan }
}

pub(super) async fn open(folder: &Path) -> (TokioNode, Arc<View>) {
    open_place(place(folder)).await
}

async fn open_place(place: Place) -> (TokioNode, Arc<View>) {
    let view = Arc::new(View::default());
    let node = TokioNode::open(&place, view.clone(), Network::alone(place.folder.clone())).await.unwrap();
    node.initialize("127.0.0.1:2377").await.unwrap();
    assert!(node.stand_if_alone().await.unwrap());
    node.lead().await.unwrap();
    (node, view)
}

/// An entry that puts one node with a large label, under a request id.
pub(super) fn put(n: u8, label: usize) -> Entry {
    let spec =
        NodeSpec { annotations: Annotations { name: "x".repeat(label), ..Annotations::default() }, role: NodeRole::Worker, availability: Availability::Active };
    let node = NodeRecord {
        id: NodeId::from_bytes([n; 16]),
        meta: Meta::default(),
        spec,
        description: Arc::new(NodeDescription::default()),
        status: NodeStatus { state: NodeState::Ready, message: String::new(), addr: String::new() },
        manager: None,
    };
    let request = RequestId::from_bytes([n; 16]);
    Entry {
        time: Time(u64::from(n)),
        requests: vec![(request, Outcome::Done)],
        guards: vec![Guard::RequestNew(request)],
        changes: vec![Change::PutNode(Box::new(node))],
    }
}

/// Takes a snapshot of everything so far. One that the compactor has under way makes Raft pass over the request, so it is asked again.
async fn snapshot(node: &TokioNode, last: u64) {
    let metrics = || node.raft.wait(Some(ASK_AGAIN));
    while metrics().metrics(|metrics| metrics.snapshot.as_ref().is_some_and(|id| id.index >= last), "snapshot").await.is_err() {
        node.raft.trigger().snapshot().await.unwrap();
    }
    while metrics().metrics(|metrics| metrics.purged.as_ref().is_some_and(|id| id.index >= last), "purge").await.is_err() {
        node.raft.trigger().purge_log(last).await.unwrap();
    }
}

pub(super) async fn write(node: &TokioNode, entry: Entry) -> Applied {
    node.raft.client_write(Command(Arc::new(entry))).await.unwrap().data
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_and_the_log_after_it_make_the_same_state() {
    let folder = tempfile::tempdir().unwrap();
    mint(folder.path()).unwrap();
    let (node, view) = open(folder.path()).await;
    for n in 0..30 {
        assert_eq!(write(&node, put(n, 700_000)).await, Applied::Done);
    }
    let last = *view.applied().borrow();
    let before = segments(folder.path()).len();
    snapshot(&node, last).await;
    for n in 30..35 {
        assert_eq!(write(&node, put(n, 10)).await, Applied::Done);
    }
    let expected = view.store().to_snapshot();
    node.close().await.unwrap();
    assert!(segments(folder.path()).len() < before);

    for _ in 0..2 {
        let (node, view) = open(folder.path()).await;
        let mut found = view.store().to_snapshot();
        found.index = expected.index; // the new leader's blank entry
        assert!(found == expected);
        // A request that was applied before the snapshot is still known.
        assert!(matches!(write(&node, put(3, 10)).await, Applied::Refused(_)));
        node.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_grows_is_cut_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    mint(folder.path()).unwrap();
    let kept = 1024 * 1024;
    let mut place = place(folder.path());
    place.folder.sizes = Sizes { kept, ..Sizes::default() };
    let (node, view) = open_place(place).await;
    // 40 entries of 700 kB about the same three nodes: the log outgrows the state.
    for n in 0..40 {
        let mut entry = put(n % 3, 700_000);
        (entry.requests, entry.guards) = (Vec::new(), Vec::new());
        assert_eq!(write(&node, entry).await, Applied::Done);
    }
    node.raft.wait(Some(PURGE_BOUND)).metrics(|metrics| metrics.purged.is_some(), "a purge").await.unwrap();
    let expected = view.store().to_snapshot();
    node.close().await.unwrap();
    let left: u64 = segments(folder.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(left < 20 * 1024 * 1024, "{left} bytes");
    let (node, view) = open(folder.path()).await;
    assert!(view.store().to_snapshot().nodes == expected.nodes);
    node.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_without_its_snapshot_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    mint(folder.path()).unwrap();
    let (node, view) = open(folder.path()).await;
    write(&node, put(1, 10)).await;
    let last = *view.applied().borrow();
    snapshot(&node, last).await;
    write(&node, put(2, 10)).await;
    node.close().await.unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "snapshot") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let refused = TokioNode::open(&place(folder.path()), Arc::new(View::default()), Network::alone(place(folder.path()).folder)).await.err().unwrap();
    assert!(refused.to_string().contains("purged"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_minted_once_per_folder() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert_eq!(read_id(one.path()).unwrap(), None);
    let id = mint(one.path()).unwrap();
    assert_eq!(read_id(one.path()).unwrap(), Some(id));
    assert_ne!(mint(other.path()).unwrap(), id);
    std::fs::write(one.path().join("id.json"), r#"{"format":9,"raft_id":1}"#).unwrap();
    assert!(read_id(one.path()).unwrap_err().to_string().contains("newer build"));
}
