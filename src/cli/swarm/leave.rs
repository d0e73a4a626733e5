//! `swarm leave`.

use crate::cli::{Session, args::Matches, errors::Error, output};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    leave(&session, matches.on("force")).await?;
    output::line("Node left the swarm.")
}

pub async fn leave(session: &Session, force: bool) -> Result<(), Error> {
    let query = if force { vec![("force", "1".to_owned())] } else { Vec::new() };
    session.client.post("/swarm/leave", &query, None).await.map(drop)
}
