//! One flow: the datagrams of one client to one address of ours, pinned to a task.
//!
//! Owns: the flow's socket. Invariants: all datagrams of a flow go to one task while it lives; when it is gone the next datagram, and the
//! one that found it out, go to another; a flow that is silent for [`IDLE`] both ways is forgotten.

use super::super::Shared;
use super::super::table::Published;
use super::socket::{Local, PortSocket};
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

impl Flow {
    /// Runs until it was silent for long enough, or nobody takes it.
    pub async fn run(mut self) {
        let Some(mut pinned) = self.pin().await else { return };
        let mut deadline = Instant::now() + IDLE;
        loop {
            let is_alive = tokio::select! {
                datagram = self.datagrams.recv() => match datagram {
                    Some(datagram) => match deliver(&pinned, &datagram.bytes).await {
                        true => true,
                        false => match self.pin().await {
                            Some(other) => {
                                pinned = other;
                                deliver(&pinned, &datagram.bytes).await
                            }
                            None => return,
                        },
                    },
                    None => return,
                },
                ready = pinned.readable() => ready.is_ok() && self.answer(&pinned).await,
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

    /// A socket that is connected to a task; none when there is none.
    async fn pin(&self) -> Option<UdpSocket> {
        let (begun, mut pause) = (Instant::now(), PAUSE.0);
        let (counters, target) = (&self.shared.counters, &self.target);
        let counter = loop {
            let socket = match open() {
                Ok(socket) => socket,
                Err(error) => {
                    tracing::warn!(%error, service = %target.name, "no socket for a flow");
                    break &counters.failed;
                }
            };
            match self.shared.handover.flow(target.service, target.target, self.key.client, socket.as_fd()).await {
                Ok(HandoverOutcome::Taken) => {
                    counters.taken.fetch_add(1, Ordering::Relaxed);
                    return UdpSocket::from_std(socket.into()).ok();
                }
                Ok(_) if begun.elapsed() >= MAX_WAIT || !self.shared.board.may_serve(target.service) => break &counters.none,
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, service = %target.name, "hand-over of a flow failed");
                    break &counters.failed;
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        };
        counter.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Passes what the task has sent; false when the task is gone.
    async fn answer(&self, pinned: &UdpSocket) -> bool {
        loop {
            let mut bytes = Vec::with_capacity(MAX_DATAGRAM);
            match pinned.try_recv_buf(&mut bytes) {
                Ok(_) => {
                    // A client that cannot be reached is its own affair.
                    if let Err(error) = self.published.answer(self.key.client, self.key.local, &bytes).await {
                        tracing::debug!(%error, client = %self.key.client, "an answer was not sent");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
    }
}

/// Not connected yet: whoever takes it connects it to a task's port on loopback. Both families where the machine has them.
fn open() -> io::Result<Socket> {
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
