//! Named scenarios of jobs: how many run at a time, what is tried again, what an update begins anew.

use crate::fixture::{World, node, node_id, spec};
use expect_test::{Expect, expect};
use wsw_api::control::Rollback;
use wsw_api::control::Write;
use wsw_api::entry::Change;
use wsw_api::id::ServiceId;
use wsw_api::object::{JobStatus, NodeState};
use wsw_api::spec::{Availability, RestartCondition, ServiceMode, ServiceSpec};
use wsw_api::task::{DesiredState, Task, TaskState};
use wsw_api::time::SECOND;

fn job(max_concurrent: u64, total_completions: u64) -> ServiceSpec {
    let mut wanted = spec("job", 0);
    wanted.mode = ServiceMode::ReplicatedJob { max_concurrent, total_completions };
    wanted.task.restart.delay = 0;
    wanted
}

fn global_job() -> ServiceSpec {
    ServiceSpec { mode: ServiceMode::GlobalJob, ..job(0, 0) }
}

fn runnable(world: &World, service: ServiceId) -> Vec<Task> {
    world.store.tasks_of_service(&service).filter(|task| task.is_runnable()).map(|task| (**task).clone()).collect()
}

/// All that run end so, a second later.
fn end_all(world: &mut World, service: ServiceId, state: TaskState) {
    world.now = world.now.after(SECOND);
    for task in runnable(world, service) {
        world.say(&task, state);
    }
    world.settle();
}

fn complete(world: &World, service: ServiceId) -> usize {
    world.store.tasks_of_service(&service).filter(|task| task.status.state == TaskState::Complete).count()
}

fn shows(world: &World, service: ServiceId, want: Expect) {
    want.assert_eq(&world.show(service));
}

