//! Workers' sessions over the in-process transport.

use super::*;
use std::sync::Arc;
use tokio::sync::mpsc;
use wsw_api::id::{NodeId, SessionId, TaskId};
use wsw_api::object::NodeState;
use wsw_api::session::{AssignedTask, Goodbye, ManagerFrame, WorkerFrame};
use wsw_api::task::{DesiredState, TaskState, TaskStatus};
use wsw_api::time::Time;

struct Worker {
    to: mpsc::Sender<WorkerFrame>,
    from: mpsc::Receiver<ManagerFrame>,
    tasks: BTreeMap<TaskId, AssignedTask>,
    seq: u64,
}

impl Worker {
    async fn connect(manager: &Manager, boot: u8) -> Self {
        Self::connect_as(manager, manager.node_id(), boot).await
    }

    async fn connect_as(manager: &Manager, node: NodeId, boot: u8) -> Self {
        let (to, from) = manager.connect(None);
        to.send(WorkerFrame::Hello { node, boot: SessionId::from_bytes([boot; 16]), description: Arc::new(description()) }).await.unwrap();
        Self { to, from, tasks: BTreeMap::new(), seq: 0 }
    }

    /// Takes frames until the set satisfies `done`.
    async fn until(&mut self, done: impl Fn(&BTreeMap<TaskId, AssignedTask>) -> bool) {
        while !done(&self.tasks) {
            if let ManagerFrame::Assignments(part) = self.from.recv().await.unwrap() {
                self.tasks.extend(part.tasks.into_iter().map(|task| (task.id, task)));
                self.tasks.retain(|id, _| !part.removed.contains(id));
            }
        }
    }

    /// Reports a state for tasks and waits for the acknowledgement.
    async fn report(&mut self, tasks: &[TaskId], state: TaskState) {
        for part in tasks.chunks(wsw_api::session::MAX_STATUSES) {
            self.seq += 1;
            let rows = part.iter().map(|id| (*id, TaskStatus::new(state, Time(self.seq), "started"))).collect();
            self.to.send(WorkerFrame::Statuses { seq: self.seq, rows }).await.unwrap();
            loop {
                match self.from.recv().await.unwrap() {
                    ManagerFrame::Committed { seq } if seq == self.seq => break,
                    ManagerFrame::Assignments(part) => self.tasks.extend(part.tasks.into_iter().map(|task| (task.id, task))),
                    ManagerFrame::Managers(_) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}

async fn until(manager: &Manager, done: impl Fn(&wsw_planner::Store) -> bool) {
    let mut applied = manager.applied();
    while !done(&manager.store()) {
        applied.changed().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_scaled_assigned_reported_and_removed() {
    let root = tempfile::tempdir().unwrap();
    let manager = init(root.path()).await;
    let mut worker = Worker::connect(&manager, 1).await;
    assert!(matches!(worker.from.recv().await.unwrap(), ManagerFrame::Welcome { heartbeat_ns: 1_000_000_000, .. }));
    let node = manager.node_id();
    until(&manager, |store| store.node(&node).is_some_and(|node| node.status.state == NodeState::Ready)).await;
    let id = create(&manager, "web", 1).await;
    worker.until(|tasks| tasks.len() == 1).await;
    scale(&manager, id, 50).await;
    worker.until(|tasks| tasks.len() == 50).await;
    let tasks: Vec<TaskId> = worker.tasks.keys().copied().collect();
    worker.report(&tasks, TaskState::Running).await;
    // What is acknowledged is applied.
    let store = manager.store();
    assert_eq!(store.running_tasks(&id), 50);
    assert!(store.tasks_of_service(&id).all(|task| task.node == Some(node) && task.status.state == TaskState::Running));

    manager.write(Write::RemoveService { id }).await.unwrap();
    worker.until(|tasks| tasks.values().all(|task| task.desired > DesiredState::Running)).await;
    worker.report(&tasks, TaskState::Shutdown).await;
    worker.until(BTreeMap::is_empty).await;
    until(&manager, |store| store.task_count() == 0 && store.service(&id).is_none()).await;
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_of_ten_thousand_tasks_flow() {
    let root = tempfile::tempdir().unwrap();
    let manager = init(root.path()).await;
    let mut worker = Worker::connect(&manager, 1).await;
    let id = create(&manager, "many", 10_000).await;
    worker.until(|tasks| tasks.len() == 10_000).await;
    let tasks: Vec<TaskId> = worker.tasks.keys().copied().collect();
    let start = std::time::Instant::now();
    worker.report(&tasks, TaskState::Running).await;
    println!("10,000 statuses committed in {:?}", start.elapsed());
    assert_eq!(manager.store().running_tasks(&id), 10_000);
    manager.shutdown().await;
    let manager = restart(root.path()).await;
    assert_eq!(manager.store().running_tasks(&id), 10_000);
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newer_session_of_a_node_ends_the_older() {
    let root = tempfile::tempdir().unwrap();
    let manager = init(root.path()).await;
    let mut old = Worker::connect(&manager, 1).await;
    assert!(matches!(old.from.recv().await, Some(ManagerFrame::Welcome { .. })));
    let mut new = Worker::connect(&manager, 2).await;
    assert!(matches!(new.from.recv().await, Some(ManagerFrame::Welcome { .. })));
    loop {
        match old.from.recv().await {
            Some(ManagerFrame::Refused { reason }) => break assert!(reason.contains("newer session")),
            Some(_) => {}
            None => panic!("closed without a reason"),
        }
    }
    old.to.closed().await;
    create(&manager, "web", 1).await;
    new.until(|tasks| tasks.len() == 1).await;
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_and_a_frame_before_hello_are_turned_away() {
    let root = tempfile::tempdir().unwrap();
    let manager = init(root.path()).await;
    let mut stranger = Worker::connect_as(&manager, NodeId::from_bytes([9; 16]), 1).await;
    assert!(matches!(stranger.from.recv().await, Some(ManagerFrame::Refused { reason }) if reason.contains("not part of this cluster")));
    assert!(stranger.from.recv().await.is_none());
    let (to, mut from) = manager.connect(None);
    to.send(WorkerFrame::Heartbeat).await.unwrap();
    assert!(matches!(from.recv().await, Some(ManagerFrame::Refused { reason }) if reason.contains("hello")));
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_the_same_tasks_are_assigned_again() {
    let root = tempfile::tempdir().unwrap();
    let manager = init(root.path()).await;
    let mut worker = Worker::connect(&manager, 1).await;
    create(&manager, "web", 10).await;
    worker.until(|tasks| tasks.len() == 10).await;
    let tasks: Vec<TaskId> = worker.tasks.keys().copied().collect();
    worker.report(&tasks, TaskState::Running).await;
    worker.to.send(WorkerFrame::Goodbye(Goodbye::Restarting)).await.unwrap();
    worker.to.closed().await;
    manager.shutdown().await;

    let manager = restart(root.path()).await;
    let mut worker = Worker::connect(&manager, 2).await;
    worker.until(|tasks| tasks.len() == 10).await;
    assert_eq!(worker.tasks.keys().copied().collect::<Vec<_>>(), tasks);
    assert_eq!(manager.store().task_count(), 10, "nothing was replaced");
    manager.shutdown().await;
}
