//! Guests of other tool chains (`scripts/guests-foreign`): they run like our own, or are refused by the name of what they import.

use crate::harness::{self, Node, foreign_guest, free_tcp_port};

#[test]
fn a_command_in_c() {
    let node = Node::swarm();
    let hello = foreign_guest("c_hello").to_string_lossy().into_owned();
    node.wsw(&["service", "create", "-d", "--name", "c", "--restart-condition", "none", "-e", "GREETING=good day", &hello, "7", "more"]).ok();
    let task = node.wait_task("c", "failed");
    assert_eq!(task["Status"]["ContainerStatus"]["ExitCode"], 7, "the exit code is the program's own: {task:#}");
    assert_eq!(node.wsw(&["service", "logs", "--raw", "c"]).ok(), "hello from C: 2 arguments, GREETING=good day\n");
}

#[test]
fn an_import_that_no_node_has_is_named() {
    let node = Node::swarm();
    let foreign = foreign_guest("c_foreign_import").to_string_lossy().into_owned();
    let said = node.wsw(&["service", "create", "--name", "c", &foreign]).failed();
    assert!(said.contains("acme::launch"), "{said}");
    assert_eq!(node.json("/services").as_array().map(Vec::len), Some(0), "nothing was made of it");
}

fn serves(name: &str, greeting: &str) {
    let node = Node::swarm();
    let port = free_tcp_port();
    let server = foreign_guest(name).to_string_lossy().into_owned();
    node.wsw(&["service", "create", "--name", name, "--replicas", "2", "-p", &format!("{port}:80"), &server]).ok();
    for round in 0..5 {
        let path = format!("/page/{round}");
        let answer = harness::get(port, &path).expect("there is an answer");
        assert_eq!((answer.status, answer.body.as_str()), (200, format!("{greeting}: {path}\n").as_str()), "{answer:?}");
    }
}

#[test]
fn a_server_in_python() {
    serves("python", "hello from Python");
}

#[test]
fn a_server_in_javascript() {
    serves("javascript", "hello from JavaScript");
}
