//! What the log and snapshots hold: one value of each guard, change and table.

use super::objects::{cluster, description, generic, network, network_id, node, node_id, node_status, service, service_id, status, task, task_id, template};
use super::{Form, How, form};
use std::collections::BTreeMap;
use std::sync::Arc;
use wsw_api::Error;
use wsw_api::entry::{Change, Entry, Guard, NewTask, NewTasks, Outcome};
use wsw_api::id::{RequestId, SessionId};
use wsw_api::object::{UpdateState, UpdateStatus};
use wsw_api::registry::{RegistryAuth, ServiceAuth};
use wsw_api::spec::Protocol;
use wsw_api::task::DesiredState;
use wsw_api::time::Time;
use wsw_manager::raft::snapshot::Meta;
use wsw_manager::raft::stored::{self, State, StoredId, StoredVote};
use wsw_manager::raft::types::{Command, Membership, Payload, RaftEntry, SnapshotMeta, StoredMembership};
use wsw_planner::Store;

fn request() -> RequestId {
    RequestId::from_bytes([0x9e; 16])
}

fn session() -> SessionId {
    SessionId::from_bytes([0x5e; 16])
}

pub fn membership() -> Membership {
    let addr = |id: u64| openraft::impls::BasicNode { addr: format!("10.0.0.{id}:2377") };
    let nodes: BTreeMap<u64, _> = (1..=4).map(|id| (id, addr(id))).collect();
    Membership::new(vec![[1, 2].into(), [2, 3].into()], nodes).unwrap()
}

pub fn snapshot_meta() -> SnapshotMeta {
    let at = StoredId(3, 9, 41).log_id();
    SnapshotMeta { last_log_id: Some(at), last_membership: StoredMembership::new(Some(StoredId(2, 9, 30).log_id()), membership()) }
}

fn guards() -> Vec<Guard> {
    vec![
        Guard::RequestNew(request()),
        Guard::ClusterVersion(1),
        Guard::ServiceExists(service_id()),
        Guard::ServiceVersion(service_id(), 2),
        Guard::ServiceNameAbsent("web".into()),
        Guard::PortFree(service_id(), Protocol::Sctp, 80),
        Guard::TemplateExists(service_id(), 3),
        Guard::NodeExists(node_id()),
        Guard::NodeVersion(node_id(), 4),
        Guard::TaskExists(task_id(1)),
        Guard::NetworkNameAbsent("front".into()),
        Guard::NetworkExists(network_id()),
        Guard::NetworkUnused(network_id()),
    ]
}

fn new_tasks() -> NewTasks {
    NewTasks {
        service: service_id(),
        template: 3,
        desired: DesiredState::Ready,
        restart_at: Some(Time(9)),
        job_iteration: 4,
        nodes: vec![node_id()],
        rows: vec![NewTask { id: task_id(1), slot: 7, node: Some(0), replaces: Some(task_id(2)) }],
        attempts: 2,
    }
}

/// One of each; the name of a new one is asked for by the compiler.
fn changes() -> Vec<Change> {
    let auth = |text: &str| Some(RegistryAuth::new(text));
    let update = UpdateStatus { state: UpdateState::Paused, started_at: Time(5), completed_at: None, message: "update paused".into() };
    vec![
        Change::PutCluster(Box::new(cluster())),
        Change::PutNode(Box::new(node())),
        Change::NodeStatus { id: node_id(), status: node_status() },
        Change::NodeDescription { id: node_id(), description: description() },
        Change::RemoveNode(node_id()),
        Change::NodeSession { id: node_id(), session: session() },
        Change::PutTemplate(Arc::new(template())),
        Change::PutService(Box::new(service())),
        Change::ServiceUpdateStatus { id: service_id(), status: Some(update) },
        Change::RemoveService(service_id()),
        Change::RegistryAuth { service: service_id(), auth: Arc::new(ServiceAuth { current: auth("e30="), previous: auth("e31=") }) },
        Change::CreateTasks(new_tasks()),
        Change::AssignTasks { nodes: vec![node_id()], rows: vec![(task_id(1), 0)] },
        Change::SetDesired { desired: DesiredState::Remove, tasks: vec![task_id(1)] },
        Change::Explain { reason: "no suitable node".into(), tasks: vec![task_id(1)] },
        Change::RemoveTasks(vec![task_id(1)]),
        Change::Statuses { node: node_id(), session: session(), rows: vec![(task_id(1), status())] },
        Change::Judge { status: status(), tasks: vec![task_id(1)] },
        Change::PutNetwork(Box::new(network())),
        Change::RemoveNetwork(network_id()),
        Change::CreateWaiting(new_tasks()),
        Change::Claim { resources: generic().into(), tasks: vec![task_id(1)] },
        Change::FinishRotation { root_ca: "new PEM".into() },
    ]
}

