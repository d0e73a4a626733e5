//! `image rm` and `rmi`.

use serde_json::Value;

use crate::cli::{Session, args::Matches, errors::Error, output, registry::escape_path, task::text};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let force = matches.on("force");
    let mut query = Vec::new();
    if force {
        query.push(("force", "1".to_owned()));
    }
    if matches.on("no-prune") {
        query.push(("noprune", "1".to_owned()));
    }
    let platforms = matches.list("platform").iter().flat_map(|list| list.split(','));
    query.extend(platforms.map(|platform| ("platforms", super::load::platform_json(platform).to_string())));
    let mut errors = Vec::new();
    let mut fatal = false;
    for image in &matches.args {
        match session.client.delete(&format!("/images/{}", escape_path(image)), &query).await {
            Ok(answer) => show(&answer)?,
            Err(error) => {
                fatal |= !error.is_not_found();
                errors.push(error);
            }
        }
    }
    match Error::join(errors) {
        Err(error) if force && !fatal => {
            output::warn(&error.to_string());
            Ok(())
        }
        done => done,
    }
}

fn show(answer: &Value) -> Result<(), Error> {
    for gone in answer.as_array().into_iter().flatten() {
        match text(&gone["Deleted"]) {
            "" => output::line(&format!("Untagged: {}", text(&gone["Untagged"])))?,
            deleted => output::line(&format!("Deleted: {deleted}"))?,
        }
    }
    Ok(())
}
