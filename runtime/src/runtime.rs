//! What a node runs: Wasm always, containers where the machine has what they need.
//!
//! Owns: the choice, by the task's image, which is known once it is here. Invariants: a task's kind is chosen once; connections go to whichever kind has tasks of the service.
//! Never: knows how either kind is run.

use crate::error::{Error, Result};
use crate::executor::{Adopted, Attached, Capabilities, Controller, Executor, Exit, Started, TaskRequest};
use crate::images::{Image, native};
use crate::oci::Oci;
use crate::oci::exec::{Exec, Streams};
use crate::transfer::Inside;
use crate::wasm::{Config, Wasm, pull};
use async_trait::async_trait;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, OnceLock, Weak};
use wsw_api::exec::{Command, NO_SHELL, Size};
use wsw_api::health::{Check, HealthConfig};
use wsw_api::network::Sandbox;
use wsw_api::shim::HandoverOutcome;
use wsw_api::usage::Usage;
use wsw_api::{ServiceId, labels};

/// See the module's page.
pub struct Runtime {
    wasm: Arc<Wasm>,
    /// None without what containers need; why.
    oci: Result<Arc<Oci>, String>,
    me: Weak<Runtime>,
}

impl Runtime {
    /// Opens both on the same folders.
    pub async fn open(config: Config) -> wsw_api::Result<Arc<Self>> {
        let wasm = Wasm::open(config.clone()).await?;
        let oci = Oci::open(&config, wasm.clone()).await;
        if let Err(why) = &oci {
            tracing::info!(why, "no containers on this node");
        }
        Ok(Arc::new_cyclic(|me| Self { wasm, oci, me: me.clone() }))
    }

    /// The part for Wasm, which also keeps images and volumes.
    pub fn wasm(&self) -> &Arc<Wasm> {
        &self.wasm
    }

    /// At the daemon's end: what no task has goes, tasks go on.
    pub async fn close(&self) {
        self.wasm.close().await;
        if let Ok(oci) = &self.oci {
            oci.close().await;
        }
    }

    /// Offers a connection to the service's tasks on this node (see [`Wasm::handover`]).
    pub async fn handover(&self, service: ServiceId, port: u16, client: SocketAddr, conn: BorrowedFd<'_>) -> Result<HandoverOutcome> {
        match &self.oci {
            Ok(oci) if oci.serves(service) => match oci.handover(service, port, client, conn).await? {
                HandoverOutcome::None if self.wasm.serves(service) => self.wasm.handover(service, port, client, conn).await,
                other => Ok(other),
            },
            _ => self.wasm.handover(service, port, client, conn).await,
        }
    }

    /// Has a datagram socket connected to one of the service's tasks on this node.
    pub async fn flow(&self, service: ServiceId, port: u16, client: SocketAddr, socket: BorrowedFd<'_>) -> Result<HandoverOutcome> {
        match &self.oci {
            Ok(oci) if oci.serves(service) => oci.flow(service, port, socket),
            _ => self.wasm.flow(service, port, client, socket).await,
        }
    }

    fn choose(&self, request: &TaskRequest, image: Image) -> Result<Arc<dyn Controller>> {
        if !image.is_linux() {
            if request.spec.container.healthcheck.as_ref().is_some_and(HealthConfig::is_check) {
                return Err(Error::Unsupported(format!("health check: {NO_SHELL}; leave it out, or use --no-healthcheck")));
            }
            return match image.module_digest.is_empty() {
                false => Ok(self.wasm.controller_of(request.clone(), image)),
                true => Err(Error::Unsupported(format!("{}; it does not run on this node", image.describe()))),
            };
        }
        let refused = |why: &str| Error::Unsupported(format!("{}; {why}", image.describe()));
        let asked = labels::parse(&request.spec.container.labels).map_err(|error| Error::Invalid(error.message))?.runtime;
        if asked.as_deref() == Some(wsw_api::shim::RUNTIME_NAME) {
            return Err(refused(&format!("label {}: {} runs Wasm images only", labels::RUNTIME, wsw_api::shim::RUNTIME_NAME)));
        }
        let oci = self.oci.as_ref().map_err(|why| refused(&format!("this node has no containers: {why}")))?;
        let own = native();
        if !crate::images::fits(&image.platform, &own) {
            return Err(refused(&format!("this node is {}/{}", own.os, own.architecture)));
        }
        Ok(oci.controller(request.clone(), image))
    }
}

