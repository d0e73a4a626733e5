//! `node update`, `node promote`, `node demote`: a node's spec read, changed and written back under the version that was read.

use serde_json::{Value, json};

use crate::cli::{Session, args::Matches, client::escape, errors::Error, output, service::options::pairs, task::text};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let name = &matches.args[0];
    let mut node = read(&session, name).await?;
    change(&mut node["Spec"], &matches)?;
    write(&session, &node).await?;
    output::line(name)
}

pub async fn promote(session: Session, matches: Matches) -> Result<(), Error> {
    set_role(&session, &matches, "manager", |id| format!("Node {id} is already a manager."), |name| format!("Node {name} promoted to a manager in the swarm."))
        .await
}

pub async fn demote(session: Session, matches: Matches) -> Result<(), Error> {
    set_role(&session, &matches, "worker", |id| format!("Node {id} is already a worker."), |name| format!("Manager {name} demoted in the swarm.")).await
}

async fn set_role(session: &Session, matches: &Matches, role: &str, already: fn(&str) -> String, done: fn(&str) -> String) -> Result<(), Error> {
    for name in &matches.args {
        let mut node = read(session, name).await?;
        if text(&node["Spec"]["Role"]) == role {
            output::line(&already(text(&node["ID"])))?;
            continue;
        }
        node["Spec"]["Role"] = json!(role);
        write(session, &node).await?;
        output::line(&done(name))?;
    }
    Ok(())
}

async fn read(session: &Session, name: &str) -> Result<Value, Error> {
    session.client.get(&format!("/nodes/{}", escape(name)), &[]).await
}

async fn write(session: &Session, node: &Value) -> Result<(), Error> {
    let version = node["Version"]["Index"].as_u64().unwrap_or(0).to_string();
    session.client.post(&format!("/nodes/{}/update", text(&node["ID"])), &[("version", version)], Some(&node["Spec"])).await.map(drop)
}

fn change(spec: &mut Value, matches: &Matches) -> Result<(), Error> {
    if let Some(role) = matches.text("role") {
        spec["Role"] = json!(role);
    }
    if let Some(availability) = matches.text("availability") {
        spec["Availability"] = json!(availability);
    }
    if !spec["Labels"].is_object() {
        spec["Labels"] = json!({});
    }
    let Some(labels) = spec["Labels"].as_object_mut() else { return Ok(()) };
    if let Value::Object(added) = pairs(matches.list("label-add")) {
        labels.extend(added);
    }
    for key in matches.list("label-rm") {
        if labels.remove(key).is_none() {
            return Err(Error::Plain(format!("key {key} doesn't exist in node's labels")));
        }
    }
    Ok(())
}
