//! How containers are asked to end: by the signal that their image or service names, and by SIGKILL once their grace period is over; by the service and by `docker stop`.

use crate::harness::containers::{INFINITE, config, layout, system};
use crate::harness::{Follow, Node, clients, is_root, run, until};
use serde_json::json;
use std::path::Path;

/// A node with an image whose STOPSIGNAL is SIGUSR1.
fn node() -> Node {
    let node = Node::swarm();
    let (layers, file) = (vec![system()], node.folder().join("image.tar"));
    let settings = json!({"Cmd": ["tail", "-f", "/dev/null"], "StopSignal": "SIGUSR1", "Env": ["PATH=/bin"]});
    std::fs::write(&file, layout(INFINITE, &layers, &config(&layers, &settings))).expect("the folder is ours");
    node.wsw(&["load", "-i", &file.to_string_lossy()]).ok();
    node
}

/// Says which signal it got and ends by it; one that is told to ignores what asks it to end.
const SCRIPT: &str = "for s in USR1:31 TERM:32 HUP:33; do trap \"echo got ${s%:*}; exit ${s#*:}\" ${s%:*}; done; echo ready; while :; do sleep 1 & wait; done";
const DEAF: &str = "trap '' TERM USR1; echo ready; while :; do sleep 1; done";

/// A service of one container that is ready, and its container.
fn serve(node: &Node, name: &str, script: &str, more: &[&str]) -> String {
    let words = [&["service", "create", "--name", name, "--restart-condition", "none"], more, &["eon01/infinite", "busybox", "sh", "-c", script]].concat();
    node.wsw(&words).ok();
    until("the container to be ready", || {
        let id = node.wsw(&["ps", "-q", "--no-trunc", "--filter", &format!("name={name}.")]).ok().trim().to_owned();
        if !id.is_empty() && node.wsw(&["logs", &id]).out.contains("ready") { Ok(id) } else { Err(id) }
    })
}

/// Waits for the end of a service's only container, as events tell it: what a service puts away is gone soon after.
fn ends_with(node: &Node, name: &str, code: i32) {
    let words = ["events", "--since", "1h", "--filter", "event=die", "--format", "{{.Actor.Attributes.name}} {{.Actor.Attributes.exitCode}}"];
    let line = Follow::start(&mut node.client(&clients()[0], &words)).line("its end", |line| line.starts_with(&format!("{name}.1.")));
    assert!(line.ends_with(&format!(" {code}")), "{line}");
}

#[test]
fn a_container_is_asked_to_end_by_the_signal_of_its_image_or_service() {
    if !is_root() {
        return;
    }
    let node = node();
    for (name, more, signal, wanted) in [
        ("image", &[][..], "got USR1", 31),
        ("own", &["--stop-signal", "SIGHUP"], "got HUP", 33),
        ("number", &["--stop-signal", "15"], "got TERM", 32),
        ("short", &["--stop-signal", "hup"], "got HUP", 33),
    ] {
        serve(&node, name, SCRIPT, more);
        node.wsw(&["service", "scale", &format!("{name}=0")]).ok();
        ends_with(&node, name, wanted);
        // Past the service, with every client.
        for (number, client) in clients().iter().enumerate() {
            let name = format!("{name}{number}");
            let id = serve(&node, &name, SCRIPT, more);
            assert_eq!(run(&mut node.client(client, &["stop", &id])).ok().trim(), id);
            ends_with(&node, &name, wanted);
            assert!(node.wsw(&["logs", &id]).ok().contains(signal), "{name}");
        }
    }
    let own = node.wsw(&["ps", "-aq", "--filter", "name=own0."]).ok();
    for client in &clients() {
        let shown = run(&mut node.client(client, &["inspect", "--format", "{{.Config.StopSignal}}", own.trim()])).ok();
        assert_eq!(shown.trim(), "SIGHUP");
    }
}

#[test]
fn what_ignores_the_signal_is_killed_after_its_grace_period() {
    if !is_root() {
        return;
    }
    let node = node();
    serve(&node, "scaled", DEAF, &["--stop-grace-period", "2s"]);
    node.wsw(&["service", "scale", "scaled=0"]).ok();
    ends_with(&node, "scaled", 137);
    for (number, client) in clients().iter().enumerate() {
        let id = serve(&node, &format!("stopped{number}"), DEAF, &[]);
        assert_eq!(run(&mut node.client(client, &["stop", "-t", "1", &id])).ok().trim(), id);
        ends_with(&node, &format!("stopped{number}"), 137);
        // Its signal as the user names it.
        let id = serve(&node, &format!("signalled{number}"), SCRIPT, &[]);
        run(&mut node.client(client, &["kill", "--signal", "HUP", &id])).ok();
        ends_with(&node, &format!("signalled{number}"), 33);
    }
    // A removed service's container is ended all the same.
    let id = serve(&node, "removed", DEAF, &["--stop-grace-period", "1s"]);
    let pid = node.json(&format!("/containers/{id}/json"))["State"]["Pid"].as_i64().expect("a process");
    node.wsw(&["service", "rm", "removed"]).ok();
    until("its process to be gone", || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        if status.is_empty() || status.contains("\nState:\tZ") || !Path::new(&format!("/proc/{pid}")).exists() { Ok(()) } else { Err(status) }
    });
}
