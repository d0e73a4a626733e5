//! All tasks of the shim: the table, its bounds, and the steps of a task's life.
//!
//! Owns: which ids exist. Invariants: an id is used once until `Delete`; at most `capacity` tasks live at a time, and as many more may
//! have ended without having been deleted; a place is free before the exit that frees it is seen. Task lives run on the guest runtime; nothing here waits for them, but for
//! a bounded time for the first instance of a server's program.

use crate::{
    bundle, command,
    logs::Logs,
    modules::{self, Program, Programs},
    net,
    quota::Descriptors,
    replica::{self, Replica, Services},
    request,
    task::{NewTask, Place, Stop, Task},
};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
};
use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
};
use wsw_api::shim::{ExitReport, Kind, LOG_SCHEME};

/// Why a step was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("task {0}: already exists")]
    Exists(String),
    #[error("task {0}: not found")]
    NotFound(String),
    #[error("this shim is full: {0} tasks")]
    Full(usize),
    #[error("task {id}: {reason}")]
    State { id: String, reason: &'static str },
    #[error("{field}: {reason}")]
    Invalid { field: &'static str, reason: String },
    #[error(transparent)]
    Bundle(#[from] bundle::Error),
    #[error(transparent)]
    Program(#[from] modules::Error),
}

/// What `Create` asks for.
pub struct CreateTask {
    pub id: String,
    pub bundle: PathBuf,
    pub stdout: String,
    pub stderr: String,
}

#[derive(Default)]
struct Table {
    /// None while `Create` loads its program.
    tasks: HashMap<String, Option<Loaded>>,
}

#[derive(Clone)]
struct Loaded {
    task: Arc<Task>,
    /// Given to the guest's life by `Start`.
    program: Option<Arc<Program>>,
}

/// The tasks of a shim.
pub struct Tasks {
    table: Mutex<Table>,
    capacity: usize,
    /// Places taken by tasks that have not ended.
    living: Arc<AtomicUsize>,
    programs: Programs,
    logs: Arc<Logs>,
    services: Arc<Services>,
    net: Arc<net::Shared>,
    guests: Handle,
    descriptors: Descriptors,
    /// Told when the table becomes empty.
    pub emptied: Notify,
}

impl Tasks {
    pub fn new(
        capacity: usize,
        programs: Programs,
        logs: Arc<Logs>,
        services: Arc<Services>,
        net: Arc<net::Shared>,
        guests: Handle,
        descriptors: Descriptors,
    ) -> Self {
        Self { table: Mutex::default(), capacity, living: Arc::default(), programs, logs, services, net, guests, descriptors, emptied: Notify::new() }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_empty(&self) -> bool {
        self.table().tasks.is_empty()
    }

    /// The task of this id.
    pub fn get(&self, id: &str) -> Result<Arc<Task>, Error> {
        let table = self.table();
        let loaded = table.tasks.get(id).and_then(Option::as_ref);
        loaded.map(|loaded| loaded.task.clone()).ok_or_else(|| Error::NotFound(id.to_owned()))
    }

    /// Reads the bundle and loads the program; the task is ready to start.
    pub async fn create(&self, create: CreateTask) -> Result<(), Error> {
        let log = log_path(&create)?;
        if !create.bundle.is_absolute() {
            return Err(Error::Invalid { field: "bundle", reason: "must be an absolute path".to_owned() });
        }
        let (reserved, place) = self.reserve(&create.id)?;
        let spec = bundle::read(&create.bundle)?;
        let program = self.programs.get(&spec.compiled, spec.kind).await?;
        let CreateTask { id, bundle, stdout, stderr } = create;
        let task = Arc::new(Task::new(NewTask { place, id, bundle, stdout, stderr, spec, log }, &self.logs, self.net.clone(), &self.descriptors));
        reserved.fill(Loaded { task, program: Some(program) });
        Ok(())
    }

    fn reserve(&self, id: &str) -> Result<(Reserved<'_>, Place), Error> {
        if id.is_empty() {
            return Err(Error::Invalid { field: "id", reason: "must not be empty".to_owned() });
        }
        let mut table = self.table();
        if table.tasks.contains_key(id) {
            return Err(Error::Exists(id.to_owned()));
        }
        if table.tasks.len() >= self.capacity.saturating_mul(2) {
            return Err(Error::Full(self.capacity));
        }
        let place = Place::take(&self.living, self.capacity).ok_or(Error::Full(self.capacity))?;
        table.tasks.insert(id.to_owned(), None);
        Ok((Reserved { tasks: self, id: id.to_owned(), filled: false }, place))
    }

    /// Starts the guest, or makes the server ready: the first of its program once that has had an instance ([`request::warm`]).
    pub async fn start(&self, id: &str) -> Result<(), Error> {
        let (task, program) = {
            let mut table = self.table();
            let loaded = table.tasks.get_mut(id).and_then(Option::as_mut).ok_or_else(|| Error::NotFound(id.to_owned()))?;
            if loaded.task.exit().is_some() {
                return Err(Error::State { id: id.to_owned(), reason: "has ended" });
            }
            match loaded.program.take() {
                Some(program) if loaded.task.start() => (loaded.task.clone(), program),
                _ => return Err(Error::State { id: id.to_owned(), reason: "was started before" }),
            }
        };
        match (task.spec.kind, task.spec.service) {
            (Kind::Http, Some(service)) => {
                let (replica, (ready, is_ready)) = (Replica::new(task, program), oneshot::channel());
                let services = self.services.clone();
                // All in a task of its own: whoever asked may go away meanwhile, and what was begun with goes on.
                self.guests.spawn(async move {
                    if replica.program.is_unused() {
                        // A panic of the guest's would show again with its first request.
                        let _ = tokio::spawn(request::warm(replica.clone())).await;
                    }
                    services.add(service, replica.clone());
                    let _ = ready.send(());
                    replica::run(services, service, replica).await;
                });
                let _ = is_ready.await;
            }
            _ => drop(self.guests.spawn(command::run(task, program))),
        }
        Ok(())
    }

    /// Tells a task to stop. One that was not started ends here.
    pub async fn kill(&self, id: &str, stop: Stop) -> Result<(), Error> {
        let task = self.get(id)?;
        if task.exit().is_some() {
            return Err(Error::State { id: id.to_owned(), reason: "has ended" });
        }
        if task.start() {
            if let Some(Some(loaded)) = self.table().tasks.get_mut(id) {
                loaded.program = None;
            }
            task.finish(ExitReport { code: stop.code(), reason: None, ran: false }).await;
        } else {
            task.stop(stop);
        }
        Ok(())
    }

    /// Forgets a task that has ended or was never started.
    pub fn delete(&self, id: &str) -> Result<Arc<Task>, Error> {
        let mut table = self.table();
        let task = table.tasks.get(id).and_then(Option::as_ref).ok_or_else(|| Error::NotFound(id.to_owned()))?.task.clone();
        // Taking the start away: a `Start` that comes now is refused.
        if task.exit().is_none() {
            if !task.start() {
                return Err(Error::State { id: id.to_owned(), reason: "is running" });
            }
            task.leave();
        }
        table.tasks.remove(id);
        let empty = table.tasks.is_empty();
        drop(table);
        task.sink.close();
        if empty {
            self.emptied.notify_waiters();
        }
        Ok(task)
    }
}

/// An id that `Create` holds; given back when it fails.
struct Reserved<'a> {
    tasks: &'a Tasks,
    id: String,
    filled: bool,
}

impl Reserved<'_> {
    fn fill(mut self, loaded: Loaded) {
        self.filled = true;
        self.tasks.table().tasks.insert(std::mem::take(&mut self.id), Some(loaded));
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if self.filled {
            return;
        }
        let mut table = self.tasks.table();
        table.tasks.remove(&self.id);
        let empty = table.tasks.is_empty();
        drop(table);
        if empty {
            self.tasks.emptied.notify_waiters();
        }
    }
}

fn log_path(create: &CreateTask) -> Result<PathBuf, Error> {
    let path = create.stdout.strip_prefix(LOG_SCHEME).map(Path::new).filter(|path| path.is_absolute());
    let path = path.ok_or_else(|| Error::Invalid { field: "stdout", reason: format!("must be {LOG_SCHEME}<absolute path>") })?;
    if create.stderr != create.stdout {
        return Err(Error::Invalid { field: "stderr", reason: "must name the same log as stdout".to_owned() });
    }
    Ok(path.to_owned())
}
