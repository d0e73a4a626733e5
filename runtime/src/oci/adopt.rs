//! Taking up the containers of an earlier life of the daemon, and removing what is nobody's.
//!
//! Owns: the reading of records against what the shims say. `State` is the truth. A task that was prepared and never created is begun again by the worker, so what was made of it goes;
//! one whose shim is dead is ended; one whose shim does not answer at once counts as running until the shim answers or is given up, and holds up nothing. Folders, mounts, namespaces, links, control groups and shims without a record go.

use super::bundle::Record;
use super::controller::{Container, State, lost};
use super::{Oci, cgroup, create, rootfs};
use crate::executor::{Adopted, AdoptedState, Exit, Started};
use crate::mounts::kernel;
use crate::shim::TaskState;
use futures_util::StreamExt;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;
use wsw_api::TaskId;

/// Where shims for runc keep its states, by namespace.
const STATES: &str = "/run/containerd/runc";
/// `delete` takes some 20 ms, on a busy machine a second.
const DELETE_LIMIT: Duration = Duration::from_secs(10);
/// What is not said by then is asked later.
const AT_ONCE: Duration = Duration::from_secs(2);
/// Records that are looked at at a time: each may run a program.
const ASKING: usize = 16;

pub(super) async fn adopt(oci: &Arc<Oci>) -> Vec<Adopted> {
    let (records, debris) = oci.bundles.scan();
    for (record, _) in &records {
        oci.wasm.volumes().adopt(record.task, &record.volumes);
        if let (Some(network), Some(address)) = (&oci.network, record.address) {
            network.adopt(record.task, address);
        }
    }
    let kept = records.iter().map(|(record, _)| record.task).collect::<BTreeSet<_>>();
    let found = futures_util::stream::iter(records).map(|(record, end)| one(oci, record, end)).buffer_unordered(ASKING);
    let adopted = found.filter_map(std::future::ready).collect::<Vec<_>>().await;
    for folder in debris {
        for point in kernel::mounted_below(&folder) {
            let _ = kernel::detach(&point);
        }
        if let Err(error) = crate::files::remove_tree(&folder) {
            tracing::warn!(path = %folder.display(), %error, "what a dead container left was not removed");
        }
    }
    sweep(oci, &kept).await;
    adopted
}

async fn sweep(oci: &Arc<Oci>, kept: &BTreeSet<TaskId>) {
    oci.groups.sweep().await;
    forgotten(oci, kept).await;
    let (own, kept) = (oci.clone(), kept.clone());
    let done = crate::files::blocking(move || {
        let names = kept.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        if let Some(network) = &own.network {
            network.sweep(&kept);
        }
        cgroup::sweep(&own.tools, |name| names.contains(name), |folder| own.wasm.is_cgroup(folder));
        for entry in std::fs::read_dir(&own.writable).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_none_or(|name| !names.contains(name)) {
                let gone = rootfs::remove(&own.writable.join(".none"), &entry.path());
                gone.unwrap_or_else(|error| tracing::warn!(%error, "what a dead container wrote was not removed"));
            }
        }
    });
    if let Err(error) = done.await {
        tracing::warn!(%error, "what dead containers left was not looked for");
    }
}

/// Containers that runc knows and no bundle: no shim will ever delete them.
async fn forgotten(oci: &Arc<Oci>, kept: &BTreeSet<TaskId>) {
    let root = Path::new(STATES).join(&oci.tools.namespace);
    for entry in std::fs::read_dir(&root).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if kept.iter().any(|task| task.to_string() == name) {
            continue;
        }
        let mut command = Command::new(&oci.tools.beneath.program);
        command.arg("--root").arg(&root).args(["delete", "--force", &name]).env_clear().env("PATH", &oci.tools.path);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let ended = tokio::time::timeout(DELETE_LIMIT, command.status()).await;
        if !matches!(ended, Ok(Ok(status)) if status.success()) {
            tracing::warn!(container = name, "a container that nobody knows was not deleted");
        }
    }
}

