//! One shim of containerd's kind: its Task API, version 2 or 3, as plain calls.
//!
//! Owns: the ttrpc connection, time limits, the translation of answers. The two versions have the same messages under two names, so requests are
//! made by hand. Invariant: once the connection is closed, or the shim was given up ([`super::pulse`]), it is dead, and every call, waiting or new, ends with [`Refusal::Died`].
//! Never: starts or ends a process.

use super::address::Address;
use super::pulse;
use crate::shim::{Refusal, TaskState, Watched, timestamp};
use containerd_shim_protos::api;
use containerd_shim_protos::cgroups::metrics::Metrics as MetricsV1;
use containerd_shim_protos::cgroups_v2::metrics::Metrics as MetricsV2;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim_async::Client;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use ttrpc::asynchronous::transport::Socket;
use ttrpc::proto::{Request, RequestInit};
use ttrpc::{Code, Error as Rpc};
use wsw_api::Time;
use wsw_api::exec::Size;
use wsw_api::usage::Usage;

/// A call that is not answered for so long will not be: `Create` runs runc, and on a busy machine 50 of them wait for each other.
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// Calls that run runc, of one shim at a time. Its reaper tells each exit (of a container, of a runc) to queues of 32, and a call holds up those of its own container until its
/// runc's exit is told: once a queue is full, the 1.6 line stands still for good. With so few at a time one runc would have to take as long as eight others in a row.
const TURNS: usize = 3;
/// A shim that is well answers within a millisecond. What nobody hears of at a daemon's start holds up all that comes after it.
const AT_ONCE: Duration = Duration::from_secs(2);
/// After a call failed on the connection, its closing is noticed within this.
const NOTICE_LIMIT: Duration = Duration::from_secs(2);
/// The Task API's name in version 2 and in version 3.
const SERVICES: [&str; 2] = ["containerd.task.v2.Task", "containerd.task.v3.Task"];
/// What no version of the Task API has: every shim refuses it, without a lock and without runc.
const UNKNOWN: &str = "Pulse";
/// cgroup v1's word for "no limit": the largest number of whole pages.
const NO_LIMIT: u64 = 1 << 62;

/// containerd's name of the OCI runtime specification's `Process`.
const PROCESS: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";

/// A shim that answered `Connect`.
pub(super) struct Shim {
    service: &'static str,
    client: Client,
    closed: CancellationToken,
    turns: Semaphore,
    /// See [`in_order`].
    order: Mutex<()>,
    pid: u32,
    /// Why it was given up.
    verdict: OnceLock<String>,
    /// The last question had no answer.
    doubtful: AtomicBool,
}

impl Shim {
    /// One that was just started.
    pub(super) async fn connect(address: &Address) -> Result<Self, Refusal> {
        let mut shim = Self::open(address).await?;
        shim.greet().await?;
        Ok(shim)
    }

    /// One of an earlier daemon. Where it does not answer at once, this does not wait for it: it is doubtful then, and whoever watches it decides.
    pub(super) async fn reach(address: &Address) -> Result<Self, Refusal> {
        let mut shim = Self::open(address).await?;
        match tokio::time::timeout(AT_ONCE, shim.greet()).await {
            Ok(answer) => answer?,
            Err(_) => shim.doubt(true),
        }
        Ok(shim)
    }

    async fn open(address: &Address) -> Result<Self, Refusal> {
        let stream = UnixStream::connect(&address.socket).await.map_err(|error| Refusal::Died(format!("its socket: {error}")))?;
        let closed = CancellationToken::new();
        let client = Client::new(Socket::new(Watched::new(stream, closed.clone())));
        let service = if address.api == 2 { SERVICES[0] } else { SERVICES[1] };
        let (verdict, doubtful) = (OnceLock::new(), AtomicBool::default());
        Ok(Self { service, client, closed, turns: Semaphore::new(TURNS), order: Mutex::default(), pid: 0, verdict, doubtful })
    }

    async fn greet(&mut self) -> Result<(), Refusal> {
        let answer = match self.hello().await {
            // What `start` printed says less than what it serves: Go and Rust servers of an unknown service.
            Err(refusal) if refusal.is(Code::UNIMPLEMENTED) || refusal.is(Code::INVALID_ARGUMENT) => {
                self.service = if self.api() == 2 { SERVICES[1] } else { SERVICES[0] };
                self.hello().await
            }
            answer => answer,
        };
        self.pid = answer?.shim_pid;
        Ok(())
    }

