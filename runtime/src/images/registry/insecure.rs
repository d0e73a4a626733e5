//! Which registries may be spoken to in plain HTTP, or with a certificate that nobody vouches for (dockerd's `--insecure-registry`).
//!
//! Owns: the list's grammar and who is on it: loopback always, hosts and networks that the operator named.

use crate::error::{Error, Result};
use std::net::IpAddr;

/// Entries of the list: an operator's flags, not a database.
const MAX_ENTRIES: usize = 256;

/// The operator's list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Insecure {
    hosts: Vec<String>,
    networks: Vec<(IpAddr, u8)>,
}

impl Insecure {
    /// Reads `HOST[:PORT]` and `CIDR` entries.
    pub fn parse(entries: &[String]) -> Result<Self> {
        if entries.len() > MAX_ENTRIES {
            return Err(Error::Invalid(format!("--insecure-registry: {} entries; at most {MAX_ENTRIES} are taken", entries.len())));
        }
        let mut list = Self::default();
        for entry in entries {
            let wrong = |why: &str| Error::Invalid(format!("--insecure-registry {entry:?}: {why}; use HOST, HOST:PORT or a network such as 10.0.0.0/8"));
            if let Some((address, bits)) = entry.split_once('/') {
                let address: IpAddr = address.parse().map_err(|_| wrong("not a network"))?;
                let bits: u8 = bits.parse().map_err(|_| wrong("not a network"))?;
                if bits > width(address) {
                    return Err(wrong("the prefix is too long"));
                }
                list.networks.push((address, bits));
            } else if entry.is_empty() || entry.contains("://") || entry.contains(char::is_whitespace) {
                return Err(wrong("not a host"));
            } else {
                list.hosts.push(entry.to_ascii_lowercase());
            }
        }
        Ok(list)
    }

    /// True when the registry (`host[:port]`) is one of them. A name is looked up only when networks are listed.
    pub(crate) async fn covers(&self, registry: &str) -> bool {
        let registry = registry.to_ascii_lowercase();
        let host = host(&registry);
        if self.hosts.iter().any(|known| *known == registry || known == host) || host == "localhost" || host.ends_with(".localhost") {
            return true;
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            return self.has(address);
        }
        if self.networks.is_empty() {
            return false;
        }
        match tokio::net::lookup_host((host, 443)).await {
            Ok(found) => found.into_iter().any(|address| self.has(address.ip())),
            Err(_) => false,
        }
    }

    fn has(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.networks.iter().any(|(network, bits)| within(address, *network, *bits))
    }
}

/// `host[:port]` without its port and without the brackets of IPv6.
fn host(registry: &str) -> &str {
    if let Some(rest) = registry.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    registry.split(':').next().unwrap_or_default()
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let cut = |value: u128, width: u8| value.checked_shr(u32::from(width - bits.min(width))).unwrap_or(0);
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => cut(u32::from(a).into(), 32) == cut(u32::from(n).into(), 32),
        (IpAddr::V6(a), IpAddr::V6(n)) => cut(u128::from(a), 128) == cut(u128::from(n), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn loopback_and_what_is_listed() {
        let list = Insecure::parse(&["Reg.example".into(), "other.example:5000".into(), "10.1.0.0/16".into(), "fd00::/8".into()]).unwrap();
        for covered in
            ["127.0.0.1:5000", "127.9.9.9", "[::1]:80", "localhost:5000", "reg.example", "reg.example:77", "other.example:5000", "10.1.2.3:1", "[fd12::1]:9"]
        {
            assert!(list.covers(covered).await, "{covered}");
        }
        for other in ["10.2.0.1", "8.8.8.8:53", "[fe80::1]"] {
            assert!(!list.covers(other).await, "{other}");
        }
        assert!(!Insecure::default().covers("localhost.example").await);
        assert!(Insecure::parse(&["0.0.0.0/0".into()]).unwrap().covers("8.8.8.8").await);
    }

    #[test]
    fn what_is_neither_host_nor_network_is_refused_by_name() {
        for wrong in ["", "http://x", "10.0.0.0/33", "x/8", "a b"] {
            assert!(Insecure::parse(&[wrong.into()]).unwrap_err().to_string().contains("--insecure-registry"), "{wrong:?}");
        }
    }
}
