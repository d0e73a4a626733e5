//! The shims of this node's containers: one for the tasks of a service, a further one for each [`MAX_TASKS`] of them.
//!
//! Owns: their start, their folders `g/<group>/` (where a shim works: `config.json` names the group, `log` is a FIFO, `shim.json` says where it
//! listens and which process it is), their end. Invariants: the folder is there for as long as the shim; creates and the shim's end take turns, so no task is
//! created in a shim that ends; a shim without tasks ends, and one that does not is killed. Never: decides what a dead shim means for a task.

use super::address::Address;
use super::client::Shim;
use super::process::Process;
use super::pulse;
use super::tools::Tools;
use crate::error::{Error, Result};
use crate::files;
use crate::shim::Refusal;
use rustix::fs::{FileType, Mode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio_util::task::AbortOnDropHandle;
use wsw_api::ServiceId;

/// Tasks of one shim. The 1.6 line of containerd's tells each exit (of a container, and of every runc that it runs) to queues of 32, and its calls wait for each other
/// once one is full; fewer tasks, and fewer are lost with a shim, more cost a process of some 14 MB more often.
const MAX_TASKS: usize = 16;
const ADDRESS: &str = "shim.json";
const MAX_ADDRESS: u64 = 64 << 10;
/// A shim's `start` answers within milliseconds; on a busy machine within seconds.
const START_LIMIT: Duration = Duration::from_secs(20);
/// containerd's annotation: those who share it share a shim.
const ANNOTATION: &str = "io.containerd.runc.v2.group";
/// Bytes of a shim's line that are looked at.
const MAX_LINE: usize = 4_096;

/// All shims.
pub(super) struct Groups {
    folder: PathBuf,
    tools: Arc<Tools>,
    groups: Mutex<BTreeMap<String, Arc<Group>>>,
    /// Tasks by service that are prepared, or soon will be, and have no place yet.
    expected: Arc<Mutex<BTreeMap<ServiceId, usize>>>,
}

/// A task that has no place yet, for as long as this lives.
pub(super) struct Expected {
    service: ServiceId,
    all: Arc<Mutex<BTreeMap<ServiceId, usize>>>,
}

impl Drop for Expected {
    fn drop(&mut self) {
        let mut all = lock(&self.all);
        match all.get_mut(&self.service) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(all.remove(&self.service)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a shim has to do.
struct Load {
    number: u32,
    tasks: usize,
    /// It owes an answer.
    doubtful: bool,
}

/// The number of the shim for one more task while `expected` (this one included) have no place: as many shims as all of them will need, each with as many tasks as
/// the others, because a shim starts few at a time. One that owes an answer gets none.
fn choose(loads: &[Load], expected: usize) -> u32 {
    let all = loads.iter().map(|load| load.tasks).sum::<usize>() + expected.max(1);
    let least = loads.iter().filter(|load| !load.doubtful && load.tasks < MAX_TASKS).min_by_key(|load| (load.tasks, load.number));
    match least {
        Some(least) if loads.len() >= all.div_ceil(MAX_TASKS) => least.number,
        _ => (0..).find(|number| loads.iter().all(|load| load.number != *number)).unwrap_or_default(),
    }
}

/// The shim of one group, while it has tasks.
pub(super) struct Group {
    pub name: String,
    folder: PathBuf,
    tools: Arc<Tools>,
    /// Held over starts, creates and the end.
    turn: tokio::sync::RwLock<Option<Live>>,
    tasks: Mutex<usize>,
}

#[derive(Clone)]
struct Live {
    shim: Arc<Shim>,
    runtime: PathBuf,
    process: Option<Process>,
    /// Reads what the shim says, and whether it answers.
    _watches: Arc<[AbortOnDropHandle<()>; 2]>,
}

/// What a later daemon has to know of a shim.
#[derive(Serialize, Deserialize)]
struct Note {
    #[serde(flatten)]
    address: Address,
    /// Once it answered.
    #[serde(default)]
    process: Option<Process>,
}

/// A task's place in a group; given back by [`Groups::leave`].
pub(super) struct Place {
    pub group: Arc<Group>,
}

impl Groups {
    pub(super) fn open(folder: PathBuf, tools: Arc<Tools>) -> Result<Self> {
        files::folder(&folder, 0o700)?;
        Ok(Self { folder, tools, groups: Mutex::default(), expected: Arc::default() })
    }

    /// A task of this service will join, unless it ends before.
    pub(super) fn expect(&self, service: ServiceId) -> Expected {
        *lock(&self.expected).entry(service).or_default() += 1;
        Expected { service, all: self.expected.clone() }
    }

    /// A place for a task of these ([`choose`]).
    pub(super) fn join(&self, tasks: &str, service: ServiceId) -> Place {
        let expected = lock(&self.expected).get(&service).copied().unwrap_or_default();
        let mut groups = lock(&self.groups);
        let prefix = format!("{tasks}.");
        let load = |(name, group): (&String, &Arc<Group>)| {
            let number = name.strip_prefix(&prefix)?.parse().ok()?;
            Some(Load { number, tasks: *lock(&group.tasks), doubtful: group.is_doubtful() })
        };
        let loads = groups.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix)).filter_map(load).collect::<Vec<_>>();
        self.enter(&mut groups, &format!("{prefix}{}", choose(&loads, expected)))
    }

    /// The place of a task that an earlier daemon put there.
    pub(super) fn rejoin(&self, name: &str) -> Place {
        self.enter(&mut lock(&self.groups), name)
    }

    fn enter(&self, groups: &mut BTreeMap<String, Arc<Group>>, name: &str) -> Place {
        let make = || {
            Arc::new(Group {
                name: name.to_owned(),
                folder: self.folder.join(name),
                tools: self.tools.clone(),
                turn: tokio::sync::RwLock::default(),
                tasks: Mutex::default(),
            })
        };
        let group = groups.entry(name.to_owned()).or_insert_with(make).clone();
        *lock(&group.tasks) += 1;
        Place { group }
    }

    /// One task less; the last one ends the shim.
    pub(super) async fn leave(&self, place: Place) {
        let group = place.group;
        let tasks = || lock(&group.tasks);
        {
            let mut tasks = tasks();
            *tasks = tasks.saturating_sub(1);
            if *tasks > 0 {
                return;
            }
        }
        // Who joins meanwhile waits for the turn, and starts a shim of its own.
        let mut live = group.turn.write().await;
        if *tasks() > 0 {
            return;
        }
        if let Some(live) = live.take() {
            finish(&live.shim, live.process, &group.name).await;
        }
        // One that was killed left its socket.
        if let Some(note) = read_note(&group.folder) {
            let _ = files::remove(Path::new(&note.address.socket));
        }
        if let Err(error) = files::remove_tree(&group.folder) {
            tracing::warn!(group = group.name, %error, "the folder of a shim was not removed");
        }
        let mut groups = lock(&self.groups);
        if *tasks() == 0 {
            groups.remove(&group.name);
        }
    }

    /// Does this if there is no shim, and none is started meanwhile.
    pub(super) fn while_there_is_none(&self, work: impl FnOnce()) {
        let groups = lock(&self.groups);
        if groups.is_empty() {
            work();
        }
    }

    /// Ends shims of an earlier daemon that nobody took up, and removes what they left.
    pub(super) async fn sweep(&self) {
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            if lock(&self.groups).contains_key(&name) {
                continue;
            }
            if let Some(note) = read_note(&entry.path()) {
                if let Ok(shim) = Shim::reach(&note.address).await {
                    finish(&shim, note.process, &name).await;
                }
                let _ = files::remove(Path::new(&note.address.socket));
            }
            let _ = files::remove_tree(&entry.path());
        }
    }
}

impl Group {
    /// Takes up the shim of an earlier daemon.
    pub(super) async fn resume(&self) -> Option<Arc<Shim>> {
        let mut turn = self.turn.write().await;
        if let Some(live) = turn.as_ref() {
            return Some(live.shim.clone());
        }
        let note = read_note(&self.folder)?;
        let shim = Arc::new(Shim::reach(&note.address).await.ok()?);
        let log = read_log(&self.folder).ok()?;
        *turn = Some(self.live(&shim, self.tools.shim.clone(), note.process, log));
        Some(shim)
    }

    fn live(&self, shim: &Arc<Shim>, runtime: PathBuf, process: Option<Process>, log: AbortOnDropHandle<()>) -> Live {
        let pulse = pulse::watch(shim.clone(), process, self.name.clone());
        Live { shim: shim.clone(), runtime, process, _watches: Arc::new([log, pulse]) }
    }

    fn is_doubtful(&self) -> bool {
        self.turn.try_read().is_ok_and(|live| live.as_ref().is_some_and(|live| live.shim.is_doubtful()))
    }

    /// The shim; started when there is none, or when the one that there was is dead.
    pub(super) async fn shim(&self, runtime: &Path) -> Result<Arc<Shim>> {
        if let Some(live) = self.turn.read().await.as_ref().filter(|live| !live.shim.is_dead() && live.runtime == runtime) {
            return Ok(live.shim.clone());
        }
        let mut turn = self.turn.write().await;
        if let Some(live) = turn.as_ref().filter(|live| !live.shim.is_dead()) {
            return Ok(live.shim.clone());
        }
        // A dead one's socket would cost its successor a second.
        if let Some(dead) = read_note(&self.folder) {
            let _ = files::remove(Path::new(&dead.address.socket));
        }
        *turn = None;
        let live = self.start(runtime).await?;
        let shim = live.shim.clone();
        *turn = Some(live);
        Ok(shim)
    }

    async fn start(&self, runtime: &Path) -> Result<Live> {
        let log = self.make_folder()?;
        let mut command = Command::new(runtime);
        command.args(["-namespace", &self.tools.namespace, "-id", &self.name, "-address"]).arg(&self.tools.events);
        command.arg("-publish-binary").arg(&self.tools.exe).arg("start").current_dir(&self.folder).env_clear();
        command.env("PATH", &self.tools.path).env("TTRPC_ADDRESS", &self.tools.events).env("GOMAXPROCS", "4");
        command.stdin(Stdio::null()).kill_on_drop(true);
        let failed = |why: String| Error::Temporary(format!("shim {} did not start: {why}", runtime.display()));
        let output = tokio::time::timeout(START_LIMIT, command.output()).await;
        let output = output.map_err(|_| failed(format!("no answer within {} s", START_LIMIT.as_secs())))?.map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(failed(format!("{}: {}", output.status, said.trim().chars().take(300).collect::<String>())));
        }
        let address = Address::parse(&String::from_utf8_lossy(&output.stdout))?;
        let mut note = Note { address, process: None };
        self.write_note(&note)?;
        let shim = Arc::new(Shim::connect(&note.address).await.map_err(Error::from)?);
        note.process = Process::of(shim.pid(), &self.folder);
        note.address.api = shim.api();
        self.write_note(&note)?;
        tracing::debug!(group = self.name, pid = shim.pid(), api = note.address.api, "a shim started");
        Ok(self.live(&shim, runtime.to_owned(), note.process, log))
    }

    fn write_note(&self, note: &Note) -> Result<()> {
        let (temp, json) = (files::temporary(&self.folder), serde_json::json!(note).to_string());
        let written = std::fs::write(&temp, json).and_then(|()| std::fs::rename(&temp, self.folder.join(ADDRESS)));
        written.map_err(|e| Error::io("write the shim's address", &e))
    }

    fn make_folder(&self) -> Result<AbortOnDropHandle<()>> {
        let failed = |e: std::io::Error| Error::io(format_args!("make {}", self.folder.display()), &e);
        files::remove_tree(&self.folder).map_err(failed)?;
        files::folder(&self.folder, 0o700)?;
        let config = serde_json::json!({"ociVersion": "1.0.2", "annotations": {ANNOTATION: self.name}});
        std::fs::write(self.folder.join("config.json"), config.to_string()).map_err(failed)?;
        rustix::fs::mknodat(rustix::fs::CWD, self.folder.join("log"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).map_err(|e| failed(e.into()))?;
        read_log(&self.folder)
    }
}

/// Ends what a dead shim left running of a task: the shim's own `delete` action knows how.
pub(super) async fn bury(tools: &Tools, runtime: &Path, bundle: &Path, task: &str) -> Result<()> {
    let mut command = Command::new(runtime);
    command.args(["-namespace", &tools.namespace, "-id", task, "-address"]).arg(&tools.events);
    command.arg("-publish-binary").arg(&tools.exe).arg("-bundle").arg(bundle).arg("delete").current_dir(bundle).env_clear();
    command.env("PATH", &tools.path).env("TTRPC_ADDRESS", &tools.events).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(START_LIMIT, command.output()).await.map_err(|_| Error::Temporary("the shim's delete does not end".into()))?;
    let output = output.map_err(|e| Error::io("run the shim's delete", &e))?;
    if !output.status.success() {
        tracing::warn!(task, said = %String::from_utf8_lossy(&output.stderr).trim(), "the shim's delete failed");
    }
    Ok(())
}

/// Ends a shim that has no task any more.
async fn finish(shim: &Shim, process: Option<Process>, group: &str) {
    if !shim.is_doubtful() {
        shim.shutdown(group).await;
    }
    if !shim.is_dead() {
        tracing::warn!(group, pid = shim.pid(), "a shim without tasks does not end by itself");
        pulse::give_up(shim, process, "it had no task any more".into()).await;
    }
}

fn read_note(folder: &Path) -> Option<Note> {
    serde_json::from_slice(&files::read_bounded(&folder.join(ADDRESS), MAX_ADDRESS).ok()?).ok()
}

/// Takes what the shim says; open for writing too, so that it never ends.
fn read_log(folder: &Path) -> Result<AbortOnDropHandle<()>> {
    let opened = tokio::net::unix::pipe::OpenOptions::new().read_write(true).open_receiver(folder.join("log"));
    let mut lines = BufReader::new(opened.map_err(|e| Error::io("open a shim's log", &e))?);
    Ok(AbortOnDropHandle::new(tokio::spawn(async move {
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
            tracing::debug!(target: "wsw::shim", "{}", String::from_utf8_lossy(line.get(..line.len().min(MAX_LINE)).unwrap_or_default()).trim_end());
            line.clear();
        }
    })))
}

