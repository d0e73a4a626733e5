//! Whole files of `raft/` as an earlier start left them: a sealed segment, one that goes on, a snapshot. Encrypted, with the key of the tests.
//!
//! `WSW_GOLDEN=1` writes those that are not there. Invariant: what is there is opened as it is, and what was in it comes out.

use super::stored::{entries, membership, snapshot_meta, store};
use crate::disk::SimDisk;
use crate::runtime::{Simulated, block_on};
use openraft::RaftLogReader;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wsw_manager::raft::crypto::DataKey;
use wsw_manager::raft::disk::{Disk, Folder, Sizes};
use wsw_manager::raft::log::LogStore;
use wsw_manager::raft::snapshot::{self, Reader};
use wsw_manager::raft::space::Space;
use wsw_manager::raft::stored::{StoredId, StoredVote};
use wsw_manager::raft::types::{RaftEntry, Types};
use wsw_planner::store::Snapshot;

type Log = LogStore<Simulated>;

fn folder(disk: SimDisk) -> Folder {
    let sizes = Sizes { segment: 4 << 10, ..Sizes::default() };
    Folder { disk: Arc::new(disk), path: PathBuf::from("/raft"), key: DataKey::new(1, [7; 32]), sizes }
}

/// The entries of the log, in order from index 1.
fn numbered() -> Vec<RaftEntry> {
    entries().into_iter().enumerate().map(|(place, (_, entry))| RaftEntry { log_id: StoredId(3, 9, place as u64).log_id(), ..entry }).collect()
}

/// Writes all of it onto an empty disk.
async fn write(folder: &Folder) {
    let (mut log, writing) = Log::open(folder, Arc::new(Space::open(folder))).unwrap();
    log.save_vote(&StoredVote(3, 9, true).vote()).await.unwrap();
    for entry in numbered() {
        let (done, written) = Types::<Simulated>::oneshot();
        log.append([entry], IOFlushed::signal(done)).await.unwrap();
        written.await.unwrap().unwrap();
    }
    log.truncate_after(Some(StoredId(3, 9, 20).log_id())).await.unwrap();
    log.close().await.unwrap();
    drop(log);
    writing.end().await.unwrap();
    snapshot::write(folder, &snapshot_meta(), &store().to_snapshot()).unwrap();
}

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/raft")
}

#[test]
fn files_of_an_earlier_build_are_opened() {
    block_on(async {
        if std::env::var_os("WSW_GOLDEN").is_some() && !golden().exists() {
            let disk = SimDisk::new(None).start(|| {});
            write(&folder(disk.clone())).await;
            std::fs::create_dir_all(golden()).unwrap();
            for (path, bytes) in disk.files() {
                std::fs::write(golden().join(Path::new(&path).file_name().unwrap()), bytes).unwrap();
            }
        }
        let disk = SimDisk::new(None).start(|| {});
        for file in std::fs::read_dir(golden()).expect("files are checked in").flatten() {
            let bytes = std::fs::read(file.path()).unwrap();
            disk.create(&Path::new("/raft").join(file.file_name())).unwrap().write_at(&bytes, 0).unwrap();
        }
        let folder = folder(disk);
        assert!(folder.with_extension("log").unwrap().len() > 1, "some segments are sealed");
        let (mut log, writing) = Log::open(&folder, Arc::new(Space::open(&folder))).unwrap();
        assert_eq!(log.read_vote().await.unwrap(), Some(StoredVote(3, 9, true).vote()));
        assert_eq!(log.try_get_log_entries(..).await.unwrap(), numbered()[..=20]);
        drop(log);
        writing.end().await.unwrap();
        let newest = snapshot::newest(&folder).unwrap().expect("a snapshot is there");
        let reader = Reader::open(&folder, &newest.path).unwrap();
        assert_eq!((reader.meta.last_log_id, reader.meta.last_membership.membership()), (snapshot_meta().last_log_id, &membership()));
        assert_eq!(reader.state::<Snapshot>().unwrap(), store().to_snapshot());
    });
}
