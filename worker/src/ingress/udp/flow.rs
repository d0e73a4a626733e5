//! One flow: the datagrams of one client to one address of ours, pinned to a task.
//!
//! Owns: the flow's socket. Invariants: all datagrams of a flow go to one task while it lives; when it is gone the next datagram, and the
//! one that found it out, go to another; a flow that is silent for [`IDLE`] both ways is forgotten.

use super::super::table::Published;
use super::super::{Shared, choice};
use super::socket::{Local, PortSocket};
use crate::relay::{self, Asked};
use crate::routes::Row;
use bytes::Bytes;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use wsw_api::NodeId;
use wsw_api::relay::Opening;
use wsw_api::shim::HandoverOutcome;

/// Silence after which a flow is forgotten (DESIGN section 8).
const IDLE: Duration = Duration::from_secs(60);
/// How long a flow waits for a task that comes up, or back after the daemon's restart.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// Pauses between attempts: from, up to.
const PAUSE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));
/// The largest datagram.
const MAX_DATAGRAM: usize = 65_535;

/// Who speaks to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    pub client: SocketAddr,
    pub local: Local,
}

/// A datagram that waits, with its part of the node's bound.
pub struct Datagram {
    pub bytes: Vec<u8>,
    pub _room: OwnedSemaphorePermit,
}

/// A flow before it runs.
pub struct Flow {
    pub key: Key,
    pub published: Arc<PortSocket>,
    pub target: Arc<Published>,
    pub shared: Arc<Shared>,
    pub datagrams: mpsc::Receiver<Datagram>,
}

/// The task that a flow is pinned to, here or on another node.
enum Pinned {
    Here(UdpSocket),
    There(relay::Flow),
}

/// What a task has sent.
enum Came {
    /// It lies in the socket.
    Ready,
    Datagram(Bytes),
    Gone,
}

impl Pinned {
    /// False when the task is gone.
    async fn deliver(&mut self, bytes: &[u8]) -> bool {
        match self {
            Self::Here(socket) => deliver(socket, bytes).await,
            Self::There(flow) => flow.send(bytes).await,
        }
    }

    async fn came(&mut self) -> Came {
        match self {
            Self::Here(socket) => socket.readable().await.map_or(Came::Gone, |()| Came::Ready),
            Self::There(flow) => flow.next().await.map_or(Came::Gone, Came::Datagram),
        }
    }
}

impl Flow {
    /// Runs until it was silent for long enough, or nobody takes it.
    pub async fn run(mut self) {
        let Some(mut pinned) = self.pin().await else { return };
        let mut deadline = Instant::now() + IDLE;
        loop {
            let is_alive = tokio::select! {
                datagram = self.datagrams.recv() => match datagram {
                    Some(datagram) => match pinned.deliver(&datagram.bytes).await {
                        true => true,
                        false => match self.pin().await {
                            Some(other) => {
                                pinned = other;
                                pinned.deliver(&datagram.bytes).await
                            }
                            None => return,
                        },
                    },
                    None => return,
                },
                came = pinned.came() => match (came, &pinned) {
                    (Came::Ready, Pinned::Here(socket)) => self.answer(socket).await,
                    (Came::Datagram(bytes), _) => {
                        self.answer_with(&bytes).await;
                        true
                    }
                    _ => false,
                },
                () = tokio::time::sleep_until(deadline) => return,
            };
            if !is_alive {
                match self.pin().await {
                    Some(other) => pinned = other,
                    None => return,
                }
            }
            deadline = Instant::now() + IDLE;
        }
    }

    /// Finds a task; none when there is none in time.
    async fn pin(&self) -> Option<Pinned> {
        let (begun, mut pause) = (Instant::now(), PAUSE.0);
        let (counters, target, relay) = (&self.shared.counters, &self.target, &self.shared.relay);
        let counter = loop {
            let row = if target.is_host { Row::default() } else { relay.routes().nodes(target.service) };
            for node in choice::order(&row, relay.node(), rand::random(), |node| relay.is_aside(node)) {
                let pinned = if node == relay.node() { self.here().await } else { self.there(node).await };
                if pinned.is_some() {
                    counters.taken.fetch_add(1, Ordering::Relaxed);
                    return pinned;
                }
            }
            let may_come = self.shared.board.may_serve(target.service) || row.iter().any(|(node, _)| *node != relay.node());
            if begun.elapsed() >= MAX_WAIT || !may_come {
                break &counters.none;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        };
        counter.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// A socket that is connected to a task of this node.
    async fn here(&self) -> Option<Pinned> {
        let target = &self.target;
        let socket = open().inspect_err(|error| tracing::warn!(%error, service = %target.name, "no socket for a flow")).ok()?;
        match self.shared.handover.flow(target.service, target.target, self.key.client, socket.as_fd()).await {
            Ok(HandoverOutcome::Taken) => UdpSocket::from_std(socket.into()).ok().map(Pinned::Here),
            Ok(_) => None,
            Err(error) => {
                tracing::debug!(%error, service = %target.name, "hand-over of a flow failed");
                self.shared.counters.failed.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    async fn there(&self, node: NodeId) -> Option<Pinned> {
        let hit = SocketAddr::new(self.key.local.address, 0);
        let (service, port, client) = (self.target.service, self.target.target, self.key.client);
        let opening = Opening { service, port, protocol: wsw_api::spec::Protocol::Udp, client, hit };
        match self.shared.relay.ask(node, &opening).await {
            Asked::Taken(relayed) => Some(Pinned::There(relayed.into_flow())),
            Asked::Not(_) | Asked::Silent => None,
        }
    }

    /// Passes what the task has sent; false when the task is gone.
    async fn answer(&self, pinned: &UdpSocket) -> bool {
        loop {
            let mut bytes = Vec::with_capacity(MAX_DATAGRAM);
            match pinned.try_recv_buf(&mut bytes) {
                Ok(_) => self.answer_with(&bytes).await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
    }

    /// A client that cannot be reached is its own affair.
    async fn answer_with(&self, bytes: &[u8]) {
        if let Err(error) = self.published.answer(self.key.client, self.key.local, bytes).await {
            tracing::debug!(%error, client = %self.key.client, "an answer was not sent");
        }
    }
}

/// Not connected yet: whoever takes it connects it to a task's port on loopback. Both families where the machine has them.
pub fn open() -> io::Result<Socket> {
    let socket = match Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP)) {
        Ok(socket) => {
            socket.set_only_v6(false)?;
            socket
        }
        Err(_) => Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?,
    };
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// False when the task's port is closed: loopback says so at once.
async fn deliver(pinned: &UdpSocket, bytes: &[u8]) -> bool {
    match pinned.send(bytes).await {
        Ok(_) => matches!(pinned.take_error(), Ok(None)),
        // Too large for loopback: this datagram is lost, not the flow.
        Err(error) => error.kind() != io::ErrorKind::ConnectionRefused,
    }
}
