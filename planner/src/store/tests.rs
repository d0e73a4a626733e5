//! Tests of the store: statuses, guards, references, requests, snapshots.

use super::*;

impl Store {
    /// Every index is what the tables say: the store is equal to the one of its snapshot.
    pub(crate) fn assert_consistent(&self) {
        let rebuilt = Self::from_snapshot(self.to_snapshot()).unwrap();
        assert_eq!(self.names, rebuilt.names);
        assert_eq!(self.ports, rebuilt.ports);
        assert_eq!(self.by_service, rebuilt.by_service);
        assert_eq!(self.by_node, rebuilt.by_node);
        assert_eq!(self.placed, rebuilt.placed);
        assert_eq!(self.loads, rebuilt.loads);
        assert_eq!(self.host_ports, rebuilt.host_ports);
        assert_eq!(self.unplaced, rebuilt.unplaced);
        assert_eq!(self.globals, rebuilt.globals);
        let references = |store: &Self| store.templates.iter().map(|(key, row)| (*key, row.tasks)).collect::<Vec<_>>();
        assert_eq!(references(self), references(&rebuilt));
    }
}

use crate::fixture::{self, World, cluster, node_id, put, service_id, session, spec, task_id};
use wsw_api::entry::{Applied, Change, Entry, Guard, NewTask, NewTasks, REMEMBERED_REQUESTS};
use wsw_api::task::{DesiredState, TaskState, TaskStatus};

fn status(state: TaskState, at: u64) -> TaskStatus {
    TaskStatus::new(state, Time(at), state.as_str())
}

/// One node with a session, one service with a task on it.
fn one_task() -> (World, ServiceId, TaskId) {
    let mut world = World::new(1);
    let web = world.create(spec("web", 1));
    let task = world.store.tasks().next().unwrap().id;
    (world, web, task)
}

#[test]
fn statuses_count_only_from_the_tasks_node_and_session() {
    let (mut world, _, task) = one_task();
    world.apply(vec![Change::PutNode(Box::new(fixture::node(2))), Change::NodeSession { id: node_id(2), session: session(2) }]);
    let rows = |state, at| vec![(task, status(state, at))];
    let state = |world: &World| world.store.task(&task).unwrap().status.state;
    for (node, session, row) in [
        (node_id(1), session(9), rows(TaskState::Running, 5)),
        (node_id(2), session(2), rows(TaskState::Running, 5)),
        (node_id(1), session(1), vec![(task_id(77), status(TaskState::Running, 5))]),
        (node_id(1), session(1), rows(TaskState::Orphaned, 5)),
        (node_id(1), session(1), rows(TaskState::Pending, 5)),
    ] {
        world.apply(vec![Change::Statuses { node, session, rows: row }]);
        assert_eq!(state(&world), TaskState::Assigned);
    }
    world.apply(vec![Change::Statuses { node: node_id(1), session: session(1), rows: rows(TaskState::Running, 5) }]);
    assert_eq!(state(&world), TaskState::Running);
    // A newer session fences the older one.
    world.apply(vec![Change::NodeSession { id: node_id(1), session: session(3) }]);
    world.apply(vec![Change::Statuses { node: node_id(1), session: session(1), rows: rows(TaskState::Failed, 6) }]);
    assert_eq!(state(&world), TaskState::Running);
}

#[test]
fn a_failed_guard_refuses_the_whole_entry_and_says_which() {
    let (mut world, web, task) = one_task();
    let before = world.store.to_snapshot();
    let version = world.store.service(&web).unwrap().meta.version;
    for (guard, words) in [
        (Guard::ServiceVersion(web, version + 1), "changed in the meantime"),
        (Guard::ServiceExists(service_id(99)), "was removed in the meantime"),
        (Guard::ServiceNameAbsent("web".into()), "service web already exists"),
        (Guard::TemplateExists(web, 999), "template 999"),
        (Guard::NodeExists(node_id(99)), "was removed in the meantime"),
        (Guard::NodeVersion(node_id(1), 99), "changed in the meantime"),
        (Guard::TaskExists(task_id(99)), "is gone"),
        (Guard::ClusterVersion(0), "the cluster changed"),
    ] {
        let changes = vec![Change::SetDesired { desired: DesiredState::Shutdown, tasks: vec![task] }];
        let entry = Entry { guards: vec![Guard::NodeExists(node_id(1)), guard], changes, time: Time(u64::MAX), ..Entry::default() };
        let Applied::Refused(error) = world.commit(&entry) else { panic!("{entry:?}") };
        assert!(error.message.contains(words), "{error}");
    }
    let after = world.store.to_snapshot();
    assert_eq!((after.tasks, after.time), (before.tasks, before.time));
    assert!(after.index > before.index, "a refused entry still has its place in the log");
}

