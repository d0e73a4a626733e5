//! The network between hosts: it delays, reorders, cuts and forgets; connections are refused as the real ones are.
//!
//! Owns: which host reaches which, and what runs there. Everything travels as bytes, in the real forms. Invariants: a question that is not
//! answered stays unanswered until its asker gives up; a manager answers only whom its gate lets in.

use crate::chance;
use crate::runtime::{Machine, Simulated};
use async_trait::async_trait;
use bytes::Bytes;
use forms::{decode, encode};
use futures_util::stream;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};
use wsw_api::id::NodeId;
use wsw_api::spec::NodeRole;
use wsw_manager::Manager;
use wsw_manager::raft::link::{Failure, Lane, Ports, Reach};
use wsw_manager::raft::machine::View;
use wsw_manager::raft::snapshot::Reader;
use wsw_manager::raft::types::RaftId;
use wsw_manager::raft::wire::{Ask, Hello, Reply};
use wsw_net::Protocol;

/// A connection on which nothing passes for so long is over.
pub const SILENT: Duration = Duration::from_secs(3);
/// A manager that answered so lately is heard.
const HEARD: Duration = Duration::from_millis(800);
/// Bytes of a snapshot that are read at a time.
const PIECE: usize = 4 << 10;

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

    fn host_at(&self, addr: &SocketAddr) -> Option<usize> {
        self.lock().nodes.iter().position(|(_, found)| found == addr)
    }

    fn host_with(&self, raft: RaftId) -> Option<usize> {
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
    async fn leg(&self, from: usize, to: usize) -> bool {
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

/// The ways of one start of a manager to the others.
pub struct Ways {
    pub net: Arc<Net>,
    pub host: usize,
    pub node: NodeId,
    pub view: Arc<View>,
    pub heard: Mutex<BTreeMap<RaftId, Instant>>,
}

impl Ways {
    /// One question to a host; the snapshot's bytes go along.
    async fn exchange(&self, to: usize, raft: Option<RaftId>, ask: &Ask, bytes: Vec<Bytes>, sent: &AtomicBool) -> Result<Reply, Failure> {
        let away = |why: String| Failure::Away(raft.unwrap_or(0), why);
        let question = encode(ask);
        sent.store(!self.net.is_cut(self.host, to), Ordering::Relaxed);
        if !self.net.leg(self.host, to).await {
            return pending().await;
        }
        let Some(door) = self.net.door(to) else {
            return if self.net.leg(to, self.host).await { Err(away("nobody is there".into())) } else { pending().await };
        };
        let incarnation = self.view.store().cluster().map(|cluster| cluster.incarnation);
        let let_in = door.manager.lets_in(self.node, NodeRole::Manager, Protocol::Raft).map_err(|error| error.to_string());
        let greeted = let_in.and_then(|()| door.manager.greeting(&Hello { incarnation, to: raft }).and_then(|(_, met)| met));
        let answer = match greeted {
            Err(refused) => Err(away(refused)),
            Ok(()) => {
                let (manager, node) = (door.manager.clone(), self.node);
                let asked = door.machine.spawn(async move {
                    let pieces = stream::iter(bytes.into_iter().map(Ok));
                    encode(&manager.answer(node, decode(&question), pieces).await)
                });
                drop(door);
                match asked.await {
                    Ok(answer) => Ok(answer),
                    // It died meanwhile: nobody says anything.
                    Err(_) => return pending().await,
                }
            }
        };
        if !self.net.leg(to, self.host).await {
            return pending().await;
        }
        answer.map(|bytes| decode(&bytes))
    }

    async fn within(&self, to: usize, raft: Option<RaftId>, ask: &Ask, bytes: Vec<Bytes>, limit: Duration) -> Result<Reply, Failure> {
        let (until, sent) = (Instant::now() + limit, AtomicBool::new(false));
        let reply = timeout_at(until, self.exchange(to, raft, ask, bytes, &sent)).await;
        let id = raft.unwrap_or(0);
        let reply = reply.unwrap_or_else(|_| {
            let silent = format!("no answer within {limit:?}");
            Err(if sent.load(Ordering::Relaxed) { Failure::Lost(id, silent) } else { Failure::Away(id, silent) })
        });
        if reply.is_ok() {
            self.heard.lock().unwrap().insert(id, Instant::now());
        }
        reply
    }
}

#[async_trait]
impl Reach for Ways {
    fn open(&self, _: Ports) {}

    async fn ask(&self, to: RaftId, _: &str, _: Lane, ask: &Ask, limit: Duration) -> Result<Reply, Failure> {
        match self.net.host_with(to) {
            Some(host) => self.within(host, Some(to), ask, Vec::new(), limit).await,
            None => {
                sleep(chance::millis(1, 20).min(limit)).await;
                Err(Failure::Away(to, "nobody answers".into()))
            }
        }
    }

    async fn send_snapshot(&self, to: RaftId, _: &str, ask: &Ask, mut reader: Reader) -> Result<Reply, Failure> {
        let host = self.net.host_with(to).ok_or_else(|| Failure::Away(to, "nobody answers".into()))?;
        let mut pieces = Vec::new();
        loop {
            let mut piece = vec![0; PIECE];
            let read = reader.read(&mut piece).map_err(|error| Failure::Lost(to, error.to_string()))?;
            if read == 0 {
                break;
            }
            piece.truncate(read);
            pieces.push(Bytes::from(piece));
        }
        self.within(host, Some(to), ask, pieces, Duration::from_secs(10)).await
    }

    async fn ask_at(&self, addr: SocketAddr, ask: &Ask, limit: Duration) -> Result<Reply, Failure> {
        let host = self.net.host_at(&addr).ok_or_else(|| Failure::Away(0, "nobody is at this address".into()))?;
        self.within(host, None, ask, Vec::new(), limit).await
    }

    fn hears(&self, to: RaftId) -> bool {
        self.heard.lock().unwrap().get(&to).is_some_and(|at| at.elapsed() < HEARD)
    }
}
