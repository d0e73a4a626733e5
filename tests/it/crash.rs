//! Deaths: of the daemon, again and again, of a shim, of nobody (SIGTERM), and a second daemon where one runs.

use crate::harness::{self, Node, free_tcp_port, guest, run, until};
use crate::walk;
use std::time::Duration;

fn services(node: &Node, port: u16) {
    node.wsw(&["service", "create", "--name", "infinite_service", "--replicas", "20", &guest("tick").to_string_lossy()]).ok();
    node.wsw(&["service", "create", "--name", "hello", "--replicas", "10", "-p", &format!("{port}:80"), &guest("hello_http").to_string_lossy()]).ok();
}

#[test]
fn killed_again_and_again() {
    let mut node = Node::swarm();
    let port = free_tcp_port();
    services(&node, port);
    let before = (node.running("infinite_service"), node.running("hello"));
    assert_eq!((before.0.len(), before.1.len()), (20, 10));
    assert!(before.0.values().all(|pid| *pid > 0), "{before:?}");
    for _ in 0..5 {
        node.kill();
        node.restart();
        until("the port to be served again", || harness::get(port, "/"));
        assert_eq!((node.running("infinite_service"), node.running("hello")), before);
    }
    walk::all_replicas_answer(port);
    // A decision that is taken late would replace something: look at it for a while.
    harness::stays("the same tasks", Duration::from_secs(3), || {
        let now = (node.running("infinite_service"), node.running("hello"));
        if now == before { Ok(()) } else { Err(format!("{now:?}")) }
    });
    let history = node.tasks("infinite_service").len() + node.tasks("hello").len();
    assert_eq!(history, 30, "no task was ever replaced");
}

#[test]
fn killed_in_the_middle_of_scaling() {
    let mut node = Node::swarm();
    node.wsw(&["service", "create", "--name", "infinite_service", &guest("tick").to_string_lossy()]).ok();
    for replicas in [40, 5, 30] {
        node.wsw(&["service", "scale", "-d", &format!("infinite_service={replicas}")]).ok();
        node.kill(); // acknowledged, and hardly begun
        node.restart();
        node.wait_running("infinite_service", replicas);
    }
    let tasks = node.tasks("infinite_service");
    let mut slots: Vec<u64> = tasks.iter().filter(|task| task["DesiredState"] == "running").map(|task| task["Slot"].as_u64().unwrap_or(0)).collect();
    slots.sort_unstable();
    slots.dedup();
    assert_eq!(slots.len(), 30, "a slot has one runnable task: {slots:?}");
}

/// Promise 1: what was acknowledged is there after `kill -9`, and what was refused or unanswered is there once or not at all.
#[test]
fn what_was_acknowledged_is_kept() {
    let mut node = Node::swarm();
    let mut acknowledged = Vec::new();
    for round in 0..4 {
        let socket = node.socket();
        let writer = std::thread::spawn(move || {
            let mut names = Vec::new();
            for number in 0.. {
                let name = format!("s{round}-{number}");
                let spec = serde_json::json!({
                    "Name": name, "Mode": {"Replicated": {"Replicas": 0}}, "TaskTemplate": {"ContainerSpec": {"Image": "nosuch:1"}},
                });
                match harness::over_unix(&socket, "POST", "/services/create", spec.to_string().as_bytes()) {
                    Ok(answer) if answer.status == 201 => names.push(name),
                    _ => break,
                }
            }
            names
        });
        until("some writes to be taken", || match node.json("/services").as_array().map_or(0, Vec::len) {
            count if count > acknowledged.len() + 20 => Ok(()),
            count => Err(format!("{count} services")),
        });
        node.kill(); // in the middle of a write
        acknowledged.extend(writer.join().expect("the writer does not panic"));
        node.restart();
        let services = node.json("/services");
        let mut names: Vec<&str> = services.as_array().into_iter().flatten().filter_map(|service| service["Spec"]["Name"].as_str()).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all, "no service twice");
        let lost: Vec<_> = acknowledged.iter().filter(|name| names.binary_search(&name.as_str()).is_err()).collect();
        assert!(lost.is_empty(), "acknowledged, and lost: {lost:?}");
        assert!(all <= acknowledged.len() + round + 1, "at most one unanswered write a round was taken: {all} of {}", acknowledged.len());
    }
}

#[test]
fn a_dead_shim_is_replaced_with_its_tasks() {
    let node = Node::swarm();
    node.wsw(&["service", "create", "--name", "infinite_service", "--replicas", "3", "--restart-delay", "0s", &guest("tick").to_string_lossy()]).ok();
    let before = node.running("infinite_service");
    let shim = *before.values().next().expect("three tasks run") as i32;
    rustix::process::kill_process(rustix::process::Pid::from_raw(shim).expect("a pid"), rustix::process::Signal::KILL).expect("the shim runs");
    until("all three to be replaced", || {
        let now = node.running("infinite_service");
        let replaced = now.len() == 3 && now.iter().all(|(task, pid)| !before.contains_key(task) && *pid != i64::from(shim));
        if replaced { Ok(()) } else { Err(format!("{now:?}")) }
    });
    let failed = node.wait_task("infinite_service", "failed");
    let reason = failed["Status"]["Err"].as_str().unwrap_or_default();
    assert!(reason.contains("shim"), "the status says what died: {failed:#}");
}

#[test]
fn a_shim_that_dies_while_the_daemon_is_away() {
    let mut node = Node::swarm();
    node.wsw(&["service", "create", "--name", "infinite_service", "--replicas", "3", "--restart-delay", "0s", &guest("tick").to_string_lossy()]).ok();
    let before = node.running("infinite_service");
    node.kill();
    for pid in harness::processes_below(node.folder()) {
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).expect("a pid"), rustix::process::Signal::KILL).expect("it runs");
    }
    node.restart();
    until("all three to be replaced", || {
        let now = node.running("infinite_service");
        if now.len() == 3 && now.keys().all(|task| !before.contains_key(task)) { Ok(()) } else { Err(format!("{now:?}")) }
    });
}

#[test]
fn sigterm_leaves_the_tasks_running() {
    let mut node = Node::swarm();
    let port = free_tcp_port();
    services(&node, port);
    let before = node.running("infinite_service");
    assert_eq!(node.terminate(), Some(0), "{}", node.log());
    assert!(!node.folder().join("pid").exists(), "the pid file is removed at a clean end");
    assert!(!harness::processes_below(node.folder()).is_empty(), "the shims go on");
    node.restart();
    until("the port to be served again", || harness::get(port, "/"));
    assert_eq!(node.running("infinite_service"), before);
}

#[test]
fn a_second_daemon_is_refused() {
    let node = Node::swarm();
    let refused = run(&mut node.daemon_command()).failed();
    assert!(refused.contains(&node.data_root().display().to_string()) || refused.contains("already running"), "it says why: {refused}");
    // A different socket and exec root change nothing: it is the data root that has one owner.
    let refused = run(&mut node.daemon_beside("2", harness::free_udp_port())).failed();
    assert!(refused.contains(&node.data_root().display().to_string()), "it names the folder: {refused}");
    assert_eq!(node.api("GET", "/_ping", &[]).body, "OK", "the first one is not disturbed");
}
