//! What reaches the leader's loop: API writes and the workers' frames, each through a bounded channel.
//!
//! Invariant: a full queue holds its sender back; nothing is dropped silently. Writes and frames wait apart, so that a flood of writes
//! cannot delay a heartbeat.

use std::net::IpAddr;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::DropGuard;
use wsw_api::Error;
use wsw_api::control::Request;
use wsw_api::entry::Outcome;
use wsw_api::id::NodeId;
use wsw_api::session::{ManagerFrame, WorkerFrame};

/// Writes that wait before their senders do; one group commit takes them all.
pub const MAX_WRITES: usize = 1_024;
/// Frames of all workers that wait before their senders do.
pub const MAX_ARRIVALS: usize = 1_024;

/// Names a worker's connection within this process.
pub type ConnectionId = u64;

/// One API write with the way back.
#[derive(Debug)]
pub struct Queued {
    pub request: Request,
    pub reply: oneshot::Sender<Reply>,
}

/// What becomes of a write.
#[derive(Debug)]
pub enum Reply {
    /// It is decided: applied, or refused for good.
    Answer(wsw_api::Result<Outcome>),
    /// It was not proposed; it may be sent again with the same id.
    NotYet(Error),
    /// It was proposed and nobody knows whether it will be applied; it must be sent again with the same id.
    Unknown(String),
}

/// Another node's worker, as its certificate and its packets say.
pub struct Origin {
    pub node: NodeId,
    /// Where its packets come from now.
    pub addr: Box<dyn Fn() -> IpAddr + Send + Sync>,
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin").field("node", &self.node).field("addr", &(self.addr)()).finish()
    }
}

/// What workers' connections bring.
#[derive(Debug)]
pub enum Arrival {
    Opened(ConnectionId, Link),
    Frame(ConnectionId, WorkerFrame),
    Closed(ConnectionId),
}

/// The way to a worker. Letting go of it closes the connection.
#[derive(Debug)]
pub struct Link {
    pub frames: mpsc::Sender<ManagerFrame>,
    /// Who is at the other end, where that is known: a worker on another node. None for the one of this process.
    pub from: Option<Origin>,
    /// Tells the carrier of the worker's frames to stop.
    pub _open: DropGuard,
}

/// The receiving ends.
pub struct Inbox {
    pub writes: mpsc::Receiver<Queued>,
    pub arrivals: mpsc::Receiver<Arrival>,
}

/// The sending ends.
#[derive(Debug, Clone)]
pub struct Outbox {
    pub writes: mpsc::Sender<Queued>,
    pub arrivals: mpsc::Sender<Arrival>,
}

/// The two ends.
pub fn channels() -> (Outbox, Inbox) {
    let (writes, queued) = mpsc::channel(MAX_WRITES);
    let (arrivals, arrived) = mpsc::channel(MAX_ARRIVALS);
    (Outbox { writes, arrivals }, Inbox { writes: queued, arrivals: arrived })
}

impl Inbox {
    /// Nobody leads here: answers writes and turns workers away until `until` is done.
    pub async fn refuse<T>(&mut self, reason: &Error, until: impl Future<Output = T>) -> T {
        tokio::pin!(until);
        loop {
            tokio::select! {
                biased;
                done = &mut until => return done,
                Some(queued) = self.writes.recv() => drop(queued.reply.send(Reply::NotYet(reason.clone()))),
                // A connection that is not kept is closed; its worker dials again.
                Some(_) = self.arrivals.recv() => {}
            }
        }
    }
}
