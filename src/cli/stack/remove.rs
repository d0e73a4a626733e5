//! `stack rm`, and the removal of what a new deployment does not have.

use std::time::Duration;

use serde_json::Value;

use super::{check_name, list::owned_services, of_stack, of_stack_if_known};
use crate::cli::{Session, args::Matches, client::escape, errors::Error, output, task::text};

/// States from which a task does not come back.
const ENDED: [&str; 6] = ["complete", "shutdown", "failed", "rejected", "remove", "orphaned"];
/// docker asks without a pause.
const PAUSE: Duration = Duration::from_millis(100);

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    matches.args.iter().try_for_each(|stack| check_name(stack))?;
    let mut errors = Vec::new();
    for stack in &matches.args {
        if let Err(error) = remove(&session, stack, !matches.changed("detach") || matches.on("detach")).await? {
            errors.push(error);
        }
    }
    Error::join(errors)
}

/// The outer error ends the command, the inner one is told at its end.
async fn remove(session: &Session, stack: &str, detach: bool) -> Result<Result<(), Error>, Error> {
    let client = &session.client;
    let services = owned_services(session, stack).await?;
    let networks = of_stack(client, "/networks", stack).await?;
    let secrets = of_stack_if_known(client, "/secrets", stack).await?;
    let configs = of_stack_if_known(client, "/configs", stack).await?;
    if services.len() + networks.len() + secrets.len() + configs.len() == 0 {
        output::warn(&format!("Nothing found in stack: {stack}"));
        return Ok(Ok(()));
    }
    let mut failed = remove_services(session, services).await?;
    for (kind, objects) in [("secret", secrets), ("config", configs), ("network", networks)] {
        for object in objects {
            let (id, name) = if kind == "network" { (&object["Id"], &object["Name"]) } else { (&object["ID"], &object["Spec"]["Name"]) };
            failed |= remove_one(session, kind, text(id), text(name)).await?;
        }
    }
    if failed {
        return Ok(Err(Error::Plain(format!("failed to remove some resources from stack: {stack}"))));
    }
    if !detach {
        wait_for_tasks(session, stack).await?;
    }
    Ok(Ok(()))
}

/// Removes services by name; true when one could not be removed.
pub async fn remove_services(session: &Session, mut services: Vec<Value>) -> Result<bool, Error> {
    services.sort_by(|a, b| text(&a["Spec"]["Name"]).cmp(text(&b["Spec"]["Name"])));
    let mut failed = false;
    for service in &services {
        failed |= remove_one(session, "service", text(&service["ID"]), text(&service["Spec"]["Name"])).await?;
    }
    Ok(failed)
}

async fn remove_one(session: &Session, kind: &str, id: &str, name: &str) -> Result<bool, Error> {
    output::line(&format!("Removing {kind} {name}"))?;
    match session.client.delete(&format!("/{kind}s/{}", escape(id)), &[]).await {
        Ok(_) => Ok(false),
        Err(error) => {
            output::warn(&format!("Failed to remove {kind} {id}: {error}"));
            Ok(true)
        }
    }
}

async fn wait_for_tasks(session: &Session, stack: &str) -> Result<(), Error> {
    loop {
        let tasks = of_stack(&session.client, "/tasks", stack).await?;
        if tasks.iter().all(|task| ENDED.contains(&text(&task["Status"]["State"]))) {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
