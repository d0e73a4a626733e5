//! `node inspect`, also for people (`--pretty`).

use std::collections::BTreeMap;

use serde_json::Value;

use super::reference;
use crate::cli::{
    Session,
    args::Matches,
    client::escape,
    errors::Error,
    format::{
        inspect::{Inspected, Inspector},
        pretty, shape, time, units,
    },
    output,
    task::text,
    template::Val,
};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    if matches.on("pretty") || matches.text("format") == Some("pretty") {
        let mut shown = String::new();
        for node in &matches.args {
            let node = session.client.get(&path(&session, node).await?, &[]).await?;
            shown += &format!("{}\n", describe(&node));
        }
        return output::print(&shown);
    }
    if matches.text_or("format", "").starts_with("pretty") {
        return Err(Error::plain("cannot supply extra formatting options to the pretty template"));
    }
    let mut inspector = Inspector::new(matches.text("format"))?;
    for node in &matches.args {
        let found = match path(&session, node).await {
            Ok(path) => session.client.get_text(&path, &[]).await.and_then(|text| typed(&text)),
            Err(error) => Err(error),
        };
        inspector.add(found);
    }
    inspector.finish()
}

/// The node as the generic `inspect` shows it: as the daemon wrote it.
pub async fn get(session: &Session, node: &str) -> Result<Inspected, Error> {
    session.client.get_text(&format!("/nodes/{}", escape(node)), &[]).await.map(Inspected::Raw)
}

async fn path(session: &Session, node: &str) -> Result<String, Error> {
    Ok(format!("/nodes/{}", escape(&reference(&session.client, node).await?)))
}

fn typed(text: &str) -> Result<Inspected, Error> {
    let value: Val = serde_json::from_str(text).map_err(|error| Error::Plain(error.to_string()))?;
    Ok(Inspected::Typed(shape::typed("swarm.Node", &value)))
}

/// The node for people.
fn describe(node: &Value) -> String {
    let description = &node["Description"];
    let mut lines = vec![format!("ID:\t\t\t{}", text(&node["ID"]))];
    let name = text(&node["Spec"]["Name"]);
    if !name.is_empty() {
        lines.push(format!("Name:\t\t\t{name}"));
    }
    labels(&mut lines, "Labels:", &node["Spec"]["Labels"]);
    lines.push(format!("Hostname:              \t{}", text(&description["Hostname"])));
    lines.push(format!("Joined at:             \t{}", pretty(&time::go_string(text(&node["CreatedAt"])))));
    lines.push(format!("Status:\n State:\t\t\t{}", pretty(text(&node["Status"]["State"]))));
    let message = text(&node["Status"]["Message"]);
    if !message.is_empty() {
        lines.push(format!(" Message:              \t{}", pretty(message)));
    }
    lines.push(format!(" Availability:         \t{}", pretty(text(&node["Spec"]["Availability"]))));
    let address = text(&node["Status"]["Addr"]);
    if !address.is_empty() {
        lines.push(format!(" Address:\t\t{address}"));
    }
    let manager = &node["ManagerStatus"];
    if manager.is_object() {
        let leader = if manager["Leader"] == Value::Bool(true) { "Yes" } else { "No" };
        let reachability = pretty(text(&manager["Reachability"]));
        lines.push(format!("Manager Status:\n Address:\t\t{}\n Raft Status:\t\t{reachability}\n Leader:\t\t{leader}", text(&manager["Addr"])));
    }
    let platform = &description["Platform"];
    lines.push(format!("Platform:\n Operating System:\t{}\n Architecture:\t\t{}", text(&platform["OS"]), text(&platform["Architecture"])));
    let resources = &description["Resources"];
    let memory = resources["MemoryBytes"].as_f64().filter(|bytes| *bytes != 0.0).map(units::bytes_size).unwrap_or_default();
    lines.push(format!("Resources:\n CPUs:\t\t\t{}\n Memory:\t\t{memory}", resources["NanoCPUs"].as_i64().unwrap_or(0) / 1_000_000_000));
    plugins(&mut lines, &description["Engine"]["Plugins"]);
    lines.push(format!("Engine Version:\t\t{}", text(&description["Engine"]["EngineVersion"])));
    labels(&mut lines, "Engine Labels:", &description["Engine"]["Labels"]);
    let tls = &description["TLSInfo"];
    if tls.as_object().is_some_and(|tls| !tls.is_empty()) {
        let (root, subject, key) = (text(&tls["TrustRoot"]), text(&tls["CertIssuerSubject"]), text(&tls["CertIssuerPublicKey"]));
        lines.push(format!("TLS Info:\n TrustRoot:\n{root}\n Issuer Subject:\t{subject}\n Issuer Public Key:\t{key}"));
    }
    lines.join("\n")
}

fn labels(lines: &mut Vec<String>, title: &str, labels: &Value) {
    let Some(labels) = labels.as_object().filter(|labels| !labels.is_empty()) else { return };
    lines.push(title.to_owned());
    let sorted: BTreeMap<_, _> = labels.iter().collect();
    lines.extend(sorted.into_iter().map(|(key, value)| match text(value) {
        "" => format!(" - {key}"),
        value => format!(" - {key}={value}"),
    }));
}

fn plugins(lines: &mut Vec<String>, plugins: &Value) {
    let mut by_type: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for plugin in plugins.as_array().into_iter().flatten() {
        by_type.entry(text(&plugin["Type"])).or_default().push(text(&plugin["Name"]));
    }
    if by_type.is_empty() {
        return;
    }
    lines.push("Plugins:".into());
    lines.extend(by_type.into_iter().map(|(kind, names)| format!(" {kind}:\t\t{}", names.join(", "))));
}
