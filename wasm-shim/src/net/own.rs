//! Whether an address is one of this machine's.
//!
//! Owns: the probe. The kernel is asked by binding a datagram socket to the address, which works inside the sandbox (no netlink, no
//! files) and sees every interface of the moment. Where binding foreign addresses is switched on (`ip_nonlocal_bind`) the route tells: a
//! local address is its own source.

use super::lock;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    sync::Mutex,
    time::{Duration, Instant},
};

/// Answers that are kept, and for how long: a guest that sends many datagrams asks for few addresses.
const MAX_KEPT: usize = 1_024;
const KEEP: Duration = Duration::from_secs(5);
/// Addresses of documentation: no machine has them.
const NOBODY: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

/// The probe with its memory.
pub struct Own {
    /// Any address can be bound, per family.
    binds_all: [bool; 2],
    kept: Mutex<BTreeMap<IpAddr, (Instant, bool)>>,
}

impl Own {
    pub fn new() -> Self {
        Self { binds_all: NOBODY.map(binds), kept: Mutex::default() }
    }

    pub fn is_own(&self, address: IpAddr) -> bool {
        let (address, now) = (address.to_canonical(), Instant::now());
        if let Some((at, own)) = lock(&self.kept).get(&address)
            && now.duration_since(*at) < KEEP
        {
            return *own;
        }
        let own = if self.binds_all[usize::from(address.is_ipv6())] { is_source(address) } else { binds(address) };
        let mut kept = lock(&self.kept);
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(address, (now, own));
        own
    }
}

fn binds(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

fn is_source(address: IpAddr) -> bool {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| socket.connect((address, 9)).and_then(|()| socket.local_addr()));
    source.is_ok_and(|source| source.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_addresses_are_told_from_others() {
        let own = Own::new();
        assert!(own.is_own(Ipv4Addr::LOCALHOST.into()) && own.is_own("::ffff:127.0.0.1".parse().unwrap()));
        assert!(!own.is_own("198.51.100.7".parse().unwrap()));
        assert!(is_source(Ipv4Addr::LOCALHOST.into()) && !is_source("198.51.100.7".parse().unwrap()));
    }
}
