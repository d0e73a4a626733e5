//! How fast the planner decides: 50,000 tasks of one service on 1,000 nodes, decided, and decided and applied with all indexes.
//!
//! `cargo bench -p wsw-planner`; the limits of the project are 0.1 s and 0.25 s. Also: one failed task among 50,000, which shows
//! that the cost of a small change stays small, and what a placed task takes in the log and in (resident) memory, printed once.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;
use wsw_api::control::{Request, Write};
use wsw_api::entry::{Change, Entry};
use wsw_api::id::{NodeId, RequestId, SessionId};
use wsw_api::object::{Meta, Node, NodeDescription, NodeState, NodeStatus};
use wsw_api::spec::{Annotations, Availability, ContainerSpec, EndpointSpec, NodeRole, NodeSpec, Resources, ServiceMode, ServiceSpec, TaskSpec};
use wsw_api::task::{TaskState, TaskStatus};
use wsw_api::time::Time;
use wsw_planner::{Agenda, Dirty, Draft, Store, Touched, plan};

const NODES: u64 = 1_000;
const TASKS: u64 = 50_000;

/// Resident memory of this process; zero where the kernel does not say.
#[allow(clippy::disallowed_methods)] // The bench measures, the crate does not.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse::<usize>().ok()).unwrap_or(0) * 1024
}

/// Ids as random as the planner's data structures can tell: a multiplication spreads the counter over all bits.
fn mint(counter: &mut u64) -> [u8; 16] {
    *counter += 1;
    let mixed = u128::from(*counter).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    mixed.to_be_bytes()
}

fn node(counter: &mut u64) -> Node {
    let resources = Resources { nano_cpus: 64_000_000_000, memory_bytes: 256 << 30, pids: 0 };
    Node {
        id: NodeId::from_bytes(mint(counter)),
        meta: Meta::default(),
        spec: NodeSpec { annotations: Annotations::default(), role: NodeRole::Worker, availability: Availability::Active },
        description: Arc::new(NodeDescription { hostname: "node".into(), resources, ..NodeDescription::default() }),
        status: NodeStatus { state: NodeState::Ready, message: String::new(), addr: String::new() },
        manager: None,
    }
}

fn spec(replicas: u64) -> ServiceSpec {
    let mut task = TaskSpec { container: ContainerSpec { image: "app:latest".into(), ..ContainerSpec::default() }, ..TaskSpec::default() };
    task.resources.reservations = Resources { nano_cpus: 10_000_000, memory_bytes: 64 << 20, pids: 0 };
    ServiceSpec {
        annotations: Annotations { name: "web".into(), ..Annotations::default() },
        task,
        mode: ServiceMode::Replicated { replicas },
        update: None,
        rollback: None,
        endpoint: EndpointSpec::default(),
    }
}

/// A cluster with the service written and nothing planned.
fn cluster() -> (Store, u64) {
    let mut counter = 0;
    let mut store = Store::default();
    let changes = (0..NODES).map(|_| Change::PutNode(Box::new(node(&mut counter)))).collect();
    store.apply(1, &Entry { time: Time(1), changes, ..Entry::default() });
    let mut draft = Draft::new(&store, Time(2));
    let request = Request { id: RequestId::from_bytes(mint(&mut counter)), write: Write::CreateService { spec: Box::new(spec(TASKS)) } };
    let _ = draft.write(&request, &mut || mint(&mut counter));
    for entry in draft.finish() {
        store.apply(store.index() + 1, &entry);
    }
    (store, counter)
}

fn decide(store: &Store, counter: &mut u64) -> wsw_planner::Plan {
    plan(store, &Dirty::everything(), Time(3), &mut || mint(counter))
}

fn apply(store: &mut Store, plan: wsw_planner::Plan) -> Touched {
    let mut touched = Touched::default();
    for piece in plan.pieces {
        let entry = Entry { time: Time(3), requests: Vec::new(), guards: piece.guards, changes: piece.changes };
        black_box(store.apply_touching(store.index() + 1, &entry, &mut touched));
    }
    touched
}

/// All tasks placed and running.
fn running() -> (Store, u64) {
    let (mut store, mut counter) = cluster();
    let planned = decide(&store, &mut counter);
    apply(&mut store, planned);
    let session = SessionId::from_bytes(mint(&mut counter));
    let nodes: Vec<NodeId> = store.nodes().map(|node| node.id).collect();
    let mut changes: Vec<Change> = nodes.iter().map(|id| Change::NodeSession { id: *id, session }).collect();
    for node in nodes {
        let rows = store.tasks_on_node(&node).map(|task| (task.id, TaskStatus::new(TaskState::Running, Time(4), "started"))).collect();
        changes.push(Change::Statuses { node, session, rows });
    }
    store.apply(store.index() + 1, &Entry { time: Time(4), changes, ..Entry::default() });
    (store, counter)
}

fn memory() {
    let (mut store, mut counter) = cluster();
    let planned = decide(&store, &mut counter);
    let bytes: usize = planned.pieces.iter().filter_map(|piece| rmp_serde::to_vec(&(&piece.guards, &piece.changes)).ok()).map(|bytes| bytes.len()).sum();
    let before = resident();
    drop(apply(&mut store, planned));
    let after = resident();
    let tasks = store.task_count();
    println!("{tasks} tasks placed: {} bytes each in the log, {} bytes each in memory", bytes / tasks, after.saturating_sub(before) / tasks);
}

fn bench(c: &mut Criterion) {
    memory();
    let (store, counter) = cluster();
    let mut group = c.benchmark_group("plan");
    group.sample_size(20);
    group.bench_function("50,000 tasks on 1,000 nodes: decided", |b| {
        b.iter_batched(|| counter, |mut counter| decide(&store, &mut counter), BatchSize::PerIteration);
    });
    group.bench_function("50,000 tasks on 1,000 nodes: decided and applied", |b| {
        b.iter_batched(
            || (store.clone(), counter),
            |(mut store, mut counter)| {
                let planned = decide(&store, &mut counter);
                apply(&mut store, planned);
                store
            },
            BatchSize::PerIteration,
        );
    });
    let (store, counter) = running();
    group.bench_function("1 of 50,000 running tasks fails: drafted", |b| {
        b.iter_batched(
            || {
                let mut agenda = Agenda::new();
                agenda.take(Time(5));
                (agenda, counter)
            },
            |(mut agenda, mut counter)| {
                let failed = store.tasks().next().and_then(|task| Some((task.id, task.node?)));
                let changes = failed.and_then(|(id, node)| {
                    let rows = vec![(id, TaskStatus::new(TaskState::Failed, Time(5), "x"))];
                    Some(vec![Change::Statuses { node, session: store.session(&node)?, rows }])
                });
                let mut draft = Draft::new(&store, Time(5));
                draft.change(changes.unwrap_or_default());
                draft.plan(&mut agenda, &mut || mint(&mut counter));
                draft.finish()
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
