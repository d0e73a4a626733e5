//! The network between hosts: it delays, reorders, cuts and forgets; connections are refused as the real ones are.
//!
//! Owns: which host reaches which, and what runs there. Everything travels as bytes, in the real forms. What managers ask on it is in `ways`.

use crate::chance;
use crate::runtime::{Machine, Simulated};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use wsw_api::id::NodeId;
use wsw_manager::Manager;
use wsw_manager::raft::types::RaftId;

/// A connection on which nothing passes for so long is over.
pub const SILENT: Duration = Duration::from_secs(3);

/// A running manager, as others reach it.
#[derive(Clone)]
pub struct Door {
    pub machine: Arc<Machine>,
    pub manager: Manager<Simulated>,
    pub raft: RaftId,
}

/// The network.
#[derive(Default)]
pub struct Net {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    nodes: Vec<(NodeId, SocketAddr)>,
    doors: BTreeMap<usize, Door>,
    cut: BTreeSet<(usize, usize)>,
    slow: BTreeMap<(usize, usize), (u64, u64)>,
}

impl Net {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// A new host's place.
    pub fn add(&self, node: NodeId, addr: SocketAddr) {
        self.lock().nodes.push((node, addr));
    }

    /// The host's manager runs, or does not any more.
    pub fn set_door(&self, host: usize, door: Option<Door>) {
        let mut inner = self.lock();
        match door {
            Some(door) => drop(inner.doors.insert(host, door)),
            None => drop(inner.doors.remove(&host)),
        }
    }

    /// The manager that runs on a host.
    pub fn door(&self, host: usize) -> Option<Door> {
        self.lock().doors.get(&host).filter(|door| !door.machine.is_dead()).cloned()
    }

    /// The host with this node.
    pub fn host_of(&self, node: &NodeId) -> Option<usize> {
        self.lock().nodes.iter().position(|(found, _)| found == node)
    }

    /// The host at this address.
    pub fn host_at(&self, addr: &SocketAddr) -> Option<usize> {
        self.lock().nodes.iter().position(|(_, found)| found == addr)
    }

    /// The host whose manager has this Raft id.
    pub fn host_with(&self, raft: RaftId) -> Option<usize> {
        self.lock().doors.iter().find(|(_, door)| door.raft == raft).map(|(host, _)| *host)
    }

    /// Nothing passes from one to another, or it does again.
    pub fn cut(&self, from: usize, to: usize, cut: bool) {
        let mut inner = self.lock();
        if cut {
            inner.cut.insert((from, to));
        } else {
            inner.cut.remove(&(from, to));
        }
    }

    /// What passes takes so many milliseconds.
    pub fn slow(&self, from: usize, to: usize, range: (u64, u64)) {
        self.lock().slow.insert((from, to), range);
    }

    /// All is well again.
    pub fn heal(&self) {
        let mut inner = self.lock();
        inner.cut.clear();
        inner.slow.clear();
    }

    /// True when nothing passes.
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.lock().cut.contains(&(from, to))
    }

    /// One message on its way; false when it never arrives. What is lost on the wire is sent again: it comes late.
    pub async fn leg(&self, from: usize, to: usize) -> bool {
        let range = self.lock().slow.get(&(from, to)).copied().unwrap_or((0, 4));
        let resent = if chance::per_mille(5) { chance::millis(50, 700) } else { Duration::ZERO };
        let begun = self.is_cut(from, to);
        sleep(chance::millis(range.0, range.1) + resent).await;
        !begun && !self.is_cut(from, to)
    }

    /// One frame of a connection, in order; false when the connection is over.
    pub async fn pass(&self, from: usize, to: usize) -> bool {
        let until = Instant::now() + SILENT;
        while !self.leg(from, to).await {
            if Instant::now() > until {
                return false;
            }
            sleep(Duration::from_millis(50)).await;
        }
        true
    }
}

/// The forms on the wire.
pub mod forms {
    use wsw_manager::raft::wire::{Ask, Reply};

    /// As `net` sends it.
    pub trait Form: Sized {
        /// To bytes.
        fn to(&self) -> Vec<u8>;
        /// From bytes.
        fn from(bytes: &[u8]) -> Self;
    }

    macro_rules! form {
        ($($name:ty),*) => { $(impl Form for $name {
            fn to(&self) -> Vec<u8> { rmp_serde::to_vec_named(self).unwrap() }
            fn from(bytes: &[u8]) -> Self { rmp_serde::from_slice(bytes).unwrap() }
        })* };
    }
    form!(Ask, Reply, wsw_api::session::WorkerFrame, wsw_api::session::ManagerFrame);

    /// To bytes.
    pub fn encode<T: Form>(value: &T) -> Vec<u8> {
        let bytes = value.to();
        super::keep(std::any::type_name::<T>(), &bytes);
        bytes
    }
    /// From bytes.
    pub fn decode<T: Form>(bytes: &[u8]) -> T {
        T::from(bytes)
    }
}

/// Messages of each kind that are kept for other tests.
const KEPT: usize = 300;

thread_local! {
    static CORPUS: RefCell<BTreeMap<&'static str, Vec<Vec<u8>>>> = const { RefCell::new(BTreeMap::new()) };
}

fn keep(kind: &'static str, bytes: &[u8]) {
    CORPUS.with_borrow_mut(|corpus| {
        let kept = corpus.entry(kind).or_default();
        if kept.len() < KEPT {
            kept.push(bytes.to_vec());
        }
    });
}

/// Messages of a kind that were sent on this thread.
pub fn corpus(kind: &str) -> Vec<Vec<u8>> {
    CORPUS.with_borrow(|corpus| corpus.iter().find(|(name, _)| name.ends_with(&format!("::{kind}"))).map(|(_, kept)| kept.clone()).unwrap_or_default())
}
