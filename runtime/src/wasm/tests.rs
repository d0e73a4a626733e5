//! Controllers and adoption on a shim that runs nothing (`shim::tests::fixture`), with real bundles and images.

use super::services::Services;
use super::{PREPARING, Wasm};
use crate::bundle::Bundles;
use crate::executor::{AdoptedState, Controller, Executor, TaskRequest};
use crate::images::Images;
use crate::images::tests::fixture::{Store, artifact, module};
use crate::mounts::Mounts;
use crate::shim::Group;
use crate::shim::tests::fixture::{BOOT, Listening, pool, record, service};
use crate::volumes::Volumes;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Semaphore;
use wsw_api::shim::HandoverOutcome;
use wsw_api::spec::{ContainerSpec, TaskSpec};
use wsw_api::{NodeId, TaskId};

struct Node {
    dir: tempfile::TempDir,
    shim: Listening,
    wasm: Arc<Wasm>,
    _images: tempfile::TempDir,
}

impl Node {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let shim = Listening::new(dir.path(), 1).await;
        record(dir.path(), 1, Group::Shared, |record| record.capacity = 5_000);
        let store = Store::new();
        store.load(artifact("app:latest", &module("m"))).await.unwrap();
        let Store { dir: _images, images } = store;
        let wasm = wasm(dir.path(), images, BOOT).await;
        Self { dir, shim, wasm, _images }
    }

    /// A daemon that starts on the same folders.
    async fn restarted(&self, boot: &str) -> Arc<Wasm> {
        wasm(self.dir.path(), Store::new().images, boot).await
    }

    fn controller(&self, number: u8, change: impl FnOnce(&mut ContainerSpec)) -> Arc<dyn Controller> {
        let mut container = ContainerSpec { image: "app".into(), ..ContainerSpec::default() };
        change(&mut container);
        self.wasm.controller(request(TaskId::from_bytes([number; 16]), container))
    }

    fn bundles(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("x/1")).unwrap().count()
    }
}

fn request(task: TaskId, container: ContainerSpec) -> TaskRequest {
    TaskRequest {
        task,
        service: service(9),
        service_name: "web".into(),
        service_labels: Default::default(),
        slot: 1,
        node: NodeId::default(),
        hostname: "h".into(),
        template: 1,
        spec: Arc::new(TaskSpec { container, ..TaskSpec::default() }),
        ports: vec![],
        generic: Vec::new(),
        auth: None,
    }
}

async fn wasm(root: &Path, images: Images, boot: &str) -> Arc<Wasm> {
    let pool = pool(root, "echo 'no second shim in this test' >&2; exit 3");
    pool.reconnect().await;
    let bundles = Bundles::open(root.join("x"), None);
    let (services, preparing) = (Services::default(), Semaphore::new(PREPARING));
    let volumes = Volumes::open(root.join("volumes"), 0o700).unwrap();
    let mounts = Mounts::new(volumes.clone(), None);
    Arc::new_cyclic(|me| Wasm {
        images,
        bundles,
        pool,
        services,
        volumes,
        mounts,
        preparing,
        logs: root.join("logs"),
        isolation: String::new(),
        boot: boot.into(),
        me: me.clone(),
    })
}

