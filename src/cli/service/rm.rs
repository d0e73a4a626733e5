//! `service rm`.

use crate::cli::{Session, args::Matches, errors::Error, output};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let mut errors = Vec::new();
    for service in &matches.args {
        match session.client.delete(&format!("/services/{}", crate::cli::client::escape(service)), &[]).await {
            Ok(_) => output::line(service)?,
            Err(error) => errors.push(error),
        }
    }
    Error::join(errors)
}