#[test]
fn the_last_requests_are_remembered_in_order() {
    let mut store = Store::default();
    let id = |number| RequestId::from_bytes(fixture::bytes(8, number));
    let count = u64::try_from(REMEMBERED_REQUESTS).unwrap() + 10;
    for number in 0..count {
        let entry = Entry { requests: vec![(id(number), Outcome::Warnings(vec![number.to_string()]))], ..Entry::default() };
        store.apply(number + 1, &entry);
    }
    assert_eq!(store.outcome(&id(9)), None);
    assert_eq!(store.outcome(&id(10)), Some(Outcome::Warnings(vec!["10".into()])));
    assert!(store.check(&Guard::RequestNew(id(count - 1))).is_err());
    let copy = Store::from_snapshot(store.to_snapshot()).unwrap();
    assert_eq!(copy.to_snapshot(), store.to_snapshot());
}

#[test]
fn templates_live_as_long_as_something_names_them() {
    let (mut world, web, _) = one_task();
    let versions = |world: &World| world.store.to_snapshot().templates.iter().map(|template| template.version).collect::<Vec<_>>();
    let first = versions(&world);
    world.update(web, |spec| spec.task.force_update = 1);
    let second = versions(&world);
    assert_eq!(second.len(), 2, "the task and the previous spec still name {first:?}");
    world.settle();
    world.update(web, |spec| spec.task.force_update = 2);
    world.settle();
    let last = versions(&world);
    assert_eq!(last.len(), 3, "history names the first, the previous spec the second: {last:?}");
    world.write(wsw_api::control::Write::RemoveService { id: web }).unwrap();
    world.settle();
    assert!(versions(&world).is_empty());
}

#[test]
fn rows_of_unknown_services_templates_and_nodes_do_nothing() {
    let mut store = cluster(1);
    let new = |service, node| NewTasks {
        service,
        template: 1,
        desired: DesiredState::Running,
        restart_at: None,
        job_iteration: 0,
        nodes: vec![node],
        rows: vec![NewTask { id: task_id(1), slot: 1, node: Some(7), replaces: None }],
        attempts: 0,
    };
    put(&mut store, Time(2), vec![Change::CreateTasks(new(service_id(1), node_id(1)))]);
    assert_eq!(store.task_count(), 0);
    put(&mut store, Time(3), vec![Change::RemoveService(service_id(1)), Change::RemoveNode(node_id(9)), Change::RemoveTasks(vec![task_id(1)])]);
    put(&mut store, Time(1), Vec::new());
    assert_eq!(store.time(), Time(3), "cluster time does not go back");
}

#[test]
fn snapshots_carry_everything_and_newer_formats_are_refused() {
    let (mut world, ..) = one_task();
    world.settle();
    let snapshot = world.store.to_snapshot();
    let bytes = rmp_serde::to_vec(&snapshot).unwrap();
    let read: Snapshot = rmp_serde::from_slice(&bytes).unwrap();
    assert_eq!(read, snapshot);
    let copy = Store::from_snapshot(read).unwrap();
    copy.assert_consistent();
    assert_eq!(copy.to_snapshot(), snapshot);
    let error = Store::from_snapshot(Snapshot { version: SNAPSHOT_VERSION + 1, ..snapshot }).unwrap_err();
    assert!(error.message.contains("newer build"), "{error}");
}

#[test]
fn equal_texts_are_shared() {
    let mut world = World::new(1);
    let web = world.create(spec("web", 3));
    world.settle();
    let texts: Vec<Arc<str>> = world.store.tasks_of_service(&web).map(|task| task.status.message.clone()).collect();
    assert!(texts.windows(2).all(|pair| Arc::ptr_eq(&pair[0], &pair[1])));
}