    async fn hello(&self) -> Result<api::ConnectResponse, Refusal> {
        let request = api::ConnectRequest::default();
        tokio::select! {
            answer = self.call("Connect", &request, Some(CALL_LIMIT)) => answer,
            // One that was stopped while nobody watched it.
            verdict = pulse::stands_still(self, Duration::ZERO) => Err(Refusal::Silent(verdict)),
        }
    }

    /// The version of the Task API that it speaks.
    pub(super) fn api(&self) -> u32 {
        if self.service == SERVICES[0] { 2 } else { 3 }
    }

    /// Whether its process answers at all.
    pub(super) async fn lives(&self, limit: Duration) -> bool {
        let answer: Result<api::Empty, Refusal> = self.call(UNKNOWN, &api::Empty::default(), Some(limit)).await;
        !matches!(answer, Err(Refusal::Silent(_)))
    }

    /// Whether its calls get their turn.
    pub(super) async fn connects(&self, limit: Duration) -> bool {
        let answer: Result<api::ConnectResponse, Refusal> = self.call("Connect", &api::ConnectRequest::default(), Some(limit)).await;
        !matches!(answer, Err(Refusal::Silent(_)))
    }

    pub(super) fn doubt(&self, doubtful: bool) {
        self.doubtful.store(doubtful, Ordering::Relaxed);
    }

    /// True while it owes an answer: no task should go there.
    pub(super) fn is_doubtful(&self) -> bool {
        self.doubtful.load(Ordering::Relaxed)
    }

    /// Why its calls end from now on.
    pub(super) fn judge(&self, verdict: String) {
        let _ = self.verdict.set(verdict);
    }

    /// All calls end.
    pub(super) fn cut(&self) {
        self.closed.cancel();
    }

    fn died(&self) -> Refusal {
        Refusal::Died(self.verdict.get().cloned().unwrap_or_else(|| "its process ended".into()))
    }

    pub(super) fn is_dead(&self) -> bool {
        self.closed.is_cancelled()
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) async fn create(&self, request: api::CreateTaskRequest) -> Result<u32, Refusal> {
        let answer: api::CreateTaskResponse = self.take_turn("Create", &request).await?;
        Ok(answer.pid)
    }

    /// Starts the task's first process, or one that [`Self::exec`] made.
    pub(super) async fn start(&self, id: &str, exec: &str) -> Result<u32, Refusal> {
        let request = api::StartRequest { id: id.into(), exec_id: exec.into(), ..Default::default() };
        let answer: api::StartResponse = self.take_turn("Start", &request).await?;
        Ok(answer.pid)
    }

    /// Answers when it has ended: its code and when.
    pub(super) async fn wait(&self, id: &str, exec: &str) -> Result<(u32, Time), Refusal> {
        let request = api::WaitRequest { id: id.into(), exec_id: exec.into(), ..Default::default() };
        let answer: api::WaitResponse = self.call("Wait", &request, None).await?;
        Ok((answer.exit_status, timestamp(answer.exited_at.as_ref().map(|at| (at.seconds, at.nanos)))))
    }

    pub(super) async fn kill(&self, id: &str, exec: &str, signal: u32, all: bool) -> Result<(), Refusal> {
        let request = api::KillRequest { id: id.into(), exec_id: exec.into(), signal, all, ..Default::default() };
        let _: api::Empty = self.take_turn("Kill", &request).await?;
        Ok(())
    }

    pub(super) async fn delete(&self, id: &str, exec: &str) -> Result<(), Refusal> {
        let request = api::DeleteRequest { id: id.into(), exec_id: exec.into(), ..Default::default() };
        let _: api::DeleteResponse = self.take_turn("Delete", &request).await?;
        Ok(())
    }

    /// Makes a second process of a task; [`Self::start`] runs it.
    pub(super) async fn exec(&self, id: &str, exec: &str, process: Vec<u8>, terminal: bool, [stdin, stdout, stderr]: [String; 3]) -> Result<(), Refusal> {
        let spec = Any { type_url: PROCESS.into(), value: process, ..Default::default() };
        let request =
            api::ExecProcessRequest { id: id.into(), exec_id: exec.into(), terminal, stdin, stdout, stderr, spec: Some(spec).into(), ..Default::default() };
        let _: api::Empty = self.call("Exec", &request, Some(CALL_LIMIT)).await?;
        Ok(())
    }

    /// Processes of a task, on the node.
    pub(super) async fn pids(&self, id: &str) -> Result<Vec<u32>, Refusal> {
        let request = api::PidsRequest { id: id.into(), ..Default::default() };
        let answer: api::PidsResponse = self.call("Pids", &request, Some(CALL_LIMIT)).await?;
        Ok(answer.processes.iter().map(|process| process.pid).collect())
    }

