//! The worker's session with the manager that leads: in this process, or over the network.
//!
//! Owns: when a session is asked for anew, and whom. Invariants: a session that ends is followed by a new one, with pauses that grow to a
//! bound; who leads is learnt from any manager; the worker does not know where its manager is; what the leader says of this node's role is
//! passed on, and nobody else's word for it counts.

use super::member::{Record, Trouble};
use super::moved;
use super::network::Network;
use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use wsw_api::NodeId;
use wsw_api::session::{MAX_FRAMES, MAX_MANAGER_FRAME, MAX_WORKER_FRAME, ManagerFrame, Managers, WorkerFrame};
use wsw_api::spec::NodeRole;
use wsw_api::trust::Trust;
use wsw_manager::{Leading, Manager};
use wsw_net::{Ended, Endpoint, Error, FrameReceiver, FrameSender, Protocol, Whom, carry};
use wsw_worker::Worker;

/// Wait before a worker asks for a new session; a session ends when Raft reopens its storage, or another manager leads.
const RECONNECT: Duration = Duration::from_millis(100);
/// A session that is not welcomed by then is asked for anew; an election takes a fraction of it.
const WELCOME_LIMIT: Duration = Duration::from_secs(10);
/// One try to reach a manager: a handshake takes two round trips.
const DIAL: Duration = Duration::from_secs(1);
/// Pauses between dials double up to this: a manager that restarts is found within it.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// One that was refused (removed from the cluster) asks less often.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);
/// A manager that knows of no leader for so long asks the others: it may have been demoted while it was away.
const LEADERLESS: Duration = Duration::from_secs(2);

/// How long a manager that ended a session is waited for to say why.
const REASON: Duration = Duration::from_millis(300);

/// What a link works with.
pub struct Link {
    pub node: NodeId,
    pub worker: Worker,
    /// The manager of this process, where there is one.
    pub manager: Option<Manager>,
    pub network: Arc<Network>,
    pub record: Arc<Record>,
    pub trouble: Arc<Trouble>,
    /// Takes what the leader says that this node is to be.
    pub role: Box<dyn Fn(NodeRole) + Send + Sync>,
    /// Takes whom the leader says that this node is to believe.
    pub trust: watch::Sender<Option<Trust>>,
}

impl Link {
    /// Keeps the session; ends with the worker, once its last word is said.
    pub async fn keep(self) {
        let session = async {
            match &self.manager {
                None => self.remote().await,
                Some(manager) => self.beside(manager).await,
            }
        };
        tokio::select! {
            () = session => {}
            () = moved::watch(&self.worker, self.manager.as_ref(), &self.record) => {}
        }
    }

