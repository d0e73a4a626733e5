//! Compiled programs, loaded once and shared by all tasks of the same module.
//!
//! Owns: the cache and the only `unsafe` loading of machine code. Invariant: an artefact is loaded only from the path that the daemon
//! named; it wrote that file from what `compile_main` gave it, read-only and under a name of its content. wasmtime checks version, target
//! and settings. A program is dropped with its last task.

#![allow(unsafe_code)]

use crate::{
    engine::Engines,
    linker::{self, Linked},
};
use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};
use wasmtime::{Engine, Module, component::Component};
use wsw_api::shim::Kind;

/// Why a program could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("compiled module {path}: {source}")]
    Read { path: String, source: io::Error },
    #[error("compiled module {path}: {text}")]
    Load { path: String, text: String },
    #[error("compiled module {path}: {source}")]
    Link { path: String, source: linker::Error },
    #[error("compiled module {path}: the annotation says {said}, its exports say {found}")]
    Kind { path: String, said: &'static str, found: &'static str },
    #[error("loading was interrupted")]
    Interrupted,
}

/// A loaded program, linked in one or both engines.
pub struct Program {
    path: PathBuf,
    kind: Kind,
    engines: Arc<Engines>,
    pool: Option<Linked>,
    on_demand: OnceLock<Linked>,
    /// An instance was made, or is being made.
    used: AtomicBool,
}

impl Program {
    fn load(engines: Arc<Engines>, path: PathBuf, kind: Kind) -> Result<Self, Error> {
        // Instances of commands live long: the pool is for requests.
        let pool = match engines.pool() {
            Some(engine) if kind == Kind::Http => {
                let linked = link(engine, &path, kind);
                // A guest that does not fit a slot is served on demand; any other reason shows again there.
                linked.inspect_err(|error| tracing::info!("not in the pool: {error}")).ok()
            }
            _ => None,
        };
        let program = Self { path, kind, engines, pool, on_demand: OnceLock::new(), used: AtomicBool::new(false) };
        if program.pool.is_none() {
            program.on_demand()?;
        }
        Ok(program)
    }

    /// For instances that live as long as a request. Call [`Self::on_demand`] when the pool has no free slot.
    pub fn pooled(&self) -> Result<&Linked, Error> {
        self.pool.as_ref().map_or_else(|| self.on_demand(), Ok)
    }

    /// For instances that live long, and for those that the pool cannot take.
    pub fn on_demand(&self) -> Result<&Linked, Error> {
        if let Some(linked) = self.on_demand.get() {
            return Ok(linked);
        }
        let engine = self.engines.on_demand().map_err(|error| Error::Load { path: self.path.display().to_string(), text: format!("{error:#}") })?;
        let linked = link(engine, &self.path, self.kind)?;
        Ok(self.on_demand.get_or_init(|| linked))
    }

    /// True for the first who asks.
    pub fn is_unused(&self) -> bool {
        !self.used.swap(true, Ordering::Relaxed)
    }

    pub const fn engines(&self) -> &Arc<Engines> {
        &self.engines
    }
}

fn link(engine: &Engine, path: &Path, kind: Kind) -> Result<Linked, Error> {
    let name = || path.display().to_string();
    let linked = match kind {
        Kind::Module => linker::module(&read(path, |bytes| match bytes {
            // SAFETY: see the file's head: the daemon vouches for the artefact, and the file does not change.
            None => unsafe { Module::deserialize_file(engine, path) },
            // SAFETY: the same.
            Some(bytes) => unsafe { Module::deserialize(engine, bytes) },
        })?),
        Kind::Http | Kind::Command => linker::component(&read(path, |bytes| match bytes {
            // SAFETY: the same.
            None => unsafe { Component::deserialize_file(engine, path) },
            // SAFETY: the same.
            Some(bytes) => unsafe { Component::deserialize(engine, bytes) },
        })?),
    };
    let linked = linked.map_err(|source| Error::Link { path: name(), source })?;
    if linked.kind() != kind {
        return Err(Error::Kind { path: name(), said: kind.as_str(), found: linked.kind().as_str() });
    }
    Ok(linked)
}

/// Maps the file, or reads it where it cannot be mapped as code (a file system mounted `noexec`).
fn read<T>(path: &Path, load: impl Fn(Option<&[u8]>) -> wasmtime::Result<T>) -> Result<T, Error> {
    let name = || path.display().to_string();
    let mapped = match load(None) {
        Ok(loaded) => return Ok(loaded),
        Err(error) => error,
    };
    let bytes = std::fs::read(path).map_err(|source| Error::Read { path: name(), source })?;
    let not_mapped = format!("{mapped:#}");
    load(Some(&bytes))
        .map_err(|error| Error::Load { path: name(), text: format!("{error:#}") })
        .inspect(|_| tracing::info!("read instead of mapped: {not_mapped}"))
}

/// The programs of a shim by the path of their artefact.
pub struct Programs {
    engines: Arc<Engines>,
    loaded: Mutex<HashMap<PathBuf, Weak<Program>>>,
    /// One load at a time: thousands of tasks of one module arrive together and must not load it thousands of times.
    loading: tokio::sync::Mutex<()>,
}

impl Programs {
    pub fn new(engines: Arc<Engines>) -> Self {
        Self { engines, loaded: Mutex::default(), loading: tokio::sync::Mutex::new(()) }
    }

    fn known(&self, path: &Path) -> Option<Arc<Program>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).get(path).and_then(Weak::upgrade)
    }

    /// The program of this artefact, loaded if need be (on a thread that may block).
    pub async fn get(&self, path: &Path, kind: Kind) -> Result<Arc<Program>, Error> {
        let fits = |program: Arc<Program>| match program.kind == kind {
            true => Ok(program),
            false => Err(Error::Kind { path: path.display().to_string(), said: kind.as_str(), found: program.kind.as_str() }),
        };
        if let Some(program) = self.known(path) {
            return fits(program);
        }
        let _one = self.loading.lock().await;
        if let Some(program) = self.known(path) {
            return fits(program);
        }
        let (engines, from) = (self.engines.clone(), path.to_owned());
        let program = tokio::task::spawn_blocking(move || Program::load(engines, from, kind)).await.map_err(|_| Error::Interrupted)??;
        let program = Arc::new(program);
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.retain(|_, program| program.strong_count() > 0);
        loaded.insert(path.to_owned(), Arc::downgrade(&program));
        Ok(program)
    }
}
