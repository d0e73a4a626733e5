//! What the services of a stack need first: networks, secrets and configs, made where they are missing.

use std::collections::BTreeMap;

use serde_json::Value;

use super::of_stack;
use crate::cli::{
    Session,
    client::escape,
    compose::convert::{self, Namespace},
    errors::Error,
    output,
    task::text,
};

/// The driver of a network that names none.
const DRIVER: &str = "overlay";

pub async fn networks(session: &Session, namespace: Namespace<'_>, config: &Value) -> Result<(), Error> {
    let (wanted, external) = convert::networks(namespace, config);
    for name in external {
        check_external(session, &name).await?;
    }
    let known = of_stack(&session.client, "/networks", namespace.0).await?;
    for (name, body) in missing(wanted, &known) {
        output::line(&format!("Creating network {name}"))?;
        let made = session.client.post("/networks/create", &[], Some(&body)).await;
        made.map_err(|error| Error::Plain(format!("failed to create network {name}: {error}")))?;
    }
    Ok(())
}

/// The networks that are not there yet, with all that a request wants.
fn missing(wanted: BTreeMap<String, Value>, known: &[Value]) -> Vec<(String, Value)> {
    let mut missing = Vec::new();
    for (name, mut body) in wanted {
        if known.iter().any(|network| text(&network["Name"]) == name) {
            continue;
        }
        body["Name"] = name.as_str().into();
        if body["Driver"].is_null() {
            body["Driver"] = DRIVER.into();
        }
        missing.push((name, body));
    }
    missing
}

async fn check_external(session: &Session, name: &str) -> Result<(), Error> {
    if ["default", "bridge", "host", "none"].contains(&name) {
        return Ok(());
    }
    match session.client.get(&format!("/networks/{}", escape(name)), &[]).await {
        Ok(network) if network["Scope"] == "swarm" => Ok(()),
        Ok(network) => Err(Error::Plain(format!(
            "network {name:?} is declared as external, but it is not in the right scope: {:?} instead of \"swarm\"",
            text(&network["Scope"])
        ))),
        Err(error) if error.is_not_found() => Err(Error::Plain(format!(
            "network {name:?} is declared as external, but could not be found. You need to create a swarm-scoped network before the stack is deployed"
        ))),
        Err(error) => Err(error),
    }
}

/// Secrets (`kind` "secret") or configs: made, or brought up to date.
pub async fn files(session: &Session, namespace: Namespace<'_>, config: &Value, kind: &str) -> Result<(), Error> {
    for spec in convert::file_objects(namespace, config, &format!("{kind}s"))? {
        let name = text(&spec["Name"]);
        match session.client.get(&format!("/{kind}s/{}", escape(name)), &[]).await {
            Ok(known) => {
                let version = known["Version"]["Index"].to_string();
                let path = format!("/{kind}s/{}/update", escape(text(&known["ID"])));
                let updated = session.client.post(&path, &[("version", version)], Some(&spec)).await;
                updated.map_err(|error| Error::Plain(format!("failed to update {kind} {name}: {error}")))?;
            }
            Err(error) if error.is_not_found() => {
                output::line(&format!("Creating {kind} {name}"))?;
                let made = session.client.post(&format!("/{kind}s/create"), &[], Some(&spec)).await;
                made.map_err(|error| Error::Plain(format!("failed to create {kind} {name}: {error}")))?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
