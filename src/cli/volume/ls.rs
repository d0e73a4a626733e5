//! `volume ls`.

use crate::cli::{
    Session,
    args::Matches,
    client::{filter_query, given_filters},
    errors::Error,
    format::{natural, table},
    output,
    task::text,
    template::Val,
};
use serde_json::Value;

const COLUMNS: table::Columns = table::Columns {
    default: "{{.Driver}}\t{{.Name}}",
    titles: &[
        ("Name", "VOLUME NAME"),
        ("Group", "GROUP"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("Availability", "AVAILABILITY"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
        ("Status", "STATUS"),
    ],
    raw: "name: {{.Name}}\ndriver: {{.Driver}}\n",
};
const CLUSTER: &str = "table {{.Name}}\t{{.Group}}\t{{.Driver}}\t{{.Availability}}\t{{.Status}}";

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let query = filter_query(&given_filters(matches.list("filter")));
    let answer = session.client.get("/volumes", &query).await?;
    let mut volumes: Vec<&Value> = answer["Volumes"].as_array().into_iter().flatten().collect();
    volumes.sort_by(|a, b| natural::compare(text(&a["Name"]), text(&b["Name"])));
    let (quiet, given) = (matches.on("quiet"), matches.text("format").unwrap_or_default());
    if matches.on("cluster") {
        // wsw has no cluster volumes: the list without local ones
        volumes.clear();
    }
    let format = match given {
        "" | "table" if matches.on("cluster") && !quiet => CLUSTER.to_owned(),
        "" | "table" if quiet => "{{.Name}}".to_owned(),
        "raw" if quiet => "name: {{.Name}}".to_owned(),
        given => table::choose(Some(given), false, &COLUMNS),
    };
    let rows: Vec<Val> = volumes.into_iter().map(row).collect();
    output::print(&table::render(&format, &COLUMNS, &rows)?)
}

fn row(volume: &Value) -> Val {
    let labels = volume["Labels"].as_object();
    let labels: Vec<String> = labels.into_iter().flatten().map(|(key, value)| format!("{key}={}", text(value))).collect();
    let none = || Val::from("N/A");
    Val::row(
        "*formatter.volumeContext",
        [
            ("Availability", none()),
            ("Driver", Val::from(text(&volume["Driver"]))),
            ("Group", none()),
            ("Labels", Val::from(labels.join(","))),
            ("Links", none()),
            ("Mountpoint", Val::from(text(&volume["Mountpoint"]))),
            ("Name", Val::from(text(&volume["Name"]))),
            ("Scope", Val::from(text(&volume["Scope"]))),
            ("Size", none()),
            ("Status", none()),
        ],
    )
}
