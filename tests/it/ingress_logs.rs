//! Logs of tasks on other nodes, asked of the manager: whole, followed, and partial when a node is away.

use crate::harness::{Cluster, Follow, guest, newest_docker, until};
use std::path::Path;

/// Tasks on both workers, none on the manager.
fn ticking() -> Cluster {
    let cluster = Cluster::of(2);
    let guest = guest("tick").to_string_lossy().into_owned();
    let words = ["service", "create", "--name", "ticking", "--mode", "global", "--constraint", "node.role==worker", &guest];
    cluster.manager.wsw(&words).ok();
    cluster.wait_placed("ticking", &[(&cluster.workers[0].id(), 1), (&cluster.workers[1].id(), 1)]);
    cluster
}

/// Who has written, by the first column without the node: all nodes have this machine's host name.
fn tasks_in(text: &str) -> std::collections::BTreeSet<String> {
    text.lines().filter_map(|line| line.split_once('|')).filter_map(|(who, _)| who.split('@').next().map(|name| name.trim().to_owned())).collect()
}

#[test]
fn the_manager_shows_the_lines_of_all_nodes() {
    let mut cluster = ticking();
    for client in [Path::new(env!("CARGO_BIN_EXE_wsw")), &newest_docker()] {
        until("lines of both tasks", || {
            let run = crate::harness::run(&mut cluster.manager.client(client, &["service", "logs", "--no-trunc", "ticking"]));
            let text = run.ok();
            if tasks_in(&text).len() == 2 { Ok(()) } else { Err(text) }
        });
    }
    // The last lines of each task, and those of one task.
    let tailed = cluster.manager.wsw(&["service", "logs", "--tail", "1", "ticking"]).ok();
    assert_eq!(tailed.lines().count(), 2, "{tailed}");
    let placed = cluster.placed("ticking");
    let one = placed[&cluster.workers[0].id()].first().unwrap();
    let single = cluster.manager.wsw(&["service", "logs", "--no-task-ids", one]).ok();
    assert!(!single.is_empty() && tasks_in(&single).len() == 1, "{single}");
    // A follower sees both go on.
    let follow =
        Follow::start(&mut cluster.manager.client(Path::new(env!("CARGO_BIN_EXE_wsw")), &["service", "logs", "-f", "--tail", "0", "--no-trunc", "ticking"]));
    for task in placed.values().flatten() {
        follow.line("a line of each task", |line| line.contains(task.as_str()));
        follow.line("another one", |line| line.contains(task.as_str()));
    }
    // One node is away: what the other has is shown, and that it is not all is said.
    let away = cluster.workers[1].id();
    cluster.workers[1].kill();
    for _ in 0..2 {
        let run = cluster.manager.wsw(&["service", "logs", "--no-trunc", "ticking"]);
        let said = format!("{}{}", run.out, run.err);
        assert!(said.contains("incomplete log stream. some logs could not be retrieved for the following reasons: node"), "{said}");
        assert!(said.contains(&away), "{said}");
        assert!(run.out.contains(one.as_str()), "{said}");
        cluster.wait_state(&away, "down");
    }
    // The follower takes it up again.
    cluster.workers[1].restart();
    cluster.wait_state(&away, "ready");
    let placed = cluster.wait_placed("ticking", &[(&cluster.workers[0].id(), 1), (&away, 1)]);
    let again = placed[&away].first().unwrap();
    follow.line("a line of the node that is back", |line| line.contains(again.as_str()));
    drop(follow);
}

#[test]
fn tasks_elsewhere_are_listed_and_inspected() {
    let cluster = ticking();
    let placed = cluster.placed("ticking");
    for worker in &cluster.workers {
        let (id, task) = (worker.id(), placed[&worker.id()].first().unwrap());
        let listed = cluster.manager.wsw(&["node", "ps", "--no-trunc", "--format", "{{.ID}} {{.DesiredState}}", &id]).ok();
        assert_eq!(listed.trim(), format!("{task} Running"));
        let inspected = cluster.manager.wsw(&["inspect", "--format", "{{.NodeID}} {{.Status.State}}", task]).ok();
        assert_eq!(inspected.trim(), format!("{id} running"));
    }
    let listed = cluster.manager.wsw(&["service", "ps", "--format", "{{.CurrentState}}", "ticking"]).ok();
    assert_eq!(listed.lines().filter(|line| line.starts_with("Running")).count(), 2, "{listed}");
}