async fn one(oci: &Arc<Oci>, record: Record, end: Option<Exit>) -> Option<Adopted> {
    let mut state = State { record: Some(record.clone()), created: true, ..State::default() };
    let found = match end {
        // Written down before the shim was told: it may still know the task.
        Some(end) => {
            forget(oci, &record).await;
            AdoptedState::Exited(end)
        }
        None if record.boot != oci.boot => AdoptedState::Exited(lost("the machine was restarted".into())),
        None => ask(oci, &record, &mut state).await?,
    };
    if let AdoptedState::Exited(exit) = &found {
        state.exit = Some(exit.clone());
    }
    if let AdoptedState::Running(started) = &found {
        state.pid = Some(started.pid);
        if record.check.is_none() {
            oci.services.put(record.service, record.task, &record);
        }
    }
    let controller = Arc::new(Container::of(Arc::downgrade(oci), record.task, record.service, state));
    Some(Adopted { task: record.task, service: record.service, slot: record.slot, template: record.template, state: found, controller })
}

/// What the shim says; none for a task that never got there: all of it goes.
async fn ask(oci: &Arc<Oci>, record: &Record, state: &mut State) -> Option<AdoptedState> {
    let id = record.task.to_string();
    if !record.started {
        clear(oci, record).await;
        return None;
    }
    let place = oci.groups.rejoin(&record.group);
    let Some(shim) = place.group.resume().await else {
        oci.groups.leave(place).await;
        oci.bury(record.task, Some(record)).await;
        return Some(AdoptedState::Exited(lost("shim died: its process ended while the daemon was away".into())));
    };
    let asked = async { if shim.is_doubtful() { None } else { tokio::time::timeout(AT_ONCE, shim.state(&id)).await.ok() } };
    let Some(said) = asked.await else {
        state.pump = oci.pump(record).ok();
        (state.shim, state.place, state.to_be_asked) = (Some(shim), Some(place), true);
        return Some(AdoptedState::Running(Started { pid: oci.bundles.pid(record.task) }));
    };
    let found = match said {
        Ok(TaskState::Running { pid }) => AdoptedState::Running(Started { pid }),
        Ok(TaskState::Stopped { code, at }) => AdoptedState::Exited(Exit { code, reason: None, ran: true, at }),
        // Not started, or not even created.
        _ => {
            let _ = shim.delete(&id, "").await;
            oci.groups.leave(place).await;
            clear(oci, record).await;
            return None;
        }
    };
    match oci.pump(record) {
        Ok(pump) => state.pump = Some(pump),
        Err(error) => tracing::warn!(task = %record.task, %error, "a container's output cannot be read"),
    }
    if let AdoptedState::Exited(exit) = &found {
        let reason = cgroup::killed_for_memory(&oci.tools, record.task).then(|| "out of memory: the memory limit was reached".to_owned());
        let exit = Exit { reason, ..exit.clone() };
        if let Err(error) = oci.bundles.write_end(record.task, &exit) {
            tracing::warn!(task = %record.task, %error, "a container's end was not written down");
        }
        let _ = shim.delete(&id, "").await;
        if let Some(pump) = state.pump.take() {
            pump.finish().await;
        }
        oci.groups.leave(place).await;
        return Some(AdoptedState::Exited(exit));
    }
    (state.shim, state.place) = (Some(shim), Some(place));
    Some(found)
}

async fn forget(oci: &Arc<Oci>, record: &Record) {
    let place = oci.groups.rejoin(&record.group);
    let shim = place.group.resume().await;
    if shim.as_ref().is_some_and(|shim| shim.is_doubtful()) {
        oci.bury(record.task, Some(record)).await;
    } else if let Some(shim) = shim {
        let _ = shim.delete(&record.task.to_string(), "").await;
        if let Ok(pump) = oci.pump(record) {
            pump.finish().await;
        }
    }
    oci.groups.leave(place).await;
}

async fn clear(oci: &Arc<Oci>, record: &Record) {
    if let Err(error) = create::remove(oci, record.task, record.address).await {
        tracing::warn!(task = %record.task, %error, "what was made for a container was not removed");
    }
}
