//! Containers: Linux images, run by containerd's shim for runc (or another of its kind), without containerd.
//!
//! ```text
//! prepare   images/layers → overlay (rootfs) → network → bundle: spec, record
//! start     groups: one shim for the tasks of a service ── Create, Start (client: Task API v2 and v3)
//! wait      Wait → end written down → Delete → output whole (logs)
//! ```
//!
//! Folders: `<data root>/containers/<task>` (what it writes), `<exec root>/oci/{b,g,n}` (bundles, shims, namespaces), `events.sock`. Invariants: containers outlive the daemon and
//! are taken up from their bundles; all names carry this data root's digits, so two daemons of a machine do not meet; without root, shim, runc or overlayfs a node has no containers and says why.
//! Never: decides whether a task should run.

mod address;
mod adopt;
mod apparmor;
mod beneath;
mod bundle;
mod cgroup;
mod client;
mod confine;
mod controller;
mod create;
mod etc;
mod events;
pub mod exec;
mod groups;
mod logs;
mod mounts;
mod nat;
mod netlink;
mod network;
mod process;
mod pulse;
mod rootfs;
mod seccomp;
mod services;
mod signals;
mod spec;
mod stdin;
mod taps;
mod tools;
mod traffic;
pub mod trial;
mod users;
mod words;

use crate::bundle::boot_id;
use crate::error::Result;
use crate::executor::{Adopted, Controller, TaskRequest};
use crate::files;
use crate::images::Image;
use crate::wasm::{Config, Wasm};
use bundle::{Bundles, Record};
use controller::Container;
use groups::Groups;
use logs::Pump;
use network::Network;
use services::Services;
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use tokio::sync::Semaphore;
use tools::Tools;
use ttrpc::asynchronous::Server;
use wsw_api::log::{Bounds, Stream};
use wsw_api::shim::HandoverOutcome;
use wsw_api::{ServiceId, TaskId};

pub(crate) use tools::RUNTIME;
pub use tools::added as added_runtimes;

/// Containers in preparation at a time: mounts and namespaces are the kernel's work, and it takes turns.
const PREPARING: usize = 16;
/// Starts at a time: each is two processes of runc, and more at once only wait for each other.
const STARTING: usize = 8;

/// What all containers share.
pub(crate) struct Oci {
    wasm: Arc<Wasm>,
    tools: Arc<Tools>,
    bundles: Bundles,
    groups: Groups,
    network: Option<Network>,
    services: Services,
    /// Folder of what containers write.
    writable: PathBuf,
    logs: PathBuf,
    boot: String,
    /// The kernel's version.
    kernel: String,
    preparing: Semaphore,
    starting: Semaphore,
    me: Weak<Oci>,
    /// Takes events for as long as this lives.
    _events: Mutex<Server>,
}

impl Oci {
    /// Opens the folders, or says why this node has no containers.
    pub(crate) async fn open(config: &Config, wasm: Arc<Wasm>) -> Result<Arc<Self>, String> {
        let (folder, writable) = (config.exec_root.join("oci"), config.data_root.join("containers"));
        let path = tools::path();
        let trial = (writable.clone(), path.clone());
        let shim = files::blocking(move || tools::probe(&trial.0, &trial.1)).await.map_err(|error| error.to_string())??;
        let id = hex::encode(Sha256::digest(config.data_root.as_os_str().as_bytes())).chars().take(12).collect::<String>();
        files::folder(&folder, 0o711).map_err(|error| error.to_string())?;
        let cgroups = format!("/wsw/{id}/oci");
        let orders = |program: &Path| trial::Orders {
            folder: folder.join("trial"),
            program: program.to_owned(),
            path: path.clone(),
            cgroup: format!("{cgroups}/trial"),
        };
        let beneath = beneath::choose(&folder, &path, async |program| trial::order(&config.exe, &orders(program)).await).await?;
        let (exe, namespace, events) = (config.exe.clone(), format!("wsw-{id}"), folder.join("events.sock"));
        let added = config.runtimes.clone();
        let parsers = path.clone();
        let apparmor = files::blocking(move || apparmor::load(Path::new("/sys"), &parsers)).await.map_err(|error| error.to_string())?;
        let (cgroup2, capabilities) = (tools::is_cgroup2(), tools::own_capabilities());
        let tools = Tools { shim, exe, events, namespace, path, beneath, added, cgroups, cgroup2, apparmor, capabilities };
        Self::with(config, wasm, &folder, writable, (tools, id)).await.map_err(|error| error.to_string())
    }

