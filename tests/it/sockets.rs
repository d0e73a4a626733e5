//! Servers over wasi:sockets behind published ports: TCP and UDP, several replicas that bind the same address.

use crate::harness::{Node, free_tcp_port, free_udp_port, guest, stays, until};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

const BOUND: Duration = Duration::from_secs(60);

fn create(node: &Node, name: &str, guest_name: &str, publish: &str, more: &[&str], args: &[&str]) {
    let guest = guest(guest_name).to_string_lossy().into_owned();
    let mut words = vec!["service", "create", "--name", name, "-p", publish];
    words.extend(more);
    words.push(&guest);
    words.extend(args);
    node.wsw(&words).ok();
}

/// What a service's tasks have written, on both streams.
fn logs(node: &Node, service: &str) -> String {
    let run = node.wsw(&["service", "logs", "--raw", service]);
    format!("{}{}", run.out, run.err)
}

/// A connection to the published port, greeted: who greets, and the stream behind it.
fn greeted(port: u16) -> Result<(String, BufReader<TcpStream>), String> {
    let stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(BOUND)).map_err(|error| error.to_string())?;
    let (mut reader, mut name) = (BufReader::new(stream), String::new());
    match reader.read_line(&mut name) {
        Ok(count) if count > 0 => Ok((name.trim().to_owned(), reader)),
        other => Err(format!("no greeting: {other:?}")),
    }
}

fn echo(stream: &mut BufReader<TcpStream>, text: &str) -> std::io::Result<String> {
    stream.get_mut().write_all(format!("{text}\n").as_bytes())?;
    let mut line = String::new();
    stream.read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

/// `echo.2.k3…` → `2`.
fn slot(name: &str) -> String {
    name.split('.').nth(1).unwrap_or_default().to_owned()
}

#[test]
fn two_replicas_bind_the_same_port() {
    let node = Node::swarm();
    for (name, address) in [("echo", "0.0.0.0:8080"), ("six", "[::]:8080")] {
        let port = free_tcp_port();
        create(&node, name, "echo-tcp", &format!("{port}:8080"), &["--replicas", "2"], &[address]);
        // The guest serves one at a time: two connections that are open at once are at two replicas.
        until("both replicas to answer at once", || {
            let (mut first, mut second) = (greeted(port)?, greeted(port)?);
            let slots = BTreeSet::from([slot(&first.0), slot(&second.0)]);
            for (round, (_, stream)) in [&mut first, &mut second].into_iter().enumerate() {
                let text = format!("hello {round}");
                assert_eq!(echo(stream, &text).unwrap(), text);
            }
            if slots == BTreeSet::from(["1".to_owned(), "2".to_owned()]) { Ok(()) } else { Err(format!("{slots:?}")) }
        });
        until("the guest to have said its own address", || {
            let logs = logs(&node, name);
            if logs.lines().any(|line| line == format!("listening on {address}")) { Ok(()) } else { Err(logs) }
        });
    }
}

#[test]
fn ends_are_carried_both_ways() {
    let node = Node::swarm();
    let port = free_tcp_port();
    create(&node, "echo", "echo-tcp", &format!("{port}:8080"), &[], &["--plain"]);
    // Half-close: all that was sent comes back, then the end.
    let sent = vec![b'x'; 1 << 20];
    let received = until("the server to listen", || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
        let mut writer = stream.try_clone().map_err(|error| error.to_string())?;
        let data = sent.clone();
        let writing = std::thread::spawn(move || writer.write_all(&data).and_then(|()| writer.shutdown(Shutdown::Write)));
        stream.set_read_timeout(Some(BOUND)).map_err(|error| error.to_string())?;
        let mut received = Vec::new();
        let read = stream.read_to_end(&mut received);
        writing.join().expect("it does not panic").and(read).map_err(|error| error.to_string())?;
        Ok(received)
    });
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
    // A reset arrives as one.
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    stream.write_all(b"some").unwrap();
    stream.read_exact(&mut [0; 4]).unwrap();
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
    // The C library of guests has one word for all errors of a stream; an end would not be told at all.
    until("the guest to see the reset", || {
        let logs = logs(&node, "echo");
        if logs.contains("error") { Ok(()) } else { Err(logs) }
    });
}

