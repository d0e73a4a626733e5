//! `image prune`.

use crate::cli::{
    Session,
    args::Matches,
    client::{filter_query, given_filters},
    errors::Error,
    prune::{self, Report},
};

const DANGLING: &str = "WARNING! This will remove all dangling images.";
const ALL: &str = "WARNING! This will remove all images without at least one container associated to them.";

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let all = matches.on("all");
    prune::ask(matches.on("force"), if all { ALL } else { DANGLING })?;
    let mut filters = given_filters(matches.list("filter"));
    filters.push(("dangling".into(), (!all).to_string()));
    let done = session.client.post("/images/prune", &filter_query(&filters), None).await?;
    prune::reclaimed(Report::images(&done).print()?)
}
