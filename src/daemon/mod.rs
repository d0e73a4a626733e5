//! `wsw daemon`: one process that puts the crates together.
//!
//! Owns: the process (flags, data root, socket, signals). What a swarm is made of is in [`node`], what the API sees in [`backend`].
//! Invariants: the socket answers only when the node is ready; SIGTERM leaves tasks running; one daemon per data root.
//! Never: runs a guest, decides anything about the cluster.

mod address;
mod anew;
mod autolock;
mod backend;
mod blob_sources;
mod blobs;
mod capacity;
mod data_root;
mod events;
mod execs;
mod files;
pub mod help;
mod host;
mod images;
mod installation;
mod join;
mod link;
mod logs;
mod member;
mod moved;
mod network;
mod node;
mod paths;
mod role;
mod trust;
mod volumes;

pub use paths::Paths;

use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::UnixListener;
use tracing::{info, warn};

/// Port of all node-to-node traffic (Docker's own).
pub const DEFAULT_PORT: u16 = 2377;

/// Flags of `wsw daemon`; dockerd's names wherever dockerd has the flag.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Daemon socket to listen on: unix://PATH [default: /run/wsw/wsw.sock, or $XDG_RUNTIME_DIR/wsw/wsw.sock]. As root it is
    /// for root and the group wsw (0660), else for the user alone
    #[arg(short = 'H', long = "host", value_name = "SOCKET")]
    pub host: Option<String>,
    /// Root directory of persistent state; made when missing, for one daemon only [default: /var/lib/wsw, or $XDG_DATA_HOME/wsw]
    #[arg(long, value_name = "DIR")]
    pub data_root: Option<PathBuf>,
    /// Root directory for execution state: bundles and sockets; the record of what runs, so it must outlive the daemon, not
    /// the machine [default: /run/wsw, or $XDG_RUNTIME_DIR/wsw]
    #[arg(long, value_name = "DIR")]
    pub exec_root: Option<PathBuf>,
    /// Path to use for the daemon's PID file [default: wsw.pid in the exec root]
    #[arg(short, long, value_name = "FILE")]
    pub pidfile: Option<PathBuf>,
    /// Logging level of what goes to standard error: debug, info, warn, error, fatal
    #[arg(short, long, value_name = "LEVEL", default_value = "info")]
    pub log_level: String,
    /// Enable debug mode: the same as --log-level debug
    #[arg(short = 'D', long)]
    pub debug: bool,
    /// Address of node-to-node traffic; wins over what `swarm init` asks [default: 0.0.0.0:2377]
    #[arg(long, value_name = "IP:PORT")]
    pub listen_addr: Option<String>,
    /// Address that other nodes reach this one at: IP[:PORT] or an interface; wins over what `swarm init` asks. A loopback
    /// address publishes ports on loopback only [default: chosen from the listen address]
    #[arg(long, value_name = "IP:PORT")]
    pub advertise_addr: Option<String>,
    /// Speak plain HTTP, or TLS without checking certificates, to this registry (HOST[:PORT] or CIDR; loopback always is one)
    #[arg(long = "insecure-registry", value_name = "REGISTRY")]
    pub insecure_registries: Vec<String>,
    /// Folder of registries' certificates, one folder HOST[:PORT] each: *.crt are authorities, *.cert with *.key are shown to it
    /// [default: /etc/docker/certs.d, or $XDG_CONFIG_HOME/docker/certs.d when not root]
    #[arg(long, value_name = "DIR")]
    pub registry_certs: Option<PathBuf>,
    /// A further shim for containers: NAME=PATH of a program that speaks containerd's Task API; services ask for it with the
    /// label wsw.runtime=NAME
    #[arg(long = "add-runtime", value_name = "NAME=PATH")]
    pub add_runtimes: Vec<String>,
    /// Advertise a user-defined resource: KIND=NUMBER, or KIND=NAME once for each; services reserve them with --generic-resource
    #[arg(long = "node-generic-resource", value_name = "KIND=VALUE")]
    pub node_generic_resources: Vec<String>,
    /// How soon a manager that leads and is not heard is replaced: lan (half a second) or wan (five times that, for slow links,
    /// disks or machines)
    #[arg(long, value_name = "PROFILE", value_enum, default_value = "lan")]
    pub raft_timing: RaftTiming,
    /// Tasks that this node takes at most, below what the machine holds
    #[arg(long, value_name = "NUMBER", hide = true)]
    pub max_tasks: Option<std::num::NonZeroU64>,
}

