//! `image prune`.

use std::io::{BufRead, Write};

use serde_json::Value;

use crate::cli::{
    Session,
    args::Matches,
    client::{filter_query, given_filters},
    errors::Error,
    format::units,
    output,
    task::text,
};

const DANGLING: &str = "WARNING! This will remove all dangling images.";
const ALL: &str = "WARNING! This will remove all images without at least one container associated to them.";

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let all = matches.on("all");
    if !matches.on("force") && !confirmed(if all { ALL } else { DANGLING })? {
        return Err(Error::plain("image prune has been cancelled"));
    }
    let mut filters = given_filters(matches.list("filter"));
    // docker writes `label!=x`; the name keeps its exclamation mark.
    filters.push(("dangling".into(), (!all).to_string()));
    let done = session.client.post("/images/prune", &filter_query(&filters), None).await?;
    let gone = done["ImagesDeleted"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    if !gone.is_empty() {
        let mut lines = String::from("Deleted Images:\n");
        for step in gone {
            lines += &match text(&step["Untagged"]) {
                "" => format!("deleted: {}\n", text(&step["Deleted"])),
                name => format!("untagged: {name}\n"),
            };
        }
        output::line(&lines)?;
    }
    output::line(&format!("Total reclaimed space: {}", units::human_size(done["SpaceReclaimed"].as_f64().unwrap_or(0.0))))
}

/// docker's question; anything but y is a no.
fn confirmed(warning: &str) -> Result<bool, Error> {
    output::print(&format!("{warning}\nAre you sure you want to continue? [y/N] "))?;
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}
