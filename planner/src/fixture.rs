//! Small clusters for tests: nodes, specs, ids by number, a store that applies what it is told.
//!
//! Owns: nothing that ships. Every value is made from small numbers, so that failures read well.

use crate::{Draft, Store};
use std::sync::Arc;
use wsw_api::control::{Request, Rollback, Write};
use wsw_api::entry::{Applied, Change, Entry, Outcome};
use wsw_api::id::{ClusterId, NodeId, RequestId, ServiceId, SessionId, TaskId};
use wsw_api::object::{Cluster, JoinTokens, Meta, Node, NodeDescription, NodeState, NodeStatus};
use wsw_api::spec::{
    Annotations, Availability, ClusterSpec, ContainerSpec, EndpointSpec, NodeRole, NodeSpec, Platform, Resources, ServiceMode, ServiceSpec, TaskSpec,
};
use wsw_api::task::{DesiredState, Task, TaskState, TaskStatus};
use wsw_api::time::{SECOND, Time};

/// Sixteen bytes that say their number.
pub(crate) fn bytes(kind: u8, number: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[0] = kind;
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    bytes
}

pub(crate) fn node_id(number: u64) -> NodeId {
    NodeId::from_bytes(bytes(1, number))
}

pub(crate) fn service_id(number: u64) -> ServiceId {
    ServiceId::from_bytes(bytes(2, number))
}

pub(crate) fn task_id(number: u64) -> TaskId {
    TaskId::from_bytes(bytes(3, number))
}

/// A minting function that counts: ids in tests are the order in which they were made.
pub(crate) fn counter(kind: u8) -> impl FnMut() -> [u8; 16] {
    let mut next = 0;
    move || {
        next += 1;
        bytes(kind, next)
    }
}

/// A worker that is ready, with 4 CPUs and 8 GiB.
pub(crate) fn node(number: u64) -> Node {
    let platform = Platform { os: "linux".into(), architecture: "amd64".into() };
    let wasm = Platform { os: "wasi".into(), architecture: "wasm".into() };
    let description = NodeDescription {
        hostname: format!("n{number}"),
        platform: platform.clone(),
        platforms: vec![platform, wasm],
        resources: Resources { nano_cpus: 4_000_000_000, memory_bytes: 8 << 30, pids: 0 },
        ..NodeDescription::default()
    };
    Node {
        id: node_id(number),
        meta: Meta::default(),
        spec: NodeSpec { annotations: Annotations::default(), role: NodeRole::Worker, availability: Availability::Active },
        description: Arc::new(description),
        status: NodeStatus { state: NodeState::Ready, message: String::new(), addr: "127.0.0.1".into() },
        manager: None,
    }
}

/// The cluster object, with every setting at its default.
pub(crate) fn cluster_object() -> Cluster {
    Cluster {
        id: ClusterId::from_bytes(bytes(6, 1)),
        meta: Meta::default(),
        spec: ClusterSpec::default(),
        root_ca: String::new(),
        root_key: String::new(),
        join_tokens: JoinTokens { worker: String::new(), manager: String::new() },
        incarnation: 0,
        feature_level: 1,
        unlock_key: None,
        issuer: wsw_api::trust::Issuer::default(),
        cross_signed: None,
        rotation: None,
    }
}

/// A replicated service of a small image.
pub(crate) fn spec(name: &str, replicas: u64) -> ServiceSpec {
    ServiceSpec {
        annotations: Annotations { name: name.into(), ..Annotations::default() },
        task: TaskSpec { container: ContainerSpec { image: "app:latest".into(), ..ContainerSpec::default() }, ..TaskSpec::default() },
        mode: ServiceMode::Replicated { replicas },
        update: None,
        rollback: None,
        endpoint: EndpointSpec::default(),
    }
}

/// Applies changes without guards at the next index.
pub(crate) fn put(store: &mut Store, time: Time, changes: Vec<Change>) {
    let entry = Entry { time, changes, ..Entry::default() };
    assert_eq!(store.apply(store.index() + 1, &entry), Applied::Done);
}

/// A store with nodes 1 to `count`.
pub(crate) fn cluster(count: u64) -> Store {
    let mut store = Store::default();
    put(&mut store, Time(1), (1..=count).map(|number| Change::PutNode(Box::new(node(number)))).collect());
    store
}

/// A small world: a store, its agenda, a clock, and workers that do what they are told when `work` is called.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) agenda: crate::Agenda,
    pub(crate) now: Time,
    minted: u64,
}

impl World {
    /// Nodes 1 to `count`, all ready, with sessions.
    pub(crate) fn new(count: u64) -> Self {
        let mut world = Self { store: cluster(count), agenda: crate::Agenda::new(), now: Time(1_000 * SECOND), minted: 0 };
        world.apply((1..=count).map(|number| Change::NodeSession { id: node_id(number), session: session(number) }).collect());
        world
    }

