//! Clients' connections between nodes: this node's end of them, whichever side it is.
//!
//! ```text
//! ingress ──ask──> Relay ──pool──> stream of one connection between two nodes ──> Relay (its handler) ──> Backends ──> task
//!                                  Opening >  < Answer, then bytes (`splice`)
//! ```
//! Owns: the conversation on a stream, how many are relayed, and which nodes did not answer a moment ago. Invariants: a connection is asked
//! for with no byte of the client's spent, so whoever hears anything but `Taken`, or nothing in time, may ask elsewhere; the sum of what
//! the relayed connections may hold is bounded by the machine's memory. Never: chooses a node or a task.

mod flow;
mod local;
mod pool;
mod splice;

pub use flow::{Flow, Path};
pub use local::{Backends, Shims};
pub use splice::splice;

use crate::routes::Routes;
use async_trait::async_trait;
use pool::Pool;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use wsw_api::NodeId;
use wsw_api::relay::{Answer, MAX_RELAY_FRAME, Opening};
use wsw_api::shim::HandoverOutcome;
use wsw_api::spec::Protocol;
use wsw_net::{Connection, Endpoint, Error, FrameReceiver, FrameSender, Handler, RecvStream, SendStream};

/// A node that does not answer within this, or four round trips if that is more, is passed over.
const ANSWER: Duration = Duration::from_millis(100);
const ROUND_TRIPS: u32 = 4;
/// How long a node that did not answer comes after all others.
const ASIDE: Duration = Duration::from_secs(1);
/// A stream that says nothing for so long is given up.
const FIRST_FRAME: Duration = Duration::from_secs(5);
/// What one relayed connection may hold of unread bytes: the stream's window, and as much again on its way.
const WINDOW: u64 = 512 << 10;
/// This part of the memory at most is held by relayed connections.
const MEMORY_PART: u64 = 8;
/// Relayed connections of a node, whatever its memory: from, up to. Each has a descriptor, too.
const RELAYED: (u64, u64) = (64, 16_384);
/// This part of the daemon's descriptors at most.
const DESCRIPTORS_PART: u64 = 4;
/// The largest datagram.
const MAX_DATAGRAM: usize = 65_535;

/// See the module's page.
pub struct Relay {
    node: NodeId,
    routes: Routes,
    pool: Arc<Pool>,
    backends: Box<dyn Backends>,
    places: Arc<Semaphore>,
    aside: Mutex<BTreeMap<NodeId, Instant>>,
    pub counters: Counters,
}

/// What happened to relayed connections.
#[derive(Debug, Default)]
pub struct Counters {
    /// Taken by another node for us, and by us for another.
    pub sent: AtomicU64,
    pub received: AtomicU64,
    /// Not asked for, or refused: the bound on relayed connections was reached.
    pub full: AtomicU64,
    /// Another node did not answer in time.
    pub silent: AtomicU64,
}

/// A place among the relayed connections.
pub type Place = OwnedSemaphorePermit;

/// What became of asking a node.
pub enum Asked {
    Taken(Relayed),
    Not(HandoverOutcome),
    /// No answer: it was set aside.
    Silent,
}

/// A connection that another node has taken.
pub struct Relayed {
    pub send: SendStream,
    pub receive: RecvStream,
    pub path: Path,
    pub place: Place,
}

impl Relayed {
    /// As a flow of datagrams.
    pub fn into_flow(self) -> Flow {
        Flow::new(self.path, self.send, self.receive, self.place)
    }
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Relay {
    /// For a node with so much memory.
    pub fn new(node: NodeId, memory: u64, backends: Box<dyn Backends>) -> Arc<Self> {
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX) / DESCRIPTORS_PART;
        let places = (memory / MEMORY_PART / WINDOW).min(descriptors).clamp(RELAYED.0, RELAYED.1);
        let places = Arc::new(Semaphore::new(usize::try_from(places).unwrap_or(usize::MAX)));
        let (routes, pool) = (Routes::default(), Arc::default());
        Arc::new(Self { node, routes, pool, backends, places, aside: Mutex::default(), counters: Counters::default() })
    }

    /// The node that this is.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// What is known of the other nodes.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Where other nodes are dialled from.
    pub fn dial_from(&self, endpoint: Option<Endpoint>) {
        self.pool.dial_from(endpoint);
    }

    fn aside(&self) -> MutexGuard<'_, BTreeMap<NodeId, Instant>> {
        self.aside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True for a node that did not answer a moment ago.
    pub fn is_aside(&self, node: NodeId) -> bool {
        let mut aside = self.aside();
        match aside.get(&node) {
            Some(until) if *until > Instant::now() => true,
            Some(_) => {
                aside.remove(&node);
                false
            }
            None => false,
        }
    }

