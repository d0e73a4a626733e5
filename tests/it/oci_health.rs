//! Health checks, as Docker Swarm treats them: a task runs once it is healthy, an unhealthy one is replaced, and every client shows both.

use crate::harness::containers::{config, docker_save, infinite, system};
use crate::harness::{self, Follow, Node, clients, free_tcp_port, guest, is_root, run, until};
use serde_json::{Value, json};
use std::path::Path;

fn node_with_image() -> Node {
    let node = Node::swarm();
    let file = infinite(node.folder());
    node.wsw(&["load", "-i", &file.to_string_lossy()]).ok();
    node
}

fn only(node: &Node) -> String {
    until("the container", || match node.wsw(&["ps", "-q", "--no-trunc"]).out.trim() {
        "" => Err("none yet".to_owned()),
        id => Ok(id.to_owned()),
    })
}

fn state_of(node: &Node, service: &str) -> String {
    node.tasks(service).iter().map(|task| task["Status"]["State"].as_str().unwrap_or_default()).collect::<Vec<_>>().join(" ")
}

/// A check that finds what the test says it shall: quick ones, and a long start.
const CHECK: [&str; 10] = [
    "--health-cmd",
    "echo probed; test -e /tmp/well",
    "--health-interval",
    "100ms",
    "--health-retries",
    "2",
    "--health-start-period",
    "1h",
    "--health-start-interval",
    "100ms",
];

#[test]
fn a_task_runs_once_it_is_healthy_and_is_replaced_when_it_is_not() {
    if !is_root() {
        return;
    }
    let node = node_with_image();
    let wsw = Path::new(env!("CARGO_BIN_EXE_wsw"));
    let events = Follow::start(
        &mut node.client(wsw, &["events", "--filter", "type=container", "--filter", "event=health_status", "--filter", "event=die", "--format", "{{.Action}}"]),
    );
    let port = free_tcp_port();
    let publish = format!("{port}:80");
    node.wsw(
        &[
            &["service", "create", "-d", "--name", "web", "-p", &publish, "--restart-delay", "0s"],
            &CHECK[..],
            &["eon01/infinite", "httpd", "-f", "-p", "80", "-h", "/www"],
        ]
        .concat(),
    )
    .ok();
    let id = only(&node);
    // Until then it starts, and gets nothing.
    let starting = until("five probes", || {
        let found = node.json(&format!("/containers/{id}/json"));
        let health = &found["State"]["Health"];
        if health["Log"].as_array().is_some_and(|log| log.len() == 5) { Ok(health.clone()) } else { Err(found["State"].to_string()) }
    });
    assert_eq!((&starting["Status"], &starting["FailingStreak"]), (&json!("starting"), &json!(0)), "{starting}");
    assert_eq!((&starting["Log"][0]["ExitCode"], &starting["Log"][0]["Output"]), (&json!(1), &json!("probed\n")));
    assert_eq!(state_of(&node, "web"), "starting");
    for client in clients() {
        let shown = run(&mut node.client(&client, &["ps"])).ok();
        assert!(shown.contains("(health: starting)"), "{shown}");
    }
    assert!(harness::get(port, "/").is_err(), "nobody serves yet");
    node.wsw(&["exec", &id, "sh", "-c", "echo > /tmp/well"]).ok();
    node.wait_running("web", 1);
    events.line("the recovery", |line| line == "health_status: healthy");
    until("an answer", || harness::get(port, "/").and_then(|answer| if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }));
    for client in clients() {
        let client = |words: &[&str]| run(&mut node.client(&client, words)).ok();
        assert!(client(&["ps", "--filter", "health=healthy"]).contains("(healthy)"));
        assert_eq!(client(&["ps", "-q", "--filter", "health=unhealthy"]), "");
        assert_eq!(client(&["inspect", "--format", "{{.State.Health.Status}}", &id]).trim(), "healthy");
    }
    // Sick: it is ended, its task failed, and another one takes its place.
    node.wsw(&["exec", &id, "busybox", "rm", "/tmp/well"]).ok();
    let failed = node.wait_task("web", "failed");
    assert!(
        failed["Status"]["Err"].as_str().is_some_and(|why| why.starts_with("task: non-zero exit (") && why.ends_with("): unhealthy container")),
        "{failed}"
    );
    events.line("the illness", |line| line == "health_status: unhealthy");
    events.line("the end", |line| line == "die");
    until("the replacement to start", || match only(&node) {
        other if other != id => Ok(()),
        _ => Err("the first is there".to_owned()),
    });
    node.wsw(&["service", "rm", "web"]).ok();
}

