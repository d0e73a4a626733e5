//! Clients that ask through a node without a task while the tasks come, go and die elsewhere: no request fails but those in flight on what died.

use crate::harness::{Cluster, Failure, Load, free_tcp_port, guest, shims_below, until};
use rustix::process::{Pid, Signal, kill_process};
use std::net::SocketAddr;
use std::time::Instant;

/// Two workers that run the service, and a manager that does not and is asked.
fn on_workers(replicas: &str) -> (Cluster, SocketAddr) {
    let cluster = Cluster::of(2);
    let port = free_tcp_port();
    let (publish, guest) = (format!("{port}:80"), guest("hello_http").to_string_lossy().into_owned());
    let words = ["service", "create", "--name", "hello", "--replicas", replicas, "--constraint", "node.role==worker", "--restart-delay", "0s"];
    cluster.manager.wsw(&[&words[..], &["--container-label", "wsw.wasm.group=own", "-p", &publish, &guest]].concat()).ok();
    let address = SocketAddr::from((cluster.manager.addr(), port));
    (cluster, address)
}

fn right(body: &str) -> bool {
    body.starts_with("Hello from hello.") && body.ends_with("!\n")
}

/// All kinds of clients.
fn loads(address: SocketAddr) -> Vec<Load> {
    let one_each = ["/", "/wait/40"].map(|path| Load::at(address, path, 2, right));
    one_each.into_iter().chain([Load::keeping(address, "/", 2, right), Load::keeping(address, "/wait/20", 1, right)]).collect()
}

/// Stops them; their failures, and that each was answered at all.
fn end(loads: Vec<Load>) -> Vec<Failure> {
    let ended: Vec<(u64, Vec<Failure>)> = loads.into_iter().map(Load::end).collect();
    assert!(ended.iter().all(|(answered, _)| *answered > 0), "{ended:?}");
    ended.into_iter().flat_map(|(_, failures)| failures).collect()
}

/// Waits until requests are answered that began after this moment.
fn answered_anew(loads: &[Load]) {
    let before: Vec<u64> = loads.iter().map(Load::answered).collect();
    until("requests to be answered", || {
        let now: Vec<u64> = loads.iter().map(Load::answered).collect();
        if now.iter().zip(&before).all(|(now, before)| *now > before + 10) { Ok(()) } else { Err(format!("{before:?} {now:?}")) }
    });
}

#[test]
fn no_request_fails_while_tasks_come_and_go() {
    let (cluster, address) = on_workers("1");
    let [one, two] = [0, 1].map(|n| cluster.workers[n].id());
    let loads = loads(address);
    answered_anew(&loads);
    for replicas in ["6", "1", "4", "2"] {
        cluster.manager.wsw(&["service", "scale", &format!("hello={replicas}")]).ok();
        answered_anew(&loads);
    }
    cluster.wait_placed("hello", &[(&one, 1), (&two, 1)]);
    cluster.manager.wsw(&["node", "update", "--availability", "drain", &one]).ok();
    cluster.wait_placed("hello", &[(&two, 2)]);
    answered_anew(&loads);
    cluster.manager.wsw(&["node", "update", "--availability", "active", &one]).ok();
    cluster.manager.wsw(&["service", "scale", "hello=6"]).ok();
    cluster.wait_placed("hello", &[(&one, 3), (&two, 3)]);
    answered_anew(&loads);
    // All at once, each stopped before its successor starts: clients wait for those that come.
    cluster.manager.wsw(&["service", "update", "--force", "hello"]).ok();
    answered_anew(&loads);
    let failures = end(loads);
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn only_what_is_in_flight_on_a_node_that_dies_is_lost() {
    let (mut cluster, address) = on_workers("4");
    let [one, two] = [0, 1].map(|n| cluster.workers[n].id());
    cluster.wait_placed("hello", &[(&one, 2), (&two, 2)]);
    let mut died = Vec::new();
    let loads = loads(address);
    answered_anew(&loads);
    // A shim: the tasks in it are gone, the node is not.
    died.push(Instant::now());
    for pid in shims_below(cluster.workers[0].folder()) {
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }
    died.push(Instant::now());
    cluster.wait_placed("hello", &[(&one, 2), (&two, 2)]);
    answered_anew(&loads);
    // A daemon that is back before anybody misses it, and one that is not.
    died.push(Instant::now());
    cluster.workers[0].kill();
    cluster.workers[0].restart();
    died.push(Instant::now());
    cluster.wait_state(&one, "ready");
    cluster.wait_placed("hello", &[(&one, 2), (&two, 2)]);
    answered_anew(&loads);
    died.push(Instant::now());
    cluster.workers[1].kill();
    died.push(Instant::now());
    cluster.wait_state(&two, "down");
    cluster.wait_placed("hello", &[(&one, 4)]);
    answered_anew(&loads);
    let failures = end(loads);
    let lost: Vec<&Failure> = failures.iter().filter(|failure| !died.chunks(2).any(|death| failure.begun <= death[1] && failure.ended >= death[0])).collect();
    assert!(lost.is_empty(), "lost without a death that explains it: {lost:#?}\n{died:?}");
}
