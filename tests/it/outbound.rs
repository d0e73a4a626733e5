//! What leaves a Wasm task: nothing but what its list allows, over TCP, UDP, HTTP and names. Servers are the test's own.

use crate::harness::{Node, guest, until};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

/// Servers on one address: TCP that greets, HTTP with one page, UDP that answers. They end with the process.
struct Servers {
    tcp: SocketAddr,
    http: SocketAddr,
    udp: SocketAddr,
}

impl Servers {
    fn start(ip: IpAddr) -> Self {
        let (tcp, http) = (TcpListener::bind((ip, 0)).unwrap(), TcpListener::bind((ip, 0)).unwrap());
        let udp = UdpSocket::bind((ip, 0)).unwrap();
        let servers = Self { tcp: tcp.local_addr().unwrap(), http: http.local_addr().unwrap(), udp: udp.local_addr().unwrap() };
        std::thread::spawn(move || tcp.incoming().flatten().for_each(|mut stream| drop(stream.write_all(b"greetings"))));
        std::thread::spawn(move || {
            for mut stream in http.incoming().flatten() {
                let mut head = [0; 4_096];
                let count = stream.read(&mut head).unwrap_or(0);
                let host = String::from_utf8_lossy(&head[..count]).to_ascii_lowercase();
                let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default().to_owned();
                let body = format!("page of {host} {}", "x".repeat(100_000));
                let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            }
        });
        std::thread::spawn(move || {
            let mut buffer = [0; 1_024];
            while let Ok((count, from)) = udp.recv_from(&mut buffer) {
                let _ = udp.send_to(&[&buffer[..count], b" pong"].concat(), from);
            }
        });
        servers
    }
}

/// Runs the guest `reach` once with this list; its answers by word.
fn reach(node: &Node, name: &str, list: Option<&str>, words: &[String]) -> (BTreeMap<String, String>, String) {
    let (guest, label) = (guest("reach").to_string_lossy().into_owned(), list.map(|list| format!("wsw.wasm.allow-outbound={list}")));
    let mut command = vec!["service", "create", "-d", "--name", name, "--restart-condition", "none"];
    if let Some(label) = &label {
        command.extend(["--container-label", label]);
    }
    command.push(&guest);
    command.extend(words.iter().map(String::as_str));
    node.wsw(&command).ok();
    node.wait_task(name, "complete");
    let logs = until("all answers", || {
        let run = node.wsw(&["service", "logs", "--raw", name]);
        let logs = format!("{}{}", run.out, run.err);
        if words.iter().all(|word| logs.contains(&format!("{word}: "))) { Ok(logs) } else { Err(logs) }
    });
    let answers = words.iter().map(|word| {
        let answer = logs.lines().find_map(|line| line.strip_prefix(&format!("{word}: ")));
        (word.clone(), answer.unwrap_or_default().to_owned())
    });
    (answers.collect(), logs)
}

/// The address by which this machine would reach others, if it has one: no packet is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

#[test]
fn nothing_leaves_unless_it_is_listed() {
    let node = Node::swarm();
    let servers = Servers::start([127, 0, 0, 1].into());
    let Servers { tcp, http, udp } = &servers;
    let all = [
        format!("tcp={tcp}"),
        format!("udp={udp}"),
        format!("http={http}/page"),
        format!("tcp=localhost:{}", tcp.port()),
        format!("http=localhost:{}/page", http.port()),
        "name=localhost".to_owned(),
        "http=169.254.169.254/latest/meta-data".to_owned(),
    ];
    let [to_tcp, to_udp, to_http, tcp_by_name, http_by_name, name, metadata] = &all;
    // Which of them are reached, by list.
    let cases: [(&str, Option<String>, &[&String]); 6] = [
        ("none", None, &[]),
        ("all", Some("*,0.0.0.0/0,example.com".to_owned()), &[name]),
        ("address", Some(format!("127.0.0.1:{},127.0.0.1:{}", tcp.port(), http.port())), &[to_tcp, to_http]),
        ("network", Some("127.0.0.0/8".to_owned()), &[to_tcp, to_udp, to_http]),
        ("host", Some("localhost".to_owned()), &[tcp_by_name, http_by_name, name]),
        ("port", Some(format!("localhost:{}", http.port())), &[http_by_name, name]),
    ];
    for (service, list, reached) in cases {
        let (answers, logs) = reach(&node, service, list.as_deref(), &all);
        for word in &all {
            let answer = &answers[word];
            // An address that was answered for an allowed name is this name's, also without it.
            let by_name = service == "host" || (service == "port" && word == to_http);
            if !reached.contains(&word) && by_name && word != metadata {
                continue;
            }
            assert_eq!(answer.starts_with("ok: "), reached.contains(&word), "{service}: {word}: {answer}\n{logs}");
            if !reached.contains(&word) {
                let wanted = if word.starts_with("http=") { "HttpRequestDenied" } else { "ermission" };
                assert!(answer.contains(wanted) || word == name || word == tcp_by_name, "{service}: {word}: {answer}");
            }
        }
        if reached.contains(&to_http) {
            assert!(answers[to_http].starts_with(&format!("ok: 200 100{:03} page of {http}", 9 + http.to_string().len())), "{}", answers[to_http]);
        }
        assert!(logs.contains("169.254.169.254:80 was refused: to allow it, add it to the label wsw.wasm.allow-outbound"), "{service}: {logs}");
    }
}

#[test]
fn the_nodes_own_addresses_need_to_be_named() {
    // A machine without any other address has nothing to guard here.
    let Some(own) = own_address() else { return };
    let node = Node::swarm();
    let servers = Servers::start(own);
    let words = [format!("tcp={}", servers.tcp), format!("udp={}", servers.udp), format!("http={}/", servers.http)];
    for (service, list, reached) in [("all", "*".to_owned(), false), ("named", own.to_string(), true)] {
        let (answers, logs) = reach(&node, service, Some(&list), &words);
        for (word, answer) in answers {
            assert_eq!(answer.starts_with("ok: "), reached, "{service}: {word}: {answer}\n{logs}");
        }
    }
}

#[test]
fn a_task_has_a_bound_on_its_sockets() {
    let node = Node::swarm();
    let word = "sockets=2000".to_owned();
    let (answers, _) = reach(&node, "many", Some("*"), std::slice::from_ref(&word));
    let answer = &answers[&word];
    assert!(answer.contains("new-socket-limit") && answer.ends_with("after 512"), "{answer}");
}
