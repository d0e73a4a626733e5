//! A worker with its leader: tasks come up, end, are stopped; statuses, sessions, bounds.

use super::fake::{assigned, service_id, task_id, template};
use super::leader::{Leader, worker};
use super::script::{Script, exit};
use std::sync::atomic::Ordering;
use std::time::Duration;
use wsw_api::session::{AssignedTask, Assignments, Goodbye, ManagerFrame, WorkerFrame};
use wsw_api::{DesiredState as D, TaskId, TaskState as S};
use wsw_runtime::Error;

/// Tasks 1 to `count` of service 1.
fn set(count: u8, desired: D) -> Assignments {
    Assignments { complete: true, templates: vec![template(1)], tasks: (1..=count).map(|n| assigned(n, desired)).collect(), ..Assignments::default() }
}

fn change(n: u8, desired: D) -> Assignments {
    Assignments { tasks: vec![assigned(n, desired)], ..Assignments::default() }
}

#[tokio::test]
async fn a_task_comes_up_and_its_end_is_told_with_code_and_reason() {
    let (root, script) = (tempfile::tempdir().unwrap(), Script::new());
    let worker = worker(root.path(), &script).await;
    let mut leader = Leader::welcome(&worker).await;
    leader.assign(set(1, D::Running)).await;
    leader.until_state(task_id(1), S::Running).await;
    assert_eq!(&*leader.statuses[&task_id(1)].message, "started");
    assert_eq!(leader.statuses[&task_id(1)].pid, Some(super::script::PID));
    let guest = script.guest(task_id(1), service_id(1));
    guest.exit.send_replace(Some(exit(134, Some("wasm trap: unreachable"))));
    leader.until_state(task_id(1), S::Failed).await;
    let status = &leader.statuses[&task_id(1)];
    assert_eq!((&*status.err, status.exit_code), ("task: non-zero exit (134): wasm trap: unreachable", Some(134)));
    // Its end is committed and on disk: what it held is freed.
    script.saw("remove", task_id(1)).await;
    assert_eq!(script.calls_of(task_id(1)), ["prepare", "start", "remove"]);
    let local = worker.tasks().remove(0);
    assert!(local.created <= local.started.unwrap() && local.started <= local.finished);
}

#[tokio::test]
async fn states_are_swarms_and_only_move_forward() {
    let (root, script) = (tempfile::tempdir().unwrap(), Script::new());
    let worker = worker(root.path(), &script).await;
    let guest = script.guest(task_id(1), service_id(1));
    guest.may_prepare.send_replace(false);
    let mut leader = Leader::welcome(&worker).await;
    leader.assign(set(1, D::Ready)).await;
    leader.until_state(task_id(1), S::Preparing).await;
    guest.may_prepare.send_replace(true);
    leader.until_state(task_id(1), S::Ready).await;
    leader.assign(change(1, D::Complete)).await;
    leader.until_state(task_id(1), S::Running).await;
    guest.exit.send_replace(Some(exit(0, None)));
    leader.until_state(task_id(1), S::Complete).await;
    assert!(leader.history.windows(2).all(|pair| pair[0].1.state < pair[1].1.state && pair[0].1.at < pair[1].1.at));
    let ready = leader.history.iter().find(|(_, status)| status.state == S::Ready).unwrap();
    assert_eq!(&*ready.1.message, "prepared");
    assert_eq!(&*leader.statuses[&task_id(1)].message, "finished");
}

#[tokio::test(start_paused = true)]
async fn stopping_is_sigterm_then_the_grace_period_then_sigkill() {
    let (root, script) = (tempfile::tempdir().unwrap(), Script::new());
    let worker = worker(root.path(), &script).await;
    let mut leader = Leader::welcome(&worker).await;
    leader.assign(set(2, D::Running)).await;
    leader.until(|leader| leader.state(task_id(1)) == Some(S::Running) && leader.state(task_id(2)) == Some(S::Running)).await;
    *script.guest(task_id(2), service_id(1)).stubborn.lock().unwrap() = true;
    leader.assign(set(2, D::Shutdown)).await;
    leader.until_state(task_id(1), S::Shutdown).await;
    assert_eq!(leader.state(task_id(2)), Some(S::Running), "it has its grace period");
    leader.until_state(task_id(2), S::Shutdown).await;
    assert_eq!(script.calls_of(task_id(2))[2..4], ["shutdown", "terminate"]);
    assert_eq!((leader.statuses[&task_id(1)].exit_code, leader.statuses[&task_id(2)].exit_code), (Some(143), Some(137)));
    assert!(leader.statuses[&task_id(2)].err.is_empty());
}

