//! An HTTP proxy on loopback behind which names and addresses that are nobody's lead to registries of this machine.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Listens until the test's process ends; a test has one or two.
#[derive(Clone)]
pub struct Proxy {
    port: u16,
    routes: Arc<Mutex<BTreeMap<String, u16>>>,
}

impl Proxy {
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let this = Self { port: listener.local_addr().expect("it is bound").port(), routes: Arc::default() };
        let routes = this.routes.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let routes = routes.clone();
                std::thread::spawn(move || serve(client, &routes));
            }
        });
        this
    }

    /// `host:port` leads to this port of loopback.
    pub fn route(&self, to: &str, port: u16) {
        self.routes.lock().expect("nobody panicked").insert(to.to_owned(), port);
    }

    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// `CONNECT host:port`, or a request with its whole address, which Go's servers read as it is. Whatever has no route gets 502.
fn serve(client: TcpStream, routes: &Mutex<BTreeMap<String, u16>>) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let (mut head, mut line) = (String::new(), String::new());
    while reader.read_line(&mut line).ok()? > 2 {
        head += &line;
        line.clear();
    }
    head += &line;
    let mut words = head.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let host = target.strip_prefix("http://").unwrap_or(target).split('/').next()?;
    let port = routes.lock().expect("nobody panicked").get(host).copied();
    let mut client = client;
    let Some(mut server) = port.and_then(|port| TcpStream::connect(("127.0.0.1", port)).ok()) else {
        return client.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").ok();
    };
    if method == "CONNECT" {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
    } else {
        // One request a connection: the next may be for somebody else.
        server.write_all(head.replacen("\r\n", "\r\nConnection: close\r\n", 1).as_bytes()).ok()?;
    }
    let (mut to, mut from) = (server.try_clone().ok()?, client.try_clone().ok()?);
    std::thread::spawn(move || {
        let _ = copy(&mut server, &mut client);
        let _ = client.shutdown(std::net::Shutdown::Both);
    });
    let _ = to.write_all(reader.buffer());
    let _ = copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Write);
    Some(())
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<u64> {
    std::io::copy(from, to)
}
