//! `service ps`.

use serde_json::Value;

use crate::cli::{
    Session,
    args::Matches,
    client::{Client, filters, given_filters},
    errors::Error,
    node,
    task::{self, Names, text},
};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let client = &session.client;
    let mut filter = given_filters(matches.list("filter"));
    let missing = add_services(client, &matches.args, &mut filter).await?;
    for (name, value) in &mut filter {
        if name == "node" {
            *value = node::reference(client, value).await?;
        }
    }
    let text = filters(filter.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let tasks = client.get("/tasks", &[("filters", text)]).await?;
    let names = Names::new(session.client.clone(), !matches.on("no-resolve"));
    let format = crate::cli::format::config::format(&matches, "tasksFormat");
    let view = task::View { format: format.as_deref(), quiet: matches.on("quiet"), truncate: !matches.on("no-trunc") && !matches.on("quiet") };
    task::print(tasks.as_array().map_or(&[], Vec::as_slice), &names, view).await?;
    Error::join(missing)
}

/// Adds a filter for each service that is meant: by full id, then name, then an id's beginning. Says which are not there.
async fn add_services(client: &Client, wanted: &[String], filter: &mut Vec<(String, String)>) -> Result<Vec<Error>, Error> {
    let list = |key: &'static str| filters(wanted.iter().map(move |service| (key, service.as_str())));
    let by_id = client.get("/services", &[("filters", list("id"))]).await?;
    let by_name = client.get("/services", &[("filters", list("name"))]).await?;
    let rows = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (by_id, by_name) = (rows(&by_id), rows(&by_name));
    let mut missing = Vec::new();
    let before = filter.len();
    for service in wanted {
        let exact = by_id.iter().find(|found| text(&found["ID"]) == service).or_else(|| by_name.iter().find(|found| text(&found["Spec"]["Name"]) == service));
        let mut prefixed = by_id.iter().filter(|found| text(&found["ID"]).starts_with(service.as_str()));
        let found = match exact {
            Some(found) => Some(found),
            None => {
                let first = prefixed.next();
                if prefixed.next().is_some() {
                    return Err(Error::Plain(format!("multiple services found with provided prefix: {service}")));
                }
                first
            }
        };
        match found {
            Some(found) => filter.push(("service".into(), text(&found["ID"]).to_owned())),
            None => missing.push(Error::Plain(format!("no such service: {service}"))),
        }
    }
    if filter.len() == before {
        Error::join(std::mem::take(&mut missing))?;
    }
    Ok(missing)
}
