//! `service inspect`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::pretty;
use crate::cli::{
    Session,
    args::Matches,
    client::escape,
    errors::Error,
    format::{
        inspect::{Inspected, Inspector},
        shape,
    },
    output,
    task::text,
    template::Val,
};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let format = matches.text_or("format", "");
    if matches.on("pretty") && !format.is_empty() {
        return Err(Error::plain("--format is incompatible with human friendly format"));
    }
    if matches.on("pretty") || format == "pretty" {
        return for_people(&session, &matches).await;
    }
    if format.starts_with("pretty") {
        return Err(Error::plain("Cannot supply extra formatting options to the pretty template"));
    }
    let mut inspector = Inspector::new(Some(format))?;
    for service in &matches.args {
        inspector.add(fetch(&session, service).await.and_then(|text| typed(&text)));
    }
    inspector.finish()
}

async fn fetch(session: &Session, service: &str) -> Result<String, Error> {
    let found = session.client.get_text(&format!("/services/{}", escape(service)), &[("insertDefaults", "true".into())]).await;
    found.map_err(|error| if error.is_not_found() { Error::Plain(format!("Error: no such service: {service}")) } else { error })
}

fn typed(text: &str) -> Result<Inspected, Error> {
    let value: Val = serde_json::from_str(text).map_err(|error| Error::Plain(error.to_string()))?;
    Ok(Inspected::Typed(shape::typed("swarm.Service", &value)))
}

async fn for_people(session: &Session, matches: &Matches) -> Result<(), Error> {
    let mut shown = String::new();
    for service in &matches.args {
        let found = fetch(session, service).await?;
        let service: Value = serde_json::from_str(&found).map_err(|error| Error::Plain(error.to_string()))?;
        let mut networks = BTreeMap::new();
        for network in service["Spec"]["TaskTemplate"]["Networks"].as_array().into_iter().flatten() {
            let id = text(&network["Target"]);
            // Without an answer the id stands for the name.
            if let Ok(network) = session.client.get(&format!("/networks/{}", escape(id)), &[("scope", "swarm".into())]).await {
                networks.insert(text(&network["Id"]).to_owned(), text(&network["Name"]).to_owned());
            }
        }
        shown += &pretty::describe(&service, &networks);
        shown.push('\n');
    }
    output::print(&shown)
}
