//! Which shim a task goes to.
//!
//! Owns: the shims of this node, how many tasks each has, when one more is started and when one is ended.
//! Invariants: a task's place (its [`Lease`]) is taken before the shim hears of it and given back when it has ended; a shim of another
//! engine, contract or group is never chosen; a shim that is being ended is never chosen.
//! Never: knows what a task is beyond its service.

use super::cgroup::{Budget, Cgroups};
use super::client::Shim;
use super::process::{HOMES, Opened, Orders, Place, Process, SOCKETS};
use super::record::{self, Record};
use crate::error::{Error, Result};
use crate::files;
use crate::program::Program;
use crate::users::User;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::SetOnce;
use wsw_api::shim::{CONTRACT, Confinement, Network};
use wsw_api::{ServiceId, TaskId};

/// Services whose shims died twice within this time get shims of their own.
const SUSPICION: Duration = Duration::from_secs(600);
/// A shim without tasks is gone within this after it was told to end.
const END_LIMIT: Duration = Duration::from_secs(2);
/// Services that are watched after deaths at the same time; the oldest is forgotten first.
const MAX_SUSPECTS: usize = 4_096;

/// Who shares a shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Group {
    Shared,
    Service(ServiceId),
    Own(TaskId),
}

/// What a task asks of its shim.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    pub group: Group,
    pub network: Network,
    pub service: ServiceId,
    /// Its memory limit in bytes.
    pub memory: Option<u64>,
}

/// What the pool has to know.
pub(crate) struct Settings {
    pub program: Arc<Program>,
    pub user: Option<User>,
    /// `<exec root>/wasm`: records. The sockets are in `s/` below it, the shims' own folders in `x/`.
    pub folder: PathBuf,
    /// The tasks' logs, one folder per shim.
    pub logs: PathBuf,
    /// Compiled code.
    pub code: PathBuf,
    /// None without root, and where they cannot be had.
    pub cgroups: Option<Cgroups>,
    /// What a shim gets of its sandbox here.
    pub confinement: Confinement,
    pub engine_key: String,
    pub capacity: u32,
    pub boot: String,
}

/// A shim that comes up, and what became of it.
type Starting = Arc<SetOnce<Result<Arc<Shim>>>>;

/// The shims of this node.
pub(crate) struct Pool {
    settings: Settings,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u32,
    shims: BTreeMap<u32, Entry>,
    /// Deaths of shims by the services that they held.
    deaths: BTreeMap<ServiceId, (u32, Instant)>,
}

struct Entry {
    group: Group,
    network: Network,
    /// Made by this build: takes new tasks.
    current: bool,
    /// No new tasks: it is being ended.
    ending: bool,
    /// Tasks by service.
    tasks: BTreeMap<ServiceId, u32>,
    /// What their memory limits add up to.
    budget: Budget,
    /// Tasks that it takes; lowered when it says that it is full.
    room: u32,
    /// Set once it answered, or failed to.
    shim: Starting,
}

impl Entry {
    fn count(&self) -> u32 {
        self.tasks.values().sum()
    }

    /// A new task of these can come.
    fn takes(&self, group: Group, network: Network) -> bool {
        self.current && !self.ending && (self.group, self.network) == (group, network) && self.count() < self.room
    }

    fn live(&self) -> Option<&Arc<Shim>> {
        self.shim.get()?.as_ref().ok()
    }
}

/// One task's place in a shim.
pub(crate) struct Lease {
    pool: Arc<Pool>,
    service: ServiceId,
    memory: Option<u64>,
    pub shim: Arc<Shim>,
}

