//! The daemon's side: starts the processes, writes bundles, speaks ttrpc and hands connections over.

use containerd_shim_protos::{api, cgroups_v2::metrics::Metrics, protobuf::Message, shim_async::TaskClient};
use rustix::net::{AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use serde_json::{Value, json};
use std::{
    io::{IoSlice, Write},
    mem::MaybeUninit,
    net::{TcpListener, TcpStream},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use ttrpc::context::Context;
use wsw_api::{
    id::ServiceId,
    shim::{self, CompileReport, ExitReport, Handover, HandoverAnswer, HandoverOutcome, Kind},
    spec::Protocol,
};

/// Words of the process to become, one a line.
pub const PROCESS: &str = "WSW_TEST_PROCESS";
/// Memory of a compiler in tests.
pub const MEMORY: u64 = 1 << 30;

fn process(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "entry", "--nocapture", "--test-threads=1"]).env_clear().env(PROCESS, words.join("\n"));
    command
}

/// What the compiler process gave.
pub struct Compiled {
    pub report: CompileReport,
    pub artefact: Vec<u8>,
    pub success: bool,
}

/// Runs the compiler process.
pub fn compile(bytes: &[u8], memory: u64) -> Compiled {
    let words = ["wasm-compile", "--memory", &memory.to_string()];
    let mut child = process(&words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdin, bytes) = (child.stdin.take().unwrap(), bytes.to_vec());
    // A compiler that refuses early does not read all.
    let writing = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    let _ = writing.join();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = stderr.trim_end().lines().last().unwrap_or_default();
    let report = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {stderr}"));
    // The test harness prints before the artefact.
    let start = output.stdout.windows(4).position(|four| four == b"\x7fELF").unwrap_or(output.stdout.len());
    Compiled { report, artefact: output.stdout[start..].to_vec(), success: output.status.success() }
}

/// How a task ended, by `Wait` and by its report.
#[derive(Debug)]
pub struct Ended {
    pub code: u32,
    pub report: ExitReport,
}

/// A running shim.
pub struct Shim {
    pub folder: TempDir,
    pub child: Child,
    pub client: TaskClient,
    pub handover: OwnedFd,
    seq: u64,
}

