//! `wsw volume`.

mod create;
pub mod flags;
mod ls;
mod prune;

pub use create::run as create;
pub use ls::run as ls;
pub use prune::run as prune;

use crate::cli::{
    Session,
    args::Matches,
    client::escape,
    errors::Error,
    format::inspect::{Inspected, Inspector},
    output,
};

/// `volume inspect`.
pub async fn inspect(session: Session, matches: Matches) -> Result<(), Error> {
    let mut inspector = Inspector::new(matches.text("format"))?;
    for volume in &matches.args {
        inspector.add(session.client.get_text(&format!("/volumes/{}", escape(volume)), &[]).await.map(Inspected::Raw));
    }
    inspector.finish()
}

/// `volume rm`.
pub async fn rm(session: Session, matches: Matches) -> Result<(), Error> {
    let query = if matches.on("force") { vec![("force", "1".to_owned())] } else { Vec::new() };
    let mut errors = Vec::new();
    for volume in &matches.args {
        match session.client.delete(&format!("/volumes/{}", escape(volume)), &query).await {
            Ok(_) => output::line(volume)?,
            Err(error) => errors.push(error),
        }
    }
    Error::join(errors)
}

/// `volume update`: of cluster volumes, which wsw has none of.
pub async fn update(session: Session, matches: Matches) -> Result<(), Error> {
    let name = matches.args.first().map(String::as_str).unwrap_or_default();
    session.client.get(&format!("/volumes/{}", escape(name)), &[]).await?;
    Err(Error::plain("can only update cluster volumes"))
}
