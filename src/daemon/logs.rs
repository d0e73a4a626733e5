//! Logs of tasks on all nodes: what this node gives to managers, and one stream made of what the nodes give.
//!
//! ```text
//!   query ──> this node's lines ─────────────────┐
//!        └──> each node that has or had tasks ───┴──> one channel ──> the client
//! ```
//! Owns: the conversation on a `logs` stream, and which nodes are asked. Invariants: a node that does not answer makes the stream partial, with
//! SwarmKit's words at its end, and never makes it hang; a follower hears of nodes that get tasks later, and takes up a node again that was
//! away. (A warning in the middle would end docker's client, so a follower gets none.) Never: reads a file.

use super::node::Node;
use async_trait::async_trait;
use futures_util::StreamExt;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use wsw_api::log::{Line, Query};
use wsw_api::log_stream::{LogFrame, LogRequest, LogsOf, MAX_LOG_FRAME, MAX_LOG_LINES, MAX_LOG_REQUEST, MAX_LOG_TEXT};
use wsw_api::object::NodeState;
use wsw_api::{Error, NodeId, Result, Task, TaskState};
use wsw_dockerapi::backend::LogStream;
use wsw_manager::Manager;
use wsw_net::{Connection, FrameReceiver, FrameSender, Handler, Protocol, RecvStream, SendStream, Whom};
use wsw_planner::Store;
use wsw_worker::{Selector, Worker};

/// A stream that says nothing for so long is given up.
const FIRST_FRAME: Duration = Duration::from_secs(5);
/// A node that cannot be reached within this is not available.
const DIAL: Duration = Duration::from_secs(3);
/// A follower tries a node again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// How often a follower looks for nodes with new tasks, however fast the state changes.
const LOOK: Duration = Duration::from_millis(100);
/// Lines on their way to one client.
const MAX_LINES: usize = 256;
/// Nodes that one query reads from at a time: a connection each.
const MAX_NODES: usize = 256;
/// Nodes that a warning names.
const MAX_REASONS: usize = 16;

/// Gives out the lines of this node's tasks.
pub struct Giver(pub watch::Receiver<Option<Worker>>);

#[async_trait]
impl Handler for Giver {
    async fn serve(&self, connection: Connection) {
        // It ends with the connection: a follower that goes away closes it.
        let Ok(Ok((send, receive))) = tokio::time::timeout(FIRST_FRAME, connection.accept()).await else { return };
        let worker = self.0.borrow().clone();
        match give(worker, send, receive).await {
            Ok(()) => connection.linger().await,
            Err(error) => tracing::debug!(%error, "logs were not given out to their end"),
        }
    }
}

async fn give(worker: Option<Worker>, send: SendStream, receive: RecvStream) -> std::result::Result<(), wsw_net::Error> {
    let asked = tokio::time::timeout(FIRST_FRAME, FrameReceiver::<LogRequest>::new(receive, MAX_LOG_REQUEST).only()).await;
    let request = asked.map_err(|_| wsw_net::Error::Frame("no request came in time".into()))??;
    let mut send = FrameSender::<LogFrame>::new(send, MAX_LOG_FRAME);
    let Some(worker) = worker else {
        send.send(&LogFrame::Trouble("its worker is not there yet".into())).await?;
        return send.finish().await;
    };
    let mut lines = worker.logs(selector(request.of), request.query).ready_chunks(MAX_LOG_LINES);
    while let Some(ready) = lines.next().await {
        for frame in frames(ready) {
            send.send(&frame).await?;
        }
    }
    send.finish().await
}

fn selector(of: LogsOf) -> Selector {
    match of {
        LogsOf::Service(id) => Selector::Service(id),
        LogsOf::Task(id) => Selector::Task(id),
    }
}

/// Puts lines together as far as a frame holds them.
fn frames(lines: Vec<Result<Line>>) -> Vec<LogFrame> {
    let (mut frames, mut open, mut text) = (Vec::new(), Vec::new(), 0);
    for line in lines {
        match line {
            Ok(line) => {
                if text + line.text.len() > MAX_LOG_TEXT && !open.is_empty() {
                    frames.push(LogFrame::Lines(std::mem::take(&mut open)));
                    text = 0;
                }
                text += line.text.len();
                open.push(line);
            }
            Err(error) => frames.push(LogFrame::Trouble(error.message)),
        }
    }
    if !open.is_empty() {
        frames.push(LogFrame::Lines(open));
    }
    frames
}

/// The lines of all nodes, those of each in order.
pub fn merged(node: &Arc<Node>, worker: Worker, of: LogsOf, query: Query) -> LogStream {
    let local = worker.logs(selector(of), query.clone());
    let Ok(manager) = node.manager() else { return local.boxed() };
    let (lines, mut stream) = mpsc::channel(MAX_LINES);
    tokio::spawn(Merging { node: node.clone(), manager, of, query, lines }.run(local));
    futures_util::stream::poll_fn(move |context| stream.poll_recv(context)).boxed()
}

/// One query at work.
struct Merging {
    node: Arc<Node>,
    manager: Manager,
    of: LogsOf,
    query: Query,
    lines: mpsc::Sender<Result<Line>>,
}

