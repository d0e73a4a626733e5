//! `node ls`.

use serde_json::Value;

use crate::cli::{
    Session,
    args::Matches,
    client::{filter_query, given_filters},
    errors::Error,
    format::{natural, pretty, table},
    output,
    task::text,
    template::Val,
};

const COLUMNS: table::Columns = table::Columns {
    default: "{{.ID}} {{if .Self}}*{{else}} {{ end }}\t{{.Hostname}}\t{{.Status}}\t{{.Availability}}\t{{.ManagerStatus}}\t{{.EngineVersion}}",
    titles: &[
        ("ID", "ID"),
        ("Self", ""),
        ("Hostname", "HOSTNAME"),
        ("Status", "STATUS"),
        ("Availability", "AVAILABILITY"),
        ("ManagerStatus", "MANAGER STATUS"),
        ("EngineVersion", "ENGINE VERSION"),
        ("TLSStatus", "TLS STATUS"),
    ],
    raw: "node_id: {{.ID}}\nhostname: {{.Hostname}}\nstatus: {{.Status}}\navailability: {{.Availability}}\nmanager_status: {{.ManagerStatus}}\n",
};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let quiet = matches.on("quiet");
    let nodes = session.client.get("/nodes", &filter_query(&given_filters(matches.list("filter")))).await?;
    let mut nodes: Vec<&Value> = nodes.as_array().into_iter().flatten().collect();
    let info = if nodes.is_empty() || quiet { Value::Null } else { session.client.get("/info", &[]).await? };
    nodes.sort_by(|a, b| natural::compare(text(&a["Description"]["Hostname"]), text(&b["Description"]["Hostname"])));
    let rows: Vec<Val> = nodes.into_iter().map(|node| row(node, &info["Swarm"])).collect();
    let format = table::choose(crate::cli::format::config::format(&matches, "nodesFormat").as_deref(), quiet, &COLUMNS);
    output::print(&table::render(&format, &COLUMNS, &rows)?)
}

fn row(node: &Value, swarm: &Value) -> Val {
    let manager = &node["ManagerStatus"];
    let reachability = if manager["Leader"] == Value::Bool(true) { "Leader" } else { text(&manager["Reachability"]) };
    Val::row(
        "*node.nodeContext",
        [
            ("ID", Val::from(text(&node["ID"]))),
            ("Self", Val::from(text(&node["ID"]) == text(&swarm["NodeID"]))),
            ("Hostname", Val::from(text(&node["Description"]["Hostname"]))),
            ("Status", Val::from(pretty(text(&node["Status"]["State"])))),
            ("Availability", Val::from(pretty(text(&node["Spec"]["Availability"])))),
            ("ManagerStatus", Val::from(pretty(reachability))),
            ("EngineVersion", Val::from(text(&node["Description"]["Engine"]["EngineVersion"]))),
            ("TLSStatus", Val::from(tls_status(&node["Description"]["TLSInfo"], &swarm["Cluster"]["TLSInfo"]))),
        ],
    )
}

fn tls_status(node: &Value, cluster: &Value) -> &'static str {
    let absent = |info: &Value| info.as_object().is_none_or(serde_json::Map::is_empty);
    match (absent(node) || absent(cluster), node == cluster) {
        (true, _) => "Unknown",
        (false, true) => "Ready",
        (false, false) => "Needs Rotation",
    }
}
