//! One task's steps.
//!
//! Owns: what the task holds (its place in a shim, its readiness for connections) and the memory of its end. Invariants: a step that was
//! done answers the same again; the place is given back once, when the task has ended; an end is told once it is known and never changes.

use super::{Wasm, network, pull};
use crate::bundle::Record;
use crate::error::{Error, Result};
use crate::executor::{Controller, Exit, Started, TaskRequest};
use crate::images::{Image, InUse};
use crate::mounts::Mounts;
use crate::shim::{Group, Lease, Refusal, Shim, Wish, now};
use crate::spec;
use async_trait::async_trait;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use ttrpc::Code;
use wsw_api::labels::{self, WasmLabels};
use wsw_api::shim::ExitReport;
use wsw_api::usage::Usage;
use wsw_api::{ServiceId, TaskId, Time};

const SIGKILL: u32 = 9;
const SIGTERM: u32 = 15;
/// Shims that are asked before a task is told that there is no room: a full one, one that dies meanwhile, and one more.
const ATTEMPTS: usize = 3;
/// A task of which nothing runs any more although nobody saw its end.
const LOST: u32 = 137;
/// A killed guest is dropped at its next point of interruption; a host call may hold it for longer.
const KILL_LIMIT: Duration = Duration::from_secs(30);

pub(super) struct TaskController {
    wasm: Weak<Wasm>,
    task: TaskId,
    service: ServiceId,
    state: Mutex<State>,
    /// One `prepare`, `start` or `remove` at a time.
    stepping: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    /// Until it is prepared.
    request: Option<Box<TaskRequest>>,
    /// Its image, when that was found before.
    image: Option<Box<Image>>,
    /// Until it has ended.
    lease: Option<Lease>,
    /// As long: its compiled code stays.
    code: Option<InUse>,
    /// The number of the shim whose folder has its bundle.
    shim: Option<u32>,
    pid: Option<u32>,
    /// The shim's number while connections may come.
    ready: Option<u32>,
    exit: Option<Exit>,
}

impl TaskController {
    pub(super) fn new(wasm: Weak<Wasm>, request: TaskRequest) -> Self {
        let (task, service) = (request.task, request.service);
        let state = State { request: Some(Box::new(request)), ..State::default() };
        Self { wasm, task, service, state: Mutex::new(state), stepping: tokio::sync::Mutex::default() }
    }

    pub(super) fn of_image(wasm: Weak<Wasm>, request: TaskRequest, image: Image) -> Self {
        let this = Self::new(wasm, request);
        this.lock().image = Some(Box::new(image));
        this
    }

