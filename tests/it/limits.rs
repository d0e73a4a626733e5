//! Limits of a task and of the node, through the whole program.

use crate::harness::{Node, Setup, guest, until};

fn path(name: &str) -> String {
    guest(name).to_string_lossy().into_owned()
}

/// A test's own daemon takes three tasks: what is more waits with the reason, and moves up when there is room.
#[test]
fn a_node_takes_as_many_tasks_as_it_holds_and_says_why() {
    let node = Node::start_with(Setup { flags: ["--max-tasks", "3"].map(str::to_owned).to_vec(), ..Setup::default() });
    node.wsw(&["swarm", "init", "--advertise-addr", "127.0.0.1"]).ok();
    node.wsw(&["service", "create", "-d", "--name", "many", "--replicas", "5", &path("tick")]).ok();
    node.wait_running("many", 3);
    until("the others to say why they wait", || {
        let shown = node.wsw(&["service", "ps", "--no-trunc", "many"]).ok();
        let waiting = shown.matches("no suitable node (insufficient resources on 1 node)").count();
        if waiting == 2 { Ok(()) } else { Err(shown) }
    });
    node.wsw(&["service", "create", "-d", "--name", "other", &path("tick")]).ok();
    node.wsw(&["service", "rm", "many"]).ok();
    node.wait_running("other", 1);
}
