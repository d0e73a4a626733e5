//! A backend in memory: a store that is filled through `apply`, and tasks that run as soon as they are wanted.
//!
//! Owns: what the tests (and `examples/serve.rs`) stand on. It stands for the daemon, so it decides as little as possible: no
//! scheduling, no restarts, every image exists.

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::broadcast;
use wsw_api::control::{Rollback, Write};
use wsw_api::entry::{Change, Entry, NewTask, NewTasks, Outcome};
use wsw_api::event::{Action, Event, Kind};
use wsw_api::log::{self, Line, Stream};
use wsw_api::network::Network;
use wsw_api::object::{JoinTokens, ManagerStatus, Meta, NodeDescription, NodeState, NodeStatus, Template};
use wsw_api::spec::{Annotations, Availability, ClusterSpec, NodeRole, NodeSpec, Platform, Resources, ServiceMode, ServiceSpec};
use wsw_api::task::DesiredState;
use wsw_api::time::SECOND;
use wsw_api::usage::Usage;
use wsw_api::{Cluster, ClusterId, Error, NetworkId, Node, NodeId, Result, Service, ServiceId, SessionId, TaskId, TaskState, TaskStatus, Time};
use wsw_dockerapi::backend::{Backend, InitRequest, JoinSwarm, LocalNode, LocalTask, LogStream, LogsOf, Rotate, SwarmState, Until};
use wsw_dockerapi::backend::{ExecStore, FileStore};
use wsw_dockerapi::image_store::Image;
use wsw_dockerapi::volume_store::Volume;
use wsw_planner::Store;

#[path = "fixture_images.rs"]
mod images;
#[path = "fixture_volumes.rs"]
mod volumes;

/// The moment at which the tests live: 2023-11-14T22:13:20Z.
pub const NOW: Time = Time(1_700_000_000 * SECOND);
pub const NODE: NodeId = NodeId::from_bytes([1; 16]);
const SESSION: SessionId = SessionId::from_bytes([2; 16]);
const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

pub struct Fixture {
    clock: fn() -> Time,
    pub state: Mutex<State>,
    counter: AtomicU64,
    events: broadcast::Sender<Event>,
}

pub struct State {
    pub store: Store,
    pub swarm: bool,
    pub past: Vec<Event>,
    pub images: Vec<Image>,
    pub loaded: Vec<u8>,
    pub volumes: BTreeMap<String, Volume>,
    pub put_away: Vec<TaskId>,
}

impl Fixture {
    /// A node outside of a swarm, at the fixed moment.
    pub fn inactive() -> Arc<Self> {
        Self::new(|| NOW)
    }

    pub fn new(clock: fn() -> Time) -> Arc<Self> {
        let state = State {
            store: Store::default(),
            swarm: false,
            past: Vec::new(),
            images: vec![image()],
            loaded: Vec::new(),
            volumes: BTreeMap::new(),
            put_away: Vec::new(),
        };
        Arc::new(Self { clock, state: Mutex::new(state), counter: AtomicU64::new(0), events: broadcast::channel(64).0 })
    }

    /// A manager of a swarm of one.
    pub fn swarm() -> Arc<Self> {
        let fixture = Self::inactive();
        fixture.init(ClusterSpec::default());
        fixture
    }

    pub fn init(&self, spec: ClusterSpec) {
        let platform = Platform { os: "linux".into(), architecture: "amd64".into() };
        let description = NodeDescription {
            hostname: "host".into(),
            platform: platform.clone(),
            platforms: vec![platform, Platform { os: "wasi".into(), architecture: "wasm".into() }],
            resources: Resources { nano_cpus: 2_000_000_000, memory_bytes: 4 << 30, pids: 0 },
            engine_version: "0.1.0".into(),
            plugins: vec![("Runtime".into(), "io.wsw.wasm.v1".into())],
            trust_root: "PEM\n".into(),
            ..Default::default()
        };
        let node = Node {
            id: NODE,
            meta: Meta::default(),
            spec: NodeSpec { annotations: Annotations::default(), role: NodeRole::Manager, availability: Availability::Active },
            description: Arc::new(description),
            status: NodeStatus { state: NodeState::Ready, message: String::new(), addr: "127.0.0.1".into() },
            manager: Some(ManagerStatus { raft_id: 1, addr: "127.0.0.1:2377".into() }),
        };
        let cluster = Cluster {
            id: ClusterId::from_bytes([3; 16]),
            meta: Meta::default(),
            spec,
            root_ca: "PEM\n".into(),
            root_key: "TOP SECRET".into(),
            join_tokens: JoinTokens { worker: "SWMTKN-1-root-worker".into(), manager: "SWMTKN-1-root-manager".into() },
            incarnation: 1,
            feature_level: 1,
            unlock_key: None,
            issuer: wsw_api::trust::Issuer::default(),
            cross_signed: None,
            rotation: None,
        };
        self.state.lock().unwrap().swarm = true;
        self.apply(vec![Change::PutCluster(Box::new(cluster)), Change::PutNode(Box::new(node)), Change::NodeSession { id: NODE, session: SESSION }]);
    }

