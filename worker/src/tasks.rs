//! The tasks of this node: the set, its drivers, its file.
//!
//! Owns: what happens when the set changes, a driver ends or a write is over. Invariants: stops go to the drivers at once, starts
//! when the assignment is on disk; a task is started once, whatever is said twice; an ended one is never started again, not by a
//! restart of the daemon either; a removed one is forgotten (row, record, log) once it has ended.
//! Never: speaks to the leader. Called by [`crate::agent`], its only owner.

use crate::board::Board;
use crate::clock;
use crate::disk::{Disk, Written};
use crate::driver::{Calls, Driver, Want};
use crate::execs;
use crate::ingress;
use crate::logs::place::{self, log_path};
use crate::relay::Relay;
use crate::seam::{Adopted, AdoptedState, Controller, Executor, TaskRequest};
use crate::session::Sent;
use crate::set::{Assigned, Set};
use crate::store::{Loaded, Record, StoredTask};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use wsw_api::session::{AssignedTask, Assignments};
use wsw_api::{NodeId, TaskId, TaskState, TaskStatus};

/// Who this node is, for requests.
#[derive(Debug, Clone)]
pub struct Place {
    pub node: NodeId,
    pub hostname: String,
    /// Folder of the log files.
    pub logs: PathBuf,
    /// What is known of other nodes goes there.
    pub relay: Arc<Relay>,
}

/// What ended.
#[derive(Debug)]
pub enum Work {
    Written(Written),
    Ended(TaskId),
}

/// See the module's page.
pub struct Tasks {
    pub set: Set,
    pub disk: Disk,
    place: Place,
    board: Arc<Board>,
    executor: Arc<dyn Executor>,
    calls: Arc<Calls>,
    drivers: JoinSet<TaskId>,
    wants: BTreeMap<TaskId, watch::Sender<Want>>,
    /// Bundles that nobody wants, on their way out.
    reapers: JoinSet<()>,
    /// The node leaves: nothing starts any more.
    leaving: bool,
}

impl Tasks {
    /// Takes over what the disk remembers; nothing runs yet.
    pub fn new(place: Place, board: Arc<Board>, executor: Arc<dyn Executor>, disk: Disk, loaded: Loaded) -> Self {
        for (id, row) in &loaded.tasks {
            let wanted = loaded.set.tasks.get(id).is_some_and(|entry| entry.desired().wants_run());
            board.restore(row.local(TaskStatus::new(TaskState::Assigned, row.created, "assigned")), wanted);
            if let Some(template) = loaded.set.template(&row.task) {
                board.set_template(*id, template);
            }
        }
        place.relay.routes().restore(&loaded.set);
        let (drivers, reapers, wants) = (JoinSet::new(), JoinSet::new(), BTreeMap::new());
        Self { set: loaded.set, disk, place, board, executor, calls: Arc::default(), drivers, wants, reapers, leaving: false }
    }

    /// Finds what an earlier life of the daemon left running, and drives everything on from there.
    pub async fn adopt(&mut self) {
        let mut found: BTreeMap<TaskId, Adopted> = self.executor.adopt().await.into_iter().map(|adopted| (adopted.task, adopted)).collect();
        let tasks: Vec<(TaskId, Assigned)> = self.set.tasks.iter().map(|(id, entry)| (*id, entry.clone())).collect();
        for (id, entry) in &tasks {
            let Some(row) = self.board.get(*id) else { continue };
            // An ended task's bundle stays in `found` and is reaped below: its end is on disk.
            let live = row.status.state.is_live();
            match live.then(|| found.remove(id)).flatten() {
                Some(adopted) => self.resume(entry, &row.status, adopted),
                None if !live => {}
                None if row.status.state == TaskState::Running => self.lost(*id),
                None => self.drive(&entry.task, None, TaskState::Assigned),
            }
            if self.wants.contains_key(id) {
                continue;
            }
            if entry.removed { self.forget(*id) } else { self.settle(*id) }
        }
        self.board.requeue(tasks.iter().map(|(id, _)| *id));
        for (task, adopted) in found {
            tracing::info!(%task, "ending a task that is not assigned to this node or has ended");
            self.reap(task, adopted.controller);
        }
        self.kick();
    }

