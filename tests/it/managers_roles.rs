//! Managers that come and go: promotion, demotion, leaving, a lost folder.

use crate::harness::{Managers, until};

fn status(managers: &Managers, at: usize, id: &str, wanted: &str) {
    until(&format!("{id} to be {wanted:?}"), || {
        let statuses = managers.statuses(at)?;
        if statuses.get(id).is_some_and(|found| found == wanted) { Ok(()) } else { Err(format!("{statuses:?}")) }
    });
}

#[test]
fn a_worker_is_promoted_and_managers_are_demoted_without_a_restart() {
    let mut managers = Managers::of(1);
    let worker = Managers::node();
    managers.join(&worker, "worker");
    let (first, id) = (managers.ids[0].clone(), worker.id());
    let said = managers.nodes[0].wsw(&["node", "demote", &first]).failed();
    assert!(said.contains("attempting to demote the last manager of the swarm"), "{said}");
    assert_eq!(managers.nodes[0].wsw(&["node", "promote", &id]).ok(), format!("Node {id} promoted to a manager in the swarm.\n"));
    managers.nodes.push(worker);
    managers.ids.push(id);
    managers.wait_settled(1, 2);
    assert_eq!(managers.nodes[1].json("/info")["Swarm"]["ControlAvailable"], true);
    let said = managers.nodes[1].wsw(&["node", "rm", "--force", &first]).failed();
    assert!(said.contains("is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal"), "{said}");
    // The leader is demoted through the other: it hands over and goes on as a worker.
    let leader = managers.leader(1);
    let other = 1 - leader;
    managers.nodes[other].wsw(&["node", "demote", &managers.ids[leader]]).ok();
    status(&managers, other, &managers.ids[leader], "");
    status(&managers, other, &managers.ids[other], "Leader");
    until("the demoted one to know", || {
        let said = managers.nodes[leader].wsw(&["node", "ls"]);
        if said.err.contains("This node is not a swarm manager. Worker nodes can't") { Ok(()) } else { Err(format!("{said}")) }
    });
    assert!(!managers.nodes[leader].data_root().join("raft").exists(), "nothing of the cluster's state is left there");
    managers.nodes[other].wsw(&["node", "update", "--role", "manager", &managers.ids[leader]]).ok();
    managers.wait_settled(leader, 2);
}

#[test]
fn a_demotion_that_would_lose_the_quorum_is_refused() {
    let mut managers = Managers::of(3);
    managers.nodes[2].kill();
    status(&managers, 0, &managers.ids[2], "Unreachable");
    let said = managers.nodes[0].wsw(&["node", "demote", &managers.ids[1]]).failed();
    assert!(said.contains("can't remove member from the raft: this would result in a loss of quorum"), "{said}");
    // The one that is dead may go; it finds out when it is back.
    managers.nodes[1].wsw(&["node", "demote", &managers.ids[2]]).ok();
    status(&managers, 0, &managers.ids[2], "");
    managers.nodes[2].restart();
    until("it to be a worker", || {
        let info = managers.nodes[2].json("/info");
        if info["Swarm"]["ControlAvailable"] == false && info["Swarm"]["LocalNodeState"] == "active" { Ok(()) } else { Err(info["Swarm"].to_string()) }
    });
    managers.wait_settled(0, 2);
}

#[test]
fn a_manager_leaves_by_force_and_the_others_keep_their_quorum() {
    let mut managers = Managers::of(3);
    let leader = managers.leader(0);
    let said = managers.nodes[leader].wsw(&["swarm", "leave"]).failed();
    assert!(said.contains("You are attempting to leave the swarm on a node that is participating as a manager."), "{said}");
    assert!(said.contains("Use `--force` to suppress this message."), "{said}");
    assert_eq!(managers.nodes[leader].wsw(&["swarm", "leave", "--force"]).ok(), "Node left the swarm.\n");
    assert_eq!(managers.nodes[leader].json("/info")["Swarm"]["LocalNodeState"], "inactive");
    let gone = managers.ids.remove(leader);
    let node = managers.nodes.remove(leader);
    status(&managers, 0, &gone, "");
    managers.wait_writes(0, "left");
    until("it to be down", || {
        let state = managers.nodes[1].json(&format!("/nodes/{gone}"))["Status"]["State"].clone();
        if state == "down" { Ok(()) } else { Err(state.to_string()) }
    });
    assert_eq!(managers.nodes[1].wsw(&["node", "rm", &gone]).ok(), format!("{gone}\n"));
    managers.wait_settled(0, 2);
    // It may come again, as another node.
    managers.join(&node, "manager");
    managers.ids.push(node.id());
    managers.nodes.push(node);
    managers.wait_settled(2, 3);
}

#[test]
fn a_manager_whose_state_is_lost_gets_it_back_from_the_others() {
    let mut managers = Managers::of(3);
    managers.wait_writes(0, "kept");
    let lost = managers.others(managers.leader(0))[0];
    managers.nodes[lost].kill();
    std::fs::remove_dir_all(managers.nodes[lost].data_root().join("raft")).unwrap();
    managers.nodes[lost].restart();
    managers.wait_settled(lost, 3);
    assert!(managers.shows(lost, "kept"));
    // It counts again: the other two cannot do without it.
    let dead = managers.others(lost)[0];
    managers.nodes[dead].kill();
    managers.wait_writes(lost, "without");
}
