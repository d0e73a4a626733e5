//! A full disk: writes are refused by name, running tasks go on, and space alone mends it. Needs root for a small file system of its own.

use crate::harness::{self, Node, Setup, SmallDisk, free_tcp_port, guest, until};
use std::path::Path;

#[test]
fn is_survived() {
    let Some(disk) = SmallDisk::mount() else { return };
    let mut node = Node::start_with(Setup { data_root: Some(disk.path().join("d")), ..Setup::default() });
    node.wsw(&["swarm", "init", "--advertise-addr", "127.0.0.1"]).ok();
    let port = free_tcp_port();
    let hello = guest("hello_http").to_string_lossy().into_owned();
    node.wsw(&["service", "create", "--name", "hello", "--replicas", "2", "-p", &format!("{port}:80"), &hello]).ok();
    let before = node.running("hello");

    let filler = disk.fill();
    let refused = refuse(&node);
    let said = refused.to_lowercase();
    assert!(said.contains("space") || said.contains("disk") || said.contains("storage"), "the refusal names the cause: {refused}");
    assert_eq!(node.api("GET", "/_ping", &[]).body, "OK");
    assert_eq!(harness::get(port, "/").expect("it is served").status, 200, "running tasks go on");

    std::fs::remove_file(filler).expect("it is ours");
    until("writes to be taken again without a restart", || match node.wsw(&["service", "scale", "-d", "hello=3"]) {
        run if run.code == 0 => Ok(()),
        run => Err(run.to_string()),
    });
    let after = node.wait_running("hello", 3);
    assert!(before.keys().all(|task| after.contains_key(task)), "{before:?} {after:?}");

    node.kill();
    node.restart();
    assert_eq!(node.wait_running("hello", 3), after, "the log is whole");
    drop(node);
    still_there(disk.path());
}

/// Some bytes may still fit (a reserve, a page of the log): writes go on until one is refused.
fn refuse(node: &Node) -> String {
    for attempt in 0..200 {
        let label = format!("filler={attempt}-{}", "x".repeat(20_000));
        let body = serde_json::json!({
            "Name": format!("filler{attempt}"), "Labels": {"filler": label}, "Mode": {"Replicated": {"Replicas": 0}},
            "TaskTemplate": {"ContainerSpec": {"Image": "hello_http:latest"}},
        });
        let answer = node.api("POST", "/services/create", body.to_string().as_bytes());
        if answer.status >= 400 {
            assert!(answer.status >= 500, "{answer:?}");
            return answer.message();
        }
    }
    panic!("the disk is full, and 200 writes of 20 kB were taken");
}

fn still_there(folder: &Path) {
    assert!(folder.join("d").is_dir());
}
