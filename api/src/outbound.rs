//! What a Wasm task may reach: the value of `wsw.wasm.allow-outbound`, and the one decision about a target.
//!
//! Owns: the list's grammar, which names may be looked up, which addresses may be connected to.
//! Invariants: an empty list allows nothing; an address that is guarded (loopback, link-local, unspecified, multicast, a cloud's metadata
//! service, one of the node's own) is reached only by an entry that means it: a network inside that range, or the own address itself.
//! `*`, `0.0.0.0/0` and names never reach it, whatever a name's owner answers; the one exception is the name `localhost`, listed as such.
//! Never: resolves a name, knows which addresses the node has (the caller says).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Entries of one list: each connect looks at all of them.
const MAX_ENTRIES: usize = 256;
/// Bytes of a name, and of one of its labels (RFC 1035).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;
/// The one name that may stand for loopback.
const LOCALHOST: &str = "localhost";
/// What an entry may look like, for errors.
const FORMS: &str = "host, *.domain, an address or network such as 10.0.0.0/8 or [2001:db8::/32], each with :port if wanted, or *";

/// The parsed list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outbound(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    target: Target,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Any,
    /// In lower case, without a dot at its end.
    Name(String),
    /// Names that end in this, which begins with a dot.
    Below(String),
    Net(Net),
}

/// A network; the bits behind the prefix are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Net {
    address: IpAddr,
    prefix: u8,
}

/// Ranges that nothing but an entry inside them reaches: "this host", loopback, link-local (with the metadata services of most clouds),
/// multicast, broadcast; then the same of IPv6, and the metadata service that lies outside of it.
const GUARDED: [Net; 10] = [
    Net::v4([0, 0, 0, 0], 8),
    Net::v4([127, 0, 0, 0], 8),
    Net::v4([169, 254, 0, 0], 16),
    Net::v4([224, 0, 0, 0], 4),
    Net::v4([255, 255, 255, 255], 32),
    Net::v6([0, 0, 0, 0, 0, 0, 0, 0], 128),
    Net::v6([0, 0, 0, 0, 0, 0, 0, 1], 128),
    Net::v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
    Net::v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
    Net::v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128),
];

impl Outbound {
    /// Reads a list. The text of an error says what is wrong and with which entry; nothing between commas is an error, nothing at all is not.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let entries = text.split(',').map(|entry| Entry::parse(entry.trim())).collect::<Result<Vec<_>, _>>()?;
        if entries.len() > MAX_ENTRIES {
            return Err(format!("{} entries are too many; use at most {MAX_ENTRIES}", entries.len()));
        }
        Ok(Self(entries))
    }

    /// True when nothing may be reached.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this name may be looked up at all.
    pub fn resolves(&self, name: &str) -> bool {
        let name = canonical_name(name);
        self.0.iter().any(|entry| entry.target == Target::Any || entry.target.names(&name))
    }

    /// Whether a connection to this address may be made. `name` is the one that was looked up for it, `own` says that
    /// the address is one of the node's.
    pub fn allows(&self, name: Option<&str>, address: IpAddr, port: u16, own: bool) -> bool {
        let address = from_translated(address);
        let name = name.map(canonical_name);
        let guard = GUARDED.iter().find(|net| net.contains(address));
        let by_localhost = address.is_loopback() && name.as_deref() == Some(LOCALHOST);
        self.0.iter().filter(|entry| entry.port.is_none_or(|wanted| wanted == port)).any(|entry| match (&entry.target, guard) {
            (Target::Net(net), Some(guard)) => guard.includes(net) && net.contains(address),
            (Target::Net(net), None) => net.contains(address) && (!own || net.is_one()),
            (Target::Name(listed), Some(_)) => by_localhost && listed == LOCALHOST,
            (_, Some(_)) => false,
            (_, None) if own => false,
            (Target::Any, None) => true,
            (target, None) => name.as_deref().is_some_and(|name| target.names(name)),
        })
    }
}

impl fmt::Display for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, entry) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{}", entry.target)?;
            entry.port.map_or(Ok(()), |port| write!(f, ":{port}"))?;
        }
        Ok(())
    }
}

impl Entry {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{text:?}: {why}; use {FORMS}");
        if text.is_empty() {
            return Err(wrong("an empty entry"));
        }
        if text.contains("://") {
            return Err(wrong("a URL"));
        }
        let (host, port) = split_port(text).ok_or_else(|| wrong("brackets hold an IPv6 address or network, and only :port may follow"))?;
        let port = match port {
            Some(digits) => Some(digits.parse().ok().filter(|port| *port > 0_u16).ok_or_else(|| wrong("the port is not a number from 1 to 65535"))?),
            None => None,
        };
        let target = Target::parse(host).map_err(|why| wrong(&why))?;
        Ok(Self { target, port })
    }
}

/// Takes the port off; none when brackets are wrong. An IPv6 address without brackets has no port.
fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match (host.contains(':'), rest.strip_prefix(':')) {
            (true, Some(port)) => Some((host, Some(port))),
            (true, None) if rest.is_empty() => Some((host, None)),
            _ => None,
        };
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => Some((host, Some(port))),
        _ => Some((text, None)),
    }
}

