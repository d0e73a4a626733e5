//! One container's steps.
//!
//! ```text
//! prepare   layers → root mounted → network → bundle (record)
//! start     a shim of its service → Create → Start
//! wait      Wait → out of memory? → the end is written down → Delete → the rest of its output
//! remove    Kill and Delete if needed → network, root, volumes, bundle go
//! ```
//! Invariants: a step that was done answers the same again; an end is told once it is known and never changes; what a step made that failed is found by `remove`.

use super::bundle::{self, Record};
use super::client::Shim;
use super::exec::{self, Exec, Streams};
use super::groups::{Expected, Place, is_gone};
use super::logs::Pump;
use super::{Oci, cgroup, create, stdin, traffic, words};
use crate::error::{Error, Result};
use crate::executor::{Attached, Controller, Exit, Started, TaskRequest};
use crate::files;
use crate::images::Image;
use crate::shim::{Refusal, TaskState, now};
use crate::spec::args;
use crate::transfer::Inside;
use async_trait::async_trait;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use wsw_api::exec::{Command, Size};
use wsw_api::health::Check;
use wsw_api::network::Sandbox;
use wsw_api::usage::Usage;
use wsw_api::{ServiceId, TaskId, Time};

const SIGKILL: u32 = 9;
/// A task of which nothing runs any more although nobody saw its end.
const LOST: u32 = 137;
/// A start that takes longer waits for something else than the processor, say a shim that hangs: its place goes to another.
const PATIENCE: Duration = Duration::from_secs(2);
/// A killed process ends at once unless the kernel holds it.
const KILL_LIMIT: Duration = Duration::from_secs(30);

pub(super) struct Container {
    oci: Weak<Oci>,
    task: TaskId,
    service: ServiceId,
    state: Mutex<State>,
    /// One `prepare`, `start` or `remove` at a time.
    stepping: tokio::sync::Mutex<()>,
}

#[derive(Default)]
pub(super) struct State {
    /// Until it is started.
    pub request: Option<Box<(TaskRequest, Image)>>,
    /// Once it is prepared.
    pub record: Option<Record>,
    /// From its preparation until it has a place.
    pub expected: Option<Expected>,
    /// Until it has ended.
    pub place: Option<Place>,
    pub shim: Option<Arc<Shim>>,
    pub pump: Option<Pump>,
    pub created: bool,
    /// A later daemon took it up without an answer of its shim: whether it ever ran has to be asked.
    pub to_be_asked: bool,
    pub pid: Option<u32>,
    pub exit: Option<Exit>,
}

impl Container {
    pub(super) fn new(oci: Weak<Oci>, request: TaskRequest, image: Image) -> Self {
        let (task, service) = (request.task, request.service);
        Self::of(oci, task, service, State { request: Some(Box::new((request, image))), ..State::default() })
    }

