//! The flags of `swarm` commands, and how those that several share change a swarm's spec.

use serde_json::{Value, json};

use super::external_ca;
use crate::cli::{
    args::{Flag, Matches, check},
    errors::Error,
};

/// Where a node listens unless told otherwise.
pub const DEFAULT_LISTEN: &str = "0.0.0.0:2377";

const AVAILABILITY: Flag = Flag::string("availability", "Availability of the node (\"active\", \"pause\", \"drain\")").default("active");
const ADVERTISE: Flag = Flag::string("advertise-addr", "Advertised address (format: \"<ip|interface>[:port]\")");
const DATA_PATH: Flag = Flag::string("data-path-addr", "Address or interface to use for data path traffic (format: \"<ip|interface>\")");
const LISTEN: Flag = Flag::custom("listen-addr", "node-addr", check_node_addr, "Listen address (format: \"<ip|interface>[:port]\")").default(DEFAULT_LISTEN);

pub const INIT: &[Flag] = &[
    ADVERTISE,
    Flag::boolean("autolock", "Enable manager autolocking (requiring an unlock key to start a stopped manager)"),
    AVAILABILITY,
    DATA_PATH,
    Flag::custom(
        "data-path-port",
        "uint32",
        check::uint32,
        "Port number to use for data path traffic (1024 - 49151). If no value is set or is set to 0, the default port (4789) is used.",
    ),
    Flag::custom("default-addr-pool", "ipNetSlice", check::network_cidr, "default address pool in CIDR format").default("[]"),
    Flag::custom("default-addr-pool-mask-length", "uint32", check::uint32, "default address pool subnet mask length").default("24"),
    Flag::boolean("force-new-cluster", "Force create a new cluster from current state"),
    LISTEN,
];

pub const JOIN: &[Flag] = &[ADVERTISE, AVAILABILITY, DATA_PATH, LISTEN, Flag::string("token", "Token for entry into the swarm")];

/// What `init` and `update` share.
pub const SPEC: &[Flag] = &[
    Flag::duration("dispatcher-heartbeat", "Dispatcher heartbeat period (ns|us|ms|s|m|h)").default("5s"),
    Flag::uint("max-snapshots", "Number of additional Raft snapshots to retain"),
    Flag::uint("snapshot-interval", "Number of log entries between Raft snapshots").default("10000"),
    Flag::int("task-history-limit", "Task history retention limit").default("5"),
];

/// What `init`, `update` and `ca` share.
pub const CA_SPEC: &[Flag] = &[
    Flag::duration("cert-expiry", "Validity period for node certificates (ns|us|ms|s|m|h)").default("2160h0m0s"),
    Flag::custom("external-ca", "external-ca", external_ca::check, "Specifications of one or more certificate signing endpoints"),
];

pub const UPDATE: &[Flag] = &[Flag::boolean("autolock", "Change manager autolocking setting (true|false)")];

pub const CA: &[Flag] = &[
    Flag::custom("ca-cert", "pem-file", external_ca::check_pem, "Path to the PEM-formatted root CA certificate to use for the new cluster"),
    Flag::custom("ca-key", "pem-file", external_ca::check_pem, "Path to the PEM-formatted root CA key to use for the new cluster"),
    Flag::boolean("detach", "Exit immediately instead of waiting for the root rotation to converge").short('d'),
    Flag::boolean("quiet", "Suppress progress output").short('q'),
    Flag::boolean("rotate", "Rotate the swarm CA - if no certificate or key are provided, new ones will be generated"),
];

pub const LEAVE: &[Flag] = &[Flag::boolean("force", "Force this node to leave the swarm, ignoring warnings").short('f')];

pub const JOIN_TOKEN: &[Flag] = &[Flag::boolean("quiet", "Only display token").short('q'), Flag::boolean("rotate", "Rotate join token")];

pub const UNLOCK_KEY: &[Flag] = &[Flag::boolean("quiet", "Only display token").short('q'), Flag::boolean("rotate", "Rotate unlock key")];

