//! A shim that runs nothing: tasks change state as they are told to.

use super::super::process::Place;
use super::super::record::Record;
use super::super::{Group, Pool, Settings, Shim};
use crate::program::Program;
use async_trait::async_trait;
use containerd_shim_protos::{api, shim_async};
use rustix::net::{AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix, SocketType};
use std::collections::BTreeMap;
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use ttrpc::Code;
use ttrpc::r#async::transport::Listener;
use ttrpc::r#async::{Server, TtrpcContext};
use wsw_api::ServiceId;
use wsw_api::shim::{CONTRACT, Confinement, EXIT_REPORT, ExitReport, Handover, HandoverAnswer, HandoverOutcome, Network};

pub(crate) const ENGINE: &str = "engine-1";
pub(crate) const BOOT: &str = "boot-1";

#[derive(Default)]
struct Task {
    bundle: PathBuf,
    started: bool,
    exit: Option<watch::Sender<Option<u32>>>,
}

/// What the tests look at and change.
#[derive(Default)]
pub(crate) struct Fake {
    tasks: Mutex<BTreeMap<String, Task>>,
    pub room: Mutex<Option<usize>>,
    pub signals: Mutex<Vec<u32>>,
    pub shut_down: Mutex<bool>,
}

fn status<T>(code: Code, text: &str) -> ttrpc::Result<T> {
    Err(ttrpc::Error::RpcStatus(ttrpc::get_status(code, text.to_owned())))
}

impl Fake {
    /// Ends a task by itself.
    pub fn end(&self, id: &str, code: u32) {
        let tasks = self.tasks.lock().unwrap();
        let report = ExitReport { code, reason: (code != 0).then(|| "trap: unreachable".to_owned()), ran: true };
        let task = &tasks[id];
        std::fs::write(task.bundle.join(EXIT_REPORT), serde_json::to_vec(&report).unwrap()).unwrap();
        task.exit.as_ref().unwrap().send_replace(Some(code));
    }
    /// As if it had never been created.
    pub fn forget(&self, id: &str) {
        self.tasks.lock().unwrap().remove(id);
    }
    pub fn count(&self) -> usize {
        self.tasks.lock().unwrap().len()
    }
    /// Exit channel of a task.
    fn exit(&self, id: &str) -> ttrpc::Result<watch::Receiver<Option<u32>>> {
        match self.tasks.lock().unwrap().get(id) {
            Some(task) => Ok(task.exit.as_ref().unwrap().subscribe()),
            None => status(Code::NOT_FOUND, "task not found"),
        }
    }
}

/// The service; ttrpc wants to own it.
pub(crate) struct Api(pub Arc<Fake>);

#[async_trait]
impl shim_async::Task for Api {
    async fn connect(&self, _: &TtrpcContext, _: api::ConnectRequest) -> ttrpc::Result<api::ConnectResponse> {
        Ok(api::ConnectResponse { shim_pid: 4711, ..Default::default() })
    }
    async fn create(&self, _: &TtrpcContext, request: api::CreateTaskRequest) -> ttrpc::Result<api::CreateTaskResponse> {
        let mut tasks = self.0.tasks.lock().unwrap();
        if tasks.contains_key(&request.id) {
            return status(Code::ALREADY_EXISTS, "task exists");
        }
        if self.0.room.lock().unwrap().is_some_and(|room| tasks.len() >= room) {
            return status(Code::RESOURCE_EXHAUSTED, "no room");
        }
        if !Path::new(&request.bundle).join("config.json").exists() {
            return status(Code::INVALID_ARGUMENT, "config.json: missing");
        }
        assert!(request.stdout.starts_with("cri:///") && request.stdout == request.stderr);
        tasks.insert(request.id, Task { bundle: request.bundle.into(), started: false, exit: Some(watch::Sender::new(None)) });
        Ok(api::CreateTaskResponse::default())
    }
    async fn start(&self, _: &TtrpcContext, request: api::StartRequest) -> ttrpc::Result<api::StartResponse> {
        match self.0.tasks.lock().unwrap().get_mut(&request.id) {
            None => status(Code::NOT_FOUND, "task not found"),
            Some(task) if task.started => status(Code::FAILED_PRECONDITION, "was started before"),
            Some(task) => {
                task.started = true;
                Ok(api::StartResponse { pid: 4711, ..Default::default() })
            }
        }
    }
    async fn state(&self, _: &TtrpcContext, request: api::StateRequest) -> ttrpc::Result<api::StateResponse> {
        let exit = *self.0.exit(&request.id)?.borrow();
        let started = self.0.tasks.lock().unwrap()[&request.id].started;
        let state = match (exit, started) {
            (Some(_), _) => api::Status::STOPPED,
            (None, true) => api::Status::RUNNING,
            (None, false) => api::Status::CREATED,
        };
        Ok(api::StateResponse { pid: 4711, status: state.into(), exit_status: exit.unwrap_or_default(), ..Default::default() })
    }
    async fn wait(&self, _: &TtrpcContext, request: api::WaitRequest) -> ttrpc::Result<api::WaitResponse> {
        let mut exit = self.0.exit(&request.id)?;
        let code = exit.wait_for(Option::is_some).await.map(|code| code.unwrap_or_default());
        code.map_or_else(|_| status(Code::NOT_FOUND, "task not found"), |exit_status| Ok(api::WaitResponse { exit_status, ..Default::default() }))
    }
    async fn kill(&self, _: &TtrpcContext, request: api::KillRequest) -> ttrpc::Result<api::Empty> {
        if self.0.exit(&request.id)?.borrow().is_some() {
            return status(Code::FAILED_PRECONDITION, "has ended");
        }
        self.0.signals.lock().unwrap().push(request.signal);
        self.0.end(&request.id, 128 + request.signal);
        Ok(api::Empty::default())
    }
    async fn delete(&self, _: &TtrpcContext, request: api::DeleteRequest) -> ttrpc::Result<api::DeleteResponse> {
        let running = self.0.exit(&request.id)?.borrow().is_none() && self.0.tasks.lock().unwrap()[&request.id].started;
        if running {
            return status(Code::FAILED_PRECONDITION, "is running");
        }
        self.0.tasks.lock().unwrap().remove(&request.id);
        Ok(api::DeleteResponse::default())
    }
    async fn shutdown(&self, _: &TtrpcContext, _: api::ShutdownRequest) -> ttrpc::Result<api::Empty> {
        *self.0.shut_down.lock().unwrap() = true;
        Ok(api::Empty::default())
    }
}

