//! What other nodes may ask of a manager over the network: to join, and workers' sessions.
//!
//! Owns: which frames a connection carries and how long it waits for them. Never: decides who is let in (`admission`), or about tasks
//! or keys.

use crate::anew::refusal;
use crate::leader::inbox::Origin;
use crate::manager::Manager;
use crate::peers::Peers;
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;
use wsw_api::join::{JoinAnswer, JoinRequest, MAX_JOIN_FRAME};
use wsw_api::session::{MAX_MANAGER_FRAME, MAX_WORKER_FRAME, ManagerFrame, WorkerFrame};
use wsw_net::{Close, Connection, Ended, Error, FrameReceiver, FrameSender, Handler, Handlers, Protocol, carry};

/// A node that opened a connection says within this what it wants.
const FIRST_FRAME: Duration = Duration::from_secs(5);
/// A join takes a write; a node waits no longer than this (moby's time-out of a join).
const JOIN: Duration = Duration::from_secs(20);

impl Manager {
    /// What this manager serves.
    pub fn handlers(&self) -> Handlers {
        let join: Arc<dyn Handler> = Arc::new(Joins(self.clone()));
        let session: Arc<dyn Handler> = Arc::new(Sessions(self.clone()));
        let peers: Arc<dyn Handler> = Arc::new(Peers(self.clone()));
        [(Protocol::Join, join), (Protocol::Session, session), (Protocol::Raft, peers)].into()
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
        let answer: JoinAnswer = match connection.peer().filter(|_| request.token.is_empty()) {
            Some(peer) => self.0.renew(peer, &request).await,
            None => self.0.admit(request).await,
        };
        if let Err(refusal) = &answer {
            tracing::info!(remote = %connection.remote(), %refusal, "a node was not let in");
        }
        let mut sender = FrameSender::new(send, MAX_JOIN_FRAME);
        sender.send(&answer).await?;
        sender.finish().await
    }
}

struct Sessions(Manager);

impl Sessions {
    /// Why a node gets no session: it, or this manager, is of a cluster that was made anew. (A worker's word makes no manager go.)
    fn refusal(&self, manager: Option<u64>, heard: u64) -> Option<String> {
        let own = self.0.incarnation()?;
        let earlier = manager.filter(|manager| *manager < own).map(|manager| refusal(own, manager));
        earlier.or_else(|| (heard > own).then(|| format!("the manager that was asked is of incarnation {own} of the swarm, which is at {heard} by now")))
    }
}

#[async_trait]
impl Handler for Sessions {
    async fn serve(&self, connection: Connection) {
        let Some(node) = connection.peer().map(|peer| peer.node) else { return };
        let Ok(Ok((send, receive))) = tokio::time::timeout(FIRST_FRAME, connection.accept()).await else {
            return connection.close(Close::Fault, "no session began");
        };
        let mut receive = FrameReceiver::<WorkerFrame>::new(receive, MAX_WORKER_FRAME);
        match tokio::time::timeout(FIRST_FRAME, receive.next()).await {
            Ok(Ok(Some(WorkerFrame::Incarnation { manager, heard }))) => {
                if let Some(refusal) = self.refusal(manager, heard) {
                    tracing::info!(%node, refusal, "a node has no session");
                    return connection.close(Close::Refused, &refusal);
                }
            }
            _ => return connection.close(Close::Fault, "a session begins with the incarnation of its cluster"),
        }
        if !self.0.leads() {
            // Who leads is all that this one can say; the worker asks there.
            let mut sender = FrameSender::<ManagerFrame>::new(send, MAX_MANAGER_FRAME);
            if sender.send(&ManagerFrame::Managers(self.0.managers(&node))).await.is_ok() && sender.finish().await.is_ok() {
                connection.linger().await;
            }
            return;
        }
        let seen = connection.clone();
        let (to_leader, from_leader) = self.0.connect(Some(Origin { node, addr: Box::new(move || seen.remote().ip()) }));
        let send = FrameSender::<ManagerFrame>::new(send, MAX_MANAGER_FRAME);
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
