//! What other nodes may ask of a manager over the network: to join, and workers' sessions.
//!
//! Owns: which frames a connection carries and how long it waits for them. Invariant: the state says who may have a session; a node that is
//! not (any more) in it gets nothing, whatever its certificate says. Never: decides about tasks or keys.

use crate::leader::inbox::Origin;
use crate::manager::Manager;
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;
use wsw_api::join::{JoinAnswer, JoinRequest, MAX_JOIN_FRAME};
use wsw_api::session::{MAX_MANAGER_FRAME, MAX_WORKER_FRAME, ManagerFrame, WorkerFrame};
use wsw_net::{Close, Connection, Ended, Error, FrameReceiver, FrameSender, Gate, Handler, Handlers, Peer, Protocol, carry};
use wsw_planner::dispatcher::REMOVED;

/// A node that opened a connection says within this what it wants.
const FIRST_FRAME: Duration = Duration::from_secs(5);
/// A join takes a write; a node waits no longer than this (moby's time-out of a join).
const JOIN: Duration = Duration::from_secs(20);

impl Manager {
    /// What this manager serves.
    pub fn handlers(&self) -> Handlers {
        let join: Arc<dyn Handler> = Arc::new(Joins(self.clone()));
        let session: Arc<dyn Handler> = Arc::new(Sessions(self.clone()));
        [(Protocol::Join, join), (Protocol::Session, session)].into()
    }
}

impl Gate for Manager {
    fn admit(&self, peer: &Peer, protocol: Protocol) -> Result<(), Error> {
        let store = self.store();
        if store.cluster().is_none() {
            return Err(Error::Busy("this manager's state is not loaded yet".into()));
        }
        let Some(node) = store.node(&peer.node) else { return Err(Error::Refused(REMOVED.into())) };
        match protocol {
            Protocol::Logs if node.manager.is_none() => Err(Error::Refused("only managers read the logs of other nodes".into())),
            _ => Ok(()),
        }
    }
}

struct Joins(Manager);

#[async_trait]
impl Handler for Joins {
    async fn serve(&self, connection: Connection) {
        let answered = tokio::time::timeout(JOIN, self.answer(&connection)).await;
        match answered {
            Ok(Ok(())) => connection.linger().await,
            Ok(Err(error)) => connection.close(Close::Fault, &error.to_string()),
            Err(_) => connection.close(Close::Busy, "the join took too long; try again"),
        }
    }
}

impl Joins {
    async fn answer(&self, connection: &Connection) -> Result<(), Error> {
        let request = async {
            let (send, receive) = connection.accept().await?;
            let request = FrameReceiver::<JoinRequest>::new(receive, MAX_JOIN_FRAME).only().await?;
            Ok::<_, Error>((send, request))
        };
        let (send, request) = tokio::time::timeout(FIRST_FRAME, request).await.map_err(|_| Error::Frame("no request came in time".into()))??;
        let answer: JoinAnswer = self.0.admit(request).await;
        if let Err(refusal) = &answer {
            tracing::info!(remote = %connection.remote(), %refusal, "a node was not let in");
        }
        let mut sender = FrameSender::new(send, MAX_JOIN_FRAME);
        sender.send(&answer).await?;
        sender.finish().await
    }
}

struct Sessions(Manager);

#[async_trait]
impl Handler for Sessions {
    async fn serve(&self, connection: Connection) {
        let Some(node) = connection.peer().map(|peer| peer.node) else { return };
        let Ok(Ok((send, receive))) = tokio::time::timeout(FIRST_FRAME, connection.accept()).await else {
            return connection.close(Close::Fault, "no session began");
        };
        let (to_leader, from_leader) = self.0.connect(Some(Origin { node, addr: connection.remote().ip() }));
        let send = FrameSender::<ManagerFrame>::new(send, MAX_MANAGER_FRAME);
        let receive = FrameReceiver::<WorkerFrame>::new(receive, MAX_WORKER_FRAME);
        match carry(send, receive, from_leader, to_leader).await {
            Ended::Here => connection.linger().await,
            Ended::There => {}
            Ended::Fault(error @ Error::Frame(_)) => {
                tracing::warn!(%node, %error, "a session's frames are wrong");
                connection.close(Close::Fault, &error.to_string());
            }
            Ended::Fault(error) => tracing::debug!(%node, %error, "a session's connection is over"),
        }
    }
}
