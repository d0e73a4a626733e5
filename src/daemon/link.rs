//! The worker's session with its manager: in this process, or over the network.
//!
//! Owns: when a session is asked for anew. Invariants: a session that ends is followed by a new one, with pauses that grow to a bound;
//! the worker does not know which of the two it has.

use super::member::Trouble;
use super::network::Network;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use wsw_api::session::{MAX_FRAMES, MAX_MANAGER_FRAME, MAX_WORKER_FRAME, ManagerFrame, WorkerFrame};
use wsw_manager::Manager;
use wsw_net::{Ended, Endpoint, Error, FrameReceiver, FrameSender, Protocol, Whom, carry};
use wsw_worker::Worker;

/// Wait before a worker asks its manager for a new session; a session ends when Raft reopens its storage.
const RECONNECT: Duration = Duration::from_millis(100);
/// A session that is not welcomed by then is asked for anew; an election takes a fraction of it.
const WELCOME_LIMIT: Duration = Duration::from_secs(10);
/// Pauses between dials double up to this: a manager that restarts is found within it.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// One that was refused (removed from the cluster) asks less often.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);

/// How long a manager that ended a session is waited for to say why.
const REASON: Duration = Duration::from_millis(300);

/// Keeps the worker's session with the manager of this process.
///
/// Our own copy of the sender lives only until the welcome: afterwards the manager must see when the worker lets go of the session.
pub async fn local(worker: Worker, manager: Manager) {
    loop {
        let (to_manager, from_manager) = manager.connect(None);
        let refused = to_manager.clone();
        let mut connected = worker.connected();
        worker.connect(to_manager, from_manager);
        let welcomed = tokio::select! {
            up = connected.wait_for(|up| *up) => up.is_ok(),
            () = refused.closed() => false,
            () = tokio::time::sleep(WELCOME_LIMIT) => false,
        };
        drop(refused);
        // An error means that the worker is gone, and this task with it.
        if welcomed && connected.wait_for(|up| !*up).await.is_err() {
            return;
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

/// Keeps the worker's session with one of the managers elsewhere; ends with the worker, once its last word is said.
pub async fn remote(worker: Worker, network: Arc<Network>, managers: Vec<SocketAddr>, trouble: Arc<Trouble>) {
    let mut pause = RECONNECT;
    let mut told = None;
    loop {
        let Some(endpoint) = network.control().await else { return };
        let mut longest = MAX_PAUSE;
        for manager in &managers {
            let (welcomed, ended) = session(&worker, &endpoint, *manager, &trouble).await;
            if welcomed {
                (pause, told) = (RECONNECT, None);
            }
            // The sender goes with the worker.
            if worker.connected().has_changed().is_err() {
                return;
            }
            let text = ended.to_string();
            if told.as_ref() != Some(&text) {
                tracing::info!(%manager, reason = text, "no session with this manager; tasks go on, and it is asked again");
                told = Some(text);
            }
            if let Error::Refused(reason) = ended {
                longest = REFUSED_PAUSE;
                trouble.set(reason);
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}

/// One session to its end: whether there was one, and why it is over.
async fn session(worker: &Worker, endpoint: &Endpoint, manager: SocketAddr, trouble: &Trouble) -> (bool, Error) {
    let dialled = async {
        let connection = endpoint.dial(manager, Whom::Manager, Protocol::Session).await?;
        let streams = connection.open().await?;
        Ok((connection, streams))
    };
    let (connection, (send, receive)) = match dialled.await {
        Ok(dialled) => dialled,
        Err(error) => return (false, error),
    };
    let (to_manager, out) = mpsc::channel::<WorkerFrame>(MAX_FRAMES);
    let (into, from_manager) = mpsc::channel::<ManagerFrame>(MAX_FRAMES);
    let mut connected = worker.connected();
    connected.borrow_and_update();
    worker.connect(to_manager, from_manager);
    let carried = carry(FrameSender::new(send, MAX_WORKER_FRAME), FrameReceiver::new(receive, MAX_MANAGER_FRAME), out, into);
    tokio::pin!(carried);
    let mut welcomed = false;
    let ended = loop {
        tokio::select! {
            ended = &mut carried => break ended,
            Ok(()) = connected.changed() => if *connected.borrow_and_update() {
                welcomed = true;
                trouble.clear();
            },
        }
    };
    let ended = match ended {
        Ended::Here => Error::Lost("the worker ended it".into()),
        // The manager has said why in a frame, or closes with the reason in a moment.
        Ended::There => tokio::time::timeout(REASON, connection.closed()).await.unwrap_or_else(|_| Error::Lost("the manager ended it".into())),
        Ended::Fault(error) => error,
    };
    (welcomed, ended)
}