#[test]
fn connections_outlive_the_daemon() {
    let mut node = Node::swarm();
    let port = free_tcp_port();
    create(&node, "echo", "echo-tcp", &format!("{port}:8080"), &["--replicas", "2"], &[]);
    let (name, mut stream) = until("a greeting", || greeted(port));
    node.kill();
    assert_eq!(echo(&mut stream, "while it is away").unwrap(), "while it is away");
    node.restart();
    let (other, mut second) = until("a greeting of the other replica", || greeted(port));
    assert_ne!(name, other, "the first one still has its connection");
    for stream in [&mut stream, &mut second] {
        assert_eq!(echo(stream, "both").unwrap(), "both");
    }
}

#[test]
fn a_server_that_stops_lets_its_connections_end() {
    let node = Node::swarm();
    let port = free_tcp_port();
    create(&node, "echo", "echo-tcp", &format!("{port}:8080"), &["--stop-grace-period", "10m"], &[]);
    let (_, mut stream) = until("a greeting", || greeted(port));
    node.wsw(&["service", "scale", "-d", "echo=0"]).ok();
    until("new connections to be refused", || match TcpStream::connect(("127.0.0.1", port)) {
        Err(_) => Ok(()),
        Ok(stream) => {
            stream.set_read_timeout(Some(BOUND)).map_err(|error| error.to_string())?;
            let mut byte = [0];
            match (&stream).read(&mut byte) {
                Ok(1) => Err("greeted".to_owned()),
                _ => Ok(()),
            }
        }
    });
    assert_eq!(echo(&mut stream, "still here").unwrap(), "still here");
    drop(stream);
    until("the task to end", || {
        let running = node.json("/tasks").as_array().map_or(0, |tasks| tasks.iter().filter(|task| task["Status"]["State"] == "running").count());
        if running == 0 { Ok(()) } else { Err(format!("{running} run")) }
    });
}

#[test]
fn the_true_client_address_is_told_when_asked_for() {
    let node = Node::swarm();
    let port = free_tcp_port();
    let more = ["--container-label", "wsw.ingress.proxy-protocol=v2"];
    create(&node, "echo", "echo-tcp", &format!("{port}:8080"), &more, &["--plain"]);
    // The echo of the header that the task got.
    let (client, header) = until("an echo", || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(BOUND)).map_err(|error| error.to_string())?;
        let mut header = [0; 28];
        stream.read_exact(&mut header).map_err(|error| error.to_string())?;
        Ok((stream.local_addr().map_err(|error| error.to_string())?, header))
    });
    assert_eq!(header[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
    assert_eq!(header[16..24], [127, 0, 0, 1, 127, 0, 0, 1]);
    let ports = [&header[24..26], &header[26..28]].map(|two| u16::from_be_bytes([two[0], two[1]]));
    assert_eq!(ports, [client.port(), port]);
}

#[test]
fn only_published_ports_can_be_bound() {
    let node = Node::swarm();
    let port = free_tcp_port();
    for (name, address) in [("other-port", "0.0.0.0:9999"), ("other-address", "192.0.2.1:8080"), ("no-port", "0.0.0.0:0")] {
        let publish = format!("{}:8080", if name == "other-port" { port } else { free_tcp_port() });
        create(&node, name, "echo-tcp", &publish, &["-d", "--restart-condition", "none"], &[address]);
        until("the reason in the log", || {
            let logs = logs(&node, name);
            let said = logs.contains("was refused: publish the port, such as -p") && logs.contains("cannot listen on");
            if said { Ok(()) } else { Err(logs) }
        });
        node.wait_task(name, "failed");
    }
    assert!(greeted(port).is_err());
}

/// Nobody but our relay gets to a task's real port, although it is on the machine's loopback.
#[test]
fn other_local_processes_are_turned_away() {
    let node = Node::swarm();
    let port = free_tcp_port();
    create(&node, "echo", "echo-tcp", &format!("{port}:8080"), &[], &[]);
    until("a greeting", || greeted(port));
    let shim = node.running("echo").into_values().next().unwrap();
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{shim}/fd")) else {
        // Only root may look which port is the shim's; without it this machine's other tests have checked the same shim.
        assert!(!rustix::process::geteuid().is_root());
        return;
    };
    let inodes: BTreeSet<String> = descriptors
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()?.to_str()?.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned))
        .collect();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let listening: Vec<u16> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|row| row.len() > 9 && row[3] == "0A" && inodes.contains(row[9]))
        .filter_map(|row| u16::from_str_radix(row[1].strip_prefix("0100007F:")?, 16).ok())
        .collect();
    assert_eq!(listening.len(), 1, "the task's port: {table}");
    let mut direct = TcpStream::connect(("127.0.0.1", listening[0])).unwrap();
    direct.set_read_timeout(Some(BOUND)).unwrap();
    let mut text = String::new();
    let _ = direct.read_to_string(&mut text);
    assert_eq!(text, "", "dropped before the guest saw it");
    until("the task to serve its clients still", || greeted(port));
}

