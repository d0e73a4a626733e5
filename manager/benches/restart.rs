//! How long a manager takes from `restart` to leading again, with a 256 MiB log; and how fast statuses and writes are committed.
//!
//! `cargo bench -p wsw-manager --bench restart`. The figures of the issue: a restart under 0.5 s, 20,000 statuses a second.

#![allow(clippy::expect_used, clippy::panic)] // A bench that cannot go on has nothing to say.

use openraft_rt_tokio::TokioRuntime;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use wsw_api::control::{Rollback, Write};
use wsw_api::entry::{Change, Entry, Outcome};
use wsw_api::id::{ServiceId, SessionId, TaskId};
use wsw_api::object::NodeDescription;
use wsw_api::session::{MAX_STATUSES, ManagerFrame, WorkerFrame};
use wsw_api::spec::{Annotations, Availability, ClusterSpec, ContainerSpec, EndpointSpec, ServiceMode, ServiceSpec, TaskSpec};
use wsw_api::task::{TaskState, TaskStatus};
use wsw_api::time::Time;
use wsw_manager::identity::Identity;
use wsw_manager::raft::disk::{Folder, Sizes};
use wsw_manager::raft::machine::View;
use wsw_manager::raft::network;
use wsw_manager::raft::node;
use wsw_manager::raft::types::Command;
use wsw_manager::{Config, InitSpec, Manager};

/// The log's size on disk when the restart is measured.
const LOG_BYTES: u64 = 256 * 1024 * 1024;
const TASKS: u64 = 10_000;
const RESTARTS: usize = 5;

fn config(root: &Path) -> Config {
    Config {
        data_root: root.to_owned(),
        advertise_addr: SocketAddr::from(([127, 0, 0, 1], 2377)),
        hostname: "bench".into(),
        description: NodeDescription::default(),
        managers: Vec::new(),
        timing: node::Timing::Lan,
        unlock: None,
    }
}

fn spec(name: &str, replicas: u64) -> Box<ServiceSpec> {
    Box::new(ServiceSpec {
        annotations: Annotations { name: name.into(), labels: BTreeMap::new() },
        task: TaskSpec { container: ContainerSpec { image: "app:latest".into(), ..ContainerSpec::default() }, ..TaskSpec::default() },
        mode: ServiceMode::Replicated { replicas },
        update: None,
        rollback: None,
        endpoint: EndpointSpec::default(),
    })
}

async fn create(manager: &Manager, name: &str, replicas: u64) -> ServiceId {
    match manager.write(Write::CreateService { spec: spec(name, replicas) }).await.expect("created") {
        Outcome::ServiceCreated { id, .. } => id,
        other => panic!("{other:?}"),
    }
}

struct Worker {
    to: mpsc::Sender<WorkerFrame>,
    from: mpsc::Receiver<ManagerFrame>,
    tasks: Vec<TaskId>,
    seq: u64,
}

impl Worker {
    async fn connect(manager: &Manager) -> Self {
        let (to, from) = manager.connect(None);
        let description = Arc::new(NodeDescription::default());
        to.send(WorkerFrame::Hello { node: manager.node_id(), boot: SessionId::from_bytes([1; 16]), description }).await.expect("sent");
        Self { to, from, tasks: Vec::new(), seq: 0 }
    }

    async fn tasks(&mut self, wanted: usize) {
        while self.tasks.len() < wanted {
            if let ManagerFrame::Assignments(part) = self.from.recv().await.expect("open") {
                self.tasks.extend(part.tasks.iter().map(|task| task.id));
            }
        }
    }

    /// Reports a new status of every task, in frames of the largest size, and waits until all are committed.
    async fn report(&mut self, message: &str) {
        for part in self.tasks.chunks(MAX_STATUSES) {
            self.seq += 1;
            let rows = part.iter().map(|id| (*id, TaskStatus::new(TaskState::Running, Time(self.seq), message))).collect();
            self.to.send(WorkerFrame::Statuses { seq: self.seq, rows }).await.expect("sent");
        }
        loop {
            match self.from.recv().await.expect("open") {
                ManagerFrame::Committed { seq } if seq == self.seq => return,
                ManagerFrame::Refused { reason } => panic!("{reason}"),
                _ => {}
            }
        }
    }
}

