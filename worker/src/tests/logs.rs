//! Reading logs: merged, tailed, followed, rotated.

use super::fake::{assigned, node_id, service_id, task_id};
use crate::board::Board;
use crate::logs::files::path as numbered;
use crate::logs::{Logs, Readers, Selector};
use crate::{clock, log_path};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use tokio_stream::StreamExt;
use wsw_api::log::Query;
use wsw_api::{DesiredState, TaskState, TaskStatus, Time};

const BOTH: Query = Query { follow: false, stdout: true, stderr: true, tail: None, since: None, until: None };
const SERVICE: fn() -> Selector = || Selector::Service(service_id(1));

fn readers(tasks: u8) -> (TempDir, Arc<Readers>) {
    let folder = tempfile::tempdir().unwrap();
    let board = Arc::new(Board::default());
    (1..=tasks).for_each(|n| board.add(&assigned(n, DesiredState::Running), true));
    let readers = Readers::new(node_id(1), folder.path().to_owned(), board);
    (folder, Arc::new(readers))
}

/// `second` becomes the time of the record.
fn record(second: u32, rest: &str) -> String {
    format!("2026-01-01T00:{:02}:{:02}.5Z {rest}\n", second / 60, second % 60)
}

fn append(path: &Path, text: &str) {
    OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

async fn next(logs: &mut Logs) -> String {
    String::from_utf8(logs.next().await.unwrap().unwrap().text).unwrap()
}

async fn all(logs: Logs) -> Vec<String> {
    logs.map(|line| String::from_utf8(line.unwrap().text).unwrap()).collect().await
}

#[tokio::test]
async fn a_services_lines_are_merged_by_time_and_filtered() {
    let (folder, readers) = readers(3);
    append(&log_path(folder.path(), task_id(1)), &(record(1, "stdout F a") + &record(4, "stderr F d") + &record(5, "stdout P e")));
    append(&log_path(folder.path(), task_id(2)), &(record(2, "stdout F b") + "garbage\n" + &record(3, "stdout F c")));
    assert_eq!(all(readers.read(SERVICE(), BOTH)).await, ["a\n", "b\n", "c\n", "d\n", "e\n"], "what never ended is told last");
    assert_eq!(all(readers.read(SERVICE(), Query { stdout: false, ..BOTH })).await, ["d\n"]);
    assert_eq!(all(readers.read(Selector::Task(task_id(2)), BOTH)).await, ["b\n", "c\n"]);
    assert_eq!(all(readers.read(Selector::Task(task_id(9)), BOTH)).await, [""; 0]);
    let lines: Vec<_> = readers.read(SERVICE(), BOTH).map(Result::unwrap).collect().await;
    let (since, until) = (Some(lines[1].time), Some(lines[2].time));
    assert_eq!(all(readers.read(SERVICE(), Query { since, until, ..BOTH })).await, ["b\n", "c\n"]);
    assert_eq!((lines[0].task, lines[0].node, lines[0].service), (task_id(1), node_id(1), service_id(1)));
}

#[tokio::test]
async fn tail_counts_lines_of_each_task_over_chunks_pieces_and_rotation() {
    let (folder, readers) = readers(1);
    let (path, rotated) = (log_path(folder.path(), task_id(1)), numbered(&log_path(folder.path(), task_id(1)), 1));
    let line =
        |n: u32| record(n % 3_600, &format!("stdout P {n}:{}", "x".repeat(500))) + &record(n % 3_600, "stderr F between") + &record(n % 3_600, "stdout F .");
    append(&numbered(&path, 3), &(0..20).map(line).collect::<String>());
    append(&numbered(&path, 2), &(20..40).map(line).collect::<String>());
    append(&rotated, &(40..200).map(line).collect::<String>());
    append(&path, &(200..260).map(line).collect::<String>());
    append(&path, "2026-01-01T00:00:00Z stdout F still being writ");
    let only_stdout = Query { stderr: false, ..BOTH };
    for (tail, first) in [(0, None), (1, Some(259)), (60, Some(200)), (61, Some(199)), (250, Some(10)), (10_000, Some(0))] {
        let lines = all(readers.read(SERVICE(), Query { tail: Some(tail), ..only_stdout.clone() })).await;
        assert_eq!(lines.len() as u64, tail.min(260), "tail {tail}");
        let number = lines.first().map(|line| line.split(':').next().unwrap().parse::<u32>().unwrap());
        assert_eq!(number, first, "tail {tail}");
        assert!(lines.iter().all(|line| line.ends_with("x.\n")));
    }
    assert_eq!(all(readers.read(SERVICE(), only_stdout)).await.len(), 260);
}

#[tokio::test]
async fn following_sees_new_lines_new_tasks_and_rotation() {
    let (folder, readers) = readers(1);
    let path = log_path(folder.path(), task_id(1));
    append(&path, &(record(1, "stdout F old") + &record(2, "stdout F last")));
    let mut logs = readers.read(SERVICE(), Query { follow: true, tail: Some(1), ..BOTH });
    assert_eq!(next(&mut logs).await, "last\n");
    append(&path, record(3, "stdout F more").split_at(20).0);
    append(&path, record(3, "stdout F more").split_at(20).1);
    assert_eq!(next(&mut logs).await, "more\n");
    readers.board.add(&assigned(2, DesiredState::Running), true);
    append(&log_path(folder.path(), task_id(2)), &record(4, "stdout F joined"));
    assert_eq!(next(&mut logs).await, "joined\n");
    append(&path, &record(5, "stdout F before"));
    std::fs::rename(&path, numbered(&log_path(folder.path(), task_id(1)), 1)).unwrap();
    append(&path, &record(6, "stdout F after"));
    assert_eq!([next(&mut logs).await, next(&mut logs).await], ["before\n", "after\n"]);
}

#[tokio::test]
async fn following_a_task_ends_with_it() {
    let (folder, readers) = readers(1);
    let path = log_path(folder.path(), task_id(1));
    append(&path, &record(1, "stdout F first"));
    let mut logs = readers.read(Selector::Task(task_id(1)), Query { follow: true, ..BOTH });
    assert_eq!(next(&mut logs).await, "first\n");
    append(&path, &record(2, "stdout F bye"));
    readers.board.post(task_id(1), TaskStatus::new(TaskState::Complete, clock::now(), "finished"));
    assert_eq!(all(logs).await, ["bye\n"]);
}

#[tokio::test]
async fn a_task_that_ends_while_its_history_is_given_out_is_followed_to_its_end() {
    let (folder, readers) = readers(1);
    let path = log_path(folder.path(), task_id(1));
    // More than one round, and than the channel takes.
    let history: String = (0..3_000).map(|second| record(second, &format!("stdout F {}", "y".repeat(3_000)))).collect();
    append(&path, &history);
    let mut logs = readers.read(Selector::Task(task_id(1)), Query { follow: true, ..BOTH });
    next(&mut logs).await;
    append(&path, &record(3_500, "stdout F bye"));
    readers.board.post(task_id(1), TaskStatus::new(TaskState::Complete, clock::now(), "finished"));
    let rest = all(logs).await;
    assert_eq!((rest.len(), rest.last().map(String::as_str)), (3_000, Some("bye\n")));
}

#[tokio::test]
async fn following_ends_at_its_until() {
    let (_folder, readers) = readers(1);
    let logs = readers.read(SERVICE(), Query { follow: true, until: Some(Time(1)), ..BOTH });
    assert!(all(logs).await.is_empty());
}

#[tokio::test]
async fn a_large_history_is_read_in_rounds_and_stays_in_order() {
    let (folder, readers) = readers(2);
    for n in 1..=2_u8 {
        let mut file = File::create(log_path(folder.path(), task_id(n))).unwrap();
        for second in 0..3_000 {
            let text = "y".repeat(1_000);
            file.write_all(record(second, &format!("stdout F {text}")).as_bytes()).unwrap();
        }
    }
    let lines: Vec<_> = readers.read(SERVICE(), BOTH).map(Result::unwrap).collect().await;
    assert_eq!(lines.len(), 6_000);
    assert!(lines.windows(2).all(|pair| pair[0].time <= pair[1].time));
}

#[tokio::test]
async fn too_many_readers_are_refused() {
    let (_folder, readers) = readers(1);
    let open: Vec<_> = (0..128).map(|_| readers.read(SERVICE(), Query { follow: true, ..BOTH })).collect();
    let error = readers.read(SERVICE(), BOTH).next().await.unwrap().unwrap_err();
    assert!(error.is_retryable());
    drop(open);
}
