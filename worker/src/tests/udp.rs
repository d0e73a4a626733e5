//! Published UDP ports of a worker: flows, what they are pinned to, and what happens when that goes.

use super::fake::{assigned, endpoint, service_id, task_id, template};
use super::leader::{Leader, worker_with};
use super::script::Script;
use crate::{Handover, Worker};
use async_trait::async_trait;
use std::net::{SocketAddr, UdpSocket as Std};
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use wsw_api::session::Assignments;
use wsw_api::shim::HandoverOutcome;
use wsw_api::spec::Protocol;
use wsw_api::{DesiredState as D, ServiceId, TaskState as S};

/// Datagrams of a test arrive at once; a lost one must not hang it.
const BOUND: Duration = Duration::from_secs(30);

/// Tasks that listen, and who has asked for them.
#[derive(Default)]
struct Tasks {
    listening: Mutex<Vec<SocketAddr>>,
    flows: Mutex<Vec<(ServiceId, u16, SocketAddr)>>,
}

#[async_trait]
impl Handover for Tasks {
    async fn handover(&self, _: ServiceId, _: u16, _: SocketAddr, _: BorrowedFd<'_>) -> wsw_runtime::Result<HandoverOutcome> {
        Ok(HandoverOutcome::None)
    }

    async fn flow(&self, service: ServiceId, port: u16, client: SocketAddr, socket: BorrowedFd<'_>) -> wsw_runtime::Result<HandoverOutcome> {
        let mut listening = self.listening.lock().unwrap();
        if listening.is_empty() {
            return Ok(HandoverOutcome::None);
        }
        listening.rotate_left(1);
        let SocketAddr::V4(address) = listening[0] else { panic!("{listening:?}") };
        // As the shim does it: the socket may be of either family.
        let own = Std::from(socket.try_clone_to_owned().unwrap());
        let mapped = SocketAddr::from((address.ip().to_ipv6_mapped(), address.port()));
        own.connect(mapped).or_else(|_| own.connect(address)).unwrap();
        self.flows.lock().unwrap().push((service, port, client));
        Ok(HandoverOutcome::Taken)
    }
}

impl Tasks {
    /// A task that answers with its name and what it got, until it is stopped.
    async fn listen(&self, name: &'static str) -> Listening {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        self.listening.lock().unwrap().push(address);
        let run = tokio::spawn(async move {
            let mut buffer = vec![0; 65_535];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                let answer = [name.as_bytes(), b":", &buffer[..length]].concat();
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        Listening { address, run }
    }

    async fn stop(&self, task: Listening) {
        self.listening.lock().unwrap().retain(|other| *other != task.address);
        task.run.abort();
        assert!(task.run.await.unwrap_err().is_cancelled());
    }
}

struct Listening {
    address: SocketAddr,
    run: JoinHandle<()>,
}

async fn start(root: &std::path::Path, script: &Arc<Script>, tasks: &Arc<Tasks>) -> (Worker, Leader, SocketAddr) {
    let published = Std::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let worker = worker_with(root, script, Arc::clone(tasks) as Arc<dyn Handover>).await;
    let mut leader = Leader::welcome(&worker).await;
    let mut endpoint = endpoint(1, published.port());
    endpoint.ports[0].protocol = Protocol::Udp;
    leader
        .assign(Assignments {
            complete: true,
            templates: vec![template(1)],
            tasks: vec![assigned(1, D::Running)],
            endpoints: vec![endpoint],
            ..Assignments::default()
        })
        .await;
    leader.until_state(task_id(1), S::Running).await;
    while Std::bind(published).is_ok() {
        tokio::task::yield_now().await;
    }
    (worker, leader, published)
}

async fn client(address: &str, published: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((address, 0)).await.unwrap();
    socket.connect(published).await.unwrap();
    socket
}

async fn ask(client: &UdpSocket, text: &str) -> String {
    client.send(text.as_bytes()).await.unwrap();
    let mut buffer = vec![0; 65_535];
    let length = tokio::time::timeout(BOUND, client.recv(&mut buffer)).await.unwrap().unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

#[tokio::test]
async fn a_flow_stays_with_its_task_and_moves_when_that_is_gone() {
    let (root, script, tasks) = (tempfile::tempdir().unwrap(), Script::new(), Arc::<Tasks>::default());
    let (_worker, _leader, published) = start(root.path(), &script, &tasks).await;
    let (a, b) = (tasks.listen("a").await, tasks.listen("b").await);
    let (one, two) = (client("127.0.0.1", published).await, client("127.0.0.2", published).await);
    let name = |answer: String| answer.split_once(':').unwrap().0.to_owned();
    let (first, second) = (name(ask(&one, "1").await), name(ask(&two, "1").await));
    assert_ne!(first, second, "in turn");
    for round in 0..5 {
        assert_eq!(ask(&one, &round.to_string()).await, format!("{first}:{round}"));
        assert_eq!(ask(&two, &round.to_string()).await, format!("{second}:{round}"));
    }
    let expected = [&one, &two].map(|client| (service_id(1), 80, client.local_addr().unwrap()));
    assert_eq!(*tasks.flows.lock().unwrap(), expected);
    let (gone, left) = if first == "a" { (a, second.clone()) } else { (b, second.clone()) };
    tasks.stop(gone).await;
    // Not one datagram is lost: the one that found the port closed goes to the other task.
    assert_eq!(ask(&one, "again").await, format!("{left}:again"));
    assert_eq!(ask(&two, "still").await, format!("{left}:still"));
}

#[tokio::test]
async fn datagrams_wait_for_a_task_that_comes_up_and_large_ones_pass() {
    let (root, script, tasks) = (tempfile::tempdir().unwrap(), Script::new(), Arc::<Tasks>::default());
    let (worker, _leader, published) = start(root.path(), &script, &tasks).await;
    let client = client("127.0.0.1", published).await;
    client.send(b"early").await.unwrap();
    let task = tasks.listen("a").await;
    let large = "x".repeat(60_000);
    assert_eq!(ask(&client, &large).await, "a:early");
    let mut buffer = vec![0; 65_535];
    let length = tokio::time::timeout(BOUND, client.recv(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(length, large.len() + 2);
    tasks.stop(task).await;
    client.send(b"to nobody").await.unwrap();
    while worker.counters().none.load(std::sync::atomic::Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    let _again = tasks.listen("b").await;
    assert_eq!(ask(&client, "new").await, "b:new");
}
