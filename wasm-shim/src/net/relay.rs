//! From a connection that was handed over to a task's real port, and back.
//!
//! Owns: the bytes between the two, bounded; the ends of both. Invariants: the end of one direction is carried as an end and the other
//! goes on, a reset as a reset; a task that stopped listening since it was chosen costs a try at the next one, before a byte was read.
//! It lives in the shim, so connections outlive the daemon.

use super::{
    canonical,
    listeners::{Key, Listeners, Seat},
    lock, proxy, wrong,
};
use crate::connection::Transport;
use rustix::net::sockopt;
use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream, UnixStream},
};

/// Bytes that wait in one direction.
const BUFFER: usize = 16 << 10;
/// Loopback answers at once unless the task's backlog is full; a client may wait this long for it to accept.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Relays until both ends are done.
pub async fn tcp(transport: Transport, client: SocketAddr, key: Key, listeners: Arc<Listeners>, first: Seat) {
    let done = match transport {
        Transport::Tcp(stream) => match TcpStream::from_std(stream) {
            Ok(stream) => {
                let server = stream.local_addr().ok();
                serve(stream, client, server, key, &listeners, first).await
            }
            Err(error) => Err(error),
        },
        Transport::Unix(stream) => match UnixStream::from_std(stream) {
            Ok(stream) => serve(stream, client, None, key, &listeners, first).await,
            Err(error) => Err(error),
        },
    };
    if let Err(error) = done {
        tracing::debug!("relay: {error}");
    }
}

async fn serve<S>(mut outer: S, client: SocketAddr, server: Option<SocketAddr>, key: Key, listeners: &Listeners, first: Seat) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + AsFd + Unpin,
{
    let (mut inner, connected) = match connect(key, listeners, first).await {
        Ok(connected) => connected,
        Err(error) => {
            reset(&outer);
            return Err(error);
        }
    };
    let relayed = async {
        if connected.seat.0.net.spec.proxy_protocol {
            // Where the connection came in is not known for a stream from another node: the same address, its target port.
            let server = server.unwrap_or(SocketAddr::new(client.ip(), key.2));
            inner.write_all(&proxy::header(client, server)).await?;
        }
        tokio::io::copy_bidirectional_with_sizes(&mut outer, &mut inner, BUFFER, BUFFER).await
    };
    if let Err(error) = relayed.await {
        reset(&outer);
        reset(&inner);
        return Err(error);
    }
    Ok(())
}

/// What `close` sends is a reset from now on.
fn reset(socket: impl AsFd) {
    // A Unix stream has no such thing: its end is all that can be told.
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

/// A relay's local end, known to the task's `accept` for as long as it lives.
struct Connected {
    seat: Seat,
    local: SocketAddr,
}

impl Drop for Connected {
    fn drop(&mut self) {
        lock(&self.seat.0.net.relays).remove(&self.local);
    }
}

async fn connect(key: Key, listeners: &Listeners, first: Seat) -> io::Result<(TcpStream, Connected)> {
    let (mut seat, mut tried) = (first, Vec::new());
    loop {
        let address = seat.0.address;
        match connect_to(seat).await {
            Ok(connected) => return Ok(connected),
            Err(error) => {
                tried.push(address);
                seat = listeners.pick(key, &tried).ok_or(error)?;
            }
        }
    }
}

async fn connect_to(seat: Seat) -> io::Result<(TcpStream, Connected)> {
    let address = seat.0.address;
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Bound first: the task may accept before `connect` comes back, and accepts from known ends only.
    socket.bind(SocketAddr::new(address.ip(), 0))?;
    let local = socket.local_addr()?;
    lock(&seat.0.net.relays).insert(local);
    let connected = Connected { seat, local };
    let stream = tokio::time::timeout(CONNECT_LIMIT, socket.connect(address)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    stream.set_nodelay(true)?;
    Ok((stream, connected))
}

/// Ties a flow of datagrams to a task: the ingress's socket is connected to the task's real port. False when nobody can take it.
pub fn udp(socket: &OwnedFd, key: Key, listeners: &Listeners) -> io::Result<bool> {
    if sockopt::socket_type(socket)? != rustix::net::SocketType::DGRAM {
        return Err(wrong("not a datagram socket"));
    }
    let ipv6 = match sockopt::socket_domain(socket)? {
        rustix::net::AddressFamily::INET => false,
        rustix::net::AddressFamily::INET6 => true,
        _ => return Err(wrong("not an internet socket")),
    };
    let mut tried = Vec::new();
    while let Some(seat) = listeners.pick(key, &tried) {
        let address = seat.0.address;
        let target = match address.ip() {
            IpAddr::V4(v4) if ipv6 => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
            _ => address,
        };
        if rustix::net::connect(socket, &target).is_ok() {
            let local = SocketAddr::try_from(rustix::net::getsockname(socket)?).map_err(|_| wrong("no internet address"))?;
            seat.0.net.add_flow(canonical(local));
            return Ok(true);
        }
        tried.push(address);
    }
    Ok(false)
}
