//! Binds one published port.
//!
//! Invariants: all addresses means both families on one socket where the machine has IPv6; `SO_REUSEADDR` only, so that a port
//! which another process listens on is refused, while one with connections of an earlier daemon in TIME_WAIT is not.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Connections that the kernel completes while we are busy; it cuts this to `net.core.somaxconn`.
const BACKLOG: i32 = 4_096;

/// A listening socket, not blocking.
pub fn bind(address: Option<IpAddr>, port: u16) -> io::Result<Socket> {
    match address {
        Some(ip) => listen(SocketAddr::new(ip, port)),
        None => match listen(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)) {
            // No IPv6 on this machine: not compiled in, or switched off.
            Err(error) if no_ipv6(&error) => listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)),
            result => result,
        },
    }
}

pub(super) fn no_ipv6(error: &io::Error) -> bool {
    let unsupported = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    error.raw_os_error() == Some(unsupported) || error.kind() == io::ErrorKind::AddrNotAvailable
}

fn listen(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// The error in the words of a status.
pub fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address already in use".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::AddrNotAvailable => "address not available".into(),
        _ => error.to_string().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn port_of(socket: &Socket) -> u16 {
        socket.local_addr().unwrap().as_socket().unwrap().port()
    }

    #[test]
    fn all_addresses_are_reached_over_ipv4() {
        let socket = bind(None, 0).unwrap();
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port_of(&socket))).is_ok());
    }

    #[test]
    fn a_port_that_is_listened_on_is_refused_with_a_reason() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = other.local_addr().unwrap().port();
        for address in [None, Some(Ipv4Addr::LOCALHOST.into())] {
            assert_eq!(reason(&bind(address, port).unwrap_err()), "address already in use");
        }
    }
}