impl Lease {
    /// The shim said that it has no room, whatever our count says.
    pub(crate) fn refused(self) {
        let mut state = self.pool.lock();
        if let Some(entry) = state.shims.get_mut(&self.shim.number) {
            // Without this place; and at least one, or a shim that refuses everything would be started again for ever.
            entry.room = entry.count().saturating_sub(1).max(1);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.give_back(self.shim.number, self.service, self.memory);
    }
}

impl Pool {
    /// Makes the folders. The sockets' folder belongs to the shims' user, the records' does not.
    pub(crate) fn open(settings: Settings) -> Result<Arc<Self>> {
        files::folder(&settings.folder, 0o711)?;
        files::folder(&settings.folder.join(HOMES), 0o711)?;
        let sockets = settings.folder.join(SOCKETS);
        files::folder(&sockets, 0o700)?;
        if let Some(user) = settings.user {
            std::os::unix::fs::chown(&sockets, Some(user.uid), Some(user.gid)).map_err(|e| Error::io(format_args!("chown {}", sockets.display()), &e))?;
        }
        Ok(Arc::new(Self { settings, state: Mutex::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, number: u32) -> Place {
        let mut place = Place::new(&self.settings.folder, &self.settings.logs, number);
        if let Some(cgroups) = &self.settings.cgroups {
            place.cgroup = cgroups.at(number);
        }
        place
    }

    /// Takes up the shims of an earlier daemon. Those that do not answer are forgotten.
    pub(crate) async fn reconnect(self: &Arc<Self>) {
        // A number that any file has is not used again: a new shim must not find an older one's tasks or logs in its folders.
        for folder in [&self.settings.folder.join(HOMES), &self.settings.logs] {
            files::numbered(folder).into_iter().for_each(|number| self.skip_number(number));
        }
        for record in record::read_all(&self.settings.folder) {
            let place = self.place(record.number);
            let expected = self.settings.user.map_or_else(|| rustix::process::geteuid().as_raw(), |user| user.uid);
            let same_boot = record.boot == self.settings.boot;
            let shim = if same_boot { Shim::reconnect(record.number, place.clone(), Some(expected)).await } else { None };
            let number = record.number;
            self.skip_number(number);
            let Some(shim) = shim.map(Arc::new) else {
                tracing::warn!(shim = record.number, "a shim of an earlier daemon is gone");
                place.remove_sockets();
                record::remove(&self.settings.folder, number);
                continue;
            };
            let current = record.engine == self.settings.engine_key && record.contract == CONTRACT;
            let cell = Arc::new(SetOnce::new_with(Some(Ok(shim.clone()))));
            let Record { group, network, capacity, .. } = record;
            let entry = Entry { group, network, current, ending: false, tasks: BTreeMap::new(), budget: Budget::default(), room: capacity, shim: cell };
            self.lock().shims.insert(record.number, entry);
            self.watch(&shim);
        }
    }

    /// The process is gone. Its folders stay while there is something in them.
    fn forget(&self, number: u32) {
        record::remove(&self.settings.folder, number);
        self.place(number).remove_empty();
    }

    /// Removes the empty folders of shims that are gone.
    pub(crate) fn sweep(&self) {
        let numbers = [&self.settings.folder.join(HOMES), &self.settings.logs].map(|folder| files::numbered(folder)).concat();
        numbers.into_iter().for_each(|number| self.sweep_one(number));
        if let Some(cgroups) = &self.settings.cgroups {
            cgroups.sweep(|number| self.lock().shims.contains_key(&number));
        }
    }

    /// The same for one, whose last task may have gone.
    pub(crate) fn sweep_one(&self, number: u32) {
        // One that comes up is in the table, too.
        if !self.lock().shims.contains_key(&number) {
            self.place(number).remove_empty();
        }
    }

    fn skip_number(&self, number: u32) {
        let mut state = self.lock();
        state.next = state.next.max(number);
    }

    /// A place for a task that already is in a shim.
    pub(crate) fn resume(self: &Arc<Self>, number: u32, service: ServiceId, memory: Option<u64>) -> Option<Lease> {
        let mut state = self.lock();
        let entry = state.shims.get_mut(&number)?;
        let shim = entry.live()?.clone();
        self.count(number, entry, service, memory);
        Some(Lease { pool: self.clone(), service, memory, shim })
    }

    /// A place for a task that opens no folder where it is, without a memory limit.
    #[cfg(test)]
    pub(crate) async fn take(self: &Arc<Self>, group: Group, network: Network, service: ServiceId) -> Result<Lease> {
        self.take_with(Wish { group, network, service, memory: None }, Vec::new()).await
    }

    /// A place for a new task; starts a shim when none has room. All that wait for the same start share its outcome. `folders` are those
    /// that the task opens where they are: a new shim may open them for its life, so the group must be the task's own.
    pub(crate) async fn take_with(self: &Arc<Self>, wish: Wish, folders: Vec<Opened>) -> Result<Lease> {
        let Wish { service, memory, .. } = wish;
        let (number, cell) = self.choose(wish, folders);
        // Until the lease exists, the place is given back by this guard: the caller may go away.
        let guard = Reserved { pool: self, number, service, memory, armed: true };
        let shim = cell.wait().await.clone()?;
        Ok(guard.into_lease(shim))
    }

    fn choose(self: &Arc<Self>, wish: Wish, folders: Vec<Opened>) -> (u32, Starting) {
        let Wish { group, network, service, memory } = wish;
        let mut state = self.lock();
        let suspected = state.deaths.get(&service).is_some_and(|(deaths, last)| *deaths > 1 && last.elapsed() < SUSPICION);
        let group = if suspected && group == Group::Shared { Group::Service(service) } else { group };
        let fits = |entry: &Entry| entry.takes(group, network);
        let number = match state.shims.iter().find(|(_, entry)| fits(entry)) {
            Some((number, _)) => *number,
            None => {
                state.next += 1;
                let number = state.next;
                let (room, cell) = (self.settings.capacity, Starting::default());
                state.shims.insert(
                    number,
                    Entry { group, network, current: true, ending: false, tasks: BTreeMap::new(), budget: Budget::default(), room, shim: cell.clone() },
                );
                // On a task of its own: whoever waits may go away, the process is there all the same.
                let pool = self.clone();
                tokio::spawn(async move {
                    let started = pool.start(number, group, network, &folders).await;
                    if started.is_err() {
                        pool.lock().shims.remove(&number);
                        pool.forget(number);
                    }
                    let _ = cell.set(started);
                    if let Some(entry) = pool.lock().shims.get(&number) {
                        pool.adjust(number, entry);
                    }
                });
                number
            }
        };
        let cell = state.shims.get_mut(&number).map(|entry| {
            self.count(number, entry, service, memory);
            entry.shim.clone()
        });
        (number, cell.unwrap_or_default())
    }

    /// One more task.
    fn count(&self, number: u32, entry: &mut Entry, service: ServiceId, memory: Option<u64>) {
        *entry.tasks.entry(service).or_default() += 1;
        entry.budget.add(memory);
        self.adjust(number, entry);
    }

    fn adjust(&self, number: u32, entry: &Entry) {
        // One that comes up has no group yet; it gets its limit then.
        if let Some(cgroups) = self.settings.cgroups.as_ref().filter(|_| entry.live().is_some()) {
            cgroups.adjust(number, entry.budget);
        }
    }

    async fn start(self: &Arc<Self>, number: u32, group: Group, network: Network, folders: &[Opened]) -> Result<Arc<Shim>> {
        let Settings { program, user, folder, code, engine_key, capacity, boot, .. } = &self.settings;
        let capacity = *capacity;
        let record = Record { number, engine: engine_key.clone(), contract: CONTRACT, capacity, group, network, boot: boot.clone() };
        record.write(folder)?;
        let place = self.place(number);
        let process = Process::start(program, *user, &place, &Orders { code, network, capacity, folders })?;
        let shim = Arc::new(Shim::await_start(number, place, process).await?);
        if shim.confinement() != self.settings.confinement {
            tracing::warn!(shim = number, got = ?shim.confinement(), "a Wasm shim is confined otherwise than the node says");
        }
        tracing::info!(shim = number, pid = shim.pid(), network = network.as_str(), "Wasm shim started");
        self.watch(&shim);
        Ok(shim)
    }

    /// Forgets the shim when it dies, and remembers whose tasks it had.
    fn watch(self: &Arc<Self>, shim: &Arc<Shim>) {
        let (pool, number, life) = (Arc::downgrade(self), shim.number, shim.life().clone());
        tokio::spawn(async move {
            let how = life.ended().await;
            let Some(pool) = pool.upgrade() else { return };
            pool.forget(number);
            let mut state = pool.lock();
            let Some(entry) = state.shims.remove(&number) else { return };
            if entry.tasks.is_empty() {
                tracing::info!(shim = number, how, "Wasm shim ended");
                let _ = files::remove(&pool.place(number).log);
                return;
            }
            tracing::warn!(shim = number, how, tasks = entry.count(), "Wasm shim died");
            for service in entry.tasks.keys() {
                state.suspect(*service);
            }
        });
    }

    fn give_back(self: &Arc<Self>, number: u32, service: ServiceId, memory: Option<u64>) {
        let mut state = self.lock();
        let Some(entry) = state.shims.get_mut(&number) else { return };
        // It died, and `watch` has not come to it yet: it has to find whose tasks these were.
        if entry.live().is_some_and(|shim| shim.life().is_over()) {
            return;
        }
        if let Some(count) = entry.tasks.get_mut(&service) {
            *count -= 1;
            if *count == 0 {
                entry.tasks.remove(&service);
            }
            entry.budget.take_out(memory);
            self.adjust(number, entry);
        }
        if entry.tasks.is_empty() {
            entry.room = self.settings.capacity;
            let network = entry.network;
            let spare = state.shims.iter().any(|(other, entry)| *other != number && entry.takes(Group::Shared, network));
            self.retire(&mut state, number, spare);
        }
    }

    /// Ends an empty shim that nobody will need again. One current shared shim of each network stays for the next task.
    fn retire(&self, state: &mut State, number: u32, spare: bool) {
        let Some(entry) = state.shims.get_mut(&number) else { return };
        let keep = entry.current && entry.group == Group::Shared && !spare;
        if keep || entry.ending || !entry.tasks.is_empty() {
            return;
        }
        let Some(shim) = entry.live().cloned() else { return };
        entry.ending = true;
        tokio::spawn(async move { shim.shutdown().await });
    }

    /// Ends all shims without tasks: after adoption those that nobody needs (`all` false), at a daemon's end also the spare one.
    pub(crate) async fn end_idle(&self, all: bool) {
        let idle = {
            let mut state = self.lock();
            let spare = [Network::None, Network::Inet].map(|network| {
                let spare = |entry: &Entry| entry.current && entry.group == Group::Shared && entry.network == network;
                state.shims.iter().find(|(_, entry)| spare(entry)).map(|(number, _)| *number)
            });
            let unwanted = |number: &u32, entry: &Entry| !entry.ending && entry.tasks.is_empty() && (all || !spare.contains(&Some(*number)));
            let idle = state.shims.iter_mut().filter(|(number, entry)| unwanted(number, entry));
            idle.filter_map(|(_, entry)| {
                entry.ending = true;
                entry.live().cloned()
            })
            .collect::<Vec<_>>()
        };
        let end = |shim: Arc<Shim>| async move {
            shim.shutdown().await;
            // Its record goes with it, so that the next daemon does not look for it.
            if tokio::time::timeout(END_LIMIT, shim.life().ended()).await.is_ok() {
                self.forget(shim.number);
            }
        };
        futures_util::future::join_all(idle.into_iter().map(end)).await;
        if let Some(cgroups) = self.settings.cgroups.as_ref().filter(|_| all) {
            cgroups.close();
        }
    }

    /// True for a folder that the control groups of shims lie in.
    pub(crate) fn is_cgroup(&self, folder: &Path) -> bool {
        self.settings.cgroups.as_ref().is_some_and(|groups| groups.is_base(folder))
    }

    /// The live shim of this number.
    pub(crate) fn get(&self, number: u32) -> Option<Arc<Shim>> {
        self.lock().shims.get(&number)?.live().cloned()
    }

    /// Numbers of shims that an older build started and that still have tasks.
    pub(crate) fn outdated(&self) -> Vec<u32> {
        self.lock().shims.iter().filter(|(_, entry)| !entry.current).map(|(number, _)| *number).collect()
    }
}

impl State {
    fn suspect(&mut self, service: ServiceId) {
        if self.deaths.len() >= MAX_SUSPECTS
            && let Some(oldest) = self.deaths.iter().min_by_key(|(_, (_, last))| *last).map(|(service, _)| *service)
        {
            self.deaths.remove(&oldest);
        }
        let entry = self.deaths.entry(service).or_insert((0, Instant::now()));
        let fresh = entry.1.elapsed() < SUSPICION;
        *entry = (if fresh { entry.0 + 1 } else { 1 }, Instant::now());
    }
}

/// A counted place without a lease yet.
struct Reserved<'a> {
    pool: &'a Arc<Pool>,
    number: u32,
    service: ServiceId,
    memory: Option<u64>,
    armed: bool,
}

impl Reserved<'_> {
    fn into_lease(mut self, shim: Arc<Shim>) -> Lease {
        self.armed = false;
        Lease { pool: self.pool.clone(), service: self.service, memory: self.memory, shim }
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.pool.give_back(self.number, self.service, self.memory);
        }
    }
}
