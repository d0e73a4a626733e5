//! Guests that misbehave or end badly: each fails or slows its own task alone, and the status says why.

use crate::harness::{self, Load, Node, free_tcp_port, guest, until, wat};

fn reason(task: &serde_json::Value) -> String {
    let status = &task["Status"];
    format!("{} {}", status["Err"].as_str().unwrap_or_default(), status["ContainerStatus"]["ExitCode"])
}

/// How a bad guest ends.
enum End {
    /// By itself, with these words in `service ps`.
    Says(&'static str),
    /// It goes on until its service is removed.
    Goes,
}
use End::{Goes, Says};

/// A guest, its flags, its arguments, its end. What has a suffix `.wat` is in `guest-examples/limits`.
const BAD: &[(&str, &[&str], &[&str], End)] = &[
    ("trap.wat", &[], &[], Says("unreachable")),
    ("spin.wat", &["--replicas", "3"], &[], Goes),
    ("spin.wat", &["--limit-cpu", "0.2"], &[], Goes),
    ("flood.wat", &[], &[], Goes),
    ("recurse.wat", &[], &[], Says("call stack exhausted")),
    ("hog.wat", &["--limit-memory", "64M"], &[], Says("memory limit of 67108864 bytes reached")),
    ("tables.wat", &["--limit-memory", "64M"], &[], Says("memory limit of 67108864 bytes reached")),
    ("files", &["--limit-memory", "64M"], &["eat:100"], Says("memory limit of 67108864 bytes reached")),
    ("files", &["--mount", "type=volume,target=/data"], &["write:/data/x:y", "hold:/data/x:2000"], Says("limit of 1024 open files of a task reached")),
    ("files", &["--container-label", "wsw.wasm.allow-outbound=example.com"], &["sockets:1000"], Says("limit of 512 sockets of a task reached")),
    ("files", &[], &["leak:10000"], Says("limit of 4096 resources of an instance reached")),
];

/// Each harms itself alone: beside it a server answers all requests and a command goes on, in the same shim, and its end says what it was.
#[test]
fn bad_guests_harm_themselves_alone() {
    let node = Node::swarm();
    let (port, path) = (free_tcp_port(), |name: &str| guest(name).to_string_lossy().into_owned());
    node.wsw(&["service", "create", "--name", "hello", "-p", &format!("{port}:80"), &path("hello_http")]).ok();
    node.wsw(&["service", "create", "--name", "bystander", &path("tick")]).ok();
    let others = || [node.running("hello"), node.running("bystander")];
    let before = others();
    let load = Load::start(port, "/", 2, |body| body.starts_with("Hello from hello."));
    let goes_on = |beside: &str| {
        let answered = load.answered();
        until(&format!("requests to be answered beside {beside}"), || match load.answered() {
            now if now > answered + 20 => Ok(()),
            now => Err(format!("{now} after {answered}")),
        });
    };
    let mut wrong = Vec::new();
    for (name, flags, arguments, end) in BAD {
        let file = match name.strip_suffix(".wat") {
            Some(name) => wat(node.folder(), name).to_string_lossy().into_owned(),
            None => path(name),
        };
        let mut words = vec!["service", "create", "-d", "--name", "bad", "--restart-condition", "none"];
        words.extend(*flags);
        words.push(&file);
        words.extend(*arguments);
        node.wsw(&words).ok();
        match end {
            Says(text) => {
                let said = reason(&node.wait_task("bad", "failed"));
                let shown = node.wsw(&["service", "ps", "--no-trunc", "bad"]).ok();
                if !said.contains(text) || !shown.contains(text) || !shown.contains(" Failed ") {
                    wrong.push(format!("{name} {arguments:?}: {text:?} is not in {said:?} and {shown}"));
                }
            }
            Goes => {
                node.wait_task("bad", "running");
            }
        }
        goes_on(name);
        node.wsw(&["service", "rm", "bad"]).ok();
        until("its tasks to end", || {
            let left = node.json("/containers/json");
            let bad = |one: &&serde_json::Value| one["Names"][0].as_str().is_some_and(|name| name.contains("bad."));
            if left.as_array().into_iter().flatten().any(|one| bad(&one)) { Err(left.to_string()) } else { Ok(()) }
        });
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    goes_on("nothing");
    assert_eq!(others(), before, "nobody else was replaced");
    let last = |run: String| run.lines().last().and_then(|line| line.strip_prefix("tick ")?.parse::<u64>().ok()).unwrap_or(0);
    let count = last(node.wsw(&["service", "logs", "--raw", "--tail", "1", "bystander"]).ok());
    until("the bystander to go on", || {
        let now = last(node.wsw(&["service", "logs", "--raw", "--tail", "1", "bystander"]).ok());
        if now > count { Ok(()) } else { Err(format!("{now} after {count}")) }
    });
    let (answered, failures) = load.end();
    assert!(failures.is_empty(), "of {answered}: {failures:#?}");
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
