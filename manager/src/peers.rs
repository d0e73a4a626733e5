//! What other managers may ask: Raft's messages, and what only the leader can answer.
//!
//! Owns: the serving side of a `raft` connection. Invariants: the first stream says whom it is for and of which incarnation; another Raft id
//! or incarnation is refused, so that a manager which was wiped never answers in its old name and an old majority is not heard; each question
//! has a stream, their number is bounded by the protocol. Never: decides who may ask (the gate does).

use crate::leader::inbox::{Queued, Reply as Answered};
use crate::manager::Manager;
use crate::raft::snapshot::{Incoming, Meta};
use crate::raft::stored::StoredVote;
use crate::raft::types::Types;
use crate::raft::wire::{self, Append, Appended, Ask, Hello, MAX_ASK, MAX_REPLY, ReadIndex, Reply, Written};
use crate::supervisor::{NO_LEADER, RaftOf, describe};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::async_runtime::AsyncRuntime;
use openraft::{ReadPolicy, Snapshot};
use std::pin::pin;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use wsw_api::Error as ApiError;
use wsw_api::control::{Request, Write};
use wsw_api::id::NodeId;
use wsw_net::{Close, Connection, Error, FrameReceiver, FrameSender, Handler, RecvStream, SendStream};

/// A question comes at once with its stream.
const FIRST_FRAME: Duration = Duration::from_secs(5);
/// A snapshot of which nothing comes for so long is given up.
const PROGRESS: Duration = Duration::from_secs(10);
/// Bytes of a snapshot that are taken at a time.
const PIECE: usize = 1 << 20;

/// Serves the other managers.
pub struct Peers(pub Manager);

#[async_trait]
impl Handler for Peers {
    async fn serve(&self, connection: Connection) {
        let Some(node) = connection.peer().map(|peer| peer.node) else { return };
        match tokio::time::timeout(FIRST_FRAME, self.greet(&connection)).await {
            Ok(Ok(())) => {}
            Ok(Err(Error::Refused(reason))) => return connection.close(Close::Refused, &reason),
            Ok(Err(error)) => return connection.close(Close::Fault, &error.to_string()),
            Err(_) => return connection.close(Close::Fault, "nothing was said"),
        }
        // All of them end with the connection.
        let mut running = JoinSet::new();
        while let Ok((send, receive)) = connection.accept().await {
            while running.try_join_next().is_some() {}
            let manager = self.0.clone();
            running.spawn(async move {
                if let Err(error) = answer(&manager, node, send, receive).await {
                    tracing::debug!(%node, %error, "a manager's question was not answered");
                }
            });
        }
    }
}

impl Peers {
    async fn greet(&self, connection: &Connection) -> Result<(), Error> {
        let (send, receive) = connection.accept().await?;
        let hello = FrameReceiver::<Hello>::new(receive, MAX_ASK).only().await?;
        let (own, met) = self.0.greeting(&hello).map_err(Error::Refused)?;
        let mut sender = FrameSender::<Hello>::new(send, MAX_REPLY);
        sender.send(&own).await?;
        sender.finish().await?;
        met.map_err(Error::Refused)
    }
}

impl<RT: AsyncRuntime> Manager<RT> {
    /// The answer to a hello, and then why the connection is refused, if it is: the other side is told in any case, it may be the one that has to go.
    pub fn greeting(&self, hello: &Hello) -> Result<(Hello, Result<(), String>), String> {
        let own = Hello { incarnation: self.incarnation(), to: Some(self.raft_id()) };
        let met = self.0.view.meet(hello.incarnation);
        if met.is_ok() && hello.to.is_some_and(|to| Some(to) != own.to) {
            return Err("this manager has another Raft id".into());
        }
        Ok((own, met))
    }

    /// The answer to another manager's question; a snapshot's bytes come in pieces.
    pub async fn answer<P>(&self, node: NodeId, ask: Ask, pieces: P) -> Reply
    where
        P: Stream<Item = std::io::Result<Bytes>> + Unpin,
    {
        match (self.raft(), ask) {
            (_, Ask::Write(request)) => write(self, node, *request).await,
            (None, _) => Reply::Failed("its Raft does not run".into()),
            (Some(raft), Ask::Snapshot { vote, meta }) => match snapshot(self, &raft, vote, meta, pieces).await {
                Ok(reply) => reply,
                Err(err) => Reply::Failed(err.to_string()),
            },
            (Some(raft), ask) => raft_answer(self, &raft, ask).await,
        }
    }
}