    /// A task of an earlier daemon: in a shim, or ended.
    pub(super) fn adopted(wasm: &Wasm, record: &Record, lease: Option<Lease>, pid: Option<u32>, exit: Option<Exit>) -> Self {
        let module = wasm.images.find(&record.image).map(|image| image.module_digest).ok().filter(|_| lease.is_some());
        let code = module.map(|module| wasm.images.hold_code(&module));
        let state = State { request: None, image: None, lease, code, shim: Some(record.shim), pid, ready: None, exit };
        let this =
            Self { wasm: wasm.me.clone(), task: record.task, service: record.service, state: Mutex::new(state), stepping: tokio::sync::Mutex::default() };
        if pid.is_some() {
            this.accept_connections(wasm);
        }
        this
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wasm(&self) -> Result<Arc<Wasm>> {
        self.wasm.upgrade().ok_or_else(|| Error::Temporary("the runtime is closed".into()))
    }

    fn shim(&self) -> Option<Arc<Shim>> {
        self.lock().lease.as_ref().map(|lease| lease.shim.clone())
    }

    fn accept_connections(&self, wasm: &Wasm) {
        let mut state = self.lock();
        let number = state.lease.as_ref().map(|lease| lease.shim.number);
        if let (None, Some(number)) = (state.ready, number) {
            state.ready = Some(number);
            wasm.services.add(self.service, number);
        }
    }

    fn refuse_connections(&self) {
        let ready = self.lock().ready.take();
        if let (Some(number), Some(wasm)) = (ready, self.wasm.upgrade()) {
            wasm.services.take_out(self.service, number);
        }
    }

    /// Finds a shim and creates the task in it.
    async fn create(&self, wasm: &Wasm, request: &TaskRequest, image: &Image) -> Result<(Lease, InUse)> {
        let labels = spec::labels(request)?;
        let (artifact, code) = wasm.images.artifact(image).await?;
        let mut found = Some(wasm.mounts.find(self.task, &request.spec.container).await?);
        let network = network::needed(request, image.wasm_kind);
        let id = self.task.to_string();
        let mut last = Error::Temporary("no room in any Wasm shim".into());
        for _ in 0..ATTEMPTS {
            let found = match found.take() {
                Some(found) => found,
                None => wasm.mounts.find(self.task, &request.spec.container).await?,
            };
            let opened = Mounts::opened(&found);
            // What it may open is fixed when a shim starts, so such a task shares none.
            let group = if opened.is_empty() { group(&labels, request) } else { Group::Own(self.task) };
            let lease = wasm.pool.take_with(Wish { group, network, service: self.service, memory: memory(request) }, opened).await?;
            let number = lease.shim.number;
            let path = wasm.bundles.path(number, self.task);
            let config = spec::runtime_spec(request, image, &labels, &artifact, &Mounts::plan(&found, &path)?)?;
            let (bundle, log) = (text(&path)?, text(&wasm.log_path(number, self.task))?);
            let record = self.record(wasm, request, &image.digest, number);
            // Of an attempt that was cut off.
            Mounts::clear(&path)?;
            self.lock().shim = Some(number);
            match wasm.bundles.write(record, config).await {
                Ok(()) => {}
                // It died meanwhile, and its folder went with it.
                Err(error) if lease.shim.life().is_over() => {
                    last = Error::Temporary(error.to_string());
                    continue;
                }
                Err(error) => return Err(error),
            }
            if let Err(error) = Mounts::put(found, path).await {
                self.remove_bundle(wasm).await?;
                return Err(error);
            }
            match lease.shim.create(&id, &bundle, &log).await {
                Ok(()) => return Ok((lease, code)),
                // An attempt whose answer was lost; its bundle was the same.
                Err(refusal) if refusal.is(Code::ALREADY_EXISTS) => return Ok((lease, code)),
                Err(refusal) if refusal.is(Code::RESOURCE_EXHAUSTED) => {
                    lease.refused();
                    last = Error::Temporary(Error::from(refusal).to_string());
                }
                Err(refusal @ Refusal::Died(_)) => last = refusal.into(),
                Err(refusal) => {
                    self.remove_bundle(wasm).await?;
                    return Err(refusal.into());
                }
            }
            self.remove_bundle(wasm).await?;
        }
        Err(last)
    }

    fn record(&self, wasm: &Wasm, request: &TaskRequest, image: &str, shim: u32) -> Record {
        Record {
            task: self.task,
            service: self.service,
            slot: request.slot,
            template: request.template,
            image: image.to_owned(),
            memory: memory(request),
            shim,
            api: containerd_shim_protos::TASK_API_VERSION as u32,
            boot: wasm.boot.clone(),
            volumes: wasm.mounts.volumes_of(self.task),
        }
    }

    /// Removes the bundle, where there is one.
    async fn remove_bundle(&self, wasm: &Wasm) -> Result<()> {
        let number = self.lock().shim;
        let Some(number) = number else { return wasm.volumes.release(self.task) };
        wasm.mounts.release(self.task, wasm.bundles.path(number, self.task)).await?;
        wasm.bundles.remove(number, self.task).await?;
        wasm.pool.sweep_one(number);
        self.lock().shim = None;
        Ok(())
    }

    /// The end as the shim told it, with what it wrote about it.
    async fn ended(&self, wasm: &Wasm, shim: &Shim, answer: Result<(u32, Time), Refusal>) -> Result<Exit> {
        let report = wasm.bundles.exit_report(shim.number, self.task).await;
        let exit = match (answer, report) {
            (Ok((code, at)), Some(ExitReport { reason, ran, .. })) => Exit { code, reason, ran, at },
            (Ok((code, at)), None) => Exit { code, reason: None, ran: true, at },
            // It ended before its shim did.
            (Err(Refusal::Died(_) | Refusal::Status(..)), Some(ExitReport { code, reason, ran })) => Exit { code, reason, ran, at: now() },
            (Err(Refusal::Died(how)), None) => lost(format!("shim died: {how}")),
            (Err(refusal), None) if refusal.is(Code::NOT_FOUND) => lost("its shim does not know it any more".into()),
            (Err(refusal), _) => return Err(refusal.into()),
        };
        self.refuse_connections();
        // The bundle tells its end from now on; the shim may forget it, and its place is free.
        if let Err(refusal @ Refusal::Silent(_)) = shim.delete(&self.task.to_string()).await {
            tracing::warn!(task = %self.task, error = %Error::from(refusal), "an ended task was not deleted");
        }
        Ok(self.keep(exit))
    }

    /// Remembers the first end that was told.
    fn keep(&self, exit: Exit) -> Exit {
        let mut state = self.lock();
        let held = (state.lease.take(), state.code.take());
        let exit = state.exit.get_or_insert(exit).clone();
        drop(state);
        drop(held);
        exit
    }

    async fn signal(&self, signal: u32) -> Result<()> {
        self.refuse_connections();
        let Some(shim) = self.shim() else { return Ok(()) };
        match shim.kill(&self.task.to_string(), signal).await {
            // It has ended; `wait` tells.
            Ok(()) | Err(Refusal::Died(_)) => Ok(()),
            Err(refusal) if refusal.is(Code::NOT_FOUND) || refusal.is(Code::FAILED_PRECONDITION) => Ok(()),
            Err(refusal) => Err(refusal.into()),
        }
    }
}

impl Drop for TaskController {
    fn drop(&mut self) {
        self.refuse_connections();
    }
}

/// A task that is gone without anyone having seen its end.
pub(super) fn lost(reason: String) -> Exit {
    Exit { code: LOST, reason: Some(reason), ran: true, at: now() }
}

fn group(labels: &WasmLabels, request: &TaskRequest) -> Group {
    match labels.group {
        labels::Group::Shared => Group::Shared,
        labels::Group::Service => Group::Service(request.service),
        labels::Group::Own => Group::Own(request.task),
    }
}

/// The task's memory limit.
fn memory(request: &TaskRequest) -> Option<u64> {
    Some(request.spec.resources.limits.memory_bytes).filter(|bytes| *bytes > 0)
}

fn text(path: &std::path::Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| Error::Invalid(format!("{}: the path is not UTF-8", path.display())))
}

