//! The shim as a process: what it gives up, its runtimes, its sockets, when it ends.
//!
//! Owns: the order of start and end. Invariants: the engines are made before rights are dropped, guests come after; a shim with tasks ends
//! only when it is told to (`Shutdown` now) or killed: a daemon that goes away changes nothing for it. Its sockets' folder is closed to it
//! while guests run: who started it removes their files.

use crate::{
    args::{self, ShimArgs},
    engine::Engines,
    files::BLOCKING_THREADS,
    handover,
    logs::Logs,
    modules::Programs,
    net,
    quota::Descriptors,
    replica::Services,
    sandbox,
    task_api::TaskApi,
    tasks::Tasks,
    ticker::Ticker,
};
use containerd_shim_protos::shim_async::create_task;
use rustix::process::{Resource, Rlimit};
use std::{
    io::{self, Write},
    num::NonZero,
    os::fd::OwnedFd,
    os::unix::net::{UnixListener as Bound, UnixStream},
    path::{Path, PathBuf},
    pin::Pin,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader, ReadBuf},
    net::UnixListener,
    runtime::Runtime,
    sync::{Notify, mpsc},
};
use wsw_api::shim::{Confinement, HANDOVER_SUFFIX};

/// A shim that nobody uses and nobody talks to ends itself after this.
const IDLE: Duration = Duration::from_secs(60);
/// Connections that one shim serves at once, within half of the descriptors; the rest is for the guests' files and sockets.
const MAX_CONNECTIONS: u64 = 10_000;
/// Descriptors kept for everything else: logs, sockets, engines.
const RESERVED_DESCRIPTORS: u64 = 512;
/// What is still queued for the disk at the end gets this long.
const FLUSH: Duration = Duration::from_secs(5);
/// Sockets, logs and reports are for this user alone (and root).
const UMASK: u32 = 0o077;

/// Runs `wsw wasm-shim`; `args` come after the subcommand's name. With `--check` it only enters the sandbox and says what it got.
pub fn shim_main(args: Vec<String>) -> ExitCode {
    let args = match args::shim(&args) {
        Ok(args) => args,
        Err(error) => {
            eprintln!("wasm-shim: {error}");
            return ExitCode::from(2);
        }
    };
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).with_max_level(args.log_level).init();
    match if args.check { check(&args) } else { run(&args) } {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}: {error}", args.socket.display());
            ExitCode::FAILURE
        }
    }
}

/// One line on stdout: what a shim of this machine gets.
fn check(args: &ShimArgs) -> io::Result<()> {
    let parts = confine(args)?.parts().collect::<Vec<_>>();
    io::stdout().lock().write_all(format!("{}\n", parts.join(" ")).as_bytes())
}

fn run(args: &ShimArgs) -> io::Result<()> {
    detach();
    #[cfg(debug_assertions)]
    if let Some(probe) = &args.probe {
        return sandbox::probe::run(args, probe);
    }
    for folder in [&args.tasks, &args.logs, &args.code] {
        std::fs::metadata(folder).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", folder.display())))?;
    }
    let descriptors = raise_descriptors();
    // Read from the control groups, which are out of reach afterwards.
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let ticker = Ticker::new();
    let engines = Arc::new(Engines::new(ticker.clone()));
    let sockets = Sockets::bind(&args.socket)?;
    // The first runtime makes a pair of sockets for signals; it starts no thread.
    let control = tokio::runtime::Builder::new_current_thread().max_blocking_threads(2).enable_all().build()?;
    let net = net::Shared::new(args.network);
    let confinement = confine(args)?;
    ticker.start()?;
    let (logs, writer) = Logs::start()?;
    let mut guests = tokio::runtime::Builder::new_multi_thread();
    let guests = guests.thread_name("guests").worker_threads(cores).max_blocking_threads(BLOCKING_THREADS).enable_all().build()?;
    let served = control.block_on(serve(args, Made { sockets, confinement, engines, net, descriptors }, logs.clone(), &guests));
    guests.shutdown_background();
    logs.close();
    let (done, written) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _ = writer.join();
        let _ = done.send(());
    });
    if written.recv_timeout(FLUSH).is_err() {
        tracing::error!("the last log records were not written in time");
    }
    served
}

/// A session of its own: what ends the daemon's terminal or process group does not reach the tasks.
fn detach() {
    let _ = rustix::process::setsid();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(UMASK));
}

fn raise_descriptors() -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let now = if rustix::process::setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    now.unwrap_or(u64::MAX)
}

/// Enters the sandbox: from here on a guest may take the process over.
fn confine(args: &ShimArgs) -> io::Result<Confinement> {
    let confinement = sandbox::enter_shim(args).map_err(io::Error::other)?;
    let parts = confinement.parts().collect::<Vec<_>>().join(", ");
    tracing::info!(parts, network = args.network.as_str(), "confined");
    Ok(confinement)
}