    pub fn apply(&self, changes: Vec<Change>) {
        let mut state = self.state.lock().unwrap();
        let index = state.store.index() + 1;
        state.store.apply(index, &Entry { time: (self.clock)(), changes, ..Default::default() });
    }

    pub fn store(&self) -> Store {
        self.state.lock().unwrap().store.clone()
    }

    fn mint(&self) -> [u8; 16] {
        let n = u128::from(self.counter.fetch_add(1, Ordering::Relaxed) + 1);
        (n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) ^ (n << 64)).to_be_bytes()
    }

    pub fn event(&self, kind: Kind, action: Action, id: String, name: &str) {
        let event = Event { time: (self.clock)(), kind, action, id, detail: String::new(), attributes: BTreeMap::from([("name".into(), name.into())]) };
        self.state.lock().unwrap().past.push(event.clone());
        let _ = self.events.send(event);
    }

    /// Puts the service as its spec says and makes its tasks run (or go) at once.
    fn put(&self, id: ServiceId, spec: ServiceSpec) {
        let store = self.store();
        let old = store.service(&id);
        let same = old.filter(|old| old.spec.task == spec.task && old.spec.endpoint == spec.endpoint);
        let version = same.map_or_else(|| old.map_or(1, |old| old.template + 1), |old| old.template);
        let template =
            Template { service: id, version, annotations: spec.annotations.clone(), spec: Arc::new(spec.task.clone()), endpoint: spec.endpoint.clone() };
        let mut ports = spec.endpoint.ports.clone();
        ports.iter_mut().filter(|port| port.published == 0).for_each(|port| port.published = 30_000 + store.services().count() as u16);
        let wanted = match spec.mode {
            ServiceMode::Replicated { replicas } => replicas as u32,
            _ => 1,
        };
        let job = spec.mode.is_job().then(wsw_api::object::JobStatus::default);
        let service = Service {
            id,
            meta: Meta::default(),
            spec: Arc::new(spec),
            previous_spec: old.map(|old| old.spec.clone()),
            template: version,
            previous_template: old.map(|old| old.template),
            ports,
            update_status: None,
            pending_delete: false,
            job,
        };
        let tasks: Vec<_> = store.tasks_of_service(&id).collect();
        let gone = tasks.iter().filter(|task| task.slot > wanted || task.template != version).map(|task| task.id).collect();
        let kept: Vec<u32> = tasks.iter().filter(|task| task.template == version).map(|task| task.slot).collect();
        let missing = (1..=wanted).filter(|slot| !kept.contains(slot));
        let rows: Vec<_> = missing.map(|slot| NewTask { id: TaskId::from_bytes(self.mint()), slot, node: Some(0), replaces: None }).collect();
        let status = TaskStatus { pid: Some(42), ..TaskStatus::new(TaskState::Running, (self.clock)(), "started") };
        let statuses = rows.iter().map(|row| (row.id, status.clone())).collect();
        self.apply(vec![
            Change::PutTemplate(Arc::new(template)),
            Change::PutService(Box::new(service)),
            Change::RemoveTasks(gone),
            Change::CreateTasks(NewTasks {
                service: id,
                template: version,
                desired: DesiredState::Running,
                restart_at: None,
                job_iteration: 0,
                nodes: vec![NODE],
                rows,
                attempts: 0,
            }),
            Change::Statuses { node: NODE, session: SESSION, rows: statuses },
        ]);
    }
}

/// The one image that is there.
fn image() -> Image {
    Image {
        digest: DIGEST.into(),
        tags: vec!["app:latest".into()],
        platform: Platform { os: "wasi".into(), architecture: "wasm".into() },
        size: 1_234_567,
        created: Some(Time(NOW.0 - 3_600 * SECOND)),
        labels: BTreeMap::new(),
        wasm_kind: Some(wsw_api::shim::Kind::Http),
        entrypoint: vec!["/app.wasm".into()],
        cmd: Vec::new(),
        env: vec!["FROM=image".into()],
        working_dir: "/".into(),
        manifest_media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        manifest_size: 512,
        layers: vec![DIGEST.replace("aaaa", "bbbb")],
        ..Image::default()
    }
}