async fn answer(manager: &Manager, node: NodeId, send: SendStream, receive: RecvStream) -> Result<(), Error> {
    let mut receiver = FrameReceiver::<Ask>::new(receive, MAX_ASK);
    let asked = tokio::time::timeout(FIRST_FRAME, receiver.next()).await.map_err(|_| Error::Frame("no question came in time".into()))??;
    let ask = asked.ok_or_else(|| Error::Frame("the stream ended before its question".into()))?;
    let pieces = stream::try_unfold(receiver.into_stream(), async |mut stream| {
        let piece = tokio::time::timeout(PROGRESS, stream.read(PIECE)).await.map_err(|_| std::io::Error::other("nothing of the snapshot came in time"))?;
        Ok(piece.map_err(std::io::Error::other)?.map(|piece| (piece, stream)))
    });
    let reply = manager.answer(node, ask, pin!(pieces)).await;
    let mut sender = FrameSender::<Reply>::new(send, MAX_REPLY);
    sender.send(&reply).await?;
    sender.finish().await
}

/// What openraft answers.
async fn raft_answer<RT: AsyncRuntime>(manager: &Manager<RT>, raft: &RaftOf<RT>, ask: Ask) -> Reply {
    let failed = |error: &(dyn std::error::Error + 'static)| Reply::Failed(describe(error));
    match ask {
        Ask::Vote(ballot) => raft.vote(ballot.request()).await.map_or_else(|error| failed(&error), |response| Reply::of_vote::<RT>(&response)),
        Ask::PreVote(ballot) => raft.pre_vote(ballot.request()).await.map_or_else(|error| failed(&error), |response| Reply::of_vote::<RT>(&response)),
        Ask::Append(append) => append_answer(raft, append).await,
        Ask::Transfer { from, to, last } => {
            let told = raft.handle_transfer_leader(wire::transfer::<RT>(from, to, last)).await;
            told.map_or_else(|error| failed(&error), |answer| Reply::Transfer(answer.is_ok()))
        }
        Ask::ReadIndex => match raft.get_read_log_id(ReadPolicy::ReadIndex).await {
            Ok((read, _)) => Reply::Read(ReadIndex { index: read.index(), silent: manager.silent() }),
            Err(_) => Reply::NotLeader,
        },
        Ask::Write(_) | Ask::Snapshot { .. } => Reply::Failed("asked in the wrong place".into()),
    }
}

async fn append_answer<RT: AsyncRuntime>(raft: &RaftOf<RT>, append: Append) -> Reply {
    match append.request::<RT>() {
        Ok(request) => match raft.append_entries(request).await {
            Ok(response) => Reply::Append(Appended::of::<RT>(&response)),
            Err(error) => Reply::Failed(describe(&error)),
        },
        Err(err) => {
            tracing::error!(%err, "the leader sends what this version does not know; use a newer build");
            Reply::Failed(err.to_string())
        }
    }
}

/// Takes a snapshot in and has it installed.
async fn snapshot<RT, P>(manager: &Manager<RT>, raft: &RaftOf<RT>, vote: StoredVote, meta: Meta, mut pieces: P) -> std::io::Result<Reply>
where
    RT: AsyncRuntime,
    P: Stream<Item = std::io::Result<Bytes>> + Unpin,
{
    let meta = meta.meta()?;
    let (folder, begun) = (manager.folder().clone(), meta.clone());
    let mut incoming = Types::<RT>::spawn_blocking(move || Incoming::begin(&folder, &begun)).await??;
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        incoming = Types::<RT>::spawn_blocking(move || incoming.write(&piece).map(|()| incoming)).await??;
    }
    let snapshot = Types::<RT>::spawn_blocking(move || incoming.end()).await??;
    tracing::info!(bytes = snapshot.bytes, last = meta.last_log_id.as_ref().map(|id| id.index), "another manager sent a snapshot");
    let installed = raft.install_full_snapshot(vote.vote(), Snapshot { meta, snapshot }).await.map_err(std::io::Error::other)?;
    Ok(Reply::Snapshot { vote: StoredVote::of(&installed.vote) })
}

/// Carries out what another manager was asked for.
async fn write<RT: AsyncRuntime>(manager: &Manager<RT>, node: NodeId, request: Request) -> Reply {
    // Another manager passes it on.
    let passed_on = || manager.store().node(&node).is_some_and(|node| node.manager.is_some());
    if let Write::EnrollManager { id, .. } = &request.write
        && *id != node
        && !passed_on()
    {
        return Reply::Write(Written::Answer(Err(ApiError::forbidden(format!("this certificate is not node {id}'s")))));
    }
    // A manager that is not yet a member may ask any: it is passed on once.
    if let Write::EnrollManager { .. } = &request.write
        && !manager.leads()
    {
        return Reply::Write(Written::Answer(manager.request(request).await));
    }
    if !manager.leads() {
        return Reply::Write(Written::NotYet(ApiError::unavailable(NO_LEADER)));
    }
    let (reply, answer) = oneshot::channel();
    if !manager.queue(Queued { request, reply }).await {
        return Reply::Write(Written::NotYet(ApiError::unavailable("this manager has stopped")));
    }
    Reply::Write(match answer.await {
        Ok(Answered::Answer(answer)) => Written::Answer(answer),
        Ok(Answered::NotYet(reason)) => Written::NotYet(reason),
        Ok(Answered::Unknown(reason)) => Written::Unknown(reason),
        Err(_) => Written::Unknown("the leader has stopped".into()),
    })
}