impl Target {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if text.contains('/') || text.parse::<IpAddr>().is_ok() {
            return Net::parse(text).map(Self::Net);
        }
        match text.strip_prefix('*') {
            Some(below) if below.starts_with('.') => Ok(Self::Below(format!(".{}", host_name(&below[1..])?))),
            Some(_) => Err("* stands for whole labels only".to_owned()),
            None => host_name(text).map(Self::Name),
        }
    }

    fn names(&self, name: &str) -> bool {
        match self {
            Self::Name(listed) => listed == name,
            Self::Below(suffix) => name.len() > suffix.len() && name.ends_with(suffix),
            Self::Any | Self::Net(_) => false,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Name(name) => f.write_str(name),
            Self::Below(suffix) => write!(f, "*{suffix}"),
            Self::Net(Net { address: IpAddr::V4(address), prefix }) => write!(f, "{address}/{prefix}"),
            Self::Net(Net { address: IpAddr::V6(address), prefix }) => write!(f, "[{address}/{prefix}]"),
        }
    }
}

fn canonical_name(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn host_name(text: &str) -> Result<String, String> {
    let name = canonical_name(text);
    let label = |label: &str| {
        let inner = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        inner && !label.is_empty() && label.len() <= MAX_LABEL && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.len() > MAX_NAME || !name.split('.').all(label) {
        return Err("not a host name".to_owned());
    }
    // `10.0.0` or `300.1.1.1`: some resolvers take such text for an address.
    if name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
        return Err("neither an address nor a host name".to_owned());
    }
    Ok(name)
}

impl Net {
    const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Self {
        Self { address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix }
    }

    const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], prefix: u8) -> Self {
        Self { address: IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)), prefix }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address = address.parse::<IpAddr>().map_err(|_| "not an address".to_owned())?;
        if address != address.to_canonical() {
            return Err(format!("an IPv4 address in IPv6 form; use {}", address.to_canonical()));
        }
        let width = width(address);
        let prefix = match prefix {
            None => width,
            Some(digits) => digits.parse().ok().filter(|bits| *bits <= width).ok_or_else(|| format!("the prefix is not a number from 0 to {width}"))?,
        };
        let net = Self { address: masked(address, prefix), prefix };
        if net.address != address {
            return Err(format!("the address has bits behind its prefix; use {}/{prefix}", net.address));
        }
        Ok(net)
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && masked(address, self.prefix) == self.address
    }

    /// Whether the other network lies in this one.
    fn includes(&self, other: &Self) -> bool {
        other.prefix >= self.prefix && self.contains(other.address)
    }

    fn is_one(&self) -> bool {
        self.prefix == width(self.address)
    }
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let zeros = u32::from(width(address).saturating_sub(prefix));
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(u32::MAX.checked_shl(zeros).unwrap_or(0) & v4.to_bits()).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(u128::MAX.checked_shl(zeros).unwrap_or(0) & v6.to_bits()).into(),
    }
}