fn disk(root: &Path, extension: &str) -> u64 {
    let files = std::fs::read_dir(root.join("raft")).expect("folder").map(|entry| entry.expect("entry"));
    files.filter(|file| file.path().extension().is_some_and(|found| found == extension)).map(|file| file.metadata().expect("size").len()).sum()
}

async fn grow(root: &Path) -> usize {
    let init = InitSpec { spec: ClusterSpec::default(), availability: Availability::Active };
    let manager = Manager::bootstrap(config(root), init).await.expect("init");
    let mut worker = Worker::connect(&manager).await;
    let service = create(&manager, "small", 1).await;
    worker.tasks(1).await;
    let version = manager.store().service(&service).expect("there").meta.version;
    let start = Instant::now();
    manager.write(Write::UpdateService { id: service, version, spec: spec("small", 50), rollback: Rollback::No }).await.expect("scaled");
    let applied = start.elapsed();
    worker.tasks(50).await;
    println!("scale 1 -> 50: applied after {applied:?}, assigned after {:?}", start.elapsed());

    let start = Instant::now();
    create(&manager, "large", TASKS).await;
    println!("create {TASKS} tasks: applied after {:?}", start.elapsed());
    worker.tasks(50 + TASKS as usize).await;
    println!("create {TASKS} tasks: assigned after {:?}", start.elapsed());

    let (start, mut rounds) = (Instant::now(), 0_u32);
    while start.elapsed() < Duration::from_secs(3) {
        worker.report(&format!("round {rounds}")).await;
        rounds += 1;
    }
    let rate = f64::from(rounds) * worker.tasks.len() as f64 / start.elapsed().as_secs_f64();
    println!("statuses committed: {rate:.0} a second");
    let tasks = manager.store().task_count();
    manager.shutdown().await;
    lengthen(root, &worker.tasks).await;
    println!("log {} MiB, snapshot {} MiB, {tasks} tasks", disk(root, "log") >> 20, disk(root, "snapshot") >> 20);
    tasks
}

/// Writes entries of statuses until the log is long enough. Snapshots are taken as ever, but nothing is purged.
async fn lengthen(root: &Path, tasks: &[TaskId]) {
    let identity = Identity::load(root, None).expect("identity").expect("there");
    let folder = root.join("raft");
    let id = node::read_id(&folder).expect("id").expect("there");
    let sizes = Sizes { kept: 2 * LOG_BYTES, ..Sizes::default() };
    let folder = Folder { sizes, ..Folder::of_machine(folder, identity.data_key) };
    let place = node::Place { folder, id, cluster: "bench".into(), timing: node::Timing::Lan };
    let view = Arc::new(View::default());
    let network = network::Network::alone(place.folder.clone());
    let raft = node::Node::<TokioRuntime>::open(&place, view.clone(), network).await.expect("opened");
    assert!(raft.stand_if_alone().await.expect("stood"));
    raft.lead().await.expect("leads");
    let session = view.store().session(&identity.node).expect("a session");
    let mut at = view.store().time().0;
    while disk(root, "log") < LOG_BYTES {
        for part in tasks.chunks(MAX_STATUSES) {
            at += 1;
            let rows = part.iter().map(|id| (*id, TaskStatus::new(TaskState::Running, Time(at), "started"))).collect();
            let entry = Entry { time: Time(at), changes: vec![Change::Statuses { node: identity.node, session, rows }], ..Entry::default() };
            raft.raft.client_write(Command(Arc::new(entry))).await.expect("written");
        }
    }
    raft.close().await.expect("closed");
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    runtime.block_on(async {
        let root = tempfile::tempdir().expect("folder");
        let tasks = grow(root.path()).await;
        let mut took = Vec::new();
        for _ in 0..RESTARTS {
            let start = Instant::now();
            let manager = Manager::restart(config(root.path())).await.expect("opened").expect("a member");
            took.push(start.elapsed());
            assert_eq!(manager.store().task_count(), tasks);
            manager.shutdown().await;
        }
        took.sort();
        println!("restart until it leads: median {:?}, all {took:?}", took[RESTARTS / 2]);
    });
}
