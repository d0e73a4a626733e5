//! Asking the kernel for links, addresses and routes (rtnetlink), as far as a container's network needs it.
//!
//! Owns: the bytes of the messages; one request, one acknowledgement. A socket belongs to the network namespace that it was opened in.
//! Never: decides names or addresses.

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const NEWADDR: u16 = 20;
const NEWROUTE: u16 = 24;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const EXCL: u16 = 0x200;
const CREATE: u16 = 0x400;
const DUMP: u16 = 0x300;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VETH_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const IFF_UP: u32 = 1;
const AF_INET: u8 = 2;
const NESTED: u16 = 0x8000;
const HEADER: usize = 16;
/// One answer of the kernel: it splits dumps at 32 KiB.
const ANSWER: usize = 64 << 10;
/// Links of a machine that are listed: the kernel's bound for one bridge is 1,024.
const MAX_LINKS: usize = 65_536;

/// A link as a dump shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub index: u32,
    pub name: String,
    /// Index of the bridge that it is a port of; zero for none.
    pub master: u32,
}

/// A socket of one network namespace.
#[derive(Debug)]
pub(super) struct Socket(OwnedFd);

struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16, body: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(REQUEST | flags).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(body);
        Self(bytes)
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        push(&mut self.0, kind, value);
        self
    }

    fn name(self, name: &str) -> Self {
        self.attribute(IFLA_IFNAME, &[name.as_bytes(), &[0]].concat())
    }

    fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX).to_ne_bytes();
        self.0.iter_mut().zip(length).for_each(|(to, from)| *to = from);
        self.0
    }
}

