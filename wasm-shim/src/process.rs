//! The shim as a process: what it gives up, its runtimes, its sockets, when it ends.
//!
//! Owns: the order of start and end. Invariants: the engines are made before rights are dropped, guests come after; a shim with tasks ends
//! only when it is told to (`Shutdown` now) or killed: a daemon that goes away changes nothing for it. It removes its sockets at its end.

use crate::{
    args::{self, ShimArgs},
    engine::Engines,
    handover,
    logs::Logs,
    modules::Programs,
    net,
    quota::Descriptors,
    replica::Services,
    task_api::TaskApi,
    tasks::Tasks,
    ticker::Ticker,
};
use containerd_shim_protos::shim_async::create_task;
use rustix::process::{Resource, Rlimit};
use std::{
    io,
    os::unix::net::UnixStream,
    path::PathBuf,
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
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixListener,
    runtime::Runtime,
    sync::{Notify, mpsc},
};
use wsw_api::shim::HANDOVER_SUFFIX;

/// A shim that nobody uses and nobody talks to ends itself after this.
const IDLE: Duration = Duration::from_secs(60);
/// Connections that one shim serves at once, within half of the descriptors; the rest is for the guests' files and sockets.
const MAX_CONNECTIONS: u64 = 10_000;
/// Descriptors kept for everything else: logs, sockets, engines.
const RESERVED_DESCRIPTORS: u64 = 512;
/// Threads for calls that block (guests have no files in this version; programs are loaded on the control runtime's).
const BLOCKING_THREADS: usize = 16;
/// What is still queued for the disk at the end gets this long.
const FLUSH: Duration = Duration::from_secs(5);
/// Sockets, logs and reports are for this user alone (and root).
const UMASK: u32 = 0o077;

/// Runs `wsw wasm-shim`; `args` come after the subcommand's name.
pub fn shim_main(args: Vec<String>) -> ExitCode {
    let args = match args::shim(&args) {
        Ok(args) => args,
        Err(error) => {
            eprintln!("wasm-shim: {error}");
            return ExitCode::from(2);
        }
    };
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).with_max_level(args.log_level).init();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}: {error}", args.socket.display());
            ExitCode::FAILURE
        }
    }
}

fn run(args: &ShimArgs) -> io::Result<()> {
    detach();
    for folder in [&args.tasks, &args.logs, &args.code] {
        std::fs::metadata(folder).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", folder.display())))?;
    }
    let descriptors = raise_descriptors();
    let engines = Arc::new(Engines::new(Ticker::start()?));
    let net = net::Shared::new(args.network);
    give_up_rights()?;
    let (logs, writer) = Logs::start()?;
    let guests = tokio::runtime::Builder::new_multi_thread().thread_name("guests").max_blocking_threads(BLOCKING_THREADS).enable_all().build()?;
    let control = tokio::runtime::Builder::new_current_thread().max_blocking_threads(2).enable_all().build()?;
    let served = control.block_on(serve(args, engines, logs.clone(), net, &guests, descriptors));
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

/// After this nobody of the same user can look into the process, and it can gain nothing by executing a file.
fn give_up_rights() -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

async fn serve(args: &ShimArgs, engines: Arc<Engines>, logs: Arc<Logs>, net: Arc<net::Shared>, guests: &Runtime, descriptors: u64) -> io::Result<()> {
    let mut handover_path = args.socket.clone().into_os_string();
    handover_path.push(HANDOVER_SUFFIX);
    let sockets = Sockets(vec![args.socket.clone(), handover_path.into()]);
    sockets.remove_dead()?;
    let services = Arc::new(Services::default());
    let free = descriptors.saturating_sub(RESERVED_DESCRIPTORS);
    let connections = MAX_CONNECTIONS.min(free / 2);
    let of_guests = Descriptors::new(u32::try_from(free - connections).unwrap_or(u32::MAX));
    let connections = usize::try_from(connections).unwrap_or(usize::MAX);
    let handover = handover::Listener::bind(&sockets.0[1], services.clone(), net.listeners.clone(), guests.handle().clone(), connections)?;
    let capacity = usize::try_from(args.capacity).unwrap_or(usize::MAX);
    let tasks = Arc::new(Tasks::new(capacity, Programs::new(engines), logs, services, net, guests.handle().clone(), of_guests));
    let (shutdown, mut shut_down) = mpsc::channel(1);
    let clients = Arc::new(Clients::default());
    let listener = accept(UnixListener::bind(&args.socket)?, clients.clone());
    let mut server = ttrpc::r#async::Server::new().add_listener(listener).register_service(create_task(Arc::new(TaskApi::new(tasks.clone(), shutdown))));
    server.start().await.map_err(io::Error::other)?;
    let handing = tokio::spawn(handover.run());
    tracing::info!(capacity = args.capacity, network = args.network.as_str(), "serving");
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

/// The socket files; removed when the shim ends.
struct Sockets(Vec<PathBuf>);

impl Sockets {
    /// Removes files that a shim left behind which was killed. One that answers is not touched.
    fn remove_dead(&self) -> io::Result<()> {
        for path in &self.0 {
            if path.symlink_metadata().is_err() {
                continue;
            }
            if UnixStream::connect(path).is_ok() {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another shim serves this socket"));
            }
            std::fs::remove_file(path)?;
        }
        Ok(())
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
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

/// A counted connection.
struct Client {
    stream: tokio::net::UnixStream,
    clients: Arc<Clients>,
}

impl Client {
    fn new(stream: tokio::net::UnixStream, clients: Arc<Clients>) -> Self {
        clients.count.fetch_add(1, Ordering::SeqCst);
        clients.changed.notify_waiters();
        Self { stream, clients }
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
