//! What a worker finds when it starts again: after a stop, a kill, a restart of the machine.

use super::fake::{assigned, endpoint, service_id, task_id, template};
use super::leader::{Leader, worker};
use super::script::{Script, exit};
use wsw_api::session::Assignments;
use wsw_api::{DesiredState as D, ServiceId, TaskState as S};

fn set(count: u8) -> Assignments {
    let tasks = (1..=count).map(|n| assigned(n, D::Running)).collect();
    Assignments { complete: true, templates: vec![template(1)], tasks, endpoints: vec![endpoint(1, 0)], ..Assignments::default() }
}

#[tokio::test]
async fn running_tasks_are_adopted_ended_ones_told_unknown_ones_ended_and_none_is_started_again() {
    let (root, script) = (tempfile::tempdir().unwrap(), Script::new());
    let first = worker(root.path(), &script).await;
    let mut leader = Leader::welcome(&first).await;
    leader.assign(set(3)).await;
    leader.until(|leader| (1..=3).all(|n| leader.state(task_id(n)) == Some(S::Running))).await;
    let before = first.tasks();
    script.guest(task_id(3), service_id(1)).exit.send_replace(Some(exit(0, None)));
    leader.until_state(task_id(3), S::Complete).await;
    script.saw("remove", task_id(3)).await;
    // Dropped without a stop: as abrupt as it gets within one process.
    drop(first);
    while leader.rx.recv().await.is_some() {}

    script.guest(task_id(2), service_id(1)).exit.send_replace(Some(exit(3, None)));
    script.guest(task_id(9), ServiceId::default());
    *script.adoptable.lock().unwrap() = vec![task_id(1), task_id(2), task_id(9)];
    script.forget_calls();
    let second = worker(root.path(), &script).await;
    let mut leader = Leader::welcome(&second).await;
    leader.until(|leader| leader.state(task_id(2)) == Some(S::Failed) && leader.state(task_id(1)) == Some(S::Running)).await;
    assert_eq!(leader.statuses[&task_id(2)].exit_code, Some(3));
    leader.assign(set(3)).await;
    script.saw("remove", task_id(9)).await;
    script.saw("remove", task_id(2)).await;
    assert!((1..=3).all(|n| !script.calls_of(task_id(n)).contains(&"start")));
    assert!(!script.calls_of(task_id(1)).contains(&"remove"));
    let after = second.tasks();
    assert_eq!((after[0].started, after[0].status.at), (before[0].started, before[0].status.at), "it has been running since then");
}

#[tokio::test]
async fn tasks_start_from_the_disk_before_any_leader_is_heard() {
    let (root, script) = (tempfile::tempdir().unwrap(), Script::new());
    script.guest(task_id(1), service_id(1)).may_prepare.send_replace(false);
    let first = worker(root.path(), &script).await;
    let leader = Leader::welcome(&first).await;
    leader.assign(set(1)).await;
    script.saw("prepare", task_id(1)).await;
    first.stop().await;
    script.forget_calls();
    script.guest(task_id(1), service_id(1)).may_prepare.send_replace(true);
    let second = worker(root.path(), &script).await;
    script.saw("start", task_id(1)).await;
    drop(second);
}

#[tokio::test]
async fn a_task_that_was_created_but_not_started_goes_on_and_one_without_a_trace_is_lost() {
    let (root, script) = (tempfile::tempdir().unwrap(), Script::new());
    let first = worker(root.path(), &script).await;
    let mut leader = Leader::welcome(&first).await;
    leader.assign(set(1)).await;
    leader.until_state(task_id(1), S::Running).await;
    let ready = Assignments { tasks: vec![assigned(2, D::Ready)], ..Assignments::default() };
    leader.assign(ready).await;
    leader.until_state(task_id(2), S::Ready).await;
    first.stop().await;

    *script.adoptable.lock().unwrap() = vec![task_id(2)];
    script.forget_calls();
    let second = worker(root.path(), &script).await;
    let mut leader = Leader::welcome(&second).await;
    leader.until_state(task_id(1), S::Failed).await;
    assert_eq!(&*leader.statuses[&task_id(1)].err, "task: lost when the node was restarted");
    leader.assign(Assignments { tasks: vec![assigned(2, D::Running)], ..Assignments::default() }).await;
    leader.until_state(task_id(2), S::Running).await;
    assert!(script.calls_of(task_id(1)).is_empty());
}

#[tokio::test]
async fn what_the_leader_no_longer_wants_after_a_restart_ends() {
    let (root, script) = (tempfile::tempdir().unwrap(), Script::new());
    let first = worker(root.path(), &script).await;
    let mut leader = Leader::welcome(&first).await;
    leader.assign(set(2)).await;
    leader.until(|leader| (1..=2).all(|n| leader.state(task_id(n)) == Some(S::Running))).await;
    first.stop().await;
    *script.adoptable.lock().unwrap() = vec![task_id(1), task_id(2)];
    let second = worker(root.path(), &script).await;
    let leader = Leader::welcome(&second).await;
    leader.assign(set(1)).await;
    script.saw("remove", task_id(2)).await;
    assert!(script.calls_of(task_id(2)).contains(&"shutdown"));
    assert!(!script.calls_of(task_id(1)).contains(&"shutdown"));
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused() {
    let (root, script) = (tempfile::tempdir().unwrap(), Script::new());
    std::fs::create_dir(root.path().join("tasks")).unwrap();
    std::fs::write(root.path().join("tasks/assignments"), b"wswtasks\xff\0\0\0").unwrap();
    let executor = std::sync::Arc::new(super::script::Scripted(script));
    let result = crate::Worker::start(super::leader::config(root.path()), executor, std::sync::Arc::new(super::leader::Nobody)).await;
    assert!(result.unwrap_err().to_string().contains("newer version"));
}
