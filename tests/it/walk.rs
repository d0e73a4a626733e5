//! The walk: create, scale, request, a crash that nobody notices, remove. Once with wsw's own client, once with each stock docker client.

use crate::harness::{self, Node, Run, Setup, free_tcp_port, guest, image_tar, run, until};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A client and how it names the two images.
struct Client {
    program: PathBuf,
    tick: String,
    hello: String,
}

impl Client {
    fn wsw() -> Self {
        let path = |name: &str| guest(name).to_string_lossy().into_owned();
        Self { program: PathBuf::from(env!("CARGO_BIN_EXE_wsw")), tick: path("tick"), hello: path("hello_http") }
    }

    fn run(&self, node: &Node, arguments: &[&str]) -> Run {
        run(&mut node.client(&self.program, arguments))
    }
}

#[test]
fn with_wsw() {
    let mut node = Node::start();
    walk(&mut node, &Client::wsw());
}

#[test]
fn without_root() {
    let mut node = Node::start_with(Setup { ordinary_user: true, ..Setup::default() });
    walk(&mut node, &Client::wsw());
}

#[test]
fn with_stock_docker() {
    for program in harness::docker_clients() {
        let mut node = Node::start();
        for (name, file) in [("tick", "tick"), ("hello_http", "hello_http")] {
            let tar = image_tar(node.folder(), name, &guest(file));
            let loaded = run(&mut node.client(&program, &["load", "-i", &tar.to_string_lossy()])).ok();
            assert!(loaded.contains(&format!("Loaded image: {name}:latest")), "{loaded}");
        }
        walk(&mut node, &Client { program, tick: "tick".into(), hello: "hello_http".into() });
    }
}

fn walk(node: &mut Node, client: &Client) {
    let port = free_tcp_port();
    begin(node, client, port);
    scale(node, client);
    all_replicas_answer(port);
    look(node, client);
    crash(node, port);
    end(node, client, port);
}

fn begin(node: &Node, client: &Client, port: u16) {
    let init = client.run(node, &["swarm", "init", "--advertise-addr", "127.0.0.1"]).ok();
    assert!(init.contains("Swarm initialized: current node (") && init.contains("SWMTKN-1-"), "{init}");

    let created = client.run(node, &["service", "create", "--name", "infinite_service", &client.tick]).ok();
    let id = created.lines().next().unwrap_or_default();
    assert!(id.len() == 25 && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()), "the first line is the id: {created}");
    // The prompt is back: everything is up, nothing to wait for.
    assert_eq!(node.running("infinite_service").len(), 1, "{created}");
    client.run(node, &["service", "create", "--name", "hello", "-p", &format!("{port}:80"), &client.hello]).ok();
    assert_eq!(node.running("hello").len(), 1);

    let services = client.run(node, &["service", "ls"]).ok();
    let row =
        |name: &str| services.lines().find(|line| line.split_whitespace().nth(1) == Some(name)).map(|line| line.split_whitespace().skip(2).collect::<Vec<_>>());
    assert_eq!(row("infinite_service"), Some(vec!["replicated", "1/1", "tick:latest"]), "{services}");
    assert_eq!(row("hello"), Some(vec!["replicated", "1/1", "hello_http:latest", &format!("*:{port}->80/tcp")]), "{services}");

    let containers = client.run(node, &["ps"]).ok();
    assert_eq!(containers.lines().count(), 3, "{containers}");
    assert!(containers.contains("infinite_service.1.") && containers.contains("hello.1."), "{containers}");

    let nodes = client.run(node, &["node", "ls"]).ok();
    let words: Vec<&str> = nodes.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert_eq!(words.len(), 7, "{nodes}");
    assert_eq!((words[1], &words[3..6]), ("*", &["Ready", "Active", "Leader"][..]), "{nodes}");
}

fn scale(node: &Node, client: &Client) {
    let scaled = client.run(node, &["service", "scale", "infinite_service=2"]).ok();
    assert!(scaled.starts_with("infinite_service scaled to 2\n"), "{scaled}");
    assert_eq!(node.running("infinite_service").len(), 2);
    let scaled = client.run(node, &["service", "scale", "infinite_service=50", "hello=10"]).ok();
    assert!(scaled.contains("infinite_service scaled to 50\n") && scaled.contains("hello scaled to 10\n"), "{scaled}");
    assert_eq!((node.running("infinite_service").len(), node.running("hello").len()), (50, 10));
    let services = client.run(node, &["service", "ls"]).ok();
    assert!(services.contains(" 50/50 ") && services.contains(" 10/10 "), "{services}");
}

