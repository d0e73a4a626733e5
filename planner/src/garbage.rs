//! Properties of `apply` over garbage: whatever an entry says, nothing panics and the indexes stay whole.
//!
//! Owns: the garbage, made of small numbers so that it names things that exist now and then.

use crate::fixture::{self, node_id, service_id, session, spec, task_id};
use crate::{Dirty, Store, plan};
use proptest::prelude::*;
use std::sync::Arc;
use wsw_api::entry::{Applied, Change, Entry, Guard, NewTask, NewTasks, Outcome};
use wsw_api::generic::GenericResource;
use wsw_api::id::RequestId;
use wsw_api::object::{JobStatus, Service, Template};
use wsw_api::spec::{EndpointSpec, PortConfig, Protocol, PublishMode, ServiceMode, ServiceSpec};
use wsw_api::task::{DesiredState, TaskState, TaskStatus};
use wsw_api::time::{SECOND, Time};

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn garbage_never_panics_and_leaves_the_indexes_whole(entries in prop::collection::vec(garbage(), 1..30)) {
        let mut store = fixture::cluster(3);
        for (index, entry) in (10..).zip(&entries) {
            let before = store.clone();
            let applied = store.apply(index, entry);
            if let Applied::Refused(_) = applied {
                prop_assert_eq!(store.to_snapshot().tasks, before.to_snapshot().tasks);
            }
            store.assert_consistent();
            check_forward_states(&before, &store);
        }
        let planned = plan(&store, &Dirty::everything(), Time(99 * SECOND), &mut fixture::counter(6));
        let mut store = store;
        for piece in planned.pieces {
            let entry = Entry { time: Time(99 * SECOND), requests: Vec::new(), guards: piece.guards, changes: piece.changes };
            prop_assert_eq!(store.apply(store.index() + 1, &entry), Applied::Done);
        }
        store.assert_consistent();
    }
}

fn check_forward_states(before: &Store, after: &Store) {
    for old in before.tasks() {
        if let Some(new) = after.task(&old.id).filter(|new| new.meta.created_at == old.meta.created_at && new.meta.version >= old.meta.version) {
            assert!(new.desired >= old.desired || new.service != old.service || new.slot != old.slot, "desired state moved back");
        }
    }
}

fn garbage() -> impl Strategy<Value = Entry> {
    let guard = prop_oneof![
        small().prop_map(|n| Guard::NodeExists(node_id(n))),
        small().prop_map(|n| Guard::ServiceExists(service_id(n))),
        small().prop_map(|n| Guard::TaskExists(task_id(n))),
        (small(), small()).prop_map(|(n, v)| Guard::ServiceVersion(service_id(n), v)),
        (small(), small()).prop_map(|(n, v)| Guard::TemplateExists(service_id(n), v)),
        small().prop_map(|n| Guard::ServiceNameAbsent(format!("s{n}"))),
        small().prop_map(|n| Guard::RequestNew(RequestId::from_bytes(fixture::bytes(8, n)))),
        (small(), small()).prop_map(|(n, p)| Guard::PortFree(service_id(n), Protocol::Tcp, p as u16)),
        small().prop_map(Guard::ClusterVersion),
    ];
    let guards = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(guard, 1..3)];
    let requests = prop::collection::vec(small().prop_map(|n| (RequestId::from_bytes(fixture::bytes(8, n)), Outcome::Done)), 0..2);
    (small(), requests, guards, prop::collection::vec(garbage_change(), 0..6)).prop_map(|(time, requests, guards, changes)| Entry {
        time: Time(time),
        requests,
        guards,
        changes,
    })
}

fn mode(id: u64, number: u64) -> ServiceMode {
    match id % 4 {
        0 => ServiceMode::Replicated { replicas: number },
        1 => ServiceMode::Global,
        2 => ServiceMode::ReplicatedJob { max_concurrent: 2, total_completions: number },
        _ => ServiceMode::GlobalJob,
    }
}

fn small() -> std::ops::Range<u64> {
    0..6
}

