//! `network inspect`, `rm`, `prune`, `connect` and `disconnect`.

use serde_json::json;

use crate::cli::{
    Session,
    args::Matches,
    client::{escape, filter_query, given_filters},
    errors::Error,
    format::inspect::{Inspected, Inspector},
    output,
    prune::{self, Report},
};

pub async fn inspect(session: Session, matches: Matches) -> Result<(), Error> {
    let mut inspector = Inspector::new(matches.text("format"))?;
    let query = if matches.on("verbose") { vec![("verbose", "true".to_owned())] } else { Vec::new() };
    for network in &matches.args {
        inspector.add(session.client.get_text(&format!("/networks/{}", escape(network)), &query).await.map(Inspected::Raw));
    }
    inspector.finish()
}

pub async fn rm(session: Session, matches: Matches) -> Result<(), Error> {
    let mut failed = false;
    for network in &matches.args {
        match session.client.delete(&format!("/networks/{}", escape(network)), &[]).await {
            Ok(_) => output::line(network)?,
            Err(error) if matches.on("force") && error.is_not_found() => {}
            Err(error) => {
                output::warn(&error.to_string());
                failed = true;
            }
        }
    }
    // docker 28's last line.
    if failed { Err(Error::plain("exit status 1")) } else { Ok(()) }
}

pub async fn prune(session: Session, matches: Matches) -> Result<(), Error> {
    prune::ask(matches.on("force"), "WARNING! This will remove all custom networks not used by at least one container.")?;
    let report = session.client.post("/networks/prune", &filter_query(&given_filters(matches.list("filter"))), None).await?;
    Report::networks(&report).print().map(drop)
}

pub async fn connect(session: Session, matches: Matches) -> Result<(), Error> {
    act(&session, &matches, "connect").await
}

pub async fn disconnect(session: Session, matches: Matches) -> Result<(), Error> {
    act(&session, &matches, "disconnect").await
}

/// The daemon refuses both: a task is on its service's networks.
async fn act(session: &Session, matches: &Matches, verb: &str) -> Result<(), Error> {
    let body = json!({"Container": matches.args[1], "Force": matches.on("force")});
    session.client.post(&format!("/networks/{}/{verb}", escape(&matches.args[0])), &[], Some(&body)).await.map(drop)
}