/// The profiles of `--raft-timing`.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum RaftTiming {
    Lan,
    Wan,
}

/// Runs the daemon until SIGTERM or SIGINT.
pub fn run(args: Args) -> Result<()> {
    init_log(if args.debug { "debug" } else { &args.log_level })?;
    let listen = args.listen_addr.as_deref().map(|text| address::listen("--listen-addr", text)).transpose()?;
    let advertise =
        args.advertise_addr.as_deref().map(|text| address::advertise("--advertise-addr", text, listen.map_or(DEFAULT_PORT, |addr| addr.port()))).transpose()?;
    let generic = wsw_api::generic::parse(&args.node_generic_resources).map_err(|text| anyhow::anyhow!("--node-generic-resource: {text}"))?;
    let runtimes = wsw_runtime::added_runtimes(&args.add_runtimes).map_err(|error| anyhow::anyhow!(error.message))?;
    let paths = Paths::resolve(args.host.as_deref(), args.data_root, args.exec_root, args.pidfile)?;
    raise_descriptor_limit();
    hide();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("wsw").build().context("cannot start the runtime")?;
    let registry_certs = args.registry_certs.unwrap_or_else(paths::registry_certs);
    let timing = if matches!(args.raft_timing, RaftTiming::Wan) { wsw_manager::Timing::Wan } else { wsw_manager::Timing::Lan };
    let flags =
        node::Flags { listen, advertise, insecure_registries: args.insecure_registries, registry_certs, runtimes, max_tasks: args.max_tasks, timing, generic };
    runtime.block_on(serve(paths, flags))
}

fn init_log(level: &str) -> Result<()> {
    // dockerd's words for levels; its "fatal" has no counterpart and means errors only.
    let level = match level {
        "debug" | "info" | "warn" | "error" | "trace" => level,
        "fatal" => "error",
        other => bail!("invalid logging level {other:?} for --log-level: use debug, info, warn or error"),
    };
    let filter = tracing_subscriber::EnvFilter::new(format!("{level},openraft=error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    Ok(())
}

/// Nobody of the same user (without root that is what guests' processes run as) can look into the daemon, and no dump holds its keys.
fn hide() {
    let hidden = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let core = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = hidden.and(rustix::process::setrlimit(rustix::process::Resource::Core, core)) {
        warn!(%error, "the daemon's memory is open to processes of its user");
    }
}

/// Shims and connections take descriptors; the soft limit is a leftover from `select`.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(%error, "cannot raise the limit of open files");
    }
}

async fn serve(paths: Paths, flags: node::Flags) -> Result<()> {
    let _lock = data_root::prepare(&paths)?;
    let signals = Signals::install()?;
    let listener = bind_socket(&paths)?;
    let _pidfile = data_root::PidFile::write(&paths.pidfile)?;
    let node = node::Node::start(paths.clone(), flags).await?;
    let backend = Arc::new(backend::DaemonBackend::new(node.clone()));
    backend.start_sweeping();
    let backend: Arc<dyn wsw_dockerapi::backend::Backend> = backend;
    info!(socket = %paths.socket.display(), "API listen on unix socket");
    notify_systemd("READY=1");
    wsw_dockerapi::serve(listener, wsw_dockerapi::router(backend), signals.wait()).await;
    notify_systemd("STOPPING=1");
    node.stop().await;
    let _ = std::fs::remove_file(&paths.socket);
    Ok(())
}

/// SIGTERM and SIGINT, caught from before the first listener exists.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn install() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => info!("stopping on SIGTERM; tasks go on"),
            _ = self.interrupt.recv() => info!("stopping on SIGINT; tasks go on"),
        }
    }
}

/// Binds the Engine socket. A left-over file is replaced, a socket that answers is another daemon's.
fn bind_socket(paths: &Paths) -> Result<UnixListener> {
    let path = &paths.socket;
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        bail!("cannot listen on {}: another daemon answers there; stop it or choose another -H", path.display());
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("cannot create the folder of the socket {}", path.display()))?;
    }
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    host::restrict_socket(path).with_context(|| format!("cannot set owner and mode of {}", path.display()))?;
    Ok(listener)
}

/// Tells systemd (`Type=notify`) about the daemon's state; does nothing without it.
fn notify_systemd(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent = std::os::unix::net::UnixDatagram::unbound().and_then(|socket| socket.send_to(state.as_bytes(), PathBuf::from(path)));
    if let Err(error) = sent {
        warn!(%error, "cannot notify systemd");
    }
}
