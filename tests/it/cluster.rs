//! A manager and workers: joining, spreading, and what happens to tasks when a node dies, returns, leaves, is drained or removed.

use crate::harness::{Cluster, guest, stays, until};
use std::collections::BTreeSet;
use std::time::Duration;

/// A cluster on whose nodes the image `tick` is.
fn ticking(workers: usize) -> Cluster {
    let cluster = Cluster::of(workers);
    cluster.load_everywhere("tick", &guest("tick"));
    cluster
}

/// Gives daemons that are started again on a busy machine time: a node is down after three of these.
fn patient(cluster: &Cluster) {
    cluster.manager.wsw(&["swarm", "update", "--dispatcher-heartbeat", "10s"]).ok();
}

fn create(cluster: &Cluster, more: &[&str]) {
    let words = [&["service", "create", "--name", "ticking", "--restart-delay", "1h"], more, &["tick:latest"]].concat();
    cluster.manager.wsw(&words).ok();
}

#[test]
fn a_service_spreads_over_two_nodes_and_everything_says_so() {
    let cluster = ticking(1);
    let (manager, worker) = (cluster.manager.id(), cluster.workers[0].id());
    assert_ne!(manager, worker);
    create(&cluster, &["--replicas", "4"]);
    let placed = cluster.wait_placed("ticking", &[(&manager, 2), (&worker, 2)]);
    assert_eq!(cluster.workers[0].local(), placed[&worker], "what runs there is what the manager says");
    assert_eq!(cluster.manager.local(), placed[&manager]);
    let listed = cluster.manager.wsw(&["node", "ls", "--format", "{{.ID}} {{.Status}} {{.Availability}} {{.ManagerStatus}}"]).ok();
    let mut lines: Vec<&str> = listed.lines().collect();
    lines.sort_unstable();
    let mut expected = [format!("{manager} Ready Active Leader"), format!("{worker} Ready Active ")];
    expected.sort_unstable();
    assert_eq!(lines, expected);
    let tasks = cluster.manager.wsw(&["node", "ps", &worker, "--format", "{{.Name}} {{.CurrentState}}"]).ok();
    assert_eq!(tasks.lines().filter(|line| line.contains("Running")).count(), 2, "{tasks}");
    let inspected = cluster.manager.json(&format!("/nodes/{worker}"));
    assert_eq!(inspected["Spec"]["Role"], "worker");
    assert_eq!(inspected["Status"]["Addr"], cluster.workers[0].addr().to_string());
    // The worker says what it is, and whom to ask instead.
    let info = cluster.workers[0].json("/info");
    assert_eq!((&info["Swarm"]["LocalNodeState"], &info["Swarm"]["ControlAvailable"]), (&"active".into(), &false.into()));
    let said = cluster.workers[0].wsw(&["node", "ls"]).failed();
    assert!(said.contains("This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state."), "{said}");
    // A global service has one task on each, and follows nodes that come.
    cluster.manager.wsw(&["service", "create", "-d", "--name", "agent", "--mode", "global", "tick:latest"]).ok();
    cluster.wait_placed("agent", &[(&manager, 1), (&worker, 1)]);
}

#[test]
fn a_worker_daemon_that_is_killed_and_back_in_time_loses_nothing() {
    let mut cluster = ticking(1);
    patient(&cluster);
    let (manager, worker) = (cluster.manager.id(), cluster.workers[0].id());
    create(&cluster, &["--replicas", "4"]);
    cluster.wait_placed("ticking", &[(&manager, 2), (&worker, 2)]);
    let before = cluster.manager.running("ticking");
    for _ in 0..3 {
        cluster.workers[0].kill();
        cluster.workers[0].restart();
        cluster.wait_state(&worker, "ready");
        assert_eq!(cluster.workers[0].id(), worker);
    }
    stays("the same tasks with the same processes", Duration::from_secs(4), || {
        let now = cluster.manager.running("ticking");
        if now == before { Ok(()) } else { Err(format!("{now:?}")) }
    });
    assert_eq!(cluster.manager.tasks("ticking").len(), 4, "no task was ever replaced");
}

