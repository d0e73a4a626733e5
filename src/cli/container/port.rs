//! `container port`.

use crate::cli::{Session, args::Matches, client::escape, errors::Error, format::natural, output, task::text};

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
    if let Some(wanted) = wanted.filter(|_| lines.is_empty()) {
        return Err(Error::Plain(format!("no public port '{wanted}' published for {name}")));
    }
    lines.sort_by(|a, b| natural::compare(a, b));
    lines.iter().try_for_each(|line| output::line(line))
}

/// `80` is `80/tcp`.
fn port(text: &str) -> Result<String, Error> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    match number.parse::<u16>() {
        Ok(_) => Ok(format!("{number}/{protocol}")),
        Err(_) => Err(Error::Plain(format!("invalid port '{number}': invalid syntax"))),
    }
}
