//! Named scenarios of the restart policy and of what a node's failures mean for placement.

use crate::fixture::{World, node_id, spec};
use crate::{Agenda, Store};
use expect_test::{Expect, expect};
use wsw_api::entry::Change;
use wsw_api::id::ServiceId;
use wsw_api::object::NodeState;
use wsw_api::spec::{Availability, RestartCondition, ServiceMode, ServiceSpec};
use wsw_api::task::{Task, TaskState};
use wsw_api::time::SECOND;

/// One replica that is tried again at once.
fn eager(name: &str) -> ServiceSpec {
    let mut wanted = spec(name, 1);
    wanted.task.restart.delay = 0;
    wanted
}

fn current(world: &World, service: ServiceId) -> Option<Task> {
    world.store.tasks_of_service(&service).find(|task| task.is_runnable()).map(|task| (**task).clone())
}

/// The service's task ends so, and a second passes.
fn end(world: &mut World, service: ServiceId, state: TaskState) {
    let task = current(world, service).expect("a task to end");
    world.say(&task, state);
    world.now = world.now.after(SECOND);
    world.settle();
}

fn drained_and_back(world: &mut World) {
    for availability in [Availability::Drain, Availability::Active] {
        world.set_node(1, |node| node.spec.availability = availability);
        world.settle();
    }
}

fn history(world: &mut World, limit: i64) {
    let mut cluster = crate::fixture::cluster_object();
    cluster.spec.task_history_limit = limit;
    world.apply(vec![Change::PutCluster(Box::new(cluster))]);
}

fn shows(world: &World, service: ServiceId, want: Expect) {
    want.assert_eq(&world.show(service));
}

#[test]
fn every_condition_and_every_end() {
    use RestartCondition as C;
    use TaskState as S;
    for (condition, state, again) in [
        (C::Any, S::Complete, true),
        (C::Any, S::Failed, true),
        (C::Any, S::Rejected, true),
        (C::OnFailure, S::Complete, false),
        (C::OnFailure, S::Failed, true),
        (C::OnFailure, S::Rejected, true),
        (C::None, S::Complete, false),
        (C::None, S::Failed, false),
        (C::None, S::Rejected, false),
    ] {
        let mut world = World::new(1);
        let mut wanted = eager("web");
        wanted.task.restart.condition = condition;
        let web = world.create(wanted);
        world.settle();
        end(&mut world, web, state);
        assert_eq!(current(&world, web).is_some(), again, "{condition:?} after {state:?}");
    }
}

#[test]
fn without_a_window_attempts_count_for_ever_and_drains_neither_use_nor_hide_any() {
    let mut world = World::new(1);
    let mut wanted = eager("web");
    wanted.task.restart.max_attempts = 2;
    let web = world.create(wanted);
    world.settle();
    for _ in 0..2 {
        for _ in 0..4 {
            drained_and_back(&mut world);
        }
        world.now = world.now.after(86_400 * SECOND);
        end(&mut world, web, TaskState::Failed);
    }
    for _ in 0..4 {
        drained_and_back(&mut world);
    }
    assert_eq!(current(&world, web).map(|task| task.attempts), Some(2));
    end(&mut world, web, TaskState::Failed);
    assert_eq!(current(&world, web), None, "{}", world.show(web));
    // Another template is tried anew.
    world.update(web, |spec| spec.task.container.image = "app:2".into());
    world.settle();
    assert_eq!(current(&world, web).map(|task| task.attempts), Some(0));
}

#[test]
fn within_a_window_attempts_are_remembered_longer_than_what_came_between() {
    let mut world = World::new(1);
    let mut wanted = eager("web");
    wanted.task.restart.max_attempts = 2;
    wanted.task.restart.window = 60 * SECOND;
    let web = world.create(wanted);
    world.settle();
    for _ in 0..2 {
        end(&mut world, web, TaskState::Failed);
        for _ in 0..5 {
            drained_and_back(&mut world);
        }
    }
    assert!(world.store.task_count() <= 3, "{}", world.show(web));
    let mut patient = world.clone();
    end(&mut world, web, TaskState::Failed);
    assert_eq!(current(&world, web), None, "the third within a minute: {}", world.show(web));
    // What is given up stays so: the window is reckoned from the end, not from now.
    world.now = world.now.after(600 * SECOND);
    world.agenda.mark_all();
    world.settle();
    assert_eq!(current(&world, web), None);
    patient.now = patient.now.after(61 * SECOND);
    end(&mut patient, web, TaskState::Failed);
    assert!(current(&patient, web).is_some(), "the first of another minute: {}", patient.show(web));
}

