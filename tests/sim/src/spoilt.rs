//! Spoilt bytes for every decoder of what nodes send and store: mutants of the valid messages that a simulated cluster exchanged.
//!
//! Owns: what is decoded (the mutations are `wsw-spoil`'s). Invariant: an error or a value, never a panic; which mutants are tried follows from a seed, so a
//! failure comes back. `WSW_SPOILT_SECONDS=60 cargo test -p wsw-sim -- spoilt` tries more of them (`make fuzz`).

use crate::cluster::{left_by, run};
use crate::disk::SimDisk;
use crate::golden;
use crate::net::corpus;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wsw_api::labels;
use wsw_api::session::{ManagerFrame, WorkerFrame};
use wsw_manager::identity::token::Token;
use wsw_manager::raft::crypto::DataKey;
use wsw_manager::raft::disk::{Disk, Folder, Sizes};
use wsw_manager::raft::log::LogStore;
use wsw_manager::raft::snapshot::{Reader, newest};
use wsw_manager::raft::space::Space;
use wsw_manager::raft::wire::{Ask, Reply};
use wsw_planner::store::Snapshot;
use wsw_spoil::{Given, Spoiler, tries};

/// Mutants of each kind in a plain `cargo test`: some seconds.
const MUTANTS: usize = 3_000;
/// A seed whose cluster exchanges every kind of message.
const SEED: u64 = 3;

/// Tries mutants of valid messages, and random bytes.
fn try_all(spoiler: &mut Spoiler, what: &str, valid: &[Vec<u8>], decode: impl Fn(&[u8])) {
    assert!(!valid.is_empty(), "no message of the kind {what} was seen");
    valid.iter().for_each(|bytes| decode(bytes));
    for number in tries(MUTANTS) {
        let bytes = spoiler.mutant(&valid[number % valid.len()]);
        let _given = Given { what, bytes: &bytes };
        decode(&bytes);
    }
}

#[test]
fn spoilt_messages_are_refused_without_a_panic() {
    run(SEED, None, false).unwrap();
    let seen = |kind: &str| corpus(kind);
    let spoiler = &mut Spoiler::new(1);
    try_all(spoiler, "ask", &seen("Ask"), |bytes| {
        // What it carries is decoded too, as the manager does.
        if let Ok(Ask::Append(append)) = rmp_serde::from_slice::<Ask>(bytes) {
            let _ = append.request::<crate::runtime::Simulated>();
        }
    });
    try_all(spoiler, "reply", &seen("Reply"), |bytes| drop(rmp_serde::from_slice::<Reply>(bytes)));
    try_all(spoiler, "worker's frame", &seen("WorkerFrame"), |bytes| drop(rmp_serde::from_slice::<WorkerFrame>(bytes)));
    try_all(spoiler, "manager's frame", &seen("ManagerFrame"), |bytes| drop(rmp_serde::from_slice::<ManagerFrame>(bytes)));
}

/// One of each form that is on a wire or on a disk (`golden`): joins, relays, logs, parts of images, shims, entries, snapshots.
#[test]
fn spoilt_forms_are_refused_without_a_panic() {
    let forms = golden::all();
    // `raft.ask.vote` and `raft.ask.append` are of one decoder.
    let kind = |form: &golden::Form| form.name.split('.').next().unwrap_or_default().to_owned();
    let kinds: BTreeSet<String> = forms.iter().map(kind).collect();
    for (seed, kind_of_these) in kinds.iter().enumerate() {
        let these: Vec<_> = forms.iter().filter(|form| kind(form) == *kind_of_these).collect();
        let spoiler = &mut Spoiler::new(100 + seed as u64);
        for number in tries(MUTANTS / 10) {
            let form = these[number % these.len()];
            let bytes = spoiler.mutant(&form.bytes);
            let _given = Given { what: &form.name, bytes: &bytes };
            let _ = (form.read)(&bytes);
        }
    }
}

#[test]
fn spoilt_texts_are_refused_without_a_panic() {
    let spoiler = &mut Spoiler::new(2);
    let token = format!("SWMTKN-1-{}-{}", "0".repeat(50), "z".repeat(25)).into_bytes();
    try_all(spoiler, "token", &[token], |bytes| drop(Token::parse(&String::from_utf8_lossy(bytes))));
    let label = "wsw.wasm.allow-outbound=*.example.com:443,10.0.0.0/8:80,[::1]:9,*".as_bytes().to_vec();
    let others = [b"wsw.wasm.request-timeout=60s".to_vec(), b"wsw.wasm.max-instances=64".to_vec()];
    try_all(spoiler, "label", &[&[label][..], &others[..]].concat(), |bytes| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        if let Some((name, value)) = text.split_once('=') {
            let _ = labels::parse(&[(name.to_owned(), value.to_owned())].into());
        }
    });
}

/// Log segments and snapshots as a manager left them, with bytes changed, cut off and added.
#[test]
fn a_spoilt_log_and_snapshot_are_told_or_read() {
    let files = left_by(SEED);
    assert!(files.iter().any(|(path, _)| path.ends_with("snapshot")), "there is a snapshot");
    let mut spoiler = Spoiler::new(3);
    for _ in tries(MUTANTS / 30) {
        let disk = SimDisk::new(None).start(|| {});
        let spoilt = spoiler.below(files.len());
        for (number, (path, bytes)) in files.iter().enumerate() {
            let mut bytes = bytes.clone();
            if number == spoilt {
                spoiler.spoil(&mut bytes);
            }
            disk.create(Path::new(path)).unwrap().write_at(&bytes, 0).unwrap();
        }
        let folder = Folder { disk: Arc::new(disk), path: PathBuf::from("/raft"), key: DataKey::new(1, [7; 32]), sizes: Sizes::default() };
        crate::runtime::block_on(async {
            let space = Arc::new(Space::open(&folder));
            if let Ok((log, _writing)) = LogStore::<crate::runtime::Simulated>::open(&folder, space) {
                let mut log = log;
                let _ = openraft::RaftLogReader::try_get_log_entries(&mut log, ..).await;
            }
            if let Ok(Some(file)) = newest(&folder) {
                let _ = Reader::open(&folder, &file.path).and_then(Reader::state::<Snapshot>).map(wsw_planner::Store::from_snapshot);
            }
        });
    }
}
