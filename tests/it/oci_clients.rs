//! What docker's clients and ours show of a container: the same words, the same codes, in a table; and what a container uses of its network.

use crate::harness::containers::infinite;
use crate::harness::{self, Follow, Node, Run, is_root, run, until};
use std::path::{Path, PathBuf};

fn ours() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_wsw"))
}

/// Looks at a difference before it counts: two runs fall into different seconds now and then.
const LOOKS: usize = 5;

/// What all clients print alike; ID stands for the container, NAME for its name.
const SAME_IN_ALL: &[&str] = &[
    "ps",
    "ps -q",
    "ps --no-trunc",
    "ps --format {{.Names}}|{{.Command}}|{{.Image}}|{{.Ports}}|{{.Mounts}}",
    "top ID",
    "top NAME -eo pid,comm",
    "port ID",
    "port ID 80/tcp",
    "inspect ID",
    "inspect --format {{.State.Status}}|{{.Config.User}}|{{.Config.WorkingDir}}|{{.HostConfig.Memory}}|{{.HostConfig.ReadonlyRootfs}} NAME",
    "container inspect --size ID",
    "logs ID",
    "logs -n 1 ID",
    "logs --tail 0 NAME",
    "logs --since 1h --until 1s ID",
    "stats --no-stream --no-trunc --format {{.Container}}|{{.ID}}|{{.Name}}|{{.PIDs}} ID",
    "kill --signal HUP ID",
    "exec ID echo here",
];

/// What the newest client prints; older ones differ among themselves.
const SAME_IN_NEWEST: &[&str] = &[
    "ps --size",
    "ps -a --filter ancestor=eon01/infinite",
    "ps --filter health=none --filter status=running --format {{.ID}}|{{.Status}}|{{.Networks}}",
    "logs -t ID",
    "logs --details ID",
    "logs --since x ID",
    "logs --tail x ID",
    "top ID -eo comm",
    "top nosuch",
    "port ID 81",
    "port ID x",
    "kill --signal NOSUCH ID",
    "kill nosuch ID2",
    "wait nosuch",
    "stats --no-stream nosuch",
    "stats --no-stream --format {{.Nosuch}} ID",
    "inspect nosuch",
    "rm ID",
    "exec ID nosuch",
    "cp ID:/nosuch .",
];

/// What both said, where that stays different.
fn difference(node: &Node, client: &Path, words: &[&str]) -> Option<(Run, Run)> {
    let plain = |ended: &Run| (ended.code, ended.out.replace("docker", "wsw"), ended.err.replace("docker", "wsw"));
    let mut last = None;
    for _ in 0..LOOKS {
        let (theirs, own) = (run(&mut node.client(client, words)), run(&mut node.client(&ours(), words)));
        if plain(&theirs) == plain(&own) {
            return None;
        }
        last = Some((theirs, own));
    }
    last
}