/// What was made before guests may run.
struct Made {
    sockets: Sockets,
    confinement: Confinement,
    engines: Arc<Engines>,
    net: Arc<net::Shared>,
    descriptors: u64,
}

async fn serve(args: &ShimArgs, made: Made, logs: Arc<Logs>, guests: &Runtime) -> io::Result<()> {
    let Made { sockets: Sockets { tasks: listener, connections: handovers }, confinement, engines, net, descriptors } = made;
    let services = Arc::new(Services::default());
    let free = descriptors.saturating_sub(RESERVED_DESCRIPTORS);
    let connections = MAX_CONNECTIONS.min(free / 2);
    let of_guests = Descriptors::new(u32::try_from(free - connections).unwrap_or(u32::MAX));
    let connections = usize::try_from(connections).unwrap_or(usize::MAX);
    let handover = handover::Listener::new(handovers, services.clone(), net.listeners.clone(), guests.handle().clone(), connections)?;
    let capacity = usize::try_from(args.capacity).unwrap_or(usize::MAX);
    let tasks = Arc::new(Tasks::new(capacity, Programs::new(engines), logs, services, net, guests.handle().clone(), of_guests));
    let (shutdown, mut shut_down) = mpsc::channel(1);
    let clients = Arc::new(Clients::default());
    let listener = accept(UnixListener::from_std(listener)?, clients.clone());
    let mut server =
        ttrpc::r#async::Server::new().add_listener(listener).register_service(create_task(Arc::new(TaskApi::new(tasks.clone(), shutdown, confinement))));
    server.start().await.map_err(io::Error::other)?;
    let handing = tokio::spawn(handover.run());
    tracing::info!(capacity = args.capacity, "serving");
    loop {
        tokio::select! {
            now = shut_down.recv() => {
                if now == Some(true) || tasks.is_empty() {
                    break;
                }
            }
            () = idle(&tasks, &clients) => {
                tracing::info!("nothing to do and nobody there");
                break;
            }
        }
    }
    handing.abort();
    // Answers `Shutdown` first: handlers that run are waited for.
    server.shutdown().await.map_err(io::Error::other)?;
    tracing::info!("ends");
    Ok(())
}

/// Ends when there was neither a task nor a connection for a while.
async fn idle(tasks: &Tasks, clients: &Clients) {
    loop {
        let (emptied, left) = (tasks.emptied.notified(), clients.changed.notified());
        if tasks.is_empty() && clients.count.load(Ordering::SeqCst) == 0 {
            // A new task needs a connection first, so connections are all that has to be watched.
            tokio::select! {
                () = tokio::time::sleep(IDLE) => return,
                () = left => {}
            }
        } else {
            tokio::select! {
                () = emptied => {}
                () = left => {}
            }
        }
    }
}

/// The listening sockets.
struct Sockets {
    tasks: Bound,
    connections: OwnedFd,
}

impl Sockets {
    fn bind(path: &Path) -> io::Result<Self> {
        let mut handover = path.to_owned().into_os_string();
        handover.push(HANDOVER_SUFFIX);
        let handover = PathBuf::from(handover);
        remove_dead(path)?;
        remove_dead(&handover)?;
        // First, so that who finds the Task API answering finds this one too.
        let connections = handover::bind(&handover)?;
        let tasks = Bound::bind(path)?;
        tasks.set_nonblocking(true)?;
        Ok(Self { tasks, connections })
    }
}

/// Removes the file of a shim that is gone. One that answers is not touched.
fn remove_dead(path: &Path) -> io::Result<()> {
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another shim serves this socket"));
    }
    std::fs::remove_file(path)
}

/// Connections to the Task API.
#[derive(Default)]
struct Clients {
    count: AtomicUsize,
    changed: Notify,
}

fn accept(listener: UnixListener, clients: Arc<Clients>) -> ttrpc::r#async::transport::Listener {
    let stream = futures_util::stream::unfold((listener, clients), |(listener, clients)| async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) if handover::is_trusted(&stream) => {
                    let client = Client::new(stream, clients.clone());
                    return Some((Ok(client), (listener, clients)));
                }
                Ok(_) => tracing::warn!("a stranger was turned away"),
                Err(error) => {
                    tracing::error!("accept: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    ttrpc::r#async::transport::Listener::new(stream)
}

/// A counted connection. Buffered: ttrpc reads the head and the rest of each message apart, and requests come many at a time.
struct Client {
    stream: BufReader<tokio::net::UnixStream>,
    clients: Arc<Clients>,
}

impl Client {
    fn new(stream: tokio::net::UnixStream, clients: Arc<Clients>) -> Self {
        clients.count.fetch_add(1, Ordering::SeqCst);
        clients.changed.notify_waiters();
        Self { stream: BufReader::new(stream), clients }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.clients.count.fetch_sub(1, Ordering::SeqCst);
        self.clients.changed.notify_waiters();
    }
}

impl AsyncRead for Client {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Client {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