    /// The shim lets go of its own end of a process's input.
    pub(super) async fn close_io(&self, id: &str, exec: &str) -> Result<(), Refusal> {
        let request = api::CloseIORequest { id: id.into(), exec_id: exec.into(), stdin: true, ..Default::default() };
        let _: api::Empty = self.call("CloseIO", &request, Some(CALL_LIMIT)).await?;
        Ok(())
    }

    /// Tells a process's terminal its size.
    pub(super) async fn resize(&self, id: &str, exec: &str, size: Size) -> Result<(), Refusal> {
        let (width, height) = (size.width.into(), size.height.into());
        let request = api::ResizePtyRequest { id: id.into(), exec_id: exec.into(), width, height, ..Default::default() };
        let _: api::Empty = self.call("ResizePty", &request, Some(CALL_LIMIT)).await?;
        Ok(())
    }

    pub(super) async fn state(&self, id: &str) -> Result<TaskState, Refusal> {
        let request = api::StateRequest { id: id.into(), ..Default::default() };
        let answer: api::StateResponse = self.call("State", &request, Some(CALL_LIMIT)).await?;
        Ok(match answer.status.enum_value_or_default() {
            api::Status::CREATED => TaskState::Created,
            api::Status::STOPPED => TaskState::Stopped { code: answer.exit_status, at: timestamp(answer.exited_at.as_ref().map(|at| (at.seconds, at.nanos))) },
            _ => TaskState::Running { pid: answer.pid },
        })
    }

    /// What the task uses: metrics of cgroup v1 or v2, whichever the machine has.
    pub(super) async fn usage(&self, id: &str) -> Result<Usage, Refusal> {
        let request = api::StatsRequest { id: id.into(), ..Default::default() };
        let answer: api::StatsResponse = self.call("Stats", &request, Some(CALL_LIMIT)).await?;
        let any = answer.stats.unwrap_or_default();
        let wrong = |error: containerd_shim_protos::protobuf::Error| Refusal::Silent(format!("Stats: {error}"));
        let limit = |bytes: u64| Some(bytes).filter(|bytes| *bytes != 0 && *bytes < NO_LIMIT);
        if any.type_url.contains("v2") {
            let metrics = MetricsV2::parse_from_bytes(&any.value).map_err(wrong)?;
            let (cpu, memory, pids) = (metrics.cpu.unwrap_or_default(), metrics.memory.unwrap_or_default(), metrics.pids.unwrap_or_default());
            let devices = metrics.io.unwrap_or_default().usage;
            return Ok(Usage {
                cpu_nanos: cpu.usage_usec.saturating_mul(1_000),
                memory_bytes: memory.usage.saturating_sub(memory.inactive_file),
                memory_limit: limit(memory.usage_limit),
                pids: pids.current,
                read_bytes: devices.iter().map(|device| device.rbytes).sum(),
                written_bytes: devices.iter().map(|device| device.wbytes).sum(),
                traffic: None,
            });
        }
        let metrics = MetricsV1::parse_from_bytes(&any.value).map_err(wrong)?;
        let memory = metrics.memory.unwrap_or_default();
        let devices = metrics.blkio.unwrap_or_default().io_service_bytes_recursive;
        let moved = |way: &str| devices.iter().filter(|device| device.op.eq_ignore_ascii_case(way)).map(|device| device.value).sum();
        let (all, cpu) = (memory.usage.unwrap_or_default(), metrics.cpu.unwrap_or_default().usage.unwrap_or_default());
        Ok(Usage {
            cpu_nanos: cpu.total,
            memory_bytes: all.usage.saturating_sub(memory.total_inactive_file),
            memory_limit: limit(all.limit),
            pids: metrics.pids.unwrap_or_default().current,
            read_bytes: moved("read"),
            written_bytes: moved("write"),
            traffic: None,
        })
    }

    /// Asks a shim without tasks to end. Its connection closes, and that is the answer.
    pub(super) async fn shutdown(&self, id: &str) {
        let request = api::ShutdownRequest { id: id.into(), now: false, ..Default::default() };
        let _: Result<api::Empty, Refusal> = self.call("Shutdown", &request, Some(NOTICE_LIMIT)).await;
        let _ = tokio::time::timeout(NOTICE_LIMIT, self.closed.cancelled()).await;
    }

