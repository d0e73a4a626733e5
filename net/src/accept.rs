//! Accepting: bounded handshakes, then the handler of what the connection is for.
//!
//! ```text
//!   first packet ─> (many at once: Retry) ─> handshake ─> protocol ─> certificate? ─> cluster? ─> gate? ─> bounds? ─> handler
//! ```
//! Invariants: nobody's work before its address is known to be its own once it gets busy; a peer without a certificate reaches the
//! join handler alone; each connection ends with its peer's certificate, and when the gate changes its mind.

use crate::connection::Connection;
use crate::endpoint::identity;
use crate::error::{Close, Error};
use crate::peer::Peer;
use crate::protocol::Protocol;
use async_trait::async_trait;
use quinn::crypto::rustls::HandshakeData;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wsw_api::{ClusterId, NodeId};

/// Handshakes at a time: each costs about a millisecond of a core and a few packets of the socket's buffer.
const MAX_HANDSHAKES: usize = 64;
/// With so many under way, who comes must first show that its address is its own.
const RETRY_ABOVE: usize = 16;
/// A handshake takes two round trips; a slow link and a busy machine get this.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Nodes that join at a time; more are told to come again.
const MAX_JOINS: usize = 64;
/// Connections at a time: ten for each of 1,000 nodes, and room.
const MAX_CONNECTIONS: usize = 16_384;
/// Connections of one node: a few of each kind, and as many that died and are not known to be dead yet.
const MAX_OF_NODE: usize = 64;
/// Nodes whose newest certificate is remembered: as many as a cluster has.
const MAX_SHOWN: usize = 10_000;
/// Connections outlive no timer longer than this; the certificate is looked at again then (a timer of years overflows).
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3_600);

/// Serves the connections of one protocol.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Runs until the connection has served its purpose; it is closed afterwards.
    async fn serve(&self, connection: Connection);
}

/// Who may have which kind of connection, by the cluster's state.
pub trait Gate: Send + Sync + 'static {
    /// [`Error::Refused`] with the reason when it may not, [`Error::Busy`] when that is not known at this moment.
    fn admit(&self, peer: &Peer, protocol: Protocol) -> Result<(), Error>;

    /// The same for a connection that was admitted: what this node did know and does not know any more is gone.
    fn keep(&self, peer: &Peer, protocol: Protocol) -> Result<(), Error> {
        self.admit(peer, protocol)
    }
}

/// The handlers of a node.
pub type Handlers = BTreeMap<Protocol, Arc<dyn Handler>>;

/// An accepted connection that is open.
struct Open {
    connection: Connection,
    protocol: Protocol,
}

/// What this node serves, and to whom: it changes with the node's role.
#[derive(Clone)]
struct Serving {
    handlers: Handlers,
    gate: Arc<dyn Gate>,
}

/// Everything that accepted connections share.
pub(crate) struct Accepting {
    cluster: ClusterId,
    serving: RwLock<Serving>,
    handshakes: Arc<Semaphore>,
    joins: Arc<Semaphore>,
    open: Mutex<(u64, BTreeMap<u64, Open>)>,
    /// Until when the newest certificate is valid that each node was admitted with.
    shown: Mutex<BTreeMap<NodeId, SystemTime>>,
}

impl Accepting {
    pub(crate) fn new(cluster: ClusterId, handlers: Handlers, gate: Arc<dyn Gate>) -> Self {
        let (handshakes, joins) = (Arc::new(Semaphore::new(MAX_HANDSHAKES)), Arc::new(Semaphore::new(MAX_JOINS)));
        Self { cluster, serving: RwLock::new(Serving { handlers, gate }), handshakes, joins, open: Mutex::default(), shown: Mutex::default() }
    }

    /// From now on others are served, by another gate; what no handler is left for is closed.
    pub(crate) fn serve(&self, handlers: Handlers, gate: Arc<dyn Gate>) {
        *self.serving.write().unwrap_or_else(PoisonError::into_inner) = Serving { handlers, gate };
        self.recheck();
    }

    fn serving(&self) -> Serving {
        self.serving.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Accepts until the endpoint is closed.
    pub(crate) async fn run(self: Arc<Self>, endpoint: quinn::Endpoint) {
        while let Some(incoming) = endpoint.accept().await {
            let busy = MAX_HANDSHAKES - self.handshakes.available_permits();
            if busy >= RETRY_ABOVE && !incoming.remote_address_validated() && incoming.may_retry() {
                // It cannot fail: whether it may was just asked.
                let _ = incoming.retry();
                continue;
            }
            match Arc::clone(&self.handshakes).try_acquire_owned() {
                Ok(permit) => drop(tokio::spawn(Arc::clone(&self).admit(incoming, permit))),
                Err(_) => incoming.refuse(),
            }
        }
    }

    async fn admit(self: Arc<Self>, incoming: quinn::Incoming, permit: OwnedSemaphorePermit) {
        let remote = incoming.remote_address();
        let shaken = match incoming.accept() {
            Ok(connecting) => tokio::time::timeout(HANDSHAKE, connecting).await,
            Err(error) => return tracing::debug!(%remote, %error, "no handshake"),
        };
        drop(permit);
        match shaken {
            Ok(Ok(connection)) => self.route(connection).await,
            Ok(Err(error)) => tracing::debug!(%remote, %error, "a handshake failed"),
            Err(_) => tracing::debug!(%remote, "a handshake took too long"),
        }
    }

    async fn route(&self, inner: quinn::Connection) {
        let (protocol, peer) = match (protocol(&inner), identity(&inner)) {
            (Some(protocol), Ok(peer)) => (protocol, peer.map(Arc::new)),
            (None, _) => return inner.close(Close::Fault.code(), b"unknown protocol"),
            (_, Err(error)) => return inner.close(Close::Refused.code(), error.to_string().as_bytes()),
        };
        let connection = Connection::new(inner, peer.clone());
        let (id, join) = match self.check(&connection, protocol) {
            Ok(admitted) => admitted,
            Err(error) => {
                tracing::info!(remote = %connection.remote(), protocol = protocol.name(), %error, "a connection is refused");
                let (why, reason) = match error {
                    Error::Busy(reason) => (Close::Busy, reason),
                    other => (Close::Refused, other.to_string()),
                };
                return connection.close(why, &reason);
            }
        };
        let limits = protocol.limits();
        connection.grant(limits.streams, limits.window);
        if let Some(handler) = self.serving().handlers.get(&protocol) {
            tokio::select! {
                () = handler.serve(connection.clone()) => {}
                _ = connection.closed() => {}
                () = self.expired(peer.as_deref()) => connection.close(Close::Refused, "the certificate has expired"),
            }
        }
        connection.close(Close::Done, "");
        self.open.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&id);
        drop(join);
    }

