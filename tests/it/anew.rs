//! `swarm init --force-new-cluster`: one manager that is left begins anew with all services, tasks and nodes; the others are refused.

use crate::harness::{Managers, Node, guest, load_everywhere, until};
use std::collections::BTreeSet;

fn state(node: &Node) -> String {
    node.json("/info")["Swarm"]["LocalNodeState"].as_str().unwrap_or_default().to_owned()
}

/// The running tasks of a service on these nodes.
fn placed(at: &Node, service: &str, nodes: &[&str]) -> BTreeSet<String> {
    let running = |task: &&serde_json::Value| task["Status"]["State"] == "running" && nodes.iter().any(|node| task["NodeID"] == *node);
    at.tasks(service).iter().filter(running).map(|task| task["ID"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Lets the old managers leave and join again.
fn take_back(managers: &Managers, left: usize, gone: &[usize]) {
    let token = managers.nodes[left].wsw(&["swarm", "join-token", "-q", "manager"]).ok().trim().to_owned();
    for at in gone {
        let node = &managers.nodes[*at];
        node.wsw(&["swarm", "leave", "--force"]).ok();
        assert_eq!(state(node), "inactive");
        node.wsw(&["swarm", "join", "--token", &token, &managers.nodes[left].remote()]).ok();
        managers.nodes[left].wsw(&["node", "demote", &managers.ids[*at]]).ok();
        until("the old node to be let go", || {
            let removed = managers.nodes[left].wsw(&["node", "rm", &managers.ids[*at]]);
            if removed.code == 0 { Ok(()) } else { Err(removed.err) }
        });
    }
}

#[test]
fn what_is_left_of_a_swarm_begins_anew_and_its_old_majority_is_refused() {
    let mut managers = Managers::of(3);
    let worker = Managers::node();
    managers.join(&worker, "worker");
    load_everywhere(managers.nodes.iter().chain([&worker]), "tick", &guest("tick"));
    managers.nodes[0].wsw(&["service", "create", "-q", "--name", "ticking", "--mode", "global", "tick:latest"]).ok();
    managers.nodes[0].wait_running("ticking", 4);
    let leader = managers.leader(0);
    let left = managers.others(leader)[0];
    let gone = managers.others(left);
    let kept = [managers.ids[left].clone(), worker.id()];
    let kept: Vec<&str> = kept.iter().map(String::as_str).collect();
    let before = placed(&managers.nodes[left], "ticking", &kept);
    assert!(worker.wsw(&["swarm", "init", "--force-new-cluster"]).failed().contains("This node is not a swarm manager"));
    assert!(managers.nodes[left].wsw(&["swarm", "init"]).failed().contains("This node is already part of a swarm"));
    for at in &gone {
        managers.nodes[*at].kill();
    }
    let said = managers.nodes[left].wsw(&["swarm", "init", "--force-new-cluster"]).ok();
    assert!(said.contains(&format!("Swarm initialized: current node ({}) is now a manager.", managers.ids[left])), "{said}");
    let statuses = managers.statuses(left).unwrap();
    assert_eq!(statuses.values().filter(|status| !status.is_empty()).collect::<Vec<_>>(), ["Leader"]);
    assert_eq!(statuses.len(), 4, "all nodes are still there");
    managers.wait_writes(left, "anew");
    until("the worker to follow", || {
        let ready = managers.nodes[left].json(&format!("/nodes/{}", worker.id()))["Status"]["State"] == "ready";
        if ready { Ok(()) } else { Err(String::new()) }
    });
    managers.nodes[left].wsw(&["service", "create", "-q", "--name", "more", "--constraint", &format!("node.id=={}", worker.id()), "tick:latest"]).ok();
    managers.nodes[left].wait_running("more", 1);
    assert_eq!(placed(&managers.nodes[left], "ticking", &kept), before, "no task was replaced");

    // The old majority comes back, and would have a quorum.
    for at in &gone {
        managers.nodes[*at].restart();
    }
    let refused = "this swarm was made anew without this manager (incarnation 1, not 0): leave it with \"swarm leave --force\" and join it again";
    for at in &gone {
        until("an old manager to be refused", || {
            let swarm = managers.nodes[*at].json("/info")["Swarm"].clone();
            if swarm["LocalNodeState"] == "error" && swarm["Error"] == refused { Ok(()) } else { Err(swarm.to_string()) }
        });
        assert!(managers.nodes[*at].wsw(&["node", "ls"]).failed().contains(refused));
    }
    // It is so after another start, too, whoever is there.
    managers.nodes[gone[0]].kill();
    managers.nodes[gone[0]].restart();
    assert_eq!(state(&managers.nodes[gone[0]]), "error");
    assert_eq!(placed(&managers.nodes[left], "ticking", &kept), before);
    assert!(managers.shows(left, "anew") && worker.local().iter().any(|task| before.contains(task)));

    take_back(&managers, left, &gone);
    managers.wait_settled(left, 3);
    managers.nodes[left].kill();
    until("a write without the one that was left", || {
        let done = managers.nodes[gone[0]].wsw(&["node", "update", "--label-add", "again=yes", &worker.id()]);
        if done.code == 0 { Ok(()) } else { Err(done.err) }
    });
}

#[test]
fn a_swarm_of_one_can_be_made_anew_again_and_again() {
    let mut node = Node::swarm();
    load_everywhere([&node], "tick", &guest("tick"));
    node.wsw(&["service", "create", "-q", "--name", "ticking", "tick:latest"]).ok();
    let running = node.wait_running("ticking", 1);
    for round in 0..2 {
        node.wsw(&["swarm", "init", "--force-new-cluster"]).ok();
        node.wsw(&["service", "update", "-q", "--label-add", &format!("round{round}=yes"), "ticking"]).ok();
        node.kill();
        node.restart();
        assert_eq!(node.wait_running("ticking", 1), running, "no task was replaced");
    }
    assert!(node.json("/services/ticking")["Spec"]["Labels"]["round0"] == "yes");
}