    /// Beside a manager: it knows who leads.
    async fn beside(&self, manager: &Manager) {
        let mut led = Instant::now();
        let mut pause = RECONNECT;
        loop {
            // The sender goes with the worker.
            if self.worker.connected().has_changed().is_err() {
                return;
            }
            let leading = manager.leading();
            if matches!(leading, Leading::Here | Leading::There(..)) {
                led = Instant::now();
            }
            match leading {
                Leading::Here => self.local(manager).await,
                Leading::There(_, fallback) => {
                    let managers = manager.managers(&self.node);
                    self.record.learn(&managers);
                    if let Some(leader) = addr_of(&managers).or_else(|| fallback.parse().ok())
                        && let Some(endpoint) = self.network.control().await
                    {
                        let (welcomed, _) = self.session(&endpoint, leader).await;
                        pause = if welcomed { RECONNECT } else { (pause * 2).min(MAX_PAUSE) };
                    }
                }
                Leading::Nobody if led.elapsed() > LEADERLESS => {
                    self.ask_all(&mut None).await;
                    led = Instant::now();
                }
                Leading::Nobody | Leading::Closed => {}
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// One session with the manager of this process.
    ///
    /// Our own copy of the sender lives only until the welcome: afterwards the manager must see when the worker lets go of the session.
    async fn local(&self, manager: &Manager) {
        let (to_manager, from_manager) = manager.connect(None);
        let refused = to_manager.clone();
        let mut connected = self.worker.connected();
        self.worker.connect(to_manager, from_manager);
        let welcomed = tokio::select! {
            up = connected.wait_for(|up| *up) => up.is_ok(),
            () = refused.closed() => false,
            () = tokio::time::sleep(WELCOME_LIMIT) => false,
        };
        drop(refused);
        if welcomed {
            // An error means that the worker is gone.
            let _ = connected.wait_for(|up| !*up).await;
        }
    }

    /// Without a manager of our own: the session is with one elsewhere.
    async fn remote(&self) {
        let mut pause = RECONNECT;
        let mut told = None;
        loop {
            let asked = self.ask_all(&mut told).await;
            if self.worker.connected().has_changed().is_err() {
                return;
            }
            if asked.welcomed {
                pause = RECONNECT;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(if asked.refused { REFUSED_PAUSE } else { MAX_PAUSE });
        }
    }

    /// Asks every manager that is known once, the one that leads as soon as somebody names it.
    async fn ask_all(&self, told: &mut Option<String>) -> Asked {
        let mut all = Asked::default();
        let Some(endpoint) = self.network.control().await else { return all };
        let mut queue: VecDeque<SocketAddr> = self.record.managers().into();
        let mut done = BTreeSet::new();
        while let Some(manager) = queue.pop_front() {
            if !done.insert(manager) {
                continue;
            }
            let (welcomed, ended) = self.session(&endpoint, manager).await;
            all.welcomed |= welcomed;
            if welcomed {
                *told = None;
            }
            if self.worker.connected().has_changed().is_err() {
                return all;
            }
            if let Some(leader) = self.record.leader().filter(|leader| !done.contains(leader)) {
                queue.push_front(leader);
                continue;
            }
            let text = ended.to_string();
            if told.as_ref() != Some(&text) {
                tracing::info!(%manager, reason = text, "no session with this manager; tasks go on, and it is asked again");
                *told = Some(text);
            }
            if let Error::Refused(reason) = ended {
                all.refused = true;
                self.trouble.set(reason);
            }
        }
        all
    }

    /// One session to its end: whether there was one, and why it is over.
    async fn session(&self, endpoint: &Endpoint, manager: SocketAddr) -> (bool, Error) {
        self.record.forget_leader();
        let dialled = async {
            let connection = endpoint.dial(manager, Whom::Manager, Protocol::Session).await?;
            let streams = connection.open().await?;
            Ok((connection, streams))
        };
        let dialled = tokio::time::timeout(DIAL, dialled).await;
        let (connection, (send, receive)) = match dialled.unwrap_or_else(|_| Err(Error::Unreachable(manager, "nobody answers".into()))) {
            Ok(dialled) => dialled,
            Err(error) => return (false, error),
        };
        let mut send = FrameSender::<WorkerFrame>::new(send, MAX_WORKER_FRAME);
        let beside = self.manager.as_ref().and_then(Manager::incarnation);
        if let Err(error) = send.send(&WorkerFrame::Incarnation { manager: beside, heard: self.record.get().incarnation }).await {
            return (false, error);
        }
        let (to_manager, out) = mpsc::channel::<WorkerFrame>(MAX_FRAMES);
        let (into, mut incoming) = mpsc::channel::<ManagerFrame>(MAX_FRAMES);
        let (to_worker, from_manager) = mpsc::channel::<ManagerFrame>(MAX_FRAMES);
        let mut connected = self.worker.connected();
        connected.borrow_and_update();
        self.worker.connect(to_manager, from_manager);
        let carried = carry(send, FrameReceiver::new(receive, MAX_MANAGER_FRAME), out, into);
        let sorted = async {
            let mut welcomed = false;
            while let Some(frame) = incoming.recv().await {
                welcomed |= matches!(frame, ManagerFrame::Welcome { .. });
                match frame {
                    ManagerFrame::Managers(managers) => self.heard(&managers, welcomed),
                    frame => {
                        if to_worker.send(frame).await.is_err() {
                            break;
                        }
                    }
                }
            }
            drop(to_worker);
        };
        let watched = async {
            let mut welcomed = false;
            tokio::pin!(carried);
            let ended = loop {
                tokio::select! {
                    ended = &mut carried => break ended,
                    Ok(()) = connected.changed() => if *connected.borrow_and_update() {
                        welcomed = true;
                        self.trouble.clear();
                    },
                }
            };
            (welcomed, ended)
        };
        let ((welcomed, ended), ()) = tokio::join!(watched, sorted);
        let ended = match ended {
            Ended::Here => Error::Lost("the worker ended it".into()),
            // The manager has said why in a frame, or closes with the reason in a moment.
            Ended::There => tokio::time::timeout(REASON, connection.closed()).await.unwrap_or_else(|_| Error::Lost("the manager ended it".into())),
            Ended::Fault(error) => error,
        };
        (welcomed, ended)
    }

    /// What a manager says of the managers; of this node's role only the one that leads, in a session.
    fn heard(&self, managers: &Managers, leads: bool) {
        self.record.learn(managers);
        if leads {
            self.record.learn_incarnation(managers.incarnation);
            (self.role)(managers.role);
            if managers.trust.is_some() {
                self.trust.send_if_modified(|known| std::mem::replace(known, managers.trust.clone()) != managers.trust);
            }
        } else {
            self.record.lead(addr_of(managers));
        }
    }
}

/// What came of asking all managers.
#[derive(Default)]
struct Asked {
    welcomed: bool,
    refused: bool,
}

fn addr_of(managers: &Managers) -> Option<SocketAddr> {
    managers.peers.iter().find(|peer| Some(peer.node) == managers.leader).and_then(|peer| peer.addr.parse().ok())
}