impl Merging {
    async fn run(self, local: wsw_worker::logs::Logs) {
        let this = Arc::new(self);
        let mut readers = JoinSet::new();
        readers.spawn(this.clone().pass(local));
        let (mut known, mut reasons) = (BTreeSet::new(), Vec::new());
        let (mut applied, mut query) = (this.manager.applied(), this.query.clone());
        loop {
            applied.borrow_and_update();
            let wanted = nodes(&this.manager.store(), this.of, this.manager.node_id());
            for node in wanted {
                if known.insert(node) {
                    if readers.len() <= MAX_NODES {
                        readers.spawn(this.clone().read(node, query.clone()));
                    } else {
                        reasons.push(format!("node {node} is one of more than {MAX_NODES}"));
                    }
                }
            }
            // What comes up on further nodes while it is followed is wanted whole.
            query.tail = None;
            tokio::select! {
                ended = readers.join_next() => match ended {
                    Some(Ok(reason)) => reasons.extend(reason),
                    Some(Err(error)) => tracing::error!(%error, "a reader of logs failed"),
                    None => break,
                },
                Ok(()) = applied.changed(), if this.query.follow => tokio::time::sleep(LOOK).await,
                () = this.lines.closed() => return,
            }
        }
        if !reasons.is_empty() && !this.query.follow {
            reasons.truncate(MAX_REASONS);
            let text = format!("incomplete log stream. some logs could not be retrieved for the following reasons: {}", reasons.join(", "));
            let _ = this.lines.send(Err(Error::unavailable(text))).await;
        }
    }

    /// This node's own lines.
    async fn pass(self: Arc<Self>, mut local: wsw_worker::logs::Logs) -> Option<String> {
        while let Some(line) = local.next().await {
            if self.lines.send(line).await.is_err() {
                return None;
            }
        }
        None
    }

    /// The lines of another node; why they are not all, if so.
    async fn read(self: Arc<Self>, node: NodeId, mut query: Query) -> Option<String> {
        let mut told = false;
        loop {
            let failed = match self.session(node, &mut query).await {
                Ok(()) => return None,
                Err(reason) => reason,
            };
            if !self.query.follow || self.lines.is_closed() {
                return Some(failed);
            }
            if !std::mem::replace(&mut told, true) {
                tracing::info!(%node, reason = failed, "a follower of logs misses the lines of a node; it is asked again");
            }
            tokio::time::sleep(AGAIN).await;
            self.manager.store().node(&node)?;
        }
    }

    /// Asks once; what was received counts as read when the next one begins.
    async fn session(&self, node: NodeId, query: &mut Query) -> std::result::Result<(), String> {
        let unavailable = || format!("node {node} is not available");
        let known = self.manager.store().node(&node).cloned().filter(|node| node.status.state != NodeState::Down).ok_or_else(unavailable)?;
        let (bulk, addr) = self.node.bulk().zip(known.description.addr.parse().ok()).ok_or_else(unavailable)?;
        let dialled = tokio::time::timeout(DIAL, async {
            let connection = bulk.dial(addr, Whom::Node(node), Protocol::Logs).await?;
            let (send, receive) = connection.open().await?;
            let mut request = FrameSender::<LogRequest>::new(send, MAX_LOG_REQUEST);
            request.send(&LogRequest { of: self.of, query: query.clone() }).await?;
            Ok::<_, wsw_net::Error>((connection, request, receive))
        });
        let (_connection, _request, receive) = dialled.await.map_err(|_| unavailable())?.map_err(|error| {
            tracing::debug!(%node, %error, "logs were asked for in vain");
            unavailable()
        })?;
        let mut frames = FrameReceiver::<LogFrame>::new(receive, MAX_LOG_FRAME);
        loop {
            match frames.next().await {
                Ok(Some(LogFrame::Lines(lines))) => {
                    for line in lines {
                        let next = line.time.after(1);
                        query.since = Some(query.since.map_or(next, |since| since.max(next)));
                        query.tail = None;
                        if self.lines.send(Ok(line)).await.is_err() {
                            return Ok(());
                        }
                    }
                }
                Ok(Some(LogFrame::Trouble(text))) => return Err(format!("node {node}: {text}")),
                Ok(None) => return Ok(()),
                Err(error) => {
                    tracing::debug!(%node, %error, "logs broke off");
                    return Err(format!("node {node} disconnected unexpectedly"));
                }
            }
        }
    }
}

/// The other nodes on which tasks write, or have written.
fn nodes(store: &Store, of: LogsOf, own: NodeId) -> BTreeSet<NodeId> {
    let started = |task: &Task| task.node.filter(|node| *node != own && task.is_placed() && task.status.state >= TaskState::Starting);
    match of {
        LogsOf::Service(id) => store.tasks_of_service(&id).filter_map(|task| started(task)).collect(),
        LogsOf::Task(id) => store.task(&id).and_then(|task| started(task)).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wsw_api::{ServiceId, TaskId, Time};

    fn line(length: usize) -> Line {
        let ids = (NodeId::default(), ServiceId::default(), TaskId::default());
        Line { time: Time(1), stream: wsw_api::log::Stream::Stdout, node: ids.0, service: ids.1, task: ids.2, text: vec![0xff; length] }
    }

    #[test]
    fn frames_are_within_their_bound_and_lose_nothing() {
        let lengths = [10, MAX_LOG_TEXT, 1 << 20, 0, 5, MAX_LOG_TEXT - 5, 1];
        let frames = frames(lengths.iter().map(|length| Ok(line(*length))).collect());
        let count = |frame: &LogFrame| if let LogFrame::Lines(lines) = frame { lines.len() } else { 0 };
        assert_eq!(frames.iter().map(count).collect::<Vec<_>>(), [1, 1, 1, 3, 1]);
        let full = LogFrame::Lines(vec![line(MAX_LOG_TEXT / MAX_LOG_LINES); MAX_LOG_LINES]);
        for frame in frames.iter().chain([&full]) {
            assert!(rmp_serde::to_vec_named(frame).unwrap().len() <= MAX_LOG_FRAME);
        }
    }
}
