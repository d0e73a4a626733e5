//! Connections to the other managers, and questions on them.
//!
//! ```text
//!   ask ─> open? ──yes──> stream, answer ── none in time, and silent for long ─> closed, dialled anew
//!            └──no─> wanted ─> dial (bounded) ─> hello ─> open
//! ```
//! Owns: one connection for each manager and lane. Invariants: a silent connection is replaced by a fresh dial, never waited for; a peer is
//! the node that the state says, and its certificate is a manager's; every wait has a limit. Never: knows what a question means.

use super::machine::View;
use super::types::RaftId;
use super::wire::{Ask, Hello, MAX_ASK, MAX_REPLY, Reply};
use crate::raft::snapshot::Reader;
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;
use wsw_api::spec::NodeRole;
use wsw_net::{Close, Connection, Endpoint, Error, FrameReceiver, FrameSender, Protocol, RecvStream, Whom};

/// One try to connect: a handshake takes two round trips; a lost first packet is sent again within this.
const DIAL: Duration = Duration::from_secs(1);
/// Between tries to reach a manager that does not answer: first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));
/// A connection on which questions stay unanswered for so long is given up: longer than a slow disk takes for a sync.
const SILENT: Duration = Duration::from_millis(800);
/// Bytes of a snapshot that are written at a time.
const PIECE: usize = 256 << 10;
/// A snapshot of which nothing is taken for so long is given up; its length does not matter.
const PROGRESS: Duration = Duration::from_secs(10);
/// Reading and installing a snapshot at the other end, after its last byte: a gigabyte takes a fraction of it.
const INSTALL: Duration = Duration::from_secs(120);

/// What a question travels on, so that a large message never delays a vote or a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Votes, heartbeats, reads.
    Control,
    /// Entries and writes; snapshots have connections of their own.
    Bulk,
}

/// Where questions leave from.
#[derive(Debug, Clone)]
pub struct Ports {
    pub control: Endpoint,
    pub bulk: Endpoint,
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// Nothing was sent.
    #[error("manager {0} is not connected: {1}")]
    Away(RaftId, String),
    /// Something may have arrived.
    #[error("manager {0}: {1}")]
    Lost(RaftId, String),
}

/// How other managers are asked. The real one is [`Links`]; a simulation brings its own.
#[async_trait]
pub trait Reach: Send + Sync {
    /// The node is on the network.
    fn open(&self, ports: Ports);
    /// Asks a manager; `fallback` is where it was when the state does not say. Must be called on a runtime that outlives the answer.
    async fn ask(&self, to: RaftId, fallback: &str, lane: Lane, ask: &Ask, limit: Duration) -> Result<Reply, Failure>;
    /// Sends a snapshot.
    async fn send_snapshot(&self, to: RaftId, fallback: &str, ask: &Ask, reader: Reader) -> Result<Reply, Failure>;
    /// Asks whoever manages the cluster at this address.
    async fn ask_at(&self, addr: SocketAddr, ask: &Ask, limit: Duration) -> Result<Reply, Failure>;
    /// Whether a manager has answered a question lately.
    fn hears(&self, to: RaftId) -> bool;
}

/// The ways to all other managers. Clones share them.
#[derive(Clone)]
pub struct Links(Arc<Inner>);

struct Inner {
    view: Arc<View>,
    ports: watch::Sender<Option<Ports>>,
    links: Mutex<BTreeMap<(RaftId, Lane), Arc<Link>>>,
}

/// One connection, and what keeps it.
struct Link {
    open: watch::Receiver<State>,
    wanted: Arc<Notify>,
    suspect: Arc<Notify>,
    /// When the last answer came, and since when questions have been waiting for one.
    heard: Mutex<Heard>,
    _keeper: AbortOnDropHandle<()>,
}

#[derive(Clone, Copy, Default)]
struct Heard {
    last: Option<Instant>,
    asked: Option<Instant>,
}

#[derive(Clone, Default)]
struct State {
    connection: Option<Connection>,
    /// Why there is none.
    why: String,
}

/// Where a manager is dialled.
#[derive(Debug, Clone, Copy)]
struct Place {
    addr: SocketAddr,
    whom: Whom,
}

impl Links {
    /// Nobody can be asked before there are ports.
    pub fn new(view: Arc<View>) -> Self {
        Self(Arc::new(Inner { view, ports: watch::Sender::new(None), links: Mutex::default() }))
    }

    fn link(&self, to: RaftId, fallback: &str, lane: Lane) -> Arc<Link> {
        let mut links = self.0.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.entry((to, lane)).or_insert_with(|| Arc::new(Link::keep(Arc::downgrade(&self.0), to, fallback.to_owned(), lane))).clone()
    }
}