/// A fake that listens in a folder as shim `number` would.
pub(crate) struct Listening {
    pub fake: Arc<Fake>,
    pub place: Place,
    streams: Streams,
    _server: Server,
}

/// Copies of all connections, to cut them.
type Streams = Arc<Mutex<Vec<OwnedFd>>>;

impl Listening {
    pub async fn new(folder: &Path, number: u32) -> Self {
        std::fs::create_dir_all(folder.join("s")).unwrap();
        let (fake, place) = (Arc::new(Fake::default()), Place::new(folder, &folder.join("logs"), number));
        place.make(None).unwrap();
        let service = shim_async::create_task(Arc::new(Api(fake.clone())));
        let (listener, streams) = (tokio::net::UnixListener::bind(&place.socket).unwrap(), Streams::default());
        let accepted = futures_util::stream::unfold((listener, streams.clone()), |(listener, streams)| async move {
            let (stream, _) = listener.accept().await.unwrap();
            streams.lock().unwrap().push(rustix::io::dup(&stream).unwrap());
            Some((Ok(stream), (listener, streams)))
        });
        let mut server = Server::new().add_listener(Listener::new(accepted)).register_service(service);
        server.start().await.unwrap();
        serve_handovers(&place.handover());
        Self { fake, place, streams, _server: server }
    }

    /// What `kill -9` looks like from outside.
    pub fn die(&self) {
        for stream in self.streams.lock().unwrap().drain(..) {
            rustix::net::shutdown(stream, rustix::net::Shutdown::Both).unwrap();
        }
    }

    pub async fn shim(&self, number: u32) -> Shim {
        Shim::reconnect(number, self.place.clone(), None).await.unwrap()
    }
}

/// Services whose id begins with this byte answer so; the others take the connection and say "hello" on it.
pub(crate) const NOBODY: u8 = 1;
pub(crate) const FULL: u8 = 2;
pub(crate) const HANGS_UP: u8 = 3;

fn serve_handovers(path: &Path) {
    let listener = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    rustix::net::bind(&listener, &SocketAddrUnix::new(path).unwrap()).unwrap();
    rustix::net::listen(&listener, 4).unwrap();
    std::thread::spawn(move || {
        while let Ok(channel) = rustix::net::accept(&listener) {
            std::thread::spawn(move || while answer(&channel).is_some() {});
        }
    });
}

fn answer(channel: &OwnedFd) -> Option<()> {
    let mut buffer = [0_u8; 512];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(channel, &mut [IoSliceMut::new(&mut buffer)], &mut control, RecvFlags::CMSG_CLOEXEC).ok()?;
    let handover: Handover = rmp_serde::from_slice(buffer.get(..received.bytes)?).ok()?;
    let mut descriptors = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => rights.collect::<Vec<_>>(),
        _ => vec![],
    });
    let connection = descriptors.next()?;
    let outcome = match handover.service.as_bytes()[0] {
        NOBODY => HandoverOutcome::None,
        FULL => HandoverOutcome::Full,
        HANGS_UP => return None,
        _ => HandoverOutcome::Taken,
    };
    if outcome == HandoverOutcome::Taken {
        std::os::unix::net::UnixStream::from(connection).write_all(format!("hello {}", handover.client).as_bytes()).ok()?;
    }
    let answer = rmp_serde::to_vec_named(&HandoverAnswer { seq: handover.seq, outcome }).ok()?;
    rustix::net::send(channel, &answer, SendFlags::NOSIGNAL).ok().map(drop)
}

/// Writes the record of a shim that an earlier daemon started.
pub(crate) fn record(folder: &Path, number: u32, group: Group, change: impl FnOnce(&mut Record)) {
    let mut record = Record { number, engine: ENGINE.into(), contract: CONTRACT, capacity: 2, group, network: Network::None, boot: BOOT.into() };
    change(&mut record);
    record.write(folder).unwrap();
}

/// A pool on `folder` whose own shims are this script.
pub(crate) fn pool(folder: &Path, script: &str) -> Arc<Pool> {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join("program");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = Arc::new(Program::script(&path));
    let (logs, code) = (folder.join("logs"), folder.join("code"));
    let confinement = Confinement::default();
    Pool::open(Settings {
        program,
        user: None,
        folder: folder.to_owned(),
        logs,
        code,
        cgroups: None,
        confinement,
        engine_key: ENGINE.into(),
        capacity: 2,
        boot: BOOT.into(),
    })
    .unwrap()
}

pub(crate) fn service(byte: u8) -> ServiceId {
    ServiceId::from_bytes([byte; 16])
}
