//! Named scenarios of nodes and what fits them: global services that wait, nodes that lose what their tasks need, placement changes.

use crate::fixture::{World, node_id, spec};
use expect_test::{Expect, expect};
use std::sync::Arc;
use wsw_api::control::{Rollback, Write};
use wsw_api::entry::Change;
use wsw_api::id::ServiceId;
use wsw_api::object::{Node, NodeState};
use wsw_api::spec::{Availability, Platform, PortConfig, PublishMode, RestartCondition, ServiceMode, ServiceSpec};
use wsw_api::task::TaskState;
use wsw_api::time::SECOND;

fn global(name: &str) -> ServiceSpec {
    ServiceSpec { mode: ServiceMode::Global, ..spec(name, 0) }
}

fn memory(node: &mut Node, gib: u64) {
    Arc::make_mut(&mut node.description).resources.memory_bytes = gib << 30;
}

fn zone(world: &mut World, number: u64, zone: &str) {
    world.set_node(number, |node| _ = node.spec.annotations.labels.insert("zone".into(), zone.into()));
    world.plan();
}

fn shows(world: &World, service: ServiceId, want: Expect) {
    want.assert_eq(&world.show(service));
}

#[test]
fn a_global_task_that_does_not_fit_waits_on_its_node_and_says_why() {
    let mut world = World::new(2);
    world.set_node(2, |node| memory(node, 1));
    world.plan();
    let mut wanted = global("agent");
    wanted.task.resources.reservations.memory_bytes = 2 << 30;
    let agent = world.create(wanted);
    shows(
        &world,
        agent,
        expect![[r#"
            0 n1 running assigned
            0 n2 running pending [insufficient resources on 1 node]
        "#]],
    );
    world.settle();
    assert_eq!(world.store.load(&node_id(2)), crate::store::Load::default(), "what waits takes nothing");
    // The node grows, and that is all it takes.
    world.set_node(2, |node| memory(node, 4));
    world.settle();
    shows(
        &world,
        agent,
        expect![[r#"
            0 n1 running running
            0 n2 running running
        "#]],
    );
}

#[test]
fn a_waiting_global_task_follows_its_node_and_its_service() {
    let mut world = World::new(1);
    let mut wanted = global("agent");
    wanted.task.placement.platforms = vec![Platform { os: "linux".into(), architecture: "s390x".into() }];
    let agent = world.create(wanted);
    shows(
        &world,
        agent,
        expect![[r#"
            0 n1 running pending [unsupported platform on 1 node]
        "#]],
    );
    world.set_node(1, |node| node.spec.availability = Availability::Pause);
    world.plan();
    shows(
        &world,
        agent,
        expect![[r#"
            0 n1 running pending [1 node not available for new tasks]
        "#]],
    );
    world.set_node(1, |node| node.spec.availability = Availability::Drain);
    world.plan();
    shows(&world, agent, expect![[""]]);
    world.set_node(1, |node| node.spec.availability = Availability::Active);
    world.plan();
    world.update(agent, |spec| spec.task.placement.platforms.clear());
    shows(
        &world,
        agent,
        expect![[r#"
            0 n1 running assigned
        "#]],
    );
    world.update(agent, |spec| spec.task.placement.platforms = vec![Platform { os: "plan9".into(), architecture: String::new() }]);
    world.node_status(1, NodeState::Down);
    world.plan();
    assert!(world.store.tasks_of_service(&agent).all(|task| !task.desired.wants_run()), "{}", world.show(agent));
}

#[test]
fn two_services_that_want_one_host_port_share_no_node_until_it_is_free() {
    let mut world = World::new(2);
    let on_port = |mut spec: ServiceSpec| {
        spec.endpoint.ports = vec![PortConfig { target: 80, published: 8080, mode: PublishMode::Host, ..PortConfig::default() }];
        spec
    };
    let first = world.create(on_port(spec("first", 1)));
    let second = world.create(on_port(spec("second", 2)));
    world.settle();
    shows(
        &world,
        second,
        expect![[r#"
            1 n2 running running
            2 - running pending [no suitable node (host-mode port already in use on 2 nodes)]
        "#]],
    );
    world.write(Write::RemoveService { id: first }).unwrap();
    assert!(world.store.tasks_of_service(&second).any(|task| task.node.is_none()), "it is held until it has ended");
    world.settle();
    shows(
        &world,
        second,
        expect![[r#"
            1 n2 running running
            2 n1 running running
        "#]],
    );
    let every = world.create(on_port(global("every")));
    shows(
        &world,
        every,
        expect![[r#"
            0 n1 running pending [host-mode port already in use on 1 node]
            0 n2 running pending [host-mode port already in use on 1 node]
        "#]],
    );
}

#[test]
fn a_node_that_shrinks_keeps_its_oldest_tasks() {
    let mut world = World::new(2);
    let mut wanted = spec("big", 3);
    wanted.task.resources.reservations.memory_bytes = 3 << 30;
    let big = world.create(wanted);
    world.settle();
    world.set_node(1, |node| memory(node, 4));
    world.plan();
    world.settle();
    shows(
        &world,
        big,
        expect![[r#"
            1 n1 running running
            2 n2 running running
            3 n1 shutdown rejected [assigned node no longer meets constraints]
            3 n2 running running
        "#]],
    );
    // A paused node is left alone.
    world.set_node(2, |node| {
        memory(node, 1);
        node.spec.availability = Availability::Pause;
    });
    assert!(world.plan().is_empty());
}

#[test]
fn the_enforcer_leaves_paused_nodes_alone() {
    let mut world = World::new(1);
    zone(&mut world, 1, "east");
    let mut wanted = spec("web", 1);
    wanted.task.placement.constraints = vec!["node.labels.zone==east".into()];
    let web = world.create(wanted);
    world.settle();
    world.set_node(1, |node| {
        node.spec.availability = Availability::Pause;
        node.spec.annotations.labels.clear();
    });
    assert!(world.plan().is_empty());
    world.set_node(1, |node| node.spec.availability = Availability::Active);
    world.plan();
    shows(
        &world,
        web,
        expect![[r#"
            1 - running pending [no suitable node (scheduling constraints not satisfied on 1 node)]
            1 n1 shutdown rejected [assigned node no longer meets constraints]
        "#]],
    );
}

#[test]
fn a_placement_that_its_node_satisfies_too_replaces_nothing() {
    let mut world = World::new(2);
    zone(&mut world, 1, "east");
    zone(&mut world, 2, "west");
    let web = world.create(spec("web", 2));
    world.settle();
    world.update(web, |spec| spec.task.placement.constraints = vec!["node.labels.zone!=north".into()]);
    world.settle();
    assert_eq!(world.store.task_count(), 2);
    let service = world.store.service(&web).unwrap().clone();
    assert!(service.update_status.is_none(), "nothing is rolled out");
    assert!(world.store.tasks().all(|task| crate::plan::is_current(&world.store, &service, task)));
    // One node does not satisfy the next one: its task goes, the other stays as it is.
    world.update(web, |spec| spec.task.placement.constraints = vec!["node.labels.zone==east".into()]);
    let service = world.store.service(&web).unwrap().clone();
    assert!(world.store.tasks().any(|task| !crate::plan::is_current(&world.store, &service, task)));
    world.settle();
    shows(
        &world,
        web,
        expect![[r#"
            1 n1 running running
            2 n1 running running
            2 n2 shutdown rejected [assigned node no longer meets constraints]
        "#]],
    );
    // The enforcer goes by what the service asks for now, whatever template the task was made from.
    zone(&mut world, 1, "west");
    assert!(world.store.tasks().all(|task| task.status.state != TaskState::Running), "{}", world.show(web));
    // With other content it is an update like any other.
    world.update(web, |spec| {
        spec.task.placement.constraints.clear();
        spec.task.container.image = "app:2".into();
    });
    world.settle();
    let status = world.store.service(&web).unwrap().update_status.clone().map(|status| status.message);
    assert_eq!(status.as_deref(), Some("update completed"));
    let template = world.store.service(&web).unwrap().template;
    assert!(world.store.tasks().filter(|task| task.desired.wants_run()).all(|task| task.template == template));
}

#[test]
fn a_runtime_must_be_on_the_node() {
    let mut world = World::new(2);
    let mut wanted = spec("web", 1);
    wanted.task.container.labels.insert("wsw.runtime".into(), "io.example.v1".into());
    let web = world.create(wanted);
    shows(
        &world,
        web,
        expect![[r#"
            1 - running pending [no suitable node (missing plugin on 2 nodes)]
        "#]],
    );
    world.set_node(2, |node| Arc::make_mut(&mut node.description).plugins.push(("Runtime".into(), "io.example.v1".into())));
    world.plan();
    shows(
        &world,
        web,
        expect![[r#"
            1 n2 running assigned
        "#]],
    );
}

#[test]
fn preferences_spread_level_by_level_and_count_what_is_there() {
    let mut world = World::new(6);
    let places = [("a", "1"), ("a", "1"), ("a", "2"), ("b", "1"), ("b", "2"), ("", "")];
    for (number, (zone, rack)) in (1..).zip(places) {
        world.set_node(number, |node| {
            if !zone.is_empty() {
                node.spec.annotations.labels.insert("zone".into(), zone.into());
                Arc::make_mut(&mut node.description).engine_labels.insert("rack".into(), rack.into());
            }
        });
    }
    world.plan();
    let mut wanted = spec("web", 12);
    wanted.task.placement.spread = vec!["node.labels.zone".into(), "engine.labels.rack".into()];
    let web = world.create(wanted);
    let placed = |world: &World| (1..=6).map(|n| world.store.placed(&web).find(|(id, _)| *id == node_id(n)).map_or(0, |(_, p)| p.active)).collect::<Vec<_>>();
    assert_eq!(placed(&world), [1, 1, 2, 2, 2, 4], "four in each zone, of which the missing label is one, two in each rack");
    // Zone b goes: what is placed anew evens out what is left.
    for number in [4, 5] {
        world.node_status(number, NodeState::Down);
    }
    world.plan();
    assert_eq!(placed(&world), [2, 1, 3, 0, 0, 6]);
    for number in [4, 5] {
        world.node_status(number, NodeState::Ready);
    }
    world.settle();
    world.update(web, |spec| spec.mode = ServiceMode::Replicated { replicas: 18 });
    assert_eq!(placed(&world), [2, 1, 3, 3, 3, 6], "nothing is moved; the empty zone catches up");
}

#[test]
fn scaling_down_takes_what_does_not_run_then_the_fullest_node_then_the_highest_slot() {
    let mut world = World::new(2);
    let web = world.create(spec("web", 4));
    world.settle();
    world.set_node(2, |node| node.spec.availability = Availability::Pause);
    world.plan();
    // n1 has slots 1, 3, 5, 6; n2 has 2, 4; slot 7 fits nowhere.
    world.update(web, |spec| spec.mode = ServiceMode::Replicated { replicas: 6 });
    world.settle();
    world.set_node(1, |node| node.spec.availability = Availability::Pause);
    world.plan();
    world.update(web, |spec| spec.mode = ServiceMode::Replicated { replicas: 7 });
    let gone = |world: &mut World, replicas| {
        world.update(web, |spec| spec.mode = ServiceMode::Replicated { replicas });
        world.settle();
        let mut slots: Vec<u32> = world.store.tasks_of_service(&web).map(|task| task.slot).collect();
        slots.sort_unstable();
        slots
    };
    assert_eq!(gone(&mut world, 6), [1, 2, 3, 4, 5, 6], "what waits goes first");
    assert_eq!(gone(&mut world, 5), [1, 2, 3, 4, 5], "then the fullest node");
    assert_eq!(gone(&mut world, 4), [1, 2, 3, 4]);
    assert_eq!(gone(&mut world, 3), [1, 2, 3], "of equals the highest slot");
    assert_eq!(gone(&mut world, 2), [1, 2]);
}

#[test]
fn a_drained_node_costs_no_delay_and_no_attempt() {
    let mut world = World::new(1);
    let mut wanted = spec("web", 1);
    wanted.task.restart.max_attempts = 1;
    wanted.task.restart.delay = 30 * SECOND;
    let web = world.create(wanted);
    for _ in 0..3 {
        world.settle();
        world.set_node(1, |node| node.spec.availability = Availability::Drain);
        world.settle();
        assert!(world.show(web).contains("1 - running pending [no suitable node (1 node not available for new tasks)]"), "{}", world.show(web));
        world.set_node(1, |node| node.spec.availability = Availability::Active);
        world.settle();
        assert_eq!(world.store.running_tasks(&web), 1, "at once: {}", world.show(web));
    }
    // An end of its own waits, and counts.
    let fail = |world: &mut World| {
        let task = world.store.tasks_of_service(&web).find(|task| task.is_runnable()).map(|task| (**task).clone()).unwrap();
        world.say(&task, TaskState::Failed);
        world.settle();
    };
    fail(&mut world);
    assert_eq!(world.store.running_tasks(&web), 0);
    world.now = world.agenda.next_wake().unwrap();
    world.settle();
    assert_eq!(world.store.running_tasks(&web), 1);
    fail(&mut world);
    assert!(world.store.tasks_of_service(&web).all(|task| !task.desired.wants_run()), "one attempt: {}", world.show(web));
}

#[test]
fn a_drained_node_ends_for_good_what_is_never_restarted() {
    let mut world = World::new(1);
    let mut wanted = spec("once", 1);
    wanted.task.restart.condition = RestartCondition::None;
    let once = world.create(wanted);
    world.settle();
    world.set_node(1, |node| node.spec.availability = Availability::Drain);
    world.settle();
    world.set_node(1, |node| node.spec.availability = Availability::Active);
    world.settle();
    shows(
        &world,
        once,
        expect![[r#"
            1 n1 shutdown shutdown
        "#]],
    );
}

#[test]
fn negative_history_keeps_all_and_a_change_counts_at_once() {
    let mut world = World::new(1);
    let limit = |world: &mut World, limit: i64| {
        let mut cluster = world.store.cluster().map_or_else(crate::fixture::cluster_object, |cluster| (**cluster).clone());
        cluster.spec.task_history_limit = limit;
        world.apply(vec![Change::PutCluster(Box::new(cluster))]);
        world.settle();
    };
    limit(&mut world, -1);
    let mut wanted = spec("web", 1);
    wanted.task.restart.delay = 0;
    let web = world.create(wanted);
    for _ in 0..9 {
        world.settle();
        world.now = world.now.after(SECOND);
        let task = world.store.tasks_of_service(&web).find(|task| task.is_runnable()).map(|task| (**task).clone()).unwrap();
        world.say(&task, TaskState::Failed);
        world.plan();
    }
    world.settle();
    assert_eq!(world.store.task_count(), 10);
    limit(&mut world, 3);
    assert_eq!(world.store.task_count(), 3, "a smaller limit counts at once");
    limit(&mut world, 0);
    assert_eq!(world.store.task_count(), 1, "no history at all");
    // A slot that is done is not begun again for want of history.
    let mut wanted = spec("once", 1);
    wanted.task.restart.condition = RestartCondition::None;
    let once = world.create(wanted);
    world.settle();
    let task = world.store.tasks_of_service(&once).next().map(|task| (**task).clone()).unwrap();
    world.say(&task, TaskState::Complete);
    world.settle();
    assert_eq!(world.store.tasks_of_service(&once).map(|task| task.id).collect::<Vec<_>>(), [task.id]);
}

#[test]
fn a_rollback_by_hand_leaves_what_never_left_the_old_template() {
    let mut world = World::new(1);
    let web = world.create(spec("web", 2));
    world.settle();
    world.update(web, |spec| spec.mode = ServiceMode::Replicated { replicas: 3 });
    world.settle();
    let service = world.store.service(&web).unwrap().clone();
    let spec = Box::new((*service.spec).clone());
    world.write(Write::UpdateService { id: web, version: service.meta.version, spec, rollback: Rollback::Previous }).unwrap();
    world.settle();
    assert_eq!(world.store.task_count(), 2);
    let status = world.store.service(&web).unwrap().update_status.clone().map(|status| status.message);
    assert_eq!(status.as_deref(), Some("rollback completed"), "the client waits for it");
}
