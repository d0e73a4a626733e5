//! `container inspect`.

use crate::cli::{
    Session,
    args::Matches,
    client::escape,
    errors::Error,
    format::inspect::{Inspected, Inspector},
};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let mut inspector = Inspector::new(matches.text("format"))?;
    for container in &matches.args {
        inspector.add(get(&session, container, matches.on("size")).await);
    }
    inspector.finish()
}

pub async fn get(session: &Session, container: &str, size: bool) -> Result<Inspected, Error> {
    let query = if size { vec![("size", "1".to_owned())] } else { Vec::new() };
    session.client.get_text(&format!("/containers/{}/json", escape(container)), &query).await.map(Inspected::Raw)
}
