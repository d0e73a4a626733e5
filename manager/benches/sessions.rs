//! What one worker costs a manager's memory, with a thousand of them: real joins, real connections, heartbeats; the workers are another process.
//!
//! `cargo bench -p wsw-manager --bench sessions`. The figure of the issue: 100 KiB a worker. Resident memory of the process with the manager in it,
//! the state's rows of these nodes included, before and after the thousand came; the first hundred pay for what is there once.

#![allow(clippy::expect_used, clippy::panic)] // A bench that cannot go on has nothing to say.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use wsw_api::id::SessionId;
use wsw_api::join::{JoinAnswer, JoinRequest, MAX_JOIN_FRAME};
use wsw_api::object::{NodeDescription, NodeState};
use wsw_api::session::{MAX_MANAGER_FRAME, MAX_WORKER_FRAME, ManagerFrame, WorkerFrame};
use wsw_api::spec::{Availability, ClusterSpec};
use wsw_manager::identity::{Identity, ca, token::Token};
use wsw_manager::raft::node;
use wsw_manager::{Config, InitSpec, Manager};
use wsw_net::{Credentials, Endpoint, FrameReceiver, FrameSender, Protocol, Whom, dial_unknown};

/// Sessions that are not counted, and those that are.
const FIRST: usize = 100;
const COUNTED: usize = 1_000;
/// Half of the default period, as `wsw-worker` does it.
const HEARTBEAT: Duration = Duration::from_millis(500);
const ANY: [u8; 4] = [127, 0, 0, 1];

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    match words.iter().position(|word| word == "workers") {
        Some(at) => runtime.block_on(workers(words[at + 1].parse().expect("an address"), &words[at + 2], Path::new(&words[at + 3]))),
        None => runtime.block_on(manager()),
    }
}

/// Resident memory of this process in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs is there");
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok()).expect("the kernel says it")
}

async fn manager() {
    let root = tempfile::tempdir().expect("a folder");
    let config = Config {
        data_root: root.path().to_owned(),
        advertise_addr: SocketAddr::from((ANY, 2377)),
        hostname: "bench".into(),
        description: NodeDescription::default(),
        managers: Vec::new(),
        timing: node::Timing::Lan,
        unlock: None,
    };
    let init = InitSpec { spec: ClusterSpec::default(), availability: Availability::Active };
    let manager = Manager::bootstrap(config, init).await.expect("a cluster");
    let identity = Identity::load(root.path(), None).expect("readable").expect("there");
    let credentials = Credentials::from_pem(&identity.root, &identity.certificate, &identity.key.0).expect("credentials");
    let endpoint = Endpoint::listen(SocketAddr::from((ANY, 0)), credentials, manager.handlers(), Arc::new(manager.clone())).expect("a port");
    let root_file = root.path().join("root.pem");
    std::fs::write(&root_file, &identity.root).expect("the folder is ours");
    let token = manager.store().cluster().expect("there").join_tokens.worker.clone();
    let (at, own) = (endpoint.addr().expect("bound").to_string(), std::env::current_exe().expect("this program"));
    let mut child = Command::new(own).args(["workers", &at, &token]).arg(&root_file).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut told = async |sessions: usize| {
        assert_eq!(lines.next().expect("the workers go on").expect("text"), sessions.to_string());
        // Both the last welcome and the first heartbeats are behind us.
        tokio::time::sleep(4 * HEARTBEAT).await;
        resident()
    };
    let before = told(FIRST).await;
    let after = told(FIRST + COUNTED).await;
    let ready = manager.store().nodes().filter(|node| node.status.state == NodeState::Ready).count();
    assert_eq!(ready, FIRST + COUNTED, "all have their session");
    println!(
        "a manager with {} sessions: {:.1} MB, {:.1} KiB for each of the last {COUNTED}",
        FIRST + COUNTED,
        after as f64 / 1024.0,
        (after - before) as f64 / COUNTED as f64
    );
    drop(child.stdin.take());
    child.wait().expect("it is our child");
}

/// The other process: joins nodes and keeps their sessions until its input ends.
async fn workers(at: SocketAddr, token: &str, root: &Path) {
    let root = std::fs::read_to_string(root).expect("the manager wrote it");
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let limit = rustix::process::Rlimit { current: most, maximum: most };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).expect("up to the hard limit");
    let mut sessions = JoinSet::new();
    for count in [FIRST, COUNTED] {
        for _ in 0..count {
            let frames = session(at, token, &root).await;
            sessions.spawn(frames);
        }
        println!("{}", sessions.len());
    }
    let end = tokio::task::spawn_blocking(|| std::io::stdin().lines().count());
    tokio::select! {
        _ = end => std::process::exit(0),
        ended = sessions.join_next() => panic!("a session ended: {ended:?}"),
    }
}

/// Joins one node and opens its session; the future answers its frames.
async fn session(at: SocketAddr, token: &str, root: &str) -> impl Future<Output = ()> + Send + use<> {
    let (csr, key) = ca::request().expect("a request");
    let pin = Token::parse(token).expect("a token");
    let (connection, _) = dial_unknown(at, Arc::new(move |found: &[u8; 32]| pin.names(found))).await.expect("a connection");
    let (send, receive) = connection.open().await.expect("a stream");
    let request = JoinRequest { token: token.into(), csr, hostname: "there".into(), addr: "127.0.0.1:9".into(), availability: Availability::Active };
    let mut sender = FrameSender::new(send, MAX_JOIN_FRAME);
    sender.send(&request).await.expect("sent");
    let joined = FrameReceiver::<JoinAnswer>::new(receive, MAX_JOIN_FRAME).only().await.expect("an answer").expect("let in");
    let credentials = Credentials::from_pem(root, &joined.certificate, &key).expect("credentials");
    let endpoint = Endpoint::dialler(SocketAddr::from((ANY, 0)), credentials).expect("a socket");
    let connection = endpoint.dial(at, Whom::Manager, Protocol::Session).await.expect("a connection");
    let (send, receive) = connection.open().await.expect("a stream");
    let mut send = FrameSender::<WorkerFrame>::new(send, MAX_WORKER_FRAME);
    let mut receive = FrameReceiver::<ManagerFrame>::new(receive, MAX_MANAGER_FRAME);
    send.send(&WorkerFrame::Incarnation { manager: None, heard: 0 }).await.expect("sent");
    let hello = WorkerFrame::Hello { node: joined.node, boot: SessionId::from_bytes([1; 16]), description: Arc::new(NodeDescription::default()) };
    send.send(&hello).await.expect("sent");
    let welcome = receive.next().await.expect("an answer");
    assert!(matches!(welcome, Some(ManagerFrame::Welcome { .. })), "{welcome:?}");
    async move {
        let (_connection, _endpoint) = (connection, endpoint);
        let listens = async {
            while let Ok(Some(_)) = receive.next().await {}
            panic!("the session is over");
        };
        let beats = async {
            loop {
                tokio::time::sleep(HEARTBEAT).await;
                send.send(&WorkerFrame::Heartbeat).await.expect("sent");
            }
        };
        tokio::join!(listens, beats);
    }
}
