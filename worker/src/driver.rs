//! Drives one task: carries out what [`crate::step`] decides and posts each state on the board.
//!
//! Owns: the calls to one controller, their retries, the grace period. Two small futures per task (the second waits for its end), no thread.
//! Invariants: at most [`MAX_CALLS`] preparations, as many starts and [`MAX_STOPS`] stops are under way on the node; a stop never
//! waits behind a start; the bundle is removed only when the end is safe on disk or the task is not wanted any more.
//! Never: decides, writes to disk, talks to the leader.

use crate::board::Board;
use crate::clock;
use crate::health::Doctor;
use crate::seam::{Controller, Exit};
use crate::step::{Action, Event, Facts, Stop, step};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use wsw_api::event::What;
use wsw_api::health::State;
use wsw_api::{DesiredState, TaskId, TaskState, TaskStatus};
use wsw_runtime::Error;

/// Preparations under way at once, and starts (counted apart: a prepared task is not queued behind 10,000 preparations). Enough to keep every core and the shims' sockets busy, few enough that 10,000
/// tasks do not hold 10,000 half-written bundles.
const MAX_CALLS: usize = 64;
/// Stops under way at once; more than starts, for a stop also ends new connections and must not be late.
const MAX_STOPS: usize = 256;
/// Attempts of one call that fails for a temporary reason. With the pauses below: half a minute.
const MAX_ATTEMPTS: u32 = 8;
/// First pause between attempts; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(8);
/// What a stop sends first, and last.
const SIGTERM: u32 = 15;
const SIGKILL: u32 = 9;
/// How long SIGKILL may take before it is sent again.
const KILL_PAUSE: Duration = Duration::from_secs(10);

/// The node's bounds on executor calls, shared by all drivers.
#[derive(Debug)]
pub struct Calls {
    preparations: Arc<Semaphore>,
    starts: Semaphore,
    stops: Semaphore,
}

impl Default for Calls {
    fn default() -> Self {
        Self { preparations: Arc::new(Semaphore::new(MAX_CALLS)), starts: Semaphore::new(MAX_CALLS), stops: Semaphore::new(MAX_STOPS) }
    }
}

impl Calls {
    /// Frees what a task holds, with retries; an error that stays is logged, the runtime's next start finds the rest.
    pub async fn remove(&self, task: TaskId, controller: &dyn Controller) {
        for attempt in 1..=MAX_ATTEMPTS {
            let permit = self.stops.acquire().await;
            let result = controller.remove().await;
            drop(permit);
            match result {
                Err(error) if error.is_temporary() && attempt < MAX_ATTEMPTS => tokio::time::sleep(pause(attempt)).await,
                Err(error) => return tracing::warn!(%task, %error, "what the task held could not be freed"),
                Ok(()) => return,
            }
        }
    }
}

/// What the agent wants of the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    pub desired: DesiredState,
    /// The node leaves: end it without a grace period.
    pub kill: bool,
    /// Its end is committed and on disk, or nobody wants to know it: the bundle may go.
    pub settled: bool,
}

/// Everything one driver needs.
pub struct Driver {
    pub task: TaskId,
    pub controller: Arc<dyn Controller>,
    /// Where it stands at the start: assigned, or what adoption found.
    pub state: TaskState,
    /// Adoption found it started, although it was not healthy yet.
    pub up: bool,
    /// Between SIGTERM and SIGKILL.
    pub grace: Duration,
    pub want: watch::Receiver<Want>,
    pub board: Arc<Board>,
    pub calls: Arc<Calls>,
}

/// moby's reason of an end.
const UNHEALTHY: &str = "unhealthy container";

type Call<T> = BoxFuture<'static, Result<T, Error>>;

/// A driver at work.
struct Run {
    driver: Driver,
    facts: Facts,
    /// Attempts of the call that is being made.
    attempt: u32,
    deadline: Option<Instant>,
    /// A preparation that was not waited for to its end.
    preparing: Option<Call<()>>,
    /// A task of its own: who waits for the end also takes away what is left, and holds turns for that which a signal in the meantime may be in need of.
    waiting: Option<AbortOnDropHandle<Result<Exit, Error>>>,
    exit: Option<Exit>,
    error: Option<Error>,
    pid: Option<u32>,
    /// Checks its health.
    doctor: Option<Doctor>,
}

