//! Placement and the policies of one node, end to end: availability, constraints, bounds per node, host ports, reservations, settings.

use crate::harness::{Node, Setup, free_tcp_port, guest, run, until};

fn path(name: &str) -> String {
    guest(name).to_string_lossy().into_owned()
}

/// Waits until `service ps` shows all of these words.
fn shows(node: &Node, service: &str, words: &[&str]) {
    until(&format!("{words:?} in service ps"), || {
        let shown = node.wsw(&["service", "ps", "--no-trunc", service]).ok();
        if words.iter().all(|word| shown.contains(word)) { Ok(()) } else { Err(shown) }
    });
}

#[test]
fn drain_pause_and_active() {
    let node = Node::swarm();
    node.wsw(&["service", "create", "--name", "ticking", "--replicas", "2", "--restart-delay", "1h", &path("tick")]).ok();
    node.wsw(&["service", "create", "--name", "agent", "--mode", "global", &path("tick")]).ok();
    node.wsw(&["node", "update", "--availability", "drain", "self"]).ok();
    node.wait_running("ticking", 0);
    node.wait_running("agent", 0);
    shows(&node, "ticking", &["Shutdown", "Pending", "no suitable node (1 node not available for new tasks)"]);
    // A drained node is no failure of the task's: no delay of an hour.
    node.wsw(&["node", "update", "--availability", "active", "self"]).ok();
    node.wait_running("ticking", 2);
    node.wait_running("agent", 1);
    // A paused one keeps what it has and takes nothing.
    node.wsw(&["node", "update", "--availability", "pause", "self"]).ok();
    node.wsw(&["service", "scale", "-d", "ticking=3"]).ok();
    shows(&node, "ticking", &["no suitable node (1 node not available for new tasks)"]);
    assert_eq!(node.running("ticking").len(), 2);
    node.wsw(&["node", "update", "--availability", "active", "self"]).ok();
    node.wait_running("ticking", 3);
}

