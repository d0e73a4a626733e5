//! Accepts the connections of one port and hands them over.
//!
//! Owns: a connection until a shim has taken it. Invariants: at most [`MAX_CONNECTIONS`] in hand-over on the node, more wait in
//! the kernel's backlog; a connection that nobody takes within its bound is reset and counted, never left hanging.
//! Never: reads from a connection.

use super::table::Published;
use super::udp;
use crate::board::Board;
use crate::seam::Handover;
use socket2::{SockRef, Socket, TcpKeepalive};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use wsw_api::shim::HandoverOutcome;

/// Connections in hand-over on the node: each holds a descriptor, and a machine gives a daemon some ten thousand of them.
const MAX_CONNECTIONS: usize = 4_096;
/// How long a connection waits for a task that comes up (or back, after the daemon's restart).
const MAX_WAIT_NONE: Duration = Duration::from_secs(1);
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
    pub fn new(handover: Arc<dyn Handover>, board: Arc<Board>) -> Self {
        let semaphore = |places| Arc::new(Semaphore::new(places));
        let (connections, flows, waiting) = (semaphore(MAX_CONNECTIONS), semaphore(udp::MAX_FLOWS), semaphore(udp::MAX_WAITING));
        Self { handover, board, counters: Arc::default(), connections, flows, waiting }
    }
}

/// Accepts until it is dropped.
pub async fn serve(socket: Socket, target: Published, shared: Arc<Shared>) {
    let listener = match TcpListener::from_std(socket.into()) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, service = %target.name, "a published port cannot be served"),
    };
    let target = Arc::new(target);
    loop {
        let Ok(permit) = Arc::clone(&shared.connections).acquire_owned().await else { return };
        match accept(&listener).await {
            Ok((connection, client)) => {
                tokio::spawn(deliver(connection, client, Arc::clone(&target), Arc::clone(&shared), permit));
            }
            Err(error) if is_clients(&error) => {}
            Err(error) => {
                tracing::warn!(%error, service = %target.name, "accept failed");
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

async fn deliver(connection: OwnedFd, client: SocketAddr, target: Arc<Published>, shared: Arc<Shared>, _permit: OwnedSemaphorePermit) {
    let socket = SockRef::from(&connection);
    // Options of a connection that is already gone fail; the hand-over finds out.
    let _ = socket.set_tcp_nodelay(true).and_then(|()| socket.set_tcp_keepalive(&KEEPALIVE));
    let begun = Instant::now();
    let mut pause = PAUSE.0;
    let counter = loop {
        match shared.handover.handover(target.service, target.target, client, connection.as_fd()).await {
            Ok(HandoverOutcome::Taken) => {
                shared.counters.taken.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Ok(HandoverOutcome::None) if begun.elapsed() >= MAX_WAIT_NONE || !shared.board.may_serve(target.service) => break &shared.counters.none,
            Ok(HandoverOutcome::Full) if begun.elapsed() >= MAX_WAIT_FULL => break &shared.counters.full,
            Ok(HandoverOutcome::None | HandoverOutcome::Full) => {}
            Err(error) => {
                // A shim may have it all the same: no reset, only our copy goes.
                tracing::debug!(%error, service = %target.name, "hand-over failed");
                shared.counters.failed.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    };
    counter.fetch_add(1, Ordering::Relaxed);
    // Closed with a reset: the client learns at once that nobody read its request.
    let _ = SockRef::from(&connection).set_linger(Some(Duration::ZERO));
}
