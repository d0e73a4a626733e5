//! A plain HTTP/1.1 exchange over a Unix or TCP socket: exactly the bytes that a test wants to send, broken ones included.

use super::wait::BOUND;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// An answer, its body decoded.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Response {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }

    /// `message` of an error answer, which must have Docker's shape.
    #[track_caller]
    pub fn message(&self) -> String {
        assert!(self.status >= 400, "this should have been refused: {self:?}");
        assert!(self.head.to_ascii_lowercase().contains("content-type: application/json\r\n"), "{self:?}");
        self.json()["message"].as_str().unwrap_or_else(|| panic!("no message: {self:?}")).to_owned()
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().filter_map(|line| line.split_once(": ")).find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim_end())
    }
}

/// One request to the daemon's socket.
pub fn over_unix(socket: &Path, method: &str, path: &str, body: &[u8]) -> std::io::Result<Response> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(BOUND))?;
    stream.set_write_timeout(Some(BOUND))?;
    exchange(&mut stream, method, path, body)
}

/// One request to a published port, on a connection of its own.
pub fn over_tcp(address: SocketAddr, method: &str, path: &str, body: &[u8]) -> std::io::Result<Response> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(BOUND))?;
    stream.set_write_timeout(Some(BOUND))?;
    exchange(&mut stream, method, path, body)
}

/// `GET` of a published port of this machine, as `curl http://127.0.0.1:<port><path>` does it.
pub fn get(port: u16, path: &str) -> Result<Response, String> {
    over_tcp(SocketAddr::from(([127, 0, 0, 1], port)), "GET", path, &[]).map_err(|error| format!("GET {path} on port {port}: {error}"))
}

/// `GET` of a port of some node.
pub fn get_from(address: SocketAddr, path: &str) -> Result<Response, String> {
    over_tcp(address, "GET", path, &[]).map_err(|error| format!("GET {path} of {address}: {error}"))
}

fn exchange(stream: &mut (impl Read + Write), method: &str, path: &str, body: &[u8]) -> std::io::Result<Response> {
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    // A server that refuses a body may close before it has read all of it: its answer counts, not our broken pipe.
    let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).and_then(|()| stream.flush());
    let mut bytes = Vec::new();
    let received = stream.read_to_end(&mut bytes);
    parse(&bytes, method == "HEAD").ok_or_else(|| {
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        std::io::Error::other(format!("no complete answer (sent: {sent:?}, received: {received:?}): {shown:?}"))
    })
}

/// None when the answer is cut, in its head or its body.
fn parse(bytes: &[u8], head_only: bool) -> Option<Response> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end + 2]).into_owned();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let rest = &bytes[end + 4..];
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(rest)? } else { rest.to_vec() };
    let answer = Response { status, head, body: String::from_utf8_lossy(&body).into_owned() };
    let without_body = head_only || matches!(status, 100..=199 | 204 | 304);
    let length: Option<usize> = answer.header("content-length").and_then(|text| text.parse().ok()).filter(|_| !chunked && !without_body);
    length.is_none_or(|length| body.len() >= length).then_some(answer)
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?.trim(), 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}
