//! `container port`.

use crate::cli::{
    Session,
    args::{Matches, values},
    client::escape,
    errors::Error,
    format::natural,
    output,
    task::text,
};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let (name, wanted) = (&matches.args[0], matches.args.get(1).map(String::as_str));
    let found = session.client.get(&format!("/containers/{}/json", escape(name)), &[]).await?;
    let wanted = wanted.map(port).transpose()?;
    let mut lines = Vec::new();
    for (from, bindings) in found["NetworkSettings"]["Ports"].as_object().into_iter().flatten() {
        if wanted.as_ref().is_some_and(|wanted| wanted != from) {
            continue;
        }
        for binding in bindings.as_array().into_iter().flatten() {
            let (address, port) = (text(&binding["HostIp"]), text(&binding["HostPort"]));
            let to = if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") };
            lines.push(if wanted.is_some() { to } else { format!("{from} -> {to}") });
        }
    }
    if let Some(wanted) = wanted.as_ref().filter(|_| lines.is_empty()) {
        return Err(Error::Plain(format!("Error: No public port '{}' published for {name}", matches.args.get(1).unwrap_or(wanted))));
    }
    lines.sort_by(|a, b| natural::compare(a, b));
    lines.iter().try_for_each(|line| output::line(line))
}

/// `80` is `80/tcp`.
fn port(text: &str) -> Result<String, Error> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    match values::parse_decimal(number) {
        Ok(found) if found <= u64::from(u16::MAX) => Ok(format!("{number}/{protocol}")),
        Ok(_) => Err(Error::Plain(format!("Error: invalid port ({number}): strconv.ParseUint: parsing {number:?}: value out of range"))),
        Err(why) => Err(Error::Plain(format!("Error: invalid port ({number}): {why}"))),
    }
}
