//! Joining that must fail: each with Swarm's words, and nothing changed on either side.

use crate::harness::{Cluster, Node, free_udp_port};

/// Tries to join; what was said, and that nothing came of it.
#[track_caller]
fn refused(node: &Node, token: &str, remote: &str, expected: &str) {
    let said = node.wsw(&["swarm", "join", "--token", token, remote]).failed();
    assert!(said.contains(expected), "{expected:?}: {said}");
    assert_eq!(node.json("/info")["Swarm"]["LocalNodeState"], "inactive");
    assert!(!node.data_root().join("swarm.json").exists() && !node.data_root().join("identity").exists());
}

#[test]
fn wrong_tokens_and_addresses_are_refused_in_swarms_words() {
    let (cluster, other) = (Cluster::of(0), Cluster::of(0));
    let node = Cluster::apart();
    let (good, remote) = (cluster.token("worker"), cluster.manager.remote());
    for malformed in ["", "SWMTKN-1-x-y", &good[1..], &format!("{good}0"), &good.to_uppercase()] {
        refused(&node, malformed, &remote, "invalid join token");
    }
    let (head, secret) = good.rsplit_once('-').unwrap();
    let wrong: String = secret.chars().rev().collect();
    refused(&node, &format!("{head}-{wrong}"), &remote, "A valid join token is necessary to join this cluster");
    refused(&node, &other.token("worker"), &remote, "remote CA does not match fingerprint");
    let nobody = format!("{}:{}", node.addr(), free_udp_port());
    refused(&node, &good, &nobody, "connection error: desc = \"transport: Error while dialing: dial udp");
    refused(&node, &good, "127.0.0.1:port", "the port must be a number");
    // A rotated token is worth nothing; the new one is.
    cluster.manager.wsw(&["swarm", "join-token", "--rotate", "-q", "worker"]).ok();
    refused(&node, &good, &remote, "A valid join token is necessary to join this cluster");
    assert_eq!(cluster.states().len(), 1, "no try left a node behind");
    cluster.join(&node);
    cluster.wait_states(&["ready"], 2);
}

#[test]
fn who_is_in_a_swarm_does_not_join_one() {
    let cluster = Cluster::of(1);
    for node in [&cluster.manager, &cluster.workers[0]] {
        let said = node.wsw(&["swarm", "join", "--token", &cluster.token("worker"), &cluster.manager.remote()]).failed();
        assert!(said.contains("This node is already part of a swarm."), "{said}");
        let said = node.wsw(&["swarm", "init"]).failed();
        assert!(said.contains("This node is already part of a swarm."), "{said}");
    }
    // A worker lets nobody in.
    let node = Cluster::apart();
    refused(&node, &cluster.token("worker"), &cluster.workers[0].remote(), "");
    assert_eq!(cluster.states().len(), 2);
}

#[test]
fn a_port_that_is_taken_is_said_before_anything_is_made() {
    let node = Cluster::apart();
    let taken = std::net::UdpSocket::bind(node.remote()).unwrap();
    let said = node.wsw(&["swarm", "init"]).failed();
    assert!(said.contains("cannot listen on") && said.contains("--listen-addr"), "{said}");
    let cluster = Cluster::of(0);
    refused(&node, &cluster.token("worker"), &cluster.manager.remote(), "cannot listen on");
    assert_eq!(cluster.states().len(), 1);
    drop(taken);
    cluster.join(&node);
    cluster.wait_states(&["ready"], 2);
}

#[test]
fn nodes_that_join_at_once_all_get_in() {
    let cluster = Cluster::of(0);
    let nodes: Vec<Node> = (0..6).map(|_| Cluster::apart()).collect();
    std::thread::scope(|scope| {
        for node in &nodes {
            scope.spawn(|| cluster.join(node));
        }
    });
    cluster.wait_states(&["ready"], 7);
}
