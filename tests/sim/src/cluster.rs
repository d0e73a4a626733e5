//! One run: a cluster that grows, has clients and faults, heals and settles; all of it from one seed.
//!
//! Owns: the hosts and the order of the phases. Invariant: a run ends within a bounded virtual time, well or with an offence.

use crate::chance;
use crate::checks::Checks;
use crate::client;
use crate::faults;
use crate::history::History;
use crate::host::{Common, Host, begin_time};
use crate::net::Net;
use crate::operator;
use crate::plant::Plant;
use crate::runtime::{Machine, block_on};
use crate::settle;
use crate::trace::{Trace, event};
use crate::worker::{STEP, Worker, description};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use wsw_api::entry::{Applied, Change, Entry};
use wsw_api::id::ClusterId;
use wsw_api::object::{Cluster, JoinTokens, ManagerStatus, Meta, Node, NodeState, NodeStatus};
use wsw_api::spec::{Annotations, Availability, ClusterSpec, NodeRole, NodeSpec};
use wsw_api::time::{SECOND, Time};
use wsw_manager::raft::machine::Observer;
use wsw_manager::{Start, Timing};
use wsw_planner::Store;

/// The true time at which a run begins.
pub const START: u64 = 1_700_000_000 * SECOND;

/// Hands what a manager applies to the checks.
pub struct Lookout {
    pub host: usize,
    pub checks: Arc<Checks>,
    pub plant: Option<Plant>,
}

impl Observer for Lookout {
    fn applied(&self, index: u64, entry: &Entry, answer: &Applied, after: &Store) {
        if self.plant == Some(Plant::Drifts) && self.host > 0 {
            let mut drifted = after.clone();
            let _done = drifted.apply(index, &Entry { time: Time(after.time().0 + self.host as u64), ..Entry::default() });
            return self.checks.applied(self.host, index, entry, answer, &drifted);
        }
        self.checks.applied(self.host, index, entry, answer, after);
    }
    fn installed(&self, index: u64, state: &Store) {
        self.checks.installed(self.host, index, state);
    }
}

/// The shape of a run.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub managers: usize,
    pub workers: usize,
    pub clients: usize,
    pub faults: Duration,
    pub timing: Timing,
}

impl Shape {
    /// As the seed has it.
    fn chosen() -> Self {
        let managers = [1, 3, 3, 3, 5][chance::below(5)];
        let timing = if chance::below(4) == 0 { Timing::Lan } else { Timing::Wan };
        Self { managers, workers: 1 + chance::below(3), clients: 1 + chance::below(2), faults: chance::millis(4_000, 14_000), timing }
    }

    /// The smallest: nothing goes wrong.
    pub fn smallest() -> Self {
        Self { managers: 1, workers: 1, clients: 1, faults: Duration::ZERO, timing: Timing::Lan }
    }
}

/// A cluster while it runs.
pub struct World {
    pub common: Arc<Common>,
    pub history: Arc<History>,
    pub hosts: Vec<Host>,
    pub workers: Vec<Worker>,
}

/// How a run went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Hash and number of its events.
    pub trace: (u64, u64),
    /// Writes that were acknowledged, refused, left open.
    pub writes: (usize, usize, usize),
}

/// Plays a seed. The error is the offence with the last events.
pub fn run(seed: u64, shape: Option<Shape>, loud: bool) -> Result<Report, String> {
    chance::begin(seed);
    let shape = shape.unwrap_or_else(Shape::chosen);
    block_on(play(shape, loud, None))
}

/// Plays a seed in which something is planted; the error is what was found.
pub fn planted(seed: u64, plant: Plant) -> Result<Report, String> {
    chance::begin(seed);
    let shape = Shape::chosen();
    block_on(play(shape, false, Some(plant)))
}

thread_local! {
    static LEFT: Cell<Vec<(String, Vec<u8>)>> = const { Cell::new(Vec::new()) };
}

/// The files that a manager has at the end of a run.
pub fn left_by(seed: u64) -> Vec<(String, Vec<u8>)> {
    run(seed, None, false).unwrap();
    LEFT.take()
}