#[test]
fn so_many_run_at_a_time_until_all_are_complete() {
    let mut world = World::new(2);
    let id = world.create(job(2, 5));
    shows(
        &world,
        id,
        expect![[r#"
            0 n1 complete assigned
            1 n2 complete assigned
        "#]],
    );
    world.settle();
    for (done, up) in [(2, 2), (4, 1), (5, 0)] {
        end_all(&mut world, id, TaskState::Complete);
        assert_eq!((complete(&world, id), runnable(&world, id).len()), (done, up), "{}", world.show(id));
    }
    let slots: Vec<u32> = world.store.tasks_of_service(&id).map(|task| task.slot).collect();
    assert_eq!(slots, [0, 1, 2, 3, 4]);
    assert!(world.store.tasks_of_service(&id).all(|task| task.desired == DesiredState::Complete), "what is complete is kept as it is");
    // Nothing more happens, whoever leads and whatever nodes do.
    world.agenda = crate::Agenda::new();
    world.apply(vec![Change::PutNode(Box::new(node(3)))]);
    world.node_status(1, NodeState::Down);
    world.settle();
    assert_eq!(world.store.task_count(), 5);
}

#[test]
fn one_end_makes_room_for_one() {
    let mut world = World::new(1);
    let id = world.create(job(2, 4));
    world.settle();
    let second = runnable(&world, id).remove(1);
    world.say(&second, TaskState::Complete);
    world.settle();
    assert_eq!(runnable(&world, id).iter().map(|task| task.slot).collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn failures_are_tried_again_as_the_policy_says_and_any_means_on_failure() {
    for (condition, again) in [(RestartCondition::Any, true), (RestartCondition::OnFailure, true), (RestartCondition::None, false)] {
        let mut world = World::new(1);
        let mut wanted = job(1, 2);
        wanted.task.restart.condition = condition;
        wanted.task.restart.delay = 5 * SECOND;
        let id = world.create(wanted);
        world.settle();
        end_all(&mut world, id, TaskState::Failed);
        if again {
            // In its delay it holds the only place.
            let waits = runnable(&world, id);
            assert_eq!((waits.len(), waits[0].slot, waits[0].desired), (1, 0, DesiredState::Ready));
            world.now = world.agenda.next_wake().unwrap();
            world.settle();
            assert_eq!(runnable(&world, id)[0].desired, DesiredState::Complete);
        } else {
            // Given up: the next one gets its turn.
            assert_eq!(runnable(&world, id).iter().map(|task| task.slot).collect::<Vec<_>>(), [1]);
        }
        end_all(&mut world, id, TaskState::Complete);
        end_all(&mut world, id, TaskState::Complete);
        assert_eq!(complete(&world, id), if again { 2 } else { 1 }, "{condition:?}: {}", world.show(id));
        assert!(runnable(&world, id).is_empty() && world.agenda.next_wake().is_none());
    }
}

#[test]
fn attempts_of_a_job_are_bounded_too() {
    let mut world = World::new(1);
    let mut wanted = job(1, 1);
    wanted.task.restart.max_attempts = 2;
    let id = world.create(wanted);
    world.settle();
    for _ in 0..3 {
        end_all(&mut world, id, TaskState::Failed);
    }
    shows(
        &world,
        id,
        expect![[r#"
            0 n1 shutdown failed
            0 n1 shutdown failed
            0 n1 shutdown failed
        "#]],
    );
}

#[test]
fn an_update_runs_it_again_and_stops_what_is_left_of_the_last_time() {
    let mut world = World::new(1);
    let id = world.create(job(2, 2));
    let status = |world: &World| world.store.service(&id).unwrap().job;
    let created = world.now;
    assert_eq!(status(&world), Some(JobStatus { iteration: 0, last_execution: created }));
    world.settle();
    let first = runnable(&world, id).remove(0);
    world.say(&first, TaskState::Complete);
    world.settle();
    world.now = world.now.after(SECOND);
    // Also an update that changes nothing.
    world.update(id, |_| {});
    assert_eq!(status(&world), Some(JobStatus { iteration: 1, last_execution: created.after(SECOND) }));
    shows(
        &world,
        id,
        expect![[r#"
            0 n1 complete complete
            0 n1 complete assigned
            1 n1 remove running
            1 n1 complete assigned
        "#]],
    );
    world.settle();
    end_all(&mut world, id, TaskState::Complete);
    assert!(runnable(&world, id).is_empty(), "{}", world.show(id));
    let current = |world: &World, iteration| {
        world.store.tasks_of_service(&id).filter(|task| task.job_iteration == iteration && task.status.state == TaskState::Complete).count()
    };
    assert_eq!((current(&world, 0), current(&world, 1)), (1, 2), "what was complete is history");
    // Back to the previous spec is another run of it.
    let service = world.store.service(&id).unwrap().clone();
    let (version, spec) = (service.meta.version, Box::new((*service.spec).clone()));
    world.write(Write::UpdateService { id, version, spec, rollback: Rollback::Previous }).unwrap();
    world.settle();
    assert_eq!(status(&world).unwrap().iteration, 2);
    assert_eq!(runnable(&world, id).len(), 2);
    let message = world.store.service(&id).unwrap().update_status.clone().map(|status| status.message);
    assert_eq!(message.as_deref(), Some("rollback completed"));
    // History is bounded over all iterations.
    for _ in 0..9 {
        end_all(&mut world, id, TaskState::Complete);
        world.update(id, |_| {});
        world.settle();
    }
    assert_eq!(world.store.task_count(), 2 * 5, "{}", world.show(id));
    // Fewer slots: the others keep what they had.
    world.update(id, |spec| spec.mode = ServiceMode::ReplicatedJob { max_concurrent: 9, total_completions: 1 });
    world.settle();
    assert_eq!(runnable(&world, id).iter().map(|task| task.slot).collect::<Vec<_>>(), [0]);
}

#[test]
fn a_node_that_goes_takes_no_attempt_and_an_end_that_comes_late_counts() {
    let mut world = World::new(2);
    let mut wanted = job(1, 1);
    wanted.task.restart.max_attempts = 1;
    let id = world.create(wanted);
    world.settle();
    world.node_status(1, NodeState::Down);
    world.settle();
    shows(
        &world,
        id,
        expect![[r#"
            0 n1 shutdown running
            0 n2 complete running
        "#]],
    );
    let lost = world.store.tasks_on_node(&node_id(1)).next().map(|task| (**task).clone()).unwrap();
    world.node_status(1, NodeState::Ready);
    world.say(&lost, TaskState::Complete);
    world.settle();
    shows(
        &world,
        id,
        expect![[r#"
            0 n1 shutdown complete
            0 n2 shutdown shutdown
        "#]],
    );
    assert!(runnable(&world, id).is_empty());
}

#[test]
fn a_global_job_runs_once_on_each_node_later_ones_too() {
    let mut world = World::new(2);
    let id = world.create(global_job());
    world.settle();
    end_all(&mut world, id, TaskState::Complete);
    world.apply(vec![Change::PutNode(Box::new(node(3))), Change::NodeSession { id: node_id(3), session: crate::fixture::session(3) }]);
    world.settle();
    shows(
        &world,
        id,
        expect![[r#"
            0 n1 complete complete
            0 n2 complete complete
            0 n3 complete running
        "#]],
    );
    // Drained and back: what is complete stays so, what was stopped runs again.
    for availability in [Availability::Drain, Availability::Active] {
        for number in [1, 3] {
            world.set_node(number, |node| node.spec.availability = availability);
        }
        world.settle();
    }
    shows(
        &world,
        id,
        expect![[r#"
            0 n1 complete complete
            0 n2 complete complete
            0 n3 shutdown shutdown
            0 n3 complete running
        "#]],
    );
    world.update(id, |spec| spec.task.force_update = 1);
    world.settle();
    assert!(world.store.tasks_of_service(&id).all(|task| task.job_iteration == 1), "earlier iterations go: {}", world.show(id));
    assert_eq!(runnable(&world, id).len(), 3);
}

#[test]
fn a_removed_job_goes_with_what_is_complete() {
    let mut world = World::new(1);
    let id = world.create(job(1, 2));
    world.settle();
    end_all(&mut world, id, TaskState::Complete);
    world.write(Write::RemoveService { id }).unwrap();
    world.settle();
    assert_eq!((world.store.task_count(), world.store.service(&id)), (0, None));
}
