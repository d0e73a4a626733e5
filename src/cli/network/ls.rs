//! `network ls`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cli::{
    Session,
    args::Matches,
    client::{filter_query, given_filters},
    errors::Error,
    format::{config, natural, short_id, table, time},
    output,
    task::text,
    template::{Kind, Val},
};

const COLUMNS: table::Columns = table::Columns {
    default: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
    titles: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("CreatedAt", "CREATED AT"),
    ],
    raw: "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n",
};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let quiet = matches.on("quiet");
    let answer = session.client.get("/networks", &filter_query(&given_filters(matches.list("filter")))).await?;
    let mut networks: Vec<&Value> = answer.as_array().into_iter().flatten().collect();
    networks.sort_by(|a, b| natural::compare(text(&a["Name"]), text(&b["Name"])));
    let rows: Vec<Val> = networks.into_iter().map(|network| row(network, !matches.on("no-trunc"))).collect();
    let given = config::format(&matches, "networksFormat");
    let format = match table::choose(given.as_deref(), quiet, &COLUMNS) {
        raw if given.as_deref() == Some("raw") && quiet => raw.lines().take(1).collect(),
        format => format,
    };
    output::print(&table::render(&format, &COLUMNS, &rows)?)
}

fn row(network: &Value, truncate: bool) -> Val {
    let id = text(&network["Id"]);
    let labels: BTreeMap<&str, &str> = network["Labels"].as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), text(value))).collect();
    let mut listed: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    // As texts, not by name: "a.b=" comes before "a=".
    listed.sort_unstable();
    let label_map = labels.iter().map(|(key, value)| ((*key).to_owned(), Val::from(*value))).collect();
    let on = |key: &str| Val::from(network[key].as_bool().unwrap_or(false).to_string());
    Val::row(
        "*network.networkContext",
        [
            ("ID", Val::from(if truncate { short_id(id) } else { id })),
            ("Name", Val::from(text(&network["Name"]))),
            ("Driver", Val::from(text(&network["Driver"]))),
            ("Scope", Val::from(text(&network["Scope"]))),
            ("IPv4", on("EnableIPv4")),
            ("IPv6", on("EnableIPv6")),
            ("Internal", on("Internal")),
            ("Labels", Val::from(listed.join(","))),
            ("CreatedAt", Val::from(time::go_string(text(&network["Created"])))),
            // Not a column: what `{{.Label "x"}}` looks into.
            ("\0labels", Val::object(Kind::Map, label_map)),
        ],
    )
}