/// Fifty containers that were killed at once held all turns of their shim for what their ends left, and nobody went on with that until a second signal had its turn.
#[tokio::test(start_paused = true)]
async fn what_an_end_leaves_is_seen_to_while_a_signal_waits() {
    let (root, script) = (tempfile::tempdir().unwrap(), Script::new());
    let worker = worker(root.path(), &script).await;
    let mut leader = Leader::welcome(&worker).await;
    leader.assign(set(1, D::Running)).await;
    leader.until_state(task_id(1), S::Running).await;
    // Longer than the grace period.
    *script.guest(task_id(1), service_id(1)).tidying.lock().unwrap() = Duration::from_secs(60);
    leader.assign(set(1, D::Shutdown)).await;
    let ended = tokio::time::timeout(Duration::from_secs(600), leader.until_state(task_id(1), S::Shutdown)).await;
    assert!(ended.is_ok(), "{:?}", script.calls_of(task_id(1)));
    assert_eq!(script.calls_of(task_id(1))[2..4], ["shutdown", "terminate"]);
}

#[tokio::test(start_paused = true)]
async fn temporary_errors_are_tried_again_others_reject_or_fail() {
    let (root, script) = (tempfile::tempdir().unwrap(), Script::new());
    let guests: Vec<_> = (1..=4).map(|n| script.guest(task_id(n), service_id(1))).collect();
    *guests[0].prepare_errors.lock().unwrap() = vec![Error::Temporary("no room".into()); 3];
    *guests[1].prepare_errors.lock().unwrap() = vec![Error::NoSuchImage("app:latest".into())];
    *guests[2].start_errors.lock().unwrap() = vec![Error::Refused("cannot load".into())];
    *guests[3].prepare_errors.lock().unwrap() = vec![Error::Temporary("no room".into()); 100];
    let worker = worker(root.path(), &script).await;
    let mut leader = Leader::welcome(&worker).await;
    leader.assign(set(4, D::Running)).await;
    let want = [S::Running, S::Rejected, S::Failed, S::Rejected];
    leader.until(|leader| (1..=4).zip(want).all(|(n, state)| leader.state(task_id(n)) == Some(state))).await;
    let errors: Vec<_> = (2..=4).map(|n| leader.statuses[&task_id(n)].err.to_string()).collect();
    assert_eq!(errors, ["No such image: app:latest", "cannot load", "no room"]);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_preparation() {
    let (root, script) = (tempfile::tempdir().unwrap(), Script::new());
    let guest = script.guest(task_id(1), service_id(1));
    guest.may_prepare.send_replace(false);
    let worker = worker(root.path(), &script).await;
    let mut leader = Leader::welcome(&worker).await;
    leader.assign(set(1, D::Running)).await;
    script.saw("prepare", task_id(1)).await;
    leader.assign(change(1, D::Shutdown)).await;
    leader.until_state(task_id(1), S::Shutdown).await;
    guest.may_prepare.send_replace(true);
    script.saw("remove", task_id(1)).await;
    assert_eq!(script.calls_of(task_id(1)), ["prepare", "remove"]);
}

#[tokio::test]
async fn a_status_is_kept_until_it_is_committed_and_a_new_session_fences_the_old() {
    let (root, script) = (tempfile::tempdir().unwrap(), Script::new());
    let worker = worker(root.path(), &script).await;
    let mut old = Leader::welcome(&worker).await;
    old.assign(set(1, D::Running)).await;
    let unanswered = loop {
        if let Some(seq) = old.read().await {
            break seq;
        }
    };
    assert_eq!(unanswered, 1);
    script.saw("start", task_id(1)).await;
    let mut new = Leader::welcome(&worker).await;
    assert_eq!(new.boot, old.boot);
    assert!(old.rx.recv().await.is_none(), "the old session says nothing any more");
    assert!(old.tx.send(ManagerFrame::Assignments(Assignments { complete: true, ..Assignments::default() })).await.is_err());
    new.until_state(task_id(1), S::Running).await;
    assert_eq!(worker.tasks().len(), 1);
}

#[tokio::test]
async fn a_session_that_ends_changes_nothing_and_the_next_leaders_wish_wins() {
    let (root, script) = (tempfile::tempdir().unwrap(), Script::new());
    let worker = worker(root.path(), &script).await;
    let mut leader = Leader::welcome(&worker).await;
    leader.assign(set(2, D::Running)).await;
    leader.until(|leader| (1..=2).all(|n| leader.state(task_id(n)) == Some(S::Running))).await;
    leader.tx.send(ManagerFrame::Refused { reason: "a newer session".into() }).await.unwrap();
    while leader.rx.recv().await.is_some() {}
    worker.connected().wait_for(|connected| !connected).await.unwrap();
    assert_eq!(script.calls_of(task_id(1)), ["prepare", "start"]);
    let leader = Leader::welcome(&worker).await;
    leader.assign(set(1, D::Running)).await;
    script.saw("remove", task_id(2)).await;
    assert_eq!(script.calls_of(task_id(1)), ["prepare", "start"]);
    assert_eq!(script.calls_of(task_id(2)), ["prepare", "start", "shutdown", "remove"]);
}

#[tokio::test]
async fn a_removed_task_is_forgotten_with_its_log() {
    let (root, script) = (tempfile::tempdir().unwrap(), Script::new());
    let worker = worker(root.path(), &script).await;
    let mut leader = Leader::welcome(&worker).await;
    leader.assign(set(2, D::Running)).await;
    leader.until(|leader| (1..=2).all(|n| leader.state(task_id(n)) == Some(S::Running))).await;
    let log = crate::log_path(&root.path().join("logs"), task_id(1));
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    std::fs::write(&log, "x").unwrap();
    leader.assign(change(1, D::Remove)).await;
    leader.until_state(task_id(1), S::Shutdown).await;
    script.saw("remove", task_id(1)).await;
    assert!(log.exists(), "the leader may still ask for its log");
    leader.assign(Assignments { removed: vec![task_id(1)], ..Assignments::default() }).await;
    // The order of writes is the order of frames: when the next task starts, the log is gone.
    leader.assign(change(3, D::Running)).await;
    leader.until_state(task_id(3), S::Running).await;
    assert!(!log.exists());
    assert_eq!(worker.tasks().iter().map(|task| task.id).collect::<Vec<_>>(), [task_id(2), task_id(3)]);
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_by_heartbeats() {
    let (root, script) = (tempfile::tempdir().unwrap(), Script::new());
    let worker = worker(root.path(), &script).await;
    let mut leader = Leader::welcome(&worker).await;
    let begun = tokio::time::Instant::now();
    for _ in 0..3 {
        assert_eq!(leader.rx.recv().await, Some(WorkerFrame::Heartbeat));
    }
    assert_eq!(begun.elapsed().as_millis() / 10, 150, "each half of the period that the leader asked for");
}

#[tokio::test]
async fn stop_says_restarting_and_leave_says_leaving_and_ends_everything() {
    let (root, script) = (tempfile::tempdir().unwrap(), Script::new());
    let first = worker(root.path(), &script).await;
    let mut leader = Leader::welcome(&first).await;
    leader.assign(set(1, D::Running)).await;
    leader.until_state(task_id(1), S::Running).await;
    first.clone().stop().await;
    let (tx, mut rx) = tokio::sync::mpsc::channel(1);
    first.connect(tx, tokio::sync::mpsc::channel(1).1);
    assert!(rx.recv().await.is_none(), "a worker that stopped takes no session");
    assert_eq!(last_frame(leader).await, Some(WorkerFrame::Goodbye(Goodbye::Restarting)));
    assert_eq!(script.calls_of(task_id(1)), ["prepare", "start"]);

    *script.adoptable.lock().unwrap() = vec![task_id(1)];
    let second = worker(root.path(), &script).await;
    let mut leader = Leader::welcome(&second).await;
    leader.until_state(task_id(1), S::Running).await;
    second.leave().await;
    assert_eq!(last_frame(leader).await, Some(WorkerFrame::Goodbye(Goodbye::Leaving)));
    assert_eq!(script.calls_of(task_id(1)), ["prepare", "start", "terminate", "remove"]);
    assert!(!root.path().join("tasks").exists());
}

async fn last_frame(mut leader: Leader) -> Option<WorkerFrame> {
    let mut last = None;
    while let Some(frame) = leader.rx.recv().await {
        last = Some(frame);
    }
    last
}

#[tokio::test]
async fn ten_thousand_tasks_at_once_are_bounded_calls_and_few_rows() {
    let (root, script) = (tempfile::tempdir().unwrap(), Script::new());
    let worker = worker(root.path(), &script).await;
    let mut leader = Leader::welcome(&worker).await;
    let id = |n: u32| TaskId::from_bytes(u128::from(n).to_be_bytes());
    let task = |n: u32| AssignedTask { id: id(n), service: service_id(1), template: 1, slot: n, desired: D::Running, generic: Vec::new() };
    for part in 0..5_u32 {
        let tasks = (part * 2_000..(part + 1) * 2_000).map(task).collect();
        let frame = Assignments { complete: true, more: part < 4, templates: vec![template(1)], tasks, ..Assignments::default() };
        leader.assign(frame).await;
    }
    leader.until(|leader| leader.statuses.len() == 10_000 && leader.statuses.values().all(|status| status.state == S::Running)).await;
    assert!(script.most_busy.load(Ordering::SeqCst) <= 64);
    // Six states each, of which those that the next one overtook were never sent.
    assert!(leader.history.len() <= 25_000, "{} rows", leader.history.len());
}
