//! The hands on running tasks: what a user asks of one task of this node, past the cluster.
//!
//! Owns: which controller belongs to which driven task, signals, readings, waiting for an end. Invariant: a task that is signalled here
//! ends as if it had ended by itself; whether it is replaced is the planner's to decide. Never: changes a desired state.

use crate::board::{Board, LocalTask};
use crate::seam::Controller;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast::error::RecvError;
use wsw_api::event::What;
use wsw_api::exec::Size;
use wsw_api::network::Sandbox;
use wsw_api::usage::Usage;
use wsw_api::{Error, Result, TaskId};
use wsw_runtime::transfer::Inside;
use wsw_runtime::{Attached, Error as Failure};

/// Controllers of the tasks that have a driver.
#[derive(Default)]
pub struct Hands(Mutex<BTreeMap<TaskId, Arc<dyn Controller>>>);

impl std::fmt::Debug for Hands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.lock().keys()).finish()
    }
}

impl Hands {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<TaskId, Arc<dyn Controller>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task is driven from now on.
    pub fn put(&self, task: TaskId, controller: Arc<dyn Controller>) {
        self.lock().insert(task, controller);
    }

    /// Its driver is through.
    pub fn take(&self, task: TaskId) {
        self.lock().remove(&task);
    }

    /// The controller of a task that is driven.
    pub fn of(&self, task: TaskId) -> Result<Arc<dyn Controller>> {
        self.lock().get(&task).cloned().ok_or_else(|| Error::conflict(format!("task {task} is not running")))
    }
}

fn refused(error: &Failure) -> Error {
    if let Failure::Conflict(text) = error {
        return Error::conflict(text.clone());
    }
    if error.is_temporary() { Error::unavailable(error.to_string()) } else { Error::invalid(error.to_string()) }
}

/// Sends a signal to a task.
pub async fn signal(board: &Board, task: TaskId, signal: u32) -> Result<()> {
    let controller = board.hands.of(task)?;
    controller.kill(signal).await.map_err(|error| refused(&error))?;
    board.tell(task, What::Signalled(signal));
    Ok(())
}

/// What a task uses.
pub async fn usage(board: &Board, task: TaskId) -> Result<Usage> {
    board.hands.of(task)?.usage().await.map_err(|error| refused(&error))
}

/// Processes of a task on this node; none for a Wasm task.
pub async fn pids(board: &Board, task: TaskId) -> Result<Option<Vec<u32>>> {
    board.hands.of(task)?.pids().await.map_err(|error| refused(&error))
}

/// A task's place in the node's network; none when it does not run or has no address.
pub fn sandbox(board: &Board, task: TaskId) -> Option<Sandbox> {
    board.hands.of(task).ok()?.sandbox()
}

/// The streams of a task that runs; none for a Wasm task.
pub async fn attach(board: &Board, task: TaskId, input: bool) -> Result<Option<Attached>> {
    let attached = board.hands.of(task)?.attach(input).await?;
    if attached.is_some() {
        board.tell(task, What::Attached);
    }
    Ok(attached)
}

/// Tells a task's terminal its size.
pub async fn resize(board: &Board, task: TaskId, size: Size) -> Result<()> {
    Ok(board.hands.of(task)?.resize(size).await?)
}

/// The files of a task that runs.
pub async fn inside(board: &Board, task: TaskId) -> Result<Arc<Inside>> {
    Ok(Arc::new(board.hands.of(task)?.inside().await?))
}

/// Waits until `done` holds for the task or nothing is left of it.
pub async fn wait(board: &Board, task: TaskId, done: impl Fn(&LocalTask) -> bool) -> Option<LocalTask> {
    let mut events = board.events.follow();
    let mut last = None;
    loop {
        match board.get(task) {
            Some(row) if done(&row) => return Some(row),
            Some(row) => last = Some(row),
            None => return last,
        }
        loop {
            match events.recv().await {
                Ok(event) if event.task != task => {}
                // Behind: look again.
                Ok(_) | Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => return last,
            }
        }
    }
}
