//! `container logs`: the output of one task of this node, its two streams to ours.

use crate::cli::{Session, args::Matches, client::escape, errors::Error, log_stream, task::text};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let found = session.client.get(&format!("/containers/{}/json", escape(&matches.args[0])), &[]).await?;
    let query = log_stream::query(&matches, &["since", "until"], matches.on("details"))?;
    let path = format!("/containers/{}/logs", escape(text(&found["Id"])));
    log_stream::copy(&session, &path, &query, found["Config"]["Tty"] == serde_json::Value::Bool(true)).await
}
