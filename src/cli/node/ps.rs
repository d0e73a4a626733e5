//! `node ps`.

use serde_json::Value;

use super::reference;
use crate::cli::{
    Session,
    args::Matches,
    client::{Client, escape, filters, given_filters},
    errors::Error,
    task::{self, Names, text},
};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let own = [String::from("self")];
    let nodes = if matches.args.is_empty() { &own } else { matches.args.as_slice() };
    let (mut tasks, mut errors) = (Vec::new(), Vec::new());
    let given = given_filters(matches.list("filter"));
    for node in nodes {
        match of_node(&session.client, node, &given).await {
            Ok(found) => tasks.extend(found),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() || !tasks.is_empty() {
        let names = Names::new(session.client.clone(), !matches.on("no-resolve"));
        let format = crate::cli::format::config::format(&matches, "tasksFormat");
        let view = task::View { format: format.as_deref(), quiet: matches.on("quiet"), truncate: !matches.on("no-trunc") };
        task::print(&tasks, &names, view).await?;
    }
    Error::join(errors)
}

async fn of_node(client: &Client, node: &str, given: &[(String, String)]) -> Result<Vec<Value>, Error> {
    let node = client.get(&format!("/nodes/{}", escape(&reference(client, node).await?)), &[]).await?;
    let pairs = given.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain([("node", text(&node["ID"]))]);
    let tasks = client.get("/tasks", &[("filters", filters(pairs))]).await?;
    Ok(tasks.as_array().cloned().unwrap_or_default())
}
