//! A scripted leader at the other end of a session, and a worker to talk to.

use super::fake::node_id;
use super::script::{Script, Scripted};
use crate::relay::{Relay, Shims};
use crate::{Config, Handover, Worker};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;
use wsw_api::object::NodeDescription;
use wsw_api::session::{Assignments, MAX_FRAMES, ManagerFrame, WorkerFrame};
use wsw_api::shim::HandoverOutcome;
use wsw_api::{ServiceId, SessionId, TaskId, TaskState, TaskStatus};

/// A node without any task for connections.
pub(crate) struct Nobody;

#[async_trait]
impl Handover for Nobody {
    async fn handover(&self, _: ServiceId, _: u16, _: SocketAddr, _: BorrowedFd<'_>) -> wsw_runtime::Result<HandoverOutcome> {
        Ok(HandoverOutcome::None)
    }
    async fn flow(&self, _: ServiceId, _: u16, _: SocketAddr, _: BorrowedFd<'_>) -> wsw_runtime::Result<HandoverOutcome> {
        Ok(HandoverOutcome::None)
    }
}

pub(crate) fn config(root: &Path) -> Config {
    Config {
        node: node_id(1),
        hostname: "n1".into(),
        data_root: root.to_owned(),
        publish_addr: Some("127.0.0.1".parse().unwrap()),
        description: NodeDescription { hostname: "n1".into(), ..NodeDescription::default() },
        relay: Relay::new(node_id(1), 1 << 30, Box::new(Shims(Arc::new(Nobody)))),
    }
}

pub(crate) async fn worker(root: &Path, script: &Arc<Script>) -> Worker {
    worker_with(root, script, Arc::new(Nobody)).await
}

pub(crate) async fn worker_with(root: &Path, script: &Arc<Script>, handover: Arc<dyn Handover>) -> Worker {
    Worker::start(config(root), Arc::new(Scripted(Arc::clone(script))), handover).await.unwrap()
}

/// The leader's end.
pub(crate) struct Leader {
    pub(crate) tx: mpsc::Sender<ManagerFrame>,
    pub(crate) rx: mpsc::Receiver<WorkerFrame>,
    /// What was reported, merged as the store does.
    pub(crate) statuses: BTreeMap<TaskId, TaskStatus>,
    /// All that was reported, in order.
    pub(crate) history: Vec<(TaskId, TaskStatus)>,
    pub(crate) description: Arc<NodeDescription>,
    pub(crate) boot: SessionId,
}

impl Leader {
    /// Opens a session: hello and welcome.
    pub(crate) async fn welcome(worker: &Worker) -> Self {
        let (to_leader, mut rx) = mpsc::channel(MAX_FRAMES);
        let (tx, from_leader) = mpsc::channel(MAX_FRAMES);
        worker.connect(to_leader, from_leader);
        let Some(WorkerFrame::Hello { boot, description, .. }) = rx.recv().await else { panic!("no hello") };
        tx.send(ManagerFrame::Welcome { session: SessionId::default(), heartbeat_ns: 1_000_000_000 }).await.unwrap();
        Self { tx, rx, statuses: BTreeMap::new(), history: Vec::new(), description, boot }
    }

    pub(crate) async fn assign(&self, assignments: Assignments) {
        self.tx.send(ManagerFrame::Assignments(assignments)).await.unwrap();
    }

    /// The next frame, taken in; its batch number when it needs an answer.
    pub(crate) async fn read(&mut self) -> Option<u64> {
        match self.rx.recv().await.expect("the worker ended the session") {
            WorkerFrame::Statuses { seq, rows } => {
                for (id, status) in rows {
                    self.history.push((id, status.clone()));
                    if self.statuses.get(&id).is_none_or(|old| status.supersedes(old)) {
                        self.statuses.insert(id, status);
                    }
                }
                Some(seq)
            }
            WorkerFrame::Describe(description) => {
                self.description = description;
                None
            }
            _ => None,
        }
    }

    /// Reads and commits until the condition holds.
    pub(crate) async fn until(&mut self, holds: impl Fn(&Self) -> bool) {
        while !holds(self) {
            if let Some(seq) = self.read().await {
                self.tx.send(ManagerFrame::Committed { seq }).await.unwrap();
            }
        }
    }

    pub(crate) async fn until_state(&mut self, task: TaskId, state: TaskState) {
        self.until(|leader| leader.state(task) == Some(state)).await;
    }

    pub(crate) fn state(&self, task: TaskId) -> Option<TaskState> {
        self.statuses.get(&task).map(|status| status.state)
    }
}