/// The address that a packet ends at: IPv4 in IPv6 form as IPv4, and what a NAT64 translator (RFC 6052) makes of its well-known prefix when
/// that is a guarded IPv4 address.
fn from_translated(address: IpAddr) -> IpAddr {
    let address = address.to_canonical();
    let IpAddr::V6(v6) = address else { return address };
    if v6.segments()[..6] != [0x64, 0xff9b, 0, 0, 0, 0] {
        return address;
    }
    let [.., a, b, c, d] = v6.octets();
    let inner = IpAddr::V4(Ipv4Addr::new(a, b, c, d));
    if GUARDED.iter().any(|net| net.contains(inner)) { inner } else { address }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Outbound {
        Outbound::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn lists_are_read_and_print_as_read() {
        for (text, shown) in [
            ("", ""),
            ("*", "*"),
            ("*:443", "*:443"),
            ("API.example.com. , db_1.internal:5432", "api.example.com,db_1.internal:5432"),
            ("*.example.com:443,10.0.0.0/8:80,192.0.2.7", "*.example.com:443,10.0.0.0/8:80,192.0.2.7/32"),
            ("[2001:db8::/32]:443,[::1],2001:db8::1", "[2001:db8::/32]:443,[::1/128],[2001:db8::1/128]"),
        ] {
            assert_eq!(list(text).to_string(), shown);
            assert_eq!(list(shown), list(text));
        }
    }

    #[test]
    fn wrong_entries_are_named_with_what_is_wanted() {
        let cases = [
            ("a.example,,b.example", "empty entry"),
            (",", "empty entry"),
            ("https://a.example", "URL"),
            ("a.example:0", "1 to 65535"),
            ("a.example:65536", "1 to 65535"),
            ("a.example:http", "1 to 65535"),
            ("a.example:", "1 to 65535"),
            ("10.0.0.0/33", "0 to 32"),
            ("[2001:db8::/129]", "0 to 128"),
            ("10.1.2.3/8", "use 10.0.0.0/8"),
            ("[::ffff:10.0.0.1]", "use 10.0.0.1"),
            ("[10.0.0.1]:80", "brackets"),
            ("[::1", "brackets"),
            ("[::1]x", "brackets"),
            ("example.com/path", "not an address"),
            ("10.0.0", "neither"),
            ("300.1.1.1", "neither"),
            ("*example.com", "whole labels"),
            ("**", "whole labels"),
            ("*.", "not a host name"),
            ("a..b", "not a host name"),
            ("-a.example", "not a host name"),
            ("a b", "not a host name"),
            ("exämple.com", "not a host name"),
        ];
        for (text, wanted) in cases {
            let error = Outbound::parse(text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
        let many = vec!["a.example"; MAX_ENTRIES + 1].join(",");
        assert!(Outbound::parse(&many).unwrap_err().contains("at most"));
    }

    #[test]
    fn names_that_may_be_looked_up() {
        let allowed = list("api.example.com:443,*.internal,10.0.0.0/8");
        for (name, want) in [
            ("api.example.com", true),
            ("API.Example.Com.", true),
            ("example.com", false),
            ("x.api.example.com", false),
            ("db.internal", true),
            ("a.b.internal", true),
            ("internal", false),
            ("evilinternal", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(allowed.resolves(name), want, "{name}");
        }
        assert!(list("*").resolves("anything.example") && !list("").resolves("a.example"));
    }

    #[test]
    fn targets_that_may_be_reached() {
        let own = [ip("192.0.2.10"), ip("2001:db8::10")];
        // The list, the name that was looked up (or "-"), address, port, verdict.
        let cases = [
            ("", "-", "203.0.113.1", 80, false),
            ("*", "-", "203.0.113.1", 80, true),
            ("*:443", "-", "203.0.113.1", 80, false),
            ("a.example:443", "a.example", "203.0.113.1", 443, true),
            ("a.example:443", "a.example", "203.0.113.1", 80, false),
            ("a.example:443", "b.example", "203.0.113.1", 443, false),
            ("a.example:443", "-", "203.0.113.1", 443, false),
            ("*.example", "b.a.example", "203.0.113.1", 1, true),
            ("203.0.113.0/24:80", "-", "203.0.113.200", 80, true),
            ("203.0.113.0/24:80", "-", "203.0.114.1", 80, false),
            ("203.0.113.0/24", "-", "::ffff:203.0.113.5", 80, true),
            ("[2001:db8::/32]:443", "-", "2001:db8:1::1", 443, true),
            ("[2001:db8::/32]:443", "-", "2001:db9::1", 443, false),
            // Guarded ranges: neither everything, nor a wide network, nor a name that answers with such an address.
            ("*", "-", "127.0.0.1", 80, false),
            ("*,0.0.0.0/0", "-", "127.0.0.1", 80, false),
            ("a.example", "a.example", "127.0.0.1", 80, false),
            ("a.example,*", "a.example", "169.254.169.254", 80, false),
            ("*", "-", "::1", 80, false),
            ("*", "-", "::ffff:127.0.0.1", 80, false),
            ("*", "-", "0.0.0.0", 80, false),
            ("*", "-", "::", 80, false),
            ("*", "-", "fe80::1", 80, false),
            ("*", "-", "224.0.0.1", 80, false),
            ("*", "-", "255.255.255.255", 80, false),
            ("*", "-", "fd00:ec2::254", 80, false),
            ("*", "-", "64:ff9b::7f00:1", 80, false),
            ("*", "-", "64:ff9b::cb00:7101", 80, true),
            ("[::/0]", "-", "::1", 80, false),
            // Meant literally.
            ("127.0.0.1:80", "-", "127.0.0.1", 80, true),
            ("127.0.0.1:80", "-", "127.0.0.2", 80, false),
            ("127.0.0.0/8", "-", "127.0.0.2", 80, true),
            ("127.0.0.1", "-", "::ffff:127.0.0.1", 80, true),
            ("[::1]:80", "-", "::1", 80, true),
            ("169.254.169.254", "-", "169.254.169.254", 80, true),
            ("localhost:80", "localhost", "127.0.0.1", 80, true),
            ("localhost", "localhost", "::1", 80, true),
            ("localhost", "-", "127.0.0.1", 80, false),
            ("localhost", "localhost", "169.254.169.254", 80, false),
            ("*", "localhost", "127.0.0.1", 80, false),
            ("a.localhost", "a.localhost", "127.0.0.1", 80, false),
            // The node's own addresses.
            ("*", "-", "192.0.2.10", 80, false),
            ("192.0.2.0/24", "-", "192.0.2.10", 80, false),
            ("192.0.2.0/24", "-", "192.0.2.11", 80, true),
            ("a.example", "a.example", "192.0.2.10", 80, false),
            ("192.0.2.10:80", "-", "192.0.2.10", 80, true),
            ("*", "-", "2001:db8::10", 80, false),
            ("2001:db8::10", "-", "2001:db8::10", 80, true),
        ];
        for (text, name, address, port, want) in cases {
            let (name, is_own) = (Some(name).filter(|name| *name != "-"), own.contains(&ip(address)));
            assert_eq!(list(text).allows(name, ip(address), port, is_own), want, "{text:?}: {name:?} {address} {port}");
        }
    }
}
