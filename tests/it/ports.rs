//! Published ports: who answers, what happens while replicas come and go, and a port that somebody else holds.

use crate::harness::{self, Node, free_tcp_port, guest, until};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};

fn hello(node: &Node, name: &str, port: u16, replicas: &str, more: &[&str]) {
    let (publish, guest) = (format!("{port}:80"), guest("hello_http").to_string_lossy().into_owned());
    let mut words = vec!["service", "create", "--name", name, "--replicas", replicas, "-p", &publish];
    words.extend(more);
    words.push(&guest);
    node.wsw(&words).ok();
}

/// Scaling down and up while requests go on: none of them fails, whichever replica had it.
#[test]
fn no_request_is_lost_while_scaling() {
    let node = Node::swarm();
    let port = free_tcp_port();
    hello(&node, "hello", port, "4", &[]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = ["/", "/wait/300", "/wait/50"]
            .into_iter()
            .map(|path| {
                let done = &done;
                scope.spawn(move || {
                    let mut answers = 0_usize;
                    while !done.load(Ordering::Relaxed) {
                        let answer = harness::get(port, path)?;
                        if answer.status != 200 {
                            return Err(format!("{path} after {answers} answers: {answer:?}"));
                        }
                        answers += 1;
                    }
                    Ok(answers)
                })
            })
            .collect();
        for replicas in ["1", "4", "2", "5", "1"] {
            node.wsw(&["service", "scale", &format!("hello={replicas}")]).ok();
        }
        done.store(true, Ordering::Relaxed);
        for client in clients {
            let answers = client.join().expect("the client does not panic");
            assert!(answers.as_ref().is_ok_and(|count| *count > 0), "{answers:?}");
        }
    });
}

/// The service stays, the reason shows, the bind is retried.
#[test]
fn a_port_that_another_process_holds() {
    let node = Node::swarm();
    let port = free_tcp_port();
    let other = TcpListener::bind(("0.0.0.0", port)).expect("it was free");
    let publish = format!("{port}:80");
    node.wsw(&["service", "create", "-d", "--name", "hello", "-p", &publish, &guest("hello_http").to_string_lossy()]).ok();
    until("the reason to show", || {
        let tasks = node.wsw(&["service", "ps", "--no-trunc", "hello"]).ok();
        let inspected = node.wsw(&["node", "inspect", "self"]).ok();
        let both = [&tasks, &inspected].iter().all(|text| text.contains(&port.to_string()));
        if both { Ok(()) } else { Err(format!("{tasks}\n{inspected}")) }
    });
    assert!(node.wsw(&["service", "ls"]).ok().contains("hello"), "the service stays");
    drop(other);
    until("the port to be served", || harness::get(port, "/").and_then(|answer| if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }));
}

#[test]
fn one_port_belongs_to_one_service() {
    let node = Node::swarm();
    let port = free_tcp_port();
    hello(&node, "first", port, "1", &[]);
    let second = node.wsw(&["service", "create", "--name", "second", "-p", &format!("{port}:80"), &guest("hello_http").to_string_lossy()]).failed();
    assert!(second.contains(&format!("port '{port}' is already in use by service 'first'")), "{second}");
    // It is free again with its service.
    node.wsw(&["service", "rm", "first"]).ok();
    hello(&node, "second", port, "1", &[]);
    until("the second service to answer", || {
        let answer = harness::get(port, "/")?;
        if answer.body.contains("second.1.") { Ok(()) } else { Err(format!("{answer:?}")) }
    });
}

/// A service with no replica left: a client gets a refusal or a closed connection, never a hang.
#[test]
fn no_replica_is_no_hang() {
    let node = Node::swarm();
    let port = free_tcp_port();
    hello(&node, "hello", port, "1", &[]);
    node.wsw(&["service", "scale", "hello=0"]).ok();
    until("the port to say no", || match harness::get(port, "/") {
        Err(_) => Ok(()),
        Ok(answer) if answer.status == 503 => Ok(()),
        Ok(answer) => Err(format!("{answer:?}")),
    });
    node.wsw(&["service", "scale", "hello=1"]).ok();
    until("it to answer again", || harness::get(port, "/"));
}

/// Published without a number: one of Swarm's dynamic range, shown by `service ls`.
#[test]
fn a_dynamic_port() {
    let node = Node::swarm();
    node.wsw(&["service", "create", "--name", "hello", "-p", "80", &guest("hello_http").to_string_lossy()]).ok();
    let ports = node.wsw(&["service", "ls", "--format", "{{.Ports}}"]).ok();
    let port: u16 = ports.trim().strip_prefix("*:").and_then(|rest| rest.strip_suffix("->80/tcp")?.parse().ok()).unwrap_or_else(|| panic!("{ports:?}"));
    assert!((30_000..=32_767).contains(&port), "{port}");
    until("it to answer", || harness::get(port, "/"));
}

#[test]
fn who_comes_while_no_descriptor_is_free_is_served_once_one_is() {
    let node = Node::swarm();
    let port = free_tcp_port();
    hello(&node, "hello", port, "1", &[]);
    until("the port to be served", || harness::get(port, "/"));
    let daemon = Pid::from_raw(node.pid()).expect("a pid is positive");
    // What is open stays open; nothing more can be opened. The hard limit is ours.
    let none = Rlimit { current: Some(3), maximum: getrlimit(Resource::Nofile).maximum };
    let before = prlimit(Some(daemon), Resource::Nofile, none).expect("it is our child");
    let client = std::thread::spawn(move || harness::get(port, "/"));
    until("the daemon to have no descriptor for a client", || match node.log() {
        log if log.contains("accept failed") => Ok(()),
        log => Err(log.lines().last().unwrap_or_default().to_owned()),
    });
    prlimit(Some(daemon), Resource::Nofile, before).expect("it is our child");
    let answer = client.join().expect("a client does not panic").expect("it waited, and was answered");
    assert_eq!(answer.status, 200);
    assert_eq!(node.wait_running("hello", 1).len(), 1);
}
