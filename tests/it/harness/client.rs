//! A client of a published port that sees every byte: what it sends is what a test wrote, what it reads it takes apart line by line.
//!
//! Invariant: it waits for nothing longer than [`BOUND`].

use super::guests::guest;
use super::node::Node;
use super::wait::{BOUND, free_tcp_port};
use rustix::net::{AddressFamily, SocketType};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

/// The guest `lab_http` as the service `lab`; its published port.
pub fn lab(node: &Node, more: &[&str]) -> u16 {
    let port = free_tcp_port();
    let (publish, guest) = (format!("{port}:80"), guest("lab_http").to_string_lossy().into_owned());
    let mut words = vec!["service", "create", "--name", "lab", "-p", &publish];
    words.extend(more);
    words.push(&guest);
    node.wsw(&words).ok();
    port
}

/// Whether a head has this line, in lower case.
pub fn has(head: &[String], line: &str) -> bool {
    head.iter().any(|other| other == line)
}

/// A connection whose client has this address.
pub fn connect_from(client: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let family = if to.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    if to.is_ipv4() {
        rustix::net::bind(&socket, &SocketAddr::from((client, 0)))?;
    }
    rustix::net::connect(&socket, &to)?;
    Ok(socket.into())
}

/// A connection that is read line by line.
pub struct Client(BufReader<TcpStream>);

impl Client {
    pub fn connect(port: u16) -> Self {
        Self::of(TcpStream::connect(("127.0.0.1", port)).expect("the port is served"))
    }

    pub fn of(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(BOUND)).expect("a bound");
        stream.set_write_timeout(Some(BOUND)).expect("a bound");
        Self(BufReader::new(stream))
    }

    /// Connects and says this at once, as much of it as is taken: what is refused early may not be.
    pub fn saying(port: u16, bytes: &[u8]) -> Self {
        let mut client = Self::connect(port);
        let _ = client.stream().write_all(bytes);
        client
    }

    pub fn stream(&mut self) -> &mut TcpStream {
        self.0.get_mut()
    }

    pub fn send(&mut self, text: &str) {
        self.stream().write_all(text.as_bytes()).expect("it is taken");
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line comes");
        line.trim_end().to_owned()
    }

    /// The lines of a head or of trailers, in lower case.
    pub fn head(&mut self) -> Vec<String> {
        let line = |client: &mut Self| Some(client.line()).filter(|line| !line.is_empty());
        std::iter::from_fn(|| line(self)).map(|line| line.to_ascii_lowercase()).collect()
    }

    pub fn bytes(&mut self, number: usize) -> String {
        let mut bytes = vec![0; number];
        self.0.read_exact(&mut bytes).expect("they come");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub fn chunk(&mut self) -> String {
        let size = usize::from_str_radix(&self.line(), 16).expect("a chunk's size");
        let chunk = self.bytes(size);
        if size > 0 {
            self.line();
        }
        chunk
    }

    /// All until the end of the connection; none when it does not end. A reset is an end, too: bytes of ours were unread.
    pub fn rest(&mut self) -> Option<String> {
        let mut all = Vec::new();
        let mut piece = [0; 4096];
        loop {
            match self.0.read(&mut piece) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
                Ok(0) | Err(_) => return Some(String::from_utf8_lossy(&all).into_owned()),
                Ok(read) => all.extend_from_slice(&piece[..read]),
            }
        }
    }

    /// A request without a body; its status and head.
    pub fn get(&mut self, path: &str) -> (u16, Vec<String>) {
        self.request("GET", path)
    }

    pub fn request(&mut self, method: &str, path: &str) -> (u16, Vec<String>) {
        self.send(&format!("{method} {path} HTTP/1.1\r\nHost: lab\r\n\r\n"));
        self.answer()
    }

    pub fn answer(&mut self) -> (u16, Vec<String>) {
        let head = self.head();
        let status = head.first().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        (status.unwrap_or_else(|| panic!("no status: {head:?}")), head)
    }

    /// The body of an answer with a length.
    pub fn body(&mut self, head: &[String]) -> String {
        let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).expect("a length");
        self.bytes(length)
    }
}