#[async_trait]
impl Reach for Links {
    fn open(&self, ports: Ports) {
        self.0.ports.send_replace(Some(ports));
    }

    async fn ask(&self, to: RaftId, fallback: &str, lane: Lane, ask: &Ask, limit: Duration) -> Result<Reply, Failure> {
        let link = self.link(to, fallback, lane);
        let until = Instant::now() + limit;
        let connection = link.connection(to, until).await?;
        link.asks();
        let asked = tokio::time::timeout_at(until, question(&connection, ask)).await;
        let answer = asked.unwrap_or_else(|_| Err(Error::Lost(format!("no answer within {limit:?}"))));
        match answer {
            Ok(reply) => {
                link.hear();
                Ok(reply)
            }
            Err(error) => {
                link.doubt();
                Err(Failure::Lost(to, error.to_string()))
            }
        }
    }

    async fn send_snapshot(&self, to: RaftId, fallback: &str, ask: &Ask, reader: Reader) -> Result<Reply, Failure> {
        let away = |error: Error| Failure::Away(to, error.to_string());
        let lost = |error: Error| Failure::Lost(to, error.to_string());
        let connection =
            timeout(DIAL, self.0.dial(to, fallback, Lane::Bulk)).await.unwrap_or_else(|_| Err(Error::Lost("nobody answers".into()))).map_err(away)?;
        let (send, receive) = connection.open().await.map_err(away)?;
        let mut sender = FrameSender::<Ask>::new(send, MAX_ASK);
        sender.send(ask).await.map_err(lost)?;
        let mut stream = sender.into_stream();
        let mut reader = reader;
        loop {
            let (next, piece) = tokio::task::spawn_blocking(move || read_piece(reader)).await.map_err(|err| Failure::Lost(to, err.to_string()))?;
            reader = next;
            let piece = piece.map_err(|err| Failure::Lost(to, err.to_string()))?;
            if piece.is_empty() {
                break;
            }
            let sent = timeout(PROGRESS, stream.write_chunk(piece)).await;
            sent.unwrap_or_else(|_| Err(Error::Lost(format!("nothing of the snapshot was taken for {PROGRESS:?}")))).map_err(lost)?;
        }
        let answer = async {
            stream.finish().await?;
            FrameReceiver::<Reply>::new(receive, MAX_REPLY).only().await
        };
        let reply = timeout(INSTALL, answer).await.unwrap_or_else(|_| Err(Error::Lost("the snapshot was not installed in time".into()))).map_err(lost)?;
        connection.close(Close::Done, "");
        Ok(reply)
    }

    async fn ask_at(&self, addr: SocketAddr, ask: &Ask, limit: Duration) -> Result<Reply, Failure> {
        let asked = async {
            let place = Place { addr, whom: Whom::Manager };
            let connection = self.0.hello(place, None, Lane::Bulk).await?;
            let reply = question(&connection, ask).await;
            connection.close(Close::Done, "");
            reply
        };
        let reply = timeout(limit, asked).await.unwrap_or_else(|_| Err(Error::Lost(format!("no answer within {limit:?}"))));
        reply.map_err(|error| Failure::Lost(0, format!("{addr}: {error}")))
    }

    fn hears(&self, to: RaftId) -> bool {
        let links = self.0.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.get(&(to, Lane::Control)).is_some_and(|link| link.open.borrow().connection.is_some() && link.is_heard())
    }
}

impl Inner {
    /// The state knows best where a manager is, and which node.
    fn place(&self, to: RaftId, fallback: &str) -> Result<Place, Error> {
        let store = self.view.store();
        let known = store.nodes().find_map(|node| node.manager.as_ref().filter(|manager| manager.raft_id == to).map(|manager| (node.id, &manager.addr)));
        let (whom, addr) = known.map_or((Whom::Manager, fallback), |(node, addr)| (Whom::Node(node), addr.as_str()));
        let addr = addr.parse().map_err(|_| Error::Lost(format!("{addr:?} is not an address")))?;
        Ok(Place { addr, whom })
    }

    async fn dial(&self, to: RaftId, fallback: &str, lane: Lane) -> Result<Connection, Error> {
        self.hello(self.place(to, fallback)?, Some(to), lane).await
    }