    fn resume(&mut self, entry: &Assigned, known: &TaskStatus, adopted: Adopted) {
        let state = match adopted.state {
            // Preparing again answers the same again; then it waits or starts as its desired state says.
            AdoptedState::Created => TaskState::Preparing,
            AdoptedState::Running(_) if known.state < TaskState::Running && adopted.controller.check().is_some() => TaskState::Starting,
            AdoptedState::Running(started) => {
                if known.state != TaskState::Running {
                    let status = TaskStatus { pid: Some(started.pid), ..TaskStatus::new(TaskState::Running, clock::now(), "started") };
                    self.board.post(adopted.task, status);
                }
                TaskState::Running
            }
            // `wait` answers at once.
            AdoptedState::Exited(_) => TaskState::Running,
        };
        self.drive(&entry.task, Some(adopted.controller), state);
        let (board, task) = (Arc::clone(&self.board), adopted.task);
        tokio::spawn(async move { execs::take_up(&board, task).await });
    }

    /// It ran, and there is no trace of it: the machine was restarted.
    fn lost(&mut self, id: TaskId) {
        let mut status = TaskStatus::new(TaskState::Failed, clock::now(), "started");
        status.err = "task: lost when the node was restarted".into();
        self.board.post(id, status);
    }

    fn reap(&mut self, task: TaskId, controller: Arc<dyn Controller>) {
        let calls = Arc::clone(&self.calls);
        self.reapers.spawn(async move { calls.remove(task, &*controller).await });
    }

    /// Takes over a set or a difference; true when published ports changed.
    pub fn apply(&mut self, frame: Assignments) -> bool {
        let change = self.set.apply(frame);
        if change.is_empty() {
            return false;
        }
        for id in &change.changed {
            self.push_want(*id);
        }
        for id in &change.added {
            if let Some(entry) = self.set.tasks.get(id) {
                self.board.add(&entry.task, entry.desired().wants_run());
            }
        }
        let endpoints = change.touches_endpoints();
        self.place.relay.routes().apply(&change);
        let rows: Vec<StoredTask> = change.added.iter().chain(&change.changed).filter_map(|id| self.stored(*id)).collect();
        let batch = self.disk.batch();
        if !batch.record.forgotten.is_empty() {
            let again: BTreeSet<TaskId> = change.added.iter().copied().collect();
            batch.record.forgotten.retain(|id| !again.contains(id));
        }
        batch.record.templates.extend(change.templates);
        batch.record.tasks.extend(rows);
        batch.record.removed_endpoints.retain(|id| !change.endpoints.iter().any(|row| row.service == *id));
        batch.record.endpoints.retain(|row| !change.removed_endpoints.contains(&row.service));
        batch.record.endpoints.extend(change.endpoints);
        batch.record.removed_endpoints.extend(change.removed_endpoints);
        batch.record.removed_peers.retain(|id| !change.peers.iter().any(|row| row.node == *id));
        batch.record.peers.retain(|row| !change.removed_peers.contains(&row.node));
        batch.record.peers.extend(change.peers);
        batch.record.removed_peers.extend(change.removed_peers);
        batch.start.extend(change.added);
        for id in change.changed {
            let ended = !self.wants.contains_key(&id) && self.board.get(id).is_none_or(|row| !row.status.state.is_live());
            if ended && self.set.tasks.get(&id).is_some_and(|entry| entry.removed) {
                self.forget(id);
            }
        }
        self.kick();
        endpoints
    }

