//! `container prune`.

use crate::cli::{
    Session,
    args::Matches,
    client::{filter_query, given_filters},
    errors::Error,
    prune::{self, Report},
};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    prune::ask(matches.on("force"), "WARNING! This will remove all stopped containers.")?;
    let query = filter_query(&given_filters(matches.list("filter")));
    let report = session.client.post("/containers/prune", &query, None).await?;
    prune::reclaimed(Report::containers(&report).print()?)
}
