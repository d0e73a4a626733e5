//! The socket of a published UDP port, with the address that each datagram was sent to.
//!
//! Owns: ancillary data. Invariant: an answer leaves from the address that its client has spoken to, on a machine with many addresses and
//! one socket for all of them.

use super::super::listener::no_ipv6;
use nix::libc;
use nix::sys::socket::{self, ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// The largest datagram.
const MAX_DATAGRAM: usize = 65_535;
/// Bytes that the kernel keeps for us; it cuts this to `net.core.rmem_max`.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Where a datagram was sent to; the interface matters for link-local addresses only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Local {
    pub address: IpAddr,
    pub interface: u32,
}

/// One datagram as it came.
pub struct Received {
    pub client: SocketAddr,
    pub local: Local,
    pub bytes: Vec<u8>,
}

/// Binds a published port; no address means all of both families.
pub fn bind(address: Option<IpAddr>, port: u16) -> io::Result<Socket> {
    match address {
        Some(ip) => open(SocketAddr::new(ip, port)),
        None => match open(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)) {
            Err(error) if no_ipv6(&error) => open(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)),
            result => result,
        },
    }
}

/// No `SO_REUSEADDR`: for datagrams it would let another process share the port.
fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    if address.is_ipv4() {
        socket::setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    } else {
        socket::setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// The bound socket.
pub struct PortSocket {
    socket: UdpSocket,
    is_ipv6: bool,
}

impl PortSocket {
    pub fn new(socket: Socket) -> io::Result<Self> {
        let is_ipv6 = socket.local_addr()?.is_ipv6();
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, is_ipv6 })
    }

    pub async fn receive(&self) -> io::Result<Received> {
        loop {
            let received = self.socket.async_io(Interest::READABLE, || receive(self.socket.as_raw_fd())).await?;
            if let Some(received) = received {
                return Ok(received);
            }
        }
    }

    /// Sends to a client from the address that it spoke to.
    pub async fn answer(&self, client: SocketAddr, local: Local, bytes: &[u8]) -> io::Result<()> {
        self.socket.async_io(Interest::WRITABLE, || self.send(client, local, bytes)).await
    }

    fn send(&self, client: SocketAddr, local: Local, bytes: &[u8]) -> io::Result<()> {
        let (fd, data) = (self.socket.as_raw_fd(), [IoSlice::new(bytes)]);
        let flags = MsgFlags::empty();
        if self.is_ipv6 {
            let (from, to) = (as_v6(local.address), v6_target(client));
            let is_local = from.is_unicast_link_local();
            let info = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: from.octets() }, ipi6_ifindex: if is_local { local.interface } else { 0 } };
            socket::sendmsg(fd, &data, &[ControlMessage::Ipv6PacketInfo(&info)], flags, Some(&to))?;
            return Ok(());
        }
        let (IpAddr::V4(from), SocketAddr::V4(to)) = (local.address, client) else { return Err(io::ErrorKind::InvalidInput.into()) };
        let spec = libc::in_addr { s_addr: u32::from_ne_bytes(from.octets()) };
        let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: spec, ipi_addr: libc::in_addr { s_addr: 0 } };
        socket::sendmsg(fd, &data, &[ControlMessage::Ipv4PacketInfo(&info)], flags, Some(&SockaddrIn::from(to)))?;
        Ok(())
    }
}

fn as_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

fn v6_target(client: SocketAddr) -> SockaddrIn6 {
    match client {
        SocketAddr::V4(v4) => std::net::SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into(),
        SocketAddr::V6(v6) => v6.into(),
    }
}

/// None for what has no source or destination to answer from and to.
fn receive(fd: i32) -> io::Result<Option<Received>> {
    let mut bytes = vec![0; MAX_DATAGRAM];
    let mut control = nix::cmsg_space!(libc::in_pktinfo, libc::in6_pktinfo);
    let (client, local, length) = {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let message = socket::recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut control), MsgFlags::empty())?;
        let local = message.cmsgs()?.find_map(|part| match part {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                Some(Local { address: Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()).into(), interface: u32::try_from(info.ipi_ifindex).unwrap_or(0) })
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                Some(Local { address: IpAddr::from(info.ipi6_addr.s6_addr).to_canonical(), interface: info.ipi6_ifindex })
            }
            _ => None,
        });
        (message.address.and_then(|address| as_std(&address)), local, message.bytes)
    };
    bytes.truncate(length);
    bytes.shrink_to_fit();
    Ok(client.zip(local).map(|(client, local)| Received { client, local, bytes }))
}

fn as_std(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::V4((*v4).into()));
    }
    let v6 = std::net::SocketAddrV6::from(*address.as_sockaddr_in6()?);
    match v6.ip().to_ipv4_mapped() {
        Some(v4) => Some((v4, v6.port()).into()),
        None => Some(v6.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket as Client;

    #[tokio::test]
    async fn answers_leave_from_the_address_that_was_hit() {
        for all in [None, Some(Ipv4Addr::UNSPECIFIED.into())] {
            let socket = bind(all, 0).unwrap();
            let port = socket.local_addr().unwrap().as_socket().unwrap().port();
            let socket = PortSocket::new(socket).unwrap();
            for hit in ["127.0.0.1", "127.0.0.5"] {
                let client = Client::bind("127.0.0.1:0").unwrap();
                // A connected socket hears nobody else.
                client.connect((hit, port)).unwrap();
                client.send(b"ask").unwrap();
                let received = socket.receive().await.unwrap();
                assert_eq!((received.client, received.local.address, &*received.bytes), (client.local_addr().unwrap(), hit.parse().unwrap(), &b"ask"[..]));
                socket.answer(received.client, received.local, b"answer").await.unwrap();
                let mut buffer = [0; 16];
                let length = client.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..length], b"answer");
            }
        }
    }

    #[test]
    fn a_port_that_is_bound_is_refused() {
        let other = Client::bind("0.0.0.0:0").unwrap();
        let port = other.local_addr().unwrap().port();
        assert_eq!(bind(None, port).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
