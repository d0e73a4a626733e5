//! containerd's Task API, version 3, over ttrpc.
//!
//! Owns: the translation between its messages and `tasks`. Invariants: no call waits for a guest or a disk that guests write to, except
//! `Wait`, which is there to wait. What a Wasm task cannot do answers UNIMPLEMENTED.

use crate::{
    stats,
    task::{Exit, Stop, Task},
    tasks::{self, CreateTask, Tasks},
};
use containerd_shim_protos::{
    api,
    protobuf::{EnumOrUnknown, MessageField, well_known_types::empty::Empty, well_known_types::timestamp::Timestamp},
    shim_async,
    types::task::{ProcessInfo, Status},
};
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::sync::mpsc;
use ttrpc::{Code, r#async::TtrpcContext};
use wsw_api::shim::Confinement;

/// Signals that ask a task to stop (HUP, INT, QUIT, ABRT, TERM); KILL ends it. Others mean nothing to a Wasm task.
const STOP_SIGNALS: [u8; 5] = [1, 2, 3, 6, 15];
const SIGKILL: u32 = 9;

/// The service.
pub struct TaskApi {
    tasks: Arc<Tasks>,
    /// `Shutdown` was asked for; the flag says "now".
    shutdown: mpsc::Sender<bool>,
    pid: u32,
    confinement: Confinement,
}

impl TaskApi {
    pub fn new(tasks: Arc<Tasks>, shutdown: mpsc::Sender<bool>, confinement: Confinement) -> Self {
        Self { tasks, shutdown, pid: std::process::id(), confinement }
    }
}

fn error(code: Code, text: impl Into<String>) -> ttrpc::Error {
    ttrpc::Error::RpcStatus(ttrpc::get_status(code, text.into()))
}

impl From<tasks::Error> for Refused {
    fn from(refused: tasks::Error) -> Self {
        let code = match &refused {
            tasks::Error::Exists(_) => Code::ALREADY_EXISTS,
            tasks::Error::NotFound(_) => Code::NOT_FOUND,
            tasks::Error::Full(_) => Code::RESOURCE_EXHAUSTED,
            tasks::Error::State { .. } | tasks::Error::Program(_) => Code::FAILED_PRECONDITION,
            tasks::Error::Invalid { .. } | tasks::Error::Bundle(_) => Code::INVALID_ARGUMENT,
        };
        Self(error(code, refused.to_string()))
    }
}

/// Carries a refusal of ours into ttrpc's error.
struct Refused(ttrpc::Error);

fn answer<T>(result: Result<T, tasks::Error>) -> ttrpc::Result<T> {
    result.map_err(|refused| Refused::from(refused).0)
}

fn unimplemented<T>(what: &str) -> ttrpc::Result<T> {
    Err(error(Code::UNIMPLEMENTED, format!("{what}: not possible for a Wasm task")))
}

/// Wasm tasks have one process, which has no exec id.
fn no_exec(exec_id: &str) -> ttrpc::Result<()> {
    if exec_id.is_empty() { Ok(()) } else { Err(error(Code::NOT_FOUND, format!("exec {exec_id}: not found"))) }
}

fn timestamp(at: SystemTime) -> MessageField<Timestamp> {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut stamp = Timestamp::new();
    stamp.seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    stamp.nanos = i32::try_from(since.subsec_nanos()).unwrap_or_default();
    MessageField::some(stamp)
}

fn status(task: &Task) -> Status {
    match (task.exit(), task.is_started()) {
        (Some(_), _) => Status::STOPPED,
        (None, true) => Status::RUNNING,
        (None, false) => Status::CREATED,
    }
}

#[async_trait::async_trait]
impl shim_async::Task for TaskApi {
    async fn connect(&self, _: &TtrpcContext, request: api::ConnectRequest) -> ttrpc::Result<api::ConnectResponse> {
        let mut response = api::ConnectResponse::new();
        response.shim_pid = self.pid;
        let confined = self.confinement.parts().map(|part| format!(" {part}")).collect::<String>();
        response.version = format!("{}{confined}", env!("CARGO_PKG_VERSION"));
        if !request.id.is_empty() && self.tasks.get(&request.id).is_ok() {
            response.task_pid = self.pid;
        }
        Ok(response)
    }

    async fn create(&self, _: &TtrpcContext, request: api::CreateTaskRequest) -> ttrpc::Result<api::CreateTaskResponse> {
        for (field, given) in [
            ("terminal", request.terminal),
            ("stdin", !request.stdin.is_empty()),
            ("checkpoint", !request.checkpoint.is_empty()),
            ("rootfs", !request.rootfs.is_empty()),
        ] {
            if given {
                return Err(error(Code::INVALID_ARGUMENT, format!("{field}: not possible for a Wasm task")));
            }
        }
        let create = CreateTask { id: request.id, bundle: request.bundle.into(), stdout: request.stdout, stderr: request.stderr };
        answer(self.tasks.create(create).await)?;
        let mut response = api::CreateTaskResponse::new();
        response.pid = self.pid;
        Ok(response)
    }

    async fn start(&self, _: &TtrpcContext, request: api::StartRequest) -> ttrpc::Result<api::StartResponse> {
        no_exec(&request.exec_id)?;
        answer(self.tasks.start(&request.id).await)?;
        let mut response = api::StartResponse::new();
        response.pid = self.pid;
        Ok(response)
    }

    async fn state(&self, _: &TtrpcContext, request: api::StateRequest) -> ttrpc::Result<api::StateResponse> {
        no_exec(&request.exec_id)?;
        let task = answer(self.tasks.get(&request.id))?;
        let mut response = api::StateResponse::new();
        response.id = task.id.clone();
        response.bundle = task.bundle.display().to_string();
        response.pid = self.pid;
        response.status = EnumOrUnknown::new(status(&task));
        response.stdout = task.stdout.clone();
        response.stderr = task.stderr.clone();
        if let Some(Exit { code, at }) = task.exit() {
            response.exit_status = *code;
            response.exited_at = timestamp(*at);
        }
        Ok(response)
    }

    async fn wait(&self, _: &TtrpcContext, request: api::WaitRequest) -> ttrpc::Result<api::WaitResponse> {
        no_exec(&request.exec_id)?;
        let task = answer(self.tasks.get(&request.id))?;
        let exit = task.wait().await;
        let mut response = api::WaitResponse::new();
        response.exit_status = exit.code;
        response.exited_at = timestamp(exit.at);
        Ok(response)
    }

    async fn kill(&self, _: &TtrpcContext, request: api::KillRequest) -> ttrpc::Result<Empty> {
        no_exec(&request.exec_id)?;
        let stop = match (request.signal, u8::try_from(request.signal)) {
            (SIGKILL, _) => Stop::Kill,
            (_, Ok(signal)) if STOP_SIGNALS.contains(&signal) => Stop::Ask(signal),
            (signal, _) => return Err(error(Code::INVALID_ARGUMENT, format!("signal {signal}: means nothing to a Wasm task"))),
        };
        answer(self.tasks.kill(&request.id, stop).await)?;
        Ok(Empty::new())
    }

    async fn delete(&self, _: &TtrpcContext, request: api::DeleteRequest) -> ttrpc::Result<api::DeleteResponse> {
        no_exec(&request.exec_id)?;
        let task = answer(self.tasks.delete(&request.id))?;
        let mut response = api::DeleteResponse::new();
        response.pid = self.pid;
        if let Some(Exit { code, at }) = task.exit() {
            response.exit_status = *code;
            response.exited_at = timestamp(*at);
        }
        Ok(response)
    }

    async fn pids(&self, _: &TtrpcContext, request: api::PidsRequest) -> ttrpc::Result<api::PidsResponse> {
        answer(self.tasks.get(&request.id))?;
        let mut info = ProcessInfo::new();
        info.pid = self.pid;
        let mut response = api::PidsResponse::new();
        response.processes = vec![info];
        Ok(response)
    }

    async fn stats(&self, _: &TtrpcContext, request: api::StatsRequest) -> ttrpc::Result<api::StatsResponse> {
        let task = answer(self.tasks.get(&request.id))?;
        let mut response = api::StatsResponse::new();
        let metrics = stats::of(&task).map_err(|wrong| error(Code::INTERNAL, wrong.to_string()))?;
        response.stats = MessageField::some(metrics);
        Ok(response)
    }

    async fn shutdown(&self, _: &TtrpcContext, request: api::ShutdownRequest) -> ttrpc::Result<Empty> {
        // As containerd's shims: without `now` a shim that still has tasks goes on, and that is no error.
        if request.now || self.tasks.is_empty() {
            let _ = self.shutdown.try_send(request.now);
        }
        Ok(Empty::new())
    }

    async fn pause(&self, _: &TtrpcContext, _: api::PauseRequest) -> ttrpc::Result<Empty> {
        unimplemented("Pause")
    }

    async fn resume(&self, _: &TtrpcContext, _: api::ResumeRequest) -> ttrpc::Result<Empty> {
        unimplemented("Resume")
    }

    async fn checkpoint(&self, _: &TtrpcContext, _: api::CheckpointTaskRequest) -> ttrpc::Result<Empty> {
        unimplemented("Checkpoint")
    }

    async fn exec(&self, _: &TtrpcContext, _: api::ExecProcessRequest) -> ttrpc::Result<Empty> {
        unimplemented("Exec")
    }

    async fn resize_pty(&self, _: &TtrpcContext, _: api::ResizePtyRequest) -> ttrpc::Result<Empty> {
        unimplemented("ResizePty")
    }

    async fn close_io(&self, _: &TtrpcContext, _: api::CloseIORequest) -> ttrpc::Result<Empty> {
        unimplemented("CloseIO")
    }

    async fn update(&self, _: &TtrpcContext, _: api::UpdateTaskRequest) -> ttrpc::Result<Empty> {
        unimplemented("Update")
    }
}
