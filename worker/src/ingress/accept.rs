//! Accepts the connections of one port and hands them over.
//!
//! Owns: a connection until a shim has taken it. Invariants: at most [`MAX_CONNECTIONS`] in hand-over on the node and [`MAX_OF_A_PORT`] of one
//! port, more wait in the kernel's backlog; a connection that nobody takes within its bound is reset and counted, never left hanging; where
//! a shim is full, those that wait for a place stand in line and the first one asks, so that a flood costs no more than the places that
//! become free. Never: reads from a connection before somebody has taken it; one that a task of this node has is not ours any more.

use super::choice;
use super::table::Published;
use super::udp;
use crate::board::Board;
use crate::relay::{Asked, Relay, Relayed, splice};
use crate::seam::Handover;
use socket2::{SockRef, Socket, TcpKeepalive};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, timeout_at};
use wsw_api::NodeId;
use wsw_api::relay::Opening;
use wsw_api::shim::HandoverOutcome;
use wsw_api::spec::Protocol;

/// Connections in hand-over on the node: each holds a descriptor, and a machine gives a daemon some ten thousand of them.
const MAX_CONNECTIONS: usize = 4_096;
/// This part of the daemon's descriptors at most.
const DESCRIPTORS_PART: u64 = 4;
/// Connections in hand-over of one port: a flood of one leaves room for the others.
const MAX_OF_A_PORT: usize = 1_024;
/// How long a connection waits for a task that comes up (or back, after the daemon's restart).
const MAX_WAIT_NONE: Duration = Duration::from_secs(3);
/// How long it waits for a place in a shim that is full: long enough for a burst, short enough for a client to go elsewhere.
const MAX_WAIT_FULL: Duration = Duration::from_secs(1);
/// Pauses between attempts: from, up to.
const PAUSE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));
/// After an error of `accept` that is not the client's (no descriptors left), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Keep-alive probes find clients that vanished: first after 30 s of silence, dead after 3 more at 10 s.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10)).with_retries(3);

/// What all ports of the node share.
pub struct Shared {
    pub handover: Arc<dyn Handover>,
    pub board: Arc<Board>,
    pub relay: Arc<Relay>,
    pub counters: Arc<Counters>,
    connections: Arc<Semaphore>,
    /// Places for flows of datagrams, and for the bytes that wait in them.
    pub(super) flows: Arc<Semaphore>,
    pub(super) waiting: Arc<Semaphore>,
}

/// What happened to connections and flows since the worker started.
#[derive(Debug, Default)]
pub struct Counters {
    pub taken: AtomicU64,
    /// Reset: the service has no ready task here.
    pub none: AtomicU64,
    /// Reset: the shim's bound was reached for too long.
    pub full: AtomicU64,
    /// Given up: the shim went away while it was asked.
    pub failed: AtomicU64,
    /// Datagrams dropped: a bound on flows was reached.
    pub dropped: AtomicU64,
}

impl Shared {
    /// The common part of all listeners.
    pub fn new(handover: Arc<dyn Handover>, board: Arc<Board>, relay: Arc<Relay>) -> Self {
        let semaphore = |places| Arc::new(Semaphore::new(places));
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX) / DESCRIPTORS_PART;
        let connections = usize::try_from(descriptors).unwrap_or(usize::MAX).clamp(1, MAX_CONNECTIONS);
        let (connections, flows, waiting) = (semaphore(connections), semaphore(udp::MAX_FLOWS), semaphore(udp::MAX_WAITING));
        Self { handover, board, relay, counters: Arc::default(), connections, flows, waiting }
    }
}

