//! Named scenarios of the planner: what `service ps` would show after each step.

use crate::fixture::{World, node_id, spec};
use expect_test::expect;
use wsw_api::control::Write;
use wsw_api::id::ServiceId;
use wsw_api::object::NodeState;
use wsw_api::spec::{Availability, RestartCondition, ServiceMode};
use wsw_api::task::{Task, TaskState};
use wsw_api::time::SECOND;

fn task_of(world: &World, service: ServiceId, slot: u32) -> Task {
    let mut tasks = world.store.tasks_of_service(&service).filter(|task| task.slot == slot && task.desired.wants_run());
    (**tasks.next().unwrap()).clone()
}

#[test]
fn a_service_spreads_over_the_nodes_and_scales() {
    let mut world = World::new(3);
    let web = world.create(spec("web", 5));
    expect![[r#"
        1 n1 running assigned
        2 n2 running assigned
        3 n3 running assigned
        4 n1 running assigned
        5 n2 running assigned
    "#]]
    .assert_eq(&world.show(web));
    world.settle();
    assert_eq!(world.store.running_tasks(&web), 5);
    world.update(web, |spec| spec.mode = ServiceMode::Replicated { replicas: 2 });
    // n1 and n2 had two copies each: their second ones go, and then the copy with the highest slot.
    expect![[r#"
        1 n1 running running
        2 n2 running running
        3 n3 remove running
        4 n1 remove running
        5 n2 remove running
    "#]]
    .assert_eq(&world.show(web));
    world.settle();
    expect![[r#"
        1 n1 running running
        2 n2 running running
    "#]]
    .assert_eq(&world.show(web));
}

#[test]
fn scaling_down_prefers_slots_that_do_not_run() {
    let mut world = World::new(2);
    let web = world.create(spec("web", 2));
    let second = task_of(&world, web, 2);
    world.say(&second, TaskState::Running);
    world.update(web, |spec| spec.mode = ServiceMode::Replicated { replicas: 1 });
    // Each node has one copy, so the one that does not run goes although its number is lower. It is still with its worker.
    expect![[r#"
        1 n1 remove assigned
        2 n2 running running
    "#]]
    .assert_eq(&world.show(web));
}

#[test]
fn a_failed_task_is_replaced_after_its_delay() {
    let mut world = World::new(1);
    let web = world.create(spec("web", 1));
    world.settle();
    world.say(&task_of(&world, web, 1), TaskState::Failed);
    world.plan();
    expect![[r#"
        1 n1 shutdown failed
        1 n1 ready assigned
    "#]]
    .assert_eq(&world.show(web));
    assert_eq!(world.agenda.next_wake(), Some(world.now.after(5 * SECOND)));
    world.settle();
    world.now = world.now.after(5 * SECOND);
    world.settle();
    expect![[r#"
        1 n1 shutdown failed
        1 n1 running running
    "#]]
    .assert_eq(&world.show(web));
}

#[test]
fn attempts_are_counted_and_conditions_hold() {
    let mut world = World::new(1);
    let mut wanted = spec("job", 1);
    wanted.task.restart.max_attempts = 2;
    wanted.task.restart.delay = 0;
    let job = world.create(wanted);
    for _ in 0..3 {
        world.settle();
        world.now = world.now.after(SECOND);
        world.say(&task_of(&world, job, 1), TaskState::Failed);
        world.plan();
    }
    world.settle();
    expect![[r#"
        1 n1 shutdown failed
        1 n1 shutdown failed
        1 n1 shutdown failed
    "#]]
    .assert_eq(&world.show(job));
    let mut once = spec("once", 1);
    once.task.restart.condition = RestartCondition::OnFailure;
    let once = world.create(once);
    world.settle();
    world.say(&task_of(&world, once, 1), TaskState::Complete);
    world.settle();
    expect![[r#"
        1 n1 shutdown complete
    "#]]
    .assert_eq(&world.show(once));
}

#[test]
fn a_window_forgets_old_attempts() {
    let mut world = World::new(1);
    let mut wanted = spec("job", 1);
    wanted.task.restart.max_attempts = 1;
    wanted.task.restart.delay = 0;
    wanted.task.restart.window = 10 * SECOND;
    let job = world.create(wanted);
    for _ in 0..4 {
        world.settle();
        world.now = world.now.after(60 * SECOND);
        world.say(&task_of(&world, job, 1), TaskState::Failed);
        world.plan();
    }
    world.settle();
    assert_eq!(task_of(&world, job, 1).status.state, TaskState::Running, "failures a minute apart");
    world.now = world.now.after(SECOND);
    world.say(&task_of(&world, job, 1), TaskState::Failed);
    world.plan();
    world.settle();
    assert!(world.store.tasks_of_service(&job).all(|task| !task.desired.wants_run()), "failures a second apart");
}

#[test]
fn history_keeps_the_last_tasks_of_a_slot() {
    let mut world = World::new(1);
    let mut wanted = spec("web", 1);
    wanted.task.restart.delay = 0;
    let web = world.create(wanted);
    for _ in 0..9 {
        world.settle();
        world.now = world.now.after(SECOND);
        world.say(&task_of(&world, web, 1), TaskState::Failed);
        world.plan();
    }
    world.settle();
    expect![[r#"
        1 n1 shutdown failed
        1 n1 shutdown failed
        1 n1 shutdown failed
        1 n1 shutdown failed
        1 n1 running running
    "#]]
    .assert_eq(&world.show(web));
}

#[test]
fn a_removed_service_goes_with_its_last_task() {
    let mut world = World::new(2);
    let web = world.create(spec("web", 2));
    world.settle();
    world.write(Write::RemoveService { id: web }).unwrap();
    assert!(world.store.service_by_name("web").is_none(), "the name is free at once");
    expect![[r#"
        1 n1 remove running
        2 n2 remove running
    "#]]
    .assert_eq(&world.show(web));
    world.say(&task_of_any(&world, web, 1), TaskState::Shutdown);
    world.plan();
    expect![[r#"
        2 n2 remove running
    "#]]
    .assert_eq(&world.show(web));
    world.settle();
    assert!(world.store.service(&web).is_none());
    assert_eq!(world.store.task_count(), 0);
    assert!(world.store.to_snapshot().templates.is_empty(), "the template goes with its last reference");
}

fn task_of_any(world: &World, service: ServiceId, slot: u32) -> Task {
    (**world.store.tasks_of_service(&service).find(|task| task.slot == slot).unwrap()).clone()
}

#[test]
fn a_node_that_goes_down_loses_its_tasks_at_once() {
    let mut world = World::new(2);
    let web = world.create(spec("web", 2));
    world.settle();
    world.node_status(1, NodeState::Down);
    world.plan();
    expect![[r#"
        1 n1 shutdown running
        1 n2 running assigned
        2 n2 running running
    "#]]
    .assert_eq(&world.show(web));
    world.settle();
    world.node_status(1, NodeState::Ready);
    world.settle();
    expect![[r#"
        1 n1 shutdown shutdown
        1 n2 running running
        2 n2 running running
    "#]]
    .assert_eq(&world.show(web));
}

#[test]
fn an_unknown_node_keeps_its_tasks_and_gets_no_new_ones() {
    let mut world = World::new(2);
    let web = world.create(spec("web", 2));
    world.settle();
    world.node_status(1, NodeState::Unknown);
    assert!(world.plan().is_empty());
    world.update(web, |spec| spec.mode = ServiceMode::Replicated { replicas: 4 });
    expect![[r#"
        1 n1 running running
        2 n2 running running
        3 n2 running assigned
        4 n2 running assigned
    "#]]
    .assert_eq(&world.show(web));
}

#[test]
fn a_drained_node_stops_its_tasks_before_their_successors_start() {
    let mut world = World::new(2);
    let web = world.create(spec("web", 2));
    world.settle();
    world.set_node(1, |node| node.spec.availability = Availability::Drain);
    world.plan();
    expect![[r#"
        1 n1 shutdown running
        1 n2 ready assigned
        2 n2 running running
    "#]]
    .assert_eq(&world.show(web));
    world.settle();
    expect![[r#"
        1 n1 shutdown shutdown
        1 n2 running running
        2 n2 running running
    "#]]
    .assert_eq(&world.show(web));
}

#[test]
fn a_removed_node_orphans_its_tasks() {
    let mut world = World::new(2);
    let web = world.create(spec("web", 2));
    world.settle();
    world.write(Write::RemoveNode { id: node_id(1), force: true }).unwrap();
    expect![[r#"
        1 gone shutdown orphaned
        1 n2 running assigned
        2 n2 running running
    "#]]
    .assert_eq(&world.show(web));
}

#[test]
fn a_successor_does_not_wait_for_ever() {
    let mut world = World::new(2);
    let web = world.create(spec("web", 1));
    world.settle();
    world.set_node(1, |node| node.spec.availability = Availability::Drain);
    world.plan();
    let overdue = world.agenda.next_wake().unwrap();
    assert_eq!(overdue, world.now.after(60 * SECOND));
    world.now = overdue;
    world.plan();
    expect![[r#"
        1 n1 shutdown running
        1 n2 running assigned
    "#]]
    .assert_eq(&world.show(web));
}

#[test]
fn an_update_stops_each_task_before_its_successor_starts() {
    let mut world = World::new(2);
    let web = world.create(spec("web", 2));
    world.settle();
    world.update(web, |spec| spec.task.container.image = "app:2".into());
    expect![[r#"
        1 n1 shutdown running
        1 n1 ready assigned
        2 n2 shutdown running
        2 n2 ready assigned
    "#]]
    .assert_eq(&world.show(web));
    let status = |world: &World| world.store.service(&web).unwrap().update_status.clone().map(|status| status.message);
    assert_eq!(status(&world).as_deref(), Some("update in progress"));
    world.settle();
    expect![[r#"
        1 n1 shutdown shutdown
        1 n1 running running
        2 n2 shutdown shutdown
        2 n2 running running
    "#]]
    .assert_eq(&world.show(web));
    assert_eq!(status(&world).as_deref(), Some("update completed"));
}

#[test]
fn a_change_of_replicas_or_service_labels_replaces_nothing() {
    let mut world = World::new(2);
    let web = world.create(spec("web", 2));
    world.settle();
    world.update(web, |spec| {
        spec.annotations.labels.insert("a".into(), "b".into());
        spec.mode = ServiceMode::Replicated { replicas: 3 };
    });
    world.settle();
    assert_eq!(world.store.task_count(), 3);
    assert!(world.store.service(&web).unwrap().update_status.is_none());
}

#[test]
fn a_global_service_has_one_task_on_each_fit_node() {
    let mut world = World::new(3);
    world.set_node(3, |node| node.spec.availability = Availability::Pause);
    world.plan();
    let mut wanted = spec("agent", 1);
    wanted.mode = ServiceMode::Global;
    let agent = world.create(wanted);
    world.settle();
    world.apply(vec![wsw_api::entry::Change::PutNode(Box::new(crate::fixture::node(4)))]);
    world.plan();
    world.set_node(2, |node| node.spec.availability = Availability::Drain);
    world.plan();
    expect![[r#"
        0 n1 running running
        0 n2 shutdown running
        0 n4 running assigned
    "#]]
    .assert_eq(&world.show(agent));
    world.settle();
    world.set_node(2, |node| node.spec.availability = Availability::Active);
    world.plan();
    expect![[r#"
        0 n1 running running
        0 n2 shutdown shutdown
        0 n2 running assigned
        0 n4 running assigned
    "#]]
    .assert_eq(&world.show(agent));
}
