//! One live shim: its Task API as plain calls.
//!
//! Owns: the ttrpc connection, time limits, the translation of answers. Invariant: once the shim is dead every call, waiting or new,
//! ends with [`Refusal::Died`]. Never: decides what a task's answer means for the task.

use super::connection::Watched;
use super::handover::Handovers;
use super::process::{Place, Process};
use crate::error::{Error, Result};
use containerd_shim_protos::api;
use containerd_shim_protos::cgroups_v2::metrics::Metrics;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::shim_async::{Client, TaskClient};
use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use ttrpc::asynchronous::transport::Socket;
use ttrpc::context::{self, Context};
use ttrpc::{Code, Error as Rpc};
use wsw_api::Time;
use wsw_api::shim::Confinement;
use wsw_api::usage::Usage;

/// A call that is not answered for so long will not be: loading a 40 MB artefact from a slow disk is the slowest step.
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// A new process has this long until it listens.
const START_LIMIT: Duration = Duration::from_secs(10);
/// First and last pause between two attempts to connect; the pause doubles.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));
/// After a call failed on the connection, its closing is noticed within this.
const NOTICE_LIMIT: Duration = Duration::from_secs(2);

/// Why a call had no good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The shim's own status; the text is for the user.
    Status(Code, String),
    /// The process is gone; how.
    Died(String),
    /// It is there but does not answer.
    Silent(String),
}

impl Refusal {
    pub(crate) fn is(&self, wanted: Code) -> bool {
        matches!(self, Self::Status(code, _) if *code == wanted)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Status(_, text) => Self::Refused(text),
            Refusal::Died(how) => Self::ShimDied(format!("shim died: {how}")),
            Refusal::Silent(text) => Self::Temporary(text),
        }
    }
}

/// What `State` says of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TaskState {
    Created,
    Running { pid: u32 },
    Stopped { code: u32, at: Time },
}

/// A shim that answered `Connect`.
pub(crate) struct Shim {
    pub number: u32,
    pid: u32,
    confinement: Confinement,
    place: Place,
    tasks: TaskClient,
    life: Arc<Life>,
    handovers: Mutex<Option<Arc<Handovers>>>,
}

/// Whether it lives, and how it ended.
#[derive(Default)]
pub(crate) struct Life {
    dead: CancellationToken,
    how: OnceLock<String>,
}

impl Life {
    pub(crate) fn is_over(&self) -> bool {
        self.dead.is_cancelled()
    }

    /// Answers when the shim is dead.
    pub(crate) async fn ended(&self) -> String {
        self.dead.cancelled().await;
        self.how.get().cloned().unwrap_or_default()
    }
}

impl Shim {
    /// Waits until the process listens and answers. When it ends before, the error says how and quotes its log.
    pub(crate) async fn await_start(number: u32, place: Place, mut process: Process) -> Result<Self> {
        let connected = tokio::select! {
            connected = tokio::time::timeout(START_LIMIT, connect_soon(&place)) => {
                connected.map_err(|_| format!("it did not listen within {} s", START_LIMIT.as_secs()))
            }
            how = process.ended() => Err(how),
        };
        match connected {
            Ok(stream) => Self::attach(number, place, stream, process).await,
            Err(how) => {
                process.bury().await;
                let tail = place.log_tail();
                place.remove_sockets();
                Err(Error::Temporary(format!("Wasm shim {number} did not start: {how}{}{tail}", if tail.is_empty() { "" } else { ": " })))
            }
        }
    }

