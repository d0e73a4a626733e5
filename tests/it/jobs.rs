//! Jobs, end to end: guests that run to completion, so many at a time; what fails; what an update begins anew; what clients print.

use crate::diff;
use crate::harness::{self, Node, guest, run, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn path(name: &str) -> String {
    guest(name).to_string_lossy().into_owned()
}

/// Tasks of the iteration in this state, by slot.
fn slots(node: &Node, service: &str, iteration: u64, state: &str) -> BTreeSet<u64> {
    let of = |task: &&Value| task["JobIteration"]["Index"].as_u64().unwrap_or(0) == iteration && task["Status"]["State"] == state;
    node.tasks(service).iter().filter(of).map(|task| task["Slot"].as_u64().unwrap_or(0)).collect()
}

fn replicas(node: &Node, service: &str) -> String {
    node.wsw(&["service", "ls", "--filter", &format!("name={service}"), "--format", "{{.Mode}} {{.Replicas}}"]).ok().trim().to_owned()
}

#[test]
fn a_job_runs_to_completion_and_an_update_runs_it_again() {
    let node = Node::swarm();
    let create = ["service", "create", "--name", "adds", "--mode", "replicated-job", "--replicas", "5", "--max-concurrent", "2"];
    let shown = node.wsw(&[&create[..], &[&path("sum"), "20", "22"]].concat()).ok();
    assert!(shown.lines().any(|line| line == "job complete"), "{shown}");
    assert!(shown.contains("job progress: 5 out of 5 complete") || shown.contains("5/5"), "{shown}");
    assert_eq!(slots(&node, "adds", 0, "complete"), (0..5).collect());
    assert_eq!(replicas(&node, "adds"), "replicated job 0/2 (5/5 completed)");
    let said = node.wsw(&["service", "logs", "--raw", "adds"]).ok();
    assert_eq!(said.lines().filter(|line| *line == "42").count(), 5, "{said}");
    let service = node.json("/services/adds");
    assert_eq!(service["JobStatus"]["JobIteration"], json!({}), "{service:#}");
    assert!(service["JobStatus"]["LastExecution"].is_string() && service["UpdateStatus"].is_null());
    // What is complete stays, also over a drain; an update is another run.
    node.wsw(&["node", "update", "--availability", "drain", "self"]).ok();
    node.wsw(&["node", "update", "--availability", "active", "self"]).ok();
    assert_eq!(node.tasks("adds").len(), 5);
    node.wsw(&["service", "update", "--args", "1 2", "adds"]).ok();
    assert_eq!(node.json("/services/adds")["JobStatus"]["JobIteration"], json!({"Index": 1}));
    assert_eq!(slots(&node, "adds", 1, "complete"), (0..5).collect());
    assert_eq!(slots(&node, "adds", 0, "complete"), (0..5).collect(), "the first run is history");
    node.wsw(&["service", "scale", "adds=2"]).ok();
    assert_eq!(slots(&node, "adds", 2, "complete"), (0..2).collect());
    assert_eq!(replicas(&node, "adds"), "replicated job 0/2 (2/2 completed)");
    node.wsw(&["service", "rm", "adds"]).ok();
    until("its tasks to go", || if node.json("/tasks") == json!([]) { Ok(()) } else { Err("tasks are left".to_owned()) });
}

#[test]
fn what_fails_is_tried_again_and_then_given_up() {
    let node = Node::swarm();
    let create = |name: &str, more: &[&str]| {
        let words =
            ["service", "create", "-d", "--name", name, "--mode", "replicated-job", "--replicas", "2", "--max-concurrent", "1", "--restart-delay", "0s"];
        node.wsw(&[&words[..], more, &[&path("sum"), "not-a-number"]].concat()).ok();
    };
    create("thrice", &["--restart-max-attempts", "2"]);
    create("never", &["--restart-condition", "none"]);
    let failed = |service: &str| node.tasks(service).iter().filter(|task| task["Status"]["State"] == "failed").count();
    let settled = |service: &str, count: usize| if failed(service) == count { Ok(()) } else { Err(format!("{} have failed", failed(service))) };
    until("three tries of both slots", || settled("thrice", 6));
    until("one try of both slots", || settled("never", 2));
    harness::stays("no further try", std::time::Duration::from_secs(2), || settled("thrice", 6).and_then(|()| settled("never", 2)));
    assert_eq!(replicas(&node, "thrice"), "replicated job 0/1 (0/2 completed)");
    // "any" is "on-failure" for a job: what ends well is not tried again.
    let job = ["service", "create", "--name", "once", "--mode", "replicated-job", "--restart-condition", "any", "--restart-delay", "0s"];
    node.wsw(&[&job[..], &[&path("sum"), "1"]].concat()).ok();
    harness::stays("one task", std::time::Duration::from_secs(1), || if node.tasks("once").len() == 1 { Ok(()) } else { Err("several".to_owned()) });
}

#[test]
fn a_global_job_ends_on_every_node() {
    let node = Node::swarm();
    let shown = node.wsw(&["service", "create", "--name", "sweep", "--mode", "global-job", &path("sum"), "1"]).ok();
    assert!(shown.lines().any(|line| line == "job complete"), "{shown}");
    assert_eq!(replicas(&node, "sweep"), "global job 0/0 (1/1 completed)");
    node.wsw(&["service", "update", "--force", "sweep"]).ok();
    let tasks = node.tasks("sweep");
    assert_eq!((tasks.len(), &tasks[0]["JobIteration"]["Index"]), (1, &json!(1)), "earlier runs go: {tasks:#?}");
    // One that computes for ever is stopped by the next run.
    node.wsw(&["service", "create", "-d", "--name", "ticking", "--mode", "global-job", &path("tick")]).ok();
    let first = node.wait_task("ticking", "running")["ID"].clone();
    node.wsw(&["service", "update", "-d", "--force", "ticking"]).ok();
    until("the second run alone", || {
        let tasks = node.tasks("ticking");
        let alone = tasks.len() == 1 && tasks[0]["ID"] != first && tasks[0]["Status"]["State"] == "running";
        if alone { Ok(()) } else { Err(format!("{tasks:#?}")) }
    });
}

/// The stock clients create jobs and wait for them.
#[test]
fn stock_clients_wait_for_jobs() {
    let node = Node::swarm();
    node.wsw(&["service", "create", "-d", "--name", "brings-the-image", "--mode", "replicated-job", &path("sum"), "1"]).ok();
    node.wait_task("brings-the-image", "complete");
    for (number, docker) in harness::docker_clients().iter().enumerate() {
        let (name, global) = (format!("job{number}"), format!("sweep{number}"));
        let shown = run(&mut node.client(docker, &["service", "create", "--name", &name, "--mode", "replicated-job", "--replicas", "3", "sum", "1"])).ok();
        assert!(shown.contains("job complete"), "{shown}");
        let shown = run(&mut node.client(docker, &["service", "create", "--name", &global, "--mode", "global-job", "sum", "1"])).ok();
        assert!(shown.contains("job complete"), "{shown}");
        let shown = run(&mut node.client(docker, &["service", "update", "--force", &name])).ok();
        assert!(shown.contains("job complete"), "{shown}");
        let shown = run(&mut node.client(docker, &["service", "ls"])).ok();
        assert!(shown.contains("0/3 (3/3 completed)") && shown.contains("0/0 (1/1 completed)"), "{shown}");
    }
}

/// Command lines about jobs that docker and wsw answer alike.
const SAME: &[&str] = &[
    "service ls",
    "service ls --filter mode=replicated-job",
    "service ls --filter mode=global-job -q",
    "service ls --format {{.Name}}|{{.Mode}}|{{.Replicas}}",
    "service ps batch",
    "service ps failing",
    "service ps --no-trunc sweep",
    "service ps --format {{.Name}}|{{.DesiredState}}|{{.Error}} batch",
    "service ps --filter desired-state=complete batch",
    "service inspect batch",
    "service inspect sweep",
    "service inspect --pretty batch",
    "service inspect --pretty sweep",
    "service inspect --format {{json .JobStatus.JobIteration}} batch",
    "service scale sweep=2",
    "service create --mode nosuch tick",
];

const SAME_IN_NEWEST: &[&str] = &[
    "service update --replicas 2 batch",
    "service create --mode replicated-job --update-delay 1s tick",
    "service create --mode global-job --replicas 2 tick",
    "service create --mode global-job --replicas-max-per-node 2 tick",
    "service create --max-concurrent 2 tick",
    "service create --mode global --max-concurrent 2 tick",
    "service create --max-concurrent x tick",
    "service create --generic-resource gpu tick",
    "service create --generic-resource gpu=a tick",
    "inspect --type task nosuch",
];

#[test]
fn docker_prints_jobs_alike() {
    let node = Node::swarm();
    let create = |name: &str, mode: &str, more: &[&str]| {
        node.wsw(&[&["service", "create", "-d", "--name", name, "--mode", mode][..], more, &[&path("sum"), "7"]].concat()).ok();
    };
    create("batch", "replicated-job", &["--replicas", "3", "--max-concurrent", "2"]);
    create("sweep", "global-job", &[]);
    let failing = ["service", "create", "-d", "--name", "failing", "--mode", "replicated-job", "--restart-max-attempts", "1", "--restart-delay", "0s"];
    node.wsw(&[&failing[..], &[&path("sum"), "x"]].concat()).ok();
    until("all to be over", || {
        let over = [("batch", "complete", 3), ("sweep", "complete", 1), ("failing", "failed", 2)];
        let count = |service: &str, state: &str| node.tasks(service).iter().filter(|task| task["Status"]["State"] == state).count();
        let open: Vec<_> = over.iter().filter(|(service, state, want)| count(service, state) != *want).collect();
        if open.is_empty() { Ok(()) } else { Err(format!("{open:?}")) }
    });
    for docker in harness::docker_clients() {
        let newest = harness::newest_docker() == docker;
        let lines = SAME.iter().chain(if newest { SAME_IN_NEWEST } else { &[] });
        let differences: Vec<String> = lines.filter_map(|typed| diff::difference(&node, &docker, typed)).collect();
        assert!(differences.is_empty(), "{} differences to {}:\n{}", differences.len(), docker.display(), differences.join("\n"));
    }
}