impl Drop for Shim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Shim {
    pub async fn start(capacity: u32) -> Self {
        let folder = tempfile::Builder::new().prefix("shim").tempdir().unwrap();
        let socket = folder.path().join("1.sock");
        let log = std::fs::File::create(folder.path().join("shim.log")).unwrap();
        let all = folder.path().to_str().unwrap();
        let mut words = vec!["wasm-shim", "--socket", socket.to_str().unwrap(), "--tasks", all, "--logs", all, "--code", all];
        let capacity = capacity.to_string();
        words.extend(["--capacity", &capacity, "--log-level", "debug"]);
        let mut child = process(&words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        until("the shim to listen", async || {
            assert!(child.try_wait().unwrap().is_none(), "{}", std::fs::read_to_string(folder.path().join("shim.log")).unwrap());
            std::os::unix::net::UnixStream::connect(&socket).ok()
        })
        .await;
        let client = connect(&socket).await;
        let handover = open_handover(&socket);
        Self { folder, child, client, handover, seq: 0 }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("1.sock")
    }

    /// Compiles a guest's text; its artefact and kind.
    pub fn program(&self, wat: &str) -> (PathBuf, Kind) {
        let compiled = compile(&wat::parse_str(wat).unwrap(), MEMORY);
        let CompileReport::Ok { kind } = compiled.report else { panic!("{:?}", compiled.report) };
        let path = self.folder.path().join(format!("{:x}.cwasm", wat.len()));
        std::fs::write(&path, compiled.artefact).unwrap();
        (path, kind)
    }

    pub fn bundle(&self, id: &str) -> PathBuf {
        self.folder.path().join("b").join(id)
    }

    /// Writes a bundle and calls `Create`.
    pub async fn create(&self, id: &str, program: &(PathBuf, Kind), change: impl FnOnce(&mut Value)) -> ttrpc::Result<()> {
        let mut config = json!({
            "ociVersion": "1.2.0",
            "process": { "cwd": "/", "user": { "uid": 0, "gid": 0 }, "args": ["guest"], "env": [format!("WSW_TASK_NAME={id}")] },
            "root": { "path": "rootfs" },
            "annotations": { shim::COMPILED: program.0.to_str().unwrap(), shim::KIND: program.1.as_str(), shim::SERVICE: service().to_string() },
        });
        change(&mut config);
        let bundle = self.bundle(id);
        std::fs::create_dir_all(&bundle).unwrap();
        std::fs::write(bundle.join("config.json"), config.to_string()).unwrap();
        let mut request = api::CreateTaskRequest::new();
        request.id = id.to_owned();
        request.bundle = bundle.to_str().unwrap().to_owned();
        request.stdout = format!("{}{}", shim::LOG_SCHEME, self.log_path(id).display());
        request.stderr = request.stdout.clone();
        self.client.create(context(), &request).await.map(drop)
    }

    pub async fn start_task(&self, id: &str) -> ttrpc::Result<()> {
        let mut request = api::StartRequest::new();
        request.id = id.to_owned();
        self.client.start(context(), &request).await.map(drop)
    }

    pub async fn run(&self, id: &str, program: &(PathBuf, Kind), change: impl FnOnce(&mut Value)) {
        self.create(id, program, change).await.unwrap();
        self.start_task(id).await.unwrap();
    }

    pub async fn kill(&self, id: &str, signal: u32) -> ttrpc::Result<()> {
        let mut request = api::KillRequest::new();
        request.id = id.to_owned();
        request.signal = signal;
        self.client.kill(context(), &request).await.map(drop)
    }

    pub async fn wait(&self, id: &str) -> Ended {
        let mut request = api::WaitRequest::new();
        request.id = id.to_owned();
        let code = self.client.wait(context(), &request).await.unwrap().exit_status;
        let report = std::fs::read(self.bundle(id).join(shim::EXIT_REPORT)).unwrap();
        Ended { code, report: serde_json::from_slice(&report).unwrap() }
    }

    pub async fn delete(&self, id: &str) -> ttrpc::Result<api::DeleteResponse> {
        let mut request = api::DeleteRequest::new();
        request.id = id.to_owned();
        self.client.delete(context(), &request).await
    }

    pub async fn state(&self, id: &str) -> ttrpc::Result<api::StateResponse> {
        let mut request = api::StateRequest::new();
        request.id = id.to_owned();
        self.client.state(context(), &request).await
    }

    pub async fn stats(&self, id: &str) -> Metrics {
        let mut request = api::StatsRequest::new();
        request.id = id.to_owned();
        let stats = self.client.stats(context(), &request).await.unwrap();
        assert_eq!(stats.stats.type_url, "io.containerd.cgroups.v2.Metrics");
        Metrics::parse_from_bytes(&stats.stats.value).unwrap()
    }

    /// Waits until an instance of the task holds its 64 KiB.
    pub async fn instantiated(&self, id: &str) {
        until("an instance to have its memory", async || (self.stats(id).await.memory.usage > 0).then_some(())).await;
    }

    /// What the task has used of the processors.
    pub async fn spent(&self, id: &str) -> Duration {
        Duration::from_micros(self.stats(id).await.cpu.usage_usec)
    }

    /// Waits until the task has used so much.
    pub async fn wait_spent(&self, id: &str, least: Duration) {
        until("a guest to compute", async || (self.spent(id).await >= least).then_some(())).await;
    }

    fn log_path(&self, id: &str) -> PathBuf {
        self.folder.path().join(format!("{id}.log"))
    }

    /// The task's log: stream, tag and text of each record.
    pub fn log(&self, id: &str) -> Vec<(String, String, String)> {
        let text = std::fs::read_to_string(self.log_path(id)).unwrap_or_default();
        let record = |line: &str| {
            let mut parts = line.splitn(4, ' ').skip(1).map(str::to_owned);
            (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap())
        };
        text.lines().map(record).collect()
    }

    /// Hands one end of a new TCP connection over; the other end when it was taken.
    pub fn connect(&mut self, service: ServiceId) -> Result<TcpStream, HandoverOutcome> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, address) = listener.accept().unwrap();
        self.seq += 1;
        let header = Handover { contract: shim::CONTRACT, seq: self.seq, service, port: 80, protocol: Protocol::Tcp, client: address };
        send(&self.handover, &rmp_serde::to_vec_named(&header).unwrap(), &[&server]);
        let answer = answer(&self.handover).unwrap();
        assert_eq!(answer.seq, self.seq);
        match answer.outcome {
            HandoverOutcome::Taken => Ok(client),
            other => Err(other),
        }
    }
}

/// The longest that a test waits for one state; nothing asserts that something is fast.
const BOUND: Duration = Duration::from_secs(60);

/// Looks until `look` gives a value, with pauses in between; panics with `what` when it does not within the bound.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = look().await {
            return value;
        }
        assert!(begun.elapsed() < BOUND, "waited {BOUND:?} for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The one service of these tests.
pub fn service() -> ServiceId {
    ServiceId::from_bytes([7; 16])
}

pub fn context() -> Context {
    ttrpc::context::with_duration(Duration::from_secs(60))
}

pub async fn connect(socket: &Path) -> TaskClient {
    TaskClient::new(ttrpc::r#async::Client::connect(&format!("unix://{}", socket.display())).await.unwrap())
}

pub fn open_handover(socket: &Path) -> OwnedFd {
    let path = format!("{}{}", socket.display(), shim::HANDOVER_SUFFIX);
    let channel = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    rustix::net::connect(&channel, &SocketAddrUnix::new(&*path).unwrap()).unwrap();
    channel
}

/// Sends one message with these descriptors.
pub fn send(channel: &OwnedFd, bytes: &[u8], descriptors: &[&dyn AsFd]) {
    let borrowed: Vec<_> = descriptors.iter().map(|descriptor| descriptor.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !borrowed.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(&borrowed)));
    }
    rustix::net::sendmsg(channel, &[IoSlice::new(bytes)], &mut control, SendFlags::empty()).unwrap();
}

/// The next answer; none when the channel was closed.
pub fn answer(channel: &OwnedFd) -> Option<HandoverAnswer> {
    let mut bytes = [0; shim::MAX_HANDOVER];
    let (read, _) = rustix::net::recv(channel, &mut bytes, RecvFlags::empty()).unwrap_or((0, 0));
    (read > 0).then(|| rmp_serde::from_slice(&bytes[..read]).unwrap())
}

/// The ttrpc code of a refusal and its text.
pub fn refusal<T>(result: ttrpc::Result<T>) -> (ttrpc::Code, String) {
    match result {
        Err(ttrpc::Error::RpcStatus(status)) => (status.code(), status.message().to_owned()),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("was not refused"),
    }
}