/// True when the shim does not know the task (any more).
pub(super) fn is_gone(refusal: &Refusal) -> bool {
    let words = |text: &str| {
        text.contains("process already finished") || text.contains("not created") || text.contains("not found") || text.contains("no such process")
    };
    refusal.is(ttrpc::Code::NOT_FOUND) || refusal.is(ttrpc::Code::FAILED_PRECONDITION) || matches!(refusal, Refusal::Status(_, text) if words(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_come_together_share_their_shims_evenly() {
        let mut loads: Vec<Load> = vec![Load { number: 0, tasks: 1, doubtful: false }];
        for expected in (1..=49).rev() {
            let number = choose(&loads, expected);
            match loads.iter_mut().find(|load| load.number == number) {
                Some(load) => load.tasks += 1,
                None => loads.push(Load { number, tasks: 1, doubtful: false }),
            }
        }
        assert_eq!(loads.iter().map(|load| (load.number, load.tasks)).collect::<Vec<_>>(), [(0, 13), (1, 13), (2, 12), (3, 12)]);
    }

    #[test]
    fn one_that_comes_alone_goes_where_there_is_room() {
        let load = |number, tasks, doubtful| Load { number, tasks, doubtful };
        assert_eq!(choose(&[], 1), 0);
        assert_eq!(choose(&[load(0, 3, false)], 1), 0);
        assert_eq!(choose(&[load(0, MAX_TASKS, false)], 1), 1);
        assert_eq!(choose(&[load(0, 3, true)], 1), 1, "that one owes an answer");
        assert_eq!(choose(&[load(0, 9, false), load(2, 4, false)], 1), 2);
        assert_eq!(choose(&[load(1, MAX_TASKS, false)], 1), 0, "a number that is free again");
    }
}