    fn push_want(&self, id: TaskId) {
        let Some(entry) = self.set.tasks.get(&id) else { return };
        self.board.set_wanted(id, entry.desired().wants_run());
        if let Some(want) = self.wants.get(&id) {
            want.send_modify(|want| {
                want.desired = entry.desired();
                want.settled |= entry.removed;
            });
        }
    }

    /// A write is over: starts what waited for it.
    pub fn written(&mut self, written: Written) {
        let start = if self.leaving { Vec::new() } else { written.start };
        for id in start {
            let entry = self.set.tasks.get(&id).filter(|_| !self.wants.contains_key(&id)).cloned();
            let live = self.board.get(id).is_some_and(|row| row.status.state.is_live());
            if let Some(entry) = entry.filter(|_| live) {
                self.drive(&entry.task, None, TaskState::Assigned);
            }
        }
        for id in written.settle {
            if let Some(want) = self.wants.get(&id) {
                want.send_modify(|want| want.settled = true);
            }
        }
    }

    fn drive(&mut self, task: &AssignedTask, controller: Option<Arc<dyn Controller>>, state: TaskState) {
        let Some(template) = self.set.template(task).cloned() else {
            let mut status = TaskStatus::new(TaskState::Rejected, clock::now(), "preparing");
            status.err = format!("template {} of service {} did not arrive with the task", task.template, task.service).into();
            self.board.post(task.id, status);
            controller.into_iter().for_each(|controller| self.reap(task.id, controller));
            return;
        };
        let grace = Duration::from_nanos(template.spec.container.stop_grace());
        self.board.set_template(task.id, &template);
        let up = controller.is_some() && state >= TaskState::Starting;
        let controller = controller.unwrap_or_else(|| {
            self.executor.controller(TaskRequest {
                task: task.id,
                service: task.service,
                service_name: template.annotations.name.clone(),
                service_labels: template.annotations.labels.clone(),
                slot: task.slot,
                generic: task.generic.clone(),
                node: self.place.node,
                hostname: self.place.hostname.clone(),
                template: task.template,
                spec: Arc::clone(&template.spec),
                ports: template.endpoint.ports.clone(),
                auth: self.set.auths.get(&task.service).cloned(),
            })
        });
        let entry = self.set.tasks.get(&task.id);
        let (desired, removed) = entry.map_or((task.desired, false), |entry| (entry.desired(), entry.removed));
        let (sender, want) = watch::channel(Want { desired, kill: false, settled: removed });
        self.wants.insert(task.id, sender);
        self.board.hands.put(task.id, Arc::clone(&controller));
        let (board, calls) = (Arc::clone(&self.board), Arc::clone(&self.calls));
        self.drivers.spawn(Driver { task: task.id, controller, state, up, grace, want, board, calls }.run());
    }

    /// True when some of the ports depend on what runs here.
    pub fn has_host_ports(&self) -> bool {
        self.set.templates.values().any(|template| ingress::host_ports(template).next().is_some())
    }

    /// The ports that this node should serve now.
    pub fn table(&self) -> ingress::Table {
        let running = if self.has_host_ports() { self.board.running() } else { Vec::new() };
        let keys = running.iter().filter_map(|id| self.set.tasks.get(id)).map(|entry| (entry.task.service, entry.task.template));
        let keys: BTreeSet<_> = keys.collect();
        ingress::table(&self.set.endpoints, keys.iter().filter_map(|key| self.set.templates.get(key)).map(|template| &**template))
    }

    /// The leader has these statuses in its log: the disk should remember them too, then ended tasks let go of their bundles.
    pub fn committed(&mut self, sent: &Sent) {
        for row in self.board.committed(sent) {
            if let Some(stored) = self.stored(row.id) {
                self.disk.batch().record.tasks.push(stored);
                if !row.status.state.is_live() {
                    self.disk.batch().settle.push(row.id);
                }
            }
        }
        self.kick();
    }

