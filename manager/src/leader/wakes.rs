//! How often the leader wakes when nothing happens: counted, with a worker that takes nothing, and with one that is away.
//!
//! Owns: nothing that ships. The loop is the leader's, with time that jumps to the next wake-up.

use super::inbox::{Arrival, Link};
use super::workers::Workers;
use super::{BEHIND, LOOK};
use crate::own_addr::OwnAddr;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wsw_api::entry::{Change, Entry};
use wsw_api::id::{NodeId, ServiceId, SessionId};
use wsw_api::object::{Meta, Node, NodeDescription, NodeState, NodeStatus, Service};
use wsw_api::session::{ManagerFrame, WorkerFrame};
use wsw_api::spec::{Annotations, Availability, EndpointSpec, NodeRole, NodeSpec, PortConfig, ServiceMode, ServiceSpec, TaskSpec};
use wsw_api::time::{SECOND, Time};
use wsw_planner::dispatcher::Heartbeat;
use wsw_planner::{Store, Touched};

/// How long nothing happens.
const QUIET: u64 = 10 * SECOND;
const NODE: NodeId = NodeId::from_bytes([1; 16]);

struct Desk {
    store: Store,
    workers: Workers,
    now: Time,
    heard: Time,
}

impl Desk {
    /// A node whose worker has said hello over a link that holds one frame.
    fn new() -> (Self, mpsc::Receiver<ManagerFrame>) {
        let node = Node {
            id: NODE,
            meta: Meta::default(),
            spec: NodeSpec { annotations: Annotations::default(), role: NodeRole::Worker, availability: Availability::Active },
            description: Arc::new(NodeDescription::default()),
            status: NodeStatus { state: NodeState::Ready, message: String::new(), addr: "127.0.0.1".into() },
            manager: None,
        };
        let workers = Workers::new(Heartbeat::default(), NodeId::default(), OwnAddr::new(SocketAddr::from(([127, 0, 0, 1], 1))));
        let now = Time(1_000 * SECOND);
        let mut desk = Self { store: Store::default(), workers, now, heard: now };
        desk.apply(vec![Change::PutNode(Box::new(node))]);
        let (frames, taken) = mpsc::channel(1);
        desk.arrive(Arrival::Opened(1, Link { frames, from: None, _open: CancellationToken::new().drop_guard() }));
        let description = Arc::new(NodeDescription::default());
        desk.arrive(Arrival::Frame(1, WorkerFrame::Hello { node: NODE, boot: SessionId::default(), description }));
        (desk, taken)
    }

    fn arrive(&mut self, arrival: Arrival) {
        let changes = self.workers.arrive(arrival, &self.store, self.now, &mut || [9; 16]);
        self.apply(changes);
    }

    fn apply(&mut self, changes: Vec<Change>) {
        let mut touched = Touched::default();
        self.store.apply_touching(self.store.index() + 1, &Entry { time: self.now, changes, ..Entry::default() }, &mut touched);
        self.workers.touched(&self.store, &touched);
    }

    /// A service with a published port: a difference of the endpoints that every worker is to be told.
    fn publish(&mut self, number: u8) {
        let port = PortConfig { target: 80, published: 8000 + u16::from(number), ..PortConfig::default() };
        let spec = ServiceSpec {
            annotations: Annotations { name: format!("s{number}"), labels: BTreeMap::new() },
            task: TaskSpec::default(),
            mode: ServiceMode::Replicated { replicas: 0 },
            update: None,
            rollback: None,
            endpoint: EndpointSpec::default(),
        };
        self.apply(vec![Change::PutService(Box::new(Service {
            id: ServiceId::from_bytes([number; 16]),
            meta: Meta::default(),
            spec: Arc::new(spec),
            previous_spec: None,
            template: 1,
            previous_template: None,
            ports: vec![port],
            update_status: None,
            pending_delete: false,
            job: None,
        }))]);
    }

    /// The leader's loop while only time passes and, if so, heartbeats come; answers how often it went round.
    fn rounds(&mut self, heartbeats: bool) -> u64 {
        let end = self.now.after(QUIET);
        let mut rounds = 0;
        while self.now < end && rounds < 100_000 {
            if heartbeats && self.now.since(self.heard) >= SECOND {
                self.heard = self.now;
                self.arrive(Arrival::Frame(1, WorkerFrame::Heartbeat));
            }
            let expired = self.workers.expire(&self.store, self.now);
            self.apply(expired);
            self.workers.send(&self.store, self.now);
            let look = if self.workers.is_behind() { BEHIND } else { LOOK };
            let look = self.now.after(u64::try_from(look.as_nanos()).unwrap());
            self.now = self.workers.next_wake().map_or(look, |at| at.min(look)).max(self.now);
            rounds += 1;
        }
        rounds
    }
}

/// A worker that takes no frame is tried again at its pace, and at no other.
#[test]
fn a_slow_worker_does_not_keep_the_leader_busy() {
    let (mut desk, _takes_nothing) = Desk::new();
    for number in 1..=3 {
        desk.publish(number);
    }
    assert!(desk.rounds(true) >= 2, "something waits");
    assert!(desk.workers.is_behind());
    desk.publish(4);
    let tries = QUIET / u64::try_from(BEHIND.as_nanos()).unwrap();
    let rounds = desk.rounds(true);
    assert!(rounds <= tries + 50, "{rounds} rounds for {tries} tries");
}

/// What is due for a worker whose connection broke stays due until its session is over.
#[test]
fn a_worker_that_is_away_does_not_keep_the_leader_busy() {
    let (mut desk, taken) = Desk::new();
    desk.rounds(true);
    drop(taken);
    desk.arrive(Arrival::Closed(1));
    for number in 1..=3 {
        desk.publish(number);
    }
    let rounds = desk.rounds(false);
    assert!(rounds <= 20, "{rounds} rounds in ten quiet seconds");
}

/// Nothing at all: only the look at Raft's health and heartbeats.
#[test]
fn a_quiet_cluster_is_left_alone() {
    let (mut desk, mut taken) = Desk::new();
    for _ in 0..20 {
        desk.rounds(true);
        while taken.try_recv().is_ok() {}
    }
    let rounds = desk.rounds(true);
    assert!(rounds <= 12, "{rounds} rounds in ten quiet seconds");
}