impl Driver {
    /// Runs the task to its end and frees what it held; answers with its id for the agent's bookkeeping.
    pub async fn run(self) -> TaskId {
        let task = self.task;
        let want = *self.want.borrow();
        let up = self.up || self.state == TaskState::Running;
        let facts = Facts { state: self.state, desired: want.desired, kill: want.kill, stop: Stop::No, health: State::Healthy, up };
        let pid = self.controller.pid();
        let mut run = Run { driver: self, facts, attempt: 0, deadline: None, preparing: None, waiting: None, exit: None, error: None, pid, doctor: None };
        if up {
            run.examine();
        }
        if run.facts.state == TaskState::Running {
            run.driver.controller.serve();
        }
        run.drive().await;
        run.clean_up().await;
        task
    }
}

impl Run {
    async fn drive(&mut self) {
        let mut event = Event::Look;
        loop {
            self.read_want();
            event = match step(&self.facts, event) {
                Action::Enter(state, message) => self.enter(state, message),
                Action::Prepare => self.prepare().await,
                Action::Start => self.start().await,
                Action::Shutdown => self.stop(Stop::Asked, self.driver.grace).await,
                Action::Terminate => self.stop(Stop::Killed, KILL_PAUSE).await,
                Action::Retry => self.pause().await,
                Action::Rest => self.rest().await,
                Action::End(state, message) => return self.end(state, message),
            };
        }
    }

    fn read_want(&mut self) {
        let want = *self.driver.want.borrow_and_update();
        self.facts.desired = want.desired;
        self.facts.kill = want.kill;
    }

    fn enter(&mut self, state: TaskState, message: &str) -> Event {
        self.facts.state = state;
        self.attempt = 0;
        if state == TaskState::Running {
            self.driver.controller.serve();
        }
        let status = TaskStatus { pid: self.pid, ..TaskStatus::new(state, clock::now(), message) };
        self.driver.board.post(self.driver.task, status);
        Event::Look
    }

    fn end(&mut self, state: TaskState, message: &str) {
        self.facts.state = state;
        let at = clock::now();
        let mut status = TaskStatus::new(state, at, message);
        if let Some(exit) = &self.exit {
            status.exit_code = Some(exit.code);
            // A guest that ended while the daemon was away ended then, not now.
            status.at = if exit.at.0 > 0 { exit.at.min(at) } else { at };
        } else if let Some(Error::NotStarted { code, .. }) = &self.error {
            status.exit_code = Some(*code);
        }
        status.err = self.reason(state).into();
        self.driver.board.post(self.driver.task, status);
    }

    fn reason(&self, state: TaskState) -> String {
        match (&self.exit, &self.error) {
            (Some(exit), _) => exit_text(exit, state),
            (None, Some(error)) if state != TaskState::Shutdown => error.to_string(),
            _ => String::new(),
        }
    }

    async fn prepare(&mut self) -> Event {
        let mut call = match self.preparing.take() {
            Some(call) => call,
            None => {
                let permit = tokio::select! {
                    permit = Arc::clone(&self.driver.calls.preparations).acquire_owned() => permit,
                    _ = changed(&mut self.driver.want) => return Event::Look,
                };
                let controller = Arc::clone(&self.driver.controller);
                Box::pin(async move {
                    let _permit = permit;
                    controller.prepare().await
                })
            }
        };
        tokio::select! {
            result = &mut call => self.outcome(result.map(|()| Event::Prepared)),
            _ = changed(&mut self.driver.want) => {
                self.preparing = Some(call);
                Event::Look
            }
        }
    }

    /// Not interrupted: a start that is under way is finished, then the task is stopped.
    async fn start(&mut self) -> Event {
        let permit = tokio::select! {
            permit = self.driver.calls.starts.acquire() => permit,
            _ = changed(&mut self.driver.want) => return Event::Look,
        };
        let result = self.driver.controller.start().await;
        drop(permit);
        let result = result.map(|started| self.pid = Some(started.pid));
        if result.is_ok() {
            self.facts.up = true;
            self.examine();
        }
        self.outcome(result.map(|()| Event::Started))
    }

    /// A task with a health check is looked after from its start to its end.
    fn examine(&mut self) {
        if let Some(check) = self.driver.controller.check() {
            // One that runs was healthy; what it is now shows.
            self.facts.health = if self.facts.state == TaskState::Running { State::Healthy } else { State::Starting };
            self.doctor = Some(Doctor::start(&self.driver.board, self.driver.task, check));
        }
    }