    /// Writes the end of a task that has no driver (any more).
    fn settle(&mut self, id: TaskId) {
        let stored = self.stored(id);
        self.disk.batch().record.tasks.extend(stored);
    }

    /// A user removes what is left of an ended task; the disk remembers it.
    pub fn put_away(&mut self, id: TaskId) {
        if self.board.put_away(id) {
            self.settle(id);
            self.kick();
        }
    }

    /// The next write or driver that is over; pending for ever while there is none.
    pub async fn work(&mut self) -> Work {
        let Self { disk, drivers, .. } = self;
        tokio::select! {
            written = disk.written() => Work::Written(written),
            id = next_ended(drivers) => Work::Ended(id),
        }
    }

    /// A driver is through.
    pub fn driver_done(&mut self, id: TaskId) {
        self.wants.remove(&id);
        self.board.hands.take(id);
        self.board.execs.forget(id);
        self.board.wards.forget(id);
        while self.reapers.try_join_next().is_some() {}
        if self.set.tasks.get(&id).is_some_and(|entry| entry.removed) {
            self.forget(id);
            self.kick();
        }
    }

    fn forget(&mut self, id: TaskId) {
        self.set.forget(id);
        self.board.forget(id);
        let log = log_path(&self.place.logs, id);
        let batch = self.disk.batch();
        // It may be among the record's tasks, too: what is forgotten counts last.
        batch.record.forgotten.push(id);
        batch.delete.push(log);
    }

    /// Writes what has gathered, unless a write is under way (its end calls this again).
    pub fn kick(&mut self) {
        let Self { disk, set, board, .. } = self;
        disk.kick(|| Record {
            templates: set.templates.values().cloned().collect(),
            tasks: set.tasks.values().filter_map(|entry| stored(board, entry)).collect(),
            endpoints: set.endpoints.values().cloned().collect(),
            peers: set.peers.values().cloned().collect(),
            ..Record::default()
        });
    }

    fn stored(&self, id: TaskId) -> Option<StoredTask> {
        self.set.tasks.get(&id).and_then(|entry| stored(&self.board, entry))
    }

    /// Ends everything at once, without a grace period; [`Self::is_idle`] says when it is done.
    pub fn kill_all(&mut self) {
        self.leaving = true;
        self.disk.batch().start.clear();
        for (id, want) in &self.wants {
            self.board.set_wanted(*id, false);
            want.send_modify(|want| want.kill = true);
        }
    }

    /// True when nothing runs any more.
    pub fn is_idle(&self) -> bool {
        self.drivers.is_empty()
    }

    /// Removes the assignments and all logs: the node is no part of the swarm any more.
    pub async fn wipe(self) {
        let (assignments, logs) = (self.disk.folder().to_owned(), self.place.logs.clone());
        drop(self);
        let removal = tokio::task::spawn_blocking(move || remove_dir_all(&assignments).and_then(|()| place::remove_all(&logs)));
        match removal.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "assignments or logs were not removed"),
            Err(error) => tracing::error!(%error, "assignments or logs were not removed"),
        }
    }

    /// Waits for bundles on their way out.
    pub async fn reaped(&mut self) {
        while self.reapers.join_next().await.is_some() {}
    }
}

async fn next_ended(drivers: &mut JoinSet<TaskId>) -> TaskId {
    loop {
        match drivers.join_next().await {
            Some(Ok(id)) => return id,
            Some(Err(error)) => tracing::error!(%error, "a task's driver ended with an error"),
            None => return std::future::pending().await,
        }
    }
}

fn stored(board: &Board, entry: &Assigned) -> Option<StoredTask> {
    let row = board.get(entry.task.id)?;
    let status = (row.status.state >= TaskState::Running).then_some(row.status);
    Some(StoredTask {
        task: entry.task.clone(),
        removed: entry.removed,
        status,
        created: row.created,
        started: row.started,
        finished: row.finished,
        put_away: row.put_away,
    })
}

fn remove_dir_all(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
