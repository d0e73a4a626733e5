//! Commands that users run in a container (`docker exec`): made through the container's own shim, beside its first process.
//!
//! ```text
//! x/<exec id>/record.json   the command; written before the shim hears of it
//!             stdin stdout stderr   FIFOs: client ⇄ worker ⇄ these ⇄ shim ⇄ process
//! Exec, Start … Wait → output whole → Delete → folder gone
//! ```
//! Invariants: a command belongs to its container's bundle and goes with it; it outlives the daemon, and a later one takes it up (its output goes nowhere then);
//! a client that reads slowly slows the command down and loses nothing. Never: keeps what became of a command (the worker does).

mod process;
mod streams;

use super::bundle::{self, Record};
use super::client::Shim;
use super::groups::is_gone;
use super::{Oci, users, words};
use crate::error::{Error, Result};
use crate::files;
use crate::shim::Refusal;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
pub use streams::Streams;
use streams::{Ends, Opened};
use wsw_api::exec::{Command, Size};

/// Folder of a bundle.
const FOLDER: &str = "x";
const RECORD: &str = "record.json";
const MAX_RECORD: u64 = 4 << 20;
/// An end that nobody saw.
const LOST: u32 = 137;
const SIGKILL: u32 = 9;

/// What a later daemon has to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Note {
    id: String,
    command: Command,
    pid: u32,
}

/// A command that was started.
pub struct Exec {
    shim: Arc<Shim>,
    task: String,
    id: String,
    folder: PathBuf,
    pub command: Command,
    pub pid: u32,
    ends: Mutex<Option<Ends>>,
}

impl Exec {
    /// Runs it.
    pub(super) async fn start(oci: &Arc<Oci>, shim: Arc<Shim>, record: &Record, id: &str, command: &Command, size: Option<Size>) -> Result<(Self, Streams)> {
        let (own, wanted, task) = (oci.clone(), command.clone(), record.clone());
        let (bundle, name) = (oci.bundles.path(record.task), id.to_owned());
        let made = files::blocking(move || make(&own, &task, &bundle, &name, &wanted, size)).await??;
        let (task, (folder, process, opened)) = (record.task.to_string(), made);
        let failed = |refusal: Refusal| words::of_exec(command.args.first().map_or("", String::as_str), refusal);
        let stream = |wanted: bool, name: &str| if wanted { folder.join(name).to_string_lossy().into_owned() } else { String::new() };
        let (stdin, stdout, stderr) = (stream(command.stdin, "stdin"), stream(true, "stdout"), stream(!command.tty, "stderr"));
        let begun = async {
            shim.exec(&task, id, process, command.tty, [stdin, stdout, stderr]).await.map_err(failed)?;
            match shim.start(&task, id).await {
                Ok(pid) => Ok(pid),
                Err(refusal) => {
                    let _ = shim.delete(&task, id).await;
                    Err(failed(refusal))
                }
            }
        };
        let pid = match begun.await {
            Ok(pid) => pid,
            Err(error) => {
                remove(folder).await;
                return Err(error);
            }
        };
        write(&folder, &Note { id: id.to_owned(), command: command.clone(), pid })?;
        let (ends, streams) = opened.pump();
        Ok((Self { shim, task, id: id.to_owned(), folder, command: command.clone(), pid, ends: Mutex::new(Some(ends)) }, streams))
    }

    /// Answers when it has ended: its code. Its output may not be read to its end yet.
    pub async fn wait(&self) -> u32 {
        match self.shim.wait(&self.task, &self.id).await {
            Ok((code, _)) => code,
            Err(_) => LOST,
        }
    }

    /// After its end: its output is whole once this is done, and nothing is left of it.
    pub async fn finish(&self) {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ends) = ends {
            ends.finish().await;
        }
        match self.shim.delete(&self.task, &self.id).await {
            Ok(()) | Err(Refusal::Died(_)) => {}
            Err(refusal) if is_gone(&refusal) => {}
            Err(refusal) => tracing::warn!(task = self.task, exec = self.id, error = %Error::from(refusal), "an ended command was not deleted"),
        }
        remove(self.folder.clone()).await;
    }

    /// The process reads an end of its input.
    pub async fn close_stdin(&self) {
        if let Err(refusal) = self.shim.close_io(&self.task, &self.id).await {
            tracing::debug!(task = self.task, exec = self.id, error = %Error::from(refusal), "the input of a command was not closed");
        }
    }

    pub async fn resize(&self, size: Size) -> Result<()> {
        Ok(self.shim.resize(&self.task, &self.id, size).await?)
    }

    /// Ends it.
    pub async fn kill(&self) -> Result<()> {
        match self.shim.kill(&self.task, &self.id, SIGKILL, false).await {
            Ok(()) | Err(Refusal::Died(_)) => Ok(()),
            Err(refusal) if is_gone(&refusal) => Ok(()),
            Err(refusal) => Err(refusal.into()),
        }
    }
}

/// Commands of a container that an earlier daemon started. Who talked to them is gone: their input ends, their output goes nowhere.
pub(super) async fn adopt(bundle: &Path, shim: &Arc<Shim>, task: &str) -> Vec<(String, Arc<Exec>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(bundle.join(FOLDER)).into_iter().flatten().flatten() {
        let folder = entry.path();
        let note = files::read_bounded(&folder.join(RECORD), MAX_RECORD).ok().and_then(|bytes| serde_json::from_slice::<Note>(&bytes).ok());
        let Some(note) = note else {
            remove(folder).await;
            continue;
        };
        let ends = Opened::open(&folder, &note.command).ok().map(|opened| opened.pump().0);
        let exec =
            Exec { shim: shim.clone(), task: task.to_owned(), id: note.id.clone(), folder, command: note.command, pid: note.pid, ends: Mutex::new(ends) };
        exec.close_stdin().await;
        found.push((note.id, Arc::new(exec)));
    }
    found
}

type Made = (PathBuf, Vec<u8>, Opened);

fn make(oci: &Oci, record: &Record, bundle: &Path, id: &str, command: &Command, size: Option<Size>) -> Result<Made> {
    let spec = bundle::read_config(bundle)?;
    let user = match command.user.as_str() {
        "" => None,
        user => Some(users::find(&bundle.join(bundle::ROOT), user, &record.groups)?),
    };
    let process = process::of(&spec, command, user, size, oci.tools.capabilities)?;
    let parent = bundle.join(FOLDER);
    files::folder(&parent, 0o700)?;
    let folder = parent.join(id);
    files::folder(&folder, 0o700)?;
    write(&folder, &Note { id: id.to_owned(), command: command.clone(), pid: 0 })?;
    let opened = Opened::open(&folder, command)?;
    Ok((folder, process, opened))
}

fn write(folder: &Path, note: &Note) -> Result<()> {
    bundle::write(folder, RECORD, note)
}

async fn remove(folder: PathBuf) {
    let shown = folder.clone();
    let done = files::blocking(move || files::remove_tree(&folder)).await;
    if let Ok(Err(error)) = done {
        tracing::warn!(path = %shown.display(), %error, "what a command left was not removed");
    }
}
