//! `ports` of a service: `"8080:80"`, `"53:53/udp"`, ranges, numbers, and the long form.

use serde_json::{Value, json};

use super::{
    Context,
    fields::{self, put},
    scalar,
};

const HIGHEST_PORT: u64 = 65_535;

/// One port of a container and what it is bound to.
#[derive(Debug, PartialEq, Eq)]
pub struct Binding {
    address: String,
    /// First and last port of the host; zero for one that is chosen.
    host: (u64, u64),
    target: u64,
    protocol: String,
}

pub fn all(ports: &Value, context: &Context) -> Result<Value, String> {
    let mut all = Vec::new();
    for port in ports.as_array().into_iter().flatten() {
        if port.is_object() {
            all.push(long(port));
            continue;
        }
        let mut bindings = parse(&scalar::text(port)).map_err(|why| fields::undecodable("Ports", &why))?;
        // docker goes by the text of the port.
        bindings.sort_by_key(|binding| format!("{}/{}", binding.target, binding.protocol));
        for binding in bindings {
            warn_of_address(&binding, context);
            all.extend((binding.host.0..=binding.host.1).map(|published| config(&binding, published)));
        }
    }
    Ok(all.into())
}

fn warn_of_address(binding: &Binding, context: &Context) {
    let Binding { address, host, target, protocol } = binding;
    if address.is_empty() || address == "0.0.0.0" {
        return;
    }
    let shown = if address.contains(':') { format!("[{address}]") } else { address.clone() };
    let range = match host {
        (0, 0) => String::new(),
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    };
    context.warn(format!("ignoring IP-address ({shown}:{range}:{target}/{protocol}) service will listen on '0.0.0.0'"));
}

fn config(binding: &Binding, published: u64) -> Value {
    let mut port = json!({"mode": "ingress", "target": binding.target, "protocol": binding.protocol});
    if published != 0 {
        port["published"] = published.into();
    }
    port
}

fn long(port: &Value) -> Value {
    let mut map = serde_json::Map::new();
    for key in ["mode", "protocol"] {
        put(&mut map, key, port[key].clone());
    }
    for key in ["target", "published"] {
        put(&mut map, key, fields::integer(&port[key]));
    }
    map.into()
}

/// `[address:][host:]container[/protocol]`
pub fn parse(spec: &str) -> Result<Vec<Binding>, String> {
    let (rest, container) = spec.rsplit_once(':').unwrap_or(("", spec));
    let (address, host) = rest.rsplit_once(':').unwrap_or(("", rest));
    let (container, protocol) = container.split_once('/').unwrap_or((container, "tcp"));
    let protocol = if protocol.is_empty() { "tcp".to_owned() } else { protocol.to_lowercase() };
    if container.is_empty() {
        return Err(format!("no port specified: {spec}<empty>"));
    }
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(format!("invalid proto: {protocol}"));
    }
    let address = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address);
    if !address.is_empty() && address.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address: {address}"));
    }
    let (first, last) = range(container).ok_or_else(|| format!("invalid containerPort: {container}"))?;
    let ports = if host.is_empty() { (0, 0) } else { range(host).ok_or_else(|| format!("invalid hostPort: {host}"))? };
    if !host.is_empty() && last - first != ports.1 - ports.0 && last != first {
        return Err(format!("invalid ranges specified for container and host Ports: {container} and {host}"));
    }
    let binding = |target: u64, host: (u64, u64)| Binding { address: address.to_owned(), host, target, protocol: protocol.clone() };
    if first == last {
        return Ok(vec![binding(first, ports)]);
    }
    let of = |at: u64| if host.is_empty() { (0, 0) } else { (ports.0 + at, ports.0 + at) };
    Ok((0..=last - first).map(|at| binding(first + at, of(at))).collect())
}

fn range(text: &str) -> Option<(u64, u64)> {
    let port = |text: &str| text.strip_prefix('+').unwrap_or(text).parse::<u64>().ok().filter(|port| *port <= HIGHEST_PORT);
    match text.split_once('-') {
        None => port(text).map(|port| (port, port)),
        Some((first, last)) => Some((port(first)?, port(last)?)).filter(|(first, last)| first <= last),
    }
}