#[async_trait]
impl Backend for Fixture {
    fn local(&self) -> LocalNode {
        let state = self.state.lock().unwrap();
        let addr: SocketAddr = "127.0.0.1:2377".parse().unwrap();
        LocalNode {
            installation_id: "installation".into(),
            hostname: "host".into(),
            swarm: if state.swarm { SwarmState::Manager { node: NODE, cluster: ClusterId::from_bytes([3; 16]), addr } } else { SwarmState::Inactive },
            data_root: "/var/lib/wsw".into(),
            operating_system: "Test Linux".into(),
            kernel_version: "6.1.0".into(),
            platform: Platform { os: "linux".into(), architecture: "amd64".into() },
            cpus: 2,
            memory_bytes: 4 << 30,
            running: state.store.task_count() as u64,
            stopped: 0,
            images: state.images.len() as u64,
            description: NodeDescription { plugins: vec![("Runtime".into(), "io.wsw.wasm.v1".into())], ..NodeDescription::default() },
            cgroup_version: Some(1),
            version: "0.1.0".into(),
            now: (self.clock)(),
        }
    }

    async fn view(&self) -> Result<Store> {
        let state = self.state.lock().unwrap();
        if state.swarm { Ok(state.store.clone()) } else { Err(Error::unavailable(NOT_IN_SWARM)) }
    }

    async fn write(&self, write: Write) -> Result<Outcome> {
        let store = self.view().await?;
        match write {
            Write::CreateService { spec } => {
                let name = spec.annotations.name.clone();
                if store.service_by_name(&name).is_some() {
                    return Err(Error::conflict(format!("service {name} already exists")));
                }
                let id = ServiceId::from_bytes(self.mint());
                self.put(id, *spec);
                self.event(Kind::Service, Action::Create, id.to_string(), &name);
                Ok(Outcome::ServiceCreated { id, warnings: Vec::new() })
            }
            Write::UpdateService { id, version, spec, rollback } => {
                let old = store.service(&id).unwrap();
                if old.meta.version != version {
                    return Err(Error::conflict("update out of sequence"));
                }
                let spec = if rollback == Rollback::Previous { (**old.previous_spec.as_ref().unwrap()).clone() } else { *spec };
                self.put(id, spec);
                self.event(Kind::Service, Action::Update, id.to_string(), old.name());
                Ok(Outcome::Warnings(Vec::new()))
            }
            Write::RemoveService { id } => {
                let name = store.service(&id).unwrap().name().to_owned();
                let tasks = store.tasks_of_service(&id).map(|task| task.id).collect();
                self.apply(vec![Change::RemoveTasks(tasks), Change::RemoveService(id)]);
                self.event(Kind::Service, Action::Remove, id.to_string(), &name);
                Ok(Outcome::Done)
            }
            Write::UpdateNode { id, spec, .. } => {
                let mut node = (**store.node(&id).unwrap()).clone();
                node.spec = *spec;
                self.apply(vec![Change::PutNode(Box::new(node))]);
                Ok(Outcome::Done)
            }
            Write::WithRegistryAuth { write, .. } => self.write(*write).await,
            Write::RemoveNode { .. } => Err(Error::invalid("node is not down and can't be removed")),
            Write::UpdateCluster { .. } | Write::AddNode { .. } | Write::EnrollManager { .. } => Ok(Outcome::Done),
            Write::CreateNetwork { spec } => {
                let id = NetworkId::from_bytes(self.mint());
                self.apply(vec![Change::PutNetwork(Box::new(Network { id, meta: Meta::default(), spec: *spec }))]);
                Ok(Outcome::NetworkCreated { id })
            }
            Write::RemoveNetwork { id } => {
                // Only the planner knows who may remove what: here the service goes first.
                let services: Vec<_> = store.network_user(&id).into_iter().collect();
                for service in services {
                    let tasks = store.tasks_of_service(&service).map(|task| task.id).collect();
                    self.apply(vec![Change::RemoveTasks(tasks), Change::RemoveService(service)]);
                }
                self.apply(vec![Change::RemoveNetwork(id)]);
                Ok(Outcome::Done)
            }
        }
    }

    async fn swarm_init(&self, request: InitRequest) -> Result<NodeId> {
        if self.state.lock().unwrap().swarm {
            return Err(Error::unavailable("This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and join another one."));
        }
        self.init(request.spec);
        Ok(NODE)
    }

    async fn swarm_join(&self, request: JoinSwarm) -> Result<()> {
        request.remote_addrs.first().map(drop).ok_or_else(|| Error::invalid("at least 1 RemoteAddr is required to join"))
    }
    async fn swarm_unlock(&self, key: &str) -> Result<()> {
        self.view().await?;
        Err(if key.is_empty() { Error::invalid("invalid key string") } else { Error::conflict("swarm is not locked") })
    }

