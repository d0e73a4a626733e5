//! The `wsw.*` container labels: service extras that Docker's API has no field for (DESIGN section 7).
//!
//! Owns: names, parsing, defaults. A label of the `wsw.` prefix that is not here is refused by name.

use crate::error::{Error, Result};
use crate::outbound::Outbound;
use crate::shim;
use std::collections::BTreeMap;

pub const ALLOW_OUTBOUND: &str = "wsw.wasm.allow-outbound";
pub const MAX_INSTANCES: &str = "wsw.wasm.max-instances";
pub const QUEUE: &str = "wsw.wasm.queue";
pub const REQUEST_TIMEOUT: &str = "wsw.wasm.request-timeout";
pub const GROUP: &str = "wsw.wasm.group";
pub const RUNTIME: &str = "wsw.runtime";
pub const PROXY_PROTOCOL: &str = "wsw.ingress.proxy-protocol";

/// Bytes of a runtime's name or path: far above any, and it travels in errors.
const MAX_RUNTIME: usize = 255;

/// Which tasks share a shim process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Group {
    /// With any other task of the node.
    #[default]
    Shared,
    /// With tasks of the same service only.
    Service,
    /// With none.
    Own,
}

/// The labels as they were understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WasmLabels {
    pub max_instances: u32,
    pub queue: u32,
    pub request_timeout_ns: u64,
    pub group: Group,
    /// What its tasks may reach.
    pub outbound: Outbound,
    /// The shim that was asked for; none leaves it to the image.
    pub runtime: Option<String>,
    /// Each connection to a socket server begins with a PROXY header, version 2.
    pub proxy_protocol: bool,
}

impl Default for WasmLabels {
    fn default() -> Self {
        Self {
            max_instances: shim::DEFAULT_MAX_INSTANCES,
            queue: shim::DEFAULT_QUEUE,
            request_timeout_ns: shim::DEFAULT_REQUEST_TIMEOUT,
            group: Group::Shared,
            outbound: Outbound::default(),
            runtime: None,
            proxy_protocol: false,
        }
    }
}

/// Reads and checks all `wsw.*` labels; other labels are the user's own.
pub fn parse(labels: &BTreeMap<String, String>) -> Result<WasmLabels> {
    let mut out = WasmLabels::default();
    for (name, value) in labels.iter().filter(|(name, _)| name.starts_with("wsw.")) {
        match name.as_str() {
            MAX_INSTANCES => out.max_instances = number(name, value, 1, 10_000)?,
            QUEUE => out.queue = number(name, value, 0, 100_000)?,
            REQUEST_TIMEOUT => out.request_timeout_ns = duration(name, value)?,
            GROUP => {
                out.group = match value.as_str() {
                    "shared" => Group::Shared,
                    "service" => Group::Service,
                    "own" => Group::Own,
                    _ => return Err(bad(name, value, "shared, service or own")),
                }
            }
            ALLOW_OUTBOUND => out.outbound = Outbound::parse(value).map_err(|why| Error::invalid(format!("label {name}: {why}")))?,
            RUNTIME => out.runtime = Some(runtime(name, value)?),
            PROXY_PROTOCOL => {
                out.proxy_protocol = match value.as_str() {
                    "v2" => true,
                    _ => return Err(bad(name, value, "v2, or remove the label")),
                }
            }
            _ => return Err(Error::invalid(format!("label {name}: unknown label of the reserved prefix \"wsw.\"; remove it or correct its name"))),
        }
    }
    Ok(out)
}

fn bad(name: &str, value: &str, want: &str) -> Error {
    Error::invalid(format!("label {name}: {value:?} is not valid; use {want}"))
}

/// A shim's name, such as `io.containerd.runc.v2`, or the absolute path of its program. Whether a node has it is the node's to say.
fn runtime(name: &str, value: &str) -> Result<String> {
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    let is_name = plain(value) && value.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let is_path = value.len() > 1 && value.starts_with('/') && !value.ends_with('/') && !value.chars().any(char::is_control);
    if value.len() > MAX_RUNTIME || !(is_name || is_path) {
        return Err(bad(name, value, "a shim's name such as io.wsw.wasm.v1, or the absolute path of its program"));
    }
    Ok(value.to_owned())
}