#[async_trait]
impl Executor for Runtime {
    fn describe(&self) -> Capabilities {
        let mut all = self.wasm.describe();
        match &self.oci {
            Ok(oci) => {
                all.platforms.push(native());
                all.plugins.extend(oci.runtimes().into_iter().map(|name| ("Runtime".to_owned(), name)));
                all.containers = oci.described();
            }
            Err(why) => all.containers = format!("none: {why}"),
        }
        all
    }

    fn controller(&self, task: TaskRequest) -> Arc<dyn Controller> {
        Arc::new(Chosen { runtime: self.me.clone(), request: task, inner: OnceLock::new(), choosing: tokio::sync::Mutex::default() })
    }

    async fn adopt(&self) -> Vec<Adopted> {
        let containers = async {
            match &self.oci {
                Ok(oci) => oci.adopt().await,
                Err(_) => Vec::new(),
            }
        };
        // Containers first: Wasm's part gives back the volumes that nobody has.
        let mut all = containers.await;
        all.extend(self.wasm.adopt().await);
        all
    }
}

/// A task whose kind is not known until its image is here.
struct Chosen {
    runtime: Weak<Runtime>,
    request: TaskRequest,
    inner: OnceLock<Arc<dyn Controller>>,
    choosing: tokio::sync::Mutex<()>,
}

impl Chosen {
    fn inner(&self) -> Result<&Arc<dyn Controller>> {
        self.inner.get().ok_or_else(|| Error::Refused("the task is not prepared".into()))
    }

    async fn choose(&self) -> Result<&Arc<dyn Controller>> {
        let _turn = self.choosing.lock().await;
        if let Some(inner) = self.inner.get() {
            return Ok(inner);
        }
        let runtime = self.runtime.upgrade().ok_or_else(|| Error::Temporary("the runtime is closed".into()))?;
        let image = pull::image(runtime.wasm.images(), &self.request).await?;
        let chosen = runtime.choose(&crate::spec::expanded(&self.request)?, image)?;
        Ok(self.inner.get_or_init(|| chosen))
    }
}

#[async_trait]
impl Controller for Chosen {
    async fn prepare(&self) -> Result<()> {
        self.choose().await?.prepare().await
    }
    async fn start(&self) -> Result<Started> {
        self.inner()?.start().await
    }
    async fn wait(&self) -> Result<Exit> {
        self.inner()?.wait().await
    }
    async fn shutdown(&self) -> Result<()> {
        self.inner()?.shutdown().await
    }
    async fn terminate(&self) -> Result<()> {
        self.inner()?.terminate().await
    }
    async fn kill(&self, signal: u32) -> Result<()> {
        self.inner()?.kill(signal).await
    }
    async fn usage(&self) -> Result<Usage> {
        self.inner()?.usage().await
    }
    async fn pids(&self) -> Result<Option<Vec<u32>>> {
        self.inner()?.pids().await
    }
    fn check(&self) -> Option<Check> {
        self.inner.get().and_then(|inner| inner.check())
    }
    fn serve(&self) {
        if let Some(inner) = self.inner.get() {
            inner.serve();
        }
    }
    fn admits(&self) -> Result<()> {
        self.inner()?.admits()
    }
    async fn exec(&self, id: &str, command: &Command, size: Option<Size>) -> Result<(Arc<Exec>, Streams)> {
        self.inner()?.exec(id, command, size).await
    }
    async fn execs(&self) -> Vec<(String, Arc<Exec>)> {
        match self.inner.get() {
            Some(inner) => inner.execs().await,
            None => Vec::new(),
        }
    }
    async fn attach(&self, input: bool) -> Result<Option<Attached>> {
        self.inner()?.attach(input).await
    }
    async fn resize(&self, size: Size) -> Result<()> {
        self.inner()?.resize(size).await
    }
    async fn inside(&self) -> Result<Inside> {
        self.inner()?.inside().await
    }
    async fn remove(&self) -> Result<()> {
        match self.inner.get() {
            Some(inner) => inner.remove().await,
            None => Ok(()),
        }
    }
    fn pid(&self) -> Option<u32> {
        self.inner.get().and_then(|inner| inner.pid())
    }
    fn sandbox(&self) -> Option<Sandbox> {
        self.inner.get().and_then(|inner| inner.sandbox())
    }
}