/// Accepts until it is dropped.
pub async fn serve(socket: Socket, target: Published, shared: Arc<Shared>) {
    let listener = match TcpListener::from_std(socket.into()) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, service = %target.name, "a published port cannot be served"),
    };
    let port = Arc::new(Port { target, shared: Arc::clone(&shared), line: Mutex::const_new(()), turn: AtomicU64::new(rand::random()) });
    let own = Arc::new(Semaphore::new(MAX_OF_A_PORT));
    loop {
        let Ok(place) = Arc::clone(&own).acquire_owned().await else { return };
        let Ok(permit) = Arc::clone(&shared.connections).acquire_owned().await else { return };
        match accept(&listener).await {
            Ok((connection, client)) => {
                let port = Arc::clone(&port);
                tokio::spawn(async move {
                    let relayed = port.deliver(connection, client).await;
                    drop((permit, place));
                    if let Some((socket, relayed)) = relayed {
                        splice(socket, relayed.send, relayed.receive).await;
                        drop(relayed.place);
                    }
                });
            }
            Err(error) if is_clients(&error) => {}
            Err(error) => {
                tracing::warn!(%error, service = %port.target.name, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_clients(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionReset)
}

/// Out of our poll set at once: whoever takes the connection has its own.
async fn accept(listener: &TcpListener) -> io::Result<(OwnedFd, SocketAddr)> {
    let (connection, client) = listener.accept().await?;
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    Ok((connection.into_std()?.into(), client))
}

/// One published port.
struct Port {
    target: Published,
    shared: Arc<Shared>,
    /// Connections that wait for a place in a shim that is full, in the order in which they came.
    line: Mutex<()>,
    /// Which node is asked first.
    turn: AtomicU64,
}

/// What became of offering a connection once.
enum Offered {
    /// A task of this node has it.
    Taken,
    /// Another node has taken it.
    Relayed(Relayed),
    None,
    Full,
    /// A shim may have it all the same: no reset, only our copy goes.
    Lost,
}

impl Port {
    /// Offers the connection until it is taken or its time is over; answers it when its bytes have to go to another node.
    async fn deliver(&self, connection: OwnedFd, client: SocketAddr) -> Option<(TcpStream, Relayed)> {
        let counters = &self.shared.counters;
        let socket = SockRef::from(&connection);
        // Options of a connection that is already gone fail; the hand-over finds out.
        let _ = socket.set_tcp_nodelay(true).and_then(|()| socket.set_tcp_keepalive(&KEEPALIVE));
        let begun = Instant::now();
        let (mut pause, mut first) = (PAUSE.0, None);
        let counter = loop {
            match self.offer(&connection, client).await {
                Offered::Taken => {
                    counters.taken.fetch_add(1, Ordering::Relaxed);
                    return None;
                }
                Offered::Relayed(relayed) => match TcpStream::from_std(connection.into()) {
                    Ok(socket) => return Some((socket, relayed)),
                    Err(error) => {
                        tracing::warn!(%error, service = %self.target.name, "a connection cannot be relayed");
                        counters.failed.fetch_add(1, Ordering::Relaxed);
                        return None;
                    }
                },
                Offered::Lost => {
                    counters.failed.fetch_add(1, Ordering::Relaxed);
                    return None;
                }
                Offered::None if begun.elapsed() >= MAX_WAIT_NONE || !self.may_be_served() => break &counters.none,
                Offered::Full if begun.elapsed() >= MAX_WAIT_FULL => break &counters.full,
                Offered::Full if first.is_none() => match timeout_at(begun + MAX_WAIT_FULL, self.line.lock()).await {
                    Ok(turn) => first = Some(turn),
                    Err(_) => break &counters.full,
                },
                Offered::None | Offered::Full => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        // Closed with a reset: the client learns at once that nobody read its request.
        let _ = SockRef::from(&connection).set_linger(Some(Duration::ZERO));
        None
    }

    /// True when some node has a task that can take it, now or soon.
    fn may_be_served(&self) -> bool {
        let Shared { board, relay, .. } = &*self.shared;
        let service = self.target.service;
        let elsewhere = || relay.routes().nodes(service).iter().any(|(node, _)| *node != relay.node());
        board.may_serve(service) || (!self.target.is_host && elsewhere())
    }

    /// Asks one node after the other.
    async fn offer(&self, connection: &OwnedFd, client: SocketAddr) -> Offered {
        let relay = &self.shared.relay;
        if self.target.is_host {
            return self.here(connection, client).await;
        }
        let row = relay.routes().nodes(self.target.service);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut answer = Offered::None;
        for node in choice::order(&row, relay.node(), turn, |node| relay.is_aside(node)) {
            let offered = if node == relay.node() { self.here(connection, client).await } else { self.there(node, connection, client).await };
            match offered {
                Offered::None => {}
                Offered::Full => answer = Offered::Full,
                over => return over,
            }
        }
        answer
    }

    async fn here(&self, connection: &OwnedFd, client: SocketAddr) -> Offered {
        match self.shared.handover.handover(self.target.service, self.target.target, client, connection.as_fd()).await {
            Ok(HandoverOutcome::Taken) => Offered::Taken,
            Ok(HandoverOutcome::None) => Offered::None,
            Ok(HandoverOutcome::Full) => Offered::Full,
            Err(error) => {
                tracing::debug!(%error, service = %self.target.name, "hand-over failed");
                Offered::Lost
            }
        }
    }

    async fn there(&self, node: NodeId, connection: &OwnedFd, client: SocketAddr) -> Offered {
        let hit = SockRef::from(connection).local_addr().ok().and_then(|addr| addr.as_socket()).unwrap_or(client);
        let hit = SocketAddr::new(hit.ip().to_canonical(), hit.port());
        let opening = Opening { service: self.target.service, port: self.target.target, protocol: Protocol::Tcp, client, hit };
        match self.shared.relay.ask(node, &opening).await {
            Asked::Taken(relayed) => Offered::Relayed(relayed),
            Asked::Not(HandoverOutcome::Full) => Offered::Full,
            Asked::Not(_) | Asked::Silent => Offered::None,
        }
    }
}
