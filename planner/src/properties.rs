//! Properties of the planner over random histories, and of `apply` over garbage.
//!
//! Owns: the histories. Each step is small and made of small numbers, so that a shrunk failure reads as a story.

use crate::fixture::{self, World, node_id, service_id, session, spec, task_id};
use crate::store::Store;
use crate::{Agenda, Dirty, plan};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use wsw_api::control::Write;
use wsw_api::entry::{Applied, Change, Entry, Guard, NewTask, NewTasks, Outcome};
use wsw_api::id::{NodeId, RequestId, ServiceId, TaskId};
use wsw_api::object::{NodeState, Service, Template};
use wsw_api::spec::{Availability, EndpointSpec, PortConfig, Protocol, PublishMode, RestartCondition, ServiceMode, ServiceSpec};
use wsw_api::task::{DesiredState, TaskState, TaskStatus};
use wsw_api::time::{SECOND, Time};

/// One event of a history.
#[derive(Debug, Clone)]
enum Step {
    Create(Sketch),
    Scale(u8, u64),
    Update(u8, u64),
    Remove(u8),
    Node(u8, NodeState),
    Availability(u8, Availability),
    Zone(u8, bool),
    AddNode,
    RemoveNode(u8),
    /// The nth task says that it ended so.
    End(u8, TaskState),
    Work,
    Pass(u64),
}

/// A service's spec in small numbers.
#[derive(Debug, Clone)]
struct Sketch {
    replicas: u64,
    global: bool,
    condition: RestartCondition,
    attempts: u64,
    delay: u64,
    reserve: u64,
    max_per_node: u64,
    constrained: bool,
    host_port: bool,
    spread: bool,
}