#[test]
fn what_cannot_be_prepared_is_tried_no_more_often_than_the_delay_says() {
    let mut world = World::new(1);
    let web = world.create(spec("web", 1));
    let mut made = 0;
    let start = world.now;
    while world.now.since(start) < 60 * SECOND {
        if let Some(task) = current(&world, web) {
            made += 1;
            world.say(&task, TaskState::Rejected);
        }
        world.plan();
        world.now = world.now.after(SECOND / 2);
    }
    assert!((11..=13).contains(&made), "{made} tries in a minute with a delay of 5 s: {}", world.show(web));
    // News end the wait.
    world.update(web, |spec| spec.task.container.image = "app:2".into());
    let template = world.store.service(&web).unwrap().template;
    assert_eq!(current(&world, web).map(|task| task.template), Some(template));
}

#[test]
fn an_end_that_nobody_asked_for_waits_but_is_no_attempt() {
    let mut world = World::new(1);
    let mut wanted = spec("web", 1);
    wanted.task.restart.max_attempts = 1;
    let web = world.create(wanted);
    world.settle();
    for _ in 0..3 {
        let task = current(&world, web).unwrap();
        world.say(&task, TaskState::Shutdown);
        world.settle();
        assert_eq!(world.store.running_tasks(&web), 0);
        assert_eq!(world.agenda.next_wake(), Some(world.now.after(5 * SECOND)));
        world.now = world.now.after(5 * SECOND);
        world.settle();
        assert_eq!((world.store.running_tasks(&web), current(&world, web).map(|task| task.attempts)), (1, Some(0)));
    }
}

/// Where the next task of the service goes, after so many failures on the first node.
fn place_after(failures: u32) -> (World, ServiceId) {
    let mut world = World::new(2);
    history(&mut world, 1);
    let web = world.create(eager("web"));
    world.settle();
    for _ in 0..failures {
        assert_eq!(current(&world, web).and_then(|task| task.node), Some(node_id(1)));
        end(&mut world, web, TaskState::Failed);
    }
    (world, web)
}

#[test]
fn a_node_on_which_a_single_slot_keeps_failing_comes_last_for_five_minutes() {
    let (world, web) = place_after(4);
    assert_eq!(current(&world, web).and_then(|task| task.node), Some(node_id(1)), "four are few");
    let (mut world, web) = place_after(5);
    assert_eq!(world.store.task_count(), 1, "no history tells of them");
    assert_eq!(current(&world, web).and_then(|task| task.node), Some(node_id(2)), "five are not");
    // The state tells of them, so another leader knows them too.
    world.store = Store::from_snapshot(world.store.to_snapshot()).unwrap();
    world.agenda = Agenda::new();
    end(&mut world, web, TaskState::Failed);
    assert_eq!(current(&world, web).and_then(|task| task.node), Some(node_id(2)));
    // Another service is not concerned.
    let other = world.create(eager("other"));
    assert_eq!(current(&world, other).and_then(|task| task.node), Some(node_id(1)));
    world.now = world.now.after(301 * SECOND);
    let second = current(&world, web).unwrap();
    world.write(wsw_api::control::Write::RemoveService { id: other }).unwrap();
    world.settle();
    world.say(&second, TaskState::Failed);
    world.settle();
    assert_eq!(current(&world, web).and_then(|task| task.node), Some(node_id(1)), "forgotten");
}

