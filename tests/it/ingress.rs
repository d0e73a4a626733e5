//! Published ports on nodes that have no task of the service: who answers, what the task sees of the client, and how connections end.

use crate::harness::{BOUND, Client, Cluster, Node, connect_from, free_tcp_port, free_udp_port, get_from, guest, until};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// A client's address that no node has.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 9, 9, 9);

/// A manager and two workers, and a service whose tasks are on the first worker only; its port.
fn on_one_node(guest_name: &str, target: u16, more: &[&str], args: &[&str]) -> (Cluster, u16) {
    let cluster = Cluster::of(2);
    let port = free_tcp_port();
    let constraint = format!("node.id=={}", cluster.workers[0].id());
    let (publish, guest) = (format!("{port}:{target}"), guest(guest_name).to_string_lossy().into_owned());
    let mut words = vec!["service", "create", "--name", "lab", "--constraint", &constraint, "-p", &publish];
    words.extend(more);
    words.push(&guest);
    words.extend(args);
    cluster.manager.wsw(&words).ok();
    (cluster, port)
}

fn at(node: &Node, port: u16) -> SocketAddr {
    SocketAddr::from((node.addr(), port))
}

/// Waits until a node leads clients to the service.
fn wait_served(node: &Node, port: u16) {
    until("the node to lead there", || {
        let answer = get_from(at(node, port), "/")?;
        if answer.status < 500 { Ok(()) } else { Err(format!("{answer:?}")) }
    });
}

fn connect(node: &Node, port: u16) -> TcpStream {
    let stream = connect_from(CLIENT, at(node, port)).expect("the port is served");
    stream.set_read_timeout(Some(BOUND)).unwrap();
    stream.set_write_timeout(Some(BOUND)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// What the tasks of a node have written.
fn logs_on(node: &Node) -> String {
    let folders = std::fs::read_dir(node.data_root().join("logs")).into_iter().flatten().flatten();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().flatten());
    files.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect()
}

#[test]
fn every_node_serves_the_port_and_the_task_sees_the_true_client() {
    let (cluster, port) = on_one_node("hello_http", 80, &[], &[]);
    for node in [&cluster.manager, &cluster.workers[1], &cluster.workers[0]] {
        wait_served(node, port);
        let mut client = Client::of(connect(node, port));
        // On one connection: nothing of it is lost between two requests.
        for _ in 0..3 {
            let (status, head) = client.get("/headers");
            let body = client.body(&head);
            assert_eq!(status, 200);
            assert!(body.lines().any(|line| line == format!("x-forwarded-for: {CLIENT}")), "{}: {body}", node.addr());
        }
    }
    // A node that is not in the cluster any more leads nowhere, whatever it remembers.
    let removed = &cluster.workers[1];
    cluster.manager.wsw(&["node", "rm", "--force", &removed.id()]).ok();
    until("the removed node to be refused by the others", || match get_from(at(removed, port), "/") {
        Ok(answer) => Err(format!("{answer:?}")),
        Err(_) => Ok(()),
    });
    wait_served(&cluster.manager, port);
}

#[test]
fn ends_and_resets_are_carried_both_ways() {
    let (mut cluster, port) = on_one_node("echo-tcp", 8080, &["--replicas", "3"], &["--plain"]);
    // Half-close: all that was sent comes back, then the end.
    let sent: Vec<u8> = (0..4_u32 << 20).map(|n| (n % 251) as u8).collect();
    let received = until("the server to listen", || {
        let mut stream = connect(&cluster.workers[1], port);
        let mut writer = stream.try_clone().map_err(|error| error.to_string())?;
        let data = sent.clone();
        let writing = std::thread::spawn(move || writer.write_all(&data).and_then(|()| writer.shutdown(Shutdown::Write)));
        let mut received = Vec::new();
        let read = stream.read_to_end(&mut received);
        writing.join().expect("it does not panic").and(read).map_err(|error| error.to_string())?;
        Ok(received)
    });
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
    // A reset arrives as one: the guest would not be told of an end.
    let mut stream = connect(&cluster.workers[1], port);
    stream.write_all(b"some").unwrap();
    stream.read_exact(&mut [0; 4]).unwrap();
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
    until("the guest to see the reset", || {
        let said = logs_on(&cluster.workers[0]);
        if said.contains("error") { Ok(()) } else { Err(said) }
    });
    // A node that dies takes its connections with it, and no client takes that for an end.
    let mut stream = connect(&cluster.workers[1], port);
    stream.write_all(b"some").unwrap();
    stream.read_exact(&mut [0; 4]).unwrap();
    cluster.workers[0].kill();
    assert_eq!(stream.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// What comes back for a datagram, without the slot that answers.
fn ask(client: &UdpSocket, bytes: &[u8]) -> Result<(), String> {
    client.send(bytes).map_err(|error| error.to_string())?;
    let mut buffer = vec![0; 65_535];
    let count = client.recv(&mut buffer).map_err(|error| error.to_string())?;
    let echoed = buffer[..count].iter().position(|byte| *byte == b':').map(|at| &buffer[at + 1..count]);
    if echoed == Some(bytes) { Ok(()) } else { Err(format!("{count} other bytes")) }
}

#[test]
fn datagrams_go_to_another_node_and_back() {
    let cluster = Cluster::of(2);
    let port = free_udp_port();
    let constraint = format!("node.id=={}", cluster.workers[0].id());
    let (publish, guest) = (format!("{port}:8080/udp"), guest("echo-udp").to_string_lossy().into_owned());
    cluster.manager.wsw(&["service", "create", "--name", "echo", "--constraint", &constraint, "-p", &publish, &guest]).ok();
    for node in [&cluster.workers[1], &cluster.manager, &cluster.workers[0]] {
        let client = UdpSocket::bind((CLIENT, 0)).unwrap();
        // Connected: an answer from another address than the one that was asked would not be heard.
        client.connect(at(node, port)).unwrap();
        client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        // In a packet, and too large for one.
        for size in [1, 1_000, 1_400, 20_000, 60_000] {
            let bytes: Vec<u8> = (0..size).map(|n| (n % 251) as u8).map(|byte| if byte == b':' { 0 } else { byte }).collect();
            until("the datagram to come back", || ask(&client, &bytes));
        }
    }
    // The flow follows the service's task to another node.
    let client = UdpSocket::bind((CLIENT, 0)).unwrap();
    client.connect(at(&cluster.manager, port)).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    until("an answer", || ask(&client, b"before"));
    let moved = format!("node.id=={}", cluster.workers[1].id());
    cluster.manager.wsw(&["service", "update", "-d", "--constraint-rm", &constraint, "--constraint-add", &moved, "echo"]).ok();
    cluster.wait_placed("echo", &[(&cluster.workers[1].id(), 1)]);
    until("an answer from there", || ask(&client, b"after"));
}
