//! Guests that misbehave or end badly: each fails or slows its own task alone, and the status says why.

use crate::harness::{self, Node, free_tcp_port, guest, until, wat};

fn reason(task: &serde_json::Value) -> String {
    let status = &task["Status"];
    format!("{} {}", status["Err"].as_str().unwrap_or_default(), status["ContainerStatus"]["ExitCode"])
}

/// A bystander runs in the same shim all the while, and is never replaced.
fn beside_a_bystander(test: impl FnOnce(&Node)) {
    let node = Node::swarm();
    node.wsw(&["service", "create", "--name", "bystander", &guest("tick").to_string_lossy()]).ok();
    let before = node.running("bystander");
    test(&node);
    assert_eq!(node.running("bystander"), before, "the bystander did not notice");
    let last = |run: String| run.lines().last().and_then(|line| line.strip_prefix("tick ")?.parse::<u64>().ok()).unwrap_or(0);
    let count = last(node.wsw(&["service", "logs", "--raw", "--tail", "1", "bystander"]).ok());
    until("the bystander to go on", || {
        let now = last(node.wsw(&["service", "logs", "--raw", "--tail", "1", "bystander"]).ok());
        if now > count { Ok(()) } else { Err(format!("{now} after {count}")) }
    });
}

fn fails(name: &str, flags: &[&str], words: &[&str]) {
    beside_a_bystander(|node| {
        let file = wat(node.folder(), name);
        let file = file.to_string_lossy();
        let mut arguments = vec!["service", "create", "-d", "--name", "bad", "--restart-condition", "none"];
        arguments.extend(flags);
        arguments.push(&file);
        node.wsw(&arguments).ok();
        let task = node.wait_task("bad", "failed");
        let said = reason(&task);
        assert!(words.iter().any(|word| said.contains(word)), "{name}: one of {words:?} in {task:#}");
        let shown = node.wsw(&["service", "ps", "--no-trunc", "bad"]).ok();
        assert!(shown.contains(" Failed "), "{shown}");
    });
}

#[test]
fn a_trap() {
    fails("trap", &[], &["unreachable"]);
}

#[test]
fn endless_recursion() {
    fails("recurse", &[], &["stack"]);
}

#[test]
fn all_memory() {
    fails("hog", &["--limit-memory", "64M"], &["memory"]);
}

#[test]
fn an_endless_loop_can_be_stopped() {
    beside_a_bystander(|node| {
        let spin = wat(node.folder(), "spin");
        node.wsw(&["service", "create", "--name", "spin", "--replicas", "3", &spin.to_string_lossy()]).ok();
        assert_eq!(node.running("spin").len(), 3);
        node.wsw(&["service", "rm", "spin"]).ok();
        until("its tasks to end", || {
            let left = node.json("/containers/json");
            let names = left.as_array().map_or(0, |list| list.iter().filter(|one| one["Names"][0].as_str().is_some_and(|name| name.contains("spin."))).count());
            if names == 0 { Ok(()) } else { Err(left.to_string()) }
        });
    });
}

#[test]
fn exit_codes() {
    let node = Node::swarm();
    let legacy = guest("legacy").to_string_lossy().into_owned();
    let sum = guest("sum").to_string_lossy().into_owned();
    node.wsw(&["service", "create", "-d", "--name", "three", "--restart-condition", "none", "--env", "EXIT_CODE=3", &legacy]).ok();
    node.wsw(&["service", "create", "-d", "--name", "words", "--restart-condition", "none", &sum, "one"]).ok();
    let task = node.wait_task("three", "failed");
    assert_eq!(task["Status"]["ContainerStatus"]["ExitCode"], 3, "{task:#}");
    assert!(task["Status"]["Err"].as_str().unwrap_or_default().contains("non-zero exit (3)"), "{task:#}");
    let task = node.wait_task("words", "failed");
    assert_eq!(task["Status"]["ContainerStatus"]["ExitCode"], 1, "{task:#}");
    assert!(
        node.wsw(&["service", "logs", "--raw", "words"]).err.contains("is not a number")
            || node.wsw(&["service", "logs", "--raw", "words"]).out.contains("is not a number")
    );
}

#[test]
fn arguments_and_environment() {
    let node = Node::swarm();
    let legacy = guest("legacy").to_string_lossy().into_owned();
    let mut words = vec!["service", "create", "-d", "--name", "shown", "--restart-condition", "none", "-e", "GREETING=good day", "-e", "EMPTY=", &legacy];
    words.extend(["first", "second word"]);
    node.wsw(&words).ok();
    let task = node.wait_task("shown", "complete");
    let run = node.wsw(&["service", "logs", "--raw", "shown"]);
    let lines: Vec<&str> = run.out.lines().collect();
    for line in ["arg 1: first", "arg 2: second word", "env GREETING=good day", "env EMPTY=", "env WSW_SERVICE_NAME=shown", "env WSW_TASK_SLOT=1"] {
        assert!(lines.contains(&line), "{line:?} is not in {run}");
    }
    let id = task["ID"].as_str().unwrap_or_default();
    assert!(lines.contains(&format!("env WSW_TASK_ID={id}").as_str()) && lines.contains(&format!("env WSW_TASK_NAME=shown.1.{id}").as_str()), "{run}");
    let known = |line: &&&str| line.starts_with("env ") && !line.starts_with("env WSW_") && !["env GREETING=good day", "env EMPTY="].contains(line);
    assert_eq!(lines.iter().find(known), None, "nothing of the daemon's own environment");
}

#[test]
fn a_request_that_traps_or_spins_spoils_no_other() {
    let node = Node::swarm();
    let port = free_tcp_port();
    let hello = guest("hello_http").to_string_lossy().into_owned();
    let publish = format!("{port}:80");
    node.wsw(&["service", "create", "--name", "hello", "-p", &publish, "--container-label", "wsw.wasm.request-timeout=1s", &hello]).ok();
    let before = node.running("hello");
    for path in ["/trap", "/spin", "/trap"] {
        let answer = harness::get(port, path).expect("there is an answer");
        assert!(answer.status >= 500, "{path}: {answer:?}");
        let answer = harness::get(port, "/").expect("there is an answer");
        assert_eq!(answer.status, 200, "after {path}: {answer:?}");
    }
    assert_eq!(node.running("hello"), before);
}

#[test]
fn the_client_address_is_the_true_one() {
    let node = Node::swarm();
    let port = free_tcp_port();
    node.wsw(&["service", "create", "--name", "hello", "-p", &format!("{port}:80"), &guest("hello_http").to_string_lossy()]).ok();
    let answer = harness::get(port, "/headers").expect("there is an answer");
    assert!(answer.body.lines().any(|line| line == "x-forwarded-for: 127.0.0.1"), "{answer:?}");
}
