//! Published ports of a worker: hand-over, waiting for tasks, conflicts and how they heal.

use super::fake::{assigned, endpoint, service_id, task_id, template};
use super::leader::{Leader, worker_with};
use super::script::Script;
use crate::{Handover, Worker};
use async_trait::async_trait;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use wsw_api::session::{Assignments, ServiceEndpoint};
use wsw_api::shim::HandoverOutcome;
use wsw_api::spec::{PortConfig, PublishMode};
use wsw_api::{DesiredState as D, ServiceId, TaskState as S, Template};

/// Answers from its list, then takes every connection and greets it.
#[derive(Default)]
struct Greeter {
    first: Mutex<Vec<HandoverOutcome>>,
    seen: Mutex<Vec<(ServiceId, u16, SocketAddr)>>,
}

#[async_trait]
impl Handover for Greeter {
    async fn handover(&self, service: ServiceId, port: u16, client: SocketAddr, connection: BorrowedFd<'_>) -> wsw_runtime::Result<HandoverOutcome> {
        self.seen.lock().unwrap().push((service, port, client));
        if let Some(outcome) = self.first.lock().unwrap().pop() {
            return Ok(outcome);
        }
        let mut own = std::net::TcpStream::from(connection.try_clone_to_owned().unwrap());
        std::io::Write::write_all(&mut own, b"hello").unwrap();
        Ok(HandoverOutcome::Taken)
    }
    async fn flow(&self, _: ServiceId, _: u16, _: SocketAddr, _: BorrowedFd<'_>) -> wsw_runtime::Result<HandoverOutcome> {
        Ok(HandoverOutcome::None)
    }
}

fn set(published: u16, endpoints: bool) -> Assignments {
    let endpoints: Vec<ServiceEndpoint> = endpoints.then(|| endpoint(1, published)).into_iter().collect();
    Assignments { complete: true, templates: vec![template(1)], tasks: vec![assigned(1, D::Running)], endpoints, ..Assignments::default() }
}

