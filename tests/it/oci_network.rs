//! The network of containers: ports published in both modes for both protocols, who the client is, the way out, and what a crash leaves of it. As root.

use crate::harness::containers::{contained, infinite, network, node_with_image, wait_gone};
use crate::harness::{BOUND, Follow, Net, Node, connect_from, free_tcp_port, free_udp_port, get, is_root, kill, run, until};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

/// A client's address that no node has.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 9, 9, 9);
/// What a client looks again after; the answer may have been lost, as datagrams are.
const DATAGRAM: Duration = Duration::from_millis(500);
/// Sends each datagram back. Debian's busybox has nothing for datagrams: the machine's own perl is mounted into the container.
const ECHO: &str = r#"$s = IO::Socket::INET->new(Proto => "udp", LocalPort => 5000) or die; $| = 1; print "listens\n"; while ($p = $s->recv($b, 65000)) { $s->send($b, 0, $p) }"#;

/// The folders of the machine that its perl needs, read-only.
fn perl() -> Vec<String> {
    let folders = ["/usr", "/lib", "/lib64"].iter().filter(|folder| Path::new(folder).exists());
    let mount = |folder: &&str| format!("type=bind,source={},target={folder},readonly", std::fs::canonicalize(folder).expect("it is there").display());
    folders.flat_map(|folder| ["--mount".to_owned(), mount(folder)]).collect()
}

/// What a service at this port makes of a datagram.
fn echoed(port: u16, text: &str) -> Result<String, String> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
    socket.set_read_timeout(Some(DATAGRAM)).map_err(|error| error.to_string())?;
    // Connected: an answer from anywhere else is none.
    socket.connect((Ipv4Addr::LOCALHOST, port)).and_then(|()| socket.send(text.as_bytes())).map_err(|error| error.to_string())?;
    let mut bytes = [0; 100];
    let length = socket.recv(&mut bytes).map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

#[test]
fn ports_are_published_in_both_modes_for_both_protocols() {
    if !is_root() {
        return;
    }
    let node = node_with_image();
    let [shared, own] = [free_tcp_port(), free_tcp_port()];
    let [datagrams, own_datagrams] = [free_udp_port(), free_udp_port()];
    let (shared_flag, own_flag) = (format!("{shared}:80"), format!("mode=host,target=80,published={own}"));
    let web = ["eon01/infinite", "httpd", "-f", "-p", "80", "-h", "/www"];
    node.wsw(&[&["service", "create", "--name", "web", "-p", &shared_flag, "-p", &own_flag], &web[..]].concat()).ok();
    for port in [shared, own] {
        let body = until("an answer", || get(port, "/").and_then(|answer| if answer.status == 200 { Ok(answer.body) } else { Err(format!("{answer:?}")) }));
        assert_eq!(body, "hello from a container\n", "{port}");
    }
    let (shared_flag, own_flag) = (format!("{datagrams}:5000/udp"), format!("mode=host,target=5000,published={own_datagrams},protocol=udp"));
    let perl = perl();
    let mounts = perl.iter().map(String::as_str).collect::<Vec<_>>();
    let echo = ["eon01/infinite", "/usr/bin/perl", "-MIO::Socket::INET", "-e", ECHO];
    node.wsw(&[&["service", "create", "--name", "echo", "-p", &shared_flag, "-p", &own_flag], &mounts[..], &echo].concat()).ok();
    for port in [datagrams, own_datagrams] {
        until("the datagram to come back", || match echoed(port, "to and fro")? {
            text if text == "to and fro" => Ok(()),
            text => Err(text),
        });
    }
    let shown = node.wsw(&["service", "ls", "--format", "{{.Name}} {{.Ports}}"]).ok();
    assert!(shown.contains(&format!("*:{shared}->80/tcp")) && shown.contains(&format!("*:{datagrams}->5000/udp")), "{shown}");
    node.wsw(&["service", "rm", "web", "echo"]).ok();
    until("the ports to be closed", || match get(own, "/").or_else(|_| get(shared, "/")) {
        Ok(answer) => Err(format!("{answer:?}")),
        Err(_) => Ok(()),
    });
    wait_gone(&node);
}

/// What comes back of a connection to a port whose container says what it hears: all of it.
pub fn heard(to: SocketAddr, says: &[u8]) -> Result<(Vec<u8>, SocketAddr), String> {
    let mut stream = connect_from(CLIENT, to).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(BOUND)).map_err(|error| error.to_string())?;
    let client = stream.local_addr().map_err(|error| error.to_string())?;
    stream.write_all(says).and_then(|()| stream.shutdown(Shutdown::Write)).map_err(|error| error.to_string())?;
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).map_err(|error| error.to_string())?;
    if heard.len() < says.len() { Err(format!("{heard:?}")) } else { Ok((heard, client)) }
}

