//! `container ls` and `ps`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cli::{
    Session,
    args::Matches,
    client::{filter_query, given_filters},
    errors::Error,
    format::{self, reference, table, time, units},
    output,
    task::text,
    template::{Kind, Template, Val},
};

/// Columns of this width hold a command, a mount.
const COMMAND_WIDTH: usize = 20;
const MOUNT_WIDTH: usize = 15;

pub const COLUMNS: table::Columns = table::Columns {
    default: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
    titles: &[
        ("ID", "CONTAINER ID"),
        ("Names", "NAMES"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("RunningFor", "CREATED"),
        ("Ports", "PORTS"),
        ("State", "STATE"),
        ("Status", "STATUS"),
        ("Size", "SIZE"),
        ("Labels", "LABELS"),
        ("Mounts", "MOUNTS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Networks", "NETWORKS"),
        ("Platform", "PLATFORM"),
    ],
    raw: "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\nstate: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\nlabels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n",
};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let quiet = matches.on("quiet");
    let given = format::config::format(&matches, "psFormat").unwrap_or_default();
    let given = given.as_str();
    if !given.is_empty() && quiet {
        output::warn("WARNING: Ignoring custom format, because both --format and --quiet are set.");
    }
    // `{{json .}}` shows all there is, sizes too.
    let mentions_size = || given.contains("{{json .}}") || Template::parse("", given).is_ok_and(|template| template.mentions("Size"));
    let asks_for_size = !given.is_empty() && !quiet && !matches.changed("size") && mentions_size();
    let size = matches.on("size") || asks_for_size;
    let last = matches.int("last").unwrap_or(-1);
    let limit = if matches.on("latest") && last == -1 { 1 } else { last };
    let mut query = Vec::new();
    if matches.on("all") {
        query.push(("all", "1".to_owned()));
    }
    if limit > 0 {
        query.push(("limit", limit.to_string()));
    }
    if size {
        query.push(("size", "1".to_owned()));
    }
    query.extend(filter_query(&given_filters(matches.list("filter"))));
    let containers = session.client.get("/containers/json", &query).await?;
    let rows: Vec<Val> = containers.as_array().into_iter().flatten().map(|container| row(container, !matches.on("no-trunc"))).collect();
    let format = match given {
        "" | "table" if quiet => "{{.ID}}".into(),
        "" | "table" => format!("table {}{}", COLUMNS.default, if size { "\t{{.Size}}" } else { "" }),
        _ if quiet => "{{.ID}}".into(),
        "raw" => table::choose(Some("raw"), false, &COLUMNS),
        other => other.to_owned(),
    };
    output::print(&table::render(&format, &COLUMNS, &rows)?)
}