    async fn stop(&mut self, how: Stop, patience: Duration) -> Event {
        self.facts.stop = how;
        let permit = self.driver.calls.stops.acquire().await;
        let result = if how == Stop::Asked { self.driver.controller.shutdown().await } else { self.driver.controller.terminate().await };
        drop(permit);
        self.driver.board.tell(self.driver.task, What::Signalled(if how == Stop::Asked { SIGTERM } else { SIGKILL }));
        if let Err(error) = result {
            // The exit, or SIGKILL when the time is over, decides; a signal that did not arrive is only worth a line.
            tracing::debug!(task = %self.driver.task, %error, "signal not delivered");
        }
        self.deadline = Some(Instant::now() + patience);
        Event::Look
    }

    async fn pause(&mut self) -> Event {
        tokio::select! {
            () = tokio::time::sleep(pause(self.attempt)) => {}
            _ = changed(&mut self.driver.want) => {}
        }
        Event::Look
    }

    async fn rest(&mut self) -> Event {
        if !self.facts.up {
            changed(&mut self.driver.want).await;
            return Event::Look;
        }
        let call = self.waiting.get_or_insert_with(|| {
            let controller = Arc::clone(&self.driver.controller);
            AbortOnDropHandle::new(tokio::spawn(async move { controller.wait().await }))
        });
        let overdue = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let said = async {
            match &mut self.doctor {
                Some(doctor) => doctor.said().await,
                None => std::future::pending().await,
            }
        };
        let result = tokio::select! {
            result = call => result.unwrap_or_else(|broken| Err(Error::Temporary(format!("waiting for its end: {broken}")))),
            state = said => {
                self.facts.health = state;
                if state == State::Unhealthy {
                    // It ends, whatever a later probe would say.
                    self.doctor = None;
                }
                return Event::Look;
            }
            () = overdue => {
                self.deadline = None;
                return Event::Overdue;
            }
            _ = changed(&mut self.driver.want) => return Event::Look,
        };
        self.waiting = None;
        self.doctor = None;
        match result {
            Ok(mut exit) => {
                if self.facts.health == State::Unhealthy && exit.reason.is_none() {
                    exit.reason = Some(UNHEALTHY.into());
                }
                let (failed, ran) = (exit.code != 0 || !exit.ran, exit.ran);
                self.exit = Some(exit);
                Event::Exited { failed, ran }
            }
            Err(error) => self.outcome(Err(error)),
        }
    }

    fn outcome(&mut self, result: Result<Event, Error>) -> Event {
        match result {
            Ok(event) => {
                self.attempt = 0;
                self.error = None;
                event
            }
            Err(error) => {
                self.attempt += 1;
                let again = error.is_temporary() && self.attempt < MAX_ATTEMPTS;
                self.error = Some(error);
                Event::Error { again }
            }
        }
    }

    async fn clean_up(&mut self) {
        self.waiting = None;
        self.doctor = None;
        if let Some(preparing) = self.preparing.take() {
            // Whether it worked does not matter; what it made is removed below.
            let _ = preparing.await;
        }
        // An agent that is gone leaves the bundle to the next life of the daemon.
        if self.driver.want.wait_for(|want| want.settled || want.kill).await.is_ok() {
            self.driver.calls.remove(self.driver.task, &*self.driver.controller).await;
        }
    }
}

/// The next change of what is wanted; never, when the agent is gone (tasks outlive it).
async fn changed(want: &mut watch::Receiver<Want>) {
    if want.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn pause(attempt: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << attempt.saturating_sub(1).min(10)).min(MAX_PAUSE)
}

/// SwarmKit's words, and which limit or trap it was.
fn exit_text(exit: &Exit, state: TaskState) -> String {
    let text = match (state, exit.code, exit.ran) {
        (TaskState::Failed, _, true) => format!("task: non-zero exit ({})", exit.code),
        (TaskState::Failed, _, false) => String::new(),
        _ => return String::new(),
    };
    match exit.reason.as_deref() {
        Some(reason) if text.is_empty() => reason.to_owned(),
        Some(reason) => format!("{text}: {reason}"),
        None if text.is_empty() => format!("task: non-zero exit ({})", exit.code),
        None => text,
    }
}
