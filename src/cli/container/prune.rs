//! `container prune`.

use crate::cli::{
    Session,
    args::Matches,
    client::{filter_query, given_filters},
    confirm,
    errors::Error,
    output, system,
};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    if !matches.on("force") {
        confirm::ask("WARNING! This will remove all stopped containers.\nAre you sure you want to continue?")?;
    }
    let query = filter_query(&given_filters(matches.list("filter")));
    let report = session.client.post("/containers/prune", &query, None).await?;
    let (listed, reclaimed) = system::pruned_containers(&report);
    if !listed.is_empty() {
        output::line(&listed)?;
    }
    output::line(&system::reclaimed(reclaimed))
}
