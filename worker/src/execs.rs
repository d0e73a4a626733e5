//! Commands that users run in this node's tasks: which there are, and what became of them.
//!
//! Owns: one row per command, from its creation until its task is gone or newer ones need the place. Invariants: a command is started once; one that was started is watched to its
//! end whether its client stays or not; its code is known before its output ends, so who reads to the end may ask for it. Never: reads its streams.

use crate::board::Board;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use wsw_api::event::{ExecStep, What};
use wsw_api::exec::{Command, Size, Status};
use wsw_api::{Error, Result, TaskId};
use wsw_runtime::{Error as Failure, Exec, Streams};

/// Commands of a node that are remembered: each is some hundred bytes, and a dashboard looks at its last few. Those that wait or run are never forgotten for others.
const MAX_ROWS: usize = 4_096;
/// Bytes of an id: 64 digits, as Docker's.
const ID_BYTES: usize = 32;
/// Code of a command that could not be started for another reason than its own.
const NOT_STARTED: u32 = 126;

/// moby waits as long for a command to start before it tells its terminal a size.
const START_LIMIT: Duration = Duration::from_secs(10);

enum State {
    Created,
    Starting,
    Running(Arc<Exec>),
    Ended { pid: u32, code: u32 },
}

struct Row {
    /// Rises: the oldest goes first.
    number: u64,
    task: TaskId,
    command: Command,
    state: State,
}

#[derive(Default)]
struct Inner {
    rows: BTreeMap<String, Row>,
    next: u64,
}

/// See the module's page.
#[derive(Default)]
pub struct Execs {
    inner: Mutex<Inner>,
    /// Woken when a command is another.
    changed: Notify,
}

impl std::fmt::Debug for Execs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.lock().rows.keys()).finish()
    }
}

impl Inner {
    fn add(&mut self, id: String, task: TaskId, command: Command, state: State) -> Result<()> {
        if self.rows.len() >= MAX_ROWS {
            let ended = self.rows.iter().filter(|(_, row)| matches!(row.state, State::Ended { .. })).min_by_key(|(_, row)| row.number);
            let Some(oldest) = ended.map(|(id, _)| id.clone()) else {
                return Err(Error::unavailable(format!("{MAX_ROWS} commands wait or run on this node; end some of them and try again")));
            };
            self.rows.remove(&oldest);
        }
        let number = self.next;
        self.next += 1;
        self.rows.insert(id, Row { number, task, command, state });
        Ok(())
    }
}

impl Execs {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, id: &str, state: State) {
        if let Some(row) = self.lock().rows.get_mut(id) {
            row.state = state;
        }
        self.changed.notify_waiters();
    }

    /// What is known of one.
    pub fn status(&self, id: &str) -> Result<Status> {
        let inner = self.lock();
        let row = inner.rows.get(id).ok_or_else(|| unknown(id))?;
        let (running, pid, code) = match &row.state {
            State::Created => (false, 0, None),
            State::Starting => (true, 0, None),
            State::Running(exec) => (true, exec.pid, None),
            State::Ended { pid, code } => (false, *pid, Some(*code)),
        };
        Ok(Status { task: row.task, command: row.command.clone(), running, pid, code })
    }

    /// Commands of a task that run, for `inspect`.
    pub fn of(&self, task: TaskId) -> Vec<String> {
        let inner = self.lock();
        let running = inner.rows.iter().filter(|(_, row)| row.task == task && matches!(row.state, State::Starting | State::Running(_)));
        running.map(|(id, _)| id.clone()).collect()
    }

    /// The task is gone.
    pub fn forget(&self, task: TaskId) {
        self.lock().rows.retain(|_, row| row.task != task);
    }
}

/// moby's words.
fn unknown(id: &str) -> Error {
    Error::not_found(format!("No such exec instance: {id}"))
}

/// Docker's line of a command.
fn line(command: &Command) -> String {
    command.args.join(" ")
}

fn tell(board: &Board, id: &str, task: TaskId, command: &Command, step: ExecStep) {
    board.tell(task, What::Exec { id: id.to_owned(), line: line(command), step });
}

fn refused(failure: Failure) -> Error {
    match failure {
        Failure::NotStarted { why, .. } => Error::invalid(why),
        Failure::Refused(why) => Error::conflict(why),
        other => other.into(),
    }
}

/// Makes a command; [`start`] runs it.
pub fn create(board: &Board, task: TaskId, command: Command) -> Result<String> {
    board.hands.of(task)?.admits().map_err(refused)?;
    let id: String = rand::random::<[u8; ID_BYTES]>().iter().map(|byte| format!("{byte:02x}")).collect();
    tell(board, &id, task, &command, ExecStep::Created);
    board.execs.lock().add(id.clone(), task, command, State::Created)?;
    Ok(id)
}

/// Runs it; who called may go away meanwhile.
pub async fn start(board: &Arc<Board>, id: &str, size: Option<Size>) -> Result<Streams> {
    let (board, id) = (Arc::clone(board), id.to_owned());
    let started = tokio::spawn(async move { run(&board, &id, size).await });
    started.await.map_err(|error| Error::internal(format!("the command's start ended with a fault: {error}")))?
}

