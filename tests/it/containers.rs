//! Tasks as containers, with both clients: killed, stopped, waited for, measured, and what events tell of it.

use crate::harness::{self, Follow, Node, guest, run, until};
use std::path::Path;

const WSW: &str = env!("CARGO_BIN_EXE_wsw");

fn path(name: &str) -> String {
    guest(name).to_string_lossy().into_owned()
}

/// Ids of the containers that run, as `ps -q` shows them.
fn containers(node: &Node) -> Vec<String> {
    node.wsw(&["ps", "-q", "--no-trunc"]).ok().split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_killed_task_is_replaced_and_its_end_is_told() {
    let node = Node::swarm();
    let events = Follow::start(
        &mut node
            .client(Path::new(WSW), &["events", "--filter", "type=container", "--format", "{{.Action}} {{.Actor.Attributes.name}} {{json .Actor.Attributes}}"]),
    );
    node.wsw(&["service", "create", "--name", "ticking", "--restart-delay", "0s", "--container-label", "team=a", &path("tick")]).ok();
    let first = containers(&node).pop().expect("one runs");
    let waited = Follow::start(&mut node.client(Path::new(WSW), &["container", "wait", &first]));
    assert_eq!(node.wsw(&["kill", &first]).ok().trim(), first);
    waited.line("the exit code", |line| line.trim() == "137");
    let second = until("the replacement", || match containers(&node).as_slice() {
        [only] if *only != first => Ok(only.clone()),
        others => Err(format!("{others:?}")),
    });
    let shown = node.wsw(&["service", "ps", "--no-trunc", "ticking"]).ok();
    assert!(shown.contains("task: non-zero exit (137)"), "{shown}");
    // Docker's own client stops the second: SIGTERM, 143.
    for docker in harness::docker_clients().iter().take(1) {
        assert_eq!(run(&mut node.client(docker, &["stop", &second])).ok().trim(), second);
    }
    let died = |code: &'static str| move |line: &str| line.starts_with("die ticking.1.") && line.contains(&format!("\"exitCode\":\"{code}\""));
    events.line("the creation", |line| line.starts_with("create ticking.1.") && line.contains("\"team\":\"a\""));
    events.line("the start", |line| line.starts_with("start ticking.1."));
    events.line("the signal", |line| line.starts_with("kill ticking.1.") && line.contains("\"signal\":\"9\""));
    events.line("the death", died("137"));
    events.line("the second death", died("143"));
    // The past is remembered too, and a removed service's tasks are destroyed.
    node.wsw(&["service", "rm", "ticking"]).ok();
    events.line("the end of all", |line| line.starts_with("destroy ticking.1."));
    let past = node.told(&["--filter", "event=die", "--filter", "label=team=a", "--format", "{{.Type}}"], |told| told.lines().count() >= 2);
    assert!(past.lines().all(|line| line == "container"), "{past}");
}

#[test]
fn refused_signals_and_ended_containers() {
    let node = Node::swarm();
    node.wsw(&["service", "create", "--name", "ticking", "--restart-condition", "none", &path("tick")]).ok();
    let id = containers(&node).pop().expect("one runs");
    for (words, names) in [
        (&["kill", "-s", "NOSUCH", &id][..], "invalid signal: NOSUCH"),
        (&["kill", "-s", "USR1", &id], "means nothing to a Wasm task"),
        (&["kill", "nosuch"], "No such container: nosuch"),
        (&["stop", "nosuch"], "No such container: nosuch"),
        (&["wait", "nosuch"], "No such container: nosuch"),
        (&["top", &id, "aux"], "a Wasm task is one line of ps -ef"),
        (&["rm", &id], "container is running: stop the container before removing or force remove"),
        (&["rm", "nosuch"], "No such container: nosuch"),
        (&["restart", &id], "never started again in its place"),
        (&["pause", &id], "no processes of its own"),
        (&["unpause", &id], "no processes of its own"),
        (&["exec", &id, "sh"], "a Wasm task has no shell"),
        (&["exec", "nosuch", "sh"], "No such container: nosuch"),
        (&["attach", "nosuch"], "No such container: nosuch"),
        (&["port", &id, "80"], "Error: No public port '80' published"),
        (&["stats", "--no-stream", "nosuch"], "No such container: nosuch"),
    ] {
        let said = node.wsw(words).failed();
        assert!(said.contains(names), "{words:?}: {said}");
    }
    assert_eq!(containers(&node).len(), 1, "no refused signal ends anything");
    node.wsw(&["stop", "-t", "1", &id]).ok();
    assert!(node.wsw(&["kill", &id]).failed().contains("is not running"));
    node.wsw(&["stop", &id]).ok();
    assert_eq!(node.wsw(&["wait", &id]).ok().trim(), "143");
    assert!(node.wsw(&["attach", &id]).failed().contains("cannot attach to a stopped container"));
    assert!(node.wsw(&["logs", "--tail", "1", &id]).ok().contains("tick"));
    let pruned = node.wsw(&["container", "prune", "-f"]).ok();
    assert!(pruned.contains(&format!("Deleted Containers:\n{id}\n\nTotal reclaimed space: 0B")), "{pruned}");
    assert_eq!(node.wsw(&["ps", "-aq"]).ok(), "");
    assert!(node.wsw(&["service", "ps", "ticking"]).ok().contains("ticking.1"), "it stays its service's history");
    assert!(node.wsw(&["service", "logs", "--tail", "1", "ticking"]).ok().contains("tick"), "with its log");
}

/// Removing a container leaves what its service knows of it; a running one is replaced. The daemon's end changes nothing.
#[test]
fn removed_containers_stay_history() {
    let mut node = Node::swarm();
    node.wsw(&["service", "create", "--name", "ticking", "--restart-delay", "0s", &path("tick")]).ok();
    for program in std::iter::once(Path::new(WSW).to_owned()).chain(harness::docker_clients()) {
        let first = containers(&node).pop().expect("one runs");
        assert_eq!(run(&mut node.client(&program, &["rm", "-f", &first])).ok().trim(), first);
        let second = until("the replacement", || match containers(&node).as_slice() {
            [only] if *only != first => Ok(only.clone()),
            others => Err(format!("{others:?}")),
        });
        assert_eq!(node.wsw(&["ps", "-aq", "--no-trunc"]).ok().trim(), second, "the first is shown no more");
        run(&mut node.client(&program, &["stop", &second])).ok();
        let removed = run(&mut node.client(&program, &["rm", &second]));
        assert_eq!(removed.ok().trim(), second);
        until("the next", || if containers(&node).is_empty() { Err("none yet".to_owned()) } else { Ok(()) });
    }
    let history = node.wsw(&["service", "ps", "-q", "ticking"]).ok().lines().count();
    assert!(history > 2, "{history}");
    let running = containers(&node);
    node.kill();
    node.restart();
    until("the running one, and no removed one", || match node.wsw(&["ps", "-aq", "--no-trunc"]).out {
        shown if shown.split_whitespace().eq(running.iter()) => Ok(()),
        shown => Err(shown),
    });
    assert_eq!(node.wsw(&["service", "ps", "-q", "ticking"]).ok().lines().count(), history);
}

#[test]
fn attached_to_its_end() {
    let node = Node::swarm();
    node.wsw(&["service", "create", "--name", "ticking", "--restart-condition", "none", "--replicas", "4", &path("tick")]).ok();
    let programs: Vec<_> = std::iter::once(Path::new(WSW).to_owned()).chain(harness::docker_clients()).collect();
    for (program, id) in programs.iter().zip(containers(&node)) {
        let attached = Follow::start(&mut node.client(program, &["attach", "--no-stdin", &id]));
        attached.line("what it writes from now on", |line| line.contains("tick"));
        let top = run(&mut node.client(program, &["top", &id])).ok();
        assert!(top.starts_with("UID") && top.lines().count() == 2 && top.contains("tick"), "{top}");
        node.wsw(&["stop", &id]).ok();
        assert_eq!(attached.end(), 143, "its exit code is the client's");
    }
}

#[test]
fn stats_are_real_numbers() {
    let node = Node::swarm();
    node.wsw(&["service", "create", "--name", "ticking", "--replicas", "2", "--limit-memory", "64M", &path("tick")]).ok();
    for program in std::iter::once(Path::new(WSW).to_owned()).chain(harness::docker_clients()) {
        let program = program.as_path();
        let format = "{{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.PIDs}}";
        let shown = run(&mut node.client(program, &["stats", "--no-stream", "--format", format])).ok();
        assert_eq!(shown.lines().count(), 2, "{shown}");
        for line in shown.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert!(words[0].starts_with("ticking.") && words[1].ends_with('%'), "{line}");
            assert!(words[2] != "0B" && words[2].ends_with('B') && words[4] == "64MiB" && words[5] == "1", "{line}");
        }
        let stream = Follow::start(&mut node.client(program, &["stats"]));
        stream.line("the table", |line| line.contains("CONTAINER ID") && line.contains("MEM USAGE / LIMIT"));
        stream.line("a running task", |line| line.contains("ticking.") && line.contains("/ 64MiB"));
    }
    // A server that has nothing to do holds its code all the same.
    node.wsw(&["service", "create", "--name", "idle", &path("hello_http")]).ok();
    let idle = node.wsw(&["ps", "-q", "--filter", "name=idle"]).ok().trim().to_owned();
    let shown = node.wsw(&["stats", "--no-stream", "--format", "{{.MemUsage}}", &idle]).ok();
    assert!(!shown.starts_with("0B") && shown.contains("iB / "), "{shown}");
    let usage = node.json(&format!("/containers/{}/stats?stream=0&one-shot=1", containers(&node)[0]));
    assert!(usage["cpu_stats"]["system_cpu_usage"].as_u64() > Some(0) && usage["memory_stats"]["usage"].as_u64() > Some(0), "{usage}");
}