    async fn swarm_leave(&self, _force: bool) -> Result<()> {
        self.view().await?;
        let mut state = self.state.lock().unwrap();
        (state.swarm, state.store) = (false, Store::default());
        Ok(())
    }

    async fn swarm_update(&self, version: u64, spec: ClusterSpec, rotate: Rotate) -> Result<()> {
        let mut cluster = (**self.view().await?.cluster().unwrap()).clone();
        if cluster.meta.version != version {
            return Err(Error::conflict("update out of sequence"));
        }
        cluster.spec = spec;
        if rotate.worker_token {
            cluster.join_tokens.worker.push_str("-new");
        }
        if rotate.unlock_key {
            cluster.unlock_key = Some(wsw_api::unlock::UnlockKey::from_body("new"));
        }
        self.apply(vec![Change::PutCluster(Box::new(cluster))]);
        Ok(())
    }

    async fn events(&self, since: Option<Time>) -> BoxStream<'static, Event> {
        let live = self.events.subscribe();
        let past: Vec<Event> = since.map(|since| self.state.lock().unwrap().past.iter().filter(|e| e.time >= since).cloned().collect()).unwrap_or_default();
        let live = stream::unfold(live, |mut live| async move { live.recv().await.ok().map(|event| (event, live)) });
        stream::iter(past).chain(live).boxed()
    }

    async fn logs(&self, of: LogsOf, query: log::Query) -> Result<LogStream> {
        let store = self.view().await?;
        let tasks: Vec<_> = match of {
            LogsOf::Service(id) => store.tasks_of_service(&id).cloned().collect(),
            LogsOf::Task(id) => store.task(&id).cloned().into_iter().collect(),
        };
        let line = |task: &wsw_api::Task, stream: Stream, text: &str| Line {
            time: NOW,
            stream,
            node: NODE,
            service: task.service,
            task: task.id,
            text: text.as_bytes().to_vec(),
        };
        let mut lines = Vec::new();
        for task in &tasks {
            lines.push(Ok(line(task, Stream::Stdout, &format!("hello from {}\n", task.slot))));
            lines.push(Ok(line(task, Stream::Stderr, "a warning\n")));
        }
        lines.retain(|line: &Result<Line>| line.as_ref().is_ok_and(|line| if line.stream == Stream::Stdout { query.stdout } else { query.stderr }));
        let lines = stream::iter(lines);
        Ok(if query.follow { lines.chain(stream::pending()).boxed() } else { lines.boxed() })
    }

    fn tasks(&self) -> Vec<LocalTask> {
        let store = self.store();
        let local = |task: &Arc<wsw_api::Task>| LocalTask {
            id: task.id,
            service: task.service,
            slot: task.slot,
            template: store.template(&task.service, task.template).cloned(),
            status: task.status.clone(),
            created: task.meta.created_at,
            started: Some(task.status.at),
            finished: None,
            health: None,
        };
        let put_away = self.state.lock().unwrap().put_away.clone();
        store.tasks_on_node(&NODE).map(local).filter(|task| !put_away.contains(&task.id)).collect()
    }

    async fn task_kill(&self, id: TaskId, signal: u32) -> Result<()> {
        if signal == 10 {
            return Err(Error::invalid("signal 10: means nothing to a Wasm task"));
        }
        let status = TaskStatus { exit_code: Some(128 + signal), ..TaskStatus::new(TaskState::Failed, (self.clock)(), "started") };
        self.apply(vec![Change::Statuses { node: NODE, session: SESSION, rows: vec![(id, status)] }]);
        Ok(())
    }

    async fn task_usage(&self, id: TaskId) -> Result<Usage> {
        let running = self.store().task(&id).is_some_and(|task| task.status.state == TaskState::Running);
        let cpu_nanos = self.counter.fetch_add(1, Ordering::Relaxed) * 1_000;
        if running {
            Ok(Usage { cpu_nanos, memory_bytes: 1 << 20, memory_limit: None, pids: 1, ..Usage::default() })
        } else {
            Err(Error::conflict("not running"))
        }
    }

    async fn task_wait(&self, id: TaskId, _until: Until) -> Option<LocalTask> {
        self.tasks().into_iter().find(|task| task.id == id)
    }

    async fn task_put_away(&self, id: TaskId) -> Result<()> {
        self.state.lock().unwrap().put_away.push(id);
        Ok(())
    }

    fn pruned(&self, kind: Kind, reclaimed: u64) {
        let _ = self.events.send(wsw_dockerapi::prune_event((self.clock)(), kind, reclaimed));
    }

    fn machine_nanos(&self) -> u64 {
        1_000_000_000
    }
}

#[async_trait]
impl ExecStore for Fixture {}
impl FileStore for Fixture {}

/// moby's words.
const NOT_IN_SWARM: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.";