async fn offer(wasm: &Wasm) -> HandoverOutcome {
    let (_ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    wasm.handover(service(9), 80, SocketAddr::from(([127, 0, 0, 1], 9)), theirs.as_fd()).await.unwrap()
}

#[tokio::test]
async fn a_task_runs_takes_connections_ends_and_leaves_nothing() {
    let node = Node::new().await;
    let task = node.controller(1, |_| ());
    task.prepare().await.unwrap();
    task.prepare().await.unwrap();
    assert_eq!(offer(&node.wasm).await, HandoverOutcome::None);
    assert_eq!(task.start().await.unwrap().pid, 4711);
    assert_eq!(task.start().await.unwrap().pid, 4711);
    assert_eq!(offer(&node.wasm).await, HandoverOutcome::Taken);
    let (exit, stopped) = tokio::join!(task.wait(), task.shutdown());
    stopped.unwrap();
    let exit = exit.unwrap();
    assert_eq!((exit.code, exit.reason.as_deref(), exit.ran), (143, Some("trap: unreachable"), true));
    assert_eq!(task.wait().await.unwrap(), exit);
    assert_eq!(offer(&node.wasm).await, HandoverOutcome::None);
    assert_eq!((node.bundles(), node.shim.fake.count()), (1, 0));
    task.shutdown().await.unwrap();
    task.remove().await.unwrap();
    task.remove().await.unwrap();
    assert_eq!(node.bundles(), 0);
}

#[tokio::test]
async fn removing_a_running_task_kills_it_and_a_prepared_one_is_deleted() {
    let node = Node::new().await;
    let (running, prepared) = (node.controller(1, |_| ()), node.controller(2, |_| ()));
    running.prepare().await.unwrap();
    running.start().await.unwrap();
    prepared.prepare().await.unwrap();
    running.remove().await.unwrap();
    prepared.remove().await.unwrap();
    assert_eq!((node.bundles(), node.shim.fake.count()), (0, 0));
    assert_eq!(running.wait().await.unwrap().code, 137);
}

#[tokio::test]
async fn what_is_wrong_with_a_task_is_told_before_a_shim_hears_of_it() {
    let node = Node::new().await;
    let missing = node.controller(1, |container| container.image = "127.0.0.1:1/other:1".into()).prepare().await.unwrap_err();
    assert!(missing.to_string().starts_with("No such image: 127.0.0.1:1/other:1 (Get ") && !missing.is_temporary(), "{missing}");
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let unknown = node.controller(2, |container| container.labels.extend([label("wsw.wasm.max-instances", "0")])).prepare().await.unwrap_err();
    assert!(unknown.to_string().contains("wsw.wasm.max-instances") && !unknown.is_temporary(), "{unknown}");
    *node.shim.fake.room.lock().unwrap() = Some(0);
    let full = node.controller(3, |_| ()).prepare().await.unwrap_err();
    assert!(full.is_temporary(), "{full}");
    assert_eq!((node.bundles(), node.shim.fake.count()), (0, 0));
}

#[tokio::test]
async fn a_dead_shim_fails_its_tasks_with_that_reason() {
    let node = Node::new().await;
    let (one, two) = (node.controller(1, |_| ()), node.controller(2, |_| ()));
    for task in [&one, &two] {
        task.prepare().await.unwrap();
        task.start().await.unwrap();
    }
    node.shim.fake.end(&TaskId::from_bytes([2; 16]).to_string(), 0);
    node.shim.die();
    let (one, two) = tokio::join!(one.wait(), two.wait());
    let one = one.unwrap();
    assert_eq!((one.code, one.ran), (137, true));
    assert!(one.reason.as_deref().is_some_and(|reason| reason.starts_with("shim died")), "{one:?}");
    assert_eq!(two.unwrap().code, 0, "it had ended before");
}

#[tokio::test]
async fn a_later_daemon_takes_up_what_it_finds() {
    let node = Node::new().await;
    let tasks = (1..=5).map(|number| node.controller(number, |_| ())).collect::<Vec<_>>();
    for task in &tasks {
        task.prepare().await.unwrap();
    }
    for task in &tasks[1..] {
        task.start().await.unwrap();
    }
    let id = |number: u8| TaskId::from_bytes([number; 16]);
    node.shim.fake.end(&id(3).to_string(), 0);
    node.shim.fake.end(&id(4).to_string(), 134);
    tasks[3].wait().await.unwrap();
    // The shim forgot it, and no report says why: it never came to life.
    node.shim.fake.forget(&id(5).to_string());

    let wasm = node.restarted(BOOT).await;
    let mut adopted = wasm.adopt().await;
    adopted.sort_by_key(|adopted| adopted.task);
    let states = adopted.iter().map(|adopted| (adopted.task, &adopted.state)).collect::<Vec<_>>();
    assert!(matches!(states[0], (task, AdoptedState::Created) if task == id(1)), "{states:?}");
    assert!(matches!(states[1], (task, AdoptedState::Running(started)) if task == id(2) && started.pid == 4711), "{states:?}");
    assert!(matches!(states[2], (task, AdoptedState::Exited(exit)) if task == id(3) && exit.code == 0), "{states:?}");
    assert!(matches!(states[3], (task, AdoptedState::Exited(exit)) if task == id(4) && exit.code == 134 && exit.reason.is_some()), "{states:?}");
    assert_eq!(states.len(), 4);
    assert_eq!(offer(&wasm).await, HandoverOutcome::Taken);
    assert_eq!(adopted[0].controller.start().await.unwrap().pid, 4711);
    for adopted in &adopted {
        adopted.controller.remove().await.unwrap();
    }
    assert_eq!((node.bundles(), node.shim.fake.count()), (0, 0));
}

#[tokio::test]
async fn after_another_boot_everything_has_ended() {
    let node = Node::new().await;
    let task = node.controller(1, |_| ());
    task.prepare().await.unwrap();
    task.start().await.unwrap();
    let wasm = node.restarted("boot-2").await;
    let adopted = wasm.adopt().await;
    assert!(matches!(&adopted[0].state, AdoptedState::Exited(exit) if exit.code == 137), "{:?}", adopted[0].state);
    adopted[0].controller.remove().await.unwrap();
    assert_eq!(node.bundles(), 0);
}

#[tokio::test]
async fn many_tasks_come_and_go_at_once() {
    let node = Node::new().await;
    let tasks = (0..500_u32).map(|number| {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        let container = ContainerSpec { image: "app".into(), ..ContainerSpec::default() };
        node.wasm.controller(request(TaskId::from_bytes(bytes), container))
    });
    let tasks = tasks.collect::<Vec<_>>();
    let run = |task: Arc<dyn Controller>| async move {
        task.prepare().await.unwrap();
        task.start().await.unwrap();
        task.terminate().await.unwrap();
        assert_eq!(task.wait().await.unwrap().code, 137);
        task.remove().await.unwrap();
    };
    futures_util::future::join_all(tasks.into_iter().map(run)).await;
    assert_eq!((node.bundles(), node.shim.fake.count()), (0, 0));
}