    async fn hello(&self, place: Place, to: Option<RaftId>, lane: Lane) -> Result<Connection, Error> {
        let mut ports = self.ports.subscribe();
        let ports = ports.wait_for(Option::is_some).await.ok().and_then(|ports| ports.clone());
        let ports = ports.ok_or_else(|| Error::Lost("this node is not on the network".into()))?;
        let endpoint = if lane == Lane::Control { &ports.control } else { &ports.bulk };
        let connection = endpoint.dial(place.addr, place.whom, Protocol::Raft).await?;
        if connection.peer().is_none_or(|peer| peer.role != NodeRole::Manager) {
            connection.close(Close::Refused, "a manager's certificate is needed");
            return Err(Error::Untrusted(place.addr, "its certificate is not a manager's".into()));
        }
        let incarnation = self.view.incarnation();
        let (send, receive) = connection.open().await?;
        let mut sender = FrameSender::<Hello>::new(send, MAX_ASK);
        sender.send(&Hello { incarnation, to }).await?;
        let theirs = FrameReceiver::<Hello>::new(receive, MAX_REPLY).only().await?;
        if let Err(refusal) = self.view.meet(theirs.incarnation) {
            connection.close(Close::Refused, &refusal);
            return Err(Error::Refused(refusal));
        }
        Ok(connection)
    }
}

impl Link {
    fn keep(inner: std::sync::Weak<Inner>, to: RaftId, fallback: String, lane: Lane) -> Self {
        let (state, open) = watch::channel(State::default());
        let (wanted, suspect) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (want, doubted) = (wanted.clone(), suspect.clone());
        let keeper = tokio::spawn(async move {
            let (mut pause, mut told) = (PAUSE.0, None);
            loop {
                want.notified().await;
                let Some(inner) = inner.upgrade() else { return };
                let dialled = timeout(DIAL, inner.dial(to, &fallback, lane)).await.unwrap_or_else(|_| Err(Error::Lost("nobody answers".into())));
                drop(inner);
                let why = match dialled {
                    Ok(connection) => {
                        pause = PAUSE.0;
                        if lane == Lane::Control && told.replace(false) == Some(true) {
                            tracing::info!(manager = to, "another manager can be reached again");
                        }
                        state.send_replace(State { connection: Some(connection.clone()), why: String::new() });
                        // A doubt of an earlier connection does not count.
                        tokio::select! {
                            error = connection.closed() => error.to_string(),
                            () = doubted.notified() => {
                                connection.close(Close::Done, "");
                                "it was silent".to_owned()
                            }
                        }
                    }
                    Err(error) => error.to_string(),
                };
                if lane == Lane::Control && told.replace(true) != Some(true) {
                    tracing::info!(manager = to, why, "another manager cannot be reached; it is dialled again and again");
                }
                state.send_replace(State { connection: None, why });
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        });
        Self { open, wanted, suspect, heard: Mutex::default(), _keeper: AbortOnDropHandle::new(keeper) }
    }

    async fn connection(&self, to: RaftId, until: Instant) -> Result<Connection, Failure> {
        let mut open = self.open.clone();
        if let Some(connection) = open.borrow().connection.clone() {
            return Ok(connection);
        }
        self.wanted.notify_one();
        let found = tokio::time::timeout_at(until, open.wait_for(|state| state.connection.is_some())).await;
        let found = found.ok().and_then(Result::ok).and_then(|state| state.connection.clone());
        found.ok_or_else(|| Failure::Away(to, self.open.borrow().why.clone()))
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_heard(&self) -> bool {
        let heard = *self.heard();
        heard.last.is_some() && heard.asked.is_none_or(|asked| asked.elapsed() < SILENT)
    }

    fn asks(&self) {
        self.heard().asked.get_or_insert_with(Instant::now);
    }

    fn hear(&self) {
        *self.heard() = Heard { last: Some(Instant::now()), asked: None };
    }

    fn doubt(&self) {
        let mut heard = self.heard();
        if heard.asked.is_some_and(|asked| asked.elapsed() >= SILENT) {
            heard.asked = None;
            heard.last = None;
            self.suspect.notify_waiters();
        }
    }
}

/// One question and its answer, on a stream of its own.
async fn question(connection: &Connection, ask: &Ask) -> Result<Reply, Error> {
    let (send, receive) = connection.open().await?;
    let mut sender = FrameSender::<Ask>::new(send, MAX_ASK);
    sender.send(ask).await?;
    answered(sender, receive).await
}

/// The end of the question is sent along; its acknowledgement is not waited for.
async fn answered(sender: FrameSender<Ask>, receive: RecvStream) -> Result<Reply, Error> {
    let finish = sender.finish();
    let answer = FrameReceiver::<Reply>::new(receive, MAX_REPLY).only();
    tokio::pin!(finish, answer);
    tokio::select! {
        biased;
        _ = &mut finish => {}
        reply = &mut answer => return reply,
    }
    answer.await
}

fn read_piece(mut reader: Reader) -> (Reader, std::io::Result<Bytes>) {
    let mut piece = vec![0; PIECE];
    let read = std::io::Read::read(&mut reader, &mut piece).map(|count| {
        piece.truncate(count);
        Bytes::from(piece)
    });
    (reader, read)
}
