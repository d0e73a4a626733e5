//! `docker X` and `wsw X` against the same daemon: the same output, the same errors, the same exit codes.
//!
//! Only the program's name is normalised. Time goes on between the two runs ("5 seconds ago"), so a difference counts when it stays.

use crate::harness::{self, Node, Run, free_tcp_port, guest, run};
use std::path::Path;

/// Looks at a difference before it counts: two runs fall into different seconds now and then.
const LOOKS: usize = 5;

/// What all docker clients print alike.
const SAME_IN_ALL: &[&str] = &[
    "service ls",
    "service ls -q",
    "service ls --filter name=hello",
    "service ls --filter mode=global",
    "service ls --format {{.Name}}:{{.Replicas}}:{{.Image}}:{{.Ports}}",
    "service ls --format table\\t{{.ID}}\\t{{.Name}}",
    "service ps hello",
    "service ps hello infinite_service",
    "service ps -q hello",
    "service ps --no-trunc hello",
    "service ps --no-resolve hello",
    "service ps --filter desired-state=shutdown hello",
    "service ps --format {{.Name}}|{{.Node}}|{{.DesiredState}} hello",
    "service inspect --pretty hello",
    "service inspect --pretty infinite_service",
    "service inspect hello",
    "service inspect --format {{.Spec.Name}} hello infinite_service",
    "service inspect --format {{json .Spec.Mode}} hello",
    "node ls",
    "node ls -q",
    "node ls --filter role=manager",
    "node ls --format {{.Hostname}}|{{.Status}}|{{.Availability}}|{{.ManagerStatus}}|{{.Self}}",
    "node ps",
    "node ps self",
    "node inspect self",
    "node inspect --pretty self",
    "node inspect --format {{.Spec.Role}} self",
    "image ls",
    "image ls -q",
    "image ls --no-trunc",
    "image ls --digests",
    "images",
    "image ls --format {{.Repository}}:{{.Tag}}",
    "ps",
    "ps -q",
    "ps --no-trunc",
    "ps -a",
    "ps --format {{.Names}}|{{.Image}}",
    "ps --filter name=hello",
    "swarm join-token worker",
    "swarm join-token -q worker",
    "swarm join-token manager",
    "service logs --tail 0 infinite_service",
    "inspect nosuch",
    "service ps nosuch",
    "service logs nosuch",
    "service scale hello=x",
    "service ls --filter nosuch=1",
    "service ls --format {{.Nosuch}}",
    "swarm leave",
    "swarm init",
    "events --since 1 --until 2",
];

/// What the newest client prints; older ones differ among themselves (usage lines, prefixes of errors, fields that were added since).
const SAME_IN_NEWEST: &[&str] = &[
    "image inspect tick:latest",
    "service inspect nosuch",
    "service inspect hello nosuch",
    "service rm nosuch",
    "service scale nosuch=1",
    "service scale hello",
    "node inspect nosuch",
    "node rm nosuch",
    "node ps nosuch",
    "image inspect nosuch",
    "image rm nosuch",
    "service ls --format json",
    "service ps --format json hello",
    "node ls --format json",
    "image ls --format json",
    "service create",
    "service create --nosuch",
    "service create --replicas -1 tick",
    "service create --replicas x tick",
    "service ls extra",
    "service ps",
    "service scale",
    "service nosuch",
    "node nosuch",
    "swarm join-token",
    "swarm join-token boss",
    "nosuch",
    "--nosuch",
];

/// Docker's output as it would be if the program were called `wsw`; in ours only what the daemon says keeps docker's words.
fn renamed(text: &str) -> String {
    text.replace("DOCKER", "WSW").replace("docker", "wsw")
}

fn theirs_renamed(run: &Run) -> (i32, String, String) {
    (run.code, renamed(&run.out), renamed(&run.err))
}

fn ours_renamed(run: &Run) -> (i32, String, String) {
    let line = |line: &str| if line.starts_with("Error response from daemon: ") { renamed(line) } else { line.to_owned() };
    (run.code, run.out.clone(), run.err.split_inclusive('\n').map(line).collect())
}

fn difference(node: &Node, docker: &Path, typed: &str) -> Option<String> {
    let words: Vec<&str> = typed.split(' ').collect();
    // `{{json .x}}` is one word.
    let joined = join_templates(&words);
    let words: Vec<&str> = joined.iter().map(String::as_str).collect();
    let mut last = String::new();
    for _ in 0..LOOKS {
        let theirs = run(&mut node.client(docker, &words));
        let ours = node.wsw(&words);
        if theirs_renamed(&theirs) == ours_renamed(&ours) {
            return None;
        }
        last = format!("=== {typed}\n--- docker\n{theirs}\n--- wsw\n{ours}");
    }
    Some(last)
}

fn join_templates(words: &[&str]) -> Vec<String> {
    let mut joined: Vec<String> = Vec::new();
    for word in words {
        match joined.last_mut() {
            Some(last) if last.contains("{{") && last.matches("{{").count() > last.matches("}}").count() => {
                last.push(' ');
                last.push_str(word);
            }
            _ => joined.push((*word).to_owned()),
        }
    }
    joined
}

fn node_with_services() -> Node {
    let node = Node::swarm();
    let port = format!("{}:80", free_tcp_port());
    node.wsw(&["service", "create", "--name", "infinite_service", "--label", "tier=back", "-e", "A=b", &guest("tick").to_string_lossy()]).ok();
    let hello = guest("hello_http").to_string_lossy().into_owned();
    node.wsw(&["service", "create", "--name", "hello", "--replicas", "3", "--limit-memory", "64M", "-p", &port, &hello]).ok();
    node
}

fn compare(docker: &Path, lists: &[&[&str]]) {
    let node = node_with_services();
    let differences: Vec<String> = lists.iter().flat_map(|list| list.iter()).filter_map(|typed| difference(&node, docker, typed)).collect();
    assert!(differences.is_empty(), "{} differences to {}:\n{}", differences.len(), docker.display(), differences.join("\n"));
}

/// The major version of a docker client.
fn major(docker: &Path) -> u32 {
    let version = std::process::Command::new(docker).arg("--version").output().expect("the client starts");
    let text = String::from_utf8_lossy(&version.stdout).into_owned();
    text.split_whitespace().nth(2).and_then(|version| version.split('.').next()?.parse().ok()).unwrap_or_else(|| panic!("{text:?}"))
}

#[test]
fn all_clients() {
    for docker in harness::docker_clients() {
        compare(&docker, &[SAME_IN_ALL]);
    }
}

#[test]
fn the_newest_client() {
    let newest = harness::docker_clients().into_iter().max_by_key(|docker| major(docker)).expect("there is one");
    if major(&newest) < 28 {
        println!("skipped: no docker client of version 28 or newer on this machine; what differs among older ones is not compared");
        return;
    }
    compare(&newest, &[SAME_IN_NEWEST]);
}