    /// A call that runs runc. Its time begins with its turn.
    async fn take_turn<T: Message>(&self, method: &str, message: &impl Message) -> Result<T, Refusal> {
        let turn = self.turns.acquire().await;
        let answer = self.call(method, message, Some(CALL_LIMIT)).await;
        drop(turn);
        answer
    }

    async fn call<T: Message>(&self, method: &str, message: &impl Message, limit: Option<Duration>) -> Result<T, Refusal> {
        let silent = |why: String| Refusal::Silent(format!("shim: {method}: {why}"));
        let payload = message.write_to_bytes().map_err(|error| silent(error.to_string()))?;
        let nanos = limit.map_or(0, |limit| i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX));
        let mut request = Request::init_request(self.service.to_owned(), method.to_owned(), nanos, Vec::new());
        request.set_payload(payload);
        // Sending has no limit of its own: a shim that reads nothing lets the socket fill.
        let patience = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        let result = tokio::select! {
            biased;
            result = in_order(&self.order, tokio::task::unconstrained(self.client.request(request))) => result,
            () = self.closed.cancelled() => Err(Rpc::RemoteClosed),
            () = patience => return Err(silent(format!("no answer within {} s", limit.unwrap_or_default().as_secs()))),
        };
        let error = match result {
            Ok(answer) => return T::parse_from_bytes(&answer.payload).map_err(|error| silent(error.to_string())),
            Err(Rpc::RpcStatus(status)) if status.code() == Code::DEADLINE_EXCEEDED => {
                return Err(silent(format!("no answer within {} s", limit.unwrap_or_default().as_secs())));
            }
            Err(Rpc::RpcStatus(status)) => return Err(Refusal::Status(status.code(), status.message().to_owned())),
            Err(other) => other,
        };
        match tokio::time::timeout(NOTICE_LIMIT, self.closed.cancelled()).await {
            Ok(()) => Err(self.died()),
            Err(_) => Err(silent(error.to_string())),
        }
    }
}

/// A request takes its number and a place in the connection's queue when it is first polled, in two steps; a shim of containerd 1.7 or newer refuses one whose number is below that of
/// another that came before it. So one after the other is polled for the first time.
async fn in_order<T>(order: &Mutex<()>, request: impl Future<Output = T>) -> T {
    let (mut request, mut begun) = (std::pin::pin!(request), false);
    std::future::poll_fn(|context| {
        let turn = (!std::mem::replace(&mut begun, true)).then(|| order.lock().unwrap_or_else(PoisonError::into_inner));
        let polled = request.as_mut().poll(context);
        drop(turn);
        polled
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use containerd_shim_protos::shim_async::{Task, create_task};
    use std::sync::Arc;
    use ttrpc::asynchronous::{Server, TtrpcContext};

    /// Serves version 3 and knows nothing but its own number.
    struct Newer;

    #[async_trait]
    impl Task for Newer {
        async fn connect(&self, _: &TtrpcContext, _: api::ConnectRequest) -> ttrpc::Result<api::ConnectResponse> {
            Ok(api::ConnectResponse { shim_pid: 77, ..Default::default() })
        }
    }

    #[tokio::test]
    async fn what_a_shim_serves_counts_more_than_what_it_printed() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s").to_string_lossy().into_owned();
        let mut server = Server::new().bind(&format!("unix://{socket}")).unwrap().register_service(create_task(Arc::new(Newer)));
        server.start().await.unwrap();
        for text in [format!("unix://{socket}"), format!(r#"{{"version":3,"address":"unix://{socket}","protocol":"ttrpc"}}"#)] {
            let shim = Shim::connect(&Address::parse(&text).unwrap()).await.unwrap();
            assert_eq!((shim.api(), shim.pid()), (3, 77), "{text}");
            assert!(shim.lives(CALL_LIMIT).await && shim.connects(CALL_LIMIT).await);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn requests_are_sent_in_the_order_of_their_numbers() {
        use std::sync::atomic::AtomicUsize;
        let (order, next, sent) = (Arc::new(Mutex::default()), Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let one = |_| {
            let (order, next, sent) = (order.clone(), next.clone(), sent.clone());
            tokio::spawn(async move {
                let request = async {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    std::thread::yield_now();
                    sent.lock().unwrap().push(number);
                    tokio::task::yield_now().await;
                };
                in_order(&order, request).await;
            })
        };
        for task in (0..5_000).map(one).collect::<Vec<_>>() {
            task.await.unwrap();
        }
        assert!(sent.lock().unwrap().is_sorted());
    }
}
