//! Addresses that flags and `swarm init` name: `IP`, `IP:PORT`, an interface.
//!
//! Owns: parsing and the choice of an address to advertise. Never: opens a port.

use anyhow::{Context, Result, bail};
use nix::ifaddrs::getifaddrs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// `IP:PORT` to listen on.
pub fn listen(flag: &str, text: &str) -> Result<SocketAddr> {
    text.parse().with_context(|| format!("{flag} {text}: must be IP:PORT, such as 0.0.0.0:2377"))
}

/// `IP`, `IP:PORT`, `INTERFACE` or `INTERFACE:PORT` that other nodes dial.
pub fn advertise(flag: &str, text: &str, default_port: u16) -> Result<SocketAddr> {
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return specified(flag, addr);
    }
    if let Ok(ip) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return specified(flag, SocketAddr::new(ip, default_port));
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().with_context(|| format!("{flag} {text}: the port must be a number from 1 to 65535"))?),
        None => (text, default_port),
    };
    match interface(name) {
        Some(ip) => Ok(SocketAddr::new(ip, port)),
        None => bail!("{flag} {text}: must be a valid IP address or network interface (with optional port number)"),
    }
}

fn specified(flag: &str, addr: SocketAddr) -> Result<SocketAddr> {
    if addr.ip().is_unspecified() {
        bail!("{flag} {addr}: advertise address must be a non-zero IP address or network interface (with optional port number)");
    }
    Ok(addr)
}

/// The interface's first address, IPv4 before IPv6.
fn interface(name: &str) -> Option<IpAddr> {
    let mut found: Vec<IpAddr> = getifaddrs()
        .ok()?
        .filter(|entry| entry.interface_name == name)
        .filter_map(|entry| {
            let address = entry.address?;
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
        })
        .collect();
    found.sort_by_key(IpAddr::is_ipv6);
    found.first().copied()
}

/// Whether this machine has this address.
pub fn is_here(ip: IpAddr) -> bool {
    let of = |entry: nix::ifaddrs::InterfaceAddress| {
        let address = entry.address?;
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    };
    // Addresses that cannot be read are taken to be as before.
    getifaddrs().map_or(true, |mut entries| entries.any(|entry| of(entry) == Some(ip)))
}

/// What to advertise when nobody says: the listen address, else the address of the default route, else loopback.
///
/// Connecting a datagram socket sends nothing: the kernel only looks up its route (192.0.2.1 is TEST-NET-1, RFC 5737).
pub fn choose(listen: SocketAddr) -> SocketAddr {
    if !listen.ip().is_unspecified() {
        return listen;
    }
    let routed = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).and_then(|()| socket.local_addr()))
        .map(|addr| addr.ip())
        .ok()
        .filter(|ip| !ip.is_unspecified());
    SocketAddr::new(routed.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), listen.port())
}

/// What to advertise to a node at `remote` when nobody says: the listen address, else the one from which it is reached.
pub fn towards(listen: SocketAddr, remote: SocketAddr) -> SocketAddr {
    if !listen.ip().is_unspecified() {
        return listen;
    }
    let any: IpAddr = if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
    let routed = UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(remote).and_then(|()| socket.local_addr()));
    routed.map_or_else(|_| choose(listen), |addr| SocketAddr::new(addr.ip(), listen.port()))
}

/// `HOST`, `HOST:PORT`, `IP` or `[IPV6]:PORT` of a manager.
pub async fn remote(text: &str, default_port: u16) -> Result<SocketAddr> {
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return Ok(addr);
    }
    if let Ok(ip) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, default_port));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().with_context(|| format!("remote address {text}: the port must be a number from 1 to 65535"))?),
        None => (text, default_port),
    };
    let mut found = tokio::net::lookup_host((host, port)).await.with_context(|| format!("remote address {text}: this name is not known"))?;
    found.next().with_context(|| format!("remote address {text}: this name has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_docker_reads_them() {
        let read = |text| advertise("--advertise-addr", text, 2377);
        assert_eq!(read("127.0.0.1").unwrap().to_string(), "127.0.0.1:2377");
        assert_eq!(read("127.0.0.1:9").unwrap().to_string(), "127.0.0.1:9");
        assert_eq!(read("::1").unwrap().to_string(), "[::1]:2377");
        assert_eq!(read("lo").unwrap().to_string(), "127.0.0.1:2377");
        assert_eq!(read("lo:7").unwrap().to_string(), "127.0.0.1:7");
        for wrong in ["0.0.0.0", "nosuchif", "lo:x", ""] {
            assert!(read(wrong).unwrap_err().to_string().contains("--advertise-addr"), "{wrong}");
        }
        assert!(listen("--listen-addr", "1.2.3.4").is_err());
    }

    #[tokio::test]
    async fn a_managers_address_is_completed() {
        for (text, addr) in [("127.0.0.1", "127.0.0.1:2377"), ("127.0.0.1:9", "127.0.0.1:9"), ("::1", "[::1]:2377"), ("[::1]:9", "[::1]:9")] {
            assert_eq!(remote(text, 2377).await.unwrap().to_string(), addr);
        }
        assert!(remote("127.0.0.1:x", 2377).await.is_err() && remote("", 2377).await.is_err());
        let all = SocketAddr::from(([0, 0, 0, 0], 2377));
        assert_eq!(towards(all, SocketAddr::from(([127, 0, 0, 9], 1))).ip(), Ipv4Addr::LOCALHOST);
    }
}
