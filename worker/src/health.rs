//! Health checks of this node's tasks: when a probe is made, how, and what became of it.
//!
//! Owns: one [`Doctor`] per task with a check, for as long as it is up, and the findings. The decision is `wsw_api::health`'s. Invariants: one probe of a task at a time; a probe that takes
//! too long is killed and its end awaited, so probes do not pile up. Never: ends a task (its driver does).

use crate::board::Board;
use crate::{clock, execs};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use wsw_api::event::What;
use wsw_api::exec::Command;
use wsw_api::health::{Check, Health, MAX_OUTPUT, Probe, State};
use wsw_api::{TaskId, Time};

/// Code of a probe that could not be run or not in time.
const NO_CODE: i32 = -1;
/// Starting a command is no part of a probe's time, and has this (moby's).
const START_LIMIT: Duration = Duration::from_secs(30);

/// What is known of tasks with a check.
#[derive(Debug, Default)]
pub struct Wards(Mutex<BTreeMap<TaskId, Health>>);

impl Wards {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<TaskId, Health>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None for a task without a check.
    pub fn of(&self, task: TaskId) -> Option<Health> {
        self.lock().get(&task).cloned()
    }

    pub fn forget(&self, task: TaskId) {
        self.lock().remove(&task);
    }
}

/// Looks after one task; dropped with its end.
pub struct Doctor {
    states: watch::Receiver<State>,
    _rounds: AbortOnDropHandle<()>,
}

impl Doctor {
    /// From now on; what an earlier daemon found is not known.
    pub fn start(board: &Arc<Board>, task: TaskId, check: Check) -> Self {
        board.wards.lock().insert(task, Health::default());
        let (send, states) = watch::channel(State::Starting);
        let board = Arc::clone(board);
        let rounds = tokio::spawn(async move { rounds(&board, task, &check, &send).await });
        Self { states, _rounds: AbortOnDropHandle::new(rounds) }
    }

    /// The next change.
    pub async fn said(&mut self) -> State {
        if self.states.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        *self.states.borrow_and_update()
    }
}

async fn rounds(board: &Arc<Board>, task: TaskId, check: &Check, states: &watch::Sender<State>) {
    let started = clock::now();
    loop {
        let pause = board.wards.of(task).unwrap_or_default().pause(check, started, clock::now());
        tokio::time::sleep(Duration::from_nanos(pause)).await;
        let start = clock::now();
        let (code, output) = probe(board, task, check).await;
        let result = Probe { start, end: clock::now(), code, output };
        let changed = take(board, task, check, started, result);
        if let Some(state) = changed {
            board.tell(task, What::Health(state.as_str()));
            states.send_replace(state);
        }
    }
}

fn take(board: &Board, task: TaskId, check: &Check, started: Time, result: Probe) -> Option<State> {
    board.wards.lock().get_mut(&task)?.take(check, started, result)
}

/// Runs the command once: its code and what it wrote.
async fn probe(board: &Arc<Board>, task: TaskId, check: &Check) -> (i32, String) {
    let command = Command { args: check.args.clone(), stdout: true, stderr: true, ..Command::default() };
    let begun = async {
        let id = execs::create(board, task, command)?;
        let streams = execs::start(board, &id, None).await?;
        Ok::<_, wsw_api::Error>((id, streams))
    };
    let (id, mut streams) = match tokio::time::timeout(START_LIMIT, begun).await {
        Ok(Ok(begun)) => begun,
        Ok(Err(error)) => return (NO_CODE, error.message),
        Err(_) => return (NO_CODE, format!("timed out starting health check for task {task}")),
    };
    let (mut output, mut cut) = (Vec::new(), false);
    let timeout = Duration::from_nanos(check.timeout);
    let mut deadline = std::pin::pin!(tokio::time::sleep(timeout));
    let mut late = false;
    loop {
        tokio::select! {
            piece = streams.output.recv() => {
                let Some((_, bytes)) = piece else { break };
                let room = MAX_OUTPUT - output.len();
                cut |= bytes.len() > room;
                output.extend_from_slice(bytes.get(..bytes.len().min(room)).unwrap_or_default());
            }
            () = &mut deadline, if !late => {
                late = true;
                execs::kill(board, &id).await;
            }
        }
    }
    let mut text = String::from_utf8_lossy(&output).into_owned();
    if cut {
        text.push_str("...");
    }
    if late {
        let words = format!("Health check exceeded timeout ({timeout:?})");
        return (NO_CODE, if text.is_empty() { words } else { format!("{words}: {text}") });
    }
    let code = board.execs.status(&id).ok().and_then(|status| status.code);
    (code.and_then(|code| i32::try_from(code).ok()).unwrap_or(NO_CODE), text)
}