#[test]
fn an_image_s_check_is_the_service_s_unless_it_says_otherwise() {
    if !is_root() {
        return;
    }
    let mut node = Node::swarm();
    let layers = [system()];
    let check = json!({"Test": ["CMD", "busybox", "test", "-e", "/tmp/well"], "Interval": 100_000_000, "Retries": 1});
    let settings =
        json!({"Cmd": ["sh", "-c", "echo > /tmp/well; exec tail -f /dev/null"], "Env": ["PATH=/bin"], "StopSignal": "SIGKILL", "Healthcheck": check});
    let file = node.folder().join("checked.tar");
    std::fs::write(&file, docker_save("checked:1", &layers, &config(&layers, &settings))).expect("the folder is ours");
    node.wsw(&["load", "-i", &file.to_string_lossy()]).ok();
    node.wsw(&["service", "create", "--name", "web", "checked:1"]).ok();
    let health = |node: &Node, id: &str| node.json(&format!("/containers/{id}/json"))["State"]["Health"].clone();
    let id = only(&node);
    assert_eq!(health(&node, &id)["Status"], "healthy");
    // The daemon is killed: the task runs on, and is looked after as before.
    node.kill();
    node.restart();
    until("it to be examined again", || if health(&node, &id)["Status"] == "healthy" { Ok(()) } else { Err(health(&node, &id).to_string()) });
    assert_eq!(node.running("web").len(), 1);
    node.wsw(&["service", "update", "--no-healthcheck", "web"]).ok();
    let other = only(&node);
    assert!(other != id && health(&node, &other) == Value::Null, "{}", health(&node, &other));
    // A probe that takes too long is ended.
    node.wsw(&["service", "update", "-d", "--health-cmd", "sleep 7777", "--health-timeout", "200ms", "--health-retries", "1000", "web"]).ok();
    let late = until("a late probe", || {
        let shown = node.wsw(&["ps", "-q", "--no-trunc"]).out;
        let found = shown.split_whitespace().map(|id| health(&node, id)).find(|health| health["Log"][0]["ExitCode"] == -1);
        found.ok_or(shown)
    });
    assert_eq!(late["Log"][0]["Output"], "Health check exceeded timeout (200ms)");
    let shown = node.wsw(&["service", "inspect", "--pretty", "web"]).ok();
    assert!(shown.contains("Healthcheck:") && shown.contains("Test = sleep 7777"), "{shown}");
    for (flag, value, names) in [
        ("--health-interval", "1us", "Interval in HealthConfig cannot be less than 1ms"),
        ("--health-retries", "-1", "Retries in HealthConfig cannot be negative"),
    ] {
        let said = node.wsw(&["service", "create", "--name", "bad", "--health-cmd", "true", flag, value, "checked:1"]).failed();
        assert!(said.contains(names), "{said}");
    }
}

#[test]
fn a_wasm_task_says_that_it_has_no_checks() {
    let node = Node::swarm();
    node.wsw(&["service", "create", "-d", "--name", "ticks", "--health-cmd", "true", "--restart-condition", "none", &guest("tick").to_string_lossy()]).ok();
    let task = node.wait_task("ticks", "rejected");
    assert!(task["Status"]["Err"].as_str().is_some_and(|why| why.contains("health check: a Wasm task has no shell")), "{task}");
}