/// A port that was free a moment ago.
async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// Connects as soon as the port is served.
async fn connect(port: u16) -> TcpStream {
    loop {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => return stream,
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

async fn greeting(mut stream: TcpStream) -> std::io::Result<String> {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.map(|_| text)
}

async fn start(root: &std::path::Path, script: &Arc<Script>, greeter: &Arc<Greeter>, assignments: Assignments) -> (Worker, Leader) {
    let worker = worker_with(root, script, Arc::clone(greeter) as Arc<dyn Handover>).await;
    let mut leader = Leader::welcome(&worker).await;
    leader.assign(assignments).await;
    leader.until_state(task_id(1), S::Running).await;
    (worker, leader)
}

#[tokio::test]
async fn connections_go_to_the_service_with_the_clients_address() {
    let (root, script, greeter, port) = (tempfile::tempdir().unwrap(), Script::new(), Arc::<Greeter>::default(), free_port().await);
    // Listed last to first: not ready twice, full once, then taken.
    *greeter.first.lock().unwrap() = vec![HandoverOutcome::Full, HandoverOutcome::None, HandoverOutcome::None];
    let (worker, _leader) = start(root.path(), &script, &greeter, set(port, true)).await;
    let stream = connect(port).await;
    let client = stream.local_addr().unwrap();
    assert_eq!(greeting(stream).await.unwrap(), "hello");
    assert_eq!(*greeter.seen.lock().unwrap(), [(service_id(1), 80, client); 4]);
    assert_eq!(worker.counters().taken.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_connection_that_nobody_takes_is_reset_and_counted() {
    let (root, script, greeter, port) = (tempfile::tempdir().unwrap(), Script::new(), Arc::<Greeter>::default(), free_port().await);
    *greeter.first.lock().unwrap() = vec![HandoverOutcome::None; 10_000];
    let (worker, mut leader) = start(root.path(), &script, &greeter, set(port, true)).await;
    let stream = connect(port).await;
    assert_eq!(greeting(stream).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert!(greeter.seen.lock().unwrap().len() > 2, "tried again while the service has a task");
    leader.assign(Assignments { tasks: vec![assigned(1, D::Shutdown)], ..Assignments::default() }).await;
    leader.until_state(task_id(1), S::Shutdown).await;
    greeter.seen.lock().unwrap().clear();
    let stream = connect(port).await;
    assert_eq!(greeting(stream).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(greeter.seen.lock().unwrap().len(), 1, "no task: refused at once");
    assert_eq!(worker.counters().none.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_port_that_another_process_holds_is_told_and_served_when_it_is_free() {
    let (root, script, greeter) = (tempfile::tempdir().unwrap(), Script::new(), Arc::<Greeter>::default());
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = other.local_addr().unwrap().port();
    let (worker, mut leader) = start(root.path(), &script, &greeter, set(port, true)).await;
    let told = format!("port {port}/tcp: address already in use");
    leader.until(|leader| *leader.statuses[&task_id(1)].err == *told && !leader.description.problems.is_empty()).await;
    assert_eq!(leader.description.problems, [format!("port {port}/tcp (service web): address already in use")]);
    assert_eq!(leader.state(task_id(1)), Some(S::Running));
    drop(other);
    leader.until(|leader| leader.statuses[&task_id(1)].err.is_empty() && leader.description.problems.is_empty()).await;
    assert_eq!(greeting(connect(port).await).await.unwrap(), "hello");
    assert!(worker.description().problems.is_empty());
}

#[tokio::test]
async fn a_removed_services_port_is_closed_and_a_restart_serves_ports_from_the_disk() {
    let (root, script, greeter, port) = (tempfile::tempdir().unwrap(), Script::new(), Arc::<Greeter>::default(), free_port().await);
    let (worker, leader) = start(root.path(), &script, &greeter, set(port, true)).await;
    assert_eq!(greeting(connect(port).await).await.unwrap(), "hello");
    worker.stop().await;
    drop(leader);
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err(), "a stopped worker serves nothing");

    *script.adoptable.lock().unwrap() = vec![task_id(1)];
    let worker = worker_with(root.path(), &script, Arc::clone(&greeter) as Arc<dyn Handover>).await;
    assert_eq!(greeting(connect(port).await).await.unwrap(), "hello");
    let leader = Leader::welcome(&worker).await;
    leader.assign(set(port, false)).await;
    // Once the port is closed this one can bind it.
    while TcpListener::bind(("127.0.0.1", port)).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_host_port_is_served_while_a_task_of_its_template_runs_here() {
    let (root, script, greeter, port) = (tempfile::tempdir().unwrap(), Script::new(), Arc::<Greeter>::default(), free_port().await);
    let mut host = Template::clone(&template(1));
    host.endpoint.ports = vec![PortConfig { target: 80, published: port, mode: PublishMode::Host, ..PortConfig::default() }];
    let assignments = Assignments { templates: vec![Arc::new(host)], ..set(port, false) };
    let (_worker, mut leader) = start(root.path(), &script, &greeter, assignments).await;
    assert_eq!(greeting(connect(port).await).await.unwrap(), "hello");
    leader.assign(Assignments { tasks: vec![assigned(1, D::Shutdown)], ..Assignments::default() }).await;
    leader.until_state(task_id(1), S::Shutdown).await;
    while TcpListener::bind(("127.0.0.1", port)).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_port_that_moves_to_another_service_leads_there() {
    let (root, script, greeter, port) = (tempfile::tempdir().unwrap(), Script::new(), Arc::<Greeter>::default(), free_port().await);
    let (_worker, leader) = start(root.path(), &script, &greeter, set(port, true)).await;
    assert_eq!(greeting(connect(port).await).await.unwrap(), "hello");
    let moved = Assignments { endpoints: vec![endpoint(2, port)], removed_endpoints: vec![service_id(1)], ..Assignments::default() };
    leader.assign(moved).await;
    loop {
        let _ = greeting(connect(port).await).await;
        if greeter.seen.lock().unwrap().last().is_some_and(|(service, ..)| *service == service_id(2)) {
            return;
        }
    }
}
