//! Deaths of shims: what they say of themselves, and that tasks which may be the cause are kept apart.

use crate::harness::{self, Node, free_tcp_port, guest, kill, shims_below, until, wat};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn create(node: &Node, name: &str, more: &[&str], image: &Path) {
    let image = image.to_string_lossy();
    node.wsw(&[&["service", "create", "--name", name, "--restart-delay", "0s"], more, &[&*image]].concat()).ok();
}

fn pids(running: &BTreeMap<String, i64>) -> BTreeSet<i64> {
    running.values().copied().collect()
}

/// Waits until the service has this many tasks, none of them one of `before`.
fn replaced(node: &Node, service: &str, before: &BTreeMap<String, i64>) -> BTreeMap<String, i64> {
    until(&format!("the tasks of {service} to be replaced"), || {
        let now = node.running(service);
        if now.len() == before.len() && now.keys().all(|task| !before.contains_key(task)) { Ok(now) } else { Err(format!("{now:?}")) }
    })
}

/// The shim of two services is killed twice: then each has a shim of its own, and a third death is the matter of one of them only.
#[test]
fn services_whose_shim_died_twice_are_kept_apart() {
    let node = Node::swarm();
    let port = free_tcp_port();
    create(&node, "one", &["--replicas", "2"], &guest("tick"));
    create(&node, "two", &["-p", &format!("{port}:80")], &guest("hello_http"));
    let mut tasks = ["one", "two"].map(|name| node.running(name));
    for _ in 0..2 {
        let shared: BTreeSet<i64> = tasks.iter().flat_map(pids).collect();
        assert_eq!(shared.len(), 1, "they share a shim: {tasks:?}");
        kill(i32::try_from(*shared.first().expect("one")).expect("a pid"), Signal::KILL);
        tasks = [replaced(&node, "one", &tasks[0]), replaced(&node, "two", &tasks[1])];
    }
    assert_eq!((pids(&tasks[0]).len(), pids(&tasks[1]).len()), (1, 1), "{tasks:?}");
    assert!(pids(&tasks[0]).is_disjoint(&pids(&tasks[1])), "each has its own: {tasks:?}");
    // One that has to do with no death shares no shim with them.
    create(&node, "three", &[], &guest("tick"));
    assert!(pids(&node.running("three")).is_disjoint(&tasks.iter().flat_map(pids).collect()));
    // The third death.
    let (two, three) = (node.running("two"), node.running("three"));
    let first = *pids(&tasks[0]).first().expect("one");
    kill(i32::try_from(first).expect("a pid"), Signal::KILL);
    let after = replaced(&node, "one", &tasks[0]);
    assert!(!pids(&after).contains(&first));
    assert_eq!((node.running("two"), node.running("three")), (two, three), "the others did not notice");
    assert_eq!(harness::get(port, "/").map(|answer| answer.status), Ok(200));
    let dead: Vec<_> = node.tasks("one").into_iter().filter(|task| task["Status"]["State"] == "failed").collect();
    assert!(dead.iter().all(|task| task["Status"]["Err"].as_str().is_some_and(|text| text.contains("shim died: signal: 9 (SIGKILL)"))), "{dead:#?}");
}

/// The memory group of the only shim; none where this machine has no such groups for us.
fn memory_group(node: &Node) -> Option<PathBuf> {
    let note = std::fs::read_to_string(node.folder().join("e/wasm/cgroups")).ok()?;
    let base = note.lines().find_map(|line| line.strip_prefix("memory ").or_else(|| line.strip_prefix("unified ")))?;
    let inside = std::fs::read_dir(base).ok()?.flatten().map(|entry| entry.path());
    inside.filter(|path| std::fs::read_to_string(path.join("cgroup.procs")).is_ok_and(|pids| !pids.trim().is_empty())).last()
}

fn number(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The kernel ends a shim that is beyond its group's limit: its tasks say so, not only that it died.
#[test]
fn a_shim_that_the_kernel_ends_for_its_memory_says_so() {
    let node = Node::swarm();
    let memory = 600_u64 << 20;
    let image = guest("files").to_string_lossy().into_owned();
    let flags = ["--restart-condition", "none", "--limit-memory", "600M", "--mount", "type=volume,source=vv,target=/data"];
    let create = [&["service", "create", "--name", "fat"], &flags[..], &[&image, "await:/data/go", "eat:500", "wait"]].concat();
    node.wsw(&create).ok();
    let Some(group) = memory_group(&node) else {
        let isolation = node.wsw(&["info"]).ok();
        assert!(!isolation.contains("cgroup"), "the node says that it has control groups: {isolation}");
        return;
    };
    let (limit, used) = match group.join("memory.max") {
        unified if unified.exists() => (unified, group.join("memory.current")),
        _ => (group.join("memory.limit_in_bytes"), group.join("memory.usage_in_bytes")),
    };
    // The daemon's own limit first: what the task may have and what a shim needs beside.
    until("the group to have its limit", || match number(&limit) {
        Some(bytes) if (memory..16 * memory).contains(&bytes) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let small = number(&used).expect("a number") + (64 << 20);
    std::fs::write(&limit, small.to_string()).expect("it is above what is used");
    let swap = group.join("memory.swap.max");
    let _ = std::fs::write(swap, "0");
    std::fs::write(node.data_root().join("volumes/vv/_data/go"), "").expect("it is ours");
    let task = node.wait_task("fat", "failed");
    let error = task["Status"]["Err"].as_str().unwrap_or_default();
    assert!(error.contains("shim died: out of memory: its control group's limit is "), "{task:#}");
    assert!(node.wsw(&["service", "ps", "--no-trunc", "fat"]).ok().contains("out of memory"));
}

/// A guest that takes its shim with it, again and again, is in one of its own in the end; a good one is served all the while but for what was in it.
#[test]
fn who_is_beside_a_guest_that_kills_its_shim_comes_back() {
    let node = Node::swarm();
    let port = free_tcp_port();
    create(&node, "hello", &["-p", &format!("{port}:80")], &guest("hello_http"));
    create(&node, "killer", &[], &wat(node.folder(), "spin"));
    for _ in 0..3 {
        // What it would do if it could: its shim is killed from outside.
        let killer = node.wait_running("killer", 1);
        let pid = *pids(&killer).first().expect("one");
        kill(i32::try_from(pid).expect("a pid"), Signal::KILL);
        replaced(&node, "killer", &killer);
        until("requests to be answered", || match harness::get(port, "/") {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
    let (hello, killer) = (node.running("hello"), node.wait_running("killer", 1));
    assert!(pids(&hello).is_disjoint(&pids(&killer)));
    kill(i32::try_from(*pids(&killer).first().expect("one")).expect("a pid"), Signal::KILL);
    replaced(&node, "killer", &killer);
    assert_eq!(node.running("hello"), hello, "this time it was alone");
    assert!(shims_below(node.folder()).len() >= 2);
}
