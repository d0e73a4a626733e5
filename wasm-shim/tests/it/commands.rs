//! Commands and modules: arguments, output, exit codes, limits, stopping.

use crate::{
    guests,
    harness::{Shim, refusal},
};
use serde_json::json;
use ttrpc::Code;
use wsw_api::shim::ExitReport;

const SIGKILL: u32 = 9;
const SIGTERM: u32 = 15;

fn ended(code: u32, reason: Option<&str>) -> ExitReport {
    ExitReport { code, reason: reason.map(str::to_owned), ran: true }
}

#[tokio::test]
async fn arguments_environment_and_output() {
    let shim = Shim::start(10).await;
    shim.run("a", &shim.program(guests::ECHO), |config| config["process"]["args"] = json!(["guest", "one", "two words"])).await;
    assert_eq!(shim.wait("a").await.report, ended(0, None));
    let record = |stream: &str, text: &str| (stream.to_owned(), "F".to_owned(), text.to_owned());
    let mut log = shim.log("a");
    log.sort();
    assert_eq!(log, [record("stderr", "WSW_TASK_NAME=a\0"), record("stdout", "guest\0one\0two words\0")]);
}

#[tokio::test]
async fn exit_codes_and_reasons() {
    let shim = Shim::start(20).await;
    for (id, wat, want) in [
        ("nothing", guests::NOTHING.to_owned(), ended(0, None)),
        ("exit", guests::EXIT_3.to_owned(), ended(3, None)),
        ("ok", guests::command(0), ended(0, None)),
        ("err", guests::command(1), ended(1, None)),
        ("trap", guests::TRAP.to_owned(), ended(134, Some("wasm trap: wasm `unreachable` instruction executed"))),
        ("recurse", guests::RECURSE.to_owned(), ended(134, Some("wasm trap: call stack exhausted"))),
    ] {
        shim.run(id, &shim.program(&wat), |_| ()).await;
        let end = shim.wait(id).await;
        assert_eq!(end.report, want, "{id}");
        assert_eq!(end.code, want.code, "{id}");
    }
}

#[tokio::test]
async fn the_memory_limit_ends_a_task_and_says_so() {
    let shim = Shim::start(10).await;
    let limit = |bytes: u64| move |config: &mut serde_json::Value| config["linux"] = json!({ "resources": { "memory": { "limit": bytes } } });
    shim.run("hog", &shim.program(guests::HOG), limit(1 << 20)).await;
    assert_eq!(shim.wait("hog").await.report, ended(137, Some("memory limit of 1048576 bytes reached")));
    // Its first page is above the limit already.
    shim.run("tiny", &shim.program(guests::NOTHING), limit(1_000)).await;
    assert_eq!(shim.wait("tiny").await.report, ended(137, Some("memory limit of 1000 bytes reached")));
}

#[tokio::test]
async fn spinning_guests_let_others_run_and_can_be_stopped() {
    let shim = Shim::start(50).await;
    let spin = shim.program(guests::SPIN);
    for n in 0..8 {
        shim.run(&format!("spin{n}"), &spin, |_| ()).await;
    }
    shim.run("other", &shim.program(guests::EXIT_3), |_| ()).await;
    assert_eq!(shim.wait("other").await.code, 3);
    shim.kill("spin0", SIGTERM).await.unwrap();
    assert_eq!(shim.wait("spin0").await.report, ended(143, None));
    shim.kill("spin1", SIGKILL).await.unwrap();
    assert_eq!(shim.wait("spin1").await.report, ended(137, None));
}

#[tokio::test]
async fn a_sleeping_guest_is_stopped_at_once_and_forgotten_on_delete() {
    let shim = Shim::start(10).await;
    shim.run("sleep", &shim.program(guests::SLEEP), |_| ()).await;
    assert_eq!(refusal(shim.delete("sleep").await).0, Code::FAILED_PRECONDITION);
    assert_eq!(refusal(shim.kill("sleep", 10).await).0, Code::INVALID_ARGUMENT);
    shim.kill("sleep", SIGTERM).await.unwrap();
    assert_eq!(shim.wait("sleep").await.code, 143);
    assert_eq!(shim.state("sleep").await.unwrap().exit_status, 143);
    assert_eq!(shim.delete("sleep").await.unwrap().exit_status, 143);
    assert_eq!(refusal(shim.state("sleep").await).0, Code::NOT_FOUND);
}

#[tokio::test]
async fn a_guest_that_writes_without_end_is_held_back_and_delays_nobody() {
    let shim = Shim::start(10).await;
    shim.run("chatter", &shim.program(guests::CHATTER), |_| ()).await;
    let others = shim.program(guests::ECHO);
    for n in 0..5 {
        let id = format!("other{n}");
        shim.run(&id, &others, |_| ()).await;
        assert_eq!(shim.wait(&id).await.code, 0);
        assert_eq!(shim.log(&id).len(), 2);
    }
    shim.kill("chatter", SIGTERM).await.unwrap();
    assert_eq!(shim.wait("chatter").await.code, 143);
    assert!(shim.log("chatter").iter().all(|(stream, tag, text)| (stream.as_str(), tag.as_str(), text.as_str()) == ("stdout", "F", "x")));
}
