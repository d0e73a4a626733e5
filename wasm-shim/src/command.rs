//! Running a command: one instance of a component's `wasi:cli/run` or of a module's `_start`.
//!
//! Owns: what the end of a guest means as an exit code and a reason. Invariant: a guest's future is dropped when the task is told to
//! stop, at its next yield; commands cannot be asked. One that serves connections of a published port is first given the time until
//! they end.

use crate::{
    guest::{ComponentGuest, MAX_RESOURCES, ModuleGuest},
    limits::MemoryLimitReached,
    linker::Linked,
    metered::{Metered, interrupt_by_epochs},
    modules::Program,
    task::{KILLED, NOT_STARTED, Stop, TRAPPED, Task},
};
use futures_util::FutureExt;
use std::{panic::AssertUnwindSafe, pin::Pin, sync::Arc};
use wasmtime::{Store, Trap, component::ResourceTableError};
use wasmtime_wasi::I32Exit;
use wsw_api::shim::ExitReport;

/// Code of a component's `run` that answers an error; wasi:cli has only ok and err.
const RUN_FAILED: u32 = 1;
/// Longest reason: it travels in the task's status.
const MAX_REASON: usize = 512;

/// A guest that runs, to be polled; small, because thousands sleep.
type Guest = Pin<Box<dyn Future<Output = ExitReport> + Send>>;

/// Runs the task to its end and finishes it.
pub async fn run(task: Arc<Task>, program: Arc<Program>) {
    let report = match guest(&task, &program) {
        Err(report) => report,
        Ok(guest) => tokio::select! {
            biased;
            stop = told_to_stop(&task) => stopped(stop),
            ended = AssertUnwindSafe(guest).catch_unwind() => ended.unwrap_or_else(|_| {
                ExitReport { code: TRAPPED, reason: Some("internal error of the shim while the guest ran".to_owned()), ran: true }
            }),
        },
    };
    drop(program);
    task.finish(explained(report, &task)).await;
}

/// A guest that gave up says only a number; which of its limits was hit before may be why.
fn explained(mut report: ExitReport, task: &Task) -> ExitReport {
    if report.code != 0 && report.reason.is_none() {
        report.reason = task.quota.hit().map(|full| full.to_string());
    }
    report
}

/// Ends when the guest is to be interrupted: at once, but for a server whose connections may go on until the grace period ends.
async fn told_to_stop(task: &Task) -> Stop {
    let stop = task.stopped().await;
    task.net.drain();
    match stop {
        Stop::Kill => Stop::Kill,
        Stop::Ask(_) => tokio::select! {
            biased;
            () = task.net.idle() => stop,
            () = task.killed() => Stop::Kill,
        },
    }
}

fn stopped(stop: Stop) -> ExitReport {
    ExitReport { code: stop.code(), reason: None, ran: true }
}

/// Makes the guest's store and the future that instantiates and runs it.
fn guest(task: &Task, program: &Program) -> Result<Guest, ExitReport> {
    let (ticker, cpu) = (program.engines().ticker().clone(), task.cpu.clone());
    match program.on_demand().map_err(|error| not_started(&error.to_string()))? {
        Linked::Module(pre) => {
            let pre = pre.clone();
            let mut store = Store::new(pre.module().engine(), ModuleGuest::new(task));
            store.limiter(|guest| &mut guest.limiter);
            interrupt_by_epochs(&mut store);
            let run = async move {
                let instance = pre.instantiate_async(&mut store).await.map_err(Ended::Instantiate)?;
                let start = instance.get_typed_func::<(), ()>(&mut store, "_start").map_err(Ended::Instantiate)?;
                start.call_async(&mut store, ()).await.map_err(Ended::Run)
            };
            Ok(Box::pin(Metered::new(run, ticker, cpu).map(|ended| report(ended.map(|()| 0)))))
        }
        Linked::Command(pre) => {
            let pre = pre.clone();
            let mut store = Store::new(pre.engine(), ComponentGuest::new(task));
            store.limiter(|guest| &mut guest.limiter);
            interrupt_by_epochs(&mut store);
            let run = async move {
                let command = pre.instantiate_async(&mut store).await.map_err(Ended::Instantiate)?;
                command.wasi_cli_run().call_run(&mut store).await.map_err(Ended::Run)
            };
            let code = |answer: Result<(), ()>| if answer.is_ok() { 0 } else { RUN_FAILED };
            Ok(Box::pin(Metered::new(run, ticker, cpu).map(move |ended| report(ended.map(code)))))
        }
        Linked::Http(_) => Err(not_started("a server is not run as a command")),
    }
}

/// Where the guest's run ended with an error.
enum Ended {
    Instantiate(wasmtime::Error),
    Run(wasmtime::Error),
}

fn report(ended: Result<u32, Ended>) -> ExitReport {
    match ended {
        Ok(code) => ExitReport { code, reason: None, ran: true },
        Err(Ended::Run(error)) => failed(&error),
        // A start function is guest code; so is a memory that is larger than the limit.
        Err(Ended::Instantiate(error)) if error.is::<Trap>() || error.is::<MemoryLimitReached>() || error.is::<I32Exit>() => failed(&error),
        Err(Ended::Instantiate(error)) => not_started(&format!("{error:#}")),
    }
}

fn failed(error: &wasmtime::Error) -> ExitReport {
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        // As a process's status: the low eight bits.
        return ExitReport { code: u32::from(exit.0.to_le_bytes()[0]), reason: None, ran: true };
    }
    let code = if error.is::<MemoryLimitReached>() { KILLED } else { TRAPPED };
    ExitReport { code, reason: Some(reason(error)), ran: true }
}

fn not_started(text: &str) -> ExitReport {
    ExitReport { code: NOT_STARTED, reason: Some(cut(&format!("cannot start: {text}"))), ran: false }
}

/// Why a guest ended, in a line: the limit or the trap, not the frames of its stack.
pub fn reason(error: &wasmtime::Error) -> String {
    if let Some(limit) = error.downcast_ref::<MemoryLimitReached>() {
        return limit.to_string();
    }
    if matches!(error.downcast_ref::<ResourceTableError>(), Some(ResourceTableError::Full)) {
        return format!("limit of {MAX_RESOURCES} resources of an instance reached");
    }
    match error.downcast_ref::<Trap>() {
        Some(trap) => trap.to_string(),
        None => cut(&error.root_cause().to_string()),
    }
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_REASON).collect()
}
