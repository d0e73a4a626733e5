//! `system prune`: stopped containers, networks, images, compiled code and (asked for) volumes that nothing uses.
//!
//! Owns: the order, the question, the report. What counts as unused is the daemon's to say.

use serde_json::Value;

use crate::cli::{
    Session,
    args::Matches,
    client::{filter_query, given_filters},
    errors::Error,
    prune::{self, Report},
};

/// One kind of thing: where it is pruned, and how its report reads.
struct Kind {
    path: &'static str,
    report: fn(&Value) -> Report,
}

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let filters = given_filters(matches.list("filter"));
    let (all, volumes) = (matches.on("all"), matches.on("volumes"));
    if volumes && filters.iter().any(|(key, _)| key == "until") {
        return Err(Error::plain("ERROR: The \"until\" filter is not supported with \"--volumes\""));
    }
    prune::ask(matches.on("force"), &question(all, volumes, matches.list("filter")))?;
    let mut kinds = vec![Kind { path: "/containers/prune", report: Report::containers }, Kind { path: "/networks/prune", report: Report::networks }];
    if volumes {
        kinds.push(Kind { path: "/volumes/prune", report: Report::volumes });
    }
    kinds.push(Kind { path: "/images/prune", report: Report::images });
    kinds.push(Kind { path: "/build/prune", report: |report| Report::listed(report, "CachesDeleted", "Deleted build cache objects:") });
    let mut total = 0;
    for kind in kinds {
        let mut filters = filters.clone();
        if kind.path == "/images/prune" {
            filters.push(("dangling".into(), (!all).to_string()));
        }
        let report = session.client.post(kind.path, &filter_query(&filters), None).await?;
        total += (kind.report)(&report).print()?;
    }
    prune::reclaimed(total)
}

fn question(all: bool, volumes: bool, filters: &[String]) -> String {
    let mut text = "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n".to_owned();
    if volumes {
        text += "  - all anonymous volumes not used by at least one container\n";
    }
    text += if all { "  - all images without at least one container associated to them\n" } else { "  - all dangling images\n" };
    text += if all { "  - all build cache\n" } else { "  - unused build cache\n" };
    if !filters.is_empty() {
        text += "\n  Items to be pruned will be filtered with:\n";
        text += &filters.iter().map(|filter| format!("  - {filter}\n")).collect::<String>();
    }
    text
}
