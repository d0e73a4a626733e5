//! The PROXY protocol's header, version 2: the true client address for a task that asks for it.
//!
//! Owns: its bytes (HAProxy's `proxy-protocol.txt`). Never: sends anything.

use std::net::{IpAddr, SocketAddr};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
const VERSION_AND_COMMAND: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// The header for a TCP connection from `client` to `server`.
pub fn header(client: SocketAddr, server: SocketAddr) -> Vec<u8> {
    let (family, addresses) = match (client.ip().to_canonical(), server.ip().to_canonical()) {
        (IpAddr::V4(client), IpAddr::V4(server)) => (TCP_OVER_IPV4, [client.octets().as_slice(), &server.octets()].concat()),
        (client, server) => (TCP_OVER_IPV6, [as_v6(client).as_slice(), &as_v6(server)].concat()),
    };
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([VERSION_AND_COMMAND, family]);
    let length = u16::try_from(addresses.len() + 4).unwrap_or_default();
    bytes.extend(length.to_be_bytes());
    bytes.extend(addresses);
    bytes.extend(client.port().to_be_bytes());
    bytes.extend(server.port().to_be_bytes());
    bytes
}

fn as_v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_those_of_the_specification() {
        let v4 = header("192.0.2.1:4660".parse().unwrap(), "[::ffff:192.0.2.2]:80".parse().unwrap());
        assert_eq!(v4, *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x12\x34\0\x50");
        let v6 = header("[2001:db8::1]:1".parse().unwrap(), "192.0.2.2:2".parse().unwrap());
        assert_eq!((v6[13], v6[14..16].to_vec(), v6.len()), (0x21, vec![0, 36], 16 + 36));
        assert_eq!(v6[32..48], *b"\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x02");
    }
}