    /// Notes the connection, or says why it may not be.
    fn check(&self, connection: &Connection, protocol: Protocol) -> Result<(u64, Option<OwnedSemaphorePermit>), Error> {
        let serving = self.serving();
        serving.serves(protocol)?;
        let mut join = None;
        match (connection.peer(), protocol) {
            (_, Protocol::Join) => {
                let permit = Arc::clone(&self.joins).try_acquire_owned();
                join = Some(permit.map_err(|_| Error::Busy("many nodes join at this moment; try again".into()))?);
            }
            (None, _) => return Err(Error::Refused("a certificate of this cluster is needed".into())),
            (Some(peer), _) => self.admits(&serving, peer, protocol)?,
        }
        let node = connection.peer().map(|peer| peer.node);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.1.len() >= MAX_CONNECTIONS || (node.is_some() && of_node(&open.1, node) >= MAX_OF_NODE) {
            return Err(Error::Busy("too many connections".into()));
        }
        connection.peer().filter(|_| protocol != Protocol::Join).into_iter().for_each(|peer| self.saw(peer));
        open.0 += 1;
        let id = open.0;
        open.1.insert(id, Open { connection: connection.clone(), protocol });
        Ok((id, join))
    }

    fn admits(&self, serving: &Serving, peer: &Peer, protocol: Protocol) -> Result<(), Error> {
        if peer.cluster != self.cluster {
            return Err(Error::Refused("this is another cluster".into()));
        }
        serving.gate.admit(peer, protocol)
    }

    /// Completes when the peer has no valid certificate; never for a peer without one. A node that has shown a newer certificate since keeps
    /// what it has, so that no client's connection ends because a certificate was renewed.
    async fn expired(&self, peer: Option<&Peer>) {
        let Some(peer) = peer else { return std::future::pending().await };
        loop {
            let expires = self.shown.lock().unwrap_or_else(PoisonError::into_inner).get(&peer.node).map_or(peer.expires, |shown| peer.expires.max(*shown));
            let Ok(left) = expires.duration_since(SystemTime::now()) else { return };
            tokio::time::sleep(left.min(LONGEST_WAIT)).await;
        }
    }

    /// Notes until when a node's newest certificate is valid.
    fn saw(&self, peer: &Peer) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.len() >= MAX_SHOWN {
            let now = SystemTime::now();
            shown.retain(|_, until| *until > now);
        }
        if shown.len() < MAX_SHOWN || shown.contains_key(&peer.node) {
            let until = shown.entry(peer.node).or_insert(peer.expires);
            *until = peer.expires.max(*until);
        }
    }

    pub(crate) fn recheck(&self) {
        let serving = self.serving();
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for Open { connection, protocol } in open.1.values() {
            // A join asks for what it may have by itself.
            let peer = connection.peer().filter(|_| *protocol != Protocol::Join);
            let admitted = serving.serves(*protocol).and_then(|()| peer.map_or(Ok(()), |peer| serving.gate.keep(peer, *protocol)));
            if let Err(Error::Refused(refusal)) = admitted {
                tracing::info!(remote = %connection.remote(), %refusal, "a connection is closed");
                connection.close(Close::Refused, &refusal);
            }
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).1.len()
    }
}

impl Serving {
    fn serves(&self, protocol: Protocol) -> Result<(), Error> {
        if self.handlers.contains_key(&protocol) {
            return Ok(());
        }
        Err(Error::Refused(match protocol {
            Protocol::Join | Protocol::Session | Protocol::Raft => "this node is not a manager".into(),
            Protocol::Blob => "this node gives out no blobs".into(),
            Protocol::Logs => "this node gives out no logs".into(),
            Protocol::Relay => "this node takes no connections from others".into(),
        }))
    }
}

fn of_node(open: &BTreeMap<u64, Open>, node: Option<NodeId>) -> usize {
    open.values().filter(|open| open.connection.peer().map(|peer| peer.node) == node).count()
}

fn protocol(connection: &quinn::Connection) -> Option<Protocol> {
    let data = connection.handshake_data()?.downcast::<HandshakeData>().ok()?;
    Protocol::of(data.protocol.as_deref()?)
}
