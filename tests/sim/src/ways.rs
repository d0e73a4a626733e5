//! A manager's ways to the others: its questions over the simulated network, each answered as the other's door would.
//!
//! Invariants: a question that is not answered stays unanswered until its asker gives up; a manager answers only whom its gate lets in; what
//! it promises with an answer is held against what it says later (`promises`).

use crate::chance;
use crate::checks::Checks;
use crate::net::forms::{decode, encode};
use crate::net::{Door, Net};
use crate::plant::{self, Plant};
use crate::promises;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use std::collections::BTreeMap;
use std::future::pending;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};
use wsw_api::id::NodeId;
use wsw_api::spec::NodeRole;
use wsw_api::time::Time;
use wsw_manager::Asks;
use wsw_manager::raft::link::{Failure, Lane, Ports, Reach};
use wsw_manager::raft::machine::View;
use wsw_manager::raft::snapshot::Reader;
use wsw_manager::raft::types::RaftId;
use wsw_manager::raft::wire::{Ask, Hello, Reply};
use wsw_net::Protocol;

/// A manager that answered so lately is heard.
const HEARD: Duration = Duration::from_millis(800);
/// Bytes of a snapshot that are read at a time.
const PIECE: usize = 4 << 10;

/// The ways of one start of a manager to the others.
pub struct Ways {
    pub net: Arc<Net>,
    pub host: usize,
    pub node: NodeId,
    /// When its certificate was made.
    pub issued: Time,
    pub view: Arc<View>,
    pub heard: Mutex<BTreeMap<RaftId, Instant>>,
    pub checks: Arc<Checks>,
    pub plant: Option<Plant>,
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
        let let_in =
            door.manager.lets_in(&Asks { node: self.node, role: NodeRole::Manager, issued: self.issued }, Protocol::Raft).map_err(|error| error.to_string());
        let greeted = let_in.and_then(|()| door.manager.greeting(&Hello { incarnation, to: raft }).and_then(|(_, met)| met));
        let answer = match greeted {
            Err(refused) => Err(away(refused)),
            Ok(()) => {
                let asked = self.put(&door, question, bytes);
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

    /// Puts a question to a manager, there.
    fn put(&self, door: &Door, question: Vec<u8>, bytes: Vec<Bytes>) -> JoinHandle<Vec<u8>> {
        let (manager, node, id) = (door.manager.clone(), self.node, door.raft);
        let (checks, plant) = (self.checks.clone(), self.plant);
        door.machine.spawn(async move {
            let (ask, before) = (decode(&question), checks.promises.of(id));
            let wanted = promises::wanted(&ask);
            let pieces = stream::iter(bytes.into_iter().map(Ok));
            let reply = manager.answer(node, plant::on_its_way(plant, ask, before), pieces).await;
            if let Err(broken) = checks.promises.answered(id, before, wanted, &reply) {
                checks.fail(broken);
            }
            encode(&reply)
        })
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
