//! `volume prune`.

use crate::cli::{
    Session,
    args::Matches,
    client::{filter_query, given_filters},
    errors::Error,
    prune::{self, Report},
};

const ANONYMOUS: &str = "WARNING! This will remove anonymous local volumes not used by at least one container.";
const ALL: &str = "WARNING! This will remove all local volumes not used by at least one container.";

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let mut filters = given_filters(matches.list("filter"));
    let all = matches.on("all");
    if all {
        if filters.iter().any(|(key, _)| key == "all") {
            return Err(Error::plain("conflicting options: cannot specify both --all and --filter all=1"));
        }
        filters.push(("all".into(), "true".into()));
    }
    prune::ask(matches.on("force"), if all { ALL } else { ANONYMOUS })?;
    let report = session.client.post("/volumes/prune", &filter_query(&filters), None).await?;
    prune::reclaimed(Report::volumes(&report).print()?)
}
