//! One published UDP port: each datagram goes to its flow, a new flow to a task.
//!
//! ```text
//! client ──► published port ──► flow (client, address that was hit) ──► socket connected to a task's port
//!        ◄── from that address ◄──────────────────────────────────────────┘
//! ```
//! Owns: the flows of the port. A flow's socket is made here and handed over; the shim connects it to a listening task, so that the
//! kernel keeps flow and task together, and tells when the task is gone. Invariants: flows, and the bytes that wait in them, are bounded
//! per node; past the bound datagrams are dropped and counted, as a full queue in the network would. Flows are this process's: after a
//! restart the next datagram makes a new one. Never: answers a datagram itself.

mod flow;
mod socket;

use super::Shared;
use super::table::Published;
use flow::{Datagram, Flow, Key};
use socket::PortSocket;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub use flow::open as flow_socket;
pub(super) use socket::bind;

/// Flows of the node: a descriptor and a task each.
pub(super) const MAX_FLOWS: usize = 4_096;
/// Bytes of datagrams of the node that wait for a task to come up or to read.
pub(super) const MAX_WAITING: usize = 8 << 20;
/// Datagrams of one flow that wait: a client's first burst.
const MAX_QUEUE: usize = 32;
/// After an error of the published socket, so as not to spin.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves until it is dropped.
pub(super) async fn serve(socket: socket2::Socket, target: Published, shared: Arc<Shared>) {
    let socket = match PortSocket::new(socket) {
        Ok(socket) => Arc::new(socket),
        Err(error) => return tracing::error!(%error, service = %target.name, "a published port cannot be served"),
    };
    let mut port = Port { socket, target: Arc::new(target), shared, queues: HashMap::new(), flows: JoinSet::new() };
    loop {
        tokio::select! {
            Some(ended) = port.flows.join_next() => port.ended(ended),
            received = port.socket.receive() => match received {
                Ok(received) => port.take(received.client, received.local, received.bytes),
                Err(error) => {
                    tracing::warn!(%error, service = %port.target.name, "receive failed");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
}

struct Port {
    socket: Arc<PortSocket>,
    target: Arc<Published>,
    shared: Arc<Shared>,
    queues: HashMap<Key, mpsc::Sender<Datagram>>,
    flows: JoinSet<Key>,
}

impl Port {
    fn take(&mut self, client: SocketAddr, local: socket::Local, bytes: Vec<u8>) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let dropped = &self.shared.counters.dropped;
        let Ok(room) = Arc::clone(&self.shared.waiting).try_acquire_many_owned(length) else {
            dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let (key, datagram) = (Key { client, local }, Datagram { bytes, _room: room });
        let Some(queue) = self.queues.get(&key) else { return self.start(key, datagram) };
        match queue.try_send(datagram) {
            Ok(()) => {}
            // The flow has just ended.
            Err(mpsc::error::TrySendError::Closed(datagram)) => self.start(key, datagram),
            Err(mpsc::error::TrySendError::Full(_)) => drop(dropped.fetch_add(1, Ordering::Relaxed)),
        }
    }

    fn start(&mut self, key: Key, first: Datagram) {
        let Ok(place) = Arc::clone(&self.shared.flows).try_acquire_owned() else {
            self.shared.counters.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let (queue, datagrams) = mpsc::channel(MAX_QUEUE);
        let flow = Flow { key, published: Arc::clone(&self.socket), target: Arc::clone(&self.target), shared: Arc::clone(&self.shared), datagrams };
        // It cannot be full.
        let _ = queue.try_send(first);
        self.queues.insert(key, queue);
        self.flows.spawn(async move {
            let _place = place;
            flow.run().await;
            key
        });
    }

    fn ended(&mut self, ended: Result<Key, tokio::task::JoinError>) {
        match ended {
            // Unless a datagram that came in between has begun it anew.
            Ok(key) if self.queues.get(&key).is_some_and(mpsc::Sender::is_closed) => drop(self.queues.remove(&key)),
            Ok(_) => {}
            Err(error) => {
                tracing::error!(%error, "a flow ended with an error");
                self.queues.retain(|_, queue| !queue.is_closed());
            }
        }
    }
}
