//! `network create`.

use serde_json::{Map, Value, json};

use crate::cli::{Session, args::Matches, errors::Error, output, task::text};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let answer = session.client.post("/networks/create", &[], Some(&body(&matches)?)).await?;
    let warning = text(&answer["Warning"]);
    if !warning.is_empty() {
        output::warn(&format!("WARNING: {warning}"));
    }
    output::line(text(&answer["Id"]))
}

fn body(matches: &Matches) -> Result<Value, Error> {
    let mut body = json!({
        "Name": matches.args[0],
        "Driver": matches.text_or("driver", "bridge"),
        "Options": map(matches, "opt"),
        "Scope": matches.text_or("scope", ""),
        "IPAM": {"Driver": matches.text_or("ipam-driver", "default"), "Options": map(matches, "ipam-opt"), "Config": pools(matches)?},
        "Internal": matches.on("internal"),
        "Attachable": matches.on("attachable"),
        "Ingress": matches.on("ingress"),
        "ConfigOnly": matches.on("config-only"),
        "Labels": labels(matches.list("label")),
    });
    for (flag, field) in [("ipv4", "EnableIPv4"), ("ipv6", "EnableIPv6")] {
        if matches.changed(flag) {
            body[field] = json!(matches.on(flag));
        }
    }
    if let Some(from) = matches.text("config-from").filter(|from| !from.is_empty()) {
        body["ConfigFrom"] = json!({"Network": from});
    }
    Ok(body)
}

/// `--opt name=value`; a name alone has an empty value.
fn map(matches: &Matches, flag: &str) -> Value {
    labels(matches.list(flag))
}

fn labels(given: &[String]) -> Value {
    let pair = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (name.to_owned(), Value::from(value))
    };
    Value::Object(given.iter().map(pair).collect::<Map<_, _>>())
}

/// Each range, gateway and auxiliary address goes to the subnet that holds it.
fn pools(matches: &Matches) -> Result<Value, Error> {
    let split = |flag: &str| matches.list(flag).iter().flat_map(|list| list.split(',')).map(str::to_owned).collect::<Vec<_>>();
    let subnets = split("subnet");
    let (ranges, gateways) = (split("ip-range"), split("gateway"));
    if subnets.is_empty() && ranges.is_empty() && gateways.is_empty() {
        return Ok(json!([]));
    }
    if ranges.len() > subnets.len() || gateways.len() > subnets.len() {
        return Err(Error::plain("every ip-range or gateway must have a corresponding subnet"));
    }
    let mut pools: Vec<Value> = subnets.iter().map(|subnet| json!({"Subnet": subnet})).collect();
    for (flag, field, values) in [("ip-range", "IPRange", ranges), ("gateway", "Gateway", gateways)] {
        for value in values {
            let address = value.split('/').next().unwrap_or_default().to_owned();
            let at = holder(&subnets, &address).ok_or_else(|| Error::Plain(format!("no matching subnet for {} {value}", flag.replace("ip-", ""))))?;
            if !pools[at][field].is_null() {
                return Err(Error::Plain(format!(
                    "cannot configure multiple {}s ({value}, {}) on the same subnet ({})",
                    flag.replace("ip-", ""),
                    text(&pools[at][field]),
                    subnets[at]
                )));
            }
            pools[at][field] = json!(value);
        }
    }
    for given in matches.list("aux-address") {
        let (name, address) = given.split_once('=').unwrap_or((given, ""));
        let at = holder(&subnets, address).ok_or_else(|| Error::Plain(format!("no matching subnet for aux-address {address}")))?;
        pools[at]["AuxiliaryAddresses"][name] = json!(address);
    }
    Ok(Value::Array(pools))
}

/// Which subnet an address belongs to. A subnet that cannot be read holds nothing; the daemon says what is wrong with it.
fn holder(subnets: &[String], address: &str) -> Option<usize> {
    let address: std::net::IpAddr = address.parse().ok()?;
    subnets.iter().position(|subnet| holds(subnet, address).unwrap_or(false))
}

fn holds(subnet: &str, address: std::net::IpAddr) -> Option<bool> {
    use std::net::IpAddr::{V4, V6};
    let (base, bits) = subnet.split_once('/')?;
    let bits: u32 = bits.parse().ok()?;
    Some(match (base.parse().ok()?, address) {
        (V4(base), V4(address)) => {
            u32::from(base).checked_shr(32_u32.checked_sub(bits)?).unwrap_or(0) == u32::from(address).checked_shr(32 - bits).unwrap_or(0)
        }
        (V6(base), V6(address)) => {
            u128::from(base).checked_shr(128_u32.checked_sub(bits)?).unwrap_or(0) == u128::from(address).checked_shr(128 - bits).unwrap_or(0)
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_find_their_subnet() {
        let subnets = ["10.0.9.0/24".to_owned(), "fd00::/64".into(), "nonsense".into(), "0.0.0.0/0".into()];
        assert_eq!(holder(&subnets, "10.0.9.7"), Some(0));
        assert_eq!(holder(&subnets, "fd00::7"), Some(1));
        assert_eq!(holder(&subnets, "10.1.0.1"), Some(3));
        assert_eq!(holder(&subnets, "fd01::1"), None);
        assert_eq!(holder(&subnets, "x"), None);
    }
}
