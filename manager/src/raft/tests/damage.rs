//! A torn end is cut, damage and a wrong key are refused by name.

use super::log::segments;
use super::*;
use openraft::RaftLogReader;

#[tokio::test]
async fn a_torn_end_is_cut_at_every_byte() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, writer) = open(folder.path());
    append(&mut log, (0..3).map(|n| entry(1, n, 1))).await.unwrap();
    let path = segments(folder.path()).pop().unwrap();
    let acknowledged = std::fs::metadata(&path).unwrap().len() as usize;
    append(&mut log, (3..5).map(|n| entry(1, n, 1))).await.unwrap();
    drop_log(log, writer).await;
    let whole = std::fs::read(&path).unwrap();
    for length in acknowledged..=whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let (mut log, writer) = open(folder.path());
        let entries = log.try_get_log_entries(..).await.unwrap();
        assert!(entries.len() >= 3, "cut to {length}");
        assert_eq!(entries, (0..entries.len() as u64).map(|n| entry(1, n, 1)).collect::<Vec<_>>());
        if length % 8 != 0 {
            drop_log(log, writer).await;
            continue;
        }
        // The log goes on after the cut.
        append(&mut log, [entry(2, entries.len() as u64, 1)]).await.unwrap();
        drop_log(log, writer).await;
        let (mut log, writer) = open(folder.path());
        assert_eq!(log.try_get_log_entries(..).await.unwrap().len(), entries.len() + 1);
        drop_log(log, writer).await;
    }
}

#[tokio::test]
async fn a_page_of_zeros_at_the_end_is_torn_not_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, writer) = open(folder.path());
    append(&mut log, (0..3).map(|n| entry(1, n, 2))).await.unwrap();
    drop_log(log, writer).await;
    let path = segments(folder.path()).pop().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.resize(bytes.len() + 4096, 0);
    std::fs::write(&path, bytes).unwrap();
    let (mut log, writer) = open(folder.path());
    assert_eq!(log.try_get_log_entries(..).await.unwrap().len(), 3);
    drop_log(log, writer).await;
}

#[tokio::test]
async fn a_write_of_several_records_may_be_torn_in_its_middle() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, writer) = open(folder.path());
    append(&mut log, [entry(1, 0, 2)]).await.unwrap();
    let path = segments(folder.path()).pop().unwrap();
    let synced = std::fs::metadata(&path).unwrap().len() as usize;
    append(&mut log, (1..6).map(|n| entry(1, n, 200))).await.unwrap();
    drop_log(log, writer).await;
    // One write, never acknowledged: its first page did not reach the disk, the later ones did.
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[synced..synced + 100].fill(0);
    std::fs::write(&path, bytes).unwrap();
    let (mut log, writer) = open(folder.path());
    assert_eq!(log.try_get_log_entries(..).await.unwrap(), [entry(1, 0, 2)]);
    drop_log(log, writer).await;
}

#[tokio::test]
async fn damage_before_the_synced_end_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, writer) = open(folder.path());
    append(&mut log, [entry(1, 0, 2)]).await.unwrap();
    let path = segments(folder.path()).pop().unwrap();
    let first = std::fs::metadata(&path).unwrap().len() as usize;
    append(&mut log, [entry(1, 1, 2)]).await.unwrap();
    append(&mut log, [entry(1, 2, 2)]).await.unwrap();
    drop_log(log, writer).await;
    let whole = std::fs::read(&path).unwrap();
    for place in [first - 20, first + 4, first + 13, first + 60] {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x40;
        std::fs::write(&path, &bytes).unwrap();
        let refused = try_open(folder.path(), &key()).err().map(|err| err.to_string()).unwrap_or_default();
        assert!(refused.contains("damaged at byte") && refused.contains(path.to_str().unwrap()), "byte {place}: {refused:?}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "a damaged log is not changed");
    }
}

#[tokio::test]
async fn damage_in_a_sealed_segment_is_told_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, writer) = open(folder.path());
    append(&mut log, (0..20).map(|n| entry(1, n, 36_000))).await.unwrap();
    append(&mut log, (20..21).map(|n| entry(1, n, 36_000))).await.unwrap();
    drop_log(log, writer).await;
    let sealed = segments(folder.path())[0].clone();
    let mut bytes = std::fs::read(&sealed).unwrap();
    bytes[5_000] ^= 1;
    std::fs::write(&sealed, bytes).unwrap();
    let (mut log, writer) = open(folder.path());
    let refused = log.try_get_log_entries(..).await.unwrap_err().to_string();
    assert!(refused.contains("damaged at byte") && refused.contains(sealed.to_str().unwrap()), "{refused}");
    drop_log(log, writer).await;
}

#[tokio::test]
async fn a_missing_segment_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, writer) = open(folder.path());
    for first in (0..60).step_by(20) {
        append(&mut log, (first..first + 20).map(|n| entry(1, n, 36_000))).await.unwrap();
    }
    drop_log(log, writer).await;
    std::fs::remove_file(&segments(folder.path())[1]).unwrap();
    let refused = try_open(folder.path(), &key()).err().map(|err| err.to_string()).unwrap_or_default();
    assert!(refused.contains("lacks the entries"), "{refused}");
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_cuts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, writer) = open(folder.path());
    append(&mut log, (0..3).map(|n| entry(1, n, 2))).await.unwrap();
    drop_log(log, writer).await;
    let refused = |key: &DataKey| try_open(folder.path(), key).err().map(|err| err.to_string()).unwrap_or_default();
    assert!(refused(&DataKey::new(1, [8; 32])).contains("data key does not open it"));
    assert!(refused(&DataKey::new(2, [9; 32])).contains("data key 1, this node has data key 2"));
    let (mut log, writer) = open(folder.path());
    assert_eq!(log.try_get_log_entries(..).await.unwrap().len(), 3);
    drop_log(log, writer).await;
}