#[test]
fn a_container_looks_the_same_in_all_clients() {
    if !is_root() {
        return;
    }
    let node = Node::swarm();
    let file = infinite(node.folder());
    node.wsw(&["load", "-i", &file.to_string_lossy()]).ok();
    let port = harness::free_tcp_port().to_string();
    let publish = format!("mode=host,published={port},target=80");
    let script = "trap : HUP; echo one; echo two >&2; echo three; httpd -f -p 80 & while :; do sleep 60 & wait; done";
    let words = [
        "service",
        "create",
        "--name",
        "box",
        "-p",
        &publish,
        "--user",
        "root",
        "--workdir",
        "/www",
        "--limit-memory",
        "64m",
        "--mount",
        "type=volume,source=data,target=/data",
    ];
    node.wsw(&[&words[..], &["eon01/infinite", "sh", "-c", script]].concat()).ok();
    let id = node.wsw(&["ps", "-q", "--no-trunc"]).ok().trim().to_owned();
    let name = node.wsw(&["ps", "--format", "{{.Names}}"]).ok().trim().to_owned();
    // What is as old as this stays on one side of what the table asks with `--until`.
    until("its output and processes", || match (node.wsw(&["logs", "--until", "3s", &id]), node.wsw(&["top", &id]).out.lines().count()) {
        (logs, 4) if logs.out.lines().count() == 2 && logs.err.contains("two") => Ok(()),
        (logs, processes) => Err(format!("{processes} {logs}")),
    });
    let newest = harness::newest_docker();
    let mut wrong = Vec::new();
    let all = SAME_IN_ALL.iter().flat_map(|line| harness::docker_clients().into_iter().map(move |client| (*line, client)));
    for (line, client) in all.chain(SAME_IN_NEWEST.iter().map(|line| (*line, newest.clone()))) {
        let line: Vec<String> = line.split(' ').map(|word| word.replace("ID2", "other").replace("NAME", &name).replace("ID:", &format!("{id}:"))).collect();
        let words: Vec<&str> = line.iter().map(|word| if word == "ID" { id.as_str() } else { word.as_str() }).collect();
        if let Some((theirs, own)) = difference(&node, &client, &words) {
            wrong.push(format!("=== {}\n{theirs}\n{own}", client.display()));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    // What all of them wait for.
    let clients: Vec<_> = harness::docker_clients().into_iter().chain([ours()]).collect();
    let waiting: Vec<_> = clients.iter().map(|client| Follow::start(&mut node.client(client, &["wait", &id]))).collect();
    let following: Vec<_> = clients.iter().map(|client| Follow::start(&mut node.client(client, &["logs", "-f", &id]))).collect();
    following.iter().for_each(|client| drop(client.line("the log", |line| line == "three")));
    node.wsw(&["exec", &id, "sh", "-c", "echo more > /proc/1/fd/1"]).ok();
    following.iter().for_each(|client| drop(client.line("the new line", |line| line == "more")));
    node.wsw(&["kill", &id]).ok();
    waiting.into_iter().for_each(|client| drop(client.line("the code", |line| line == "137")));
    following.into_iter().for_each(|client| assert_eq!(client.end(), 0, "the log ends with its container"));
}

#[test]
fn stats_show_the_network() {
    if !is_root() {
        return;
    }
    let node = Node::swarm();
    let file = infinite(node.folder());
    node.wsw(&["load", "-i", &file.to_string_lossy()]).ok();
    node.wsw(&["service", "create", "--name", "box", "eon01/infinite"]).ok();
    let id = node.wsw(&["ps", "-q"]).ok().trim().to_owned();
    let shown = |client: &Path| run(&mut node.client(client, &["stats", "--no-stream", "--format", "{{.NetIO}}|{{.BlockIO}}", &id])).ok();
    // Its own gateway, where nobody listens: a packet goes and one comes.
    let script = "set -- $(while read -r link to gateway rest; do test $to = 00000000 && echo $gateway; done < /proc/net/route); \
        busybox wget -T 2 -q -O - http://$(busybox printf '%d.%d.%d.%d' 0x${1#??????} 0x$(echo $1 | busybox cut -c5-6) 0x$(echo $1 | busybox cut -c3-4) 0x$(echo $1 | busybox cut -c1-2)):9/; true";
    node.wsw(&["exec", &id, "sh", "-c", script]).ok();
    for client in harness::docker_clients() {
        until("both to show the same traffic", || match (shown(&client), shown(&ours())) {
            (theirs, own) if theirs == own && !own.starts_with("0B / ") && !own.contains(" / 0B|") => Ok(()),
            different => Err(format!("{different:?}")),
        });
    }
    let found = node.json(&format!("/containers/{id}/stats?stream=0&one-shot=1"));
    let link = &found["networks"]["eth0"];
    assert!(link["tx_packets"].as_u64() > Some(0) && link["rx_packets"].as_u64() > Some(0) && link["rx_errors"] == 0, "{found}");
}
