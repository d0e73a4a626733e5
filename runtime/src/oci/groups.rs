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
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio_util::task::AbortOnDropHandle;

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
        Ok(Self { folder, tools, groups: Mutex::default() })
    }

    /// A place for a task of these: in the first of their shims that has room and owes no answer.
    pub(super) fn join(&self, tasks: &str) -> Place {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let names = (0..u32::MAX).map(|number| format!("{tasks}.{number}"));
        let free = names.into_iter().find(|name| groups.get(name).is_none_or(|group| group.has_room()));
        self.enter(&mut groups, &free.unwrap_or_else(|| tasks.to_owned()))
    }

    /// The place of a task that an earlier daemon put there.
    pub(super) fn rejoin(&self, name: &str) -> Place {
        self.enter(&mut self.groups.lock().unwrap_or_else(PoisonError::into_inner), name)
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
        *group.tasks.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Place { group }
    }

    /// One task less; the last one ends the shim.
    pub(super) async fn leave(&self, place: Place) {
        let group = place.group;
        let tasks = || group.tasks.lock().unwrap_or_else(PoisonError::into_inner);
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
        if let Err(error) = files::remove_tree(&group.folder) {
            tracing::warn!(group = group.name, %error, "the folder of a shim was not removed");
        }
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if *tasks() == 0 {
            groups.remove(&group.name);
        }
    }

    /// Does this if there is no shim, and none is started meanwhile.
    pub(super) fn while_there_is_none(&self, work: impl FnOnce()) {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if groups.is_empty() {
            work();
        }
    }

    /// Ends shims of an earlier daemon that nobody took up, and removes what they left.
    pub(super) async fn sweep(&self) {
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            if self.groups.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&name) {
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

    fn has_room(&self) -> bool {
        let doubtful = self.turn.try_read().is_ok_and(|live| live.as_ref().is_some_and(|live| live.shim.is_doubtful()));
        !doubtful && *self.tasks.lock().unwrap_or_else(PoisonError::into_inner) < MAX_TASKS
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
