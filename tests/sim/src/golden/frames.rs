//! What nodes say to each other, and the daemon to its shims: one value of each variant.

use super::objects::{
    cluster_spec, description, generic, issuer, network_id, network_spec, node_id, node_spec, port, rotation, service_id, service_spec, status, task_id,
    template,
};
use super::{Form, How, form};
use std::net::SocketAddr;
use std::sync::Arc;
use wsw_api::control::{Request, Rollback, Write};
use wsw_api::entry::Outcome;
use wsw_api::id::{RequestId, SessionId};
use wsw_api::join::{BlobAnswer, BlobRequest, JoinAnswer, JoinRequest, Joined};
use wsw_api::log::{Line, Query, Stream};
use wsw_api::log_stream::{LogFrame, LogRequest, LogsOf};
use wsw_api::registry::{AuthFrom, RegistryAuth};
use wsw_api::relay::{Answer, Opening};
use wsw_api::session::{AssignedTask, Assignments, Goodbye, ManagerFrame, ManagerPeer, Managers, PeerNode, ServiceEndpoint, WorkerFrame};
use wsw_api::shim::{CONTRACT, CompileReport, ExitReport, Handover, HandoverAnswer, HandoverOutcome, Kind};
use wsw_api::spec::{Availability, NodeRole, Protocol, ServiceMode};
use wsw_api::task::DesiredState;
use wsw_api::time::Time;
use wsw_api::trust::{RootChange, Trust};
use wsw_api::unlock::UnlockKey;
use wsw_api::{Error, ServiceId};
use wsw_manager::raft::snapshot::Meta;
use wsw_manager::raft::stored::{StoredId, StoredVote};
use wsw_manager::raft::wire::{Append, Appended, Ask, Ballot, Hello, ReadIndex, Reply, Stored, Written};

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub fn all() -> Vec<Form> {
    [workers(), managers(), asks(), writes(), replies(), others(), shims()].into_iter().flatten().collect()
}

fn workers() -> Vec<Form> {
    let frames = [
        ("incarnation", WorkerFrame::Incarnation { manager: Some(2), heard: 3 }),
        ("hello", WorkerFrame::Hello { node: node_id(), boot: SessionId::from_bytes([0xb0; 16]), description: description() }),
        ("heartbeat", WorkerFrame::Heartbeat),
        ("describe", WorkerFrame::Describe(description())),
        ("statuses", WorkerFrame::Statuses { seq: 5, rows: vec![(task_id(1), status())] }),
        ("leaving", WorkerFrame::Goodbye(Goodbye::Leaving)),
        ("restarting", WorkerFrame::Goodbye(Goodbye::Restarting)),
    ];
    frames.iter().map(|(name, frame)| form(How::Named, &format!("worker.{name}"), frame)).collect()
}

fn assignments() -> Assignments {
    let task = AssignedTask { id: task_id(1), service: service_id(), template: 3, slot: 7, desired: DesiredState::Running, generic: generic() };
    Assignments {
        complete: true,
        more: true,
        templates: vec![Arc::new(template())],
        tasks: vec![task],
        auths: vec![(service_id(), Some(RegistryAuth::new("e30=")))],
        removed: vec![task_id(2)],
        endpoints: vec![ServiceEndpoint { service: service_id(), name: "web".into(), ports: vec![port()], nodes: vec![(node_id(), 3)] }],
        removed_endpoints: vec![ServiceId::from_bytes([6; 16])],
        peers: vec![PeerNode { node: node_id(), addr: address("10.0.0.3:2377"), role: NodeRole::Worker }],
        removed_peers: vec![node_id()],
    }
}

fn managers() -> Vec<Form> {
    let others = Managers {
        peers: vec![ManagerPeer { node: node_id(), addr: "10.0.0.3:2377".into() }],
        leader: Some(node_id()),
        role: NodeRole::Worker,
        incarnation: 2,
        trust: Some(Trust { root: "PEM".into(), issuer: issuer() }),
    };
    let frames = [
        ("welcome", ManagerFrame::Welcome { session: SessionId::from_bytes([0x5e; 16]), heartbeat_ns: 1_000_000_000 }),
        ("assignments", ManagerFrame::Assignments(assignments())),
        ("heartbeat", ManagerFrame::Heartbeat { heartbeat_ns: 5_000_000_000 }),
        ("committed", ManagerFrame::Committed { seq: 5 }),
        ("refused", ManagerFrame::Refused { reason: "a newer session".into() }),
        ("managers", ManagerFrame::Managers(others)),
    ];
    frames.iter().map(|(name, frame)| form(How::Named, &format!("manager.{name}"), frame)).collect()
}

