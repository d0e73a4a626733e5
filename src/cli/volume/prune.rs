//! `volume prune`.

use crate::cli::{
    Session,
    args::Matches,
    client::{filter_query, given_filters},
    confirm,
    errors::Error,
    format::units,
    output,
};
use serde_json::Value;

const ANONYMOUS: &str = "WARNING! This will remove anonymous local volumes not used by at least one container.\nAre you sure you want to continue?";
const ALL: &str = "WARNING! This will remove all local volumes not used by at least one container.\nAre you sure you want to continue?";

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let mut filters = given_filters(matches.list("filter"));
    let all = matches.on("all");
    if all {
        if filters.iter().any(|(key, _)| key == "all") {
            return Err(Error::plain("conflicting options: cannot specify both --all and --filter all=1"));
        }
        filters.push(("all".into(), "true".into()));
    }
    if !matches.on("force") {
        confirm::ask(if all { ALL } else { ANONYMOUS })?;
    }
    let report = session.client.post("/volumes/prune", &filter_query(&filters), None).await?;
    let deleted: Vec<&str> = report["VolumesDeleted"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !deleted.is_empty() {
        output::print(&format!("Deleted Volumes:\n{}\n\n", deleted.join("\n")))?;
    }
    output::line(&format!("Total reclaimed space: {}", units::human_size(report["SpaceReclaimed"].as_f64().unwrap_or_default())))
}