    pub(crate) fn mint(&mut self) -> impl FnMut() -> [u8; 16] + '_ {
        || {
            self.minted += 1;
            bytes(9, self.minted)
        }
    }

    /// Applies an entry at the next index and feeds the agenda.
    pub(crate) fn commit(&mut self, entry: &Entry) -> Applied {
        let mut touched = crate::Touched::default();
        let applied = self.store.apply_touching(self.store.index() + 1, entry, &mut touched);
        self.agenda.touch(&touched);
        applied
    }

    pub(crate) fn apply(&mut self, changes: Vec<Change>) {
        let entry = Entry { time: self.now, changes, ..Entry::default() };
        assert_eq!(self.commit(&entry), Applied::Done);
    }

    /// One API write through a draft, with the plan that follows.
    pub(crate) fn write(&mut self, write: Write) -> wsw_api::Result<Outcome> {
        let (store, now) = (self.store.clone(), self.now);
        let mut draft = Draft::new(&store, now);
        let mut agenda = std::mem::take(&mut self.agenda);
        let request = Request { id: RequestId::from_bytes(bytes(8, self.minted)), write };
        self.minted += 1;
        let mut mint = self.mint();
        let answer = draft.write(&request, &mut mint);
        draft.plan(&mut agenda, &mut mint);
        drop(mint);
        self.agenda = agenda;
        for entry in draft.finish() {
            assert_eq!(self.commit(&entry), Applied::Done);
        }
        answer
    }

    /// Creates a service and answers its id.
    pub(crate) fn create(&mut self, spec: ServiceSpec) -> ServiceId {
        match self.write(Write::CreateService { spec: Box::new(spec) }) {
            Ok(Outcome::ServiceCreated { id, .. }) => id,
            other => panic!("{other:?}"),
        }
    }

    /// Changes a service's spec.
    pub(crate) fn update(&mut self, id: ServiceId, change: impl FnOnce(&mut ServiceSpec)) {
        let old = self.store.service(&id).unwrap();
        let (version, mut spec) = (old.meta.version, (*old.spec).clone());
        change(&mut spec);
        self.write(Write::UpdateService { id, version, spec: Box::new(spec), rollback: Rollback::No }).unwrap();
    }

    /// Plans what is due and applies it.
    pub(crate) fn plan(&mut self) -> crate::Plan {
        let dirty = self.agenda.take(self.now);
        let (store, now) = (self.store.clone(), self.now);
        let plan = crate::plan(&store, &dirty, now, &mut self.mint());
        self.agenda.absorb(&plan);
        for piece in &plan.pieces {
            let entry = Entry { time: now, requests: Vec::new(), guards: piece.guards.clone(), changes: piece.changes.clone() };
            assert_eq!(self.commit(&entry), Applied::Done);
        }
        plan
    }

    /// What every worker would say now: wanted tasks run, others are over.
    pub(crate) fn work(&mut self) {
        let tasks: Vec<Arc<Task>> = self.store.tasks().cloned().collect();
        for task in tasks {
            let Some(node) = task.node.and_then(|id| self.store.node(&id)) else { continue };
            if node.status.state == NodeState::Down || !task.status.state.is_live() {
                continue;
            }
            let next = match task.desired {
                DesiredState::Ready => TaskState::Ready,
                DesiredState::Running | DesiredState::Complete => TaskState::Running,
                DesiredState::Shutdown | DesiredState::Remove => TaskState::Shutdown,
            };
            self.say(&task, next);
        }
    }

    /// A worker's status for one task.
    pub(crate) fn say(&mut self, task: &Task, state: TaskState) {
        let Some(node) = task.node else { return };
        let Some(session) = self.store.session(&node) else { return };
        let rows = vec![(task.id, TaskStatus::new(state, self.now, state.as_str()))];
        self.apply(vec![Change::Statuses { node, session, rows }]);
    }

    /// Workers and planner take turns until nothing changes; time stands still.
    pub(crate) fn settle(&mut self) {
        for _ in 0..20 {
            self.work();
            if self.plan().is_empty() && !self.agenda.is_due(self.now) {
                return;
            }
        }
        panic!("does not settle");
    }

    pub(crate) fn node_status(&mut self, number: u64, state: NodeState) {
        let status = NodeStatus { state, message: String::new(), addr: "127.0.0.1".into() };
        self.apply(vec![Change::NodeStatus { id: node_id(number), status }]);
    }

    pub(crate) fn set_node(&mut self, number: u64, change: impl FnOnce(&mut Node)) {
        let mut node = (**self.store.node(&node_id(number)).unwrap()).clone();
        change(&mut node);
        self.apply(vec![Change::PutNode(Box::new(node))]);
    }

    /// The service's tasks, one line each: `slot node desired state [error]`.
    pub(crate) fn show(&self, service: ServiceId) -> String {
        let mut text = String::new();
        let mut tasks: Vec<&Arc<Task>> = self.store.tasks_of_service(&service).collect();
        tasks.sort_by_key(|task| (task.slot, task.node, task.meta.created_at, task.id));
        for task in tasks {
            let node = task.node.map_or("-".to_owned(), |id| self.store.node(&id).map_or("gone".into(), |node| node.description.hostname.clone()));
            let (desired, state) = (task.desired.as_str(), task.status.state.as_str());
            let err = if task.status.err.is_empty() { String::new() } else { format!(" [{}]", task.status.err) };
            text.push_str(&format!("{} {node} {desired} {state}{err}\n", task.slot));
        }
        text
    }
}

pub(crate) fn session(number: u64) -> SessionId {
    SessionId::from_bytes(bytes(7, number))
}
