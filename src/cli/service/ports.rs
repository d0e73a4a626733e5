//! Published ports: `-p 8080:80`, ranges, and the long form `published=…,target=…,protocol=…,mode=…`.

use serde_json::{Value, json};

use crate::cli::args::values;

/// More ports than exist make no range.
const HIGHEST_PORT: u64 = 65_535;

pub fn check(value: &str) -> Result<(), String> {
    parse(value).map(drop)
}

/// The port configurations of one `--publish`.
pub fn parse(value: &str) -> Result<Vec<Value>, String> {
    if is_long(value) { long(value).map(|port| vec![port]) } else { short(value) }
}

/// Whether a `word=word` is in there: the long form.
pub fn is_long(value: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    value.match_indices('=').any(|(at, _)| value[..at].ends_with(word) && value[at + 1..].starts_with(word))
}

fn config(protocol: &str, target: u64, published: u64, mode: &str) -> Value {
    let mut port = json!({"Protocol": protocol, "TargetPort": target, "PublishMode": mode});
    if published != 0 {
        port["PublishedPort"] = json!(published);
    }
    port
}

fn long(value: &str) -> Result<Value, String> {
    let (mut protocol, mut mode, mut target, mut published) = (String::from("tcp"), String::from("ingress"), 0, 0);
    for field in values::split_csv(value)? {
        let lower = field.to_lowercase();
        let Some((key, value)) = lower.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(format!("invalid field: {field}"));
        };
        match key {
            "protocol" if ["tcp", "udp", "sctp"].contains(&value) => protocol = value.to_owned(),
            "protocol" => return Err(format!("invalid protocol value '{value}'")),
            "mode" if ["ingress", "host"].contains(&value) => mode = value.to_owned(),
            "mode" => return Err(format!("invalid publish mode value ({value}): must be either 'ingress' or 'host'")),
            "target" => target = number("target", value)?,
            "published" => published = number("published", value)?,
            _ => return Err(format!("invalid field key: {key}")),
        }
    }
    if target == 0 {
        return Err("missing mandatory field 'target'".into());
    }
    Ok(config(&protocol, target, published, &mode))
}

fn number(what: &str, value: &str) -> Result<u64, String> {
    let wrong = |why: &str| format!("invalid {what} port ({value}): value must be an integer: {why}");
    match values::parse_decimal(value) {
        Err(_) => Err(wrong("invalid syntax")),
        Ok(port) if port > HIGHEST_PORT => Err(wrong("value out of range")),
        Ok(port) => Ok(port),
    }
}

fn short(value: &str) -> Result<Vec<Value>, String> {
    let (rest, container) = value.rsplit_once(':').map_or(("", value), |(rest, container)| (rest, container));
    let (address, host) = rest.rsplit_once(':').map_or(("", rest), |(address, host)| (address, host));
    let (container, protocol) = container.split_once('/').unwrap_or((container, "tcp"));
    let protocol = if protocol.is_empty() { "tcp" } else { protocol };
    if !address.is_empty() {
        let bare = address.trim_start_matches('[').trim_end_matches(']');
        return Err(match bare.parse::<std::net::IpAddr>() {
            Ok(_) => "hostip is not supported".into(),
            Err(_) => format!("invalid IP address: {bare}"),
        });
    }
    if container.is_empty() {
        return Err(format!("no port specified: {value}<empty>"));
    }
    let (first, last) = range(container).ok_or_else(|| format!("invalid containerPort: {container}"))?;
    let (host_first, host_last) = if host.is_empty() { (0, 0) } else { range(host).ok_or_else(|| format!("invalid hostPort: {host}"))? };
    if !host.is_empty() && last - first != host_last - host_first && last != first {
        return Err(format!("invalid ranges specified for container and host Ports: {container} and {host}"));
    }
    let lower = protocol.to_lowercase();
    if !["tcp", "udp", "sctp"].contains(&lower.as_str()) {
        return Err(format!("invalid proto: {protocol}"));
    }
    if first == last {
        return Ok((host_first..=host_last).map(|published| config(&lower, first, published, "ingress")).collect());
    }
    let published = |at: u64| if host.is_empty() { 0 } else { host_first + at };
    Ok((0..=last - first).map(|at| config(&lower, first + at, published(at), "ingress")).collect())
}

fn range(text: &str) -> Option<(u64, u64)> {
    let port = |text: &str| values::parse_decimal(text).ok().filter(|port| *port <= HIGHEST_PORT);
    match text.split_once('-') {
        None => port(text).map(|port| (port, port)),
        Some((first, last)) => Some((port(first)?, port(last)?)).filter(|(first, last)| first <= last),
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn forms() {
        assert_eq!(parse("8080:80").unwrap(), [config("tcp", 80, 8080, "ingress")]);
        assert_eq!(parse("80/udp").unwrap(), [config("udp", 80, 0, "ingress")]);
        assert_eq!(parse("8000-8001:80-81").unwrap(), [config("tcp", 80, 8000, "ingress"), config("tcp", 81, 8001, "ingress")]);
        assert_eq!(parse("published=53,target=5353,protocol=udp,mode=host").unwrap(), [config("udp", 5353, 53, "host")]);
    }

    #[test]
    fn refusals() {
        assert_eq!(parse("x").unwrap_err(), "invalid containerPort: x");
        assert_eq!(parse("127.0.0.1:80:80").unwrap_err(), "hostip is not supported");
        assert_eq!(parse("published=1").unwrap_err(), "missing mandatory field 'target'");
        assert_eq!(parse("target=99999").unwrap_err(), "invalid target port (99999): value must be an integer: value out of range");
        assert_eq!(parse("80:80/foo").unwrap_err(), "invalid proto: foo");
    }
}
