//! Tries to reach what its arguments name, one line of output each, for the tour and the tests of what may leave:
//!
//! `tcp=HOST:PORT` connects and reads a greeting, `udp=HOST:PORT` sends "ping" and waits for an answer, `name=HOST` looks a name up,
//! `http=URL` and `https=URL` get a page, `listen=ADDRESS` binds and listens, `sockets=N` opens sockets until it is told to stop,
//! `stay` sleeps for ever.

use std::io::Read;
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;
use wasip2::http::{outgoing_handler, types};
use wasip2::sockets::{network, tcp_create_socket};

fn main() {
    for word in std::env::args().skip(1) {
        let (what, target) = word.split_once('=').unwrap_or((&word, ""));
        let outcome = match what {
            "tcp" => tcp(target),
            "udp" => udp(target),
            "name" => name(target),
            "http" | "https" => http(what, target),
            "listen" => TcpListener::bind(target).map(|_| "listening".to_owned()).map_err(|error| format!("{:?}", error.kind())),
            "sockets" => sockets(target),
            "stay" => loop {
                std::thread::sleep(Duration::from_secs(3_600));
            },
            _ => Err("unknown word".to_owned()),
        };
        match outcome {
            Ok(text) => println!("{word}: ok: {}", text.trim()),
            Err(text) => println!("{word}: error: {}", text.trim()),
        }
    }
}

fn kind(error: std::io::Error) -> String {
    format!("{:?}: {error}", error.kind())
}

fn tcp(target: &str) -> Result<String, String> {
    let mut text = String::new();
    let mut stream = TcpStream::connect(target).map_err(kind)?;
    stream.read_to_string(&mut text).map_err(kind)?;
    Ok(text)
}

fn udp(target: &str) -> Result<String, String> {
    let address = target.to_socket_addrs().map_err(kind)?.next().ok_or("no address")?;
    let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).map_err(kind)?;
    socket.send_to(b"ping", address).map_err(kind)?;
    let mut buffer = [0; 1_024];
    let (count, _) = socket.recv_from(&mut buffer).map_err(kind)?;
    Ok(String::from_utf8_lossy(&buffer[..count]).into_owned())
}

fn name(host: &str) -> Result<String, String> {
    let addresses: Vec<String> = (host, 0).to_socket_addrs().map_err(kind)?.map(|address| address.ip().to_string()).collect();
    Ok(addresses.join(" "))
}

fn http(scheme: &str, target: &str) -> Result<String, String> {
    let (authority, path) = target.split_once('/').unwrap_or((target, ""));
    let request = types::OutgoingRequest::new(types::Fields::new());
    let scheme = if scheme == "https" { types::Scheme::Https } else { types::Scheme::Http };
    request.set_scheme(Some(&scheme)).map_err(|()| "scheme")?;
    request.set_authority(Some(authority)).map_err(|()| "authority")?;
    request.set_path_with_query(Some(&format!("/{path}"))).map_err(|()| "path")?;
    let pending = outgoing_handler::handle(request, None).map_err(|code| format!("{code:?}"))?;
    pending.subscribe().block();
    let response = pending.get().ok_or("not ready")?.map_err(|()| "taken")?.map_err(|code| format!("{code:?}"))?;
    let body = response.consume().map_err(|()| "body")?;
    let stream = body.stream().map_err(|()| "stream")?;
    let mut bytes = Vec::new();
    while let Ok(piece) = stream.blocking_read(64 << 10) {
        bytes.extend(piece);
    }
    let length = bytes.len();
    bytes.truncate(200);
    Ok(format!("{} {length} {}", response.status(), String::from_utf8_lossy(&bytes)))
}

/// std hides which limit it was.
fn sockets(count: &str) -> Result<String, String> {
    let count: usize = count.parse().map_err(|_| "not a number")?;
    let mut open = Vec::new();
    for _ in 0..count {
        match tcp_create_socket::create_tcp_socket(network::IpAddressFamily::Ipv4) {
            Ok(socket) => open.push(socket),
            Err(code) => return Err(format!("{code:?} after {}", open.len())),
        }
    }
    Ok(open.len().to_string())
}