    /// Connects to the shim of an earlier daemon; none when nobody listens there.
    pub(crate) async fn reconnect(number: u32, place: Place, expected: Option<u32>) -> Option<Self> {
        let stream = UnixStream::connect(&place.socket).await.ok()?;
        let peer = stream.peer_cred().ok()?;
        if expected.is_some_and(|uid| uid != peer.uid()) {
            tracing::warn!(socket = %place.socket.display(), uid = peer.uid(), "a stranger listens on a shim's socket");
            return None;
        }
        let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != std::process::id());
        let process = pid.map_or(Process::None, Process::adopt);
        Self::attach(number, place, stream, process).await.ok()
    }

    async fn attach(number: u32, place: Place, stream: UnixStream, process: Process) -> Result<Self> {
        let closed = CancellationToken::new();
        let tasks = TaskClient::new(Client::new(Socket::new(Watched::new(stream, closed.clone()))));
        let life = Arc::new(Life::default());
        tokio::spawn(watch(closed, process, life.clone(), place.clone()));
        let mut shim = Self { number, pid: 0, confinement: Confinement::default(), place, tasks, life, handovers: Mutex::default() };
        let request = api::ConnectRequest::default();
        let answer = shim.call("Connect", shim.tasks.connect(limit(), &request)).await?;
        shim.pid = answer.shim_pid;
        shim.confinement = Confinement::parse(&answer.version);
        Ok(shim)
    }

    pub(crate) fn life(&self) -> &Arc<Life> {
        &self.life
    }

    /// Process id of the shim.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// What it says of its sandbox.
    pub(crate) fn confinement(&self) -> Confinement {
        self.confinement
    }

    /// The channel for connections, opened at its first use and again after it broke.
    pub(crate) fn handovers(&self) -> Result<Arc<Handovers>> {
        let mut open = self.handovers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handovers) = open.as_ref().filter(|handovers| !handovers.is_closed()) {
            return Ok(handovers.clone());
        }
        let handovers = Arc::new(Handovers::connect(&self.place.handover())?);
        *open = Some(handovers.clone());
        Ok(handovers)
    }

    /// Creates a task from its bundle; both streams go to the log.
    pub(crate) async fn create(&self, id: &str, bundle: &str, log: &str) -> Result<(), Refusal> {
        let streams = format!("{}{log}", wsw_api::shim::LOG_SCHEME);
        let request = api::CreateTaskRequest { id: id.into(), bundle: bundle.into(), stdout: streams.clone(), stderr: streams, ..Default::default() };
        self.call("Create", self.tasks.create(limit(), &request)).await.map(drop)
    }

    /// Starts it; answers the process id that runs it.
    pub(crate) async fn start(&self, id: &str) -> Result<u32, Refusal> {
        let request = api::StartRequest { id: id.into(), ..Default::default() };
        self.call("Start", self.tasks.start(limit(), &request)).await.map(|answer| answer.pid)
    }

    /// Answers when the task has ended: its code and when.
    pub(crate) async fn wait(&self, id: &str) -> Result<(u32, Time), Refusal> {
        let request = api::WaitRequest { id: id.into(), ..Default::default() };
        let answer = self.call("Wait", self.tasks.wait(Context::default(), &request)).await?;
        Ok((answer.exit_status, timestamp(answer.exited_at.as_ref().map(|at| (at.seconds, at.nanos)))))
    }

    pub(crate) async fn kill(&self, id: &str, signal: u32) -> Result<(), Refusal> {
        let request = api::KillRequest { id: id.into(), signal, all: true, ..Default::default() };
        self.call("Kill", self.tasks.kill(limit(), &request)).await.map(drop)
    }

    pub(crate) async fn delete(&self, id: &str) -> Result<(), Refusal> {
        let request = api::DeleteRequest { id: id.into(), ..Default::default() };
        self.call("Delete", self.tasks.delete(limit(), &request)).await.map(drop)
    }

    /// What the task uses, as cgroup v2 metrics.
    pub(crate) async fn usage(&self, id: &str) -> Result<Usage, Refusal> {
        let request = api::StatsRequest { id: id.into(), ..Default::default() };
        let answer = self.call("Stats", self.tasks.stats(limit(), &request)).await?;
        let metrics = answer.stats.as_ref().map(|any| Metrics::parse_from_bytes(&any.value)).transpose();
        let metrics = metrics.map_err(|error| Refusal::Silent(format!("Wasm shim {}: Stats: {error}", self.number)))?.unwrap_or_default();
        let (cpu, memory, pids) = (metrics.cpu.unwrap_or_default(), metrics.memory.unwrap_or_default(), metrics.pids.unwrap_or_default());
        Ok(Usage {
            read_bytes: 0,
            written_bytes: 0,
            traffic: None,
            cpu_nanos: cpu.usage_usec.saturating_mul(1_000),
            // A server without a request has no instance: what it holds is its code, which the kernel counts to a group's usage and our shim apart.
            memory_bytes: memory.usage.max(memory.file),
            // cgroup v2's word for "no limit".
            memory_limit: Some(memory.usage_limit).filter(|limit| *limit != 0 && *limit != u64::MAX),
            pids: pids.current,
        })
    }

    pub(crate) async fn state(&self, id: &str) -> Result<TaskState, Refusal> {
        let request = api::StateRequest { id: id.into(), ..Default::default() };
        let answer = self.call("State", self.tasks.state(limit(), &request)).await?;
        Ok(match answer.status.enum_value_or_default() {
            api::Status::CREATED => TaskState::Created,
            api::Status::STOPPED => TaskState::Stopped { code: answer.exit_status, at: timestamp(answer.exited_at.as_ref().map(|at| (at.seconds, at.nanos))) },
            _ => TaskState::Running { pid: answer.pid },
        })
    }

    /// Asks a shim without tasks to end. Its connection closes, and that is the answer.
    pub(crate) async fn shutdown(&self) {
        let request = api::ShutdownRequest { now: false, ..Default::default() };
        let _ = self.call("Shutdown", self.tasks.shutdown(limit(), &request)).await;
    }

    async fn call<T>(&self, name: &str, call: impl Future<Output = ttrpc::Result<T>>) -> Result<T, Refusal> {
        let result = tokio::select! {
            biased;
            result = call => result,
            () = self.life.dead.cancelled() => Err(Rpc::RemoteClosed),
        };
        let error = match result {
            Ok(answer) => return Ok(answer),
            Err(Rpc::RpcStatus(status)) if status.code() == Code::DEADLINE_EXCEEDED => {
                return Err(Refusal::Silent(format!("Wasm shim {} did not answer {name} within {} s", self.number, CALL_LIMIT.as_secs())));
            }
            Err(Rpc::RpcStatus(status)) => return Err(Refusal::Status(status.code(), status.message().to_owned())),
            Err(other) => other,
        };
        match tokio::time::timeout(NOTICE_LIMIT, self.life.ended()).await {
            Ok(how) => Err(Refusal::Died(how)),
            Err(_) => Err(Refusal::Silent(format!("Wasm shim {}: {name}: {error}", self.number))),
        }
    }
}

fn limit() -> Context {
    context::with_duration(CALL_LIMIT)
}

/// A moment of the Task API; none is now.
pub(crate) fn timestamp(at: Option<(i64, i32)>) -> Time {
    let nanos = at.and_then(|(seconds, nanos)| u64::try_from(seconds).ok()?.checked_mul(1_000_000_000)?.checked_add(u64::try_from(nanos).ok()?));
    nanos.map_or_else(now, Time)
}

/// The wall clock, for ends that nobody dated.
pub(crate) fn now() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

async fn connect_soon(place: &Place) -> UnixStream {
    let mut pause = PAUSES.0;
    loop {
        if let Ok(stream) = UnixStream::connect(&place.socket).await {
            return stream;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// A closed connection is a dead shim.
async fn watch(closed: CancellationToken, process: Process, life: Arc<Life>, place: Place) {
    closed.cancelled().await;
    let how = process.bury().await;
    let how = place.cgroup.killed().unwrap_or(how);
    place.remove_sockets();
    let _ = life.how.set(how);
    life.dead.cancel();
}