fn sketch() -> impl Strategy<Value = Sketch> {
    let condition = prop_oneof![4 => Just(RestartCondition::Any), 1 => Just(RestartCondition::OnFailure), 1 => Just(RestartCondition::None)];
    let policy = (condition, prop_oneof![3 => Just(0_u64), 1 => 1..3_u64], 0..3_u64);
    let place = (prop_oneof![2 => Just(0_u64), 1 => 1..3_u64], any::<bool>(), prop::bool::weighted(0.2), any::<bool>());
    (0..7_u64, prop::bool::weighted(0.25), policy, 0..3_u64, place).prop_map(
        |(replicas, global, (condition, attempts, delay), reserve, (max_per_node, constrained, host_port, spread))| Sketch {
            replicas,
            global,
            condition,
            attempts,
            delay,
            reserve,
            max_per_node,
            constrained,
            host_port,
            spread,
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let state = prop_oneof![Just(NodeState::Ready), Just(NodeState::Down), Just(NodeState::Unknown), Just(NodeState::Disconnected)];
    let availability = prop_oneof![Just(Availability::Active), Just(Availability::Pause), Just(Availability::Drain)];
    let end = prop_oneof![Just(TaskState::Failed), Just(TaskState::Complete), Just(TaskState::Rejected), Just(TaskState::Shutdown)];
    let step = prop_oneof![
        3 => sketch().prop_map(Step::Create),
        3 => (any::<u8>(), 0..8_u64).prop_map(|(at, n)| Step::Scale(at, n)),
        2 => (any::<u8>(), 0..4_u64).prop_map(|(at, n)| Step::Update(at, n)),
        1 => any::<u8>().prop_map(Step::Remove),
        3 => (any::<u8>(), state).prop_map(|(at, state)| Step::Node(at, state)),
        3 => (any::<u8>(), availability).prop_map(|(at, availability)| Step::Availability(at, availability)),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(at, east)| Step::Zone(at, east)),
        1 => Just(Step::AddNode),
        1 => any::<u8>().prop_map(Step::RemoveNode),
        6 => (any::<u8>(), end).prop_map(|(at, state)| Step::End(at, state)),
        5 => Just(Step::Work),
        4 => (0..90_u64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..40)
}

impl Sketch {
    fn spec(&self, name: &str) -> ServiceSpec {
        let mut spec = spec(name, self.replicas);
        if self.global {
            spec.mode = ServiceMode::Global;
        }
        spec.task.restart.condition = self.condition;
        spec.task.restart.max_attempts = self.attempts;
        spec.task.restart.delay = self.delay * SECOND;
        spec.task.resources.reservations.memory_bytes = self.reserve << 30;
        spec.task.placement.max_replicas = if self.global { 0 } else { self.max_per_node };
        if self.constrained {
            spec.task.placement.constraints = vec!["node.labels.zone==east".into()];
        }
        if self.spread {
            spec.task.placement.spread = vec!["node.labels.zone".into()];
        }
        if self.host_port {
            spec.endpoint.ports = vec![PortConfig { target: 80, published: 8080, mode: PublishMode::Host, ..PortConfig::default() }];
        }
        spec
    }
}

fn nth<T: Clone>(items: impl Iterator<Item = T>, at: u8) -> Option<T> {
    let items: Vec<T> = items.collect();
    if items.is_empty() { None } else { items.get(usize::from(at) % items.len()).cloned() }
}

/// Does one step; what a user or a worker does, never the planner.
fn take(world: &mut World, step: &Step, names: &mut u32) {
    let service = |world: &World, at| nth(world.store.services().map(|service| service.id), at);
    let node = |world: &World, at| nth(world.store.nodes().cloned(), at);
    match step {
        Step::Create(sketch) => {
            *names += 1;
            world.create(sketch.spec(&format!("s{names}")));
        }
        Step::Scale(at, replicas) => {
            if let Some(id) = service(world, *at).filter(|id| matches!(world.store.service(id).unwrap().spec.mode, ServiceMode::Replicated { .. })) {
                world.update(id, |spec| spec.mode = ServiceMode::Replicated { replicas: *replicas });
            }
        }
        Step::Update(at, force) => {
            if let Some(id) = service(world, *at) {
                world.update(id, |spec| spec.task.force_update = *force);
            }
        }
        Step::Remove(at) => {
            if let Some(id) = service(world, *at) {
                world.write(Write::RemoveService { id }).unwrap();
            }
        }
        Step::Node(at, state) => {
            if let Some(mut node) = node(world, *at).map(|node| (*node).clone()) {
                node.status.state = *state;
                world.apply(vec![Change::NodeStatus { id: node.id, status: node.status }]);
            }
        }
        Step::Availability(at, availability) => {
            if let Some(mut node) = node(world, *at).map(|node| (*node).clone()) {
                node.spec.availability = *availability;
                world.apply(vec![Change::PutNode(Box::new(node))]);
            }
        }
        Step::Zone(at, east) => {
            if let Some(mut node) = node(world, *at).map(|node| (*node).clone()) {
                node.spec.annotations.labels.insert("zone".into(), if *east { "east" } else { "west" }.into());
                world.apply(vec![Change::PutNode(Box::new(node))]);
            }
        }
        Step::AddNode => {
            let number = 10 + world.store.index();
            let session = Change::NodeSession { id: node_id(number), session: session(number) };
            world.apply(vec![Change::PutNode(Box::new(fixture::node(number))), session]);
        }
        Step::RemoveNode(at) => {
            if let Some(id) = node(world, *at).map(|node| node.id) {
                world.write(Write::RemoveNode { id, force: true }).unwrap();
            }
        }
        Step::End(at, state) => {
            if let Some(task) = nth(world.store.tasks().filter(|task| task.node.is_some()).cloned(), *at) {
                world.say(&task, *state);
            }
        }
        Step::Work => world.work(),
        Step::Pass(seconds) => world.now = world.now.after(seconds * SECOND),
    }
}

/// At most one runnable task per slot, or per node for global services.
fn check_slots(store: &Store) {
    let mut seen: BTreeMap<(ServiceId, u32, Option<NodeId>), TaskId> = BTreeMap::new();
    for task in store.tasks().filter(|task| task.is_runnable()) {
        let global = store.service(&task.service).is_some_and(|service| service.spec.mode == ServiceMode::Global);
        let other = seen.insert((task.service, task.slot, task.node.filter(|_| global)), task.id);
        assert_eq!(other, None, "two runnable tasks in slot {} of {}", task.slot, task.service);
    }
}

/// Tasks that were placed between two states are on nodes that every filter allows.
fn check_places(before: &Store, after: &Store) {
    for task in after.tasks().filter(|task| task.node.is_some() && before.task(&task.id).is_none_or(|old| old.node.is_none())) {
        let node = after.node(&task.node.unwrap()).expect("placed on a node that exists");
        assert_eq!((node.status.state, node.spec.availability), (NodeState::Ready, Availability::Active), "placed on a node that takes no tasks");
        let template = after.template(&task.service, task.template).unwrap();
        if !template.spec.placement.constraints.is_empty() {
            assert_eq!(node.spec.annotations.labels.get("zone").map(String::as_str), Some("east"), "placed against a constraint");
        }
        let max = template.spec.placement.max_replicas;
        let active = after.placed(&task.service).find(|(id, _)| *id == node.id).map_or(0, |(_, placed)| placed.active);
        assert!(max == 0 || u64::from(active) <= max, "more than {max} replicas on a node");
    }
    for node in after.nodes() {
        assert!(after.load(&node.id).memory_bytes <= node.description.resources.memory_bytes, "more reserved than there is");
        let held = after.tasks_on_node(&node.id).filter(|task| task.status.state.is_live());
        let ports = held.filter(|task| after.template(&task.service, task.template).is_some_and(|template| !template.endpoint.ports.is_empty()));
        assert!(ports.count() <= 1, "one host port twice on a node");
    }
}

fn check_forward(before: &Store, after: &Store) {
    for old in before.tasks() {
        if let Some(new) = after.task(&old.id) {
            assert!(new.desired >= old.desired && new.status.state >= old.status.state, "a task moved back");
            assert!(old.node.is_none() || new.node == old.node, "a task moved to another node");
        }
    }
}

/// Plans all that is due, with every check.
fn plan_and_check(world: &mut World) {
    let before = world.store.clone();
    let dirty = world.agenda.clone().take(world.now);
    let first = plan(&before, &dirty, world.now, &mut fixture::counter(4));
    assert_eq!(first, plan(&before, &dirty, world.now, &mut fixture::counter(4)), "the same inputs give the same plan");
    world.plan();
    check_all(&before, world);
    // What a plan ends (a task that lost its place) may make room; that is a mark, and the next pass uses it.
    for _ in 0..2 {
        if world.agenda.is_due(world.now) {
            world.plan();
        }
    }
    check_settled(world);
}

/// A full sweep finds nothing to do. It may put a reason in newer words: what other services took since is part of it.
fn check_settled(world: &mut World) {
    let sweep = |world: &World| plan(&world.store, &Dirty::everything(), world.now, &mut fixture::counter(5));
    let again = sweep(world);
    let rest: Vec<&Change> = again.changes().filter(|change| !matches!(change, Change::Explain { .. })).collect();
    assert!(rest.is_empty(), "a plan leaves nothing to plan: {rest:?}");
    world.apply(again.changes().cloned().collect());
    assert!(sweep(world).is_empty(), "reasons do not settle");
}

fn check_all(before: &Store, world: &World) {
    check_slots(&world.store);
    check_places(before, &world.store);
    check_forward(before, &world.store);
    world.store.assert_consistent();
}

/// With all nodes back and time to pass, every service gets what it asks for.
fn check_recovery(world: &mut World) {
    let nodes: Vec<Arc<wsw_api::object::Node>> = world.store.nodes().cloned().collect();
    for node in nodes {
        let mut node = (*node).clone();
        node.status.state = NodeState::Ready;
        node.spec.availability = Availability::Active;
        world.apply(vec![Change::PutNode(Box::new(node))]);
    }
    for _ in 0..200 {
        world.settle();
        match world.agenda.next_wake() {
            Some(at) => world.now = world.now.max(at),
            None => break,
        }
    }
    for service in world.store.all_services() {
        assert!(!service.pending_delete, "a removed service is gone once its nodes are back");
        let ServiceMode::Replicated { replicas } = service.spec.mode else { continue };
        let wanted = u64::try_from(world.store.tasks_of_service(&service.id).filter(|task| task.is_runnable()).count()).unwrap();
        let policy = &service.spec.task.restart;
        if policy.condition == RestartCondition::Any && policy.max_attempts == 0 {
            assert_eq!(wanted, replicas, "{}", service.name());
        }
        for task in world.store.tasks_of_service(&service.id).filter(|task| task.is_runnable()) {
            let explained = task.node.is_none() && task.status.err.starts_with("no suitable node");
            assert!(explained || (task.status.state == TaskState::Running && task.desired == DesiredState::Running), "{task:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn histories_keep_every_property(steps in steps()) {
        let mut world = World::new(3);
        let mut names = 0;
        plan_and_check(&mut world);
        for step in &steps {
            let before = world.store.clone();
            take(&mut world, step, &mut names);
            check_all(&before, &world);
            plan_and_check(&mut world);
        }
        check_recovery(&mut world);
    }

    #[test]
    fn a_new_leader_plans_as_the_old_one_would(steps in steps()) {
        let mut world = World::new(3);
        let mut names = 0;
        for step in &steps {
            take(&mut world, step, &mut names);
            world.plan();
        }
        while world.agenda.is_due(world.now) {
            world.plan();
        }
        let full = plan(&world.store, &Agenda::new().take(world.now), world.now, &mut fixture::counter(4));
        prop_assert_eq!(full.wake_at(), world.agenda.next_wake());
        check_settled(&mut world);
    }

    #[test]
    fn garbage_never_panics_and_leaves_the_indexes_whole(entries in prop::collection::vec(garbage(), 1..30)) {
        let mut store = fixture::cluster(3);
        for (index, entry) in (10..).zip(&entries) {
            let before = store.clone();
            let applied = store.apply(index, entry);
            if let Applied::Refused(_) = applied {
                prop_assert_eq!(store.to_snapshot().tasks, before.to_snapshot().tasks);
            }
            store.assert_consistent();
            check_forward_states(&before, &store);
        }
        let planned = plan(&store, &Dirty::everything(), Time(99 * SECOND), &mut fixture::counter(6));
        let mut store = store;
        for piece in planned.pieces {
            let entry = Entry { time: Time(99 * SECOND), requests: Vec::new(), guards: piece.guards, changes: piece.changes };
            prop_assert_eq!(store.apply(store.index() + 1, &entry), Applied::Done);
        }
        store.assert_consistent();
    }
}

fn check_forward_states(before: &Store, after: &Store) {
    for old in before.tasks() {
        if let Some(new) = after.task(&old.id).filter(|new| new.meta.created_at == old.meta.created_at && new.meta.version >= old.meta.version) {
            assert!(new.desired >= old.desired || new.service != old.service || new.slot != old.slot, "desired state moved back");
        }
    }
}

fn garbage() -> impl Strategy<Value = Entry> {
    let guard = prop_oneof![
        small().prop_map(|n| Guard::NodeExists(node_id(n))),
        small().prop_map(|n| Guard::ServiceExists(service_id(n))),
        small().prop_map(|n| Guard::TaskExists(task_id(n))),
        (small(), small()).prop_map(|(n, v)| Guard::ServiceVersion(service_id(n), v)),
        (small(), small()).prop_map(|(n, v)| Guard::TemplateExists(service_id(n), v)),
        small().prop_map(|n| Guard::ServiceNameAbsent(format!("s{n}"))),
        small().prop_map(|n| Guard::RequestNew(RequestId::from_bytes(fixture::bytes(8, n)))),
        (small(), small()).prop_map(|(n, p)| Guard::PortFree(service_id(n), Protocol::Tcp, p as u16)),
        small().prop_map(Guard::ClusterVersion),
    ];
    let guards = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(guard, 1..3)];
    let requests = prop::collection::vec(small().prop_map(|n| (RequestId::from_bytes(fixture::bytes(8, n)), Outcome::Done)), 0..2);
    (small(), requests, guards, prop::collection::vec(garbage_change(), 0..6)).prop_map(|(time, requests, guards, changes)| Entry {
        time: Time(time),
        requests,
        guards,
        changes,
    })
}

fn small() -> std::ops::Range<u64> {
    0..6
}

fn garbage_change() -> impl Strategy<Value = Change> {
    let state = prop_oneof![
        Just(TaskState::New),
        Just(TaskState::Assigned),
        Just(TaskState::Running),
        Just(TaskState::Failed),
        Just(TaskState::Shutdown),
        Just(TaskState::Orphaned)
    ];
    let status = (state, small()).prop_map(|(state, at)| TaskStatus::new(state, Time(at), "x"));
    let desired = prop_oneof![Just(DesiredState::Ready), Just(DesiredState::Running), Just(DesiredState::Shutdown), Just(DesiredState::Remove)].boxed();
    let tasks = prop::collection::vec(small().prop_map(task_id), 0..5).boxed();
    let nodes = prop::collection::vec(small().prop_map(node_id), 0..3).boxed();
    let row = (small(), 0..4_u32, prop::option::of(0..4_u32)).prop_map(|(id, slot, node)| NewTask { id: task_id(id), slot, node, replaces: None });
    let new = (small(), small(), desired.clone(), nodes.clone(), prop::collection::vec(row, 0..5)).prop_map(|(service, template, desired, nodes, rows)| {
        Change::CreateTasks(NewTasks { service: service_id(service), template, desired, restart_at: None, job_iteration: 0, nodes, rows })
    });
    let service = (small(), small(), prop::option::of(small()), any::<bool>(), 0..3_u16).prop_map(|(id, template, previous, gone, port)| {
        Change::PutService(Box::new(Service {
            id: service_id(id),
            meta: Default::default(),
            spec: Arc::new(spec(&format!("s{}", id % 3), template)),
            previous_spec: None,
            template,
            previous_template: previous,
            ports: vec![PortConfig { target: 80, published: port, ..PortConfig::default() }],
            update_status: None,
            pending_delete: gone,
        }))
    });
    let template = (small(), small()).prop_map(|(id, version)| {
        Change::PutTemplate(Arc::new(Template {
            service: service_id(id),
            version,
            annotations: Default::default(),
            spec: Arc::new(spec("t", 1).task),
            endpoint: EndpointSpec { ports: vec![PortConfig { published: 80, mode: PublishMode::Host, ..PortConfig::default() }], ..EndpointSpec::default() },
        }))
    });
    prop_oneof![
        3 => service,
        3 => template,
        4 => new,
        1 => small().prop_map(|n| Change::PutNode(Box::new(fixture::node(n)))),
        1 => small().prop_map(|n| Change::RemoveNode(node_id(n))),
        1 => (small(), small()).prop_map(|(n, s)| Change::NodeSession { id: node_id(n), session: session(s) }),
        1 => small().prop_map(|n| Change::RemoveService(service_id(n))),
        2 => (nodes, prop::collection::vec((small().prop_map(task_id), 0..4_u32), 0..4)).prop_map(|(nodes, rows)| Change::AssignTasks { nodes, rows }),
        2 => (desired, tasks.clone()).prop_map(|(desired, tasks)| Change::SetDesired { desired, tasks }),
        1 => tasks.clone().prop_map(|tasks| Change::Explain { reason: "why".into(), tasks }),
        1 => tasks.clone().prop_map(Change::RemoveTasks),
        2 => (small(), small(), prop::collection::vec((small().prop_map(task_id), status.clone()), 0..4))
            .prop_map(|(n, s, rows)| Change::Statuses { node: node_id(n), session: session(s), rows }),
        1 => (status, tasks).prop_map(|(status, tasks)| Change::Judge { status, tasks }),
    ]
}