async fn play(shape: Shape, loud: bool, plant: Option<Plant>) -> Result<Report, String> {
    begin_time();
    let trace = Arc::new(Trace::begin(loud));
    event!(trace, "{shape:?}");
    let checks = Arc::new(Checks::new(trace.clone()));
    let (net, cluster) = (Arc::new(Net::default()), ClusterId::from_bytes(chance::id()));
    let common = Arc::new(Common { net, trace, checks, cluster, timing: shape.timing, plant });
    let mut world = World { common: common.clone(), history: Arc::default(), hosts: Vec::new(), workers: Vec::new() };
    let outside = Arc::new(Machine::default());
    let went = world.phases(shape, &outside).await;
    outside.kill();
    world.end();
    let report = Report { trace: common.trace.sum(), writes: world.history.count() };
    match common.checks.offence().or(went.err()) {
        None => Ok(report),
        Some(offence) => Err(format!("{}\n{offence}", common.trace.tail())),
    }
}

impl World {
    async fn phases(&mut self, shape: Shape, outside: &Arc<Machine>) -> Result<(), String> {
        self.begin(outside);
        for number in 1..shape.managers + shape.workers {
            let role = if number < shape.managers { NodeRole::Manager } else { NodeRole::Worker };
            self.add_host(outside);
            operator::join(self, number, role).await?;
        }
        let mut clients: Vec<_> = (0..shape.clients).map(|number| outside.spawn(client::run(self.common.clone(), self.history.clone(), number))).collect();
        clients.push(outside.spawn(client::read(self.common.clone(), self.history.clone())));
        faults::play(self, shape.faults).await;
        self.heal();
        // Some writes that nothing disturbs.
        sleep(Duration::from_secs(3)).await;
        clients.iter().for_each(tokio::task::JoinHandle::abort);
        settle::settle(self).await
    }

    /// The first host makes the cluster.
    fn begin(&mut self, outside: &Arc<Machine>) {
        self.add_host(outside);
        let host = &mut self.hosts[0];
        let raft = chance::next() >> 11;
        host.raft = Some(raft);
        let entry = first_entry(&self.common, host, raft);
        host.start(Start::New { addr: host.addr.to_string(), entry: Box::new(entry) });
        self.workers[0].start();
    }

    fn add_host(&mut self, outside: &Arc<Machine>) {
        let host = Host::new(self.hosts.len(), self.common.clone());
        let worker = Worker::new(host.number, host.node, self.common.clone());
        let tasks = worker.tasks.clone();
        tasks.lock().unwrap().plant = self.common.plant;
        tasks.lock().unwrap().flaky = if chance::below(3) == 0 { 0 } else { 15 };
        // Shims go on whatever becomes of the daemon.
        let _runs = outside.spawn(async move {
            loop {
                sleep(STEP).await;
                tasks.lock().unwrap().advance();
            }
        });
        self.hosts.push(host);
        self.workers.push(worker);
    }

    /// Nothing is wrong any more, and nothing will be.
    pub fn heal(&mut self) {
        event!(self.common.trace, "all heals");
        self.common.net.heal();
        for host in &mut self.hosts {
            host.disk.heal();
            if !host.is_up() {
                host.kill();
                host.start(Start::Again);
            }
        }
        for worker in &mut self.workers {
            worker.tasks.lock().unwrap().flaky = 0;
            if worker.running.is_none() {
                worker.start();
            }
        }
    }

    fn end(&mut self) {
        let files = self.hosts.iter().map(|host| host.disk.files()).max_by_key(|files| files.iter().filter(|(path, _)| path.ends_with("snapshot")).count());
        LEFT.set(files.unwrap_or_default());
        self.workers.iter_mut().for_each(Worker::kill);
        self.hosts.iter_mut().for_each(Host::kill);
    }
}

fn first_entry(common: &Common, host: &Host, raft_id: u64) -> Entry {
    let cluster = Cluster {
        id: common.cluster,
        meta: Meta::default(),
        spec: ClusterSpec::default(),
        root_ca: "root".into(),
        root_key: String::new(),
        join_tokens: JoinTokens { worker: "worker".into(), manager: "manager".into() },
        incarnation: 0,
        unlock_key: Default::default(),
        feature_level: 1,
        issuer: Default::default(),
        cross_signed: None,
        rotation: None,
    };
    let node = Node {
        id: host.node,
        meta: Meta::default(),
        spec: NodeSpec { annotations: Annotations::default(), role: NodeRole::Manager, availability: Availability::Active },
        description: description(0),
        status: NodeStatus { state: NodeState::Unknown, message: String::new(), addr: host.addr.ip().to_string() },
        manager: Some(ManagerStatus { raft_id, addr: host.addr.to_string() }),
    };
    Entry { time: Time(START), changes: vec![Change::PutCluster(Box::new(cluster)), Change::PutNode(Box::new(node))], ..Entry::default() }
}