async fn run(board: &Arc<Board>, id: &str, size: Option<Size>) -> Result<Streams> {
    let (task, command) = {
        let mut inner = board.execs.lock();
        let row = inner.rows.get_mut(id).ok_or_else(|| unknown(id))?;
        match row.state {
            State::Created => {}
            State::Ended { .. } => return Err(Error::conflict(format!("Error: Exec command {id} has already run"))),
            State::Starting | State::Running(_) => return Err(Error::conflict(format!("Error: Exec command {id} is already running"))),
        }
        row.state = State::Starting;
        (row.task, row.command.clone())
    };
    tell(board, id, task, &command, ExecStep::Started);
    let begun = match board.hands.of(task) {
        Ok(controller) => controller.exec(id, &command, size).await.map_err(|failure| (code_of(&failure), refused(failure))),
        Err(error) => Err((NOT_STARTED, error)),
    };
    match begun {
        Ok((exec, streams)) => {
            let closes = (command.stdin && !command.tty).then(|| streams.input_over.clone());
            watch(board, id, task, exec, closes);
            Ok(streams)
        }
        Err((code, error)) => {
            board.execs.set(id, State::Ended { pid: 0, code });
            Err(error)
        }
    }
}

fn code_of(failure: &Failure) -> u32 {
    if let Failure::NotStarted { code, .. } = failure { *code } else { NOT_STARTED }
}

/// Sees a command through.
fn watch(board: &Arc<Board>, id: &str, task: TaskId, exec: Arc<Exec>, closes: Option<tokio_util::sync::CancellationToken>) {
    board.execs.set(id, State::Running(Arc::clone(&exec)));
    let (board, id) = (Arc::clone(board), id.to_owned());
    tokio::spawn(async move {
        let mut waiting = std::pin::pin!(exec.wait());
        let code = match closes {
            Some(over) => tokio::select! {
                code = &mut waiting => code,
                () = over.cancelled() => {
                    exec.close_stdin().await;
                    waiting.await
                }
            },
            None => waiting.await,
        };
        board.execs.set(&id, State::Ended { pid: exec.pid, code });
        tell(&board, &id, task, &exec.command, ExecStep::Ended { code });
        exec.finish().await;
    });
}

/// Commands that an earlier daemon left running in a task.
pub async fn take_up(board: &Arc<Board>, task: TaskId) {
    let Ok(controller) = board.hands.of(task) else { return };
    for (id, exec) in controller.execs().await {
        if board.execs.lock().add(id.clone(), task, exec.command.clone(), State::Created).is_ok() {
            watch(board, &id, task, exec, None);
        }
    }
}

/// Ends a command.
pub async fn kill(board: &Board, id: &str) {
    let exec = match board.execs.lock().rows.get(id) {
        Some(Row { state: State::Running(exec), .. }) => Arc::clone(exec),
        _ => return,
    };
    if let Err(error) = exec.kill().await {
        tracing::warn!(exec = id, %error, "a command was not ended");
    }
}

/// Tells a command's terminal its size.
pub async fn resize(board: &Board, id: &str, size: Size) -> Result<()> {
    // Clients tell it as soon as they are connected, before the command runs.
    let exec = tokio::time::timeout(START_LIMIT, started(board, id)).await;
    let exec = exec.map_err(|_| Error::conflict(format!("exec process {id} was not started within {} s", START_LIMIT.as_secs())))??;
    exec.resize(size).await.map_err(Error::from)
}

async fn started(board: &Board, id: &str) -> Result<Arc<Exec>> {
    loop {
        let changed = board.execs.changed.notified();
        match &board.execs.lock().rows.get(id).ok_or_else(|| unknown(id))?.state {
            State::Running(exec) => return Ok(Arc::clone(exec)),
            State::Ended { .. } => return Err(Error::conflict(format!("exec process {id} is not running"))),
            State::Created | State::Starting => {}
        }
        changed.await;
    }
}

/// Its client left it by the terminal's keys.
pub fn detached(board: &Board, id: &str) {
    if let Ok(status) = board.execs.status(id) {
        tell(board, id, status.task, &status.command, ExecStep::Detached);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fake::task_id;

    #[test]
    fn only_ended_commands_make_room() {
        let mut inner = Inner::default();
        for n in 0..MAX_ROWS {
            let state = if n == 7 || n == 9 { State::Ended { pid: 1, code: 0 } } else { State::Created };
            inner.add(n.to_string(), task_id(1), Command::default(), state).unwrap();
        }
        inner.add("a".into(), task_id(1), Command::default(), State::Created).unwrap();
        assert!(!inner.rows.contains_key("7") && inner.rows.contains_key("9"));
        inner.add("b".into(), task_id(2), Command::default(), State::Created).unwrap();
        let full = inner.add("c".into(), task_id(1), Command::default(), State::Created).unwrap_err();
        assert!(full.message.contains("4096 commands wait or run"), "{full}");
        let execs = Execs { inner: Mutex::new(inner), ..Execs::default() };
        assert_eq!(execs.status("c").unwrap_err().message, "No such exec instance: c");
        execs.forget(task_id(1));
        assert_eq!(execs.status("b").map(|status| (status.task, status.running)), Ok((task_id(2), false)));
    }
}
