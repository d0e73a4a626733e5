//! Reads the logs of this node's tasks: the files of `api::log`, merged by time, followed if asked.
//!
//! ```text
//! place    where a task's files are                                         files   the files of one log, newest first
//! record   one record's bytes → time, stream, piece or end of a line        source  one task's files, read in chunks
//! tail     where a query begins in them                                     reader  all sources of a query, in rounds
//! ```
//! Invariants: no file stays open between rounds (a service may have 10,000 tasks on a node), memory is bounded by rounds and chunks,
//! a reader that does not take its lines stops the reading, nothing else. Never: writes or removes a log.

pub mod files;
pub mod place;
mod reader;
mod record;
pub mod source;
mod tail;

use crate::board::Board;
use crate::clock;
use reader::Reader;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use wsw_api::log::{Line, Query};
use wsw_api::{Error, NodeId, Result, ServiceId, TaskId};

/// Lines on their way to one reader.
const MAX_LINES: usize = 256;
/// Queries that are read at once; each takes a blocking thread for the length of its rounds.
const MAX_READERS: usize = 128;
/// Between rounds of a follower when nothing new was there…
const POLL: Duration = Duration::from_millis(100);
/// … or this many times what the round took, so that following thousands of files costs a tenth of a core at most.
const POLL_FACTOR: u32 = 10;

/// Whose lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selector {
    Service(ServiceId),
    Task(TaskId),
}

/// Lines as they come; the end of the stream is the end of the query, dropping it ends the reading.
pub type Logs = ReceiverStream<Result<Line>>;

/// What all log readers of a worker share.
#[derive(Debug)]
pub struct Readers {
    pub node: NodeId,
    pub folder: PathBuf,
    pub board: Arc<Board>,
    slots: Arc<Semaphore>,
}

impl Readers {
    /// Readers of the logs below this folder.
    pub fn new(node: NodeId, folder: PathBuf, board: Arc<Board>) -> Self {
        Self { node, folder, board, slots: Arc::new(Semaphore::new(MAX_READERS)) }
    }

    /// Starts one query.
    pub fn read(self: &Arc<Self>, selector: Selector, query: Query) -> Logs {
        let (lines, stream) = mpsc::channel(MAX_LINES);
        match Arc::clone(&self.slots).try_acquire_owned() {
            Ok(permit) => {
                let readers = Arc::clone(self);
                tokio::spawn(async move {
                    run(readers, selector, query, lines).await;
                    drop(permit);
                });
            }
            // The channel is new: there is room for one.
            Err(_) => drop(lines.try_send(Err(Error::unavailable(format!("{MAX_READERS} log readers are at work already; end one or try again later"))))),
        }
        ReceiverStream::new(stream)
    }
}

async fn run(readers: Arc<Readers>, selector: Selector, query: Query, lines: mpsc::Sender<Result<Line>>) {
    let follow = query.follow;
    let until = query.until;
    let mut reader = Reader::new(readers, selector, query);
    loop {
        let begun = Instant::now();
        // Asked before the round: what was written until then is in it.
        let over = !follow || reader.is_over() || until.is_some_and(|until| clock::wall() > until);
        let (back, round) = match tokio::task::spawn_blocking(move || reader.round()).await {
            Ok(answer) => answer,
            Err(error) => return drop(lines.send(Err(Error::internal(format!("the log reader failed: {error}")))).await),
        };
        reader = back;
        let took = begun.elapsed();
        for line in round.lines {
            if lines.send(line).await.is_err() {
                return;
            }
        }
        if round.more {
            continue;
        }
        if over {
            for line in reader.rest() {
                if lines.send(line).await.is_err() {
                    return;
                }
            }
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(POLL.max(took * POLL_FACTOR)) => {}
            () = lines.closed() => return,
        }
    }
}