#[async_trait]
impl Controller for TaskController {
    async fn prepare(&self) -> Result<()> {
        let _step = self.stepping.lock().await;
        let Some(request) = self.lock().request.clone() else { return Ok(()) };
        let wasm = self.wasm()?;
        // Before a place is taken: tasks that wait for a registry hold up nobody whose image is here.
        let known = self.lock().image.clone();
        let image = match known {
            Some(image) => *image,
            None => pull::image(&wasm.images, &request).await?,
        };
        if image.module_digest.is_empty() {
            return Err(Error::Unsupported(format!("{}; a Wasm shim does not run it", image.describe())));
        }
        let _slot = wasm.preparing.acquire().await.map_err(|_| Error::Temporary("the runtime is closed".into()))?;
        let (lease, code) = self.create(&wasm, &request, &image).await?;
        let mut state = self.lock();
        (state.lease, state.code) = (Some(lease), Some(code));
        state.request = None;
        Ok(())
    }

    async fn start(&self) -> Result<Started> {
        let _step = self.stepping.lock().await;
        if let Some(pid) = self.pid() {
            return Ok(Started { pid });
        }
        let shim = self.shim().ok_or_else(|| Error::Refused("the task is not prepared".into()))?;
        let id = self.task.to_string();
        let pid = match shim.start(&id).await {
            // An attempt whose answer was lost.
            Err(refusal) if refusal.is(Code::FAILED_PRECONDITION) => match shim.state(&id).await? {
                crate::shim::TaskState::Running { pid } => pid,
                _ => return Err(refusal.into()),
            },
            other => other?,
        };
        self.lock().pid = Some(pid);
        self.accept_connections(&*self.wasm()?);
        Ok(Started { pid })
    }

    async fn wait(&self) -> Result<Exit> {
        let shim = {
            let state = self.lock();
            match (&state.exit, &state.lease) {
                (Some(exit), _) => return Ok(exit.clone()),
                (None, Some(lease)) => lease.shim.clone(),
                (None, None) => return Err(Error::Refused("the task is not prepared".into())),
            }
        };
        let answer = shim.wait(&self.task.to_string()).await;
        if let Some(exit) = &self.lock().exit {
            return Ok(exit.clone());
        }
        self.ended(&*self.wasm()?, &shim, answer).await
    }

    async fn shutdown(&self) -> Result<()> {
        self.signal(SIGTERM).await
    }

    async fn terminate(&self) -> Result<()> {
        self.signal(SIGKILL).await
    }

    async fn kill(&self, signal: u32) -> Result<()> {
        let shim = self.shim().ok_or_else(|| Error::Refused("the task does not run".into()))?;
        shim.kill(&self.task.to_string(), signal).await?;
        // Only now: a signal that was refused ends nothing.
        self.refuse_connections();
        Ok(())
    }

    async fn usage(&self) -> Result<Usage> {
        let shim = self.shim().ok_or_else(|| Error::Refused("the task does not run".into()))?;
        Ok(shim.usage(&self.task.to_string()).await?)
    }

    async fn remove(&self) -> Result<()> {
        let _step = self.stepping.lock().await;
        let wasm = self.wasm()?;
        self.refuse_connections();
        if let Some(shim) = self.shim() {
            let id = self.task.to_string();
            self.signal(SIGKILL).await?;
            if self.pid().is_some() {
                let answer = tokio::time::timeout(KILL_LIMIT, shim.wait(&id)).await;
                let answer = answer.map_err(|_| Error::Temporary(format!("the task did not end within {} s of SIGKILL", KILL_LIMIT.as_secs())))?;
                self.ended(&wasm, &shim, answer).await?;
            } else {
                match shim.delete(&id).await {
                    Ok(()) | Err(Refusal::Died(_)) => {}
                    Err(refusal) if refusal.is(Code::NOT_FOUND) => {}
                    Err(refusal) => return Err(refusal.into()),
                }
                let held = {
                    let mut state = self.lock();
                    (state.lease.take(), state.code.take())
                };
                drop(held);
            }
        }
        self.remove_bundle(&wasm).await
    }

    fn pid(&self) -> Option<u32> {
        self.lock().pid
    }
}
