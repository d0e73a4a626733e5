//! Workers that are cut off, that go and come with their tasks, and that get another address.

use crate::harness::{Cluster, Net, Node, Setup, guest, kill_below, stays, until};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// A manager on the first host, workers on the others, and the image `tick` on all.
fn ticking(net: &Net, setup: impl Fn(usize) -> Setup) -> Cluster {
    let mut nodes: Vec<Node> = (0..net.hosts.len()).map(|at| net.node_with(at, setup(at))).collect();
    let workers = nodes.split_off(1);
    let manager = nodes.pop().expect("there is one");
    manager.wsw(&["swarm", "init", "--advertise-addr", &manager.addr().to_string()]).ok();
    let cluster = Cluster { manager, workers };
    cluster.workers.iter().for_each(|worker| cluster.join(worker));
    cluster.wait_states(&["ready"], net.hosts.len());
    cluster.load_everywhere("tick", &guest("tick"));
    cluster
}

fn create(cluster: &Cluster, more: &[&str]) {
    let words = [&["service", "create", "--name", "ticking", "--restart-delay", "1h"], more, &["tick:latest"]].concat();
    cluster.manager.wsw(&words).ok();
}

/// Lines of `service ps` that call a task running.
fn called_running(cluster: &Cluster) -> usize {
    let said = cluster.manager.wsw(&["service", "ps", "--no-trunc", "--format", "{{.CurrentState}}", "ticking"]).ok();
    said.lines().filter(|line| line.contains("Running")).count()
}

