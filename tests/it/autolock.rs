//! A swarm with autolock: its managers' keys are sealed on disk, and a manager that starts again waits for the unlock key.

use crate::harness::{Managers, Node, Run, guest, image_tar, run, until};
use std::path::Path;

/// moby's words.
const LOCKED: &str = "Swarm is encrypted and needs to be unlocked before it can be used. Please use \"docker swarm unlock\" to unlock it.";

/// `swarm unlock` with the key on its standard input.
#[track_caller]
fn unlock(node: &Node, key: &str) -> Run {
    run(&mut node.client(Path::new("sh"), &["-c", "printf '%s\\n' \"$1\" | exec \"$0\" swarm unlock", env!("CARGO_BIN_EXE_wsw"), key]))
}

fn key(node: &Node) -> String {
    node.wsw(&["swarm", "unlock-key", "-q"]).ok().trim().to_owned()
}

fn state(node: &Node) -> String {
    node.json("/info")["Swarm"]["LocalNodeState"].as_str().unwrap_or_default().to_owned()
}

fn sealed(node: &Node) -> Option<Vec<u8>> {
    std::fs::read(node.data_root().join("identity/sealed.keys")).ok()
}

fn has_plain_keys(node: &Node) -> bool {
    ["node.key", "data.key"].iter().any(|name| node.data_root().join("identity").join(name).exists())
}

fn again(node: &mut Node) {
    node.kill();
    node.restart();
}

#[test]
fn a_locked_manager_keeps_its_tasks_and_opens_with_its_own_key_alone() {
    let mut node = Node::start();
    let said = node.wsw(&["swarm", "init", "--advertise-addr", "127.0.0.1", "--autolock"]).ok();
    let first = key(&node);
    assert!(first.len() == 52 && first.starts_with("SWMKEY-1-") && said.contains(&format!("\n    {first}\n")), "{said}");
    assert!(sealed(&node).is_some() && !has_plain_keys(&node));
    node.wsw(&["image", "load", "-q", "-i", &image_tar(node.folder(), "tick", &guest("tick")).to_string_lossy()]).ok();
    node.wsw(&["service", "create", "-q", "--name", "ticking", "--replicas", "2", "tick:latest"]).ok();
    let running = node.wait_running("ticking", 2);
    again(&mut node);
    let info = node.json("/info")["Swarm"].clone();
    assert_eq!((&info["LocalNodeState"], &info["ControlAvailable"], &info["Error"]), (&"locked".into(), &false.into(), &LOCKED.into()));
    for (method, path) in
        [("GET", "/swarm"), ("GET", "/nodes"), ("GET", "/services"), ("GET", "/tasks"), ("GET", "/swarm/unlockkey"), ("POST", "/swarm/update?version=1")]
    {
        let answer = node.api(method, path, b"{}");
        assert!(answer.status == 503 && answer.json()["message"] == LOCKED, "{method} {path}: {answer:?}");
    }
    assert!(node.wsw(&["swarm", "leave"]).failed().contains("Swarm is encrypted and locked. Please unlock it first or use `--force` to ignore this message."));
    until("the tasks to be there", || if node.local().iter().eq(running.keys()) { Ok(()) } else { Err(format!("{:?}", node.local())) });
    let wrong = format!("SWMKEY-1-{}", "A".repeat(43));
    assert!(unlock(&node, &wrong).failed().contains("swarm could not be unlocked: invalid key provided"));
    assert!(unlock(&node, "nonsense").failed().contains("invalid key string"));
    assert_eq!(node.api("POST", "/swarm/unlock", format!("{{\"UnlockKey\":\"{wrong}\"}}").as_bytes()).status, 401);
    assert_eq!(state(&node), "locked");
    unlock(&node, &first).ok();
    assert_eq!(state(&node), "active");
    assert_eq!(node.wait_running("ticking", 2), running, "no task was replaced");
    assert!(unlock(&node, &first).failed().contains("swarm is not locked"));
    let second = node.wsw(&["swarm", "unlock-key", "-q", "--rotate"]).ok().trim().to_owned();
    assert!(second != first && key(&node) == second);
    again(&mut node);
    assert!(unlock(&node, &first).failed().contains("invalid key provided"));
    unlock(&node, &second).ok();
    node.wsw(&["swarm", "update", "--autolock=false"]).ok();
    assert!(sealed(&node).is_none() && has_plain_keys(&node));
    again(&mut node);
    assert_eq!(state(&node), "active");
    assert!(node.wsw(&["swarm", "unlock-key"]).failed().contains("no unlock key is set"));
    assert_eq!(node.wait_running("ticking", 2), running);
    for key in [&first, &second, &wrong] {
        assert!(!node.log().contains(&key["SWMKEY-1-".len()..]), "a key is never logged");
    }
}

