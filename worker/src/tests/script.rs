//! A scripted executor: controllers that do what the test says, and a list of what was called.

use crate::seam::{Adopted, AdoptedState, Controller, Executor, Exit, TaskRequest};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use wsw_api::usage::Usage;
use wsw_api::{ServiceId, TaskId, Time};
use wsw_runtime::{Capabilities, Error, Result, Started};

pub(crate) const PID: u32 = 7;

/// A guest that was told to end this way.
pub(crate) fn exit(code: u32, reason: Option<&str>) -> Exit {
    Exit { code, reason: reason.map(str::to_owned), ran: true, at: Time(0) }
}

/// One task's script and state.
pub(crate) struct Guest {
    task: TaskId,
    service: ServiceId,
    /// Errors that `prepare` answers with before it works.
    pub(crate) prepare_errors: Mutex<Vec<Error>>,
    pub(crate) start_errors: Mutex<Vec<Error>>,
    /// It does not end on SIGTERM.
    pub(crate) stubborn: Mutex<bool>,
    /// What its end leaves takes so long, in a turn that a signal needs too.
    pub(crate) tidying: Mutex<Duration>,
    pub(crate) exit: watch::Sender<Option<Exit>>,
    /// `prepare` answers once this is true.
    pub(crate) may_prepare: watch::Sender<bool>,
    started: Mutex<bool>,
}

/// See the module's page.
pub(crate) struct Script {
    guests: Mutex<BTreeMap<TaskId, Arc<Guest>>>,
    calls: watch::Sender<Vec<(&'static str, TaskId)>>,
    /// What `adopt` finds: tasks that are in `guests`.
    pub(crate) adoptable: Mutex<Vec<TaskId>>,
    turn: tokio::sync::Mutex<()>,
    busy: AtomicUsize,
    pub(crate) most_busy: AtomicUsize,
}

impl Script {
    pub(crate) fn new() -> Arc<Self> {
        let (guests, calls, adoptable) = (Mutex::default(), watch::Sender::default(), Mutex::default());
        Arc::new(Self { guests, calls, adoptable, turn: tokio::sync::Mutex::default(), busy: AtomicUsize::new(0), most_busy: AtomicUsize::new(0) })
    }

    /// The guest of a task, made when it is first asked for.
    pub(crate) fn guest(&self, task: TaskId, service: ServiceId) -> Arc<Guest> {
        let make = || {
            let (exit, may_prepare) = (watch::Sender::new(None), watch::Sender::new(true));
            Arc::new(Guest {
                task,
                service,
                prepare_errors: Mutex::default(),
                start_errors: Mutex::default(),
                stubborn: Mutex::default(),
                tidying: Mutex::default(),
                exit,
                may_prepare,
                started: Mutex::default(),
            })
        };
        Arc::clone(self.guests.lock().unwrap().entry(task).or_insert_with(make))
    }

    pub(crate) fn calls_of(&self, task: TaskId) -> Vec<&'static str> {
        self.calls.borrow().iter().filter(|(_, id)| *id == task).map(|(name, _)| *name).collect()
    }

    /// Waits until the call was made.
    pub(crate) async fn saw(&self, name: &'static str, task: TaskId) {
        self.calls.subscribe().wait_for(|calls| calls.contains(&(name, task))).await.unwrap();
    }

    pub(crate) fn forget_calls(&self) {
        self.calls.send_modify(Vec::clear);
    }

    fn call(&self, name: &'static str, task: TaskId) {
        self.calls.send_modify(|calls| calls.push((name, task)));
    }

    fn control(self: &Arc<Self>, task: TaskId, service: ServiceId) -> Arc<dyn Controller> {
        Arc::new(Control { script: Arc::clone(self), guest: self.guest(task, service) })
    }
}

struct Control {
    script: Arc<Script>,
    guest: Arc<Guest>,
}

/// The executor is a handle, so that two lives of a worker share one script.
pub(crate) struct Scripted(pub(crate) Arc<Script>);

#[async_trait]
impl Executor for Scripted {
    fn describe(&self) -> Capabilities {
        Capabilities { plugins: vec![("Runtime".into(), "scripted".into())], ..Capabilities::default() }
    }
    fn controller(&self, task: TaskRequest) -> Arc<dyn Controller> {
        self.0.control(task.task, task.service)
    }
    async fn adopt(&self) -> Vec<Adopted> {
        let found = std::mem::take(&mut *self.0.adoptable.lock().unwrap());
        let adopt = |task: TaskId| {
            let guest = self.0.guest(task, ServiceId::default());
            let state = match (&*guest.exit.borrow(), *guest.started.lock().unwrap()) {
                (Some(exit), _) => AdoptedState::Exited(exit.clone()),
                (None, true) => AdoptedState::Running(Started { pid: PID }),
                (None, false) => AdoptedState::Created,
            };
            Adopted { task, service: guest.service, slot: 1, template: 1, state, controller: self.0.control(task, guest.service) }
        };
        found.into_iter().map(adopt).collect()
    }
}

fn next_error(errors: &Mutex<Vec<Error>>) -> Result<()> {
    errors.lock().unwrap().pop().map_or(Ok(()), Err)
}

#[async_trait]
impl Controller for Control {
    async fn prepare(&self) -> Result<()> {
        let busy = self.script.busy.fetch_add(1, Ordering::SeqCst) + 1;
        self.script.most_busy.fetch_max(busy, Ordering::SeqCst);
        self.script.call("prepare", self.guest.task);
        tokio::task::yield_now().await;
        let _ = self.guest.may_prepare.subscribe().wait_for(|may| *may).await;
        self.script.busy.fetch_sub(1, Ordering::SeqCst);
        next_error(&self.guest.prepare_errors)
    }
    async fn start(&self) -> Result<Started> {
        self.script.call("start", self.guest.task);
        next_error(&self.guest.start_errors)?;
        *self.guest.started.lock().unwrap() = true;
        Ok(Started { pid: PID })
    }
    async fn wait(&self) -> Result<Exit> {
        let mut exit = self.guest.exit.subscribe();
        let exit = exit.wait_for(Option::is_some).await.map_err(|error| Error::ShimDied(error.to_string()))?.clone().unwrap();
        let _turn = self.script.turn.lock().await;
        let tidying = *self.guest.tidying.lock().unwrap();
        tokio::time::sleep(tidying).await;
        Ok(exit)
    }
    async fn shutdown(&self) -> Result<()> {
        self.script.call("shutdown", self.guest.task);
        if !*self.guest.stubborn.lock().unwrap() {
            self.guest.exit.send_replace(Some(exit(143, None)));
        }
        Ok(())
    }
    async fn terminate(&self) -> Result<()> {
        self.script.call("terminate", self.guest.task);
        let _turn = self.script.turn.lock().await;
        self.guest.exit.send_replace(Some(exit(137, None)));
        Ok(())
    }
    async fn kill(&self, signal: u32) -> Result<()> {
        self.script.call("kill", self.guest.task);
        self.guest.exit.send_replace(Some(exit(128 + signal, None)));
        Ok(())
    }
    async fn usage(&self) -> Result<Usage> {
        Ok(Usage { cpu_nanos: 1_000, memory_bytes: 2_000, memory_limit: None, pids: 1, ..Usage::default() })
    }
    async fn remove(&self) -> Result<()> {
        self.script.call("remove", self.guest.task);
        Ok(())
    }
    fn pid(&self) -> Option<u32> {
        self.guest.started.lock().unwrap().then_some(PID)
    }
}