fn snapshot_meta() -> Meta {
    Meta::of(&super::stored::snapshot_meta())
}

fn asks() -> Vec<Form> {
    let (vote, last) = (StoredVote(3, 9, true), Some(StoredId(2, 1, 40)));
    let ballot = Ballot { vote, last, transfer: true };
    let asks = [
        ("vote", Ask::Vote(ballot)),
        ("pre-vote", Ask::PreVote(ballot)),
        ("append", Ask::Append(Append { vote, prev: last, commit: last, entries: vec![(41, Stored(vec![0x93, 3, 9, 0xa5, b'B', b'l', b'a', b'n', b'k']))] })),
        ("snapshot", Ask::Snapshot { vote, meta: snapshot_meta() }),
        ("transfer", Ask::Transfer { from: vote, to: 7, last }),
        ("read-index", Ask::ReadIndex),
    ];
    let hello = form(How::Named, "raft.hello", &Hello { incarnation: Some(2), to: Some(7) });
    asks.iter().map(|(name, ask)| form(How::Named, &format!("raft.ask.{name}"), ask)).chain([hello]).collect()
}

fn writes() -> Vec<Form> {
    let spec = || Box::new(service_spec(ServiceMode::Global));
    let cluster = Write::UpdateCluster {
        version: 4,
        spec: Box::new(cluster_spec()),
        worker_token: Some("SWMTKN-1-w".into()),
        manager_token: Some("SWMTKN-1-m".into()),
        unlock_key: Some(UnlockKey::from_body("a2V5")),
        rotate_unlock_key: true,
        root: RootChange::Begin(Box::new(rotation())),
    };
    let auth = Some(RegistryAuth::new("e30="));
    let added =
        Write::AddNode { id: node_id(), role: NodeRole::Worker, availability: Availability::Pause, hostname: "host".into(), addr: "10.0.0.3:2377".into() };
    let writes = [
        ("create-service", Write::CreateService { spec: spec() }),
        ("update-service", Write::UpdateService { id: service_id(), version: 4, spec: spec(), rollback: Rollback::Previous }),
        ("remove-service", Write::RemoveService { id: service_id() }),
        ("with-auth", Write::WithRegistryAuth { write: Box::new(Write::CreateService { spec: spec() }), auth, from: AuthFrom::PreviousSpec }),
        ("update-node", Write::UpdateNode { id: node_id(), version: 4, spec: Box::new(node_spec()) }),
        ("remove-node", Write::RemoveNode { id: node_id(), force: true }),
        ("add-node", added),
        ("enroll-manager", Write::EnrollManager { id: node_id(), raft_id: 7, addr: "10.0.0.3:2377".into() }),
        ("update-cluster", cluster),
        ("create-network", Write::CreateNetwork { spec: Box::new(network_spec()) }),
        ("remove-network", Write::RemoveNetwork { id: network_id() }),
    ];
    let ask = |write: &Write| Ask::Write(Box::new(Request { id: RequestId::from_bytes([0x9e; 16]), write: write.clone() }));
    writes.iter().map(|(name, write)| form(How::Named, &format!("raft.write.{name}"), &ask(write))).collect()
}