/// Requests on fresh connections until each of the ten replicas has answered.
pub fn all_replicas_answer(port: u16) {
    let mut seen = BTreeSet::new();
    until("ten replicas to answer", || {
        let answer = harness::get(port, "/")?;
        assert!(answer.status == 200 && answer.body.starts_with("Hello from hello."), "{answer:?}");
        seen.insert(answer.body);
        if seen.len() == 10 { Ok(()) } else { Err(format!("{seen:?}")) }
    });
}

fn look(node: &Node, client: &Client) {
    let mut arguments = vec!["service", "logs", "-f", "--tail", "5", "infinite_service"];
    let logs = harness::Follow::start(&mut node.client(&client.program, &arguments));
    let line = logs.line("a tick", |line| line.contains("| tick "));
    assert!(line.starts_with("infinite_service.") && line.contains('@'), "{line:?}");
    drop(logs);
    arguments.retain(|word| *word != "-f");
    let lines = client.run(node, &arguments).ok();
    assert!(lines.lines().count() > 0 && lines.lines().all(|line| line.contains("| tick ")), "{lines}");

    let tasks = client.run(node, &["service", "ps", "hello"]).ok();
    assert_eq!(tasks.lines().filter(|line| line.contains(" Running ")).count(), 10, "{tasks}");
    let inspected = client.run(node, &["service", "inspect", "--pretty", "hello"]).ok();
    assert!(inspected.contains("Name:\t\thello\n") && inspected.contains(" Replicas:\t10\n"), "{inspected}");
}

/// The highest counter that a task of `infinite_service` has printed, by task.
pub fn counters(node: &Node) -> std::collections::BTreeMap<String, u64> {
    let logs = node.wsw(&["service", "logs", "--raw", "infinite_service"]).ok();
    assert!(logs.contains("tick "), "{logs}");
    let mut counters = std::collections::BTreeMap::new();
    for line in node.wsw(&["service", "logs", "--no-trunc", "--no-resolve", "infinite_service"]).ok().lines() {
        let Some((task, count)) = line.split_once(" | tick ").or_else(|| line.split_once("| tick ")) else { continue };
        let count: u64 = count.trim().parse().unwrap_or_else(|_| panic!("{line:?}"));
        let highest = counters.entry(task.trim().to_owned()).or_insert(0);
        *highest = count.max(*highest);
    }
    counters
}

fn crash(node: &mut Node, port: u16) {
    let before = (node.running("infinite_service"), node.running("hello"));
    let counted = counters(node);
    node.kill();
    node.restart();
    // At once, not "again after a while": nothing was restarted.
    assert_eq!((node.running("infinite_service"), node.running("hello")), before);
    until("all counters to go on", || {
        let now = counters(node);
        let stuck: Vec<_> = counted.iter().filter(|(task, count)| now.get(*task).is_none_or(|later| later <= count)).collect();
        if stuck.is_empty() { Ok(()) } else { Err(format!("{stuck:?}")) }
    });
    all_replicas_answer(port);
    assert_eq!((node.running("infinite_service"), node.running("hello")), before);
}

fn end(node: &mut Node, client: &Client, port: u16) {
    assert_eq!(client.run(node, &["service", "rm", "hello"]).ok(), "hello\n");
    until("the published port to close", || match std::net::TcpStream::connect(("127.0.0.1", port)) {
        Err(_) => Ok(()),
        Ok(_) => Err("it accepts".into()),
    });
    let left = client.run(node, &["swarm", "leave", "--force"]).ok();
    assert_eq!(left, "Node left the swarm.\n");
    nothing_runs(node);
    let refused = client.run(node, &["service", "ls"]).failed();
    assert!(refused.contains("This node is not a swarm manager"), "{refused}");
}

/// No process of the node is left but the daemon itself: a shim without a task ends.
pub fn nothing_runs(node: &Node) {
    let folder: &Path = node.folder();
    until("the last shim to end", || match harness::processes_below(folder) {
        pids if pids == [node.pid()] => Ok(()),
        pids => Err(format!("{pids:?}, the daemon is {}", node.pid())),
    });
}