    pub(super) fn of(oci: Weak<Oci>, task: TaskId, service: ServiceId, state: State) -> Self {
        Self { oci, task, service, state: Mutex::new(state), stepping: tokio::sync::Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn oci(&self) -> Result<Arc<Oci>> {
        self.oci.upgrade().ok_or_else(|| Error::Temporary("the runtime is closed".into()))
    }

    fn running(&self) -> Result<(Arc<Shim>, Record)> {
        let state = self.lock();
        match (&state.shim, &state.record, &state.exit) {
            (Some(shim), Some(record), None) => Ok((shim.clone(), record.clone())),
            _ => Err(Error::Refused("the task does not run".into())),
        }
    }

    async fn begin_in_turn(&self, oci: &Oci) -> Result<u32> {
        let slot = oci.starting.acquire().await.map_err(|_| Error::Temporary("the runtime is closed".into()))?;
        let mut begin = std::pin::pin!(self.begin(oci));
        tokio::select! {
            begun = &mut begin => return begun,
            () = tokio::time::sleep(PATIENCE) => drop(slot),
        }
        begin.await
    }

    async fn begin(&self, oci: &Oci) -> Result<u32> {
        let Some(mut record) = self.lock().record.clone() else { return Err(Error::Refused("the task is not prepared".into())) };
        let bundle = oci.bundles.path(self.task);
        let place = self.lock().place.take();
        let place = place.unwrap_or_else(|| oci.groups.join(&record.group, self.service));
        let group = place.group.clone();
        {
            let mut state = self.lock();
            (state.place, state.expected) = (Some(place), None);
        }
        let shim = group.shim(&record.runtime).await?;
        (record.started, record.group) = (true, group.name.clone());
        bundle::write_record(&bundle, &record)?;
        {
            let mut state = self.lock();
            state.shim = Some(shim.clone());
            state.record = Some(record.clone());
            if state.pump.is_none() {
                state.pump = Some(oci.pump(&record)?);
            }
        }
        let id = self.task.to_string();
        let (program, score) = self.lock().request.as_ref().map(|asked| of_first(asked)).unwrap_or_default();
        if !self.lock().created {
            match shim.create(create::request(&id, &bundle, &record, oci.tools.options(&record.runtime))).await {
                Ok(pid) => {
                    create::score(pid, score);
                    self.lock().created = true;
                }
                Err(refusal) => return Err(words::of_task("create", &program, refusal)),
            }
        }
        match shim.start(&id, "").await {
            Ok(pid) => Ok(pid),
            // An attempt whose answer was lost.
            Err(refusal) => match shim.state(&id).await {
                Ok(TaskState::Running { pid }) => Ok(pid),
                _ => Err(words::of_task("start", &program, refusal)),
            },
        }
    }

    /// Its end: written down, then the shim may forget it, then its output is whole.
    async fn ended(&self, oci: &Oci, shim: &Shim, answer: Result<(u32, Time), Refusal>) -> Result<Exit> {
        let id = self.task.to_string();
        let exit = match answer {
            Ok((code, at)) => {
                let reason = cgroup::killed_for_memory(&oci.tools, self.task).then(|| "out of memory: the memory limit was reached".to_owned());
                Exit { code, reason, ran: true, at }
            }
            Err(Refusal::Died(how)) => lost(format!("shim died: {how}")),
            Err(refusal) if is_gone(&refusal) => lost("its shim does not know it any more".into()),
            Err(refusal) => return Err(refusal.into()),
        };
        oci.services.take_out(self.service, self.task);
        oci.bundles.write_end(self.task, &exit)?;
        self.let_go(oci, shim, &id).await;
        let mut state = self.lock();
        Ok(state.exit.get_or_insert(exit).clone())
    }

    /// The shim forgets the task; a dead one's task is ended by other means. Output that is left is taken.
    async fn let_go(&self, oci: &Oci, shim: &Shim, id: &str) {
        match shim.delete(id, "").await {
            Ok(()) => {}
            Err(Refusal::Died(_)) => {
                let record = self.lock().record.clone();
                oci.bury(self.task, record.as_ref()).await;
            }
            Err(refusal) if is_gone(&refusal) => {}
            Err(refusal) => tracing::warn!(task = %self.task, error = %Error::from(refusal), "an ended container was not deleted"),
        }
        let (pump, place) = {
            let mut state = self.lock();
            state.shim = None;
            (state.pump.take(), state.place.take())
        };
        if let Some(pump) = pump {
            pump.finish().await;
        }
        if let Some(place) = place {
            oci.groups.leave(place).await;
        }
    }

    async fn end_of(&self, shim: &Shim) -> Result<(u32, Time), Refusal> {
        let id = self.task.to_string();
        let to_be_asked = self.lock().to_be_asked;
        if to_be_asked && matches!(shim.state(&id).await?, TaskState::Created) {
            return Err(Refusal::Status(ttrpc::Code::NOT_FOUND, "its start was cut off".into()));
        }
        self.lock().to_be_asked = false;
        shim.wait(&id, "").await
    }

    async fn signal(&self, signal: u32) -> Result<()> {
        let Ok((shim, _)) = self.running() else { return Ok(()) };
        match shim.kill(&self.task.to_string(), "", signal, false).await {
            // It has ended; `wait` tells.
            Ok(()) | Err(Refusal::Died(_)) => Ok(()),
            Err(refusal) if is_gone(&refusal) => Ok(()),
            Err(refusal) => Err(refusal.into()),
        }
    }
}

/// A task that is gone without anyone having seen its end.
pub(super) fn lost(reason: String) -> Exit {
    Exit { code: LOST, reason: Some(reason), ran: true, at: now() }
}

#[async_trait]
impl Controller for Container {
    async fn prepare(&self) -> Result<()> {
        let _step = self.stepping.lock().await;
        if self.lock().record.is_some() {
            return Ok(());
        }
        let Some(request) = self.lock().request.clone() else { return Ok(()) };
        let oci = self.oci()?;
        self.lock().expected.get_or_insert_with(|| oci.groups.expect(self.service));
        let record = create::prepare(&oci, &request.0, &request.1).await?;
        self.lock().record = Some(record);
        Ok(())
    }

    async fn start(&self) -> Result<Started> {
        let _step = self.stepping.lock().await;
        if let Some(pid) = self.pid() {
            return Ok(Started { pid });
        }
        let oci = self.oci()?;
        match self.begin_in_turn(&oci).await {
            Ok(pid) => {
                let mut state = self.lock();
                (state.pid, state.request) = (Some(pid), None);
                if let Some(record) = state.record.as_ref().filter(|record| record.check.is_none()) {
                    oci.services.put(self.service, self.task, record);
                }
                Ok(Started { pid })
            }
            Err(error) => {
                let shim = self.lock().shim.clone();
                if let Some(shim) = shim.filter(|_| !error.is_temporary()) {
                    self.let_go(&oci, &shim, &self.task.to_string()).await;
                }
                Err(error)
            }
        }
    }

    async fn wait(&self) -> Result<Exit> {
        let shim = {
            let state = self.lock();
            match (&state.exit, &state.shim) {
                (Some(exit), _) => return Ok(exit.clone()),
                (None, Some(shim)) => shim.clone(),
                (None, None) => return Err(Error::Refused("the task is not started".into())),
            }
        };
        let answer = self.end_of(&shim).await;
        if let Some(exit) = &self.lock().exit {
            return Ok(exit.clone());
        }
        self.ended(&*self.oci()?, &shim, answer).await
    }

    async fn shutdown(&self) -> Result<()> {
        let oci = self.oci()?;
        oci.services.take_out(self.service, self.task);
        let signal = self.lock().record.as_ref().map(|record| record.stop_signal);
        self.signal(signal.unwrap_or(SIGKILL)).await
    }

    async fn terminate(&self) -> Result<()> {
        self.oci()?.services.take_out(self.service, self.task);
        self.signal(SIGKILL).await
    }

    async fn kill(&self, signal: u32) -> Result<()> {
        let (shim, _) = self.running()?;
        match shim.kill(&self.task.to_string(), "", signal, false).await {
            Err(refusal) if is_gone(&refusal) => Err(Error::Conflict("its process has just ended".into())),
            done => Ok(done?),
        }
    }

    async fn usage(&self) -> Result<Usage> {
        let (shim, _) = self.running()?;
        let usage = shim.usage(&self.task.to_string()).await?;
        Ok(Usage { traffic: self.pid().and_then(traffic::of), ..usage })
    }

    fn check(&self) -> Option<Check> {
        self.lock().record.as_ref().and_then(|record| record.check.clone())
    }

    fn serve(&self) {
        let Ok((_, record)) = self.running() else { return };
        if let Ok(oci) = self.oci() {
            oci.services.put(self.service, self.task, &record);
        }
    }

    async fn pids(&self) -> Result<Option<Vec<u32>>> {
        let (shim, _) = self.running()?;
        Ok(Some(shim.pids(&self.task.to_string()).await?))
    }

    fn admits(&self) -> Result<()> {
        self.running().map(drop)
    }

    async fn exec(&self, id: &str, command: &Command, size: Option<Size>) -> Result<(Arc<Exec>, Streams)> {
        let (shim, record) = self.running()?;
        let (exec, streams) = Exec::start(&self.oci()?, shim, &record, id, command, size).await?;
        Ok((Arc::new(exec), streams))
    }

    async fn execs(&self) -> Vec<(String, Arc<Exec>)> {
        match (self.running(), self.oci()) {
            (Ok((shim, _)), Ok(oci)) => exec::adopt(&oci.bundles.path(self.task), &shim, &self.task.to_string()).await,
            _ => Vec::new(),
        }
    }

    async fn attach(&self, input: bool) -> Result<Option<Attached>> {
        let (_, record) = self.running()?;
        let output = self.lock().pump.as_ref().map(Pump::listen).ok_or_else(|| Error::Refused("the task does not run".into()))?;
        let input = if input && record.stdin { Some(stdin::open(&self.oci()?.bundles.path(self.task))?) } else { None };
        Ok(Some(Attached { input, output }))
    }

    async fn resize(&self, size: Size) -> Result<()> {
        let (shim, _) = self.running()?;
        Ok(shim.resize(&self.task.to_string(), "", size).await?)
    }

    async fn inside(&self) -> Result<Inside> {
        self.running()?;
        let pid = self.pid().ok_or_else(|| Error::Refused("the task does not run".into()))?;
        let (bundle, group) = (self.oci()?.bundles.path(self.task), self.task.to_string());
        files::blocking(move || {
            let config = bundle::read_config(&bundle)?;
            let id = |name: &str| config["process"]["user"][name].as_u64().and_then(|id| u32::try_from(id).ok()).unwrap_or_default();
            let user = Some((id("uid"), id("gid"))).filter(|user| *user != (0, 0));
            Inside::open(pid, &group, user)
        })
        .await?
    }

    async fn remove(&self) -> Result<()> {
        let _step = self.stepping.lock().await;
        let oci = self.oci()?;
        oci.services.take_out(self.service, self.task);
        let shim = self.lock().shim.clone();
        if let Some(shim) = shim {
            let id = self.task.to_string();
            self.signal(SIGKILL).await?;
            if self.pid().is_some() {
                let answer = tokio::time::timeout(KILL_LIMIT, shim.wait(&id, "")).await;
                let answer = answer.map_err(|_| Error::Temporary(format!("the container did not end within {} s of SIGKILL", KILL_LIMIT.as_secs())))?;
                self.ended(&oci, &shim, answer).await?;
            } else {
                self.let_go(&oci, &shim, &id).await;
            }
        }
        let place = {
            let mut state = self.lock();
            state.expected = None;
            state.place.take()
        };
        if let Some(place) = place {
            oci.groups.leave(place).await;
        }
        let address = self.lock().record.as_ref().and_then(|record| record.address);
        create::remove(&oci, self.task, address).await?;
        oci.tidy().await
    }

    fn pid(&self) -> Option<u32> {
        self.lock().pid
    }

    fn sandbox(&self) -> Option<Sandbox> {
        self.running().ok()?;
        self.oci().ok()?.network.as_ref()?.sandbox(self.task)
    }
}

/// The first program of a container, and its score.
fn of_first((request, image): &(TaskRequest, Image)) -> (String, i64) {
    let container = &request.spec.container;
    (args(container, image).into_iter().next().unwrap_or_default(), container.confinement.oom_score_adj)
}