    /// Asks a node to take a connection.
    pub async fn ask(self: &Arc<Self>, node: NodeId, opening: &Opening) -> Asked {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            self.counters.full.fetch_add(1, Ordering::Relaxed);
            return Asked::Not(HandoverOutcome::Full);
        };
        let open = self.pool.open(node);
        let was_open = open.is_some();
        let limit = open.map_or(ANSWER, |open| ANSWER.max(open.connection.rtt() * ROUND_TRIPS));
        let mut has_stream = false;
        match tokio::time::timeout(limit, self.converse(node, opening, &mut has_stream)).await {
            Ok(Ok((HandoverOutcome::Taken, send, receive, path))) => {
                self.counters.sent.fetch_add(1, Ordering::Relaxed);
                return Asked::Taken(Relayed { send, receive, path, place });
            }
            Ok(Ok((outcome, ..))) => return Asked::Not(outcome),
            // All streams to that node are taken: it is there.
            Err(_) if was_open && !has_stream => {
                self.counters.full.fetch_add(1, Ordering::Relaxed);
                return Asked::Not(HandoverOutcome::Full);
            }
            Ok(Err(error)) => tracing::debug!(%node, %error, "a node took no connection"),
            Err(_) => tracing::debug!(%node, "a node did not answer in time"),
        }
        self.pool.gone(node);
        self.counters.silent.fetch_add(1, Ordering::Relaxed);
        self.aside().insert(node, Instant::now() + ASIDE);
        Asked::Silent
    }

    async fn converse(
        self: &Arc<Self>,
        node: NodeId,
        opening: &Opening,
        has_stream: &mut bool,
    ) -> Result<(HandoverOutcome, SendStream, RecvStream, Path), Error> {
        let peer = self.routes.peer(node).ok_or_else(|| Error::Lost("its address is not known".into()))?;
        let relay = self.clone();
        let serve = move |path| drop(tokio::spawn(async move { relay.serve_streams(&path).await }));
        let path = self.pool.connection(node, peer.addr, serve).await?;
        let (send, receive) = path.connection.open().await?;
        *has_stream = true;
        let mut send = FrameSender::<Opening>::new(send, MAX_RELAY_FRAME);
        send.send(opening).await?;
        let mut receive = FrameReceiver::<Answer>::new(receive, MAX_RELAY_FRAME);
        let answer = receive.next().await?.ok_or_else(|| Error::Frame("it ended without an answer".into()))?;
        Ok((answer.outcome, send.into_stream(), receive.into_stream(), path))
    }

    /// Answers what the other side asks, until the connection is over.
    async fn serve_streams(self: &Arc<Self>, path: &Path) {
        // As many at a time as the protocol grants; all of them end with the connection.
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                accepted = path.connection.accept() => {
                    let Ok((send, receive)) = accepted else { break };
                    while running.try_join_next().is_some() {}
                    let (relay, path) = (self.clone(), path.clone());
                    running.spawn(async move {
                        if let Err(error) = relay.serve(path, send, receive).await {
                            tracing::debug!(%error, "a relayed connection did not begin");
                        }
                    });
                }
                datagram = path.connection.datagram() => match datagram {
                    Ok(datagram) => path.flows.came(datagram),
                    Err(_) => break,
                },
            }
        }
        if let Some(peer) = path.connection.peer() {
            self.pool.gone(peer.node);
        }
    }

    async fn serve(&self, path: Path, send: SendStream, receive: RecvStream) -> Result<(), Error> {
        let mut receive = FrameReceiver::<Opening>::new(receive, MAX_RELAY_FRAME);
        let asked = tokio::time::timeout(FIRST_FRAME, receive.next()).await.map_err(|_| Error::Frame("no request came in time".into()))??;
        let opening = asked.ok_or_else(|| Error::Frame("the stream ended before its frame".into()))?;
        let mut send = FrameSender::<Answer>::new(send, MAX_RELAY_FRAME);
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            self.counters.full.fetch_add(1, Ordering::Relaxed);
            return refuse(send, HandoverOutcome::Full).await;
        };
        if opening.protocol == Protocol::Udp {
            return self.serve_flow(path, &opening, (send, receive.into_stream()), place).await;
        }
        let _place = place;
        let socket = match self.backends.connect(&opening).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(outcome)) => return refuse(send, outcome).await,
            Err(error) => {
                tracing::debug!(%error, service = %opening.service, "hand-over failed");
                return refuse(send, HandoverOutcome::None).await;
            }
        };
        send.send(&Answer { outcome: HandoverOutcome::Taken }).await?;
        self.counters.received.fetch_add(1, Ordering::Relaxed);
        splice(socket, send.into_stream(), receive.into_stream()).await;
        Ok(())
    }
}

impl Relay {
    async fn serve_flow(&self, path: Path, opening: &Opening, (mut send, receive): (FrameSender<Answer>, RecvStream), place: Place) -> Result<(), Error> {
        let socket = match self.backends.flow(opening).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(outcome)) => return refuse(send, outcome).await,
            Err(error) => {
                tracing::debug!(%error, service = %opening.service, "hand-over of a flow failed");
                return refuse(send, HandoverOutcome::None).await;
            }
        };
        send.send(&Answer { outcome: HandoverOutcome::Taken }).await?;
        self.counters.received.fetch_add(1, Ordering::Relaxed);
        let mut flow = Flow::new(path, send.into_stream(), receive, place);
        let mut buffer = Vec::with_capacity(MAX_DATAGRAM);
        loop {
            buffer.clear();
            // The other side ends it after its silence.
            let is_alive = tokio::select! {
                datagram = flow.next() => match datagram {
                    Some(bytes) => !matches!(socket.send(&bytes).await, Err(error) if error.kind() == ErrorKind::ConnectionRefused),
                    None => false,
                },
                received = socket.recv_buf(&mut buffer) => received.is_ok() && flow.send(&buffer).await,
            };
            if !is_alive {
                return Ok(());
            }
        }
    }
}

async fn refuse(mut send: FrameSender<Answer>, outcome: HandoverOutcome) -> Result<(), Error> {
    send.send(&Answer { outcome }).await?;
    send.finish().await
}

/// Serves connections that other nodes have dialled.
pub struct Server(pub Arc<Relay>);

#[async_trait]
impl Handler for Server {
    async fn serve(&self, connection: Connection) {
        let path = Path::new(connection);
        if let Some(peer) = path.connection.peer() {
            self.0.pool.came(peer.node, &path);
        }
        self.0.serve_streams(&path).await;
    }
}
