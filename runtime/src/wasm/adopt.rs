//! Taking up the tasks of an earlier life of the daemon.
//!
//! Owns: the reading of records against what the shims say. `State` is the truth; a record without a task in its shim is either an end
//! (its report says which), or a task whose shim died, or one that never got there. What nobody adopts stays for the worker to end.

use super::Wasm;
use super::controller::{TaskController, lost};
use crate::bundle::Record;
use crate::executor::{Adopted, AdoptedState, Exit, Started};
use crate::shim::{Lease, Refusal, TaskState, now};
use futures_util::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use ttrpc::Code;
use wsw_api::shim::ExitReport;

/// `State` calls under way at a time: they are answered from memory.
const ASKING: usize = 256;
/// From a task's report to its end is one step of the shim.
const LAST_MOMENT: Duration = Duration::from_secs(2);

pub(super) async fn adopt(wasm: &Wasm) -> Vec<Adopted> {
    wasm.bundles.unmount_debris().await;
    let records = match wasm.bundles.records().await {
        Ok(records) => records,
        Err(error) => {
            tracing::error!(%error, "cannot read the bundles");
            return Vec::new();
        }
    };
    let found = futures_util::stream::iter(records).map(|(record, report)| one(wasm, record, report)).buffer_unordered(ASKING);
    let adopted = found.filter_map(std::future::ready).collect().await;
    // Places are taken now: shims of older builds, and spare ones, that hold nothing can go.
    wasm.pool.end_idle(false).await;
    wasm.pool.sweep();
    wasm.volumes.settle();
    adopted
}

async fn one(wasm: &Wasm, record: Record, report: Option<ExitReport>) -> Option<Adopted> {
    wasm.volumes.adopt(record.task, &record.volumes);
    let lease = if record.boot == wasm.boot { wasm.pool.resume(record.shim, record.service, record.memory) } else { None };
    let (state, lease, pid) = match (report, lease) {
        // The report is written before the end is told: whatever the shim still says of it is over.
        (Some(report), lease) => {
            release(&record, lease).await;
            (AdoptedState::Exited(Exit { code: report.code, reason: report.reason, ran: report.ran, at: now() }), None, None)
        }
        (None, None) => (AdoptedState::Exited(lost("its shim ended while the daemon was away".into())), None, None),
        (None, Some(lease)) => ask(wasm, &record, lease).await?,
    };
    let exit = match &state {
        AdoptedState::Exited(exit) => Some(exit.clone()),
        _ => None,
    };
    let controller = Arc::new(TaskController::adopted(wasm, &record, lease, pid, exit));
    Some(Adopted { task: record.task, service: record.service, slot: record.slot, template: record.template, state, controller })
}

/// What the shim says of the task; none when it never got there, and the bundle goes.
async fn ask(wasm: &Wasm, record: &Record, lease: Lease) -> Option<(AdoptedState, Option<Lease>, Option<u32>)> {
    match lease.shim.state(&record.task.to_string()).await {
        Ok(TaskState::Created) => Some((AdoptedState::Created, Some(lease), None)),
        Ok(TaskState::Running { pid }) => Some((AdoptedState::Running(Started { pid }), Some(lease), Some(pid))),
        Ok(TaskState::Stopped { code, at }) => {
            let report = wasm.bundles.exit_report(record.shim, record.task).await;
            release(record, Some(lease)).await;
            let (reason, ran) = report.map_or((None, true), |report| (report.reason, report.ran));
            Some((AdoptedState::Exited(Exit { code, reason, ran, at }), None, None))
        }
        Err(refusal) if refusal.is(Code::NOT_FOUND) => {
            let freed = wasm.mounts.release(record.task, wasm.bundles.path(record.shim, record.task)).await;
            if let Err(error) = async { freed.and(wasm.bundles.remove(record.shim, record.task).await) }.await {
                tracing::warn!(task = %record.task, %error, "a bundle without a task was not removed");
            }
            None
        }
        Err(refusal) => Some((AdoptedState::Exited(lost(crate::Error::from(refusal).to_string())), None, None)),
    }
}

/// The shim may forget the task.
async fn release(record: &Record, lease: Option<Lease>) {
    let Some(lease) = lease else { return };
    let id = record.task.to_string();
    let deleted = match lease.shim.delete(&id).await {
        // The report is there a moment before the end.
        Err(refusal) if refusal.is(Code::FAILED_PRECONDITION) => {
            let _ = tokio::time::timeout(LAST_MOMENT, lease.shim.wait(&id)).await;
            lease.shim.delete(&id).await
        }
        other => other,
    };
    match deleted {
        Ok(()) | Err(Refusal::Died(_)) => {}
        Err(refusal) if refusal.is(Code::NOT_FOUND) => {}
        Err(refusal) => tracing::warn!(task = %record.task, error = %crate::Error::from(refusal), "an ended task was not deleted"),
    }
}
