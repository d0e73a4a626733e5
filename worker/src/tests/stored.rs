//! The file of assignments as an earlier build left it (`assignments.1`, checked in): read as it was meant, and so are records of a minor
//! version more or less. `WSW_GOLDEN=1 cargo test -p wsw-worker stored` writes a file that is not there.

use super::fake::{endpoint, node_id, service_id, task_id, template};
use crate::store::{Loaded, Record, Store, StoredTask};
use serde::Serialize;
use std::path::PathBuf;
use wsw_api::generic::GenericResource;
use wsw_api::session::{AssignedTask, PeerNode};
use wsw_api::spec::NodeRole;
use wsw_api::{DesiredState, TaskId, TaskState, TaskStatus, Time};

/// With every field set.
fn stored(number: u8) -> StoredTask {
    let task = AssignedTask {
        id: task_id(number),
        service: service_id(1),
        template: 1,
        slot: 70_000,
        desired: DesiredState::Shutdown,
        generic: vec![GenericResource::Named { kind: "ssd".into(), name: "sda".into() }],
    };
    let status = TaskStatus { exit_code: Some(3), pid: Some(4_000), err: "exit 3".into(), ..TaskStatus::new(TaskState::Failed, Time(9), "started") };
    StoredTask { task, removed: true, status: Some(status), created: Time(1), started: Some(Time(2)), finished: Some(Time(3)), put_away: true }
}

fn records() -> [Record; 2] {
    let peer = |number, role| PeerNode { node: node_id(number), addr: "10.0.0.3:2377".parse().unwrap(), role };
    let first = Record {
        templates: vec![template(1)],
        tasks: vec![stored(1), stored(2)],
        endpoints: vec![endpoint(1, 8080), endpoint(2, 81)],
        peers: vec![peer(1, NodeRole::Manager), peer(2, NodeRole::Worker)],
        ..Record::default()
    };
    let second = Record { forgotten: vec![task_id(2)], removed_endpoints: vec![service_id(2)], removed_peers: vec![node_id(2)], ..Record::default() };
    [first, second]
}

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/tests/assignments.1")
}

#[test]
fn assignments_of_an_earlier_build_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("assignments");
    if std::env::var_os("WSW_GOLDEN").is_some() && !golden().exists() {
        let (mut store, _) = Store::open(folder.path()).unwrap();
        records().iter().for_each(|record| store.append(record, true).unwrap());
        std::fs::copy(&path, golden()).unwrap();
    }
    std::fs::copy(golden(), &path).unwrap();
    let (_, loaded) = Store::open(folder.path()).unwrap();
    assert_eq!(loaded.tasks.into_values().collect::<Vec<_>>(), [stored(1)]);
    let set = loaded.set;
    assert_eq!(set.templates.into_values().collect::<Vec<_>>(), [template(1)]);
    assert_eq!(set.endpoints.into_values().collect::<Vec<_>>(), [endpoint(1, 8080)]);
    assert_eq!(set.peers.into_values().collect::<Vec<_>>(), records()[0].peers[..1]);
}

/// As another version would have it.
#[derive(Serialize)]
struct OtherRecord<T> {
    tasks: Vec<T>,
}

#[derive(Serialize)]
struct Newer {
    colour: String,
    #[serde(flatten)]
    task: StoredTask,
}

#[derive(Serialize)]
struct OlderTask {
    id: TaskId,
    service: wsw_api::ServiceId,
    template: u64,
    slot: u32,
    desired: DesiredState,
}

#[derive(Serialize)]
struct Older {
    task: OlderTask,
    created: Time,
}

fn loaded<T: Serialize>(tasks: Vec<T>) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(folder.path()).unwrap();
    store.append(&records()[0], true).unwrap();
    drop(store);
    let body = rmp_serde::to_vec_named(&OtherRecord { tasks }).unwrap();
    let frame = [&(body.len() as u32).to_le_bytes()[..], &crc32fast::hash(&body).to_le_bytes(), &body].concat();
    let path = folder.path().join("assignments");
    let whole = [std::fs::read(&path).unwrap(), frame].concat();
    std::fs::write(&path, &whole).unwrap();
    let (_, loaded) = Store::open(folder.path()).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), whole, "nothing is cut off");
    loaded
}

#[test]
fn assignments_of_other_minor_versions_are_read() {
    let newer = loaded(vec![Newer { colour: "red".into(), task: stored(3) }]);
    assert_eq!(newer.tasks[&task_id(3)], stored(3));
    let desired = DesiredState::Running;
    let task = OlderTask { id: task_id(4), service: service_id(1), template: 1, slot: 5, desired };
    let older = loaded(vec![Older { task, created: Time(7) }]);
    let task = AssignedTask { id: task_id(4), service: service_id(1), template: 1, slot: 5, desired, generic: Vec::new() };
    let wanted = StoredTask { task, removed: false, status: None, created: Time(7), started: None, finished: None, put_away: false };
    assert_eq!(older.tasks[&task_id(4)], wanted);
}
