//! `service scale`.

use serde_json::{Value, json};

use super::progress::{self, Patience};
use crate::cli::{
    Session,
    args::{Matches, values},
    errors::Error,
    output, registry,
    task::text,
};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    for pair in &matches.args {
        if !pair.split_once('=').is_some_and(|(service, replicas)| !service.is_empty() && !replicas.is_empty()) {
            let usage = "wsw service scale SERVICE=REPLICAS [SERVICE=REPLICAS...]";
            return Err(Error::Plain(format!(
                "invalid scale specifier '{pair}'.\nSee 'wsw service scale --help'.\n\nUsage:  {usage}\n\nScale one or multiple replicated services"
            )));
        }
    }
    let mut errors = Vec::new();
    let mut scaled = Vec::new();
    for pair in &matches.args {
        let Some((service, replicas)) = pair.split_once('=') else { continue };
        let replicas = match values::parse_decimal(replicas) {
            Ok(replicas) => replicas,
            Err(why) => {
                errors.push(Error::Plain(format!("{service}: invalid replicas value {replicas}: {why}")));
                continue;
            }
        };
        match scale(&session, service, replicas).await {
            Ok(()) => {
                output::line(&format!("{service} scaled to {replicas}"))?;
                scaled.push(service);
            }
            Err(error @ Error::Silent(_)) => return Err(error),
            Err(error) => errors.push(Error::Plain(format!("{service}: {error}"))),
        }
    }
    if !matches.on("detach") {
        for service in scaled {
            if let Err(error) = progress::wait(&session.client, service, false, Patience::UntilRunning).await {
                errors.push(Error::Plain(format!("{service}: {error}")));
            }
        }
    }
    Error::join(errors)
}

async fn scale(session: &Session, name: &str, replicas: u64) -> Result<(), Error> {
    let path = crate::cli::client::escape(name);
    let mut service = session.client.get(&format!("/services/{path}"), &[]).await?;
    let mode = &mut service["Spec"]["Mode"];
    if mode["Replicated"].is_object() {
        mode["Replicated"]["Replicas"] = json!(replicas);
    } else if mode["ReplicatedJob"].is_object() {
        mode["ReplicatedJob"]["TotalCompletions"] = json!(replicas);
    } else {
        return Err(Error::plain("scale can only be used with replicated or replicated-job mode"));
    }
    send(session, &service, &[]).await
}

/// Writes a service's changed spec back, under the version that was read.
pub async fn send(session: &Session, service: &Value, extra: &[(&'static str, String)]) -> Result<(), Error> {
    send_with(session, service, extra, &[]).await
}

pub async fn send_with(session: &Session, service: &Value, extra: &[(&'static str, String)], headers: &[(&'static str, String)]) -> Result<(), Error> {
    let mut query = vec![("version", service["Version"]["Index"].as_u64().unwrap_or(0).to_string())];
    query.extend_from_slice(extra);
    let mut spec = service["Spec"].clone();
    if let Some(image) = spec["TaskTemplate"]["ContainerSpec"].get_mut("Image") {
        *image = json!(registry::with_tag(text(image)));
    }
    let path = format!("/services/{}/update", text(&service["ID"]));
    let answer = session.client.post_with(&path, &query, &spec, headers).await?;
    warn(&answer);
    Ok(())
}

/// Shows the warnings of an answer.
pub fn warn(answer: &Value) {
    for warning in answer["Warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        output::warn(warning);
    }
}
