//! Containers and their shims: one that hangs, also while nobody watches it, and how many tasks share one.

use crate::harness::containers::{contained, group_bases, node_with_image, shims_of, wait_gone};
use crate::harness::{Node, is_root, kill, until};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Waits for as many new tasks in place of these.
fn wait_replaced(node: &Node, service: &str, before: &BTreeMap<String, i64>) -> BTreeMap<String, i64> {
    until("as many new tasks", || {
        let now = node.running(service);
        if now.len() == before.len() && now.keys().all(|task| !before.contains_key(task)) { Ok(now) } else { Err(format!("{now:?}")) }
    })
}

/// A process that ended may wait for its parent.
fn wait_ended(pid: i32) {
    until("the process to end", || match std::fs::read_to_string(format!("/proc/{pid}/status")) {
        Ok(status) if !status.contains("\nState:\tZ") => Err(status),
        _ => Ok(()),
    });
}

fn wait_contained(node: &Node, count: usize) {
    until("the processes of ended tasks to go", || match contained(node.data_root()).len() {
        found if found == count => Ok(()),
        found => Err(format!("{found} processes")),
    });
}

/// Where a node's shims listen.
fn sockets(node: &Node) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(node.folder().join("e/oci/g")).expect("there are shims").flatten();
    let notes = folders.map(|folder| std::fs::read(folder.path().join("shim.json")).expect("a shim's note"));
    let socket = |note: Vec<u8>| serde_json::from_slice::<serde_json::Value>(&note).expect("JSON")["socket"].as_str().map(PathBuf::from);
    notes.filter_map(socket).collect()
}

#[test]
fn a_shim_that_hangs_is_given_up_and_others_go_on() {
    if !is_root() {
        return;
    }
    let node = node_with_image();
    for service in ["web", "other"] {
        node.wsw(&["service", "create", "--name", service, "--replicas", "3", "--restart-delay", "10ms", "eon01/infinite"]).ok();
    }
    let (before, kept) = (node.running("web"), node.running("other"));
    let shims = shims_of(&node, "web");
    assert_eq!(shims.len(), 1, "the tasks of a service share one");
    let names = node.wsw(&["ps", "--format", "{{.Names}}"]).ok();
    let name = names.lines().find(|name| name.starts_with("web.")).expect("three of it run");
    kill(shims[0], Signal::STOP);
    // More of its tasks than the node starts at a time, and the other service does not wait for them.
    node.wsw(&["service", "scale", "-d", "web=12"]).ok();
    node.wsw(&["service", "scale", "other=5"]).ok();
    node.wsw(&["service", "scale", "-d", "web=3"]).ok();
    node.wsw(&["exec", name, "true"]).failed();
    let dead = node.wait_task("web", "failed");
    assert!(dead["Status"]["Err"].as_str().is_some_and(|why| why.contains("shim died: it did not answer for ")), "{dead}");
    wait_replaced(&node, "web", &before);
    wait_ended(shims[0]);
    wait_contained(&node, 8);
    let now = node.running("other");
    assert!(kept.iter().all(|(task, pid)| now.get(task) == Some(pid)), "{kept:?} {now:?}");
    node.wsw(&["service", "rm", "web", "other"]).ok();
    wait_gone(&node);
}

#[test]
fn a_shim_that_hangs_when_the_daemon_comes_back_is_given_up() {
    if !is_root() {
        return;
    }
    let mut node = node_with_image();
    for service in ["web", "other"] {
        node.wsw(&["service", "create", "--name", service, "--replicas", "3", "--restart-delay", "10ms", "eon01/infinite"]).ok();
    }
    let (before, kept) = (node.running("web"), node.running("other"));
    let shims = shims_of(&node, "web");
    node.kill();
    kill(shims[0], Signal::STOP);
    node.restart();
    wait_replaced(&node, "web", &before);
    wait_ended(shims[0]);
    wait_contained(&node, 6);
    assert_eq!(node.running("other"), kept);
    node.wsw(&["service", "rm", "web", "other"]).ok();
    wait_gone(&node);
}

#[test]
fn many_tasks_of_a_service_have_several_shims() {
    if !is_root() {
        return;
    }
    let mut node = node_with_image();
    node.wsw(&["service", "create", "--name", "many", "--replicas", "40", "--restart-delay", "10ms", "eon01/infinite"]).ok();
    let (before, shims) = (node.running("many"), shims_of(&node, "many"));
    assert_eq!((before.len(), shims.len()), (40, 3), "sixteen each");
    let sockets = sockets(&node);
    assert_eq!(sockets.len(), 3, "{sockets:?}");
    // A later daemon finds each task in its shim.
    node.kill();
    node.restart();
    until("the same forty", || if node.running("many") == before { Ok(()) } else { Err(format!("{} run", node.running("many").len())) });
    assert_eq!(shims_of(&node, "many"), shims);
    // With one of them its tasks fail, and no others.
    kill(shims[1], Signal::KILL);
    until("the tasks of one shim to be replaced", || {
        let now = node.running("many");
        let kept = before.iter().filter(|(task, pid)| now.get(*task) == Some(pid)).count();
        if now.len() == 40 && (24..40).contains(&kept) && shims_of(&node, "many").len() == 3 {
            Ok(())
        } else {
            Err(format!("{} run, {kept} as before", now.len()))
        }
    });
    // All at once: no shim waits for itself.
    node.wsw(&["service", "rm", "many"]).ok();
    wait_gone(&node);
    assert!(shims.iter().all(|pid| !std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())), "the shims ended with their tasks");
    assert_eq!(sockets.iter().find(|socket| socket.exists()), None, "so did the sockets, of the one that was killed too");
}

#[test]
fn control_groups_go_with_the_last_task_and_what_a_crash_left_at_the_next_start() {
    if !is_root() {
        return;
    }
    let mut node = node_with_image();
    let bases = group_bases(node.data_root());
    let left = |below: &str| bases.iter().map(|base| base.join(below)).filter(|group| group.exists()).collect::<Vec<_>>();
    let wait_none = |below: &str| {
        until("the groups to go", || match left(below) {
            left if left.is_empty() => Ok(()),
            left => Err(format!("{left:?}")),
        });
    };
    // Not even the trial of the runtime left any.
    wait_none("oci");
    node.wsw(&["service", "create", "--name", "box", "--replicas", "2", "eon01/infinite"]).ok();
    assert!(!left("oci").is_empty());
    node.wsw(&["service", "rm", "box"]).ok();
    wait_none("oci");
    node.kill();
    for base in &bases {
        std::fs::create_dir_all(base.join("oci/leftover/inner")).expect("groups can be made");
    }
    node.restart();
    wait_none("oci");
    node.wsw(&["swarm", "leave", "--force"]).ok();
    assert_eq!(node.terminate(), Some(0));
    wait_none("");
}