/// PROXY protocol, version 2, of TCP over IPv4 from this client.
pub fn is_header(heard: &[u8], client: SocketAddr) -> bool {
    let from = heard.starts_with(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c") && heard.get(16..20) == Some(&CLIENT.octets());
    from && heard.get(24..26) == Some(&client.port().to_be_bytes())
}

#[test]
fn a_container_that_asks_for_it_is_told_who_its_client_is() {
    if !is_root() {
        return;
    }
    let node = node_with_image();
    let [told, plain] = [free_tcp_port(), free_tcp_port()];
    let echo = ["eon01/infinite", "busybox", "nc", "-ll", "-p", "80", "-e", "cat"];
    let label = ["--container-label", "wsw.ingress.proxy-protocol=v2"];
    for (name, port, label) in [("told", told, &label[..]), ("plain", plain, &[])] {
        node.wsw(&[&["service", "create", "--name", name, "-p", &format!("{port}:80")], label, &echo].concat()).ok();
    }
    let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let (bytes, client) = until("an echo with a header", || heard(at(told), b"hello"));
    assert!(is_header(&bytes, client), "{client}: {bytes:?}");
    assert_eq!(bytes[26..28], told.to_be_bytes(), "the port that it came to: {bytes:?}");
    assert_eq!(&bytes[28..], b"hello");
    let (bytes, _) = until("a plain echo", || heard(at(plain), b"hello"));
    assert_eq!(bytes, b"hello");
    let said = node.wsw(&["service", "create", "-d", "--name", "wrong", "--container-label", "wsw.ingress.proxy-protocol=v1", "eon01/infinite"]).failed();
    assert!(said.contains("wsw.ingress.proxy-protocol"), "{said}");
}

#[test]
fn containers_reach_out_as_their_node() {
    let Some(net) = Net::of(2) else { return };
    let mut node = net.node(0, &[]);
    node.wsw(&["swarm", "init"]).ok();
    node.wsw(&["load", "-i", &infinite(node.folder()).to_string_lossy()]).ok();
    // A server on another machine, which knows no way to the containers' addresses; it tells who asked.
    let (there, port) = (net.hosts[1].v4, free_tcp_port());
    std::fs::write(node.folder().join("index.html"), "from outside\n").expect("the folder is ours");
    let mut command = net.hosts[1].enter();
    command.args(["busybox", "httpd", "-f", "-v", "-p", &format!("{there}:{port}"), "-h"]).arg(node.folder());
    let server = Follow::start(&mut command);
    let url = format!("http://{there}:{port}/index.html");
    // Retried within: the server may not listen yet.
    let script = format!("until wget -q -O - {url}; do sleep 0.1; done");
    let ask = |node: &Node, name: &str| {
        node.wsw(&["service", "create", "-d", "--restart-condition", "none", "--name", name, "eon01/infinite", "sh", "-c", &script]).ok();
        node.wait_task(name, "complete");
        assert_eq!(node.wsw(&["service", "logs", "--raw", name]).ok(), "from outside\n");
        let line = server.line("the request", |line| line.contains("response:200"));
        assert!(line.contains(&format!("{}]", net.hosts[0].v4)) || line.contains(&format!("{}:", net.hosts[0].v4)), "{line}");
    };
    ask(&node, "first");
    // The daemon's end takes bridge and rules away, its next start makes them again.
    node.wsw(&["service", "rm", "first"]).ok();
    wait_gone(&node);
    let rules = || run(net.hosts[0].enter().args(["nft", "list", "tables"])).ok();
    assert!(rules().contains("table ip wsw_"), "{}", rules());
    assert_eq!(node.terminate(), Some(0));
    assert_eq!(rules(), "", "the rules went with the daemon");
    node.restart();
    ask(&node, "second");
    // And it is reached from outside.
    let port = free_tcp_port();
    let web = ["eon01/infinite", "httpd", "-f", "-p", "80", "-h", "/www"];
    node.wsw(&[&["service", "create", "--name", "web", "-p", &format!("{port}:80")], &web[..]].concat()).ok();
    let url = format!("http://{}:{port}/index.html", net.hosts[0].v4);
    until("an answer to another machine", || match run(net.hosts[1].enter().args(["busybox", "wget", "-q", "-O", "-", &url])) {
        run if run.code == 0 && run.out == "hello from a container\n" => Ok(()),
        run => Err(run.to_string()),
    });
}

#[test]
fn what_a_crash_left_of_the_network_goes_at_the_next_start() {
    if !is_root() {
        return;
    }
    let mut node = node_with_image();
    node.wsw(&["service", "create", "--name", "box", "--replicas", "4", "--restart-delay", "10ms", "eon01/infinite"]).ok();
    let before: BTreeSet<_> = node.running("box").into_keys().collect();
    assert_eq!(network(&node).len(), 4);
    node.kill();
    // Nothing of one task is left but its network: a crash in the middle of its making or its end. Of another the shim's word is all there is.
    for pid in shims_of_killed(&node).into_iter().chain(contained(node.data_root())) {
        kill(pid, Signal::KILL);
    }
    let lost = before.iter().next().expect("there are four");
    std::fs::remove_file(node.folder().join("e/oci/b").join(lost).join("record.json")).expect("it is there");
    node.restart();
    until("four other tasks", || {
        let now: BTreeSet<_> = node.running("box").into_keys().collect();
        if now.len() == 4 && now.is_disjoint(&before) { Ok(()) } else { Err(format!("{now:?}")) }
    });
    until("a link and a namespace for each, and no more", || {
        let named = std::fs::read_dir(node.folder().join("e/oci/n")).expect("it is there").count();
        match (network(&node).len(), named) {
            (4, 4) => Ok(()),
            found => Err(format!("{found:?}")),
        }
    });
    node.wsw(&["service", "rm", "box"]).ok();
    wait_gone(&node);
    assert_eq!(network(&node).len(), 0);
}

/// Shims of a node whose daemon does not run.
fn shims_of_killed(node: &Node) -> Vec<i32> {
    let is_shim = |pid: &i32| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains("containerd-shim"));
    crate::harness::processes_below(node.folder()).into_iter().filter(is_shim).collect()
}
