//! One host: a node with its disk, and the manager that runs on it from one start to the next.
//!
//! Owns: how a manager is started, killed and stopped. Invariant: only the disk (and the Raft id that belongs to it) outlives a start.

use crate::chance;
use crate::checks::Checks;
use crate::cluster::{Lookout, START};
use crate::disk::SimDisk;
use crate::net::{Door, Net};
use crate::plant::Plant;
use crate::runtime::{Machine, Simulated};
use crate::trace::{Trace, event};
use crate::ways::Ways;
use std::cell::Cell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use wsw_api::id::{ClusterId, NodeId};
use wsw_api::time::Time;
use wsw_manager::raft::crypto::DataKey;
use wsw_manager::raft::disk::{Folder, Sizes};
use wsw_manager::raft::machine::View;
use wsw_manager::raft::node::Place;
use wsw_manager::raft::types::RaftId;
use wsw_manager::{Leading, Manager, Outside, OwnAddr, Parts, Start, Timing};

/// Small, so that segments end, snapshots are made and the log is cut within seconds.
const SIZES: Sizes = Sizes { segment: 8 << 10, log: 24 << 10, kept: 8 << 10 };

/// What all hosts of a run share.
pub struct Common {
    pub net: Arc<Net>,
    pub trace: Arc<Trace>,
    pub checks: Arc<Checks>,
    pub cluster: ClusterId,
    pub timing: Timing,
    /// What must be found out in this run.
    pub plant: Option<Plant>,
}

/// One host.
pub struct Host {
    pub number: usize,
    pub node: NodeId,
    pub addr: SocketAddr,
    pub disk: SimDisk,
    /// The id of its `raft/` folder; none while it is no manager.
    pub raft: Option<RaftId>,
    /// Whom it was told of when it joined.
    pub known: Vec<(NodeId, SocketAddr)>,
    /// When its manager's certificate was made.
    pub issued: Time,
    pub running: Option<Arc<Machine>>,
    common: Arc<Common>,
}

impl Host {
    /// A host that is no manager yet.
    pub fn new(number: usize, common: Arc<Common>) -> Self {
        let (node, addr) = (NodeId::from_bytes(chance::id()), SocketAddr::from(([10, 0, 0, number as u8 + 1], 2377)));
        common.net.add(node, addr);
        Self { number, node, addr, disk: SimDisk::new(common.plant), raft: None, known: Vec::new(), issued: Time(0), running: None, common }
    }

    /// Starts its manager.
    pub fn start(&mut self, start: Start) {
        let Some(raft) = self.raft else { return };
        let machine = Arc::new(Machine::default());
        let (fails, trace, number) = (machine.clone(), self.common.trace.clone(), self.number);
        let disk = self.disk.start(move || {
            event!(trace, "host {number}: the power fails");
            fails.kill();
        });
        let plant = self.common.plant;
        let view = Arc::new(View::observed(Box::new(Lookout { host: number, checks: self.common.checks.clone(), plant })));
        let ways = Ways {
            net: self.common.net.clone(),
            host: number,
            node: self.node,
            issued: self.issued,
            view: view.clone(),
            heard: Mutex::default(),
            checks: self.common.checks.clone(),
            plant,
        };
        let folder = Folder { disk: Arc::new(disk), path: PathBuf::from("/raft"), key: DataKey::new(1, [7; 32]), sizes: SIZES };
        let parts = Parts {
            node: self.node,
            cluster: self.common.cluster,
            addr: OwnAddr::new(self.addr),
            place: Place { folder, id: raft, cluster: self.common.cluster.to_string(), timing: self.common.timing },
            view,
            links: Arc::new(ways),
            outside: Arc::new(World { skew: chance::next() % 60_000_000_000 }),
            trusted: self.known.iter().map(|(node, _)| *node).collect(),
        };
        let managers = self.known.iter().map(|(_, addr)| *addr).collect();
        let (manager, _started) = machine.within(|| Manager::<Simulated>::run_here(parts, start, managers)).unwrap();
        event!(self.common.trace, "host {number}: its manager starts with Raft id {raft:x}");
        self.common.net.set_door(number, Some(Door { machine: machine.clone(), manager, raft }));
        self.running = Some(machine);
    }

    /// True while its manager runs.
    pub fn is_up(&self) -> bool {
        self.running.as_ref().is_some_and(|machine| !machine.is_dead())
    }

    /// Ends it as a power failure does.
    pub fn kill(&mut self) {
        if let Some(machine) = self.running.take() {
            event!(self.common.trace, "host {}: killed", self.number);
            machine.kill();
            self.disk.crash();
            self.common.net.set_door(self.number, None);
        }
    }

    /// Stops it in good order.
    pub async fn stop(&mut self) {
        let Some(machine) = self.running.take() else { return };
        event!(self.common.trace, "host {}: stops", self.number);
        if let Some(door) = self.common.net.door(self.number) {
            let manager = door.manager.clone();
            door.manager.shutdown().await;
            for _ in 0..60 {
                sleep(Duration::from_millis(50)).await;
                if manager.leading() == Leading::Closed {
                    break;
                }
            }
            // Its log is being closed.
            sleep(chance::millis(0, 300)).await;
        }
        machine.kill();
        self.disk.crash();
        self.common.net.set_door(self.number, None);
    }

    /// It is no manager any more.
    pub fn forget(&mut self) {
        self.kill();
        self.disk.wipe();
        (self.raft, self.known) = (None, Vec::new());
    }
}

/// A host's clock and chance: its wall clock is wrong by something else at each start.
struct World {
    skew: u64,
}

impl Outside for World {
    fn wall(&self) -> Time {
        Time(now().0 + self.skew)
    }
    fn random(&self, bytes: &mut [u8]) -> std::io::Result<()> {
        bytes.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&chance::next().to_le_bytes()[..chunk.len()]));
        Ok(())
    }
}

thread_local! {
    static BEGUN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The run's time begins.
pub fn begin_time() {
    BEGUN.set(Some(Instant::now()));
}

/// The true time.
pub fn now() -> Time {
    let now = Instant::now();
    Time(START + now.duration_since(BEGUN.get().unwrap_or(now)).as_nanos() as u64)
}
