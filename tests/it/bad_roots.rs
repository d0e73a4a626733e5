//! Folders that a daemon must refuse to start with.

use crate::harness::{Node, free_udp_port, run};
use std::path::Path;
use std::process::Command;

fn daemon(folder: &Path, data_root: &Path, exec_root: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wsw"));
    command.arg("daemon").arg("-H").arg(format!("unix://{}", folder.join("s2").display())).arg("--data-root").arg(data_root);
    command.arg("--exec-root").arg(exec_root).arg("--pidfile").arg(folder.join("pid2")).arg("--listen-addr").arg(format!("127.0.0.1:{}", free_udp_port()));
    command
}

#[test]
fn an_exec_root_too_long_for_socket_names() {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let long = folder.path().join("x".repeat(100));
    let said = run(&mut daemon(folder.path(), &folder.path().join("d"), &long)).failed();
    assert!(said.contains("exec root") || said.contains("exec-root"), "{said}");
    assert!(said.contains("107") || said.contains("long"), "{said}");
}

#[test]
fn a_data_root_of_a_newer_version() {
    let mut node = Node::swarm();
    assert_eq!(node.terminate(), Some(0));
    let file = node.data_root().join("format");
    let version: u32 = std::fs::read_to_string(&file).expect("a data root carries its format version").trim().parse().expect("it is a number");
    std::fs::write(&file, format!("{}\n", version + 1)).expect("it is ours");
    let said = run(&mut node.daemon_command()).failed();
    assert!(said.contains(&node.data_root().display().to_string()) && said.contains(&(version + 1).to_string()), "{said}");
    std::fs::write(&file, format!("{version}\n")).expect("it is ours");
    node.restart(); // nothing was changed
    assert!(node.wsw(&["node", "ls"]).ok().contains("Leader"));
}

#[test]
fn roots_that_are_no_folders() {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "x").expect("it is ours");
    for (data_root, exec_root) in [(file.clone(), folder.path().join("e")), (folder.path().join("d"), file.clone()), (file.join("d"), folder.path().join("e"))]
    {
        let said = run(&mut daemon(folder.path(), &data_root, &exec_root)).failed();
        assert!(said.contains(&file.display().to_string()), "it names the path: {said}");
    }
    assert_eq!(std::fs::read_to_string(&file).expect("it is ours"), "x");
}