fn push(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend_from_slice(&u16::try_from(value.len() + 4).unwrap_or(u16::MAX).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    push(&mut bytes, kind, value);
    bytes
}

/// `struct ifinfomsg`.
fn link_body(index: u32, flags: u32) -> Vec<u8> {
    let mut body = vec![0, 0, 0, 0];
    body.extend_from_slice(&index.to_ne_bytes());
    body.extend_from_slice(&flags.to_ne_bytes());
    body.extend_from_slice(&flags.to_ne_bytes());
    body
}

impl Socket {
    /// In the namespace of the calling thread. Routing is netlink's protocol number 0.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self(rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?))
    }

    fn ask(&self, message: Message) -> io::Result<()> {
        rustix::net::send(&self.0, &message.finish(), SendFlags::empty())?;
        let mut answer = vec![0_u8; ANSWER];
        let (_, length) = rustix::net::recv(&self.0, answer.as_mut_slice(), RecvFlags::empty())?;
        match number(answer.get(..length).unwrap_or_default(), HEADER).map(i32::from_ne_bytes) {
            Some(0) => Ok(()),
            Some(error) => Err(io::Error::from_raw_os_error(-error)),
            None => Err(io::Error::other("the kernel's answer is cut off")),
        }
    }

    pub(super) fn add_bridge(&self, name: &str) -> io::Result<()> {
        let info = attribute(INFO_KIND, b"bridge");
        self.ask(Message::new(NEWLINK, ACK | CREATE | EXCL, &link_body(0, IFF_UP)).name(name).attribute(IFLA_LINKINFO | NESTED, &info))
    }

    /// A pair: `name` here as a port of the bridge, `eth0` with this hardware address in the namespace.
    pub(super) fn add_pair(&self, name: &str, bridge: u32, namespace: BorrowedFd<'_>, mac: [u8; 6]) -> io::Result<()> {
        let mut peer = link_body(0, 0);
        push(&mut peer, IFLA_IFNAME, b"eth0\0");
        push(&mut peer, IFLA_ADDRESS, &mac);
        push(&mut peer, IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
        let data = attribute(VETH_PEER | NESTED, &peer);
        let info = [attribute(INFO_KIND, b"veth"), attribute(INFO_DATA | NESTED, &data)].concat();
        let message = Message::new(NEWLINK, ACK | CREATE | EXCL, &link_body(0, IFF_UP)).name(name).attribute(IFLA_MASTER, &bridge.to_ne_bytes());
        self.ask(message.attribute(IFLA_LINKINFO | NESTED, &info))
    }

    /// One that is not there is fine.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        match self.ask(Message::new(DELLINK, ACK, &link_body(0, 0)).name(name)) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            other => other,
        }
    }

    pub(super) fn up(&self, index: u32) -> io::Result<()> {
        self.ask(Message::new(NEWLINK, ACK, &link_body(index, IFF_UP)))
    }

    pub(super) fn add_address(&self, index: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let mut body = vec![AF_INET, prefix, 0, 0];
        body.extend_from_slice(&index.to_ne_bytes());
        let broadcast = u32::from(address) | u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
        let message = Message::new(NEWADDR, ACK | CREATE | EXCL, &body).attribute(IFA_LOCAL, &address.octets()).attribute(IFA_ADDRESS, &address.octets());
        self.ask(message.attribute(IFA_BROADCAST, &broadcast.to_be_bytes()))
    }

    pub(super) fn add_default_route(&self, gateway: Ipv4Addr) -> io::Result<()> {
        // family, lengths, tos, main table, protocol boot, scope universe, unicast, flags
        let body = [AF_INET, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
        self.ask(Message::new(NEWROUTE, ACK | CREATE | EXCL, &body).attribute(RTA_GATEWAY, &gateway.octets()))
    }

    /// All links of the namespace.
    pub(super) fn links(&self) -> io::Result<Vec<Link>> {
        rustix::net::send(&self.0, &Message::new(GETLINK, DUMP, &link_body(0, 0)).finish(), SendFlags::empty())?;
        let mut links = Vec::new();
        let mut answer = vec![0_u8; ANSWER];
        loop {
            let (_, length) = rustix::net::recv(&self.0, answer.as_mut_slice(), RecvFlags::empty())?;
            let mut rest = answer.get(..length).unwrap_or_default();
            while rest.len() >= HEADER {
                let size = number(rest, 0).map_or(0, u32::from_ne_bytes) as usize;
                let kind = u16::from_ne_bytes([rest.get(4).copied().unwrap_or(0), rest.get(5).copied().unwrap_or(0)]);
                let message = rest.get(..size).filter(|_| size >= HEADER).ok_or_else(|| io::Error::other("the kernel's answer is cut off"))?;
                match kind {
                    DONE => return Ok(links),
                    ERROR => return Err(io::Error::from_raw_os_error(-number(message, HEADER).map_or(0, i32::from_ne_bytes))),
                    NEWLINK if links.len() < MAX_LINKS => links.extend(link(message)),
                    _ => {}
                }
                rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }

    /// The number of a link.
    pub(super) fn index(&self, name: &str) -> io::Result<Option<u32>> {
        Ok(self.links()?.into_iter().find(|link| link.name == name).map(|link| link.index))
    }
}

fn number(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
    bytes.get(at..at + 4)?.try_into().ok()
}

fn link(message: &[u8]) -> Option<Link> {
    let mut found = Link { index: u32::from_ne_bytes(number(message, HEADER + 4)?), name: String::new(), master: 0 };
    let mut rest = message.get(HEADER + 16..)?;
    while let (Some(&[low, high]), Some(&[kind_low, kind_high])) = (rest.first_chunk::<2>(), rest.get(2..4).and_then(|kind| kind.first_chunk::<2>())) {
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let value = rest.get(4..length)?;
        match u16::from_ne_bytes([kind_low, kind_high]) {
            IFLA_IFNAME => found.name = String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned(),
            IFLA_MASTER => found.master = u32::from_ne_bytes(value.try_into().ok()?),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_among_the_links() {
        let links = Socket::open().unwrap().links().unwrap();
        assert!(links.iter().any(|link| link.name == "lo" && link.index == 1 && link.master == 0), "{links:?}");
    }
}