#[test]
fn a_label_that_goes_takes_the_task_with_it() {
    let node = Node::swarm();
    node.wsw(&["node", "update", "--label-add", "disk=ssd", "self"]).ok();
    node.wsw(&["service", "create", "--name", "picky", "--constraint", "node.labels.disk == SSD", "--constraint", "node.role!=worker", &path("tick")]).ok();
    let before = node.wait_running("picky", 1);
    // What the node satisfies too replaces nothing.
    node.wsw(&["service", "update", "--constraint-rm", "node.role!=worker", "--constraint-add", "node.hostname!=elsewhere", "picky"]).ok();
    assert_eq!(node.running("picky"), before);
    node.wsw(&["node", "update", "--label-rm", "disk", "self"]).ok();
    shows(&node, "picky", &["Rejected", "assigned node no longer meets constraints", "no suitable node (scheduling constraints not satisfied on 1 node)"]);
    node.wait_running("picky", 0);
    for (constraint, why) in
        [("node.role=manager", "constraint expected one operator from ==, !="), ("9a==x", "key '9a' is invalid"), ("node.role==a>b", "value 'a>b' is invalid")]
    {
        let said = node.wsw(&["service", "create", "--name", "wrong", "--constraint", constraint, &path("tick")]).failed();
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn no_more_replicas_than_a_node_may_have() {
    let node = Node::swarm();
    node.wsw(&["service", "create", "-d", "--name", "few", "--replicas", "3", "--replicas-max-per-node", "2", &path("tick")]).ok();
    node.wait_running("few", 2);
    shows(&node, "few", &["no suitable node (max replicas per node limit exceed)"]);
    node.wsw(&["service", "update", "-d", "--replicas-max-per-node", "0", "few"]).ok();
    node.wait_running("few", 3);
}

#[test]
fn a_host_port_is_one_tasks_at_a_time() {
    let node = Node::swarm();
    let port = free_tcp_port();
    let publish = format!("mode=host,published={port},target=80");
    node.wsw(&["service", "create", "-d", "--name", "first", "--replicas", "2", "--publish", &publish, &path("hello_http")]).ok();
    node.wait_running("first", 1);
    shows(&node, "first", &["no suitable node (host-mode port already in use on 1 node)"]);
    node.wsw(&["service", "create", "-d", "--name", "second", "--publish", &publish, &path("hello_http")]).ok();
    shows(&node, "second", &["no suitable node (host-mode port already in use on 1 node)"]);
    let said = node.wsw(&["service", "create", "--name", "third", "--publish", &format!("{port}:80"), &path("hello_http")]).failed();
    assert!(said.contains(&format!("port '{port}' is already in use by service")) && said.contains("as a host-published port"), "{said}");
    node.wsw(&["service", "rm", "first"]).ok();
    node.wait_running("second", 1);
}

#[test]
fn a_global_task_that_does_not_fit_says_why() {
    let node = Node::swarm();
    node.wsw(&["service", "create", "-d", "--name", "agent", "--mode", "global", "--reserve-cpu", "100000", &path("tick")]).ok();
    shows(&node, "agent", &["Pending", "insufficient resources on 1 node"]);
    node.wsw(&["service", "update", "-d", "--reserve-cpu", "0.01", "agent"]).ok();
    node.wait_running("agent", 1);
}

/// What the operator says that the node has is given out once, shown, and found by the task in its environment.
#[test]
fn generic_resources_are_given_out_by_name_and_by_number() {
    let flags = ["--node-generic-resource", "gpu=uuid-a", "--node-generic-resource", "gpu=uuid-b", "--node-generic-resource", "ssd=3"];
    let node = Node::start_with(Setup { flags: flags.map(str::to_owned).to_vec(), ..Setup::default() });
    node.wsw(&["swarm", "init", "--advertise-addr", "127.0.0.1"]).ok();
    let id = node.wsw(&["node", "ls", "-q"]).ok();
    let offered = node.json(&format!("/nodes/{}", id.trim()))["Description"]["Resources"]["GenericResources"].clone();
    assert_eq!(offered[0]["NamedResourceSpec"], serde_json::json!({"Kind": "gpu", "Value": "uuid-a"}));
    assert_eq!(offered[2]["DiscreteResourceSpec"], serde_json::json!({"Kind": "ssd", "Value": 3}));
    assert_eq!(node.json("/info")["GenericResources"], offered);
    let create = |name: &str, wants: &[&str], rest: &[&str]| {
        let flags = wants.iter().flat_map(|want| ["--generic-resource", want]);
        let words: Vec<&str> = ["service", "create", "-d", "--name", name].into_iter().chain(flags).chain(rest.iter().copied()).collect();
        node.wsw(&words).ok();
    };
    create("holds", &["gpu=1"], &[&path("tick")]);
    node.wait_running("holds", 1);
    create("shown", &["gpu=1", "ssd=2"], &["--restart-condition", "none", &path("legacy")]);
    let task = node.wait_task("shown", "complete");
    assert_eq!(task["GenericResources"][0]["NamedResourceSpec"]["Value"], "uuid-b", "{task:#}");
    let shown = node.wsw(&["service", "logs", "--raw", "shown"]).ok();
    for line in ["env DOCKER_RESOURCE_GPU=uuid-b", "env DOCKER_RESOURCE_SSD=2"] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is not in {shown}");
    }
    // Two at once are to be had when the first is gone.
    create("both", &["gpu=2"], &[&path("tick")]);
    shows(&node, "both", &["no suitable node (insufficient resources on 1 node)"]);
    create("more", &["ssd=4"], &[&path("tick")]);
    shows(&node, "more", &["no suitable node (insufficient resources on 1 node)"]);
    node.wsw(&["service", "update", "-d", "--generic-resource-rm", "ssd", "more"]).ok();
    node.wait_running("more", 1);
    node.wsw(&["service", "rm", "holds"]).ok();
    node.wait_running("both", 1);
    let said = node.wsw(&["service", "create", "--name", "named", "--generic-resource", "gpu=uuid-a", &path("tick")]).failed();
    assert!(said.contains("Named Generic Resources is not supported for service create or update"), "{said}");
}

#[test]
fn a_generic_resource_that_cannot_be_read_stops_the_daemon() {
    let node = Node::start();
    for (term, why) in [("gpu", "missing '=' or malformed expression"), ("gpu=-1", "cannot ask for negative resource gpu")] {
        let mut command = node.daemon_beside("x", free_tcp_port());
        let said = run(command.args(["--node-generic-resource", term])).failed();
        assert!(said.contains("--node-generic-resource: could not parse GenericResource: ") && said.contains(why), "{said}");
    }
}

#[test]
fn a_runtime_that_no_node_has() {
    let node = Node::swarm();
    node.wsw(&["service", "create", "-d", "--name", "odd", "--container-label", "wsw.runtime=io.example.none.v1", &path("tick")]).ok();
    shows(&node, "odd", &["no suitable node (missing plugin on 1 node)"]);
}

/// Settings count at once, also those that are what Swarm has by default.
#[test]
fn settings_of_the_swarm_count_at_once() {
    let node = Node::swarm();
    let spec = |field: &str| node.json("/swarm")["Spec"][field].clone();
    assert_eq!(spec("Dispatcher")["HeartbeatPeriod"], 1_000_000_000_u64);
    node.wsw(&["swarm", "update", "--dispatcher-heartbeat", "5s", "--task-history-limit", "1", "--cert-expiry", "1h", "--snapshot-interval", "77"]).ok();
    assert_eq!(spec("Dispatcher")["HeartbeatPeriod"], 5_000_000_000_u64);
    assert_eq!((spec("Orchestration")["TaskHistoryRetentionLimit"].as_i64(), spec("Raft")["SnapshotInterval"].as_i64()), (Some(1), Some(77)));
    let said = node.wsw(&["swarm", "update", "--cert-expiry", "59m"]).failed();
    assert!(said.contains("minimum certificate expiry time is: 1h0m0s"), "{said}");
    assert!(node.wsw(&["node", "demote", "self"]).failed().contains("attempting to demote the last manager of the swarm"));
    // One ended task of a slot is what is kept now.
    node.wsw(&["service", "create", "--name", "ticking", &path("tick")]).ok();
    for _ in 0..3 {
        node.wsw(&["service", "update", "--force", "ticking"]).ok();
    }
    until("a short history", || {
        let tasks = node.tasks("ticking").len();
        if tasks == 1 { Ok(()) } else { Err(format!("{tasks} tasks")) }
    });
    assert_eq!(node.running("ticking").len(), 1);
}

/// An update names its state when it is over, so that no client waits for ever; a rollback is an update the other way.
#[test]
fn updates_and_rollbacks_complete() {
    let node = Node::swarm();
    node.wsw(&["service", "create", "--name", "ticking", "--replicas", "2", "--env", "A=1", &path("tick")]).ok();
    let first = node.wait_running("ticking", 2);
    let state = || node.json("/services/ticking")["UpdateStatus"]["State"].as_str().unwrap_or_default().to_owned();
    node.wsw(&["service", "update", "--env-add", "A=2", "ticking"]).ok();
    assert_eq!(state(), "completed");
    let second = node.wait_running("ticking", 2);
    assert!(second.keys().all(|id| !first.contains_key(id)), "both are replaced");
    node.wsw(&["service", "rollback", "ticking"]).ok();
    assert_eq!(state(), "rollback_completed");
    let service = node.json("/services/ticking");
    assert_eq!(service["Spec"]["TaskTemplate"]["ContainerSpec"]["Env"][0], "A=1");
    assert_eq!(service["PreviousSpec"]["TaskTemplate"]["ContainerSpec"]["Env"][0], "A=2");
    // Replicas and labels of the service replace nothing.
    let third = node.wait_running("ticking", 2);
    node.wsw(&["service", "update", "--replicas", "3", "--label-add", "a=b", "ticking"]).ok();
    let fourth = node.wait_running("ticking", 3);
    assert!(third.keys().all(|id| fourth.contains_key(id)));
}
