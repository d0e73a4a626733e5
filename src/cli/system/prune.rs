//! `system prune`: stopped containers, networks, images, compiled code and (asked for) volumes that nothing uses.
//!
//! Owns: the order, the question, the report. What counts as unused is the daemon's to say.

use serde_json::Value;

use crate::cli::{
    Session,
    args::Matches,
    client::{filter_query, given_filters},
    confirm,
    errors::Error,
    format::units,
    output,
    task::text,
};

/// One kind of thing: where it is pruned, and how its report reads.
struct Kind {
    path: &'static str,
    report: fn(&Value) -> (String, u64),
}

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let filters = given_filters(matches.list("filter"));
    let (all, volumes) = (matches.on("all"), matches.on("volumes"));
    if volumes && filters.iter().any(|(key, _)| key == "until") {
        return Err(Error::plain("ERROR: The \"until\" filter is not supported with \"--volumes\""));
    }
    if !matches.on("force") {
        confirm::ask(&question(all, volumes, matches.list("filter")))?;
    }
    let mut kinds = vec![
        Kind { path: "/containers/prune", report: pruned_containers },
        Kind { path: "/networks/prune", report: |report| listed(report, "NetworksDeleted", "Deleted Networks:") },
    ];
    if volumes {
        kinds.push(Kind { path: "/volumes/prune", report: |report| listed(report, "VolumesDeleted", "Deleted Volumes:") });
    }
    kinds.push(Kind { path: "/images/prune", report: images });
    kinds.push(Kind { path: "/build/prune", report: |report| listed(report, "CachesDeleted", "Deleted build cache objects:") });
    let mut total = 0;
    for kind in kinds {
        let mut filters = filters.clone();
        if kind.path == "/images/prune" {
            filters.push(("dangling".into(), (!all).to_string()));
        }
        let (report, reclaimed) = (kind.report)(&session.client.post(kind.path, &filter_query(&filters), None).await?);
        total += reclaimed;
        if !report.is_empty() {
            output::line(&report)?;
        }
    }
    output::line(&reclaimed(total))
}

fn question(all: bool, volumes: bool, filters: &[String]) -> String {
    let mut text = "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n".to_owned();
    if volumes {
        text += "  - all anonymous volumes not used by at least one container\n";
    }
    text += if all { "  - all images without at least one container associated to them\n" } else { "  - all dangling images\n" };
    text += if all { "  - all build cache\n\n" } else { "  - unused build cache\n\n" };
    if !filters.is_empty() {
        text += "  Items to be pruned will be filtered with:\n";
        text += &filters.iter().map(|filter| format!("  - {filter}\n")).collect::<String>();
        text.push('\n');
    }
    text + "Are you sure you want to continue?"
}

/// The last line of every prune.
pub fn reclaimed(bytes: u64) -> String {
    format!("Total reclaimed space: {}", units::human_size(bytes as f64))
}

/// What `POST /containers/prune` removed.
pub fn pruned_containers(report: &Value) -> (String, u64) {
    listed(report, "ContainersDeleted", "Deleted Containers:")
}

fn listed(report: &Value, key: &str, title: &str) -> (String, u64) {
    let names: Vec<&str> = report[key].as_array().into_iter().flatten().map(text).collect();
    let text = if names.is_empty() { String::new() } else { format!("{title}\n{}\n", names.join("\n")) };
    (text, report["SpaceReclaimed"].as_u64().unwrap_or(0))
}

fn images(report: &Value) -> (String, u64) {
    let line = |gone: &Value| match text(&gone["Untagged"]) {
        "" => format!("deleted: {}\n", text(&gone["Deleted"])),
        untagged => format!("untagged: {untagged}\n"),
    };
    let lines: String = report["ImagesDeleted"].as_array().into_iter().flatten().map(line).collect();
    let text = if lines.is_empty() { lines } else { format!("Deleted Images:\n{lines}") };
    (text, report["SpaceReclaimed"].as_u64().unwrap_or(0))
}