    async fn with(config: &Config, wasm: Arc<Wasm>, folder: &Path, writable: PathBuf, (tools, id): (Tools, String)) -> Result<Arc<Self>> {
        let server = events::serve(&tools.events).await?;
        let tools = Arc::new(tools);
        let (bundles, groups) = (Bundles::open(folder.join("b"))?, Groups::open(folder.join("g"), tools.clone())?);
        let network = Some(Network::open(folder, &id)?);
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        tracing::info!(shim = %tools.shim.display(), program = %tools.beneath.program.display(), "containers");
        Ok(Arc::new_cyclic(|me| Self {
            wasm,
            bundles,
            tools,
            groups,
            network,
            services: Services::default(),
            writable,
            logs: config.data_root.join("logs"),
            boot: boot_id(),
            kernel,
            preparing: Semaphore::new(PREPARING),
            starting: Semaphore::new(STARTING),
            me: me.clone(),
            _events: Mutex::new(server),
        }))
    }

    /// The runtimes of this node's containers, by name.
    pub(crate) fn runtimes(&self) -> Vec<String> {
        let added = self.tools.added.iter().filter(|(_, file)| tools::is_program(file)).map(|(name, _)| name.clone());
        std::iter::once(RUNTIME.to_owned()).chain(added).collect()
    }

    /// What it is that runs them, for people.
    pub(crate) fn described(&self) -> String {
        let with = format!("{RUNTIME} with {}", self.tools.beneath.name);
        match &self.tools.apparmor {
            Ok(None) => with,
            Ok(Some(profile)) => format!("{with}, AppArmor profile {profile}"),
            Err(why) => format!("{with}, without AppArmor: {why}"),
        }
    }

    pub(crate) fn controller(&self, request: TaskRequest, image: Image) -> Arc<dyn Controller> {
        Arc::new(Container::new(self.me.clone(), request, image))
    }

    pub(crate) async fn adopt(&self) -> Vec<Adopted> {
        match self.me.upgrade() {
            Some(this) => adopt::adopt(&this).await,
            None => Vec::new(),
        }
    }

    /// True when tasks of the service take connections here.
    pub(crate) fn serves(&self, service: ServiceId) -> bool {
        self.services.has(service)
    }

    pub(crate) async fn handover(&self, service: ServiceId, port: u16, client: SocketAddr, conn: BorrowedFd<'_>) -> Result<HandoverOutcome> {
        self.services.handover(service, port, client, conn).await
    }

    pub(crate) fn flow(&self, service: ServiceId, port: u16, socket: BorrowedFd<'_>) -> Result<HandoverOutcome> {
        self.services.flow(service, port, socket)
    }

    /// At the daemon's end: what no container has goes.
    pub(crate) async fn close(&self) {
        let Some(this) = self.me.upgrade() else { return };
        let _ = files::blocking(move || {
            if let Some(network) = &this.network {
                network.close();
            }
            cgroup::sweep(&this.tools, |_| true, |_| false);
        })
        .await;
    }

    /// Reads a container's output into its log.
    fn pump(&self, record: &Record) -> Result<Pump> {
        let bundle = self.bundles.path(record.task);
        let mut streams = vec![(bundle::fifo(&bundle, "stdout")?, Stream::Stdout)];
        if !record.tty {
            streams.push((bundle::fifo(&bundle, "stderr")?, Stream::Stderr));
        }
        let bounds = Bounds { max_size: record.log_size, max_files: record.log_files };
        Pump::start(&streams, self.logs.join(format!("{}.log", record.task)), bounds)
    }

    /// With the last task the parents of all control groups go.
    async fn tidy(&self) -> Result<()> {
        let Some(this) = self.me.upgrade() else { return Ok(()) };
        files::blocking(move || this.groups.while_there_is_none(|| cgroup::sweep(&this.tools, |_| true, |folder| this.wasm.is_cgroup(folder)))).await
    }

    /// Ends what a dead shim left running of a task.
    async fn bury(&self, task: TaskId, record: Option<&Record>) {
        let runtime = record.map_or(&self.tools.shim, |record| &record.runtime);
        if let Err(error) = groups::bury(&self.tools, runtime, &self.bundles.path(task), &task.to_string()).await {
            tracing::warn!(%task, %error, "what a dead shim left was not ended");
        }
    }
}