fn udp_client(address: &str, target: (&str, u16)) -> UdpSocket {
    let socket = UdpSocket::bind((address, 0)).unwrap();
    // Connected: an answer from another address than the one that was asked would not be heard.
    socket.connect(target).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    socket
}

fn ask(client: &UdpSocket, text: &str) -> Result<String, String> {
    client.send(text.as_bytes()).map_err(|error| error.to_string())?;
    let mut buffer = vec![0; 65_535];
    let count = client.recv(&mut buffer).map_err(|error| error.to_string())?;
    let answer = String::from_utf8_lossy(&buffer[..count]).into_owned();
    answer.split_once(':').filter(|(_, echoed)| *echoed == text).map(|(slot, _)| slot.to_owned()).ok_or(answer)
}

#[test]
fn datagrams_are_pinned_to_a_replica() {
    let node = Node::swarm();
    for (name, address) in [("echo", "0.0.0.0:5353"), ("six", "[::]:5353")] {
        let port = free_udp_port();
        create(&node, name, "echo-udp", &format!("{port}:5353/udp"), &["--replicas", "2"], &[address]);
        let one = udp_client("127.0.0.1", ("127.0.0.1", port));
        let first = until("an answer", || ask(&one, "first"));
        let two = until("the other replica to have a flow", || {
            let two = udp_client("127.0.0.2", ("127.0.0.1", port));
            let slot = ask(&two, "other")?;
            if slot == first { Err("the same".to_owned()) } else { Ok((two, slot)) }
        });
        stays("each flow stays where it is", Duration::from_millis(300), || {
            let slots = (ask(&one, "a")?, ask(&two.0, "b")?);
            if slots == (first.clone(), two.1.clone()) { Ok(()) } else { Err(format!("{slots:?}")) }
        });
        node.wsw(&["service", "scale", &format!("{name}=1")]).ok();
        let left = node.wait_running(name, 1);
        // One that is told to stop may answer until it has.
        until("both flows to be with the one that is left", || {
            let slots = [ask(&one, "again")?, ask(&two.0, "again")?];
            if slots[0] == slots[1] { Ok(()) } else { Err(format!("{slots:?}, of {left:?}")) }
        });
    }
}

#[test]
fn flows_begin_anew_after_the_daemon_did() {
    let mut node = Node::swarm();
    let port = free_udp_port();
    create(&node, "echo", "echo-udp", &format!("{port}:8080/udp"), &[], &[]);
    let client = udp_client("127.0.0.1", ("127.0.0.1", port));
    until("an answer", || ask(&client, "before"));
    node.kill();
    node.restart();
    until("an answer", || ask(&client, "after"));
    let address: SocketAddr = client.local_addr().unwrap();
    assert!(address.ip().is_loopback());
}