#[test]
fn a_locked_manager_can_leave_by_force_and_begin_again() {
    let mut node = Node::start();
    node.wsw(&["swarm", "init", "--advertise-addr", "127.0.0.1", "--autolock"]).ok();
    again(&mut node);
    assert_eq!(state(&node), "locked");
    node.wsw(&["swarm", "leave", "--force"]).ok();
    assert_eq!(state(&node), "inactive");
    node.wsw(&["swarm", "init", "--advertise-addr", "127.0.0.1"]).ok();
    again(&mut node);
    assert_eq!(state(&node), "active");
}

#[test]
fn every_manager_is_sealed_and_one_that_was_away_opens_with_the_key_that_it_knew() {
    let mut managers = Managers::of(3);
    managers.nodes[0].wsw(&["swarm", "update", "--autolock=true"]).ok();
    let first = key(&managers.nodes[1]);
    let wait_sealed =
        |node: &Node| until("the keys to be sealed", || if sealed(node).is_some() && !has_plain_keys(node) { Ok(()) } else { Err(String::new()) });
    managers.nodes.iter().for_each(wait_sealed);
    let before: Vec<_> = managers.nodes.iter().map(sealed).collect();
    managers.nodes[2].kill();
    let second = managers.nodes[0].wsw(&["swarm", "unlock-key", "-q", "--rotate"]).ok().trim().to_owned();
    until("the one that is there to be sealed anew", || if sealed(&managers.nodes[1]) == before[1] { Err(String::new()) } else { Ok(()) });
    managers.nodes[2].restart();
    assert_eq!(state(&managers.nodes[2]), "locked");
    managers.wait_writes(0, "goes-on");
    assert!(unlock(&managers.nodes[2], &second).failed().contains("invalid key provided"), "it was away");
    unlock(&managers.nodes[2], &first).ok();
    managers.wait_settled(2, 3);
    until("it to be sealed anew", || if sealed(&managers.nodes[2]) == before[2] { Err(String::new()) } else { Ok(()) });
    again(&mut managers.nodes[2]);
    assert!(unlock(&managers.nodes[2], &first).failed().contains("invalid key provided"), "it has heard of the new one");
    unlock(&managers.nodes[2], &second).ok();
    managers.wait_settled(2, 3);
    // One that comes later is sealed as well, and opened when it is a manager no more.
    let late = Managers::node();
    managers.join(&late, "manager");
    wait_sealed(&late);
    managers.nodes[0].wsw(&["node", "demote", &late.id()]).ok();
    until("a worker's keys to be open", || if sealed(&late).is_none() && has_plain_keys(&late) { Ok(()) } else { Err(String::new()) });
    managers.nodes[1].wsw(&["swarm", "update", "--autolock=false"]).ok();
    for node in &managers.nodes {
        until("the keys to be open", || if sealed(node).is_none() && has_plain_keys(node) { Ok(()) } else { Err(String::new()) });
    }
    managers.nodes.iter_mut().for_each(again);
    managers.wait_settled(1, 3);
}