pub fn row(container: &Value, truncate: bool) -> Val {
    let id = text(&container["Id"]);
    let created = container["Created"].as_i64().unwrap_or(0);
    let command = text(&container["Command"]);
    let command = if truncate { format::ellipsis(command, COMMAND_WIDTH) } else { command.to_owned() };
    let labels: BTreeMap<&str, &str> = container["Labels"].as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), text(value))).collect();
    let mut label_list: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    // As texts, not by name: "a.b=" comes before "a=".
    label_list.sort_unstable();
    let label_map = labels.iter().map(|(key, value)| ((*key).to_owned(), Val::from(*value))).collect();
    let networks: Vec<_> = container["NetworkSettings"]["Networks"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    let mounts = container["Mounts"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    let local = mounts.iter().filter(|mount| text(&mount["Driver"]) == "local").count();
    Val::row(
        "*formatter.ContainerContext",
        [
            ("ID", Val::from(if truncate { format::short_id(id) } else { id })),
            ("Names", Val::from(names(container, truncate))),
            ("Image", Val::from(image(container, truncate))),
            ("Command", Val::from(format!("{command:?}"))),
            ("CreatedAt", Val::from(time::unix_string(created))),
            ("RunningFor", Val::from(format!("{} ago", units::human_duration(time::since_unix(created))))),
            ("Ports", Val::from(ports(&container["Ports"]))),
            ("State", Val::from(text(&container["State"]))),
            ("Status", Val::from(text(&container["Status"]))),
            ("Size", Val::from(size(container))),
            ("Labels", Val::from(label_list.join(","))),
            ("Mounts", Val::from(mounts.iter().map(|mount| mount_name(mount, truncate)).collect::<Vec<_>>().join(","))),
            ("LocalVolumes", Val::from(local.to_string())),
            ("Networks", Val::from(networks.join(","))),
            ("Platform", Val::Nil),
            // Not a column: what `{{.Label "x"}}` looks into.
            ("\0labels", Val::object(Kind::Map, label_map)),
        ],
    )
}

fn names(container: &Value, truncate: bool) -> String {
    let names: Vec<&str> =
        container["Names"].as_array().into_iter().flatten().filter_map(Value::as_str).map(|name| name.strip_prefix('/').unwrap_or(name)).collect();
    match names.iter().find(|name| truncate && !name.contains('/')) {
        Some(own) => (*own).to_owned(),
        None => names.join(","),
    }
}

fn image(container: &Value, truncate: bool) -> String {
    let image = text(&container["Image"]);
    if image.is_empty() {
        return "<no image>".into();
    }
    if !truncate {
        return image.to_owned();
    }
    let short = format::short_id(text(&container["ImageID"]));
    if !short.is_empty() && short == format::short_id(image) {
        return short.to_owned();
    }
    match reference::parse(image) {
        Some(reference::Reference { familiar, tag: Some(tag), .. }) => format!("{familiar}:{tag}"),
        Some(reference::Reference { familiar, .. }) => familiar.to_owned(),
        None => image.to_owned(),
    }
}

fn size(container: &Value) -> String {
    let bytes = |key: &str| container[key].as_f64().unwrap_or(0.0);
    let own = units::human_size_digits(bytes("SizeRw"), 3);
    match bytes("SizeRootFs") {
        whole if whole > 0.0 => format!("{own} (virtual {})", units::human_size_digits(whole, 3)),
        _ => own,
    }
}

fn mount_name(mount: &Value, truncate: bool) -> String {
    let name = match text(&mount["Name"]) {
        "" => text(&mount["Source"]),
        name => name,
    };
    if truncate { format::ellipsis(name, MOUNT_WIDTH) } else { name.to_owned() }
}

/// Ports of one address and protocol that follow each other.
struct Group {
    key: (String, String),
    first: u64,
    last: u64,
}

impl Group {
    fn text(&self) -> String {
        let (address, protocol) = &self.key;
        let range = if self.first == self.last { self.first.to_string() } else { format!("{}-{}", self.first, self.last) };
        if address.is_empty() { format!("{range}/{protocol}") } else { format!("{}->{range}/{protocol}", join_host(address, &range)) }
    }
}

fn join_host(address: &str, port: &str) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// "0.0.0.0:8080->80/tcp, 90/tcp": same-numbered neighbours become ranges, mapped ones stand at the end.
fn ports(ports: &Value) -> String {
    let number = |port: &Value, key: &str| port[key].as_u64().unwrap_or(0);
    let mut ports: Vec<&Value> = ports.as_array().into_iter().flatten().collect();
    ports.sort_by_key(|port| (number(port, "PrivatePort"), text(&port["IP"]), number(port, "PublicPort"), text(&port["Type"])));
    let mut groups: Vec<Group> = Vec::new();
    let (mut shown, mut mapped) = (Vec::new(), Vec::new());
    for port in ports {
        let (address, private, public, protocol) = (text(&port["IP"]), number(port, "PrivatePort"), number(port, "PublicPort"), text(&port["Type"]));
        if !address.is_empty() && public != private {
            mapped.push(format!("{}->{private}/{protocol}", join_host(address, &public.to_string())));
            continue;
        }
        let key = (address.to_owned(), protocol.to_owned());
        match groups.iter_mut().find(|group| group.key == key) {
            Some(group) if private == group.last + 1 => group.last = private,
            Some(group) => {
                shown.push(group.text());
                (group.first, group.last) = (private, private);
            }
            None => groups.push(Group { key, first: private, last: private }),
        }
    }
    shown.extend(groups.iter().map(Group::text));
    shown.extend(mapped);
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_are_grouped() {
        let port = |ip: &str, private: u64, public: u64| json!({"IP": ip, "PrivatePort": private, "PublicPort": public, "Type": "tcp"});
        assert_eq!(ports(&json!([port("0.0.0.0", 80, 8080), port("", 90, 0), port("", 91, 0)])), "90-91/tcp, 0.0.0.0:8080->80/tcp");
        assert_eq!(ports(&json!([port("::", 80, 80), port("0.0.0.0", 80, 80)])), "0.0.0.0:80->80/tcp, [::]:80->80/tcp");
    }
}
