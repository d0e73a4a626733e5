//! `node rm`.

use crate::cli::{Session, args::Matches, client::escape, errors::Error, output};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let query = if matches.on("force") { vec![("force", "1".to_owned())] } else { Vec::new() };
    let mut errors = Vec::new();
    for node in &matches.args {
        match session.client.delete(&format!("/nodes/{}", escape(node)), &query).await {
            Ok(_) => output::line(node)?,
            Err(error) => errors.push(error),
        }
    }
    Error::join(errors)
}
