//! Properties of the planner over random histories.
//!
//! Owns: the histories. Each step is small and made of small numbers, so that a shrunk failure reads as a story.

use crate::constraint::Constraint;
use crate::fixture::{self, World, node_id, session, spec};
use crate::store::Store;
use crate::{Agenda, Dirty, plan};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wsw_api::control::{Rollback, Write};
use wsw_api::entry::Change;
use wsw_api::id::{NodeId, ServiceId, TaskId};
use wsw_api::object::NodeState;
use wsw_api::spec::{Availability, PortConfig, PublishMode, RestartCondition, ServiceMode, ServiceSpec};
use wsw_api::task::{DesiredState, TaskState};
use wsw_api::time::SECOND;

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
    /// The node says that it has so many GiB.
    Memory(u8, u64),
    /// Constrained to a zone, or free.
    Constrain(u8, Option<bool>),
    Rollback(u8),
    /// How many ended tasks are kept.
    History(i64),
    AddNode,
    RemoveNode(u8),
    /// The nth task says that it ended so.
    End(u8, TaskState),
    /// The nth task says something, in whatever order.
    Say(u8, TaskState),
    /// Another manager leads: what the old one had marked and timed is lost.
    NewLeader,
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
    window: u64,
    delay: u64,
    reserve: u64,
    max_per_node: u64,
    constrained: bool,
    host_port: Option<u16>,
    spread: u8,
}