#[test]
fn a_worker_that_stays_down_is_replaced_and_ends_its_tasks_when_it_is_back() {
    let mut cluster = ticking(1);
    let (manager, worker) = (cluster.manager.id(), cluster.workers[0].id());
    create(&cluster, &["--replicas", "4"]);
    let placed = cluster.wait_placed("ticking", &[(&manager, 2), (&worker, 2)]);
    cluster.workers[0].kill();
    cluster.wait_state(&worker, "down");
    let after = cluster.wait_placed("ticking", &[(&manager, 4)]);
    assert!(after[&manager].is_superset(&placed[&manager]), "what ran elsewhere was left alone");
    let said = cluster.manager.wsw(&["service", "ps", "--no-trunc", "ticking"]).ok();
    assert_eq!(said.lines().filter(|line| line.contains("Running")).count(), 4, "nothing that is down is called running:\n{said}");
    cluster.workers[0].restart();
    cluster.wait_state(&worker, "ready");
    until("the old tasks to end", || {
        let left = cluster.workers[0].local();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    // It takes new ones like any other.
    cluster.manager.wsw(&["service", "scale", "-d", "ticking=8"]).ok();
    let grown = cluster.wait_placed("ticking", &[(&manager, 4), (&worker, 4)]);
    assert!(grown[&worker].is_disjoint(&placed[&worker]));
}

#[test]
fn tasks_and_session_of_a_worker_outlive_the_managers_daemon() {
    let mut cluster = ticking(1);
    patient(&cluster);
    let (manager, worker) = (cluster.manager.id(), cluster.workers[0].id());
    create(&cluster, &["--replicas", "2"]);
    cluster.wait_placed("ticking", &[(&manager, 1), (&worker, 1)]);
    let before = (cluster.manager.running("ticking"), cluster.workers[0].local());
    cluster.manager.kill();
    assert_eq!(cluster.workers[0].local(), before.1, "a worker does not need its manager");
    cluster.restart_manager(&[&manager, &worker]);
    cluster.wait_states(&["ready"], 2);
    assert_eq!((cluster.manager.running("ticking"), cluster.workers[0].local()), before);
    // The session works in both directions.
    cluster.manager.wsw(&["service", "scale", "ticking=4"]).ok();
    cluster.wait_placed("ticking", &[(&manager, 2), (&worker, 2)]);
    assert_eq!(cluster.manager.terminate(), Some(0));
    cluster.restart_manager(&[&manager, &worker]);
    cluster.wait_states(&["ready"], 2);
    cluster.manager.wsw(&["service", "rm", "ticking"]).ok();
    until("all tasks to end", || {
        let left: BTreeSet<String> = cluster.manager.local().union(&cluster.workers[0].local()).cloned().collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

#[test]
fn a_drained_worker_gives_its_tasks_up_and_gets_no_more() {
    let cluster = ticking(1);
    let (manager, worker) = (cluster.manager.id(), cluster.workers[0].id());
    create(&cluster, &["--replicas", "4"]);
    cluster.wait_placed("ticking", &[(&manager, 2), (&worker, 2)]);
    cluster.manager.wsw(&["node", "update", "--availability", "drain", &worker]).ok();
    cluster.wait_placed("ticking", &[(&manager, 4)]);
    assert_eq!(cluster.states()[&worker], "ready");
    assert!(cluster.workers[0].local().is_empty());
    cluster.manager.wsw(&["node", "update", "--availability", "active", &worker]).ok();
    cluster.manager.wsw(&["service", "scale", "-d", "ticking=8"]).ok();
    cluster.wait_placed("ticking", &[(&manager, 4), (&worker, 4)]);
}

#[test]
fn a_worker_that_leaves_is_replaced_at_once_removed_and_may_come_again() {
    let cluster = ticking(1);
    let (manager, worker) = (cluster.manager.id(), cluster.workers[0].id());
    create(&cluster, &["--replicas", "2"]);
    cluster.wait_placed("ticking", &[(&manager, 1), (&worker, 1)]);
    let said = cluster.manager.wsw(&["node", "rm", &worker]).failed();
    assert!(said.contains(&format!("node {worker} is not down and can't be removed")), "{said}");
    assert_eq!(cluster.workers[0].wsw(&["swarm", "leave"]).ok(), "Node left the swarm.\n");
    cluster.wait_state(&worker, "down");
    cluster.wait_placed("ticking", &[(&manager, 2)]);
    assert!(cluster.workers[0].local().is_empty());
    assert_eq!(cluster.workers[0].json("/info")["Swarm"]["LocalNodeState"], "inactive");
    assert!(!cluster.workers[0].data_root().join("identity").exists(), "its key is gone");
    assert_eq!(cluster.manager.wsw(&["node", "rm", &worker]).ok(), format!("{worker}\n"));
    cluster.wait_states(&["ready"], 1);
    cluster.join(&cluster.workers[0]);
    cluster.wait_states(&["ready"], 2);
    assert_ne!(cluster.workers[0].id(), worker, "a new key is a new node");
    cluster.manager.wsw(&["service", "scale", "-d", "ticking=4"]).ok();
    cluster.wait_placed("ticking", &[(&manager, 2), (&cluster.workers[0].id(), 2)]);
}

#[test]
fn a_node_leaves_and_joins_again_without_a_pause() {
    let cluster = Cluster::of(1);
    let node = &cluster.workers[0];
    for round in 0..6 {
        let role = if round % 2 == 0 { "manager" } else { "worker" };
        node.wsw(&["swarm", "leave", "--force"]).ok();
        let said = node.wsw(&["swarm", "join", "--token", &cluster.token(role), &cluster.manager.remote()]).ok();
        assert_eq!(said, format!("This node joined a swarm as a {role}.\n"));
    }
    cluster.wait_state(&node.id(), "ready");
}

#[test]
fn a_removed_node_is_cut_off_and_its_certificate_opens_nothing() {
    let mut cluster = ticking(2);
    let ids: Vec<String> = cluster.workers.iter().map(super::harness::Node::id).collect();
    cluster.manager.wsw(&["node", "rm", "--force", &ids[0]]).ok();
    let refused = |cluster: &Cluster| {
        until("the removed node to know it", || {
            let swarm = cluster.workers[0].json("/info")["Swarm"].clone();
            let told = swarm["LocalNodeState"] == "error" && swarm["Error"].as_str().is_some_and(|text| text.contains("removed from the cluster"));
            if told { Ok(()) } else { Err(swarm.to_string()) }
        });
        assert_eq!(cluster.states().len(), 2);
    };
    refused(&cluster);
    // A new daemon with the old certificate fares no better.
    cluster.workers[0].kill();
    cluster.workers[0].restart();
    refused(&cluster);
    assert!(cluster.manager.log().contains("the node was removed from the cluster"), "the manager says why");
    // The other one does not notice; the removed one may leave and join anew.
    create(&cluster, &["--replicas", "2"]);
    cluster.wait_placed("ticking", &[(&cluster.manager.id(), 1), (&ids[1], 1)]);
    cluster.workers[0].wsw(&["swarm", "leave"]).ok();
    cluster.join(&cluster.workers[0]);
    cluster.wait_states(&["ready"], 3);
}

#[test]
fn a_worker_runs_an_image_that_was_loaded_on_the_manager_alone() {
    let mut cluster = Cluster::of(1);
    patient(&cluster);
    let (manager, worker) = (cluster.manager.id(), cluster.workers[0].id());
    // No registry is asked: none is there, and the name leads to none.
    cluster.manager.wsw(&["service", "create", "--name", "ticking", "--replicas", "2", &guest("tick").to_string_lossy()]).ok();
    cluster.wait_placed("ticking", &[(&manager, 1), (&worker, 1)]);
    let images = cluster.workers[0].json("/images/json");
    assert_eq!(images.as_array().map(Vec::len), Some(1), "{images}");
    assert_eq!(images[0]["Id"], cluster.manager.json("/images/json")[0]["Id"], "the very same image");
    assert!(cluster.workers[0].log().contains("the image came from another node"));
    // It has it now: without its manager, too, a task of it starts again.
    cluster.manager.kill();
    cluster.workers[0].kill();
    cluster.workers[0].restart();
    until("the task to be there again", || {
        let found = cluster.workers[0].local();
        if found.len() == 1 { Ok(()) } else { Err(format!("{found:?}")) }
    });
    cluster.restart_manager(&[&manager, &worker]);
    cluster.wait_states(&["ready"], 2);
    // What no node has is looked for at its registry, and said so.
    let unknown = "127.0.0.1:1/nobody/has@sha256:0000000000000000000000000000000000000000000000000000000000000000";
    cluster.manager.wsw(&["service", "create", "-d", "--name", "lost", "--mode", "global", "--restart-delay", "1h", unknown]).ok();
    until("both to be rejected", || {
        let tasks = cluster.manager.tasks("lost");
        let rejected = tasks
            .iter()
            .filter(|task| task["Status"]["State"] == "rejected" && task["Status"]["Err"].as_str().is_some_and(|err| err.contains("No such image")));
        if rejected.count() == 2 { Ok(()) } else { Err(format!("{tasks:?}")) }
    });
}