fn check_node_addr(value: &str) -> Result<(), String> {
    node_addr(value).map(drop)
}

/// `host:port` from `host`, `:port` or `host:port`; what is missing is the default's.
pub fn node_addr(text: &str) -> Result<String, String> {
    let invalid = || format!("invalid bind address format: {text}");
    let rest = text.strip_prefix("tcp://").unwrap_or(text);
    if rest.is_empty() {
        return Ok(DEFAULT_LISTEN.into());
    }
    if rest.contains("://") {
        return Err(format!("invalid proto, expected tcp: {text}"));
    }
    let (default_host, default_port) = DEFAULT_LISTEN.split_once(':').unwrap_or_default();
    let bracketed = rest.starts_with('[');
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if bracketed && !host.ends_with(']') => (rest, port.get(..0).unwrap_or_default()),
        Some((host, port)) if bracketed || !host.contains(':') => (host, port),
        Some(_) => return Err(invalid()),
        None => (rest, ""),
    };
    let port = if port.is_empty() { default_port } else { port };
    if port.parse::<u16>().is_err() {
        return Err(invalid());
    }
    Ok(format!("{}:{port}", if host.is_empty() { default_host } else { host }))
}

/// Applies the flags that are given to a swarm's spec.
pub fn change_spec(spec: &mut Value, matches: &Matches, root_certificate: Option<&str>) -> Result<(), Error> {
    if let Some(limit) = matches.int("task-history-limit") {
        spec["Orchestration"]["TaskHistoryRetentionLimit"] = json!(limit);
    }
    if let Some(period) = matches.nanos("dispatcher-heartbeat") {
        spec["Dispatcher"]["HeartbeatPeriod"] = json!(period);
    }
    if let Some(count) = matches.uint("max-snapshots") {
        spec["Raft"]["KeepOldSnapshots"] = json!(count);
    }
    if let Some(interval) = matches.uint("snapshot-interval") {
        spec["Raft"]["SnapshotInterval"] = json!(interval);
    }
    if matches.changed("autolock") {
        spec["EncryptionConfig"]["AutoLockManagers"] = json!(matches.on("autolock"));
    }
    change_ca(spec, matches, root_certificate)
}

pub fn change_ca(spec: &mut Value, matches: &Matches, root_certificate: Option<&str>) -> Result<(), Error> {
    if let Some(expiry) = matches.nanos("cert-expiry") {
        spec["CAConfig"]["NodeCertExpiry"] = json!(expiry);
    }
    if matches.changed("external-ca") {
        let mut authorities = Vec::new();
        for text in matches.list("external-ca") {
            authorities.push(external_ca::parse(text, root_certificate.unwrap_or_default()).map_err(Error::Plain)?);
        }
        spec["CAConfig"]["ExternalCAs"] = json!(authorities);
    }
    Ok(())
}

/// The availability for a request: empty unless the flag is given.
pub fn availability(matches: &Matches) -> Result<String, Error> {
    let Some(given) = matches.text("availability") else { return Ok(String::new()) };
    match given.to_lowercase().as_str() {
        known @ ("active" | "pause" | "drain") => Ok(known.to_owned()),
        _ => Err(Error::Plain(format!("invalid availability {given:?}, only active, pause and drain are supported"))),
    }
}

#[cfg(test)]
mod tests {
    use super::node_addr;

    #[test]
    fn addresses_are_completed() {
        assert_eq!(node_addr("10.0.0.1").unwrap(), "10.0.0.1:2377");
        assert_eq!(node_addr("eth0:99").unwrap(), "eth0:99");
        assert_eq!(node_addr(":99").unwrap(), "0.0.0.0:99");
        assert_eq!(node_addr("[::1]").unwrap(), "[::1]:2377");
        assert_eq!(node_addr("[::1]:5").unwrap(), "[::1]:5");
        assert!(node_addr("a:b").is_err() && node_addr("udp://x").is_err());
    }
}
