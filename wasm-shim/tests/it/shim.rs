//! The shim itself: the table of tasks, refusals, its life.

use crate::{
    guests,
    harness::{self, Shim, context, refusal},
};
use containerd_shim_protos::{api, types::task::Status};
use serde_json::json;
use ttrpc::Code;
use wsw_api::shim;

#[tokio::test]
async fn ids_are_unique_and_capacity_is_a_bound() {
    let shim = Shim::start(2).await;
    let sleep = shim.program(guests::SLEEP);
    shim.create("one", &sleep, |_| ()).await.unwrap();
    assert_eq!(refusal(shim.create("one", &sleep, |_| ()).await).0, Code::ALREADY_EXISTS);
    assert_eq!(shim.state("one").await.unwrap().status.enum_value(), Ok(Status::CREATED));
    shim.run("two", &sleep, |_| ()).await;
    assert_eq!(refusal(shim.start_task("two").await).0, Code::FAILED_PRECONDITION);
    assert_eq!(refusal(shim.create("three", &sleep, |_| ()).await).0, Code::RESOURCE_EXHAUSTED);
    // What has ended makes room, deleted or not; what was never started can be killed and deleted.
    shim.kill("two", 9).await.unwrap();
    assert_eq!(shim.wait("two").await.code, 137);
    shim.run("three", &sleep, |_| ()).await;
    shim.kill("one", 15).await.unwrap();
    let end = shim.wait("one").await;
    assert_eq!((end.code, end.report.ran), (143, false));
    assert_eq!(refusal(shim.start_task("one").await).0, Code::FAILED_PRECONDITION);
    shim.delete("one").await.unwrap();
    shim.create("one", &sleep, |_| ()).await.unwrap();
    shim.delete("one").await.unwrap();
}

#[tokio::test]
async fn refused_bundles_leave_nothing_behind() {
    let shim = Shim::start(2).await;
    let program = shim.program(guests::NOTHING);
    let (code, text) = refusal(shim.create("a", &program, |config| config["annotations"]["wsw.wasm.gpu"] = json!("1")).await);
    assert_eq!(code, Code::INVALID_ARGUMENT);
    assert!(text.contains("wsw.wasm.gpu"), "{text}");
    let (code, text) = refusal(shim.create("a", &program, |config| config["annotations"][shim::KIND] = json!("command")).await);
    assert_eq!(code, Code::FAILED_PRECONDITION, "{text}");
    let (code, text) = refusal(shim.create("a", &program, |config| config["annotations"][shim::COMPILED] = json!("/nonexistent.cwasm")).await);
    assert_eq!(code, Code::FAILED_PRECONDITION);
    assert!(text.contains("/nonexistent.cwasm"), "{text}");
    std::fs::write(shim.folder.path().join("bad.cwasm"), b"\x7fELF but no artefact").unwrap();
    let bad = shim.folder.path().join("bad.cwasm");
    let (code, _) = refusal(shim.create("a", &program, |config| config["annotations"][shim::COMPILED] = json!(bad)).await);
    assert_eq!(code, Code::FAILED_PRECONDITION);
    for n in 0..2 {
        shim.create(&format!("good{n}"), &program, |_| ()).await.unwrap();
    }
}

#[tokio::test]
async fn what_a_wasm_task_cannot_do_is_unimplemented() {
    let shim = Shim::start(2).await;
    assert_eq!(refusal(shim.client.pause(context(), &api::PauseRequest::new()).await).0, Code::UNIMPLEMENTED);
    assert_eq!(refusal(shim.client.exec(context(), &api::ExecProcessRequest::new()).await).0, Code::UNIMPLEMENTED);
    assert_eq!(refusal(shim.client.update(context(), &api::UpdateTaskRequest::new()).await).0, Code::UNIMPLEMENTED);
}

#[tokio::test]
async fn stats_count_memory() {
    let shim = Shim::start(2).await;
    shim.run("sleep", &shim.program(guests::SLEEP), |config| config["linux"] = json!({ "resources": { "memory": { "limit": 1_000_000 } } })).await;
    shim.instantiated("sleep").await;
    let metrics = shim.stats("sleep").await;
    assert_eq!((metrics.memory.usage, metrics.memory.usage_limit, metrics.pids.current), (65_536, 1_000_000, 1));
    assert!(metrics.memory.file > 1_000, "its compiled code");
}

#[tokio::test]
async fn tasks_outlive_the_daemon_and_their_exit_waits_for_it() {
    let mut shim = Shim::start(2).await;
    shim.run("sleep", &shim.program(guests::SLEEP), |_| ()).await;
    shim.run("exit", &shim.program(guests::EXIT_3), |_| ()).await;
    // Another daemon connects, the first one's connections go.
    shim.client = harness::connect(&shim.socket()).await;
    shim.handover = harness::open_handover(&shim.socket());
    assert_eq!(shim.state("sleep").await.unwrap().status.enum_value(), Ok(Status::RUNNING));
    assert_eq!(shim.wait("exit").await.code, 3);
    let connected = shim.client.connect(context(), &api::ConnectRequest::new()).await.unwrap();
    assert_eq!(connected.shim_pid, shim.child.id());
}

#[tokio::test]
async fn shutdown_ends_an_empty_shim_and_nobody_answers_on_its_sockets() {
    let mut shim = Shim::start(2).await;
    shim.run("sleep", &shim.program(guests::SLEEP), |_| ()).await;
    let mut request = api::ShutdownRequest::new();
    shim.client.shutdown(context(), &request).await.unwrap();
    assert_eq!(shim.state("sleep").await.unwrap().status.enum_value(), Ok(Status::RUNNING));
    request.now = true;
    shim.client.shutdown(context(), &request).await.unwrap();
    assert!(shim.child.wait().unwrap().success());
    // The files stay: their folder is closed to the shim. Whoever started it removes them.
    assert!(std::os::unix::net::UnixStream::connect(shim.socket()).is_err());
}