fn number(name: &str, value: &str, low: u32, high: u32) -> Result<u32> {
    let parsed = value.parse::<u32>().ok().filter(|n| (low..=high).contains(n));
    parsed.ok_or_else(|| bad(name, value, &format!("a number from {low} to {high}")))
}

/// Go-style durations of one unit: `500ms`, `30s`, `2m`, `1h`.
fn duration(name: &str, value: &str) -> Result<u64> {
    let split = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (digits, unit) = value.split_at(split);
    let scale = match unit {
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => 0_u64,
    };
    let nanos = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(scale)).filter(|n| *n > 0);
    nanos.ok_or_else(|| bad(name, value, "a duration such as 500ms, 30s, 2m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> Result<WasmLabels> {
        parse(&BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn known_labels_are_read_and_foreign_ones_ignored() {
        assert_eq!(one("com.example", "x").unwrap(), WasmLabels::default());
        assert_eq!(one(REQUEST_TIMEOUT, "500ms").unwrap().request_timeout_ns, 500_000_000);
        assert_eq!(one(GROUP, "own").unwrap().group, Group::Own);
        assert_eq!(one(MAX_INSTANCES, "7").unwrap().max_instances, 7);
    }

    #[test]
    fn labels_of_the_network_and_the_runtime_are_read() {
        assert_eq!(one(ALLOW_OUTBOUND, "a.example:443").unwrap().outbound.to_string(), "a.example:443");
        assert!(one(ALLOW_OUTBOUND, "").unwrap().outbound.is_empty());
        assert_eq!(one(RUNTIME, "io.containerd.runc.v2").unwrap().runtime.as_deref(), Some("io.containerd.runc.v2"));
        assert_eq!(one(RUNTIME, "/opt/shim/my shim").unwrap().runtime.as_deref(), Some("/opt/shim/my shim"));
        assert!(one(PROXY_PROTOCOL, "v2").unwrap().proxy_protocol && !WasmLabels::default().proxy_protocol);
    }

    #[test]
    fn wrong_values_and_unknown_names_are_refused_by_name_with_what_is_wanted() {
        let long = "x".repeat(MAX_RUNTIME + 1);
        for (name, value, wanted) in [
            (MAX_INSTANCES, "0", "1 to 10000"),
            (MAX_INSTANCES, "10001", "1 to 10000"),
            (MAX_INSTANCES, "", "1 to 10000"),
            (QUEUE, "-1", "0 to 100000"),
            (QUEUE, "many", "0 to 100000"),
            (REQUEST_TIMEOUT, "5", "duration"),
            (REQUEST_TIMEOUT, "0s", "duration"),
            (REQUEST_TIMEOUT, "-1s", "duration"),
            (REQUEST_TIMEOUT, "99999999999999h", "duration"),
            (GROUP, "all", "shared, service or own"),
            (GROUP, "", "shared, service or own"),
            (ALLOW_OUTBOUND, "http://a.example", "*.domain"),
            (ALLOW_OUTBOUND, "a.example:99999", "1 to 65535"),
            (ALLOW_OUTBOUND, "10.0.0.1/8", "10.0.0.0/8"),
            (RUNTIME, "", "a shim's name"),
            (RUNTIME, "../shim", "a shim's name"),
            (RUNTIME, "/", "a shim's name"),
            (RUNTIME, &long, "a shim's name"),
            (PROXY_PROTOCOL, "v1", "v2"),
            (PROXY_PROTOCOL, "", "v2"),
            ("wsw.nope", "1", "remove it"),
            ("wsw.wasm.", "1", "remove it"),
        ] {
            let error = one(name, value).unwrap_err();
            assert!(error.message.contains(name) && error.message.contains(wanted), "{name}={value}: {error}");
            assert_eq!(error.class, crate::Class::InvalidArgument, "{name}={value}");
        }
    }
}
