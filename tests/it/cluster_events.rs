//! Events of the cluster: each manager tells each of them once, whoever made it.

use crate::harness::{Follow, Managers, Node, until};
use std::path::Path;

/// All that a manager tells of services and nodes, from the beginning on.
fn follow(node: &Node) -> Follow {
    let format = "{{.Type}} {{.Action}} {{.Scope}} {{.Actor.Attributes.name}} {{json .Actor.Attributes}}";
    let arguments = ["events", "--since", "1", "--filter", "type=service", "--filter", "type=node", "--format", format];
    Follow::start(&mut node.client(Path::new(env!("CARGO_BIN_EXE_wsw")), &arguments))
}

#[test]
fn each_manager_tells_each_event_once_whoever_made_it() {
    let managers = Managers::of(3);
    let mut worker = Managers::node();
    managers.join(&worker, "worker");
    let id = worker.id();
    let node_state = |wanted: &str| {
        until(&format!("the worker to be {wanted}"), || {
            let state = managers.nodes[0].json(&format!("/nodes/{id}"))["Status"]["State"].clone();
            if state == wanted { Ok(()) } else { Err(state.to_string()) }
        });
    };
    node_state("ready");
    let following: Vec<Follow> = managers.nodes.iter().map(follow).collect();
    // One request to each of them.
    managers.nodes[0].wsw(&["service", "create", "-d", "--name", "web", "--replicas", "0", "nothing:1"]).ok();
    managers.nodes[1].wsw(&["service", "update", "-d", "--image", "nothing:2", "web"]).ok();
    managers.nodes[2].wsw(&["node", "update", "--availability", "drain", &id]).ok();
    // One of the leader's own.
    worker.kill();
    node_state("down");
    managers.nodes[1].wsw(&["service", "rm", "web"]).ok();
    managers.nodes[2].wsw(&["service", "create", "-d", "--name", "last", "--replicas", "0", "nothing:1"]).ok();
    for (at, events) in following.iter().enumerate() {
        let mut lines = Vec::new();
        while !lines.last().is_some_and(|line: &String| line.starts_with("service create swarm last ")) {
            lines.push(events.line("the last event", |_| true));
        }
        let of = |wanted: &[&str]| lines.iter().filter(|line| wanted.iter().all(|word| line.contains(word))).count();
        for wanted in [
            &["service create swarm web {\"name\":\"web\"}"][..],
            &["service update swarm web ", "\"image.new\":\"nothing:2", "\"image.old\":\"nothing:1"],
            &["node update swarm ", "\"availability.new\":\"drain\"", "\"availability.old\":\"active\""],
            &["node update swarm ", "\"state.new\":\"down\"", "\"state.old\":\"ready\""],
            &["service remove swarm web "],
        ] {
            assert_eq!(of(wanted), 1, "manager {at}: {wanted:?} in {lines:#?}");
        }
        assert_eq!(of(&["service "]), 4, "manager {at}: {lines:#?}");
    }
}

#[test]
fn a_reader_goes_on_when_its_node_changes_its_role() {
    let managers = Managers::of(3);
    let id = managers.ids[2].clone();
    let events = follow(&managers.nodes[2]);
    let make = |name: &str| managers.nodes[0].wsw(&["service", "create", "-d", "--name", name, "--replicas", "0", "nothing:1"]).ok();
    make("first");
    events.line("the first", |line| line.starts_with("service create swarm first "));
    managers.nodes[0].wsw(&["node", "demote", &id]).ok();
    until("it to be a worker", || {
        let swarm = managers.nodes[2].json("/info")["Swarm"].clone();
        if swarm["ControlAvailable"] == false { Ok(()) } else { Err(swarm.to_string()) }
    });
    make("meanwhile");
    managers.nodes[0].wsw(&["node", "promote", &id]).ok();
    events.line("what it missed", |line| {
        assert!(!line.starts_with("service create swarm first "), "told twice: {line}");
        line.starts_with("service create swarm meanwhile ")
    });
    make("last");
    events.line("the last", |line| line.starts_with("service create swarm last "));
}
