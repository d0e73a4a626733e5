//! `image inspect`.

use crate::cli::{
    Session,
    args::Matches,
    errors::Error,
    format::inspect::{Inspected, Inspector},
    registry::escape_path,
};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let mut inspector = Inspector::new(matches.text("format"))?;
    let query: Vec<_> =
        matches.text("platform").filter(|text| !text.is_empty()).map(|text| ("platform", super::load::platform_json(text).to_string())).into_iter().collect();
    for image in &matches.args {
        let path = format!("/images/{}/json", escape_path(image));
        inspector.add(session.client.get_text(&path, &query).await.map(Inspected::Raw));
    }
    inspector.finish()
}

pub async fn get(session: &Session, image: &str) -> Result<Inspected, Error> {
    session.client.get_text(&format!("/images/{}/json", escape_path(image)), &[]).await.map(Inspected::Raw)
}
