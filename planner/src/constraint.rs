//! Placement constraints: `node.labels.zone==east`.
//!
//! Owns: their syntax (SwarmKit's, with its messages) and what they match. Comparison ignores case; a label's own name does not.
//! Invariant: a key that is not known matches no node.

use std::net::IpAddr;
use wsw_api::object::Node;
use wsw_api::spec::NodeRole;

const NODE_LABEL: &str = "node.labels.";
const ENGINE_LABEL: &str = "engine.labels.";

/// One parsed constraint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    key: String,
    equal: bool,
    value: String,
}

impl Constraint {
    /// Reads one expression; the error is for the user.
    pub fn parse(text: &str) -> Result<Self, String> {
        let found = [("==", true), ("!=", false)].into_iter().find_map(|(operator, equal)| Some((text.split_once(operator)?, equal)));
        let Some(((key, value), equal)) = found else {
            return Err("constraint expected one operator from ==, !=".to_owned());
        };
        let (key, value) = (key.trim(), value.trim());
        if !is_key(key) {
            return Err(format!("key '{key}' is invalid"));
        }
        if value.is_empty() || !value.chars().all(is_value) {
            return Err(format!("value '{value}' is invalid"));
        }
        Ok(Self { key: key.to_owned(), equal, value: value.to_owned() })
    }

    /// Reads all expressions of a placement.
    pub fn parse_all(texts: &[String]) -> Result<Vec<Self>, String> {
        texts.iter().map(|text| Self::parse(text)).collect()
    }

    /// True when the node satisfies it.
    pub fn matches(&self, node: &Node) -> bool {
        let lower = self.key.to_ascii_lowercase();
        match lower.as_str() {
            "node.id" => self.same(&node.id.to_string()),
            "node.hostname" => self.same(&node.description.hostname),
            "node.ip" => self.address(&node.status.addr),
            "node.role" => self.same(match node.role() {
                NodeRole::Worker => "worker",
                NodeRole::Manager => "manager",
            }),
            "node.platform.os" => self.same(&node.description.platform.os),
            "node.platform.arch" => Self { value: processor(&self.value), ..self.clone() }.same(&processor(&node.description.platform.architecture)),
            _ => self.label(&lower, node),
        }
    }

    fn label(&self, lower: &str, node: &Node) -> bool {
        let (labels, prefix) = if lower.starts_with(NODE_LABEL) {
            (&node.spec.annotations.labels, NODE_LABEL)
        } else if lower.starts_with(ENGINE_LABEL) {
            (&node.description.engine_labels, ENGINE_LABEL)
        } else {
            return false;
        };
        match self.key.get(prefix.len()..) {
            None | Some("") => false,
            Some(name) => self.same(labels.get(name).map_or("", String::as_str)),
        }
    }

    fn same(&self, actual: &str) -> bool {
        self.value.eq_ignore_ascii_case(actual) == self.equal
    }

    /// An address or a network in CIDR form; anything else matches nothing.
    fn address(&self, actual: &str) -> bool {
        let actual: Option<IpAddr> = actual.parse().ok();
        if let Ok(wanted) = self.value.parse::<IpAddr>() {
            return (actual == Some(wanted)) == self.equal;
        }
        let Some((network, bits)) = self.value.split_once('/') else { return false };
        let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u8>()) else { return false };
        let within = match (network, actual) {
            (IpAddr::V4(network), Some(IpAddr::V4(ip))) if bits <= 32 => {
                u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0) & (u32::from(network) ^ u32::from(ip)) == 0
            }
            (IpAddr::V6(network), Some(IpAddr::V6(ip))) if bits <= 128 => {
                u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0) & (u128::from(network) ^ u128::from(ip)) == 0
            }
            (IpAddr::V4(_), _) if bits > 32 => return false,
            (IpAddr::V6(_), _) if bits > 128 => return false,
            _ => false,
        };
        within == self.equal
    }
}

/// One word per processor: Docker's nodes say `x86_64` where its images say `amd64`, and both are written in constraints.
pub(crate) fn processor(name: &str) -> String {
    match name.to_ascii_lowercase().as_str() {
        "x86_64" => "amd64".to_owned(),
        "aarch64" => "arm64".to_owned(),
        other => other.to_owned(),
    }
}

fn is_key(key: &str) -> bool {
    let mut chars = key.chars();
    let head = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    let rest = chars.as_str();
    head && !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn is_value(c: char) -> bool {
    c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || ":-_.*()?+[]\\^$|/".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use std::sync::Arc;

    fn node() -> Node {
        let mut node = fixture::node(1);
        node.spec.annotations.labels.insert("zone".into(), "East".into());
        node.status.addr = "10.1.2.3".into();
        let description = Arc::make_mut(&mut node.description);
        description.hostname = "alpha".into();
        description.engine_labels.insert("gpu".into(), "yes".into());
        node
    }

    #[test]
    fn every_key_matches_and_differs() {
        let id = fixture::node_id(1);
        for (text, want) in [
            (format!("node.id=={id}"), true),
            ("node.hostname==ALPHA".into(), true),
            ("node.hostname != alpha".into(), false),
            ("node.role==worker".into(), true),
            ("node.role==manager".into(), false),
            ("node.platform.os==linux".into(), true),
            ("NODE.platform.arch!=arm64".into(), true),
            ("node.platform.arch==amd64".into(), true),
            ("node.platform.arch==X86_64".into(), true),
            ("node.platform.arch!=x86_64".into(), false),
            ("node.labels.zone==east".into(), true),
            ("node.labels.Zone==east".into(), false),
            ("node.labels.missing!=x".into(), true),
            ("engine.labels.gpu==yes".into(), true),
            ("node.ip==10.1.2.3".into(), true),
            ("node.ip==10.1.0.0/16".into(), true),
            ("node.ip!=10.1.0.0/16".into(), false),
            ("node.ip==10.2.0.0/16".into(), false),
            ("node.ip==0.0.0.0/0".into(), true),
            ("node.ip==fe80".into(), false),
            ("node.ip==::1/128".into(), false),
            ("node.ip!=10.0.0.0/99".into(), false),
            ("unknown.key!=x".into(), false),
            ("node.labels.==x".into(), false),
        ] {
            assert_eq!(Constraint::parse(&text).unwrap().matches(&node()), want, "{text}");
        }
    }

    #[test]
    fn syntax_errors_use_swarms_words() {
        for (text, want) in [
            ("node.role=manager", "constraint expected one operator from ==, !="),
            ("", "constraint expected one operator from ==, !="),
            ("==x", "key '' is invalid"),
            ("9a==x", "key '9a' is invalid"),
            ("node.role==", "value '' is invalid"),
            ("node.role==a>b", "value 'a>b' is invalid"),
        ] {
            assert_eq!(Constraint::parse(text).unwrap_err(), want, "{text}");
        }
    }
}
