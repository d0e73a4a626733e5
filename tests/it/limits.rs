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

/// A FIFO in a folder does not hold up who opens it, and files that are closed are given back.
#[test]
fn files_of_a_component_are_counted_and_a_fifo_is_refused() {
    let node = Node::swarm();
    let folder = node.folder().join("data");
    std::fs::create_dir(&folder).expect("it is ours");
    std::fs::write(folder.join("x"), "text").expect("it is ours");
    let (fifo, open) = (folder.join("fifo"), std::os::unix::fs::PermissionsExt::from_mode(0o777));
    std::fs::set_permissions(&folder, open).expect("it is ours");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o666), 0).expect("it is ours");
    let mount = format!("type=bind,source={},target=/data", folder.display());
    let mut words = vec!["service", "create", "-d", "--name", "reads", "--restart-condition", "none", "--mount", &mount];
    let image = path("files");
    let reads: Vec<String> = std::iter::repeat_n("read:/data/x".to_owned(), 1_100).collect();
    words.push(&image);
    words.extend(["read:/data/fifo", "append:/data/fifo:x", "list:/data"]);
    words.extend(reads.iter().map(String::as_str));
    node.wsw(&words).ok();
    node.wait_task("reads", "complete");
    let log = node.wsw(&["service", "logs", "--raw", "reads"]).ok();
    for line in ["read:/data/fifo ! ", "append:/data/fifo:x ! ", "list:/data = fifo x", "read:/data/x = text"] {
        assert!(log.lines().any(|other| other.starts_with(line)), "{line:?} is not in {log}");
    }
    assert_eq!(log.matches("read:/data/x = text").count(), 1_100, "each was closed again");
}
