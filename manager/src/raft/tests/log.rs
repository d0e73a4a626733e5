//! What was acknowledged is there after reopening, whole and in order.

use super::*;
use crate::raft::log::MAX_READ_BYTES;
use openraft::RaftLogReader;
use openraft::Vote;

#[tokio::test]
async fn everything_acknowledged_survives_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let vote = Vote { leader_id: id(3, 0).leader_id, committed: true };
    {
        let (mut log, writer) = open(folder.path());
        append(&mut log, (0..50).map(|n| entry(1, n, 3))).await.unwrap();
        log.save_vote(&vote).await.unwrap();
        append(&mut log, (50..60).map(|n| entry(3, n, 300))).await.unwrap();
        log.save_committed(Some(id(3, 55))).await.unwrap();
        append(&mut log, [entry(3, 60, 1)]).await.unwrap();
        drop_log(log, writer).await;
    }
    for _ in 0..2 {
        let (mut log, writer) = open(folder.path());
        assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(id(3, 60)));
        assert_eq!(log.read_vote().await.unwrap(), Some(vote));
        assert_eq!(log.read_committed().await.unwrap(), Some(id(3, 55)));
        let expected: Vec<_> = (0..50).map(|n| entry(1, n, 3)).chain((50..60).map(|n| entry(3, n, 300))).chain([entry(3, 60, 1)]).collect();
        assert_eq!(log.try_get_log_entries(0..100).await.unwrap(), expected);
        drop_log(log, writer).await;
    }
}

#[tokio::test]
async fn a_close_writes_the_committed_mark() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, writer) = open(folder.path());
    append(&mut log, [entry(1, 0, 1)]).await.unwrap();
    log.save_committed(Some(id(1, 0))).await.unwrap();
    log.close().await.unwrap();
    assert!(append(&mut log, [entry(1, 1, 1)]).await.is_err(), "a closed log takes nothing");
    drop_log(log, writer).await;
    let (mut log, writer) = open(folder.path());
    assert_eq!(log.read_committed().await.unwrap(), Some(id(1, 0)));
    drop_log(log, writer).await;
}

#[tokio::test]
async fn a_truncated_tail_stays_gone_across_segments() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, writer) = open(folder.path());
    // 576 kB an entry, so these are several segments.
    append(&mut log, (0..20).map(|n| entry(1, n, 36_000))).await.unwrap();
    append(&mut log, (20..40).map(|n| entry(1, n, 36_000))).await.unwrap();
    append(&mut log, (40..45).map(|n| entry(1, n, 36_000))).await.unwrap();
    assert!(segments(folder.path()).len() > 2);
    log.truncate_after(Some(id(1, 9))).await.unwrap();
    append(&mut log, (10..12).map(|n| entry(2, n, 5))).await.unwrap();
    let expected: Vec<_> = (0..10).map(|n| entry(1, n, 36_000)).chain((10..12).map(|n| entry(2, n, 5))).collect();
    assert_eq!(log.try_get_log_entries(..).await.unwrap(), expected);
    drop_log(log, writer).await;
    let (mut log, writer) = open(folder.path());
    assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(id(2, 11)));
    assert_eq!(log.try_get_log_entries(..).await.unwrap(), expected);
    drop_log(log, writer).await;
}

#[tokio::test]
async fn purging_deletes_whole_segments_and_survives() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, writer) = open(folder.path());
    for first in (0..40).step_by(10) {
        append(&mut log, (first..first + 10).map(|n| entry(1, n, 60_000))).await.unwrap();
    }
    let before = segments(folder.path()).len();
    let upto = log.before_newest(16 * 1024 * 1024).unwrap();
    assert!(upto > 10 && log.purge_is_worth(upto));
    log.purge(id(1, upto)).await.unwrap();
    assert!(segments(folder.path()).len() < before);
    drop_log(log, writer).await;
    let (mut log, writer) = open(folder.path());
    let state = log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(id(1, upto)), Some(id(1, 39))));
    let kept: Vec<u64> = log.try_get_log_entries(..).await.unwrap().iter().map(|entry| entry.log_id.index).collect();
    assert_eq!(kept, (upto + 1..40).collect::<Vec<_>>());

    // A snapshot from a leader is ahead of all there is.
    log.purge(id(4, 100)).await.unwrap();
    append(&mut log, [entry(4, 101, 1)]).await.unwrap();
    drop_log(log, writer).await;
    let (mut log, writer) = open(folder.path());
    assert_eq!(log.try_get_log_entries(..).await.unwrap(), [entry(4, 101, 1)]);
    assert_eq!(log.get_log_state().await.unwrap().last_purged_log_id, Some(id(4, 100)));
    drop_log(log, writer).await;
}

#[tokio::test]
async fn bounded_reads_are_bounded_by_bytes_and_never_empty() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, writer) = open(folder.path());
    append(&mut log, (0..12).map(|n| entry(1, n, 60_000))).await.unwrap();
    let one = 60_000 * 16;
    let mut at = 0;
    while at < 12 {
        let read = log.limited_get_log_entries(at, 12).await.unwrap();
        assert!(!read.is_empty() && read.len() <= MAX_READ_BYTES / one + 1, "{} entries", read.len());
        assert_eq!(read[0].log_id.index, at);
        at += read.len() as u64;
    }
    drop_log(log, writer).await;
}

#[tokio::test]
async fn a_log_has_one_writer() {
    let folder = tempfile::tempdir().unwrap();
    let (log, writer) = open(folder.path());
    assert!(try_open(folder.path(), &key()).is_err_and(|err| err.to_string().contains("in use")));
    drop_log(log, writer).await;
    let (log, writer) = open(folder.path());
    drop_log(log, writer).await;
}

#[tokio::test]
async fn entries_are_readable_before_they_are_synced() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, writer) = open(folder.path());
    for n in 0..200 {
        log.append([entry(1, n, 10)], IOFlushed::noop()).await.unwrap();
        assert_eq!(log.try_get_log_entries(n..=n).await.unwrap(), [entry(1, n, 10)]);
    }
    assert!(log.append([entry(1, 999, 1)], IOFlushed::noop()).await.is_err(), "a hole is refused");
    drop_log(log, writer).await;
}

pub(super) fn segments(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "log")).collect();
    paths.sort();
    paths
}