#[test]
fn a_worker_that_is_cut_off_keeps_its_tasks_and_ends_those_that_were_replaced_when_it_is_back() {
    let Some(net) = Net::of(2) else { return };
    let cluster = ticking(&net, |_| Setup::default());
    let (manager, worker) = (cluster.manager.id(), cluster.workers[0].id());
    create(&cluster, &["--replicas", "4"]);
    let placed = cluster.wait_placed("ticking", &[(&manager, 2), (&worker, 2)]);
    // A short cut moves nothing: the session goes on, or is there again before anybody misses it.
    cluster.manager.wsw(&["swarm", "update", "--dispatcher-heartbeat", "10s"]).ok();
    let sessions = cluster.sessions(&worker);
    for _ in 0..2 {
        net.isolate(1);
        until("the session to be over", || if cluster.workers[0].log().contains("no session with this manager") { Ok(()) } else { Err("it goes on".into()) });
        net.heal();
        until("a session", || if cluster.sessions(&worker) > sessions { Ok(()) } else { Err("none yet".into()) });
    }
    assert_eq!(cluster.placed("ticking"), placed);
    cluster.manager.wsw(&["swarm", "update", "--dispatcher-heartbeat", "1s"]).ok();
    // A long one is a node that is down.
    net.isolate(1);
    cluster.wait_state(&worker, "down");
    let after = cluster.wait_placed("ticking", &[(&manager, 4)]);
    assert!(after[&manager].is_superset(&placed[&manager]), "what ran elsewhere was left alone");
    assert_eq!(cluster.workers[0].local(), placed[&worker], "it keeps its tasks while nobody tells it otherwise");
    assert_eq!(called_running(&cluster), 4, "what nobody hears of is not called running");
    net.heal();
    cluster.wait_state(&worker, "ready");
    until("the replaced tasks to end", || {
        let left = cluster.workers[0].local();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    assert_eq!(cluster.placed("ticking"), after);
    // Of the manager's side of the same: a worker that hears and is not heard, and one that is heard and does not hear.
    for (from, to) in [(1, 0), (0, 1)] {
        net.cut_from_to(from, to);
        cluster.wait_state(&worker, "down");
        net.heal();
        cluster.wait_state(&worker, "ready");
    }
    assert_eq!(cluster.placed("ticking"), after, "none of this touched the others");
}

#[test]
fn a_worker_that_reboots_with_tasks_starts_them_elsewhere_or_again() {
    let mut cluster = Cluster::of(1);
    cluster.load_everywhere("tick", &guest("tick"));
    let (manager, worker) = (cluster.manager.id(), cluster.workers[0].id());
    cluster.manager.wsw(&["swarm", "update", "--dispatcher-heartbeat", "10s"]).ok();
    cluster.manager.wsw(&["service", "create", "--name", "ticking", "--replicas", "4", "--restart-delay", "0s", "tick:latest"]).ok();
    let placed = cluster.wait_placed("ticking", &[(&manager, 2), (&worker, 2)]);
    // All processes at once, and what was on a tmpfs is gone: a power cut.
    cluster.workers[0].kill();
    kill_below(cluster.workers[0].folder());
    std::fs::remove_dir_all(cluster.workers[0].folder().join("e")).unwrap();
    cluster.workers[0].restart();
    until("four tasks to run, and none of those that died", || {
        let now = cluster.placed("ticking");
        let all: BTreeSet<&String> = now.values().flatten().collect();
        let dead = placed[&worker].iter().any(|task| all.contains(task));
        let real = now.get(&worker).cloned().unwrap_or_default() == cluster.workers[0].local();
        if all.len() == 4 && !dead && real { Ok(()) } else { Err(format!("{now:?}, there {:?}", cluster.workers[0].local())) }
    });
    assert!(cluster.placed("ticking")[&manager].is_superset(&placed[&manager]));
    let failed: Vec<_> = cluster.manager.tasks("ticking").into_iter().filter(|task| placed[&worker].contains(task["ID"].as_str().unwrap())).collect();
    assert!(failed.iter().all(|task| task["Status"]["State"] == "failed"), "{failed:?}");
}

#[test]
fn a_node_that_flaps_does_not_move_tasks_about() {
    let Some(net) = Net::of(3) else { return };
    let cluster = ticking(&net, |_| Setup::default());
    let ids = [cluster.manager.id(), cluster.workers[0].id(), cluster.workers[1].id()];
    create(&cluster, &["--replicas", "6"]);
    cluster.wait_placed("ticking", &[(&ids[0], 2), (&ids[1], 2), (&ids[2], 2)]);
    // Each time long enough to be called down.
    for round in 0..3 {
        net.isolate(1);
        cluster.wait_state(&ids[1], "down");
        let moved = cluster.wait_placed("ticking", &[(&ids[0], 3), (&ids[2], 3)]);
        net.heal();
        cluster.wait_state(&ids[1], "ready");
        until("the replaced tasks to end", || if cluster.workers[0].local().is_empty() { Ok(()) } else { Err("not yet".into()) });
        assert_eq!(cluster.placed("ticking"), moved, "round {round}: its return moves nothing");
    }
    // Two tasks were replaced, once: what runs elsewhere has nothing to do with the node any more.
    assert_eq!(cluster.manager.tasks("ticking").len(), 8);
    // Shorter gaps than a missed heartbeat counts: nothing at all happens.
    let before = (cluster.placed("ticking"), cluster.manager.tasks("ticking").len());
    cluster.manager.wsw(&["swarm", "update", "--dispatcher-heartbeat", "20s"]).ok();
    stays("everything as it was", Duration::from_secs(4), || {
        net.isolate(2);
        net.heal();
        let now = (cluster.placed("ticking"), cluster.manager.tasks("ticking").len());
        if now == before { Ok(()) } else { Err(format!("{now:?}")) }
    });
}

#[test]
fn nodes_with_addresses_of_version_6_alone_work_together() {
    let Some(net) = Net::of(3) else { return };
    let cluster = ticking(&net, |at| Setup { addr: Some(net.hosts[at].v6.into()), ..Setup::default() });
    create(&cluster, &["--replicas", "3"]);
    let ids = [cluster.manager.id(), cluster.workers[0].id(), cluster.workers[1].id()];
    cluster.wait_placed("ticking", &[(&ids[0], 1), (&ids[1], 1), (&ids[2], 1)]);
    assert_eq!(cluster.manager.json(&format!("/nodes/{}", ids[1]))["Status"]["Addr"], cluster.workers[0].addr().to_string());
    // A worker becomes a manager over it, too, and logs come from the others.
    cluster.manager.wsw(&["node", "promote", &ids[1]]).ok();
    until("it to be a manager", || {
        let said = cluster.workers[0].wsw(&["node", "ls", "--format", "{{.ID}} {{.ManagerStatus}}"]);
        if said.out.contains(&format!("{} Reachable", ids[1])) { Ok(()) } else { Err(said.to_string()) }
    });
    until("lines of all three", || {
        let said = cluster.manager.wsw(&["service", "logs", "ticking"]).ok();
        let tasks: BTreeSet<&str> = said.lines().filter_map(|line| line.split_whitespace().next()).collect();
        if tasks.len() == 3 { Ok(()) } else { Err(format!("{tasks:?}")) }
    });
}

#[test]
fn a_node_whose_address_changes_keeps_its_session_and_says_where_it_is() {
    let Some(mut net) = Net::of(2) else { return };
    let mut cluster = ticking(&net, |at| Setup { everywhere: at == 1, ..Setup::default() });
    let (manager, worker) = (cluster.manager.id(), cluster.workers[0].id());
    create(&cluster, &["--replicas", "2"]);
    let placed = cluster.wait_placed("ticking", &[(&manager, 1), (&worker, 1)]);
    let sessions = cluster.sessions(&worker);
    let moved = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 77));
    net.readdress(1, moved);
    cluster.workers[0].moved(moved);
    until("the node to be known by its new address", || {
        let node = cluster.manager.json(&format!("/nodes/{worker}"));
        if node["Status"]["Addr"] == moved.to_string() && node["Status"]["State"] == "ready" { Ok(()) } else { Err(node["Status"].to_string()) }
    });
    assert_eq!(cluster.sessions(&worker), sessions, "the session went on");
    assert_eq!(cluster.placed("ticking"), placed);
    // It can be reached there: the manager asks it for the lines of its task.
    until("lines of both", || {
        let said = cluster.manager.wsw(&["service", "logs", "ticking"]).ok();
        let tasks: BTreeSet<&str> = said.lines().filter_map(|line| line.split_whitespace().next()).collect();
        if tasks.len() == 2 { Ok(()) } else { Err(format!("{tasks:?}")) }
    });
}