fn name(change: &Change) -> &'static str {
    match change {
        Change::PutCluster(_) => "put-cluster",
        Change::PutNode(_) => "put-node",
        Change::NodeStatus { .. } => "node-status",
        Change::NodeDescription { .. } => "node-description",
        Change::RemoveNode(_) => "remove-node",
        Change::NodeSession { .. } => "node-session",
        Change::PutTemplate(_) => "put-template",
        Change::PutService(_) => "put-service",
        Change::ServiceUpdateStatus { .. } => "update-status",
        Change::RemoveService(_) => "remove-service",
        Change::RegistryAuth { .. } => "registry-auth",
        Change::CreateTasks(_) => "create-tasks",
        Change::AssignTasks { .. } => "assign-tasks",
        Change::SetDesired { .. } => "set-desired",
        Change::Explain { .. } => "explain",
        Change::RemoveTasks(_) => "remove-tasks",
        Change::Statuses { .. } => "statuses",
        Change::Judge { .. } => "judge",
        Change::PutNetwork(_) => "put-network",
        Change::RemoveNetwork(_) => "remove-network",
        Change::CreateWaiting(_) => "create-waiting",
        Change::Claim { .. } => "claim",
        Change::FinishRotation { .. } => "finish-rotation",
    }
}

fn outcomes() -> Vec<(RequestId, Outcome)> {
    let created = Outcome::ServiceCreated { id: service_id(), warnings: vec!["w".into()] };
    let outcomes = [Outcome::Done, created, Outcome::Warnings(vec!["w".into()]), Outcome::NetworkCreated { id: network_id() }];
    outcomes.into_iter().map(|outcome| (request(), outcome)).collect()
}

/// Entries as the log has them.
pub fn entries() -> Vec<(String, RaftEntry)> {
    let entry = |payload| RaftEntry { log_id: StoredId(3, 9, 41).log_id(), payload };
    let normal = |written: Entry| entry(Payload::Normal(Command(Arc::new(written))));
    let mut entries = vec![
        ("log.blank".to_owned(), entry(Payload::Blank)),
        ("log.membership".to_owned(), entry(Payload::Membership(membership()))),
        ("log.guards".to_owned(), normal(Entry { time: Time(5), requests: outcomes(), guards: guards(), changes: Vec::new() })),
    ];
    entries.extend(changes().into_iter().map(|change| (format!("log.{}", name(&change)), normal(Entry { changes: vec![change], ..Entry::default() }))));
    entries
}

/// A state with something in each table.
pub fn store() -> Store {
    let (mut own, mut service) = (task(), service());
    (own.replaces, service.previous_template) = (None, None);
    service.previous_spec = None;
    let mut store = Store::default();
    let first = vec![Change::PutCluster(Box::new(cluster())), Change::PutNode(Box::new(node())), Change::PutNetwork(Box::new(network()))];
    let session = Change::NodeSession { id: node_id(), session: session() };
    let auth = Change::RegistryAuth { service: service_id(), auth: Arc::new(ServiceAuth { current: Some(RegistryAuth::new("e30=")), previous: None }) };
    let tasks = Change::CreateTasks(NewTasks {
        desired: DesiredState::Running,
        restart_at: None,
        rows: vec![NewTask { replaces: None, ..new_tasks().rows[0].clone() }],
        ..new_tasks()
    });
    let changes = [first, vec![session, Change::PutTemplate(Arc::new(template())), Change::PutService(Box::new(service)), auth, tasks]].concat();
    let entry = Entry { time: Time(5), requests: vec![(request(), Outcome::Done)], guards: Vec::new(), changes };
    assert_eq!(store.apply(40, &entry), wsw_api::entry::Applied::Done);
    store
}

fn entry_form(name: &str, entry: &RaftEntry) -> Form {
    let mut bytes = Vec::new();
    stored::write_entry(&mut bytes, entry).unwrap();
    let read = |bytes: &[u8]| stored::read_entry(41, bytes).map(|entry| format!("{entry:?}")).map_err(|error| error.to_string());
    Form { name: name.to_owned(), bytes, shown: format!("{entry:?}"), read: Box::new(read), how: How::Stored }
}

pub fn all() -> Vec<Form> {
    let state = State { vote: Some(StoredVote(3, 9, true)), committed: Some(StoredId(3, 9, 41)), purged: Some(StoredId(2, 1, 7)) };
    let others = [
        form(How::Stored, "log.state", &state),
        form(How::Stored, "snapshot.meta", &Meta::of(&snapshot_meta())),
        form(How::Stored, "snapshot.state", &store().to_snapshot()),
        form(How::Stored, "answer.refused", &wsw_api::entry::Applied::Refused(Error::conflict("service exists"))),
    ];
    entries().iter().map(|(name, entry)| entry_form(name, entry)).chain(others).collect()
}