#[test]
fn failures_count_for_the_template_that_failed_only() {
    let (mut world, web) = place_after(5);
    world.update(web, |spec| spec.task.container.image = "app:2".into());
    world.settle();
    end(&mut world, web, TaskState::Failed);
    assert_eq!(current(&world, web).and_then(|task| task.node), Some(node_id(1)));
    // A global service's node is not chosen: its failures say nothing.
    let mut wanted = eager("agent");
    wanted.mode = ServiceMode::Global;
    let agent = world.create(wanted);
    world.settle();
    for _ in 0..6 {
        end(&mut world, agent, TaskState::Failed);
    }
    let service = world.store.service(&agent).unwrap();
    assert_eq!(world.store.recent_failures(service, world.now).count(), 0);
}

#[test]
fn tasks_of_a_node_that_is_down_for_a_day_are_orphaned() {
    let mut world = World::new(2);
    let web = world.create(spec("web", 2));
    let mut wanted = spec("agent", 0);
    wanted.mode = ServiceMode::Global;
    let agent = world.create(wanted);
    world.settle();
    world.node_status(1, NodeState::Down);
    world.settle();
    let day = world.now.after(86_400 * SECOND);
    assert_eq!(world.agenda.next_wake(), Some(day));
    world.now = wsw_api::Time(day.0 - 1);
    assert!(world.plan().is_empty());
    world.now = day;
    world.settle();
    shows(
        &world,
        web,
        expect![[r#"
            1 n1 shutdown orphaned
            1 n2 running running
            2 n2 running running
        "#]],
    );
    shows(
        &world,
        agent,
        expect![[r#"
            0 n1 shutdown orphaned
            0 n2 running running
        "#]],
    );
    assert_eq!(world.agenda.next_wake(), None);
    // The node's own word comes too late.
    let orphan = world.store.tasks_on_node(&node_id(1)).next().map(|task| (**task).clone()).unwrap();
    world.node_status(1, NodeState::Ready);
    world.say(&orphan, TaskState::Complete);
    assert_eq!(world.store.task(&orphan.id).unwrap().status.state, TaskState::Orphaned);
}

#[test]
fn a_node_that_is_back_within_the_day_tells_the_end_itself() {
    let mut world = World::new(2);
    let web = world.create(spec("web", 1));
    world.settle();
    world.node_status(1, NodeState::Down);
    world.settle();
    world.now = world.now.after(86_000 * SECOND);
    world.node_status(1, NodeState::Ready);
    world.settle();
    shows(
        &world,
        web,
        expect![[r#"
            1 n1 shutdown shutdown
            1 n2 running running
        "#]],
    );
}

#[test]
fn a_paused_node_keeps_a_global_task_until_its_service_asks_for_another_place() {
    let mut world = World::new(1);
    world.set_node(1, |node| _ = node.spec.annotations.labels.insert("zone".into(), "east".into()));
    let mut wanted = eager("agent");
    wanted.mode = ServiceMode::Global;
    wanted.task.placement.constraints = vec!["node.labels.zone==east".into()];
    let agent = world.create(wanted);
    world.settle();
    let label = |world: &mut World, availability, zone: &str| {
        world.set_node(1, |node| {
            node.spec.availability = availability;
            node.spec.annotations.labels.insert("zone".into(), zone.into());
        });
        world.settle();
    };
    // The node's own change is none of the paused node's tasks' business, nor is other content.
    label(&mut world, Availability::Pause, "west");
    assert_eq!(world.store.running_tasks(&agent), 1, "{}", world.show(agent));
    label(&mut world, Availability::Pause, "east");
    world.update(agent, |spec| spec.task.container.image = "app:2".into());
    world.settle();
    assert_eq!(world.store.running_tasks(&agent), 1, "{}", world.show(agent));
    world.update(agent, |spec| spec.task.placement.constraints = vec!["node.labels.zone==north".into()]);
    world.settle();
    shows(
        &world,
        agent,
        expect![[r#"
            0 n1 shutdown shutdown
        "#]],
    );
    // Where it may run again it does, once the node takes tasks.
    world.update(agent, |spec| spec.task.placement.constraints.clear());
    world.settle();
    assert_eq!(world.store.running_tasks(&agent), 0);
    label(&mut world, Availability::Active, "west");
    assert_eq!(world.store.running_tasks(&agent), 1);
}