fn garbage_change() -> impl Strategy<Value = Change> {
    let state = prop_oneof![
        Just(TaskState::New),
        Just(TaskState::Assigned),
        Just(TaskState::Running),
        Just(TaskState::Failed),
        Just(TaskState::Complete),
        Just(TaskState::Shutdown),
        Just(TaskState::Orphaned)
    ];
    let status = (state, small()).prop_map(|(state, at)| TaskStatus::new(state, Time(at), "x"));
    let desired = prop_oneof![
        Just(DesiredState::Ready),
        Just(DesiredState::Running),
        Just(DesiredState::Complete),
        Just(DesiredState::Shutdown),
        Just(DesiredState::Remove)
    ]
    .boxed();
    let tasks = prop::collection::vec(small().prop_map(task_id), 0..5).boxed();
    let nodes = prop::collection::vec(small().prop_map(node_id), 0..3).boxed();
    let row = (small(), 0..4_u32, prop::option::of(0..4_u32)).prop_map(|(id, slot, node)| NewTask { id: task_id(id), slot, node, replaces: None });
    let new = (small(), small(), desired.clone(), nodes.clone(), prop::collection::vec(row, 0..5)).prop_map(|(service, template, desired, nodes, rows)| {
        let (job_iteration, attempts) = (template % 3, u32::try_from(rows.len()).unwrap_or(0));
        let new = NewTasks { service: service_id(service), template, desired, restart_at: None, job_iteration, nodes, rows, attempts };
        if service % 2 == 0 { Change::CreateTasks(new) } else { Change::CreateWaiting(new) }
    });
    let service = (small(), small(), prop::option::of(small()), any::<bool>(), 0..3_u16).prop_map(|(id, template, previous, gone, port)| {
        Change::PutService(Box::new(Service {
            id: service_id(id),
            meta: Default::default(),
            spec: Arc::new(ServiceSpec { mode: mode(id, template), ..spec(&format!("s{}", id % 3), template) }),
            previous_spec: None,
            template,
            previous_template: previous,
            ports: vec![PortConfig { target: 80, published: port, ..PortConfig::default() }],
            update_status: None,
            pending_delete: gone,
            job: previous.map(|iteration| JobStatus { iteration, last_execution: Time(1) }),
        }))
    });
    let template = (small(), small()).prop_map(|(id, version)| {
        Change::PutTemplate(Arc::new(Template {
            service: service_id(id),
            version,
            annotations: Default::default(),
            spec: Arc::new(spec("t", 1).task),
            endpoint: EndpointSpec { ports: vec![PortConfig { published: 80, mode: PublishMode::Host, ..PortConfig::default() }], ..EndpointSpec::default() },
        }))
    });
    prop_oneof![
        3 => service,
        3 => template,
        4 => new,
        1 => small().prop_map(|n| Change::PutNode(Box::new(fixture::node(n)))),
        1 => small().prop_map(|n| Change::RemoveNode(node_id(n))),
        1 => (small(), small()).prop_map(|(n, s)| Change::NodeSession { id: node_id(n), session: session(s) }),
        1 => small().prop_map(|n| Change::RemoveService(service_id(n))),
        2 => (nodes, prop::collection::vec((small().prop_map(task_id), 0..4_u32), 0..4)).prop_map(|(nodes, rows)| Change::AssignTasks { nodes, rows }),
        2 => (desired, tasks.clone()).prop_map(|(desired, tasks)| Change::SetDesired { desired, tasks }),
        1 => tasks.clone().prop_map(|tasks| Change::Explain { reason: "why".into(), tasks }),
        1 => (small(), tasks.clone()).prop_map(|(value, tasks)| Change::Claim { resources: [GenericResource::Discrete { kind: "gpu".into(), value }].into(), tasks }),
        1 => tasks.clone().prop_map(Change::RemoveTasks),
        2 => (small(), small(), prop::collection::vec((small().prop_map(task_id), status.clone()), 0..4))
            .prop_map(|(n, s, rows)| Change::Statuses { node: node_id(n), session: session(s), rows }),
        1 => (status, tasks).prop_map(|(status, tasks)| Change::Judge { status, tasks }),
    ]
}