fn replies() -> Vec<Form> {
    let (vote, last) = (StoredVote(3, 9, true), Some(StoredId(2, 1, 40)));
    let written = |answer| Reply::Write(Written::Answer(answer));
    let replies = [
        ("vote", Reply::Vote { vote, granted: true, last }),
        ("appended", Reply::Append(Appended::Success)),
        ("partial", Reply::Append(Appended::Partial(last))),
        ("conflict", Reply::Append(Appended::Conflict)),
        ("higher-vote", Reply::Append(Appended::HigherVote(vote))),
        ("snapshot", Reply::Snapshot { vote }),
        ("transfer", Reply::Transfer(true)),
        ("read", Reply::Read(ReadIndex { index: 40, silent: vec![7] })),
        ("created", written(Ok(Outcome::ServiceCreated { id: service_id(), warnings: vec!["w".into()] }))),
        ("network", written(Ok(Outcome::NetworkCreated { id: network_id() }))),
        ("done", written(Ok(Outcome::Done))),
        ("warnings", written(Ok(Outcome::Warnings(vec!["w".into()])))),
        ("refused", written(Err(Error::conflict("update out of sequence")))),
        ("not-yet", Reply::Write(Written::NotYet(Error::unavailable("no leader")))),
        ("unknown", Reply::Write(Written::Unknown("it stopped".into()))),
        ("not-leader", Reply::NotLeader),
        ("failed", Reply::Failed("its Raft does not run".into())),
    ];
    replies.iter().map(|(name, reply)| form(How::Named, &format!("raft.reply.{name}"), reply)).collect()
}

fn others() -> Vec<Form> {
    let join = JoinRequest {
        token: "SWMTKN-1-a-b".into(),
        csr: "CSR".into(),
        hostname: "host".into(),
        addr: "10.0.0.3:2377".into(),
        availability: Availability::Active,
    };
    let joined = Joined {
        node: node_id(),
        cluster: super::objects::cluster_id(),
        role: NodeRole::Manager,
        certificate: "PEM".into(),
        managers: vec!["10.0.0.1:2377".into()],
        manager_nodes: vec![node_id()],
    };
    let query = Query { follow: true, stdout: true, stderr: true, tail: Some(5), since: Some(Time(1)), until: Some(Time(2)) };
    let line = Line { time: Time(3), stream: Stream::Stderr, node: node_id(), service: service_id(), task: task_id(1), text: b"text\n".to_vec() };
    let opening = Opening { service: service_id(), port: 80, protocol: Protocol::Udp, client: address("[fe80::1]:4000"), hit: address("10.0.0.1:80") };
    vec![
        form(How::Named, "join.request", &join),
        form::<JoinAnswer>(How::Named, "join.joined", &Ok(joined)),
        form::<JoinAnswer>(How::Named, "join.refused", &Err(Error::forbidden("A valid join token is necessary"))),
        form(How::Named, "blob.request", &BlobRequest { digest: "sha256:00".into(), offset: 3, look: true }),
        form(How::Named, "blob.found", &BlobAnswer::Found { size: 1 << 40 }),
        form(How::Named, "blob.missing", &BlobAnswer::Missing),
        form(How::Named, "blob.busy", &BlobAnswer::Busy),
        form(How::Named, "relay.opening", &opening),
        form(How::Named, "relay.answer", &Answer { outcome: HandoverOutcome::None }),
        form(How::Named, "logs.of-service", &LogRequest { of: LogsOf::Service(service_id()), query: query.clone() }),
        form(How::Named, "logs.of-task", &LogRequest { of: LogsOf::Task(task_id(1)), query }),
        form(How::Named, "logs.lines", &LogFrame::Lines(vec![line])),
        form(How::Named, "logs.trouble", &LogFrame::Trouble("its worker is not there yet".into())),
    ]
}

fn shims() -> Vec<Form> {
    assert_eq!(CONTRACT, 2, "another contract has other stored bytes");
    let handover = Handover { contract: CONTRACT, seq: 9, service: service_id(), port: 80, protocol: Protocol::Udp, client: address("10.0.0.9:4000") };
    vec![
        form(How::Named, "shim.handover", &handover),
        form(How::Named, "shim.taken", &HandoverAnswer { seq: 9, outcome: HandoverOutcome::Taken }),
        form(How::Named, "shim.none", &HandoverAnswer { seq: 9, outcome: HandoverOutcome::None }),
        form(How::Named, "shim.full", &HandoverAnswer { seq: 9, outcome: HandoverOutcome::Full }),
        form(How::Json, "shim.exit", &ExitReport { code: 137, reason: Some("out of memory".into()), ran: true }),
        form(How::Json, "compiler.ok", &CompileReport::Ok { kind: Kind::Module }),
        form(How::Json, "compiler.err", &CompileReport::Err { message: "no export".into() }),
    ]
}