fn sketch() -> impl Strategy<Value = Sketch> {
    let condition = prop_oneof![4 => Just(RestartCondition::Any), 1 => Just(RestartCondition::OnFailure), 1 => Just(RestartCondition::None)];
    let policy = (condition, prop_oneof![2 => Just(0_u64), 1 => 1..3_u64], prop_oneof![2 => Just(0_u64), 1 => Just(30_u64)], 0..3_u64);
    let place = (prop_oneof![2 => Just(0_u64), 1 => 1..3_u64], any::<bool>(), prop::option::weighted(0.25, 0..2_u16), 0..3_u8);
    (0..7_u64, prop::bool::weighted(0.25), policy, 0..3_u64, place).prop_map(
        |(replicas, global, (condition, attempts, window, delay), reserve, (max_per_node, constrained, host_port, spread))| Sketch {
            replicas,
            global,
            condition,
            attempts,
            window,
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
    let said = prop_oneof![Just(TaskState::Accepted), Just(TaskState::Preparing), Just(TaskState::Ready), Just(TaskState::Running), Just(TaskState::Failed)];
    let step = prop_oneof![
        3 => sketch().prop_map(Step::Create),
        3 => (any::<u8>(), 0..8_u64).prop_map(|(at, n)| Step::Scale(at, n)),
        2 => (any::<u8>(), 0..4_u64).prop_map(|(at, n)| Step::Update(at, n)),
        1 => any::<u8>().prop_map(Step::Remove),
        3 => (any::<u8>(), state).prop_map(|(at, state)| Step::Node(at, state)),
        3 => (any::<u8>(), availability).prop_map(|(at, availability)| Step::Availability(at, availability)),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(at, east)| Step::Zone(at, east)),
        1 => (any::<u8>(), 1..9_u64).prop_map(|(at, gib)| Step::Memory(at, gib)),
        2 => (any::<u8>(), any::<Option<bool>>()).prop_map(|(at, east)| Step::Constrain(at, east)),
        1 => any::<u8>().prop_map(Step::Rollback),
        1 => (-1..4_i64).prop_map(Step::History),
        1 => Just(Step::NewLeader),
        3 => (any::<u8>(), said).prop_map(|(at, state)| Step::Say(at, state)),
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
        spec.task.restart.window = self.window * SECOND;
        spec.task.restart.delay = self.delay * SECOND;
        spec.task.resources.reservations.memory_bytes = self.reserve << 30;
        spec.task.placement.max_replicas = if self.global { 0 } else { self.max_per_node };
        if self.constrained {
            spec.task.placement.constraints = vec!["node.labels.zone==east".into()];
        }
        let levels = ["node.labels.zone", "engine.labels.rack"];
        spec.task.placement.spread = levels.iter().take(usize::from(self.spread)).map(|level| (*level).to_owned()).collect();
        if let Some(port) = self.host_port {
            spec.endpoint.ports = vec![PortConfig { target: 80, published: 8080 + port, mode: PublishMode::Host, ..PortConfig::default() }];
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
        Step::Constrain(at, east) => {
            if let Some(id) = service(world, *at) {
                let constraints = east.map(|east| format!("node.labels.zone=={}", if east { "east" } else { "west" }));
                world.update(id, |spec| spec.task.placement.constraints = constraints.into_iter().collect());
            }
        }
        Step::Rollback(at) => {
            if let Some(old) = service(world, *at).and_then(|id| world.store.service(&id).cloned()).filter(|old| old.previous_spec.is_some()) {
                let (id, version, spec) = (old.id, old.meta.version, Box::new((*old.spec).clone()));
                world.write(Write::UpdateService { id, version, spec, rollback: Rollback::Previous }).unwrap();
            }
        }
        Step::History(limit) => {
            let mut cluster = world.store.cluster().map_or_else(fixture::cluster_object, |cluster| (**cluster).clone());
            cluster.spec.task_history_limit = *limit;
            world.apply(vec![Change::PutCluster(Box::new(cluster))]);
        }
        Step::NewLeader => world.agenda = Agenda::new(),
        Step::Say(at, state) => {
            if let Some(task) = nth(world.store.tasks().filter(|task| task.node.is_some()).cloned(), *at) {
                world.say(&task, *state);
            }
        }
        Step::Node(..) | Step::Availability(..) | Step::Zone(..) | Step::Memory(..) | Step::AddNode | Step::RemoveNode(_) => take_of_node(world, step),
        Step::End(at, state) => {
            if let Some(task) = nth(world.store.tasks().filter(|task| task.node.is_some()).cloned(), *at) {
                world.say(&task, *state);
            }
        }
        Step::Work => world.work(),
        Step::Pass(seconds) => world.now = world.now.after(seconds * SECOND),
    }
}

/// The steps that change a node, or how many there are.
fn take_of_node(world: &mut World, step: &Step) {
    let node = |world: &World, at| nth(world.store.nodes().cloned(), at);
    match step {
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
        Step::Memory(at, gib) => {
            if let Some(mut node) = node(world, *at).map(|node| (*node).clone()) {
                Arc::make_mut(&mut node.description).resources.memory_bytes = gib << 30;
                world.apply(vec![Change::NodeDescription { id: node.id, description: node.description }]);
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
        _ => {}
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
    for task in after.tasks().filter(|task| task.is_placed() && before.task(&task.id).is_none_or(|old| !old.is_placed())) {
        let node = after.node(&task.node.unwrap()).expect("placed on a node that exists");
        assert_eq!((node.status.state, node.spec.availability), (NodeState::Ready, Availability::Active), "placed on a node that takes no tasks");
        let template = after.template(&task.service, task.template).unwrap();
        let constraints = Constraint::parse_all(&template.spec.placement.constraints).unwrap();
        assert!(constraints.iter().all(|constraint| constraint.matches(node)), "placed against a constraint");
        let max = template.spec.placement.max_replicas;
        let active = after.placed(&task.service).find(|(id, _)| *id == node.id).map_or(0, |(_, placed)| placed.active);
        assert!(max == 0 || u64::from(active) <= max, "more than {max} replicas on a node");
    }
    for node in after.nodes() {
        let (reserved, had) = (after.load(&node.id).memory_bytes, before.load(&node.id).memory_bytes);
        assert!(reserved <= node.description.resources.memory_bytes.max(had), "more reserved than there is");
        let held = after.tasks_on_node(&node.id).filter(|task| task.is_placed() && task.status.state.is_live());
        let mut ports = BTreeSet::new();
        for port in held.flat_map(|task| &after.template(&task.service, task.template).unwrap().endpoint.ports) {
            assert!(port.mode == PublishMode::Host && ports.insert(port.published), "one host port twice on a node");
        }
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
    check_history(world);
    check_attempts(world);
}

/// No slot keeps more than its history, its one wanted task and what is still stopping.
fn check_history(world: &World) {
    let limit = world.store.cluster().map_or(5, |cluster| cluster.spec.task_history_limit);
    for service in world.store.services() {
        let attempts = service.spec.task.restart.max_attempts;
        let keeps = if attempts > 0 { i64::try_from(attempts).unwrap() + 1 } else { limit };
        let Ok(keeps) = usize::try_from(keeps) else { continue };
        let global = service.spec.mode == ServiceMode::Global;
        let mut slots: BTreeMap<(u32, Option<NodeId>), (usize, usize)> = BTreeMap::new();
        for task in world.store.tasks_of_service(&service.id) {
            let (all, live) = slots.entry((task.slot, task.node.filter(|_| global))).or_default();
            *all += 1;
            // What the policy gives no successor stands for its slot and stays.
            *live += usize::from(task.status.state.is_live());
        }
        for ((slot, node), (all, live)) in slots {
            let records = if service.spec.task.restart.window > 0 { usize::try_from(attempts).unwrap() } else { 0 };
            assert!(
                all <= keeps.max(live + records).max(1),
                "slot {slot} {node:?} of {} keeps {all} tasks, {live} of them live, with a limit of {keeps}",
                service.name()
            );
        }
    }
}

/// The attempts that tasks of the present template tell of are never more than the policy allows, whatever drains and updates came between.
fn check_attempts(world: &World) {
    for service in world.store.services() {
        let policy = &service.spec.task.restart;
        let tasks = || world.store.tasks_of_service(&service.id).filter(|task| task.template == service.template);
        if policy.max_attempts > 0 && policy.window == 0 {
            let most = tasks().map(|task| u64::from(task.attempts)).max().unwrap_or(0);
            assert!(most <= policy.max_attempts, "{most} attempts of {}", service.name());
        }
        for task in tasks() {
            assert_eq!(task.ended_at.is_some(), !task.status.state.is_live(), "{task:?}");
        }
    }
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
        Arc::make_mut(&mut node.description).resources.memory_bytes = 8 << 30;
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
            let explained = !task.is_placed() && !task.status.err.is_empty();
            assert!(explained || (task.status.state == TaskState::Running && task.desired == DesiredState::Running), "{task:?}");
        }
    }
}

/// A few seconds' worth; `WSW_PLANNER_CASES` asks for more.
fn cases() -> u32 {
    option_env!("WSW_PLANNER_CASES").and_then(|text| text.parse().ok()).unwrap_or(96)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

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
}
